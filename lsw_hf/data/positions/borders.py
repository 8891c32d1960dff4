"""Where a dialogue may be cut: borders between its segments, and between sentences inside a segment.

```
token     0   1   2 | 3   4   5   6 | 7   8 | 9  10        labels -100 = instruction, others = response
segment   instruction | response      | instr. | response
border                inner           outer    inner
```
A border is named by the token that follows it. *Inner* leads from an instruction to its own response, *outer* from one
turn to the next. With sentence-end token ids, a sentence border follows the last of a run of such tokens.
"""

from typing import NamedTuple

import numpy as np

IGNORE_INDEX = -100

NUM_KINDS = 4
INNER, OUTER, SENTENCE_IN_INSTRUCTION, SENTENCE_IN_RESPONSE = range(NUM_KINDS)


class Borders(NamedTuple):
    """Borders of a batch of rows that follow one another in flat arrays, sorted by token.

    `row`, `token` and `kind` are int64 arrays of shape `(num_borders,)`: the row of the border, the flat index of
    the token after it, and one of `INNER`, `OUTER`, `SENTENCE_IN_INSTRUCTION`, `SENTENCE_IN_RESPONSE`.
    """

    row: np.ndarray
    token: np.ndarray
    kind: np.ndarray

    def select(self, keep: np.ndarray) -> "Borders":
        """Return the borders for which the boolean mask `keep` is true, or those at the indices `keep`."""
        return Borders(self.row[keep], self.token[keep], self.kind[keep])


def sentence_starts_after(sentence_ends: np.ndarray) -> np.ndarray:
    """Mark the tokens that begin a sentence: those after a run of sentence-end tokens (`"...!"` ends one sentence).

    Args:
        sentence_ends (`np.ndarray` of `bool`, shape `(num_tokens,)`):
            Whether a token ends a sentence.
    """
    starts = np.zeros_like(sentence_ends)
    starts[1:] = sentence_ends[:-1] & ~sentence_ends[1:]
    return starts


def find_borders(trained: np.ndarray, lengths: np.ndarray, sentence_starts: np.ndarray | None = None) -> Borders:
    """Find every border in a batch of rows.

    Args:
        trained (`np.ndarray` of `bool`, shape `(num_tokens,)`):
            Whether a token is part of a response; the rows follow one another.
        lengths (`np.ndarray` of shape `(num_rows,)`):
            Length of each row in tokens, each at least 1.
        sentence_starts (`np.ndarray` of `bool`, shape `(num_tokens,)`, *optional*):
            Whether a token begins a sentence. Sentence borders are found only when it is given.

    Returns:
        [`Borders`]. Where a sentence border and a segment border coincide, only the segment border is kept.
    """
    starts = np.cumsum(lengths) - lengths
    changes = np.zeros(len(trained), dtype=bool)
    changes[1:] = trained[1:] != trained[:-1]
    is_border = changes.copy()
    if sentence_starts is not None:
        is_border |= sentence_starts
    is_border[starts] = False

    token = np.flatnonzero(is_border)
    in_response = trained[token]
    segment_kind = np.where(in_response, INNER, OUTER)
    sentence_kind = np.where(in_response, SENTENCE_IN_RESPONSE, SENTENCE_IN_INSTRUCTION)
    kind = np.where(changes[token], segment_kind, sentence_kind)
    return Borders(np.searchsorted(starts, token, side="right") - 1, token, kind)


def index_in_row(rows: np.ndarray) -> np.ndarray:
    """Return 0, 1, 2, ... within each run of equal values of the sorted array `rows`."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows, side="left")


def jumps_of(bias: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the jumps `s_k = u_k - u_{k-1}` of biases `u_k`, where `order` is [`index_in_row`] and `u_0 = 0`."""
    return np.where(order == 0, bias, np.diff(bias, prepend=0))
