"""`evaluate` module: did the model see the test set?"""

from typing import Any

import datasets
import evaluate
from transformers import AutoModelForCausalLM, AutoTokenizer

from lsw_hf.evaluation.losses.leakage import leakage_test

_SETS = ("train", "test", "reference")
_DESCRIPTION = (
    "Delta1 (test minus reference) and Delta2 (test minus train loss) of Skywork-13B (arXiv 2310.19341), with 95 % "
    "bootstrap intervals and a verdict."
)
_INPUTS = """
Args:
    predictions (`list[str]`): Samples, question and answer together.
    references (`list[str]`): The set of each sample: `"train"`, `"test"` or `"reference"`.
    model_id (`str`): Folder or Hub id of a causal language model.
    device (`str`, *optional*, defaults to `"cpu"`): Where the model runs.
    seed (`int`, *optional*, defaults to 0): Seed of the resampling.

Returns:
    `dict`: the three losses, `delta1`, `delta2`, their intervals, `test_leaked`, `train_overfitted`, `verdict`.
"""


class Leakage(evaluate.Metric):
    """Loss differences between three sets."""

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
        self, predictions: list[str], references: list[str], model_id: str, device: str = "cpu", seed: int = 0
    ) -> dict[str, Any]:
        unknown = sorted(set(references) - set(_SETS))
        if unknown:
            raise ValueError(f"references name the set of each sample, one of {', '.join(_SETS)}; got {unknown}")
        sets = {
            name: [text for text, own in zip(predictions, references, strict=True) if own == name] for name in _SETS
        }
        model = AutoModelForCausalLM.from_pretrained(model_id).to(device)
        tokenizer = AutoTokenizer.from_pretrained(model_id)
        report = leakage_test(
            model, tokenizer, train=sets["train"], test=sets["test"], reference=sets["reference"], seed=seed
        )
        return report.to_dict()
