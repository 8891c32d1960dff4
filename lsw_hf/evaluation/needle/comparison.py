"""Two needle reports of one grid, cell by cell."""

from dataclasses import dataclass

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

    def _pairs(self) -> list[tuple]:
        return list(zip(self.before.samples, self.after.samples, strict=True))

    def to_markdown(self, labels: tuple[str, str] = ("before", "after")) -> str:
        """Return a table by length: both accuracies with their intervals, gained and lost questions.

        Args:
            labels (`tuple[str, str]`, *optional*, defaults to `("before", "after")`):
                Names of the two models.
        """
        rows = []
        lengths = sorted({sample.context_length for sample in self.before.samples})
        for length in lengths:
            pairs = [(a.correct, b.correct) for a, b in self._pairs() if a.context_length == length]
            old, new = (_with_interval([pair[side] for pair in pairs]) for side in (0, 1))
            change = 100 * (sum(b for _, b in pairs) - sum(a for a, _ in pairs)) / len(pairs)
            gained, lost = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
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
        ValueError: if grids or questions differ; the message names the fields.
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
    return NeedleComparison(before, after)


def _with_interval(verdicts: list[bool]) -> str:
    low, high = wilson_interval(sum(verdicts), len(verdicts))
    return f"{100 * sum(verdicts) / len(verdicts):.1f} [{100 * low:.1f}, {100 * high:.1f}]"
