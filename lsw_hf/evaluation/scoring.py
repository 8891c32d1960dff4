"""When an answer is right."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

ScoringMode = Literal["contains", "exact", "normalized", "likelihood"]
SCORING_MODES: tuple[str, ...] = ("contains", "exact", "normalized", "likelihood")


def is_correct(expected: str, answered: str, mode: ScoringMode = "contains") -> bool:
    """Whether a generated answer is right.

    Args:
        expected (`str`):
            The right answer.
        answered (`str`):
            What the model said.
        mode (`str`, *optional*, defaults to `"contains"`):
            - `"contains"`: the expected answer is anywhere in what was said, in any case (RULER's rule), but
              not as a part of a longer word or number: 482 is not found in 14827 (our choice).
            - `"exact"`: the first line of what was said is the expected answer, but for spaces and a closing mark.
            - `"normalized"`: as `"contains"`, after both are brought to one form: compatibility characters
              unified, punctuation dropped, spaces joined.

    Raises:
        ValueError: for an unknown mode, or `"likelihood"`, which judges probabilities and no text.
    """
    if mode == "contains":
        return _contains(expected.casefold(), answered.casefold())
    if mode == "exact":
        lines = answered.strip().splitlines()
        return bool(lines) and lines[0].strip().rstrip(".。!！?？,，;；") == expected.strip().rstrip(".。")
    if mode == "normalized":
        return _contains(normalize(expected), normalize(answered))
    raise ValueError(f"text is scored by 'contains', 'exact' or 'normalized'; got {mode!r}")


def normalize(text: str) -> str:
    """Casefold, unify compatibility characters (full-width digits), drop punctuation, join spaces."""
    text = unicodedata.normalize("NFKC", text).casefold()
    kept = (" " if unicodedata.category(char)[0] in "PZC" else char for char in text)
    return " ".join("".join(kept).split())


def match_all(expected: Sequence[str], answered: str) -> float:
    """Share of the expected answers that were given (RULER's `string_match_all`, per sample)."""
    return sum(is_correct(answer, answered) for answer in expected) / len(expected)


def match_any(expected: Sequence[str], answered: str) -> float:
    """1.0 if one of several accepted answers was given (RULER's `string_match_part`, per sample)."""
    return float(any(is_correct(answer, answered) for answer in expected))


def _contains(expected: str, answered: str) -> bool:
    # Only letters and digits of space-separated scripts can merge into longer words; Chinese has no such borders.
    before = r"(?<![0-9a-z_])" if re.match(r"[0-9a-z_]", expected) else ""
    after = r"(?![0-9a-z_])" if re.search(r"[0-9a-z_]\Z", expected) else ""
    return bool(expected) and re.search(before + re.escape(expected) + after, answered) is not None
