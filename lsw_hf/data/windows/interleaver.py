"""Chunk Interleaved Pretraining (CIP): short documents in, long-range windows out."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from random import Random
from typing import Any

import numpy as np

from .config import ChunkInterleaveConfig, InterleaveCounts, TooFewDocumentsError
from .cuts import chunk_order, cut_documents, share_window
from .pieces import Document, Piece, end_with_separator, to_arrays

_END: Any = object()


def interleave_chunks(
    documents: Iterable[Document], *, window_length: int, seed: int | str = 0, **options: Any
) -> "ChunkInterleaver":
    """Interleave chunks of several documents into windows: Chunk Interleaved Pretraining
    ([LongSkywork](https://arxiv.org/abs/2406.00605)).

    ```text
    documents   A = a1 a2    B = b1 b2    C = c1 c2          (documents_per_window=3, chunks_per_document=2)
    window      a1 b1 c1 a2 b2 c2                            len(b1) + len(c1) tokens are between a1 and a2
    ```

    With equal lengths every document sees its own past across `(D - 1) L / (D K)` foreign tokens (D documents, K
    chunks, window L). Documents longer than their share of the window continue in the next ones, so no token is
    lost or given twice; only the last, unfilled window is dropped, and counted in `.counts.tokens_dropped`.

    Args:
        documents (`Iterable`):
            Token id sequences, or mappings with `input_ids` and optional `labels`. Empty ones are skipped and counted.
        window_length (`int`):
            Tokens in every window.
        seed (`int` or `str`, *optional*, defaults to 0):
            Everything drawn follows from it and from the order of the documents.
        options:
            Other fields of [`ChunkInterleaveConfig`], such as `documents_per_window`.

    Returns:
        [`ChunkInterleaver`]: an iterator of dictionaries with `input_ids` and `labels`, `int64` arrays of
        `window_length` tokens each. Arguments are checked before anything is read.

    Raises:
        ValueError: a setting out of range; fewer documents in the whole stream than `documents_per_window`.
        TypeError: documents that are not token ids.

    Example:

    ```python
    >>> documents = [[1, 2, 3, 4], [5, 6, 7, 8]]
    >>> windows = interleave_chunks(documents, window_length=8, documents_per_window=2, split="equal")
    >>> next(windows)["input_ids"].tolist()
    [1, 2, 5, 6, 3, 4, 7, 8]

    ```
    """
    return ChunkInterleaver(documents, ChunkInterleaveConfig(window_length=window_length, **options), seed=seed)


class ChunkInterleaver(Iterator[dict[str, Any]]):
    """An iterator of windows over a stream of documents, see [`interleave_chunks`].

    Args:
        documents (`Iterable`):
            Token id sequences, or mappings with `input_ids` and optional `labels`. Read once, one window ahead.
        config ([`ChunkInterleaveConfig`]):
            How windows are built.
        seed (`int` or `str`, *optional*, defaults to 0):
            Everything drawn follows from it and from the order of the documents.

    Attributes:
        counts ([`InterleaveCounts`]):
            what went in and out so far.
    """

    def __init__(self, documents: Iterable[Document], config: ChunkInterleaveConfig, *, seed: int | str = 0) -> None:
        if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
            raise TypeError(f"documents must be an iterable of token id sequences, got {type(documents).__name__}.")
        self.config = config
        self.counts = InterleaveCounts()
        self._documents = iter(documents)
        self._random = Random(f"chunk-interleave-{seed}")
        self._pending: list[Piece] = []
        self._group: list[Piece] = []
        self._exhausted = False
        self._labeled = False
        self._room = config.window_length - (config.separator_id is not None and config.separators == "window")
        weights = config.chunk_weights
        self._chunk_counts, self._chunk_weights = list(weights), list(weights.values())

    def __next__(self) -> dict[str, Any]:
        fraction = self.config.interleaved_fraction
        interleaved = fraction == 1.0 or (fraction > 0.0 and self._random.random() < fraction)
        lengths = self._gather(self.config.documents_per_window if interleaved else 1)
        if not lengths:
            self._stop()
            raise StopIteration
        pieces = self._pending[: len(lengths)]
        if interleaved:
            shares = share_window(lengths, self._room)
            shuffle = self._random.shuffle if self.config.shuffle_rounds else None
            borders = cut_documents(shares, self._chunk_counts, self._chunk_weights, self.config.split, self._random)
            order = chunk_order(borders, shuffle)
        else:
            shares = [*lengths[:-1], self._room - sum(lengths[:-1])]
            order = [(index, 0, share) for index, share in enumerate(shares)]
        self._pending[: len(lengths)] = [
            piece.remainder(share)
            for piece, share, length in zip(pieces, shares, lengths, strict=True)
            if share < length
        ]
        return self._emit(pieces, order, interleaved)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue after the last window: JSON-able, and as large as the documents in flight."""
        version, words, gauss = self._random.getstate()
        return {
            "config": repr(self.config),
            "counts": asdict(self.counts),
            "random": [version, list(words), gauss],
            "pending": [piece.to_plain() for piece in self._pending],
            "group": [piece.to_plain() for piece in self._group],
            "exhausted": self._exhausted,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, skip_documents: bool = True) -> None:
        """Continue another interleaver's stream: the next window is the one it would have given.

        Args:
            state (`dict`):
                What `state_dict` returned, for the same documents, config and seed.
            skip_documents (`bool`, *optional*, defaults to `True`):
                Reads over the documents that were already taken in. `False` when the given stream itself resumes
                after them.

        Raises:
            ValueError: the state was saved under another config.
        """
        if state["config"] != repr(self.config):
            raise ValueError(
                f"The saved stream was made with {state['config']}, not with {self.config!r}: use its config."
            )
        self.counts = InterleaveCounts(**state["counts"])
        version, words, gauss = state["random"]
        self._random.setstate((version, tuple(words), gauss))
        self._pending = [Piece.from_plain(piece) for piece in state["pending"]]
        self._group = [Piece.from_plain(piece) for piece in state["group"]]
        self._exhausted = state["exhausted"]
        self._labeled = any(piece.labels is not None for piece in self._pending + self._group)
        if skip_documents:
            next(itertools.islice(self._documents, self.counts.documents_read, self.counts.documents_read), None)

    def _gather(self, least: int) -> list[int]:
        """Lengths of the pending pieces that make the next window; empty when the stream is over."""
        lengths: list[int] = []
        tokens = 0
        pending, room = self._pending, self._room
        for piece in pending:
            if tokens >= room and len(lengths) >= least:
                return lengths
            lengths.append(len(piece.input_ids))
            tokens += lengths[-1]
        read = self._next_of_group if self.config.group_documents else self._next_piece
        while tokens < room or len(lengths) < least:
            found = read()
            if found is None:
                break
            pending.append(found)
            lengths.append(len(found.input_ids))
            tokens += lengths[-1]
        return lengths if tokens >= room else []

    def _next_of_group(self) -> Piece | None:
        """Return the next document of those read ahead, in groups of similar length."""
        if not self._group:
            ahead = (self._next_piece() for _ in range(self.config.group_documents))
            self._group = [piece for piece in ahead if piece is not None]
            self._group.sort(key=lambda piece: len(piece.input_ids))
            # Runs longer than a window, so that most windows lie inside one; shuffled, so that length is no
            # curriculum.
            width = 8 * self.config.documents_per_window
            runs = [self._group[start : start + width] for start in range(0, len(self._group), width)]
            self._random.shuffle(runs)
            self._group = list(itertools.chain.from_iterable(runs))
        return self._group.pop(0) if self._group else None

    def _next_piece(self) -> Piece | None:
        counts, separator = self.counts, self.config.separator_id
        while not self._exhausted:
            document = next(self._documents, _END)
            if document is _END:
                self._exhausted = True
                break
            number = counts.documents_read
            counts.documents_read = number + 1
            input_ids, labels = to_arrays(document, number)
            counts.tokens_read += len(input_ids)
            if separator is not None and len(input_ids):
                input_ids, labels, removed, added = end_with_separator(
                    input_ids, labels, separator, self.config.separators == "document"
                )
                counts.separators_removed += removed
                counts.separators_added += added
            if len(input_ids):
                self._labeled = self._labeled or labels is not None
                return Piece(number, 0, input_ids, labels)
            counts.documents_empty += 1
        return None

    def _emit(self, pieces: list[Piece], order: list[tuple[int, int, int]], interleaved: bool) -> dict[str, Any]:
        # One block for both: a window owns its memory, and the allocator gives back the block of the one before.
        block = np.empty((2, self.config.window_length), dtype=np.int64)
        input_ids, labels = block[0], block[1]
        arrays = [piece.input_ids for piece in pieces]
        np.concatenate([arrays[p][a:b] for p, a, b in order], out=input_ids[: self._room])
        if self._room < self.config.window_length:
            input_ids[self._room :] = self.config.separator_id
        labels[:] = input_ids
        if self._labeled:
            arrays = [piece.input_ids if piece.labels is None else piece.labels for piece in pieces]
            np.concatenate([arrays[p][a:b] for p, a, b in order], out=labels[: self._room])
        window: dict[str, Any] = {"input_ids": input_ids, "labels": labels}
        if self.config.plain_attention == "document":
            lengths = [self.config.window_length] if interleaved else [b for _, _, b in order]
            lengths[-1] += self.config.window_length - sum(lengths)
            window["seq_lengths"] = lengths
        if self.config.provenance:
            window["chunk_documents"] = [pieces[p].document for p, _, _ in order]
            window["chunk_offsets"] = [pieces[p].offset + a for p, a, _ in order]
            window["chunk_lengths"] = [b - a for _, a, b in order]
        self.counts.windows += 1
        self.counts.windows_interleaved += interleaved
        self.counts.windows_below_documents += interleaved and len(pieces) < self.config.documents_per_window
        self.counts.separators_added += self.config.window_length - self._room
        self.counts.tokens_emitted += self.config.window_length
        return window

    def _stop(self) -> None:
        counts = self.counts
        found = counts.documents_read - counts.documents_empty
        counts.tokens_dropped += sum(len(piece.input_ids) for piece in self._pending)
        self._pending = []
        if counts.windows == 0 and found < self.config.documents_per_window:
            raise TooFewDocumentsError(
                f"documents_per_window={self.config.documents_per_window}, but the stream contained only {found} "
                "documents with tokens: give more documents, fewer shards, or a smaller documents_per_window."
            )
