"""What is logged is what TRL logs on the same rows: evaluated, accumulated, in one process and in two."""

import copy

import pytest
import torch
from trl import SFTConfig, SFTTrainer

from lsw_hf.training import long_context_trainer
from lsw_hf.training.long_context_trainer import LongContextTrainerMixin
from lsw_hf.training.long_sft import LongSFTConfig, LongSFTTrainer
from lsw_hf.training.skip_align import SkipAlignConfig, SkipAlignTrainer
from tests.processes import in_two_processes

OPTIONS = {"max_steps": 4, "train_sampling_strategy": "sequential", "optim": "sgd", "learning_rate": 0.1}
# Of the clock, and the seeds of a run.
TIMES = ("runtime", "per_second", "flos", "steps_per")


def history(model, trainer_class, args, rows, tokenizer):
    trainer = trainer_class(
        copy.deepcopy(model), args, train_dataset=rows, eval_dataset=rows.select(range(3)), processing_class=tokenizer
    )
    trainer.train()
    trainer.evaluate()
    return [
        {key: value for key, value in entry.items() if not any(word in key for word in TIMES)}
        for entry in trainer.state.log_history
    ]


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


PLANS = [
    {},
    {"logging_steps": 2, "eval_strategy": "steps", "eval_steps": 1},
    {"logging_steps": 3, "eval_strategy": "steps", "eval_steps": 2, "gradient_accumulation_steps": 2},
]


@pytest.mark.parametrize(("plan", "lean"), [(PLANS[0], True), (PLANS[1], False)])
def test_logs_are_those_of_trl(tiny_llama, rows, tiny_tokenizer, arguments, plan, lean, monkeypatch):
    if not lean:  # as on a GPU, where TRL's own head scores rows that our collator padded
        monkeypatch.setattr(long_context_trainer, "_LARGEST_LOGITS_IN_BYTES", -1)
    theirs = history(tiny_llama, SFTTrainer, arguments(SFTConfig, **OPTIONS, **plan), rows, tiny_tokenizer)
    for trainer, config, more in (
        (LongSFTTrainer, LongSFTConfig, {}),
        (SkipAlignTrainer, SkipAlignConfig, {"strategy": "none"}),
    ):
        args = arguments(config, **OPTIONS, **plan, **more)
        assert_equal(history(tiny_llama, trainer, args, rows, tiny_tokenizer), theirs)
    logged = set().union(*theirs)
    assert {"mean_token_accuracy", "entropy", "num_tokens", "eval_mean_token_accuracy", "eval_entropy"} <= logged


@pytest.mark.parametrize("packing", [False, True])
def test_logs_of_weighted_sequences_are_of_the_same_tokens(tiny_llama, rows, tiny_tokenizer, arguments, packing):
    """Weights change the loss, not what is counted."""
    kinds = {"token": [], "sequence": []}
    for weighting, logs in kinds.items():
        args = arguments(
            LongSFTConfig, **{**OPTIONS, "learning_rate": 1e-9}, loss_weighting=weighting, padding_free=packing
        )
        if packing:
            tiny_llama.config._attn_implementation = "lsw_sdpa"
        logs += history(tiny_llama, LongSFTTrainer, args, rows, tiny_tokenizer)
    for one, other in zip(*kinds.values(), strict=True):
        for key in ("mean_token_accuracy", "entropy", "num_tokens", "eval_loss"):
            assert (key in one) == (key in other)
            assert one.get(key, 0) == pytest.approx(other.get(key, 0), rel=1e-5)


def test_our_loss_is_the_one_that_ran(tiny_llama, rows, tiny_tokenizer, arguments, monkeypatch):
    """Without this, the comparison above could be of TRL with itself."""
    ran = []
    noted = LongContextTrainerMixin._note_metrics
    monkeypatch.setattr(LongContextTrainerMixin, "_note_metrics", lambda *given: ran.append(noted(*given)))
    history(tiny_llama, LongSFTTrainer, arguments(LongSFTConfig, **OPTIONS), rows, tiny_tokenizer)
    assert len(ran) >= 4  # TRL 1.10 evaluates by a loss of its own


@pytest.mark.skipif(torch.cuda.is_available(), reason="processes are forked, and a fork cannot begin to use CUDA")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("plan", [PLANS[2], pytest.param(PLANS[1], marks=pytest.mark.slow)])
def test_two_processes_log_the_tokens_of_both(tiny_llama, rows, tiny_tokenizer, arguments, tmp_path, plan):
    common = {**OPTIONS, **plan, "per_device_train_batch_size": 1, "ddp_backend": "gloo"}

    def run():
        logs = [
            history(tiny_llama, trainer, arguments(config, **common), rows, tiny_tokenizer)
            for trainer, config in ((SFTTrainer, SFTConfig), (LongSFTTrainer, LongSFTConfig))
        ]
        assert torch.distributed.get_world_size() == 2
        return logs

    for theirs, ours in in_two_processes(run):
        assert_equal(ours, theirs)
