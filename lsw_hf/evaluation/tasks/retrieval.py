"""The eight needle families of RULER (2404.06654, section 3): one to many needles, among prose, noise or other
needles.
"""

import uuid
from itertools import islice
from typing import Literal

import numpy as np

from ..texts.fillers import FillerSource, NoiseFiller, ProseFiller
from ..texts.prose import FAMILY_NAMES, GIVEN_NAMES, WORDS
from .sample import TaskDraft, UnitTask

_INSTRUCTION = (
    "Registration {form} are hidden in the text below. Remember them; afterwards you will be asked for some of them."
)


class NeedleRetrievalTask(UnitTask):
    """Find values by their keys.

    Args:
        name (`str`):
            Name in reports.
        haystack (`str`, *optional*, defaults to `"prose"`):
            `"prose"`, `"noise"` (the same sentences repeated), or `"needles"` (the whole context is distractor
            needles).
        num_keys (`int`, *optional*, defaults to 1):
            Needles with different keys; those that are not asked distract.
        num_values (`int`, *optional*, defaults to 1):
            Needles with different values for each key that is asked for.
        num_queries (`int`, *optional*, defaults to 1):
            Keys that are asked for.
        form (`str`, *optional*, defaults to `"numbers"`):
            Values are 7-digit `"numbers"` or `"codes"` (UUIDs; the keys
            then are too).
        filler ([`FillerSource`], *optional*):
            Replaces the built-in prose or noise.

    Raises:
        ValueError: for counts below 1 or more queries than keys.
    """

    def __init__(
        self,
        name: str,
        *,
        haystack: Literal["prose", "noise", "needles"] = "prose",
        num_keys: int = 1,
        num_values: int = 1,
        num_queries: int = 1,
        form: Literal["numbers", "codes"] = "numbers",
        filler: FillerSource | None = None,
    ) -> None:
        if min(num_keys, num_values, num_queries) < 1 or num_queries > num_keys:
            raise ValueError(
                "num_keys, num_values and num_queries must be at least 1 and num_queries at most num_keys; "
                f"got {num_keys}, {num_values}, {num_queries}"
            )
        self.name, self.form, self.haystack = name, form, haystack
        self.num_keys, self.num_values, self.num_queries = num_keys, num_values, num_queries
        default = NoiseFiller() if haystack == "noise" else ProseFiller()
        self.filler: FillerSource = default if filler is None else filler
        self.max_new_tokens = 128

    def draft(self, units: int, generator: np.random.Generator) -> TaskDraft:
        """`units` filler sentences (or needles, in a haystack of needles) with the needles among them."""
        keys = self._keys(self.num_keys, generator)
        asked = keys[: self.num_queries]
        needles = [(key, self._value(generator)) for key in asked for _ in range(self.num_values)]
        needles += [(key, self._value(generator)) for key in keys[self.num_queries :]]
        lines = [self._line(key, value) for key, value in needles]
        depths = sorted(generator.random(len(lines)).tolist())
        order = generator.permutation(len(lines)).tolist()
        if self.haystack == "needles":
            pieces = [
                self._line(key, self._value(generator)) for key in self._keys(units, generator) if key not in keys
            ]
        else:
            pieces = list(islice(self.filler.sentences(generator), units))
        # From the back, so that the places of the others stay right.
        for depth, index in reversed(list(zip(depths, order, strict=True))):
            pieces.insert(round(depth * len(pieces)), lines[index])
        subject = " and ".join([", ".join(asked[:-1]), asked[-1]] if len(asked) > 1 else asked)
        noun = self.form if len(asked) * self.num_values > 1 else self.form[:-1]
        verb = "are" if noun == self.form else "is"
        prompt = (
            f"{_INSTRUCTION.format(form=self.form)}\n\n{' '.join(pieces)}\n\n"
            f"Question: Which registration {noun} {verb} given in the text for {subject}?\nAnswer:"
        )
        prefix = f"The registration {noun} given in the text for {subject} {verb}"
        expected = tuple(value for _, value in needles[: self.num_queries * self.num_values])
        places = dict(zip(order, depths, strict=True))
        return TaskDraft(prompt, expected, prefix, {"depths": [places[index] for index in range(len(expected))]})

    def _line(self, key: str, value: str) -> str:
        return f"A registration {self.form[:-1]} for {key} is {value}."

    def _value(self, generator: np.random.Generator) -> str:
        if self.form == "codes":
            return str(uuid.UUID(bytes=generator.bytes(16), version=4))
        return str(int(generator.integers(1_000_000, 10_000_000)))

    def _keys(self, count: int, generator: np.random.Generator) -> list[str]:
        """Distinct keys: UUIDs, or word and name joined, as in "amber-Marlow-Clara"."""
        if self.form == "codes":
            return [str(uuid.UUID(bytes=generator.bytes(16), version=4)) for _ in range(count)]
        sizes = (len(WORDS), len(FAMILY_NAMES), len(GIVEN_NAMES))
        if count > sizes[0] * sizes[1] * sizes[2] // 2:
            raise ValueError(f"there are no {count} distinct keys for a haystack of needles; use shorter contexts")
        chosen = generator.choice(sizes[0] * sizes[1] * sizes[2], size=count, replace=False)
        places = zip(*(part.tolist() for part in np.unravel_index(chosen, sizes)), strict=True)
        return [f"{WORDS[word]}-{FAMILY_NAMES[family]}-{GIVEN_NAMES[given]}" for word, family, given in places]
