"""The short long-context SFT stage (LongSkywork, stage 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from ..data.positions.strategies import strategy_help
from .arguments import LossWeightingArguments, SkippedPositionsArguments, SortedBatchesArguments
from .long_context_trainer import LongContextTrainerMixin
from .skip_collator import (
    install_skip_collator,
    refuse_position_column,
    refuse_what_is_ignored,
    refuse_wrong_arguments,
)


@dataclass
class LongSFTConfig(SkippedPositionsArguments, SortedBatchesArguments, LossWeightingArguments, SFTConfig):
    """[`~trl.SFTConfig`] for a brief SFT on long rows: 200 steps, and nothing is ever truncated.

    `max_length` defaults to `None`. A row longer than the model's window is refused rather than cut, because a cut row
    has usually lost the answer's evidence. Positions are plain by default; `strategy="skip_all"` stretches them over
    `context_length`, for targets beyond the rows that can be afforded (our choice).
    """

    strategy: str = field(default="none", metadata={"help": strategy_help()})

    max_steps: int = field(
        default=200, metadata={"help": "Steps in all; the paper reports that about 200 iterations suffice."}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Must be None: rows are refused, not cut, when they pass the model's window."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None:
            raise ValueError(
                f"max_length must be None, got {self.max_length}: a long row that is cut has usually lost its "
                "evidence. Generate or filter rows of the length you want."
            )


class LongSFTTrainer(LongContextTrainerMixin, SFTTrainer):
    """SFT on long rows, such as questions over synthetic lengthy tables
    ([LongSkywork, 2406.00605](https://arxiv.org/abs/2406.00605)).

    Args:
        model ([`~transformers.PreTrainedModel`] or `str`):
            The model, with its context already extended.
        args ([`LongSFTConfig`]):
            Training arguments.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Rows as prompt/completion, `messages`, or `input_ids` and `labels`.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            The tokenizer.
        trainer_kwargs (`dict`):
            Other arguments of [`~trl.SFTTrainer`].

    Raises:
        ValueError: if a row has more tokens than `model.config.max_position_embeddings`; for a stream when it is
        reached.
    """

    train_dataset: Any

    def __init__(
        self,
        model: Any,
        args: LongSFTConfig,
        train_dataset: datasets.Dataset | datasets.IterableDataset,
        processing_class: PreTrainedTokenizerBase,
        **trainer_kwargs: Any,
    ) -> None:
        refuse_wrong_arguments(args, processing_class)
        refuse_position_column(train_dataset)
        refuse_what_is_ignored(train_dataset, trainer_kwargs.get("formatting_func"))
        super().__init__(
            model=model, args=args, train_dataset=train_dataset, processing_class=processing_class, **trainer_kwargs
        )
        install_skip_collator(self, processing_class)
        window = self.model.config.get_text_config().max_position_embeddings
        self.train_dataset = refuse_longer_rows(self.train_dataset, window)


def refuse_longer_rows(
    dataset: datasets.Dataset | datasets.IterableDataset, window: int
) -> datasets.Dataset | datasets.IterableDataset:
    """Check that no tokenized row passes the model's window.

    Args:
        dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Rows with `input_ids`.
        window (`int`):
            The model's window in tokens.

    Returns:
        The dataset: checked, or for a stream one that checks each row when it comes.

    Raises:
        ValueError: for the first longer row, with its number and length.
    """
    if isinstance(dataset, datasets.Dataset):
        for index, row in enumerate(dataset.select_columns("input_ids")):
            _refuse_longer(index, row["input_ids"], window)
        return dataset

    def check(row: dict[str, Any], index: int) -> dict[str, Any]:
        _refuse_longer(index, row["input_ids"], window)
        return row

    return dataset.map(check, with_indices=True)


def _refuse_longer(index: int, input_ids: list[int], window: int) -> None:
    if len(input_ids) > window:
        raise ValueError(
            f"Row {index} has {len(input_ids)} tokens, more than the model's window of {window}. Extend the context "
            "further, or leave the row out."
        )
