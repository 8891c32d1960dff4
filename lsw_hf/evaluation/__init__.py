"""What the longer context is worth: needle grids, tasks, losses, leakage, and their reports."""

from importlib import import_module

# Public name -> module of this folder that defines it, sorted by name. Imported on first use: a needle grid needs
# neither tables nor pages.
_HOMES = {
    "DomainLoss": "losses.by_domain",
    "EvaluationResults": "summary.results",
    "FillerSource": "texts.fillers",
    "LeakageReport": "losses.leakage",
    "NeedleCell": "needle.report",
    "NeedleComparison": "needle.comparison",
    "NeedleFact": "needle.task",
    "NeedleGrid": "needle.grid",
    "NeedleReport": "needle.report",
    "NeedleSample": "needle.report",
    "NeedleTask": "needle.task",
    "NoiseFiller": "texts.fillers",
    "PositionLossReport": "losses.by_position",
    "ProseFiller": "texts.fillers",
    "ProseNeedleTask": "needle.task",
    "ShortContextMeasure": "summary.short_context",
    "ShortContextReport": "summary.short_context",
    "TaskReport": "tasks.report",
    "TaskSuite": "tasks.suite",
    "TextFiller": "texts.fillers",
    "compare_needle": "needle.comparison",
    "compare_short_context": "summary.short_context",
    "default_tasks": "tasks.suite",
    "domain_losses": "losses.by_domain",
    "evaluate_needle": "needle.grid",
    "evaluate_tasks": "tasks.suite",
    "find_overlap": "losses.leakage",
    "leakage_test": "losses.leakage",
    "leakage_test_files": "losses.leakage_files",
    "loss_by_position": "losses.by_position",
    "measure_short_context": "summary.short_context",
    "write_page": "summary.page",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name from its module the first time it is asked for, and keep it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
