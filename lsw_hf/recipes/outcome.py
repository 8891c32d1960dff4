"""The results of a run: the model's folder with its card, the figure and the report."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..context.saved_model import save_tokenizer, window_of
from ..context.verification import verify_context
from ..evaluation.needle.heat_map import plot_needle_pair
from ..evaluation.needle.report import NeedleReport
from ..hub.model_card import build_model_card
from .plan import PlannedStage, RecipePlan
from .provenance import describe_environment
from .run_directory import RunDirectory
from .stage_runner import StageRunner

REPORT = "report.json"


@dataclass(frozen=True)
class RecipeResults:
    """What a run has produced.

    Args:
        model_path (`Path`):
            Folder of the final model, with tokenizer, code and card.
        report (`dict`):
            Contents of `report.json`.
        before ([`NeedleReport`], *optional*), after ([`NeedleReport`], *optional*):
            The needle grids, where the recipe had one.
    """

    model_path: Path
    report: dict[str, Any]
    before: NeedleReport | None
    after: NeedleReport | None


def finished(directory: RunDirectory) -> RecipeResults | None:
    """Return the results of a finished run from its folder; `None` if the run is not finished."""
    report = directory.read_json(REPORT)
    if report is None:
        return None
    grids = (directory.path / f"needle_{moment}.json" for moment in ("before", "after"))
    before, after = (NeedleReport.load(file) if file.exists() else None for file in grids)
    return RecipeResults(directory.path / "model", report, before, after)


def finish(
    runner: StageRunner,
    source: Path,
    plan: RecipePlan,
    metrics: list[dict[str, Any]],
    before: NeedleReport | None,
    after: NeedleReport | None,
) -> RecipeResults:
    """Write `needle.png`, `model/` and, last, `report.json`, which marks a run as finished.

    Args:
        runner ([`StageRunner`]):
            Has loaded and trained the stages.
        source (`Path`):
            Model folder of the last stage.
        plan ([`RecipePlan`]):
            What was planned.
        metrics (`list[dict]`):
            Metrics of the stages.
        before ([`NeedleReport`], *optional*), after ([`NeedleReport`], *optional*):
            The needle grids, where there were any.

    Returns:
        [`RecipeResults`]

    Raises:
        ValueError: if the saved RoPE is not the one that ran.
    """
    directory = runner.directory
    model = runner.load(source)
    verify_context(str(source), model=model, trust_remote_code=bool(runner.model_kwargs.get("trust_remote_code")))
    # With pretraining alone nothing was extended: what is written is the window that the model has.
    window = window_of(model.config)
    evaluation = [grid.settings.get("seconds", 0.0) for grid in (before, after) if grid]
    report = {
        "stages": [_reported(measured, planned) for measured, planned in zip(metrics, plan.stages, strict=True)],
        "total": {key: sum(stage[key] for stage in metrics) for key in ("steps", "tokens", "seconds")},
        "evaluation_seconds": round(sum(evaluation), 3),
        "needle": {"before": before and before.accuracy, "after": after and after.accuracy},
        "context_length": window,
        "original_length": plan.original_length,
        "seed": plan.seed,
        **describe_environment(),
    }
    if before and after:
        directory.replace("needle.png", lambda target: plot_needle_pair(before, after, target))
    tokenizer = copy.deepcopy(runner.tokenizer)
    tokenizer.model_max_length = window

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        card = build_model_card(
            model.config,
            report=after.to_dict() if after else None,
            report_before=before.to_dict() if before else None,
            training=report,
            base_model=plan.hub_id,
        )
        card.save(folder / "README.md")
        if before and after:
            plot_needle_pair(before, after, folder / "needle.png")

    directory.replace("model", write)
    directory.write_json(REPORT, report)
    return RecipeResults(directory.path / "model", report, before, after)


def _reported(metrics: Mapping[str, Any], planned: PlannedStage) -> dict[str, Any]:
    """Return a stage in `report.json`: what it measured, what it trained on, where its numbers come from."""
    measured = {key: value for key, value in metrics.items() if key != "log_history"}
    return {**measured, "max_length": planned.max_length, "data": planned.data, "source": planned.source}
