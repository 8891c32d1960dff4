"""Batches with skipped positions: the collator that turns instruction rows into SkipAlign training batches."""

import struct
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from multiprocessing.context import get_spawning_popen
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from ...attention.proof import check_attention_backend
from .borders import IGNORE_INDEX, Borders, find_borders, sentence_starts_after
from .draws import content_hash, row_keys
from .sampler import PositionSampler, Split
from .strategies import STRATEGIES

# A run whose first dialogues leave no border to jump at is taken for one without any.
_DIALOGUES_LOOKED_AT = 16
_FOLLOW = -1


class PositionEpoch:
    """An epoch that a collator can read in the main process and in workers.

    Until [`~PositionEpoch.set`] is called it follows the data loader that accelerate is iterating: `Trainer` tells
    that loader its epoch before every pass, also after a resume, and worker processes start after that. A loader
    that accelerate does not know has epoch 0 throughout, and so has one whose workers outlive an epoch; the latter
    warns.

    Positions of an evaluation are those of epoch 0 whenever it runs, so that its losses can be compared.
    """

    def __init__(self) -> None:
        # In shared memory, so that workers which live through several epochs see an epoch that is set as well.
        self._fixed = torch.full((), _FOLLOW, dtype=torch.int64).share_memory_()
        self._sent: int | None = None

    def set(self, epoch: int) -> None:
        """Fix the epoch, counted from 0, also in workers that are already running."""
        if epoch < 0:
            raise ValueError(f"epoch must be at least 0, got {epoch}.")
        self._fixed.fill_(epoch)

    def now(self) -> int:
        """Return the epoch, from 0."""
        fixed = int(self._fixed)
        if fixed != _FOLLOW:
            return fixed
        if self._sent is not None and get_worker_info() is not None:
            return self._sent
        return _epoch_of_active_loader()

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker knows nothing of the loader that it serves, so the epoch travels with the collator.
        sent = self.now() if get_spawning_popen() is not None else self._sent
        return {"_fixed": self._fixed, "_sent": sent}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A no-op in a worker started by torch, which receives the shared memory itself; a plain pickle is a copy.
        self._fixed.share_memory_()


def _epoch_of_active_loader() -> int:
    # Looked up, not imported: where accelerate was never imported there is no loader of its own.
    accelerate = sys.modules.get("accelerate.state")
    loader = accelerate.GradientState().active_dataloader if accelerate is not None else None
    if getattr(loader, "persistent_workers", False):
        warnings.warn(
            "Persistent workers do not learn that a new epoch begins, so every epoch repeats the positions of the "
            "first. Pass callbacks=[EpochOfPositions(collator)] to the trainer, or leave "
            "dataloader_persistent_workers off.",
            stacklevel=3,
        )
        return 0
    return getattr(loader, "iteration", 0)


