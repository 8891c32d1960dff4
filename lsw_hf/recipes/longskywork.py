"""The LongSkywork recipe: a model with a short window in, a verified model with a long one out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..context.extension import extend_config
from ..context.saved_model import load_config, load_tokenizer, where_from, window_of, without_weights
from ..data.corpus.instructions import as_instructions
from ..data.windows.config import WindowOptions
from ..evaluation.needle.grid import NeedleGrid, evaluate_needle
from ..evaluation.needle.report import NeedleReport
from ..evaluation.needle.task import NeedleTask
from .outcome import RecipeResults, finish, finished
from .plan import PlannedStage, RecipePlan
from .provenance import describe_model, describe_rows, describe_settings, describe_tokenizer
from .run_directory import START, RunDirectory
from .stage_data import check_dialogues, check_smallest_table, synthetic_tables
from .stage_runner import StageRunner, check_stage
from .stages import DEFAULT_STAGES, STAGES, check_stage_names, default_options, stage_options

# What each stage trains on: the argument of `run` that contains it.
_DATA_OF = {
    "pretraining": "pretraining_documents",
    "continual_pretraining": "documents",
    "sft": "instructions",
    "long_sft": "tables",
}
# The paper's longest rows of long SFT.
_LONGEST_TABLE = 100_000


@dataclass
class LongSkyworkRecipe:
    """The stages of [LongSkywork, 2406.00605](https://arxiv.org/abs/2406.00605), planned, run, resumed, measured.

    Pretraining (only for models made from nothing) -> RoPE change and continual pretraining on chunk-interleaved
    documents
    -> SFT, here with SkipAlign's skipped positions -> a short SFT on long synthetic tables. Each stage reads a model
    folder and writes one; a run that was killed continues where it stopped, to the same weights.

    Args:
        model (`str`, `Path` or [`~transformers.PreTrainedModel`]):
            Where to start from.
        context_length (`int`):
            Target window in tokens, larger than the model's.
        output_dir (`str` or `Path`):
            Folder of the run: new, empty, or of the same run.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Defaults to the model's own.
        stages (`tuple[str, ...]`, *optional*):
            Stages to run, in the recipe's order. Defaults to all but pretraining.
        options (`dict[str, dict]`, *optional*):
            Training arguments by stage, under their TRL names, such as `{"sft": {"max_steps": 500, "use_peft":
            True}}`.
        rope (`dict`, *optional*):
            Arguments of [`extend_context`] other than the length, such as `{"method": "yarn", "factor": 32.0}`.
            Defaults to `"auto"`: the makers' own scaling where they scaled the model, else YaRN.
        table_length (`int`, *optional*):
            Tokens of the longest synthetic table with its questions, at most the target. Defaults to the target, at
            most 100,000 (the paper's longest).
        seed (`int`, *optional*, defaults to 0):
            Seed of everything random.
        needle_grid ([`NeedleGrid`], *optional*):
            Measured before and after. Without one nothing is measured.
        needle_task ([`NeedleTask`], *optional*):
            The world of the needles; defaults to [`evaluate_needle`]'s.
        model_kwargs (`dict`, *optional*):
            Arguments of `from_pretrained` for the model to start from, such as `dtype`, `revision` or
            `trust_remote_code`.
        sources (`dict`, *optional*):
            What the data is, in your own words, such as the names and sizes of its files. A run continues only with
            the same; of the data itself only sizes, columns and the ends of a dataset are compared.

    Raises:
        ValueError: before any work, for an unknown stage or option and a target that is not larger than the window.

    Example:

    ```python
    recipe = LongSkyworkRecipe(model="path-or-id", context_length=131_072, output_dir="runs/lsw")
    print(recipe.plan())
    results = recipe.run(documents=corpus, instructions=dialogues)
    ```
    """

    model: str | Path | PreTrainedModel
    context_length: int
    output_dir: str | Path
    tokenizer: PreTrainedTokenizerBase | None = None
    stages: tuple[str, ...] = DEFAULT_STAGES
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rope: Mapping[str, Any] = field(default_factory=lambda: {"method": "auto"})
    table_length: int | None = None
    seed: int = 0
    needle_grid: NeedleGrid | None = None
    needle_task: NeedleTask | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rows: dict[int, tuple[Any, Any]] = {}
        check_stage_names(self.stages)
        check_stage_names([*self.options] or [*self.stages])
        self.stages = tuple(name for name in STAGES if name in self.stages)
        model = self.model
        if isinstance(model, PreTrainedModel):
            self._config = model.config
        else:
            self._config = load_config(model, **where_from(self.model_kwargs))
        self.original_length = window_of(self._config)
        if isinstance(self.context_length, bool) or not isinstance(self.context_length, int):
            raise TypeError(f"context_length must be a whole number of tokens, got {self.context_length!r}.")
        if self.context_length <= self.original_length:
            raise ValueError(
                f"context_length={self.context_length} is not larger than the model's window of "
                f"{self.original_length} tokens. Give a longer target."
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 4,294,967,295, got {self.seed!r}.")
        self._planned_rope = dict(self.rope)
        if self.stages != ("pretraining",):
            extended = extend_config(self._config, context_length=self.context_length, **self.rope)
            self._planned_rope["method"] = extended.get_text_config(decoder=True).lsw_context["method"]
        table = self.table_length
        if table is not None and (isinstance(table, bool) or not isinstance(table, int)):
            raise TypeError(f"table_length must be a whole number of tokens, got {table!r}.")
        if table is not None and not 1 <= table <= self.context_length:
            raise ValueError(f"table_length must be between 1 and the target of {self.context_length}, got {table}.")
        self.longest_table = min(self.context_length, _LONGEST_TABLE) if table is None else table
        self._options = {
            name: stage_options(name, self.options.get(name, {}), self.context_length, self.original_length)
            for name in self.stages
        }

    def plan(self) -> RecipePlan:
        """Return what the run is going to do.

        Returns:
            [`RecipePlan`]: printable as a Markdown table.
        """
        return RecipePlan(
            model=self._model_name(),
            hub_id=None if isinstance(self.model, PreTrainedModel) or Path(self.model).exists() else str(self.model),
            original_length=self.original_length,
            context_length=self.context_length,
            rope=dict(self._planned_rope),
            seed=self.seed,
            stages=tuple(self._planned(name) for name in self.stages),
        )

    def stage_options(self, name: str) -> dict[str, Any]:
        """Training arguments of a stage that differ from its config's own defaults."""
        return dict(self._options[name])

    def run(
        self, *, documents: Any = None, instructions: Any = None, tables: Any = None, pretraining_documents: Any = None
    ) -> RecipeResults:
        """Run what is not finished yet.

        Args:
            documents ([`~datasets.Dataset`], [`~datasets.IterableDataset`] or `Callable`, *optional*):
                Rows with `text` for continual pretraining, or a function that makes them (called only if needed).
            instructions (same, *optional*):
                Rows for SFT, in TRL's prompt/completion or `messages` form.
            tables (same, *optional*):
                Rows for long SFT. Defaults to [`TableGenerator`]'s rows of up to `table_length` tokens.
            pretraining_documents (same, *optional*):
                Rows with `text` for pretraining.

        Returns:
            [`RecipeResults`]

        Raises:
            ValueError: before any work, if a stage has no data, or the folder contains a run with other settings, or
                another process is running in it.
        """
        data = {
            "pretraining_documents": pretraining_documents,
            "documents": documents,
            "instructions": self._as_trained(instructions),
            "tables": self._as_trained(tables),
        }
        directory, settings = self._checked(data)
        with directory.claim(settings):
            return finished(directory) or self._run(directory, data)

    def _run(self, directory: RunDirectory, data: dict[str, Any]) -> RecipeResults:
        """Run everything that is not finished, in a folder that this process has locked."""
        plan = self.plan()
        directory.write_text("plan.md", plan.to_markdown() + "\n")
        directory.write_json("plan.json", plan.to_dict())
        tokenizer = self._tokenizer()
        if data["tables"] is None and "long_sft" in self.stages:
            data["tables"] = self._synthetic_tables(tokenizer)
        runner = StageRunner(
            directory, tokenizer, self.context_length, dict(self.rope), self.seed, dict(self.model_kwargs)
        )
        source = self._start(directory)
        metrics, before = [], None
        for name in self.stages:
            if name != "pretraining" and before is None:
                before = self._needle(runner, source, "needle_before.json")
            metrics.append(runner.run(STAGES[name], self._options[name], source, data[_DATA_OF[name]]))
            source = directory.path / STAGES[name].folder / "model"
        after = self._needle(runner, source, "needle_after.json")
        return finish(runner, Path(source), plan, metrics, before, after)

    def check(
        self, *, documents: Any = None, instructions: Any = None, tables: Any = None, pretraining_documents: Any = None
    ) -> None:
        """Raise what [`~LongSkyworkRecipe.run`] would raise before any work, and write nothing.

        Args:
            documents, instructions, tables, pretraining_documents (*optional*):
                As in [`~LongSkyworkRecipe.run`].

        Raises:
            ValueError: if a stage has no data, its training arguments are refused by their own class, the smallest
                synthetic table does not fit, or the output directory is not free for this run.
        """
        self._checked(
            {
                "pretraining_documents": pretraining_documents,
                "documents": documents,
                "instructions": self._as_trained(instructions),
                "tables": self._as_trained(tables),
            }
        )

    def _as_trained(self, rows: Any) -> Any:
        """Return instruction rows as they are trained, checked once; a function, called when its stage begins, stays
        one.
        """
        if rows is None or callable(rows):
            return rows
        if id(rows) not in self._rows:
            self._rows[id(rows)] = (rows, as_instructions(rows))  # the first keeps the number from being given again
        return self._rows[id(rows)][1]

    def _checked(self, data: Mapping[str, Any]) -> tuple[RunDirectory, dict[str, Any]]:
        for name in self.stages:
            argument = _DATA_OF[name]
            if data[argument] is None and name != "long_sft":
                flag = "--documents" if name == "pretraining" else f"--{argument}"
                raise ValueError(
                    f"Stage {name} has nothing to train on: give {argument}=... ({flag} on the command line), or "
                    f"leave the stage out of stages={self.stages}."
                )
        directory = RunDirectory(self.output_dir)
        tokenizer = self._tokenizer()
        for name in self.stages:
            make_model = partial(without_weights, self._config, self.model_kwargs)
            check_stage(STAGES[name], self._options[name], tokenizer, self.context_length, make_model)
            if name in ("sft", "long_sft"):
                check_dialogues(name, data[_DATA_OF[name]], self._options[name], tokenizer)
        if data["tables"] is None and "long_sft" in self.stages:
            check_smallest_table(tokenizer, longest=self.longest_table)
        settings = {
            "model": describe_model(self.model, self.model_kwargs),
            "tokenizer": describe_tokenizer(tokenizer),
            "context_length": self.context_length,
            "original_length": self.original_length,
            "rope": dict(self.rope),
            "table_length": self.longest_table,
            "seed": self.seed,
            "stages": self._options,
            "needle_grid": describe_settings(self.needle_grid),
            "needle_task": describe_settings(self.needle_task),
            "data": {_DATA_OF[name]: describe_rows(data[_DATA_OF[name]]) for name in self.stages},
            "sources": dict(self.sources),
        }
        directory.check(settings)
        return directory, settings

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            name = self.model.name_or_path if isinstance(self.model, PreTrainedModel) else self.model
            self.tokenizer = load_tokenizer(name, self.model_kwargs)
        return self.tokenizer

    def _planned(self, name: str) -> PlannedStage:
        options = self._options[name]
        length = int(options.get("max_length") or self.longest_table)
        batch = options.get("per_device_train_batch_size", 8) * options.get("gradient_accumulation_steps", 1)
        skips = options.get("strategy", "skip_all" if name == "sft" else "none") != "none"
        defaults = default_options(name, self.context_length, self.original_length)
        sources = {key: source for key, (_, source) in defaults.items()}
        longest = "the target, at most the paper's 100,000" if self.table_length is None else "set for this run"
        sources.setdefault("max_length", longest)
        sources.update(dict.fromkeys(self.options.get(name, {}), "set for this run"))
        return PlannedStage(
            stage=name,
            data=STAGES[name].data + _order(name, options),
            max_length=length,
            reach=int(options.get("context_length") or self.context_length) if skips else length,
            max_steps=options["max_steps"],
            tokens=options["max_steps"] * batch * length,
            learning_rate=options["learning_rate"],
            source=_in_words(sources, max_length="length", max_steps="steps", learning_rate="rate"),
            options=options,
        )

    def _synthetic_tables(self, tokenizer: PreTrainedTokenizerBase) -> Any:
        options = self._options["long_sft"]
        batch = options.get("per_device_train_batch_size", 8) * options.get("gradient_accumulation_steps", 1)
        return synthetic_tables(
            tokenizer, num_rows=options["max_steps"] * batch, longest=self.longest_table, seed=self.seed
        )

    def _start(self, directory: RunDirectory) -> str | Path:
        """Folder or id that the first stage loads; a live model is saved first, so that a resume finds the same."""
        if not isinstance(self.model, PreTrainedModel):
            return self.model
        folder, model = directory.path / START, self.model
        if not folder.is_dir():
            directory.replace(START, lambda target: model.save_pretrained(target))
        return folder

    def _needle(self, runner: StageRunner, source: str | Path, name: str) -> NeedleReport | None:
        if self.needle_grid is None:
            return None
        file = runner.directory.path / name
        if not file.exists():
            model = runner.load(source)
            report = evaluate_needle(model, runner.tokenizer, self.needle_grid, self.needle_task)
            runner.directory.write_json(name, report.to_dict())
        return NeedleReport.load(file)

    def _model_name(self) -> str:
        return type(self.model).__name__ if isinstance(self.model, PreTrainedModel) else str(self.model)


def _order(name: str, options: Mapping[str, Any]) -> str:
    """In which order a stage reads documents, for its row of the plan."""
    if name not in ("pretraining", "continual_pretraining"):
        return ""
    buffer = options.get("shuffle_buffer", WindowOptions.shuffle_buffer)
    return f"; files and documents shuffled, buffer {buffer:,}" if buffer else "; in their order"


def _in_words(sources: Mapping[str, str], **names: str) -> str:
    """Where the numbers of a plan's row come from, those of one source together."""
    together: dict[str, list[str]] = {}
    for key, name in names.items():
        together.setdefault(sources[key], []).append(name)
    return "; ".join(f"{', '.join(group)}: {source}" for source, group in together.items())
