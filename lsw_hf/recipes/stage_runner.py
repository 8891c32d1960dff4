"""Run one stage: a folder with a model in, a folder with a better model out."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import ModelConfig, get_peft_config

from ..context.adapters.merging import merged_model
from ..context.extension import extend_context
from ..context.saved_model import save_tokenizer
from ..data.corpus.instructions import as_instructions
from ..training.checkpoints import last_complete_checkpoint
from ..training.long_context_trainer import NonFiniteLossError
from ..training.skip_collator import skip_collator
from .console import StageProgress
from .provenance import describe_environment
from .run_directory import RunDirectory
from .stage_data import answers_only, check_dialogues
from .stages import PEFT_OPTIONS, Stage


@dataclass(frozen=True)
class StageRunner:
    """Run the stages of one recipe.

    Args:
        directory ([`RunDirectory`]):
            The run's folder.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of all stages.
        context_length (`int`):
            Target length in tokens.
        rope (`dict`):
            The RoPE change, by the names of [`extend_context`].
        seed (`int`):
            Seed of everything random.
        model_kwargs (`dict`):
            Arguments of `from_pretrained` for the model that the run starts from.
    """

    directory: RunDirectory
    tokenizer: PreTrainedTokenizerBase
    context_length: int
    rope: dict[str, Any]
    seed: int
    model_kwargs: dict[str, Any]

    def run(self, stage: Stage, options: dict[str, Any], source: str | Path, rows: Any) -> dict[str, Any]:
        """Run a stage, or the rest of one that was interrupted, or nothing if it is finished.

        Args:
            stage ([`Stage`]):
                Which one.
            options (`dict`):
                Its training arguments.
            source (`str` or `Path`):
                Folder or id of the model that the stage starts from.
            rows ([`~datasets.Dataset`], [`~datasets.IterableDataset`] or `Callable`):
                What it trains on, or a function that makes it.

        Returns:
            `dict`: contents of `metrics.json` of the stage: steps, tokens, seconds, final loss, learning rate, length.

        Raises:
            [`NonFiniteLossError`]: naming stage and step; checkpoints and finished stages are kept.
        """
        finished = self.directory.read_json(f"{stage.folder}/metrics.json")
        if finished is None:
            finished = self._train(stage, options, source, rows)
            self.directory.write_json(f"{stage.folder}/metrics.json", finished)
        # Outside the branch: a kill may have come between the metrics and this. The card is TRL's, of a trainer; the
        # model's own is written at the end.
        (self.directory.path / stage.folder / "README.md").unlink(missing_ok=True)
        for leftover in (self.directory.path / stage.folder).glob("checkpoint-*"):
            shutil.rmtree(leftover)
        return finished

    def _train(self, stage: Stage, options: dict[str, Any], source: str | Path, rows: Any) -> dict[str, Any]:
        model = self.load(source)
        if stage.name != "pretraining" and model.config.max_position_embeddings != self.context_length:
            extend_context(model, context_length=self.context_length, **self.rope)
        use_cache = getattr(model.config, "use_cache", True)
        if callable(rows):
            rows = as_instructions(rows()) if stage.name in ("sft", "long_sft") else rows()
        if stage.name in ("sft", "long_sft"):
            check_dialogues(stage.name, rows, options, self.tokenizer)
            options = {**options, **answers_only(rows, options)}
        if isinstance(rows, list):
            rows = datasets.Dataset.from_list(rows)
        trainer = self._trainer(stage, options, model, rows)
        checkpoint = last_complete_checkpoint(trainer.args.output_dir)
        stopwatch = _Stopwatch(self.directory, stage.folder)
        trainer.add_callback(stopwatch)
        try:
            result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except NonFiniteLossError as error:
            raise NonFiniteLossError(f"Stage {stage.name}: {error}") from error
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        # Training turns the cache off in the configuration, where it would be saved.
        model.config.use_cache = use_cache
        self._keep(stage, trainer)
        return {
            "stage": stage.name,
            "steps": result.global_step,
            "tokens": int(trainer.state.num_input_tokens_seen),
            "seconds": stopwatch.seconds,
            "resumed_from_step": int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0,
            "final_loss": losses[-1] if losses else result.training_loss,
            "learning_rate": trainer.args.learning_rate,
            "max_length": trainer.args.max_length,
            "windows": getattr(trainer, "window_counts", None),
            **describe_environment(),
            "log_history": trainer.state.log_history,
        }

    def load(self, source: str | Path) -> PreTrainedModel:
        """Load a model: one of the run's own folders, or the one that the run starts from."""
        own = Path(source).is_relative_to(self.directory.path) if isinstance(source, Path) else False
        always = ("trust_remote_code", "attn_implementation")
        kwargs = {key: value for key, value in self.model_kwargs.items() if not own or key in always}
        try:
            return AutoModelForCausalLM.from_pretrained(source, **{"dtype": "auto", **kwargs})
        except SafetensorError as error:
            raise ValueError(
                f"The weights in {source} cannot be read ({error}). Copy or download them again."
            ) from error

    def _trainer(self, stage: Stage, options: dict[str, Any], model: PreTrainedModel, rows: Any) -> Any:
        args = training_arguments(stage, options, self.directory.path, self.seed)
        trainer = stage.trainer_class(
            model=model,
            args=args,
            train_dataset=rows,
            processing_class=self.tokenizer,
            peft_config=_peft_config(options),
            callbacks=[StageProgress(f"{stage.number}/4 {stage.name}")],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        return trainer

    def _keep(self, stage: Stage, trainer: Any) -> None:
        """Save the stage's model, adapters merged, as a complete folder."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        if isinstance(model, PeftModel):
            model = merged_model(model)

        def write(folder: Path) -> None:
            model.save_pretrained(folder)
            save_tokenizer(self.tokenizer, folder)

        self.directory.replace(f"{stage.folder}/model", write)


class _Stopwatch(TrainerCallback):
    """Seconds of training over all attempts at a stage, saved at checkpoints; a kill loses those since the last."""

    def __init__(self, directory: RunDirectory, folder: str) -> None:
        self._directory, self._name = directory, f"{folder}/seconds.json"
        self._before = float(directory.read_json(self._name) or 0.0)
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return round(self._before + time.perf_counter() - self._started, 3)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._directory.write_json(self._name, self.seconds)


def training_arguments(stage: Stage, options: dict[str, Any], folder: Path, seed: int) -> Any:
    """Return the training arguments of a stage, checked by their own class.

    Args:
        stage ([`Stage`]):
            Which one.
        options (`dict`):
            What differs from the defaults.
        folder (`Path`):
            The run's folder.
        seed (`int`):
            Seed of everything random.

    Raises:
        ValueError: whatever the class refuses, with the name of the stage in front.
    """
    arguments = {
        "report_to": "none",
        "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        "save_total_limit": 2,
        "logging_steps": max(1, options["max_steps"] // 20),
        "save_steps": max(1, options["max_steps"] // 4),
        "include_num_input_tokens_seen": "all",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.accelerator.is_available(),
        **{key: value for key, value in options.items() if key not in PEFT_OPTIONS},
    }
    try:
        return stage.config_class(output_dir=str(folder / stage.folder), seed=seed, data_seed=seed, **arguments)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Stage {stage.name}: {error}") from error


def check_stage(
    stage: Stage,
    options: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    context_length: int,
    make_model: Callable[[], PreTrainedModel],
) -> None:
    """Raise `ValueError`, naming the stage, for what would stop it when its turn comes: its options of training,
    skipped positions and adapters, and attention that cannot carry packed dialogues.

    Args:
        stage ([`Stage`]):
            Which one.
        options (`dict`):
            What differs from the defaults.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the run.
        context_length (`int`):
            Target length in tokens.
        make_model (`Callable`):
            Makes the model that the stage trains; its weights are not looked at. Called only if its modules matter.
    """
    args = training_arguments(stage, options, Path(), seed=0)
    # TRL gives a tokenizer without a padding token its end of text for it.
    padded = copy.deepcopy(tokenizer)
    padded.pad_token = args.pad_token or tokenizer.pad_token or tokenizer.eos_token
    if padded.pad_token is None:
        raise ValueError(
            "The tokenizer has neither a padding token nor an end of text. Save it with one: tokenizer.pad_token = ..."
        )
    try:
        adapter = _peft_config(options)
        if adapter is not None:
            get_peft_model(make_model(), adapter)
        if hasattr(args, "strategy"):
            length = options.get("context_length") or context_length
            skip_collator(args, padded, length, packed=args.packing, model=make_model() if args.packing else None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Stage {stage.name}: {error}") from error


def _peft_config(options: dict[str, Any]) -> LoraConfig | None:
    chosen = {key: value for key, value in options.items() if key in PEFT_OPTIONS}
    if not chosen.get("use_peft"):
        return None
    config = get_peft_config(ModelConfig(**chosen))
    # TRL takes a list of one for a pattern, which one plain name never matches.
    if chosen.get("lora_target_modules") not in (None, "all-linear", ["all-linear"]):
        names = chosen["lora_target_modules"]
        config.target_modules = names if isinstance(names, str) else set(names)
    return config
