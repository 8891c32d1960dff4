"""The arms of `real_model.py`: continual pretraining of an extended model, equal in text and tokens a step."""

import argparse
import math
import tempfile
import time
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from real_model_inputs import Inputs
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback

from lsw_hf import SkipAlignConfig, SkipAlignTrainer, interleave_chunks

ARMS = ("skipped", "plain", "full", "skipped, few", "interleaved")
SENTENCE_ENDS = [".", "!", "?"]
WARM_UP = 0.05
# transformers 5.23 renamed the argument.
CHECKPOINTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")
    if name in {item.name for item in fields(SkipAlignConfig)}
)


class EndOfArm(TrainerCallback):
    """
    Ends training after so many steps or seconds; the learning rate follows the nearer end.

    Args:
        steps (`int`): Most optimizer steps.
        seconds (`float`): Most seconds.
        device (`str`): Device whose work is waited for.
    """

    def __init__(self, steps: int, seconds: float, device: str) -> None:
        self.steps, self.limit, self.device = steps, seconds, device
        self.start: float | None = None
        self.seconds = 0.0

    def rate(self, step: int) -> float:
        """Share of the learning rate after `step` steps: a linear rise from a tenth, then a cosine to 0."""
        spent = 0.0 if self.start is None else (time.perf_counter() - self.start) / self.limit
        share = min(max(step / self.steps, spent), 1.0)
        if share < WARM_UP:
            return max(share / WARM_UP, 0.1)
        return 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))

    def _now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        self.start = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        assert self.start is not None
        self.seconds = self._now() - self.start
        control.should_training_stop |= self.seconds >= self.limit


def training_rows(arm: str, inputs: Inputs, target: int) -> Dataset:
    """Rows with a label for every token: windows of the target's length, whole or cut into rows of half the window."""
    documents_per_window, chunks = (8, 2) if arm == "interleaved" else (1, 1)
    windows = interleave_chunks(
        inputs.documents,
        window_length=target,
        documents_per_window=documents_per_window,
        chunks_per_document=chunks,
        separator_id=inputs.tokenizer.get_vocab().get("<|endoftext|>", inputs.tokenizer.eos_token_id),
    )
    length = target if arm in ("full", "interleaved") else inputs.window // 2
    rows = np.concatenate([window["input_ids"].reshape(-1, length) for window in windows])
    return Dataset.from_dict({"input_ids": list(rows), "labels": list(rows)})


def train_arm(
    arm: str, model: PreTrainedModel, inputs: Inputs, tokens: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Trains an extended float32 model in place on at most so many tokens; returns what it saw and cost."""
    target, on_gpu = model.config.max_position_embeddings, arguments.device != "cpu"
    rows = training_rows(arm, inputs, target)
    length = len(rows[0]["input_ids"])
    # as many tokens a step in every arm, and at most 4 short rows at once
    at_once = min(4, target // length)
    end = EndOfArm(max(1, tokens // target), arguments.seconds_per_arm, arguments.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate, weight_decay=0.0, fused=on_gpu)
    args = SkipAlignConfig(
        output_dir=tempfile.gettempdir(),  # nothing is saved
        max_length=length,
        context_length=target,
        strategy="skip_all" if arm.startswith("skipped") else "none",
        sentence_end_tokens=SENTENCE_ENDS,
        max_steps=end.steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=target // length // at_once,
        bf16=True,
        use_cpu=not on_gpu,
        report_to="none",
        save_strategy="no",
        logging_steps=max(1, end.steps // 20),
        disable_tqdm=True,
        seed=arguments.seed,
        dataloader_pin_memory=on_gpu,
        dataset_kwargs={"skip_prepare_dataset": True},
        **{CHECKPOINTING: length == target},
    )
    trainer = SkipAlignTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        processing_class=inputs.tokenizer,
        callbacks=[end],
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, end.rate)),
    )
    trainer.remove_callback(PrinterCallback)  # the log goes into the file, not between the lines of the table
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    return {
        "arm": arm,
        "row_length": length,
        "rows_in_all": len(rows),
        "tokens": trainer.state.global_step * target,
        "steps": trainer.state.global_step,
        "training_seconds": end.seconds,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
        "log": trainer.state.log_history,
    }
