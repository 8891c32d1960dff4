"""`evaluate` module: the longest context at which a model still scores well enough."""

from typing import Any

import datasets
import evaluate

from lsw_hf.evaluation.tasks.report import RULER_THRESHOLD

_DESCRIPTION = (
    "Longest context whose mean score reaches a threshold: RULER's (arXiv 2404.06654), 85.6 percent, or a share "
    "of the model's own score at the shortest length, as in NoLiMa (arXiv 2502.05167)."
)
_INPUTS = """
Args:
    predictions (`list[float]`): Score of each sample, in [0, 1].
    references (`list[int]`): Context length of each sample, in tokens.
    threshold (`float`, *optional*, defaults to 85.6): Percent that the mean score of a length has to reach.
    share_of_shortest (`float`, *optional*):
        In place of `threshold`: share, in (0, 1], of the model's own mean score at the shortest length.

Returns:
    `dict`: `effective_context_length` (0 if no length reaches the threshold), `threshold` (percent), `averages`
    (percent by length).
"""


class EffectiveContextLength(evaluate.Metric):
    """The longest length that passes."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self,
        predictions: list[float],
        references: list[int],
        threshold: float = RULER_THRESHOLD,
        share_of_shortest: float | None = None,
    ) -> dict[str, Any]:
        groups: dict[int, list[float]] = {}
        for score, length in zip(predictions, references, strict=True):
            groups.setdefault(int(length), []).append(score)
        averages = {length: 100 * sum(scores) / len(scores) for length, scores in sorted(groups.items())}
        if share_of_shortest is not None:
            if not 0 < share_of_shortest <= 1:
                raise ValueError(f"share_of_shortest must lie in (0, 1]; got {share_of_shortest}")
            threshold = share_of_shortest * averages[min(averages)]
        passed = [length for length, average in averages.items() if average >= threshold]
        return {"effective_context_length": max(passed, default=0), "threshold": threshold, "averages": averages}
