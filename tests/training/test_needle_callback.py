"""The needle grid inside a trainer: when it runs, what it logs, and what it decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from lsw_hf.evaluation import NeedleFact, NeedleGrid, NeedleReport
from lsw_hf.training import needle_callback as callbacks
from lsw_hf.training.needle_callback import NeedleCallback

GRID = NeedleGrid((24, 40), depths=(0.2, 0.8), num_samples=2)


class DigitTask:
    """Facts "7 w ." asked for by "7": a world for a vocabulary of numbers."""

    name, separator, max_new_tokens, chance = "digits", " ", 1, None

    def sentences(self, generator: np.random.Generator):
        while True:
            yield " ".join(f"f{index}" for index in generator.integers(8, size=3)) + " ."

    def facts(self, generator, count):
        keys = generator.permutation(20)[:count].tolist()
        return [NeedleFact(f"k{key} v{key % 4} .", f"k{key}", f"v{key % 4}") for key in keys]

    def prompt(self, haystack, question):
        return f"{haystack} {question}"


@pytest.fixture
def make_trainer(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [
        "<pad>",
        "<eos>",
        ".",
        *(f"f{i}" for i in range(8)),
        *(f"k{i}" for i in range(20)),
        "v0",
        "v1",
        "v2",
        "v3",
    ]
    backend = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")

    def make(**options):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(names), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=64, eos_token_id=1, pad_token_id=0,
        )  # fmt: skip
        rows = [{"input_ids": [3, 4, 5, 6], "labels": [3, 4, 5, 6]} for _ in range(8)]
        arguments = TrainingArguments(
            output_dir=str(tmp_path), max_steps=6, per_device_train_batch_size=1, report_to="none", logging_steps=50,
            use_cpu=True, disable_tqdm=True, save_strategy=options.pop("save_strategy", "no"), **options,
        )  # fmt: skip
        return Trainer(
            LlamaForCausalLM(config), arguments, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer
        )

    return make


def test_runs_every_steps_and_logs_the_grid(make_trainer, tmp_path):
    trainer = make_trainer()
    callback = NeedleCallback(trainer, GRID, DigitTask(), every_steps=2)
    trainer.add_callback(callback)
    trainer.train()
    assert list(callback.history) == [2, 4, 6]
    logged = [entry for entry in trainer.state.log_history if "needle/accuracy" in entry]
    assert [entry["step"] for entry in logged] == [2, 4, 6]
    names = {"needle/accuracy", "needle/24", "needle/40", "needle/24/depth_20", "needle/40/depth_80"}
    assert names < set(logged[0])
    report = NeedleReport.load(tmp_path / "needle" / "step-0000004.json")
    assert report.accuracy == callback.history[4] == logged[1]["needle/accuracy"]
    assert trainer.model.training


def test_evaluations_get_the_accuracy_for_the_best_model(make_trainer, monkeypatch):
    trainer = make_trainer(
        eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2, load_best_model_at_end=True,
        metric_for_best_model="needle_accuracy", greater_is_better=True,
    )  # fmt: skip
    runs = []
    monkeypatch.setattr(NeedleCallback, "_run", lambda self, *args: runs.append(1) or (0.2, 0.9, 0.4)[len(runs) - 1])
    trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask()))
    trainer.train()
    assert trainer.state.best_metric == 0.9
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")


def test_patience_stops_training(make_trainer, monkeypatch):
    trainer = make_trainer()
    callback = NeedleCallback(trainer, GRID, DigitTask(), every_steps=1, patience=2)
    results = iter([0.3, 0.5, 0.5, 0.4, 0.9, 0.9])
    evaluate = callbacks.evaluate_needle

    def scripted(*arguments, **options):
        report, share = evaluate(*arguments, **options), next(results)
        right = round(10 * share)
        samples = [replace(report.samples[0], correct=index < right) for index in range(10)]
        return replace(report, samples=tuple(replace(s, context_length=n) for n in (24, 40) for s in samples))

    monkeypatch.setattr(callbacks, "evaluate_needle", scripted)
    trainer.add_callback(callback)
    trainer.train()
    assert callback.history == pytest.approx({1: 0.3, 2: 0.5, 3: 0.5, 4: 0.4})
    assert callback.best_step == 2
    assert trainer.state.global_step == 4


def test_best_run_asks_for_a_checkpoint(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask(), every_steps=3, save_best=True))
    trainer.train()
    assert (tmp_path / "checkpoint-3").is_dir()


def test_a_resumed_run_takes_up_its_history(make_trainer, tmp_path):
    trainer = make_trainer(save_strategy="steps", save_steps=4)
    trainer.add_callback(NeedleCallback(trainer, GRID, DigitTask(), every_steps=2))
    trainer.train()
    again = make_trainer(save_strategy="steps", save_steps=4)
    callback = NeedleCallback(again, GRID, DigitTask(), every_steps=2)
    again.add_callback(callback)
    seen = []
    run = callback._run
    callback._run = lambda args, state, control: seen.append(state.global_step) or run(args, state, control)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert sorted(callback.history) == [2, 4, 6]
    assert seen == [6]


def test_bad_arguments():
    with pytest.raises(ValueError, match="every_steps must be at least 1; got 0"):
        NeedleCallback(None, GRID, every_steps=0)
    with pytest.raises(ValueError, match="patience must be at least 1; got 0"):
        NeedleCallback(None, GRID, patience=0)
