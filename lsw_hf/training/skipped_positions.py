"""Skipped positions inside TRL's trainer: the arguments, the collator, and its epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback

from ..data.attention import assert_cross_skip_attention, check_attention_backend
from ..data.collators import DataCollatorForSkipAlign


@dataclass
class SkippedPositionsArguments:
    """Settings of [`DataCollatorForSkipAlign`] as training arguments."""

    context_length: int | None = field(
        default=None,
        metadata={"help": "Target context length in tokens; defaults to the model's max_position_embeddings."},
    )
    strategy: str = field(
        default="skip_all",
        metadata={"help": "Where jumps may stand: skip_all, skip_inner, skip_outer or none."},
    )
    skip_probability: float = field(
        default=0.5, metadata={"help": "Share of the rows that get skips, in [0, 1]; the others keep plain positions."}
    )
    max_skips: int | None = field(default=None, metadata={"help": "Largest number of jumps in a row."})
    sentence_end_tokens: list[str] | None = field(
        default=None,
        metadata={
            "help": "Tokens that end a sentence, as the vocabulary spells them; with them, jumps may also stand "
            "between sentences."
        },
    )


def install_skip_collator(trainer: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Gives a prepared trainer a [`DataCollatorForSkipAlign`] and keeps the collator's epoch.

    TRL refuses a collator of one's own while it packs, so the collator is put in place after the trainer's
    constructor.

    Args:
        trainer ([`~trl.SFTTrainer`]):
            A trainer whose `args` hold [`SkippedPositionsArguments`].
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer, with a padding token.

    Raises:
        `ValueError`: if `context_length` passes the model's window, or a sentence end is not one token.
    """
    args = trainer.args
    window = trainer.model.config.get_text_config().max_position_embeddings
    context_length = args.context_length or window
    if context_length > window:
        raise ValueError(
            f"context_length={context_length} is more than the model's window of {window} tokens. Extend the model "
            "first: extend_context(model, context_length=...)."
        )
    trainer.data_collator = skip_collator(args, tokenizer, context_length, packed=trainer.padding_free)
    check_attention_backend(trainer.model, packed=trainer.padding_free and args.strategy != "none")
    trainer.add_callback(EpochOfPositions(trainer.data_collator))


def skip_collator(
    args: Any, tokenizer: PreTrainedTokenizerBase, context_length: int, *, packed: bool = False
) -> DataCollatorForSkipAlign:
    """The collator that training arguments with [`SkippedPositionsArguments`] describe.

    Raises:
        `ValueError`: for settings that the collator refuses, and for a sentence end that is not one token.
    """
    return DataCollatorForSkipAlign(
        pad_token_id=tokenizer.pad_token_id,
        context_length=context_length,
        strategy=args.strategy,
        skip_probability=args.skip_probability,
        sentence_end_token_ids=token_ids(args.sentence_end_tokens, tokenizer),
        max_skips=args.max_skips,
        seed=args.seed,
        packed=packed,
        pad_to_multiple_of=args.pad_to_multiple_of,
    )


def probe_first_batch(trainer: Any) -> None:
    """Proves on a real batch of the run that attention crosses skips, see [`assert_cross_skip_attention`].

    The batch is collated from the first rows of the prepared dataset, not drawn from the training data loader, so that
    neither its order nor its random state moves.

    Args:
        trainer ([`~trl.SFTTrainer`]):
            A trainer with the collator of [`install_skip_collator`].

    Raises:
        `ValueError`: with the remedy, if the model, its backend or the batch would train with the method off.
    """
    rows = list(islice(iter(trainer.train_dataset), 2))
    columns = ("input_ids", "labels", "seq_lengths")
    batch = trainer.data_collator([{key: row[key] for key in columns if key in row} for row in rows])
    assert_cross_skip_attention(trainer.accelerator.unwrap_model(trainer.model), batch)


def token_ids(tokens: list[str] | None, tokenizer: PreTrainedTokenizerBase) -> list[int] | None:
    """Ids of tokens given as the vocabulary spells them; raises `ValueError` for one that is not in it."""
    if tokens is None:
        return None
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in tokens if token not in vocabulary]
    if missing:
        raise ValueError(
            f"sentence_end_tokens holds {missing}, which are not single tokens of this tokenizer. Give tokens as the "
            "vocabulary spells them (see tokenizer.tokenize)."
        )
    return [vocabulary[token] for token in tokens]


class EpochOfPositions(TrainerCallback):
    """Tells a [`DataCollatorForSkipAlign`] which epoch it draws positions for, also after a resume.

    Args:
        collator ([`DataCollatorForSkipAlign`]):
            The collator in use.
    """

    def __init__(self, collator: DataCollatorForSkipAlign) -> None:
        self.collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        self.collator.set_epoch(int(state.epoch or 0))
