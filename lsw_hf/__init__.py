"""Longer context windows for Hugging Face causal language models: extend, train, measure, publish.

Public names are imported on first use, so that `import lsw_hf` needs neither trl nor matplotlib nor a GPU.
"""

from importlib import import_module

# Registers the LongSkywork Auto classes, so that a checkpoint of ours loads after `import lsw_hf` like any other.
from lsw_hf import models as models

# Registers attn_implementation="lsw_sdpa"; it imports nothing that the models did not.
from lsw_hf.attention import proof as _attention  # noqa: F401

__version__ = "0.1.0"

# Public name -> module that defines it, relative to this package. Sorted by name; adding a name here publishes it.
_HOMES = {
    "ContinualPretrainingConfig": ".training.continual_pretraining",
    "ContinualPretrainingTrainer": ".training.continual_pretraining",
    "DataCollatorForSkipAlign": ".data.positions.collator",
    "DataCollatorForSkipAlignPreference": ".data.positions.preference",
    "EpochOfPositions": ".training.skip_collator",
    "LongSFTConfig": ".training.long_sft",
    "LongSFTTrainer": ".training.long_sft",
    "LongSkyworkConfig": ".models",
    "LongSkyworkForCausalLM": ".models",
    "LongSkyworkModel": ".models",
    "LongSkyworkRecipe": ".recipes.longskywork",
    "NeedleCallback": ".training.needle_callback",
    "NeedleGrid": ".evaluation.needle.grid",
    "NeedleReport": ".evaluation.needle.report",
    "PositionCoverage": ".data.positions.coverage",
    "PositionCoverageCallback": ".training.coverage_callback",
    "RopeAdapterCallback": ".context.adapters.saving",
    "SkipAlignConfig": ".training.skip_align",
    "SkipAlignTrainer": ".training.skip_align",
    "TableGenerator": ".data.tables",
    "TaskSuite": ".evaluation.tasks.suite",
    "assert_cross_skip_attention": ".attention.proof",
    "assert_document_isolation": ".attention.proof",
    "build_model_card": ".hub.model_card",
    "evaluate_needle": ".evaluation.needle.grid",
    "evaluate_tasks": ".evaluation.tasks.suite",
    "extend_checkpoint": ".context.checkpoint",
    "extend_config": ".context.extension",
    "extend_context": ".context.extension",
    "extend_tokenizer": ".context.extension",
    "interleave_chunks": ".data.windows.interleaver",
    "leakage_test": ".evaluation.losses.leakage",
    "load_adapter": ".context.adapters.saving",
    "load_documents": ".data.corpus.documents",
    "load_instructions": ".data.corpus.instructions",
    "loss_by_position": ".evaluation.losses.by_position",
    "merge_adapter": ".context.adapters.saving",
    "plot_position_coverage": ".data.positions.coverage_plot",
    "position_coverage": ".data.positions.coverage",
    "refresh_code": ".context.refresh",
    "restore_rotary": ".context.verification",
    "save_adapter": ".context.adapters.saving",
    "save_tokenizer": ".context.tokenizer_files",
    "search_rope_factors": ".context.search",
    "skipped_position_ids": ".data.positions.sampler",
    "suggest_context": ".context.suggestion",
    "verify_context": ".context.verification",
    "write_legacy_rope": ".context.transformers4.writing",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> object:
    """Import a public name from its module the first time it is asked for, and keep it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
