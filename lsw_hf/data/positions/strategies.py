"""Every strategy in one table, `STRATEGIES`, and the formulas of other papers.

A new strategy is an entry of the table and, unless it chooses among borders as the SkipAlign strategies do, its
formula here. What may be given, the help of the command line and the checks follow from the table.

The formulas of other papers were published for windows of plain text and fixed length. Here each takes a row as its
window, its positions start at 0 (rotary attention sees differences only, and packed rows need a common first
position), and only positions change, not the text: PoSE's second chunk and CREAM's middle are the tokens that follow
in the row. Each function draws, for a batch of rows, the tokens in front of which positions jump and how many
positions they skip.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .borders import INNER, OUTER, SENTENCE_IN_INSTRUCTION, SENTENCE_IN_RESPONSE, Borders, index_in_row, jumps_of
from .draws import keyed_integers, keyed_subsets, keyed_uniform

Jumps = tuple[np.ndarray, np.ndarray]

CREAM_SIGMA = 3.0  # default of the published script
CREAM_EDGE = 4  # tokens of a short head or tail, in multiples of the extension factor

# Counters of keyed draws: one per row, one per token or border, one per chunk.
_FIRST, _SECOND, _THIRD, _FOURTH = 3, 4, 5, 6
_PER_TOKEN, _PER_CHUNK = 16, 1 << 48


def pose_jumps(lengths: np.ndarray, borders: Borders, keys: np.ndarray, room: np.ndarray, num_skips: int) -> Jumps:
    """PoSE ([2309.10400](https://arxiv.org/abs/2309.10400)): chunks whose borders ignore the text.

    With one skip this is the published sampler: the first chunk has 1 to `(length + 1) // 2` tokens, the second is
    shifted by 0 to `room` positions, both uniform. With more, chunk borders are distinct random tokens (our choice)
    and each shift is uniform between the one before it and `room` (the paper's formula).

    Args:
        lengths (`np.ndarray` of shape `(num_rows,)`):
            Length of each row in tokens.
        borders ([`Borders`]):
            Borders of these rows; not used here.
        keys (`np.ndarray` of `uint64`, shape `(num_rows,)`):
            One key per row.
        room (`np.ndarray` of shape `(num_rows,)`):
            Positions of the context that each row leaves free.
        num_skips (`int`):
            Number of chunks, less one.

    Returns:
        `tuple` of two arrays: flat indices of the tokens after the jumps, sorted, and positions skipped there.
    """
    starts = np.cumsum(lengths) - lengths
    if num_skips == 1:
        first = 1 + keyed_integers(keys, _FIRST, (lengths + 1) // 2 - 1)
        inside = first < lengths
        return (starts + first)[inside], keyed_integers(keys, _SECOND, room)[inside]
    rows, tokens = keyed_subsets(keys, _PER_TOKEN, np.minimum(num_skips, lengths - 1), lengths - 1)
    order = index_in_row(rows)
    jumps = np.zeros(len(rows), dtype=np.int64)
    left = room.copy()
    for number in range(num_skips):
        now = np.flatnonzero(order == number)
        jumps[now] = keyed_integers(keys[rows[now]], _PER_CHUNK + number, left[rows[now]])
        left[rows[now]] -= jumps[now]
    return starts[rows] + tokens + 1, jumps


def cream_jumps(lengths: np.ndarray, borders: Borders, keys: np.ndarray, room: np.ndarray, num_skips: int) -> Jumps:
    """CREAM ([2406.07138](https://arxiv.org/abs/2406.07138)): head at 0, tail at the context's end, middle between.

    Head and tail have a third of the row or 4 times the extension factor, by a fair coin (here for each row; the
    published script flips it once for 3,000 documents). The middle ends in a zone whose place is drawn from a normal
    distribution around the center of the context, cut off at its ends. Arguments and returns as in [`pose_jumps`];
    `num_skips` is not used.
    """
    factor = np.maximum((lengths + room) // lengths, 1)
    edge = np.where(keyed_uniform(keys, _FIRST) < 0.5, lengths // 3, CREAM_EDGE * factor)
    edge = np.where(2 * edge < lengths, edge, lengths // 3)
    middle = lengths - 2 * edge
    # Box and Muller's normal draw.
    radius = np.sqrt(-2.0 * np.log1p(-keyed_uniform(keys, _SECOND)))
    normal = radius * np.cos(2 * np.pi * keyed_uniform(keys, _THIRD))
    zone = np.floor(np.clip(1 + factor + CREAM_SIGMA * normal, 2, 2 * factor)).astype(np.int64)
    low = edge + (middle - 1) * zone // 2
    high = zone * lengths // 2 - edge - 1
    middle_end = low + keyed_integers(keys, _FOURTH, high - low)
    shift = middle_end - (middle - 1) - edge

    starts = np.cumsum(lengths) - lengths
    tokens = np.stack([starts + edge, starts + lengths - edge], axis=1)[edge > 0]
    return tokens.reshape(-1), np.stack([shift, room - shift], axis=1)[edge > 0].reshape(-1)


def long_recipe_jumps(
    lengths: np.ndarray, borders: Borders, keys: np.ndarray, room: np.ndarray, num_skips: int
) -> Jumps:
    """LongRecipe ([2409.00509](https://arxiv.org/abs/2409.00509)): a random gap in front of every sentence.

    Sentences and free positions are slots in random order, as published; a border between segments ends a sentence too
    (our choice). The paper's selection of sentences is not part of this. Arguments and returns as in [`pose_jumps`];
    `num_skips` is not used.
    """
    sentences = 1 + np.bincount(borders.row, minlength=len(lengths))
    rows, slots = keyed_subsets(keys, _PER_TOKEN, sentences, sentences + room)
    order = index_in_row(rows)
    not_first = order > 0
    # The number of free slots in front of a sentence; the first sentence stays at 0.
    return borders.token, jumps_of((slots - order)[not_first], order[not_first] - 1)


def random_jumps(lengths: np.ndarray, borders: Borders, keys: np.ndarray, room: np.ndarray, num_skips: int) -> Jumps:
    """Ordered random positions, every set of them equally likely, moved to begin at 0 (the baseline of PoSE).

    Arguments and returns as in [`pose_jumps`]; `borders` and `num_skips` are not used.
    """
    rows, positions = keyed_subsets(keys, _PER_TOKEN, lengths, lengths + room)
    tokens = np.flatnonzero(index_in_row(rows) > 0)
    return tokens, positions[tokens] - positions[tokens - 1] - 1


class Strategy(NamedTuple):
    """One way to draw skipped positions.

    Attributes:
        help (`str`): where positions jump, in a few words.
        paper (`str`, *optional*): name and arXiv number of the paper it is from, where that is not SkipAlign.
        borders (`tuple[int, ...]`): kinds of border in front of which positions may jump; a run whose rows have none
            is refused. Empty for strategies that ignore borders.
        jumps (`Callable`, *optional*): the formula, with the arguments and returns of [`pose_jumps`]. Without one, a
            random choice of the borders shares a random sum of skips.
    """

    help: str
    paper: str | None = None
    borders: tuple[int, ...] = ()
    jumps: Callable[[np.ndarray, Borders, np.ndarray, np.ndarray, int], Jumps] | None = None


_EVERY_BORDER = (INNER, OUTER, SENTENCE_IN_INSTRUCTION, SENTENCE_IN_RESPONSE)
# Sentence borders are our choice: "inner" means inside the context that a response must look back into, so sentences
# of the instruction count and those of the response do not.
STRATEGIES: dict[str, Strategy] = {
    "skip_all": Strategy(
        "at every border between instructions, responses and, with sentence ends given, sentences",
        borders=_EVERY_BORDER,
    ),
    "skip_inner": Strategy(
        "between an instruction and its own response, and between sentences of the instruction",
        borders=(INNER, SENTENCE_IN_INSTRUCTION),
    ),
    "skip_outer": Strategy("between turns only", borders=(OUTER,)),
    "none": Strategy("nowhere"),
    "pose": Strategy("between two chunks of any content", "PoSE, 2309.10400", jumps=pose_jumps),
    "cream": Strategy("around a middle part", "CREAM, 2406.07138", jumps=cream_jumps),
    "long_recipe": Strategy(
        "between sentences, in runs of tokens", "LongRecipe, 2409.00509", _EVERY_BORDER, long_recipe_jumps
    ),
    "random": Strategy("ordered positions drawn uniformly", jumps=random_jumps),
}


def strategy_help() -> str:
    """Return what each strategy does, one a line."""
    lines = (
        f"{name}: {strategy.help}" + (f" ({strategy.paper})" if strategy.paper else "")
        for name, strategy in STRATEGIES.items()
    )
    return "Where positions jump:\n" + ";\n".join(lines) + "."