@dataclass
class DataCollatorForSkipAlign:
    """Pads or packs instruction rows and gives them skipped `position_ids`.

    Positions are drawn here, not stored in a column, because trainers drop or ignore such a column and because each
    epoch should see new ones. They are a function of `seed`, the epoch and the tokens of the row, and of nothing
    else: the same for any number of workers and processes, any batch size and order, and after a resume.

    Inside any [`~transformers.Trainer`], and in a loop over a loader that `accelerator.prepare` returned, the epoch is
    that of the loader: nothing else is needed. Two cases need a word. Persistent workers
    (`dataloader_persistent_workers=True`) need `callbacks=[EpochOfPositions(collator)]`, and warn without it;
    [`SkipAlignTrainer`] adds that itself. A loop over a plain `DataLoader` needs a call of
    [`~DataCollatorForSkipAlign.set_epoch`] before each pass, or every epoch repeats the first one's positions.

    A row is a dictionary with `"input_ids"` and either `"labels"` (-100 on instructions) or the masks
    `"completion_mask"` and `"assistant_masks"`. It is one unpadded dialogue, unless `packed` is set and
    `"seq_lengths"` names several. A plain [`~transformers.Trainer`] drops these masks and `"seq_lengths"` unless
    `remove_unused_columns=False`.

    Args:
        pad_token_id (`int`):
            Token id used for padding.
        context_length (`int`):
            Target context length in tokens; all positions are below it. Rows must not be longer.
        strategy (`str`, *optional*, defaults to `"skip_all"`):
            Where positions jump: a name in `lsw_hf.data.positions.strategies.STRATEGIES`, which says what each does.
        skip_probability (`float`, *optional*, defaults to 1.0):
            Share of the dialogues that get skips, in [0, 1]; the others keep ordinary positions. The paper's value is
            not public; the default is our choice: on a tiny model half of the dialogues taught less on every seed,
            and nothing was lost at short lengths (`benchmarks/skip_strategies.py`).
        sentence_end_token_ids (`Sequence[int]`, *optional*):
            Ids of the tokens that end a sentence. With them, positions may also jump between sentences.
        max_skips (`int`, *optional*):
            Largest number of jumps in a dialogue. Defaults to 16, and to 1 for `"pose"`.
        seed (`int`, *optional*, defaults to 0):
            Seed of the positions.
        packed (`bool`, *optional*, defaults to `False`):
            `False` makes one row per dialogue. `True` lays all dialogues one after the other in one row, isolated from
            each other by `cu_seq_lens_q`/`cu_seq_lens_k`; it needs flash attention or
            `attn_implementation="lsw_sdpa"`, because stock backends cut attention at skips and do not say so.
            [`SkipAlignTrainer`] refuses them; in a trainer or loop of your own pass `model`.
        pad_to_multiple_of (`int`, *optional*):
            Pads the length of the batch to a multiple of this value.
        split (`str`, *optional*, defaults to `"cuts"`):
            How the skipped positions are shared between jumps, see [`~lsw_hf.data.positions.sampler.PositionSampler`].
        model ([`~transformers.PreTrainedModel`], *optional*):
            The model to train, looked at once and not kept: a backend that cannot carry packed dialogues is refused.
            Needed for `packed=True` with skips.

    Returns (of a call):
        `dict` of tensors of shape `(num_rows, length)`, or `(1, length)` when packed, `length` in tokens:

        - `input_ids`, `labels` (-100 on padding and, when packed, on the first token of each dialogue);
        - `position_ids`: in each dialogue from 0, strictly increasing. They run on through the padding, where they
          stop at `context_length - 1`: no token looks at padding, so repeated positions there are harmless;
        - rows: `attention_mask`, all ones, padding included. With right padding this changes no real token's output,
          while `None` would be read as "a jump begins a new document", and a zero would cost a full attention
          matrix;
        - packed: `cu_seq_lens_q`, `cu_seq_lens_k` (int32), `max_length_q`, `max_length_k` (`int`), `seq_idx`
          (int32), and no mask. Padding is a document of its own.

    Raises:
        ValueError: An argument is outside its range, or a row is longer than `context_length`, empty, padded,
        without labels, without a single trained token, or brings its own `position_ids`. The first 16 dialogues
        leave the strategy no border to jump at. The attention backend of `model` cannot carry packed dialogues, or
        no `model` was given for them.

    Example:

    ```python
    >>> from lsw_hf import DataCollatorForSkipAlign
    >>> collator = DataCollatorForSkipAlign(pad_token_id=0, context_length=64, skip_probability=1.0)
    >>> rows = [{"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}, {"input_ids": [5, 9], "labels": [-100, 9]}]
    >>> collator(rows)
    ```
    """

    pad_token_id: int
    context_length: int
    strategy: str = "skip_all"
    skip_probability: float = 1.0
    sentence_end_token_ids: Sequence[int] | None = None
    max_skips: int | None = None
    seed: int = 0
    packed: bool = False
    pad_to_multiple_of: int | None = None
    split: Split = "cuts"
    model: InitVar[Any] = None
    _num_borderless: int | None = field(init=False, repr=False, compare=False, default=0)
    _epoch: PositionEpoch = field(init=False, repr=False, compare=False, default_factory=PositionEpoch)

    def __post_init__(self, model: Any) -> None:
        if self.pad_token_id is None:
            raise ValueError("pad_token_id is None; set tokenizer.pad_token, for example to tokenizer.eos_token.")
        if self.pad_to_multiple_of is not None and self.pad_to_multiple_of < 1:
            raise ValueError(f"pad_to_multiple_of must be at least 1, got {self.pad_to_multiple_of}.")
        self._sampler()
        if model is not None:
            check_attention_backend(model, packed=self.packed and self.strategy != "none")
        elif self.packed and self.strategy != "none":
            raise ValueError(
                "packed=True with skipped positions needs to know the model: stock attention would be cut at every "
                "skip, without an error. Pass model=, with flash attention or attn_implementation='lsw_sdpa', or use "
                "SkipAlignTrainer."
            )

    def _sampler(self) -> PositionSampler:
        return PositionSampler(self.context_length, self.strategy, self.skip_probability, self.max_skips, self.split)

    @property
    def epoch(self) -> int:
        """The epoch that positions are drawn for, 0 for the first."""
        return self._epoch.now()

    def set_epoch(self, epoch: int) -> None:
        """Draw the positions of `epoch` from now on, also in worker processes that are already running, and no longer
        ask the data loader.

        Args:
            epoch (`int`):
                Number of the epoch, 0 for the first. Call it before the data loader is iterated.
        """
        self._epoch.set(epoch)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        tokens, labels = [], []
        for index, row in enumerate(rows):  # row by row: what labels share with tokens is then still in the cache
            tokens.append(as_token_array(row["input_ids"]))
            labels.append(_labels_of(row, tokens[-1], index))
            self._refuse_padding(tokens[-1], labels[-1], index)
        lengths = self._document_lengths(rows, tokens)
        flat_tokens, flat_labels = np.concatenate(tokens), np.concatenate(labels)
        starts = np.cumsum(lengths) - lengths
        hashes = [content_hash(flat_tokens[s : s + n]) for s, n in zip(starts, lengths, strict=True)]

        trained = flat_labels != IGNORE_INDEX
        _require_trained(trained, [len(ids) for ids in tokens])
        borders = find_borders(trained, lengths, self._sentence_starts(flat_tokens))
        self._look_for_borders(lengths, borders)
        positions = self._sampler()(lengths, borders, row_keys(self.seed, self.epoch, hashes))
        if self.packed:
            return self._pack(flat_tokens, flat_labels, positions, lengths)
        return self._pad(flat_tokens, flat_labels, positions, lengths)

    def _refuse_padding(self, tokens: np.ndarray, labels: np.ndarray, index: int) -> None:
        """Refuse a row that begins or ends with padding; one such token may be the tokenizer's first or last."""
        for side, end in (("begins", slice(None, 2)), ("ends", slice(-2, None))):
            if len(tokens) > 2 and (tokens[end] == self.pad_token_id).all() and (labels[end] == IGNORE_INDEX).all():
                raise ValueError(
                    f"Row {index} {side} with padding tokens ({self.pad_token_id}) and has no attention_mask that "
                    "says so: positions would be counted from the padding on. Pass unpadded rows."
                )

    def _look_for_borders(self, lengths: np.ndarray, borders: Borders) -> None:
        """Refuse a run whose first dialogues leave the strategy nowhere to jump, which would train without skips."""
        allowed = STRATEGIES[self.strategy].borders
        if self._num_borderless is None or not allowed or self.skip_probability == 0.0:
            return
        if np.isin(borders.kind, allowed).any():
            self._num_borderless = None
            return
        self._num_borderless += len(lengths)
        if self._num_borderless >= _DIALOGUES_LOOKED_AT:
            raise ValueError(
                f"strategy={self.strategy!r} found no border to jump at in the first {self._num_borderless} "
                "dialogues: no position was skipped. Where every token of a dialogue is trained, set "
                "assistant_only_loss=True; for jumps between sentences give sentence_end_token_ids; for text without "
                "dialogues use strategy='pose'."
            )

    def _sentence_starts(self, tokens: np.ndarray) -> np.ndarray | None:
        if self.sentence_end_token_ids is None:
            return None
        ends = np.zeros(len(tokens), dtype=bool)
        # There are few of these ids, and a comparison each is faster than np.isin.
        for token_id in self.sentence_end_token_ids:
            ends |= tokens == token_id
        return sentence_starts_after(ends)

    def _document_lengths(self, rows: Sequence[Mapping[str, Any]], tokens: list[np.ndarray]) -> np.ndarray:
        """Return the length of each dialogue of the batch; a packed row contains several."""
        lengths: list[int] = []
        for index, (row, ids) in enumerate(zip(rows, tokens, strict=True)):
            documents = [int(n) for n in row.get("seq_lengths") or [len(ids)]]
            if len(documents) > 1 and not self.packed:
                raise ValueError(
                    f"Row {index} contains {len(documents)} packed dialogues (seq_lengths), but one dialogue per row "
                    "is expected. Use DataCollatorForSkipAlign(packed=True), or turn packing off."
                )
            if min(documents) < 1 or sum(documents) != len(ids):
                raise ValueError(
                    f"Row {index} has {len(ids)} tokens in dialogues of lengths {documents}; lengths must be positive "
                    "and add up to the number of tokens."
                )
            lengths.extend(documents)
        return np.array(lengths, dtype=np.int64)

    def _padded_length(self, length: int) -> int:
        multiple = self.pad_to_multiple_of or 1
        return -(-length // multiple) * multiple

    def _pad(
        self, tokens: np.ndarray, labels: np.ndarray, positions: np.ndarray, lengths: np.ndarray
    ) -> dict[str, Any]:
        shape = (len(lengths), self._padded_length(int(lengths.max())))
        input_ids, padded_labels, position_ids = (np.empty(shape, dtype=np.int64) for _ in range(3))
        start = 0
        for row, length in enumerate(lengths.tolist()):
            end = start + length
            input_ids[row, :length] = tokens[start:end]
            padded_labels[row, :length] = labels[start:end]
            position_ids[row, :length] = positions[start:end]
            input_ids[row, length:] = self.pad_token_id
            padded_labels[row, length:] = IGNORE_INDEX
            after = positions[end - 1] + np.arange(1, shape[1] - length + 1)
            position_ids[row, length:] = np.minimum(after, self.context_length - 1)
            start = end
        return {
            "input_ids": torch.from_numpy(input_ids),
            "labels": torch.from_numpy(padded_labels),
            "attention_mask": torch.ones(shape, dtype=torch.int64),
            "position_ids": torch.from_numpy(position_ids),
        }

    def _pack(
        self, tokens: np.ndarray, labels: np.ndarray, positions: np.ndarray, lengths: np.ndarray
    ) -> dict[str, Any]:
        # The first token of a dialogue would be predicted from the last token of the dialogue before it.
        labels[np.cumsum(lengths) - lengths] = IGNORE_INDEX
        padding = self._padded_length(len(tokens)) - len(tokens)
        if padding:
            lengths = np.append(lengths, padding)
            tokens = np.append(tokens, np.full(padding, self.pad_token_id))
            labels = np.append(labels, np.full(padding, IGNORE_INDEX))
            positions = np.append(positions, np.minimum(np.arange(padding), self.context_length - 1))
        cu_seq_lens = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        max_length = int(lengths.max())
        return {
            "input_ids": torch.from_numpy(tokens)[None],
            "labels": torch.from_numpy(labels)[None],
            "position_ids": torch.from_numpy(positions)[None],
            "cu_seq_lens_q": cu_seq_lens,
            "cu_seq_lens_k": cu_seq_lens,
            "max_length_q": max_length,
            "max_length_k": max_length,
            "seq_idx": torch.from_numpy(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths))[None],
        }


