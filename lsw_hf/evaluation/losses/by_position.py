"""Loss by position: does the text further back help, or has the model stopped using it?"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, pairwise
from typing import Any, ClassVar

import numpy as np

from ...reports import SavedReport, markdown_table
from ..setting import model_settings
from .token_losses import TokenLosses


@dataclass(frozen=True)
class PositionBucket:
    """Tokens at neighboring positions.

    Args:
        start (`int`):
            First position, 0 being the first token of a window.
        end (`int`):
            Position after the last.
        tokens (`int`):
            Losses in the bucket, all windows together.
        loss (`float`):
            Their mean, in nats.
        standard_error (`float`):
            Of that mean, from the spread between windows; NaN for a single window.
    """

    start: int
    end: int
    tokens: int
    loss: float
    standard_error: float


@dataclass(frozen=True)
class PositionLossReport(SavedReport):
    """The result of [`loss_by_position`].

    Args:
        context_length (`int`):
            Tokens of a window.
        stride (`int` or `None`):
            Tokens by which windows slide, `None` for windows side by side.
        windows (`int`):
            Number of windows.
        buckets (`tuple[PositionBucket, ...]`):
            Ascending positions.
        settings (`dict`):
            `model`, `max_position_embeddings`.
    """

    kind: ClassVar[str] = "loss_by_position"
    title: ClassVar[str] = "loss-by-position report"

    context_length: int
    stride: int | None
    windows: int
    buckets: tuple[PositionBucket, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Mean over all tokens, in nats."""
        return sum(bucket.loss * bucket.tokens for bucket in self.buckets) / sum(b.tokens for b in self.buckets)

    def loss_between(self, start: int, end: int) -> float:
        """Mean loss, in nats, of the buckets wholly within positions `start` to `end` - 1.

        Raises:
            ValueError: if there is no such bucket.
        """
        found = [bucket for bucket in self.buckets if start <= bucket.start and bucket.end <= end]
        if not found:
            borders = [bucket.start for bucket in self.buckets] + [self.buckets[-1].end]
            raise ValueError(f"no bucket lies within positions {start} to {end}; the borders are {borders}")
        return sum(bucket.loss * bucket.tokens for bucket in found) / sum(bucket.tokens for bucket in found)

    def _fields(self) -> dict[str, Any]:
        buckets = [
            {**asdict(b), "standard_error": None if math.isnan(b.standard_error) else b.standard_error}
            for b in self.buckets
        ]
        return {
            "loss": self.loss,
            "context_length": self.context_length,
            "stride": self.stride,
            "windows": self.windows,
            "buckets": buckets,
            "settings": self.settings,
        }

    @classmethod
    def _from_fields(cls, data: dict[str, Any]) -> "PositionLossReport":
        buckets = tuple(
            PositionBucket(**{**b, "standard_error": math.nan if b["standard_error"] is None else b["standard_error"]})
            for b in data["buckets"]
        )
        return cls(data["context_length"], data["stride"], data["windows"], buckets, data["settings"])

    def to_markdown(self) -> str:
        """Return a table of losses by position."""
        rows = []
        for b in self.buckets:
            error = "" if math.isnan(b.standard_error) else f"{1.96 * b.standard_error:.3f}"
            rows.append([f"{b.start:,} to {b.end - 1:,}", f"{b.tokens:,}", f"{b.loss:.3f}", error])
        table = markdown_table(["positions", "tokens", "loss", "±"], rows, align="rrrr")
        return f"{table}\n\nNats per token over {self.windows:,} windows; ± is 95 %, from their spread."


