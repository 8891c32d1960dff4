"""Tokenized documents on their way into windows: checked, freed of separators, cut from the front."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Document = Sequence[int] | Mapping[str, Sequence[int]]
"""Token ids, or a mapping with `input_ids` and, optionally, as many `labels` (-100 where no loss is wanted)."""


class Piece(NamedTuple):
    """What is left of one document: `input_ids[0]` is `offset` tokens after the document's start."""

    document: int
    offset: int
    input_ids: np.ndarray
    labels: np.ndarray | None

    def remainder(self, length: int) -> "Piece":
        """Return what is left once `length` tokens are taken from the front; arrays are views, not copies."""
        labels = None if self.labels is None else self.labels[length:]
        return Piece(self.document, self.offset + length, self.input_ids[length:], labels)

    def to_plain(self) -> list[Any]:
        """JSON-able form, read back by `from_plain`."""
        labels = None if self.labels is None else self.labels.tolist()
        return [self.document, self.offset, self.input_ids.tolist(), labels]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> "Piece":
        """Inverse of `to_plain`."""
        document, offset, input_ids, labels = plain
        as_array = None if labels is None else np.asarray(labels, dtype=np.int64)
        return cls(document, offset, np.asarray(input_ids, dtype=np.int64), as_array)


def to_arrays(document: Document | np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Check one document and turn it into `int64` arrays.

    Args:
        document (`Sequence[int]` or `Mapping`):
            Token ids, or a mapping with `input_ids` and optional `labels`.
        number (`int`):
            Its place in the stream, for messages.

    Raises:
        TypeError: text, or anything else that is not integers.
        ValueError: no `input_ids`, more than one dimension, or labels of another length.
    """
    if isinstance(document, np.ndarray) and document.dtype == np.int64 and document.ndim == 1:
        return document, None
    if not isinstance(document, Mapping):
        return _to_array(document, number, "input_ids"), None
    if "input_ids" not in document:
        raise ValueError(f"Document {number} has no input_ids, only {sorted(document)}: tokenize the documents first.")
    input_ids = _to_array(document["input_ids"], number, "input_ids")
    if document.get("labels") is None:
        return input_ids, None
    labels = _to_array(document["labels"], number, "labels")
    if len(labels) != len(input_ids):
        raise ValueError(
            f"Document {number} has {len(input_ids)} input_ids but {len(labels)} labels: one per token is needed."
        )
    return input_ids, labels


def _to_array(values: Sequence[int] | np.ndarray, number: int, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} of document {number} must be integers, got {array.dtype}: tokenize the documents first."
        )
    if array.ndim != 1:
        raise ValueError(f"{name} of document {number} must be one sequence, got an array of shape {array.shape}.")
    return array.astype(np.int64, copy=False)


def end_with_separator(
    input_ids: np.ndarray, labels: np.ndarray | None, separator_id: int, keep_last: bool
) -> tuple[np.ndarray, np.ndarray | None, int, int]:
    """Remove separators from a document; with `keep_last` exactly one remains, as its last token.

    Args:
        input_ids (`np.ndarray`):
            tokens, at least one.
        labels (`np.ndarray`, *optional*):
            label of each token.
        separator_id (`int`):
            the token that ends a document.
        keep_last (`bool`):
            whether the document ends with one separator (added if it is missing) or with none.

    Returns:
        `tuple`: tokens, labels, separators removed, separators added. A document of separators only becomes empty.
    """
    found = np.flatnonzero(input_ids == separator_id)
    ends = len(found) > 0 and found[-1] == len(input_ids) - 1
    if len(found) == len(input_ids):
        return input_ids[:0], None if labels is None else labels[:0], len(found), 0
    if keep_last and ends:
        found = found[:-1]
    if len(found):
        input_ids = np.delete(input_ids, found)
        labels = None if labels is None else np.delete(labels, found)
    if not keep_last or ends:
        return input_ids, labels, len(found), 0
    labels = None if labels is None else np.append(labels, separator_id)
    return np.append(input_ids, separator_id), labels, len(found), 1
