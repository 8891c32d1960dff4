"""Training arguments that the trainers share: how a batch is chosen, weighed, and given positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..data.positions.strategies import strategy_help

if TYPE_CHECKING:
    from trl import SFTConfig as _Arguments
else:
    _Arguments = object


@dataclass
class LossWeightingArguments(_Arguments):
    """What counts the same in the loss, see [`~lsw_hf.training.losses.sequence_weights`]."""

    if TYPE_CHECKING:
        loss_type: str

    loss_weighting: Literal["token", "sequence"] = field(
        default="token",
        metadata={
            "help": "What counts the same in the training loss: every labeled token, or every sequence (LongAlign, "
            "2401.18058), packed or not. The evaluation loss is the token mean either way."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss_weighting not in ("token", "sequence"):
            raise ValueError(f"loss_weighting must be 'token' or 'sequence', got {self.loss_weighting!r}.")
        # The default of TRL 1.14: the same loss, by a patched forward that gives no logits. Ours takes its place.
        if self.loss_type == "chunked_nll" and (self.loss_weighting == "sequence" or self.device.type == "cpu"):
            self.loss_type = "nll"
        if self.loss_weighting == "sequence" and (self.loss_type != "nll" or self.label_smoothing_factor != 0):
            raise ValueError(
                "loss_weighting='sequence' weighs the plain next-token loss: it needs loss_type='nll' and "
                f"label_smoothing_factor=0, got {self.loss_type!r} and {self.label_smoothing_factor}."
            )


@dataclass
class SortedBatchesArguments(_Arguments):
    """Which rows share a batch, see [`~lsw_hf.training.length_sorted_sampler.LengthSortedSampler`]."""

    length_sorted_batches: bool = field(
        default=False,
        metadata={
            "help": "Whether each optimizer step gets rows of similar lengths (LongAlign, 2401.18058); the steps come "
            "in random order."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length_sorted_batches and self.packing:
            raise ValueError(
                "length_sorted_batches=True needs packing=False: packed rows are of one length already. Choose one of "
                "the two."
            )
        if self.length_sorted_batches and self.train_sampling_strategy != "random":
            raise ValueError(
                "length_sorted_batches=True chooses the rows of each batch itself: leave train_sampling_strategy at "
                f"'random', got {self.train_sampling_strategy!r}."
            )


@dataclass
class SkippedPositionsArguments:
    """Settings of [`DataCollatorForSkipAlign`] as training arguments."""

    context_length: int | None = field(
        default=None,
        metadata={"help": "Target context length in tokens; defaults to the model's max_position_embeddings."},
    )
    strategy: str = field(default="skip_all", metadata={"help": strategy_help()})
    skip_probability: float = field(
        default=1.0, metadata={"help": "Share of the rows that get skips, in [0, 1]; the others keep plain positions."}
    )
    max_skips: int | None = field(default=None, metadata={"help": "Largest number of jumps in a row."})
    sentence_end_tokens: list[str] | None = field(
        default=None,
        metadata={
            "help": "Tokens that end a sentence, as the vocabulary spells them; with them, positions may also jump "
            "between sentences."
        },
    )
