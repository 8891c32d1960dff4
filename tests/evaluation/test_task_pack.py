"""The files of the pack for lm-evaluation-harness agree with the families: read without the harness."""

from pathlib import Path

import pytest

import lsw_hf.evaluation
from lsw_hf.evaluation import default_tasks
from lsw_hf.evaluation.lm_eval_tasks import lsw_samples

PACK = Path(lsw_hf.evaluation.__file__).parent / "lm_eval_tasks"


def test_every_family_is_in_the_pack():
    names = {path.stem.removeprefix("lsw_") for path in PACK.glob("*.yaml")}
    assert names == {"needle", *(task.name for task in default_tasks())}


@pytest.mark.parametrize("task", default_tasks(), ids=lambda task: task.name)
def test_a_family_is_asked_as_by_us(task):
    text = (PACK / f"lsw_{task.name}.yaml").read_text(encoding="utf-8")
    assert f"max_gen_toks: {task.max_new_tokens}" in text
    assert f"!function lsw_samples.{task.name}" in text
    assert callable(getattr(lsw_samples, task.name))
