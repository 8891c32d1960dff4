"""Continual pretraining on chunk-interleaved documents (LongSkywork, stage 2)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from ..attention.proof import assert_document_isolation
from ..data.positions.collator import DataCollatorForSkipAlign
from ..data.windows.config import (
    SEPARATOR_HELP,
    ChunkInterleaveConfig,
    TooFewDocumentsError,
    WindowOptions,
    separator_token,
)
from ..data.windows.dataset import interleave_dataset
from .arguments import LossWeightingArguments
from .long_context_trainer import LongContextTrainerMixin
from .skip_collator import refuse_data_parallel


@dataclass
class ContinualPretrainingConfig(LossWeightingArguments, WindowOptions, SFTConfig):
    """[`~trl.SFTConfig`] with the settings of chunk interleaving, [`WindowOptions`].

    `max_length` is the window length in tokens: every row is exactly as long. `max_steps` must be set, because windows
    are cut from a stream whose number is not known beforehand.
    """

    separator_id: int | str | None = field(default="eos", metadata={"help": SEPARATOR_HELP})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is None or self.max_length < 2:
            raise ValueError(
                "max_length is the window length of continual pretraining and must be at least 2 tokens, got "
                f"{self.max_length}."
            )
        if self.max_steps <= 0:
            raise ValueError(
                f"max_steps must be positive, got {self.max_steps}: the number of windows in a stream of documents "
                "is not known beforehand."
            )
        if self.packing:
            raise ValueError(
                "packing must be False: windows are already full, and a document mask would undo interleaving."
            )
        # Checked before there is a tokenizer: any id will do for the end token.
        self.window_config(None if self.separator_id in (None, "none") else 0)

    def window_config(self, separator_id: int | None) -> ChunkInterleaveConfig:
        """Return how windows are built, with the id of the token that ends a document."""
        assert self.max_length is not None
        options = {item.name: getattr(self, item.name) for item in fields(WindowOptions)}
        return ChunkInterleaveConfig(window_length=self.max_length, separator_id=separator_id, **options)


class ContinualPretrainingTrainer(LongContextTrainerMixin, SFTTrainer):
    """Trains with plain next-token loss on windows of chunk-interleaved documents.

    Each window takes `documents_per_window` documents, cuts each into `chunks_per_document` chunks, and lays them down
    round by round (A1 B1 C1 A2 B2 C2), so that the second half of a document is predicted across foreign text:
    long-range dependence without long documents. Attention crosses document borders; every token is trained
    ([LongSkywork, 2406.00605](https://arxiv.org/abs/2406.00605)).

    Args:
        model ([`~transformers.PreTrainedModel`] or `str`):
            The model, with its context already extended ([`extend_context`]).
        args ([`ContinualPretrainingConfig`]):
            Training arguments.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            *Documents*, with `input_ids` or `text` (column `args.dataset_text_field`); windows are built here, by
            [`interleave_dataset`] with one part, so that they are the same for any number of processes and workers.
            Texts are tokenized without special tokens: no document begins with BOS, and `args.separator_id` ends
            each. When the documents end, the next pass begins, with other cuts and, for a `Dataset`, in another
            order. With `plain_attention="document"` batches are packed, and a probe before training proves that the
            documents of windows that are not interleaved are isolated.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            The tokenizer.
        eval_dataset (the same, or a `dict` of them by name, *optional*):
            Documents that the loss is evaluated on, in windows that are built like those of the training; read whole,
            once, here. [`~ContinualPretrainingTrainer.evaluate`] takes the same. Rows of `max_length` tokens with
            `labels` are taken as windows already.
        trainer_kwargs (`dict`):
            Other arguments of [`~trl.SFTTrainer`].

    Attributes:
        window_counts (`dict[str, int]`):
            [`InterleaveCounts`] of the documents and windows read so far. Empty where worker processes read them.

    Raises:
        ValueError: documents with neither text nor token ids, or a tokenizer without the end token that
            `args.separator_id` asks for; while training, documents that do not fill a window.

    Example:

    ```python
    trainer = ContinualPretrainingTrainer(
        model=extend_context(model, context_length=32_768),
        args=ContinualPretrainingConfig("runs/cpt", max_length=32_768, max_steps=1_000),
        train_dataset=datasets.load_dataset("text", data_dir="books", streaming=True)["train"],
        processing_class=tokenizer,
    )
    trainer.train()
    ```
    """

    args: ContinualPretrainingConfig

    def __init__(
        self,
        model: Any,
        args: ContinualPretrainingConfig,
        train_dataset: datasets.Dataset | datasets.IterableDataset,
        processing_class: PreTrainedTokenizerBase,
        eval_dataset: Any = None,
        **trainer_kwargs: Any,
    ) -> None:
        if trainer_kwargs.get("formatting_func") is not None:
            raise ValueError(
                "formatting_func has no effect here: documents are the column dataset_text_field or input_ids. Make "
                "that column with dataset.map."
            )
        args.dataset_kwargs = {**(args.dataset_kwargs or {}), "skip_prepare_dataset": True}
        self.window_counts: dict[str, int] = {}
        # Until max_steps. In one stream a resumed run finds its place, in whichever pass that is.
        windows = _windows(train_dataset, args, processing_class, num_epochs=sys.maxsize, counts=self.window_counts)
        super().__init__(
            model=model,
            args=args,
            train_dataset=windows,
            processing_class=processing_class,
            eval_dataset=_evaluation_windows(eval_dataset, args, processing_class),
            **trainer_kwargs,
        )
        if args.plain_attention == "document" and "data_collator" not in trainer_kwargs:
            refuse_data_parallel(args)
            assert args.max_length is not None
            self.data_collator = DataCollatorForSkipAlign(
                pad_token_id=self.processing_class.pad_token_id,
                context_length=args.max_length,
                strategy="none",
                packed=True,
            )

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """See [`~transformers.Trainer.evaluate`]; `eval_dataset` may be documents, as in the constructor."""
        windows = _evaluation_windows(eval_dataset, self.args, self.processing_class)
        return super().evaluate(windows, *args, **kwargs)

    def _check_before_training(self) -> None:
        super()._check_before_training()
        if self.args.plain_attention == "document":
            batch = self.data_collator(list(islice(self.train_dataset, 2)))
            self.window_counts.clear()  # of these two, which are read again
            assert_document_isolation(self.accelerator.unwrap_model(self.model), batch)


def _windows(
    documents: datasets.Dataset | datasets.IterableDataset,
    args: ContinualPretrainingConfig,
    tokenizer: PreTrainedTokenizerBase,
    num_epochs: int = 1,
    counts: dict[str, int] | None = None,
) -> datasets.IterableDataset:
    return interleave_dataset(
        documents,
        args.window_config(separator_token(args.separator_id, tokenizer)),
        tokenizer=None if _are_tokenized(documents, args.dataset_text_field) else tokenizer,
        text_column=args.dataset_text_field,
        num_shards=1,
        num_epochs=num_epochs,
        seed=args.seed,
        counts=counts,
    )


def _evaluation_windows(documents: Any, args: ContinualPretrainingConfig, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Windows of documents, or of each set of them by name; the name of a set stays what it is."""
    if documents is None or isinstance(documents, str):
        return documents
    if isinstance(documents, dict):
        return {name: _evaluation_windows(rows, args, tokenizer) for name, rows in documents.items()}
    if not isinstance(documents, (datasets.Dataset, datasets.IterableDataset)):
        raise TypeError(f"eval_dataset must be a dataset, or several by name, got {type(documents).__name__}.")
    first: Mapping[str, Any] = next(iter(documents), {})
    if "labels" in first and len(first.get("input_ids", ())) == args.max_length:
        return documents
    windows = _windows(documents, args, tokenizer)
    try:
        return datasets.Dataset.from_list(list(windows))
    except TooFewDocumentsError as error:
        raise ValueError(f"The documents of eval_dataset: {error}") from error


def _are_tokenized(documents: datasets.Dataset | datasets.IterableDataset, text_field: str) -> bool:
    """Whether documents are token ids; raises `ValueError` if they are not text either."""
    columns = documents.column_names or list(next(iter(documents), {"input_ids": []}))
    if "input_ids" not in columns and text_field not in columns:
        raise ValueError(f"A document needs the column {text_field!r} or 'input_ids'; it has {sorted(columns)}.")
    return "input_ids" in columns
