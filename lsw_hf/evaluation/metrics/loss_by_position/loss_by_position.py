"""`evaluate` module: a model's mean next-token loss by position in a window."""

from typing import Any

import datasets
import evaluate
from transformers import AutoModelForCausalLM, AutoTokenizer

from lsw_hf.evaluation.losses.by_position import loss_by_position

_DESCRIPTION = (
    "Mean next-token loss of a causal language model by position in a window of the given length: it falls as long as "
    "the model uses text further back, and rises where the model fails."
)
_INPUTS = """
Args:
    predictions (`list[str]`): Texts.
    model_id (`str`): Folder or Hub id of a causal language model.
    context_length (`int`): Tokens of a window.
    stride (`int`, *optional*): Slide windows by so many tokens; defaults to windows side by side.
    num_buckets (`int`, *optional*, defaults to 8): Parts of equal length that positions are gathered in.
    device (`str`, *optional*, defaults to `"cpu"`): Where the model runs.

Returns:
    `dict`: `loss` (nats per token), `windows`, and `buckets` (list of dicts with `start`, `end`, `tokens`, `loss`).
"""


class LossByPosition(evaluate.Metric):
    """Loss curve of one model on texts."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(
        self,
        predictions: list[str],
        model_id: str,
        context_length: int,
        stride: int | None = None,
        num_buckets: int = 8,
        device: str = "cpu",
    ) -> dict[str, Any]:
        model = AutoModelForCausalLM.from_pretrained(model_id).to(device)
        tokenizer = AutoTokenizer.from_pretrained(model_id)
        report = loss_by_position(
            model, tokenizer, predictions, context_length=context_length, stride=stride, num_buckets=num_buckets
        )
        found = report.to_dict()
        return {name: found[name] for name in ("loss", "windows", "buckets")}
