"""Skipped positions inside TRL's trainer: the collator, its epoch, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from ..attention.proof import assert_cross_skip_attention, assert_document_isolation
from ..data.corpus.instructions import check_weights
from ..data.positions.borders import IGNORE_INDEX, find_borders, sentence_starts_after
from ..data.positions.collator import DataCollatorForSkipAlign
from ..data.positions.strategies import STRATEGIES
from .arguments import SkippedPositionsArguments

_COLUMNS = ("input_ids", "labels", "seq_lengths")
_ROWS_LOOKED_AT = 64


def refuse_position_column(dataset: Any) -> None:
    """Raise `ValueError` for a dataset with a column `position_ids`, which TRL drops without a word."""
    if "position_ids" in (getattr(dataset, "column_names", None) or ()):
        raise ValueError(
            "train_dataset has a column position_ids, which would be ignored: the collator draws new positions in "
            "every epoch. Remove it (dataset.remove_columns('position_ids')), or train with trl.SFTTrainer and a "
            "collator of your own."
        )


def refuse_what_is_ignored(dataset: Any, formatting_func: Any) -> None:
    """Raise `ValueError` for what TRL would pass over without a word, and train something else.

    Args:
        dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Rows of a trainer. Weights of messages are looked for in all rows of a dataset, in the first one of a
            stream.
        formatting_func (`Callable`, *optional*):
            What makes a text of a row.
    """
    first: Mapping[str, Any] = next(iter(dataset), {}) if dataset is not None else {}
    read_instead = [name for name in ("messages", "prompt") if name in first]
    if formatting_func is not None and read_instead:
        raise ValueError(
            f"formatting_func has no effect on rows with {read_instead[0]}, which are trained themselves. Leave it "
            f"out, or remove the column (dataset.remove_columns({read_instead[0]!r}))."
        )
    columns = [name for name in ("messages", "prompt", "completion") if isinstance(first.get(name), list)]
    rows = dataset if isinstance(dataset, Dataset) else [first]
    if isinstance(dataset, Dataset) and not _may_have_weights(dataset, columns):
        return
    for number, row in enumerate(rows):
        for name in columns:
            check_weights(row[name], name, f"row {number}")


def _may_have_weights(dataset: Dataset, columns: list[str]) -> bool:
    """Whether the messages of a dataset can have weights, by the types of its columns."""
    return any("weight" in str(dataset.features[name]) or "Json" in str(dataset.features[name]) for name in columns)


def refuse_wrong_arguments(args: Any, tokenizer: Any) -> None:
    """Raise `TypeError` for arguments without [`SkippedPositionsArguments`], and for what is not a tokenizer."""
    if not isinstance(args, SkippedPositionsArguments):
        raise TypeError(
            f"args must be a SkipAlignConfig or LongSFTConfig, got {type(args).__name__}: only these have "
            "context_length and strategy."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(
            f"processing_class must be a tokenizer, got {type(tokenizer).__name__}: rows are text only. For the text "
            "part of a vision model pass processor.tokenizer."
        )


def refuse_data_parallel(args: Any) -> None:
    """Raise `ValueError` where `torch.nn.DataParallel` would split a packed batch."""
    if args.n_gpu > 1:
        raise ValueError(
            f"One process with {args.n_gpu} GPUs runs torch.nn.DataParallel, which would cut cu_seq_lens_q of packed "
            "batches apart. Start one process a GPU (torchrun or accelerate launch), or turn packing off "
            "(packing=False; plain_attention='window')."
        )


def install_skip_collator(trainer: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a prepared trainer a [`DataCollatorForSkipAlign`] and keep the collator's epoch.

    TRL refuses a collator of one's own while it packs, so the collator is put in place after the trainer's
    constructor.

    Args:
        trainer ([`~trl.SFTTrainer`]):
            A trainer whose `args` are [`SkippedPositionsArguments`].
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer, with a padding token.

    Raises:
        ValueError: if `context_length` passes the model's window, a sentence end is not one token, or the model's
        attention or `torch.nn.DataParallel` cannot carry packed dialogues.
    """
    args = trainer.args
    if trainer.padding_free:
        refuse_data_parallel(args)
    window = trainer.model.config.get_text_config().max_position_embeddings
    context_length = args.context_length or window
    if context_length > window:
        raise ValueError(
            f"context_length={context_length} is more than the model's window of {window} tokens. Extend the model "
            "first: extend_context(model, context_length=...)."
        )
    trainer.data_collator = skip_collator(
        args, tokenizer, context_length, packed=trainer.padding_free, model=trainer.model
    )
    if args.dataloader_persistent_workers:
        trainer.add_callback(EpochOfPositions(trainer.data_collator))


