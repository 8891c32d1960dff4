"""SFT with skipped positions (SkipAlign)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from .arguments import LossWeightingArguments, SkippedPositionsArguments, SortedBatchesArguments
from .long_context_trainer import LongContextTrainerMixin
from .skip_collator import (
    install_skip_collator,
    refuse_position_column,
    refuse_what_is_ignored,
    refuse_wrong_arguments,
)


@dataclass
class SkipAlignConfig(SkippedPositionsArguments, SortedBatchesArguments, LossWeightingArguments, SFTConfig):
    """[`~trl.SFTConfig`] with the settings of skipped positions, see [`DataCollatorForSkipAlign`]."""


class SkipAlignTrainer(LongContextTrainerMixin, SFTTrainer):
    """SFT on short dialogues whose positions are spread over the target length
    ([SkipAlign, 2405.03939](https://arxiv.org/abs/2405.03939)).

    It replaces the collator after TRL has prepared the rows and keep the collator's epoch.

    Args:
        model ([`~transformers.PreTrainedModel`] or `str`):
            The model, with its context already extended.
        args ([`SkipAlignConfig`]):
            Training arguments. `max_length` truncates rows as in TRL; the positions reach `context_length`.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Rows as prompt/completion, `messages` (with `assistant_only_loss=True`), or `input_ids` and `labels`.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            The tokenizer.
        trainer_kwargs (`dict`):
            Other arguments of [`~trl.SFTTrainer`].

    Example:

    ```python
    trainer = SkipAlignTrainer(
        model=extend_context(model, context_length=131_072),
        args=SkipAlignConfig("runs/skip", max_length=4_096, assistant_only_loss=True),
        train_dataset=dialogues,
        processing_class=tokenizer,
    )
    trainer.train()
    ```
    """

    def __init__(
        self,
        model: Any,
        args: SkipAlignConfig,
        train_dataset: datasets.Dataset | datasets.IterableDataset,
        processing_class: PreTrainedTokenizerBase,
        **trainer_kwargs: Any,
    ) -> None:
        if trainer_kwargs.get("data_collator") is not None:
            raise ValueError(
                "SkipAlignTrainer brings its own collator; set its options in SkipAlignConfig, or hand your collator "
                "to trl.SFTTrainer."
            )
        refuse_wrong_arguments(args, processing_class)
        refuse_position_column(train_dataset)
        refuse_what_is_ignored(train_dataset, trainer_kwargs.get("formatting_func"))
        super().__init__(
            model=model, args=args, train_dataset=train_dataset, processing_class=processing_class, **trainer_kwargs
        )
        install_skip_collator(self, processing_class)