def loss_by_position(
    model: Any,
    tokenizer: Any,
    texts: Iterable[str],
    *,
    context_length: int,
    stride: int | None = None,
    num_buckets: int = 8,
    max_windows: int | None = None,
) -> PositionLossReport:
    """Mean next-token loss by position.

    Without `stride` ("full"), texts are cut into windows of `context_length` tokens side by side, and position is the
    place in the window: a model that uses its whole window has a falling curve, one that fails beyond its training
    length a rising one. With `stride` ("sliding"), windows move by `stride` tokens and only their last `stride`
    losses count (all losses in the first window): position is the place in the text, and every token beyond the first
    window has at least `context_length - stride` tokens of context.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Its tokenizer.
        texts (`Iterable[str]`):
            Texts; those with fewer than `context_length` tokens are skipped in full mode.
        context_length (`int`):
            Tokens of a window, at least 2.
        stride (`int`, *optional*):
            Tokens by which windows slide, in [1, `context_length` - 1]; defaults to full mode.
        num_buckets (`int`, *optional*, defaults to 8):
            Parts of equal length that positions are gathered in.
        max_windows (`int`, *optional*):
            Stop after so many windows; defaults to all.

    Returns:
        [`PositionLossReport`]

    Raises:
        ValueError: for values out of range, or if no text is long enough.
        TypeError: if `texts` is one string.
    """
    if context_length < 2 or not 1 <= num_buckets < context_length:
        raise ValueError(
            "context_length must be at least 2 and num_buckets between 1 and context_length - 1; "
            f"got {context_length}, {num_buckets}"
        )
    # A whole window further, its first token would have nothing before it to be predicted from.
    if stride is not None and not 1 <= stride < context_length:
        raise ValueError(f"stride must be at least 1 and below context_length {context_length}; got {stride}")
    if isinstance(texts, str):
        raise TypeError("texts is a sequence of texts; got one string, which would be read letter by letter")
    if max_windows is not None and max_windows < 1:
        raise ValueError(f"max_windows must be at least 1; got {max_windows}")
    # A position, its losses: one short array per window, so that the spread between windows can be seen.
    pieces: list[tuple[int, np.ndarray]] = []
    losses, longest = TokenLosses(model), 0
    for text in texts:
        ids = tokenizer(text, verbose=False)["input_ids"]
        longest = max(longest, len(ids))
        left = None if max_windows is None else max_windows - len(pieces)
        windows = list(islice(_windows(ids, context_length, stride), left))
        for (start, fresh), values in zip(
            windows, losses.of([ids[s : s + context_length] for s, _ in windows]), strict=True
        ):
            counted = values.numpy()[fresh:]
            pieces.append((1 + fresh + (0 if stride is None else start), counted))
        if len(pieces) == max_windows:
            # Texts may be an endless stream.
            break
    if not pieces:
        raise ValueError(f"no text has {context_length} tokens; the longest has {longest}")
    end = max(first + len(values) for first, values in pieces)
    known = model_settings(model)
    settings = {name: known[name] for name in ("model", "max_position_embeddings")}
    return PositionLossReport(context_length, stride, len(pieces), _gather(pieces, end, num_buckets), settings)


def _windows(ids: Sequence[int], length: int, stride: int | None) -> Iterator[tuple[int, int]]:
    """Start of each window, and how many of its losses an earlier window has counted."""
    if stride is None:
        yield from ((start, 0) for start in range(0, len(ids) - length + 1, length))
        return
    if len(ids) >= 2:
        yield 0, 0
    counted = length
    while counted < len(ids):
        start = counted + stride - length
        # The last window is moved back, so that it ends with the text.
        start = min(start, len(ids) - length)
        yield start, counted - start - 1
        counted = start + length


def _gather(pieces: list[tuple[int, np.ndarray]], end: int, num_buckets: int) -> tuple[PositionBucket, ...]:
    """Mean losses of equal parts of the positions 0 .. end - 1; position 0 has no loss."""
    borders = [round(index * end / num_buckets) for index in range(num_buckets + 1)]
    buckets = []
    for start, stop in pairwise(borders):
        parts = [values[max(start - first, 0) : max(stop - first, 0)] for first, values in pieces]
        parts = [part for part in parts if len(part)]
        if not parts:
            continue
        tokens, total = sum(map(len, parts)), float(sum(part.sum(dtype=np.float64) for part in parts))
        average = total / tokens
        # Windows are the independent units: neighboring tokens are not.
        errors = [(part.sum(dtype=np.float64) - average * len(part)) ** 2 for part in parts]
        spread = math.sqrt(len(parts) / (len(parts) - 1) * sum(errors)) / tokens if len(parts) > 1 else math.nan
        buckets.append(PositionBucket(start, stop, tokens, average, spread))
    return tuple(buckets)
