"""`evaluate` module: accuracy of answers to needle questions, with intervals and by cell."""

from typing import Any

import datasets
import evaluate

from lsw_hf.evaluation.intervals import wilson_interval
from lsw_hf.evaluation.scoring import ScoringMode, is_correct

_DESCRIPTION = (
    "Share of needle questions that were answered right, with a 95 % Wilson interval, and by length and depth."
)
_INPUTS = """
Args:
    predictions (`list[str]`): What the model said.
    references (`list[str]`): The right answers.
    mode (`str`, *optional*, defaults to `"contains"`): `"contains"`, `"exact"` or `"normalized"`.
    context_lengths (`list[int]`, *optional*): Tokens of each prompt, to get `by_length`.
    depths (`list[float]`, *optional*): Depth of each needle's cell, to get `by_depth`.

Returns:
    `dict`: `accuracy`, `interval` (lower and upper bound), `samples`, and `by_length` and `by_depth` where asked for.

Example:

>>> metric = evaluate.load("lsw_hf/evaluation/metrics/needle_retrieval")
>>> metric.compute(predictions=["It is 482."], references=["482"])["accuracy"]
1.0
"""


class NeedleRetrieval(evaluate.Metric):
    """Accuracy over needle questions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        mode: ScoringMode = "contains",
        context_lengths: list[int] | None = None,
        depths: list[float] | None = None,
    ) -> dict[str, Any]:
        verdicts = [is_correct(right, said, mode) for said, right in zip(predictions, references, strict=True)]
        result: dict[str, Any] = {
            "accuracy": sum(verdicts) / len(verdicts),
            "interval": list(wilson_interval(sum(verdicts), len(verdicts))),
            "samples": len(verdicts),
        }
        for name, keys in (("by_length", context_lengths), ("by_depth", depths)):
            if keys is None:
                continue
            if len(keys) != len(verdicts):
                raise ValueError(f"{len(verdicts)} predictions, but {len(keys)} values for {name}")
            groups: dict[float, list[bool]] = {}
            for key, verdict in zip(keys, verdicts, strict=True):
                groups.setdefault(key, []).append(verdict)
            result[name] = {key: sum(group) / len(group) for key, group in sorted(groups.items())}
        return result
