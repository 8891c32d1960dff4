"""Variable tracking (RULER, 2404.06654, section 3): which variables have a value, along a chain of assignments?"""

from itertools import islice, pairwise

import numpy as np

from ..texts.fillers import FillerSource, NoiseFiller
from .sample import TaskDraft, UnitTask

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class VariableTrackingTask(UnitTask):
    """Chains X1 = value, X2 = X1, X3 = X2 ... are scattered in order over the context; asked are all names of one
    chain.

    Args:
        num_hops (`int`, *optional*, defaults to 4):
            Copies after the first assignment; the chain has one name more.
        num_chains (`int`, *optional*, defaults to 1):
            Chains in the context, of which one is asked for.
        filler ([`FillerSource`], *optional*):
            Text between the assignments; defaults to repeated noise, as in RULER.

    Raises:
        ValueError: for counts below 1.
    """

    name = "variable_tracking"

    def __init__(self, num_hops: int = 4, num_chains: int = 1, filler: FillerSource | None = None) -> None:
        if min(num_hops, num_chains) < 1:
            raise ValueError(f"num_hops and num_chains must be at least 1; got {num_hops}, {num_chains}")
        self.num_hops, self.num_chains = num_hops, num_chains
        self.filler: FillerSource = NoiseFiller() if filler is None else filler
        self.max_new_tokens = 30 if num_hops <= 4 else 8 * (num_hops + 1)

    def draft(self, units: int, generator: np.random.Generator) -> TaskDraft:
        """`units` filler sentences with the assignments of all chains among them, each chain in its order."""
        length = self.num_hops + 1
        names = self._names(length * self.num_chains, generator)
        values = (10_000 + generator.choice(90_000, size=self.num_chains, replace=False)).tolist()
        placed: list[tuple[float, str]] = []
        for chain, value in enumerate(values):
            own = names[chain * length : (chain + 1) * length]
            lines = [f"VAR {own[0]} = {value}."]
            lines += [f"VAR {name} = VAR {before}." for before, name in pairwise(own)]
            placed += zip(sorted(generator.random(length).tolist()), lines, strict=True)
        pieces = list(islice(self.filler.sentences(generator), units))
        for depth, line in sorted(placed, reverse=True):
            pieces.insert(round(depth * units), line)
        prompt = (
            "Variables are assigned in the text below, some by value and some from another variable. Follow them.\n\n"
            f"{' '.join(pieces)}\n\nQuestion: Which {length} variables hold the value {values[0]}?\nAnswer:"
        )
        prefix = f"The {length} variables that hold the value {values[0]} are"
        return TaskDraft(prompt, tuple(names[:length]), prefix, {"value": values[0]})

    def _names(self, count: int, generator: np.random.Generator) -> list[str]:
        """Distinct names of five capital letters."""
        names: dict[str, None] = {}
        while len(names) < count:
            names["".join(_LETTERS[index] for index in generator.integers(26, size=5))] = None
        return list(names)
