"""What the benchmarks that train on the tiny world share: one base model a seed, one stage, accuracy by length."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from lsw_hf import LongSkyworkRecipe, NeedleReport
from lsw_hf.demo.recipe import tiny_data, tiny_recipe

# What a user gets without choosing: a stronger change of RoPE hides the differences (see benchmarks/results/LOG.md).
ROPE = {"method": "yarn"}


def pretrained(seed: int, folder: Path, context_length: int) -> Path:
    """The model every variant of a seed starts from."""
    recipe = tiny_recipe(seed=seed, output_dir=folder / "base", context_length=context_length)
    recipe = dataclasses.replace(
        recipe, stages=("pretraining",), options=only(recipe, "pretraining"), needle_grid=None
    )
    recipe.run(pretraining_documents=tiny_data(recipe)["pretraining_documents"])
    return folder / "base" / "1_pretraining" / "model"


def variant_folder(runs: Path, seed: int, name: str) -> Path:
    """Return the folder of one variant, by its name: a finished run must not count for another variant of the list."""
    return runs / f"seed_{seed}" / re.sub(r"[^\w.=]+", "_", name).strip("_")


def only(recipe: LongSkyworkRecipe, stage: str, **changes: Any) -> dict[str, dict[str, Any]]:
    """The options of one stage, some of them changed."""
    return {stage: {**recipe.options[stage], **changes}}


def accuracy_by_length(report: NeedleReport) -> dict[int, float]:
    """Share of right answers at each length, over all depths."""
    cells: dict[int, list[tuple[int, int]]] = {}
    for cell in report.cells:
        cells.setdefault(cell.context_length, []).append((cell.correct, cell.samples))
    return {length: sum(c for c, _ in own) / sum(s for _, s in own) for length, own in sorted(cells.items())}