def as_token_array(values: Any) -> np.ndarray:
    """Return a one-dimensional int64 array, perhaps read-only; `struct` reads a list 2.5 times faster than numpy."""
    if isinstance(values, list):
        return np.frombuffer(struct.pack(f"{len(values)}q", *values), dtype=np.int64)
    return np.asarray(values, dtype=np.int64).reshape(-1)


def _labels_of(row: Mapping[str, Any], tokens: np.ndarray, index: int) -> np.ndarray:
    """Return the labels of a row after checking it; masks are turned into labels."""
    if len(tokens) == 0:
        raise ValueError(f"Row {index} is empty; filter empty rows out of the dataset.")
    if "position_ids" in row:
        raise ValueError(
            f"Row {index} brings its own position_ids, which would be ignored: this collator draws new ones in every "
            "epoch. Remove the column (dataset.remove_columns('position_ids')) or use another collator."
        )
    if "attention_mask" in row and not as_token_array(row["attention_mask"]).all():
        raise ValueError(
            f"Row {index} is already padded (its attention_mask has zeros). Pass unpadded rows: padding on the left "
            "would shift every position, and this collator pads on the right."
        )
    if "labels" in row:
        labels = as_token_array(row["labels"])
    else:
        masks = [as_token_array(row[name]) for name in ("completion_mask", "assistant_masks") if name in row]
        if not masks:
            raise ValueError(
                f"Row {index} has neither labels nor completion_mask nor assistant_masks (its keys: {sorted(row)}), "
                "so its instructions and responses cannot be told apart. Provide labels with -100 on instructions; "
                "if the dataset has these masks, set remove_unused_columns=False."
            )
        trained = np.logical_and.reduce([mask != 0 for mask in masks])
        labels = np.where(trained, tokens, IGNORE_INDEX)
    if len(labels) != len(tokens):
        raise ValueError(
            f"Row {index} has {len(tokens)} input_ids but {len(labels)} labels; they must be of equal length."
        )
    return labels


def _require_trained(trained: np.ndarray, lengths: list[int]) -> None:
    """Refuse rows whose labels are all -100; `trained` contains all rows, one after the other."""
    starts = np.cumsum([0, *lengths[:-1]])
    untrained = np.flatnonzero(~np.logical_or.reduceat(trained, starts))
    if len(untrained):
        raise ValueError(
            f"Row {untrained[0]} has no trained token: all its labels are -100. Filter such rows; often the prompt "
            "alone filled max_length."
        )
