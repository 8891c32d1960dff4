"""Two needle reports of one grid, cell by cell."""

from dataclasses import dataclass
from math import comb
from typing import Any

from ...reports import markdown_table
from ..intervals import wilson_interval
from .report import NeedleReport


@dataclass(frozen=True)
class NeedleComparison:
    """Before and after on the same grid and task.

    Args:
        before ([`NeedleReport`]):
            First report.
        after ([`NeedleReport`]):
            Second report.
    """

    before: NeedleReport
    after: NeedleReport

    @property
    def gained(self) -> int:
        """Questions that were wrong before and are right after. The questions are the same ones."""
        return sum(not a.correct and b.correct for a, b in self._pairs())

    @property
    def lost(self) -> int:
        """Questions that were right before and are wrong after."""
        return sum(a.correct and not b.correct for a, b in self._pairs())

    @property
    def worse_at(self) -> tuple[int, ...]:
        """Lengths at which more questions were lost than chance explains: of those that changed, the exact interval
        (Clopper-Pearson) of the share that was lost is above one half.

        It is the 95 % interval, widened to the number of lengths (Bonferroni): a model that is no worse fails in 2.5 %
        of all comparisons at most, however many lengths there are.
        """
        changes = self._changes()
        return tuple(length for length, gained, lost in changes if _beyond_chance(gained, lost, len(changes)))

    @property
    def worse(self) -> bool:
        """Whether the second report is worse over all lengths together, or at some length.

        Two questions at 2.5 % each (our choice): a gate fails a model that is no worse in 5 % of all cases at most.
        """
        return bool(self.worse_at) or _beyond_chance(self.gained, self.lost)

    def _changes(self) -> list[tuple[int, int, int]]:
        """Return each length with the numbers of questions that were gained and lost."""
        found = {sample.context_length: [0, 0] for sample in self.before.samples}
        for old, new in self._pairs():
            found[old.context_length][0] += not old.correct and new.correct
            found[old.context_length][1] += old.correct and not new.correct
        return [(length, gained, lost) for length, (gained, lost) in sorted(found.items())]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data: `worse`, `gained`, `lost`, and `lengths` with both accuracies, their
        95 % intervals and the questions that changed.
        """
        lengths = []
        for length, gained, lost in self._changes():
            row: dict[str, Any] = {"context_length": length, "gained": gained, "lost": lost}
            for name, report in (("before", self.before), ("after", self.after)):
                verdicts = [sample.correct for sample in report.samples if sample.context_length == length]
                interval = list(wilson_interval(sum(verdicts), len(verdicts)))
                row |= {"samples": len(verdicts), name: sum(verdicts) / len(verdicts), f"{name}_interval": interval}
            lengths.append(row | {"worse": length in self.worse_at})
        return {"worse": self.worse, "gained": self.gained, "lost": self.lost, "lengths": lengths}

    def _pairs(self) -> list[tuple]:
        return list(zip(self.before.samples, self.after.samples, strict=True))

    def to_markdown(self, labels: tuple[str, str] = ("before", "after")) -> str:
        """Return a table by length: both accuracies with their intervals, gained and lost questions.

        Args:
            labels (`tuple[str, str]`, *optional*, defaults to `("before", "after")`):
                Names of the two models.
        """
        rows = []
        for length, gained, lost in self._changes():
            pairs = [(a.correct, b.correct) for a, b in self._pairs() if a.context_length == length]
            old, new = (_with_interval([pair[side] for pair in pairs]) for side in (0, 1))
            change = 100 * (gained - lost) / len(pairs)
            rows.append([f"{length:,}", old, new, f"{change:+.1f}", f"{gained:,}", f"{lost:,}"])
        table = markdown_table(["length", *labels, "change", "gained", "lost"], rows, align="rrrrrr")
        return f"{table}\n\nAccuracy in percent with 95 % intervals; both models answered the same questions."


def compare_needle(before: NeedleReport, after: NeedleReport) -> NeedleComparison:
    """Pair two reports question by question.

    Args:
        before ([`NeedleReport`]):
            First report.
        after ([`NeedleReport`]):
            Second report.

    Raises:
        ValueError: if grids or questions differ, or there are none; the message names the fields.
    """
    differing = [
        f"{name}: {before.grid.get(name)} and {after.grid.get(name)}"
        for name in {**before.grid, **after.grid}
        if before.grid.get(name) != after.grid.get(name)
    ]
    if differing:
        raise ValueError(f"the reports are of different grids: {'; '.join(differing)}")
    questions = [[(s.context_length, s.question, s.expected) for s in report.samples] for report in (before, after)]
    if questions[0] != questions[1]:
        raise ValueError(
            "the reports asked different questions on the same grid: another task, filler text or tokenizer "
            f"({before.settings.get('task')} and {after.settings.get('task')})"
        )
    if not before.samples:
        raise ValueError("the reports have no samples: nothing was asked, so nothing can be compared")
    return NeedleComparison(before, after)


def _beyond_chance(gained: int, lost: int, tests: int = 1) -> bool:
    """Whether a fair coin loses at least `lost` of the questions that changed in at most 2.5 % of all cases.

    With several `tests`, that share is divided among them.
    """
    changed = gained + lost
    cases = sum(comb(changed, number) for number in range(lost, changed + 1))
    # In whole numbers, cases / 2**changed <= 0.025 / tests: thousands of questions would overflow a float.
    return 40 * tests * cases <= 2**changed


def _with_interval(verdicts: list[bool]) -> str:
    low, high = wilson_interval(sum(verdicts), len(verdicts))
    return f"{100 * sum(verdicts) / len(verdicts):.1f} [{100 * low:.1f}, {100 * high:.1f}]"
