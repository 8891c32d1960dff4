"""The needle grid inside a real SFT run: what it leaves alone, what it decides, and what it says afterwards."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from lsw_hf.evaluation import NeedleFact, NeedleGrid, NeedleReport
from lsw_hf.evaluation.reading.reader import GreedyReader
from lsw_hf.training import needle_callback as callbacks
from lsw_hf.training.needle_callback import NeedleCallback

GRID = NeedleGrid((24, 40), depths=(0.2, 0.8), num_samples=2)
WORDS = ["<pad>", "<eos>", ".", *(f"f{i}" for i in range(8)), *(f"k{i}" for i in range(20)), "v0", "v1", "v2", "v3"]


class DigitTask:
    """Facts "k7 v3 ." asked for by "k7", in a world of few words."""

    name, separator, max_new_tokens, chance = "digits", " ", 1, None

    def sentences(self, generator):
        while True:
            yield " ".join(f"f{index}" for index in generator.integers(8, size=3)) + " ."

    def facts(self, generator, count):
        keys = generator.permutation(20)[:count].tolist()
        return [NeedleFact(f"k{key} v{key % 4} .", f"k{key}", f"v{key % 4}") for key in keys]

    def prompt(self, haystack, question):
        return f"{haystack} {question}"


def make_trainer(folder, **options):
    backend = Tokenizer(models.WordLevel({name: index for index, name in enumerate(WORDS)}, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, eos_token_id=1, pad_token_id=0, attention_dropout=0.3, use_cache=False,
    )  # fmt: skip
    generator = np.random.default_rng(0)
    rows = [{"input_ids": generator.integers(3, 30, size=9).tolist()} for _ in range(8)]
    peft_config = options.pop("peft_config", None)
    settings = {
        "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 1, "report_to": "none",
        "logging_steps": 3, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "learning_rate": 1e-2,
        "bf16": False, "dataset_kwargs": {"skip_prepare_dataset": True}, "dataloader_pin_memory": False,
    } | options  # fmt: skip
    data = Dataset.from_list(rows)
    return SFTTrainer(
        LlamaForCausalLM(config), SFTConfig(**settings), train_dataset=data, eval_dataset=data,
        processing_class=tokenizer, peft_config=peft_config,
    )  # fmt: skip


def scripted(monkeypatch, shares):
    """The grid's accuracies in the order of its runs."""
    results = iter(shares)
    monkeypatch.setattr(NeedleReport, "accuracy", property(lambda self: self.settings["share"]))
    evaluate = callbacks.evaluate_needle

    def run(*arguments, **options):
        report = evaluate(*arguments, **options)
        report.settings["share"] = next(results)
        return report

    monkeypatch.setattr(callbacks, "evaluate_needle", run)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_is_the_same_with_and_without(tmp_path, checkpointing):
    weights, logs, states = [], [], []
    for name in ("without", "with"):
        trainer = make_trainer(tmp_path / name, gradient_checkpointing=checkpointing)
        if name == "with":
            trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask(), every_steps=1))
        trainer.train()
        weights.append({key: value.clone() for key, value in trainer.model.state_dict().items()})
        states.append(torch.random.get_rng_state())
        logs.append([entry for entry in trainer.state.log_history if "loss" in entry])
        needles = [entry for entry in trainer.state.log_history if "needle/accuracy" in entry]
        assert [entry["step"] for entry in needles] == ([1, 2, 3, 4, 5, 6] if name == "with" else [])
        assert not any("mean_token_accuracy" in entry for entry in needles)
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key
    assert torch.equal(*states)
    for one, other in zip(*logs, strict=True):
        assert {"loss", "mean_token_accuracy"} <= set(one)
        assert {key: one[key] for key in ("loss", "grad_norm", "mean_token_accuracy")} == {
            key: other[key] for key in ("loss", "grad_norm", "mean_token_accuracy")
        }


def test_the_best_checkpoint_is_loaded_and_then_measured_anew(tmp_path, monkeypatch):
    scripted(monkeypatch, (0.2, 0.9, 0.4, 0.7))
    trainer = make_trainer(
        tmp_path, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2, save_total_limit=1,
        load_best_model_at_end=True, metric_for_best_model="needle_accuracy",
    )  # fmt: skip
    callback = NeedleCallback(trainer, GRID, DigitTask())
    trainer.add_callback(callback)
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")
    assert trainer.state.best_metric == 0.9
    assert callback.best_step == 4
    # At step 6 stands the model of step 4 now: what was measured of step 6 is not said of it.
    assert trainer.evaluate()["eval_needle_accuracy"] == 0.7
    assert callback.history == {2: 0.2, 4: 0.9, 6: 0.4}


def test_patience_stops_at_evaluations_too(tmp_path, monkeypatch):
    scripted(monkeypatch, (0.5, 0.5, 0.4))
    trainer = make_trainer(tmp_path, eval_strategy="steps", eval_steps=1)
    trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask(), patience=2))
    trainer.train()
    assert trainer.state.global_step == 3


def test_a_resumed_run_counts_what_it_saw_of_the_same_grid(tmp_path, monkeypatch):
    scripted(monkeypatch, (0.9, 0.3, 0.6))
    trainer = make_trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=2)
    trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask(), every_steps=1))
    trainer.train()
    again = make_trainer(tmp_path, save_strategy="steps", save_steps=2)
    callback = NeedleCallback(again, GRID, DigitTask(), every_steps=1, patience=2)
    again.add_callback(callback)
    again.train(resume_from_checkpoint=True)
    # The first run's first step stays the best: the second and the third end it.
    assert callback.history == {1: 0.9, 2: 0.3, 3: 0.6}
    assert again.state.global_step == 3
    other = NeedleGrid((24,), depths=(0.2, 0.8), num_samples=1)
    third = make_trainer(tmp_path, max_steps=4)
    stranger = NeedleCallback(third, other, DigitTask(), every_steps=9)
    third.add_callback(stranger)
    third.train(resume_from_checkpoint=True)
    assert stranger.history == {}


def test_adapters_are_measured_without_the_logits_of_the_prompt(tmp_path):
    trainer = make_trainer(tmp_path, peft_config=LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask(), every_steps=3))
    shapes = []
    trainer.model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: shapes.append((trainer.model.training, output.shape[1]))
    )
    trainer.train()
    assert len([entry for entry in trainer.state.log_history if "needle/accuracy" in entry]) == 2
    # One position a prompt, or one for each of two branches.
    assert {rows for training, rows in shapes if not training} <= {1, 2}


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, max_steps=2)
    callback = NeedleCallback(trainer, GRID, DigitTask(), every_steps=1)
    trainer.add_callback(callback)
    monkeypatch.setattr(type(trainer.state), "is_world_process_zero", False)
    trainer.state.is_world_process_zero = False
    callback.on_train_begin(trainer.args, trainer.state, trainer.control)
    trainer.state.global_step = 1
    callback.on_step_end(trainer.args, trainer.state, trainer.control)
    assert list(callback.history) == [1]
    assert not (tmp_path / "needle").exists()


def test_reports_are_whole_files(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=2)
    trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask(), every_steps=2))
    trainer.train()
    (file,) = (tmp_path / "needle").iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))["grid"]["context_lengths"] == [24, 40]
    assert trainer.model.training
    assert GreedyReader(trainer.model, max_new_tokens=1)._accepted >= {"logits_to_keep", "position_ids"}
