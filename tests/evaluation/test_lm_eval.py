"""The task pack inside lm-evaluation-harness: same prompts, same answers, same scores as ours."""

import re
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import lsw_hf.evaluation
from lsw_hf.evaluation import NeedleGrid, ProseNeedleTask, TaskSuite, default_tasks, evaluate_needle, evaluate_tasks

lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness lives in an environment of its own")
pytestmark = [
    # The harness and what it imports warn in their own ways; they are not ours to repair.
    pytest.mark.filterwarnings("default"),
    pytest.mark.slow,
]

PACK = Path(lsw_hf.evaluation.__file__).parent / "lm_eval_tasks"
LENGTHS, SAMPLES = [320, 500], 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizers):
    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    tokenizer = tokenizers["byte bpe"]
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, eos_token_id=1, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def harness(model, tasks, folder):
    from lm_eval.tasks import TaskManager

    metadata = {"max_seq_lengths": LENGTHS, "num_samples": SAMPLES, "seed": 3, "tokenizer": folder}
    manager = TaskManager(include_path=str(PACK), include_defaults=False, metadata=metadata)
    return lm_eval.simple_evaluate(
        model=model, tasks=tasks, task_manager=manager, metadata=metadata, log_samples=True, bootstrap_iters=0
    )


def test_same_answers_on_the_same_samples(folder, tokenizers):
    from lm_eval.models.huggingface import HFLM

    model = LlamaForCausalLM.from_pretrained(folder).eval()
    tokenizer = tokenizers["byte bpe"]
    found = harness(
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=1024),
        ["lsw_needle", "lsw_variable_tracking"], folder,
    )  # fmt: skip
    needle = evaluate_needle(
        model, tokenizer, NeedleGrid(tuple(LENGTHS), num_samples=SAMPLES, seed=3), ProseNeedleTask(),
        prompt_style="plain", progress=False,
    )  # fmt: skip
    theirs = [sample["filtered_resps"][0] for sample in found["samples"]["lsw_needle"]]
    assert theirs == [sample.answered for sample in needle.samples]
    assert len(set(theirs)) > 3
    (task,) = [task for task in default_tasks() if task.name == "variable_tracking"]
    tasks = evaluate_tasks(
        model, tokenizer, TaskSuite(tuple(LENGTHS), num_samples=SAMPLES, seed=3), [task], progress=False
    )
    theirs = [sample["filtered_resps"][0] for sample in found["samples"]["lsw_variable_tracking"]]
    assert theirs == [outcome.answered for outcome in tasks.outcomes]


def test_same_scores_for_a_model_that_is_sometimes_right(folder):
    """A scripted model that looks the number up, but only for people whose name has an even length."""
    from lm_eval.api.model import LM

    class Scripted(LM):
        def generate_until(self, requests, disable_tqdm=False):
            return [self.answer(request.args[0]) for request in requests]

        def answer(self, prompt):
            who = re.search(r"locker number of ([A-Za-z ]+)\?", prompt)[1]
            number = re.search(rf"The locker number of {who} is (\d+)", prompt)[1]
            return f" {number}." if len(who) % 2 == 0 else " 1234567."

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    found = harness(Scripted(), ["lsw_needle"], folder)
    samples = found["samples"]["lsw_needle"]
    expected = [
        float(len(re.search(r"locker number of ([A-Za-z ]+)\?", sample["doc"]["input"])[1]) % 2 == 0)
        for sample in samples
    ]
    assert [sample["accuracy"] for sample in samples] == expected
    assert 0 < sum(expected) < len(expected)
    assert found["results"]["lsw_needle"]["accuracy,none"] == pytest.approx(sum(expected) / len(expected))
