"""Every public name and the module that defines it: one table, from which each folder takes its face.

A name is importable from the package and from every folder above its module: `from lsw_hf import SkipAlignTrainer` and
`from lsw_hf.training import SkipAlignTrainer`. It is imported on first use, so that `import lsw_hf` needs neither trl
nor matplotlib nor a GPU.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]

# Adding a line here publishes a name. Modules are relative to the package.
HOMES = {
    "ChunkInterleaveConfig": "data.windows.config",
    "Column": "data.tables.schema",
    "CommonWordsTask": "evaluation.tasks.aggregation",
    "ContaminationReport": "data.corpus.contamination",
    "ContinualPretrainingConfig": "training.continual_pretraining",
    "ContinualPretrainingTrainer": "training.continual_pretraining",
    "CorpusReport": "data.corpus.report",
    "DataCollatorForSkipAlign": "data.positions.collator",
    "DataCollatorForSkipAlignPreference": "data.positions.preference",
    "Deduplicator": "data.corpus.deduplication",
    "DomainLoss": "evaluation.losses.by_domain",
    "EpochOfPositions": "training.skip_collator",
    "EvaluationResults": "evaluation.summary.results",
    "FORMATS": "data.tables.rendering",
    "FillerSource": "evaluation.texts.fillers",
    "FrequentWordsTask": "evaluation.tasks.aggregation",
    "InterleaveCounts": "data.windows.config",
    "LeakageReport": "evaluation.losses.leakage",
    "LongContextTask": "evaluation.tasks.sample",
    "LongSFTConfig": "training.long_sft",
    "LongSFTTrainer": "training.long_sft",
    "LongSkyworkConfig": "models.configuration_longskywork",
    "LongSkyworkForCausalLM": "models.modeling_longskywork",
    "LongSkyworkForSequenceClassification": "models.modeling_longskywork",
    "LongSkyworkModel": "models.modeling_longskywork",
    "LongSkyworkPreTrainedModel": "models.modeling_longskywork",
    "LongSkyworkRecipe": "recipes.longskywork",
    "NeedleCallback": "training.needle_callback",
    "NeedleCell": "evaluation.needle.report",
    "NeedleComparison": "evaluation.needle.comparison",
    "NeedleFact": "evaluation.needle.task",
    "NeedleGrid": "evaluation.needle.grid",
    "NeedleReport": "evaluation.needle.report",
    "NeedleRetrievalTask": "evaluation.tasks.retrieval",
    "NeedleSample": "evaluation.needle.report",
    "NeedleTask": "evaluation.needle.task",
    "NoiseFiller": "evaluation.texts.fillers",
    "ParaphraseTask": "evaluation.tasks.paraphrase",
    "PassageQuestionTask": "evaluation.tasks.passages",
    "PositionCoverage": "data.positions.coverage",
    "PositionCoverageCallback": "training.coverage_callback",
    "PositionLossReport": "evaluation.losses.by_position",
    "ProseFiller": "evaluation.texts.fillers",
    "ProseNeedleTask": "evaluation.needle.task",
    "ReadingOptions": "evaluation.reading.reader",
    "RopeAdapterCallback": "context.adapters.saving",
    "ShortContextMeasure": "evaluation.summary.short_context",
    "ShortContextReport": "evaluation.summary.short_context",
    "SkipAlignConfig": "training.skip_align",
    "SkipAlignTrainer": "training.skip_align",
    "Table": "data.tables.table",
    "TableConfig": "data.tables.config",
    "TableGenerator": "data.tables.generator",
    "TableSchema": "data.tables.schema",
    "TableTask": "evaluation.tasks.tables",
    "TaskDraft": "evaluation.tasks.sample",
    "TaskReport": "evaluation.tasks.report",
    "TaskSample": "evaluation.tasks.sample",
    "TaskSuite": "evaluation.tasks.suite",
    "TextFiller": "evaluation.texts.fillers",
    "TinyNeedleTask": "demo.needle_task",
    "TokenMixture": "data.mixtures",
    "UnitTask": "evaluation.tasks.sample",
    "VariableTrackingTask": "evaluation.tasks.tracing",
    "assert_cross_skip_attention": "attention.proof",
    "assert_document_isolation": "attention.proof",
    "build_model_card": "hub.model_card",
    "check_contamination": "data.corpus.contamination",
    "compare_needle": "evaluation.needle.comparison",
    "compare_short_context": "evaluation.summary.short_context",
    "convert_checkpoint": "conversion.skywork",
    "default_tasks": "evaluation.tasks.suite",
    "domain_losses": "evaluation.losses.by_domain",
    "eval_result_entries": "hub.eval_results",
    "evaluate_needle": "evaluation.needle.grid",
    "evaluate_tasks": "evaluation.tasks.suite",
    "extend_checkpoint": "context.checkpoint",
    "extend_config": "context.extension",
    "extend_context": "context.extension",
    "extend_tokenizer": "context.extension",
    "find_overlap": "evaluation.losses.leakage",
    "inspect_documents": "data.corpus.report",
    "interleave_chunks": "data.windows.interleaver",
    "interleave_dataset": "data.windows.dataset",
    "interleave_step": "data.datatrove_steps",
    "leakage_test": "evaluation.losses.leakage",
    "leakage_test_files": "evaluation.losses.leakage",
    "load_adapter": "context.adapters.saving",
    "load_documents": "data.corpus.documents",
    "load_instructions": "data.corpus.instructions",
    "loss_by_position": "evaluation.losses.by_position",
    "measure_short_context": "evaluation.summary.short_context",
    "merge_adapter": "context.adapters.saving",
    "model_index_results": "hub.eval_results",
    "order_by_similarity": "data.corpus.similarity",
    "plot_position_coverage": "data.positions.coverage_plot",
    "position_coverage": "data.positions.coverage",
    "read_step": "data.datatrove_steps",
    "refresh_code": "context.refresh",
    "render_table": "data.tables.rendering",
    "restore_rotary": "context.verification",
    "save_adapter": "context.adapters.saving",
    "save_tokenizer": "context.saved_model",
    "search_rope_factors": "context.search",
    "serving_lines": "hub.serving",
    "skipped_position_ids": "data.positions.sampler",
    "stream_tables": "data.tables.dataset",
    "suggest_context": "context.suggestion",
    "tables_step": "data.datatrove_steps",
    "verify_context": "context.verification",
    "write_legacy_rope": "context.transformers4.config_files",
    "write_page": "evaluation.summary.page",
    "write_tables": "data.tables.dataset",
}


def face(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return what makes the public face of one folder.

    An `__init__` of this package is a docstring and `__all__, __getattr__, __dir__ = face(__name__)`.

    Args:
        package (`str`):
            Full name of the folder's package.

    Returns:
        `tuple`: the sorted public names whose modules are in this folder or below, the function that imports one of
        them the first time it is asked for, and the function that lists them.
    """
    inside = package.removeprefix(_PACKAGE).removeprefix(".")
    names = sorted(name for name, home in HOMES.items() if not inside or f"{home}.".startswith(f"{inside}."))

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{_PACKAGE}.{HOMES[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return names, get, list_names