def skip_collator(
    args: Any,
    tokenizer: PreTrainedTokenizerBase,
    context_length: int,
    *,
    packed: bool = False,
    model: PreTrainedModel | None = None,
) -> DataCollatorForSkipAlign:
    """Return the collator that training arguments with [`SkippedPositionsArguments`] describe.

    Raises:
        ValueError: for settings that the collator refuses, and for a sentence end that is not one token.
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
        model=model,
    )


def probe_first_batch(trainer: Any) -> None:
    """Prove on a real batch of the run that attention crosses skips and stays within dialogues.

    The batch is collated from the first rows of the prepared dataset, not drawn from the training data loader, so that
    neither its order nor its random state moves. Without skips (`strategy="none"`) only the isolation of packed
    dialogues is left to prove, and for rows nothing.

    Args:
        trainer ([`~trl.SFTTrainer`]):
            A trainer with the collator of [`install_skip_collator`].

    Raises:
        ValueError: with the remedy, if the model, its backend or the batch would train with the method off.
    """
    skips = trainer.args.strategy != "none"
    if not skips and not trainer.padding_free:
        return
    rows = ({key: row[key] for key in _COLUMNS if key in row} for row in trainer.train_dataset)
    batch = trainer.data_collator(list(islice(rows, 2)))
    if isinstance(trainer.data_collator, DataCollatorForSkipAlign):
        require_borders(trainer.data_collator, trainer.train_dataset)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if skips:
        assert_cross_skip_attention(model, batch)
    else:
        assert_document_isolation(model, batch)


def require_borders(collator: DataCollatorForSkipAlign, rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse rows that leave the strategy no border to jump at, such as dialogues of which every token is trained.

    Args:
        collator ([`DataCollatorForSkipAlign`]):
            The collator of a run.
        rows (`Iterable[Mapping]`):
            Its prepared rows; read up to the first one with a border, at most 64.

    Raises:
        ValueError: if none of these rows has one, with the remedies.
    """
    allowed = STRATEGIES[collator.strategy].borders
    if not allowed or collator.skip_probability == 0.0:
        return
    labels_of, seen = replace(collator, packed=False), 0
    for seen, row in enumerate(islice(rows, _ROWS_LOOKED_AT), start=1):  # noqa: B007 (counted for the message)
        tokens = np.asarray(row["input_ids"])
        batch = labels_of([{key: row[key] for key in _COLUMNS[:2] if key in row}])
        trained = batch["labels"][0, : len(tokens)].numpy() != IGNORE_INDEX
        ends = collator.sentence_end_token_ids
        starts = None if ends is None else sentence_starts_after(np.isin(tokens, list(ends)))
        borders = find_borders(trained, np.asarray(row.get("seq_lengths") or [len(tokens)]), starts)
        if np.isin(borders.kind, allowed).any():
            return
    raise ValueError(
        f"strategy={collator.strategy!r} finds no border to jump at in the first {seen} rows: no position would be "
        "skipped. Where every token of a dialogue is trained, set assistant_only_loss=True; for jumps between "
        "sentences name their ends in sentence_end_tokens; for text without dialogues use strategy='pose'."
    )


def token_ids(tokens: list[str] | None, tokenizer: PreTrainedTokenizerBase) -> list[int] | None:
    """Ids of tokens given as the vocabulary spells them; raises `ValueError` for one that is not in it."""
    if tokens is None:
        return None
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in tokens if token not in vocabulary]
    if missing:
        raise ValueError(
            f"sentence_end_tokens contains {missing}, which are not single tokens of this tokenizer. Give tokens as "
            "the vocabulary spells them (see tokenizer.tokenize)."
        )
    return [vocabulary[token] for token in tokens]


class EpochOfPositions(TrainerCallback):
    """Tell a [`DataCollatorForSkipAlign`] which epoch it draws positions for.

    Only persistent workers need it: everywhere else in a [`~transformers.Trainer`] the collator follows the data
    loader. It counts passes over the data as the trainer does, from the pass that a resume continues; for a stream
    of unknown length `state.epoch` is a share of `max_steps` instead, and a resumed trainer begins at pass 0.

    Args:
        collator ([`DataCollatorForSkipAlign`]):
            The collator in use.

    Example:

    ```python
    trainer = SFTTrainer(..., data_collator=collator, callbacks=[EpochOfPositions(collator)])
    ```
    """

    def __init__(self, collator: DataCollatorForSkipAlign) -> None:
        self.collator = collator
        self._next_epoch = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See [`~transformers.TrainerCallback`]."""
        # What the trainer gives a stream, which it repeats until max_steps.
        of_unknown_length = state.num_train_epochs == sys.maxsize
        self._next_epoch = 0 if of_unknown_length else int(state.epoch or 0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See [`~transformers.TrainerCallback`]."""
        self.collator.set_epoch(self._next_epoch)
        self._next_epoch += 1
