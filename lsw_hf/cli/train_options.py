"""The options of `lsw-hf train`: flags and YAML, read by TRL's own parser."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers.hf_argparser import HfArg
from trl import TrlParser

from ..data.corpus.documents import load_documents
from ..data.corpus.instructions import load_instructions
from ..evaluation.needle.grid import NeedleGrid
from ..recipes.longskywork import LongSkyworkRecipe
from ..recipes.provenance import describe_paths
from ..recipes.stages import DEFAULT_STAGES, STAGES, check_stage_names

_CONFIG_FLAG = "--config"
# Short forms in the file; the flags have them too.
_SHORT = {"model": "model_name_or_path"}
_DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass
class RecipeArguments:
    """Options of a run; training options go under the name of their stage (`--sft.learning_rate 1e-5`)."""

    model_name_or_path: str = HfArg(aliases=["--model"], help="Folder or Hub id of the model to start from.")
    context_length: int = HfArg(help="Target window in tokens.")
    output_dir: str = HfArg(help="Folder of the run: new, empty, or of the same run, which is then continued.")
    documents: list[str] | None = field(
        default=None,
        metadata={
            "help": "Text to continue pretraining on: .txt, .jsonl, .json, .parquet, packed or not, folders, or a "
            "dataset's id."
        },
    )
    instructions: list[str] | None = field(
        default=None,
        metadata={
            "help": "Rows for SFT: prompt/completion, messages, ShareGPT or Alpaca; .jsonl, .json, .parquet, packed "
            "or not, folders, or a dataset's id."
        },
    )
    documents_split: str = field(
        default="train", metadata={"help": "Split of the documents, of a dataset with several."}
    )
    instructions_split: str = field(
        default="train", metadata={"help": "Split of the instructions, of a dataset with several."}
    )
    text_column: str = field(default="text", metadata={"help": "Column of the documents that contains their text."})
    stages: list[str] | None = field(
        default=None,
        metadata={
            "help": "Of pretraining, continual_pretraining, sft, long_sft; default: all but the first, without the "
            "second if there are no documents, without the third if there are no instructions."
        },
    )
    rope_method: str = field(
        default="auto",
        metadata={
            "help": "auto (the makers' own scaling, else yarn), linear, ntk, abf, yarn, llama3, longrope or none."
        },
    )
    rope_factor: float | None = field(
        default=None, metadata={"help": "Scaling factor; default: the target over the original window."}
    )
    rope_theta: float | None = field(default=None, metadata={"help": "Base of the rotary embedding, for abf."})
    table_length: int | None = field(
        default=None, metadata={"help": "Tokens of a synthetic table; default: the target, at most 100,000."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of everything random."})
    dtype: str = field(
        default="auto", metadata={"help": "Data type of the weights: auto, bfloat16, float16, float32."}
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "Attention backend; packed dialogues need flash_attention_2 or, anywhere, lsw_sdpa."},
    )
    model_revision: str = field(default="main", metadata={"help": "Revision of the model; a commit hash pins it."})
    trust_remote_code: bool = field(
        default=False,
        metadata={"help": "Run code that comes with the model. Read it, and pin it with --model_revision."},
    )
    needle: bool = field(default=True, metadata={"help": "Measure the needle grid before and after."})
    needle_samples: int = field(default=10, metadata={"help": "Questions in a cell of the needle grid."})
    plan: bool = field(default=False, metadata={"help": "Print the plan and stop."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object to standard output, and nothing else."})
    pretraining: dict | None = field(
        default=None,
        metadata={"help": "Options of this stage, by TRL's names: --pretraining.max_steps 9, in YAML a mapping."},
    )
    continual_pretraining: dict | None = field(default=None, metadata={"help": "The same, of this stage."})
    sft: dict | None = field(default=None, metadata={"help": "The same, of this stage."})
    long_sft: dict | None = field(default=None, metadata={"help": "The same, of this stage."})


def parse_recipe_arguments(words: list[str]) -> RecipeArguments:
    """Read flags and, with `--config FILE`, a YAML file whose values the flags override.

    Args:
        words (`list[str]`):
            The command line. `--STAGE.OPTION VALUE` sets a training option of one stage, as a mapping under the
            stage's name does in YAML.

    Returns:
        [`RecipeArguments`]

    Raises:
        ValueError: for an unknown option or stage (naming the nearest), or a stage that is not a mapping in YAML.
    """
    plain, by_stage = _split_stage_options(words)
    parser = TrlParser(RecipeArguments, prog="lsw-hf train", allow_abbrev=False)
    plain, settings = take_config(plain)
    known = {item.name for item in fields(RecipeArguments)}
    for unknown in settings.keys() - known:
        raise ValueError(_unknown_option(unknown))
    parser.set_defaults_with_config(**settings)
    arguments, from_flags = parser.parse_args_into_dataclasses(plain, return_remaining_strings=True)
    for unknown in from_flags:
        raise ValueError(_unknown_option(unknown))
    for name, given in by_stage.items():
        setattr(arguments, name, {**(getattr(arguments, name) or {}), **given})
    for name in STAGES:
        value = getattr(arguments, name)
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{name} must be a mapping of training options, got {value!r}.")
    # YAML writes a single value without brackets.
    for name in ("stages", "documents", "instructions"):
        value = getattr(arguments, name)
        names = [value] if isinstance(value, str) else value
        if names is not None and not (isinstance(names, list) and all(isinstance(item, str) for item in names)):
            raise ValueError(f"{name} must be a name or a list of names, got {value!r}.")
        setattr(arguments, name, names)
    if arguments.stages is not None:
        check_stage_names(arguments.stages)
    return arguments


def recipe_from_arguments(arguments: RecipeArguments) -> LongSkyworkRecipe:
    """Return the recipe that the options describe."""
    if arguments.dtype not in _DTYPES:
        raise ValueError(f"dtype is {arguments.dtype!r}; choose from {', '.join(_DTYPES)}.")
    if arguments.needle_samples < 1:
        raise ValueError(f"needle_samples must be at least 1, got {arguments.needle_samples}.")
    model_kwargs: dict[str, Any] = {
        "dtype": arguments.dtype if arguments.dtype == "auto" else getattr(torch, arguments.dtype),
        "revision": arguments.model_revision,
        "trust_remote_code": arguments.trust_remote_code,
    }
    if arguments.attn_implementation is not None:
        model_kwargs["attn_implementation"] = arguments.attn_implementation
    rope = {"method": arguments.rope_method, "factor": arguments.rope_factor, "rope_theta": arguments.rope_theta}
    recipe = LongSkyworkRecipe(
        model=arguments.model_name_or_path,
        context_length=arguments.context_length,
        output_dir=arguments.output_dir,
        options={name: getattr(arguments, name) for name in STAGES if getattr(arguments, name)},
        rope={key: value for key, value in rope.items() if value is not None},
        table_length=arguments.table_length,
        seed=arguments.seed,
        model_kwargs=model_kwargs,
        sources={
            "documents": describe_paths(arguments.documents),
            "instructions": describe_paths(arguments.instructions),
            "text_column": arguments.text_column,
            "splits": [arguments.documents_split, arguments.instructions_split],
        },
        stages=default_stages(arguments) if arguments.stages is None else tuple(arguments.stages),
    )
    if arguments.needle:
        recipe.needle_grid = user_needle_grid(recipe, arguments.needle_samples)
    return recipe


def default_stages(arguments: RecipeArguments) -> tuple[str, ...]:
    """Stages that the given data allows: without documents no continual pretraining, without instructions no SFT; all
    of them without any data, so that the recipe says what is missing.
    """
    given = {"continual_pretraining": arguments.documents, "sft": arguments.instructions}
    if not any(given.values()):
        return DEFAULT_STAGES
    return tuple(name for name in DEFAULT_STAGES if given.get(name, True))


def user_needle_grid(recipe: LongSkyworkRecipe, num_samples: int) -> NeedleGrid:
    """Half the original window, the window, and doublings up to the target; five depths."""
    lengths = {max(256, recipe.original_length // 2), recipe.original_length, recipe.context_length}
    length = 2 * recipe.original_length
    while length < recipe.context_length:
        lengths.add(length)
        length *= 2
    return NeedleGrid(
        context_lengths=tuple(sorted(lengths)), num_samples=num_samples, questions_per_haystack=10, seed=recipe.seed
    )


def data_from_arguments(arguments: RecipeArguments) -> dict[str, Any]:
    """Return the user's data as arguments of [`LongSkyworkRecipe.run`]; files are opened and checked here."""
    data: dict[str, Any] = {}
    documents = None
    if arguments.documents:
        documents = load_documents(
            arguments.documents, text_column=arguments.text_column, split=arguments.documents_split
        )
    data["documents"] = documents
    data["pretraining_documents"] = documents
    data["instructions"] = None
    if arguments.instructions:
        data["instructions"] = load_instructions(arguments.instructions, split=arguments.instructions_split)
    return data


def _split_stage_options(words: list[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Take `--STAGE.OPTION VALUE ...` and `--STAGE.OPTION=VALUE` out of a command line; several values make a
    tuple.
    """
    plain: list[str] = []
    by_stage: dict[str, dict[str, Any]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, _, option = word.removeprefix("--").partition(".")
        if not word.startswith("--") or not option or "=" in name:
            plain.append(word)
            continue
        if name not in STAGES:
            check_stage_names([name])
        option, given, value = option.partition("=")
        values = [value] if given else []
        while not given and rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        by_stage.setdefault(name, {})[option.replace("-", "_")] = tuple(values) if values[1:] else (*values, "true")[0]
    return plain, by_stage


def take_config(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take `--config FILE` out of a command line and read the file.

    Args:
        words (`list[str]`):
            The command line.

    Returns:
        `tuple[list[str], dict]`: the other words; the settings of the file, none without one. As in flags, names may
        have dashes, and `model` is short for `model_name_or_path`.

    Raises:
        ValueError: if no file is named, or it does not exist, is no UTF-8, no YAML, no mapping, or names a setting
            twice in two spellings.
    """
    words = [
        part for word in words for part in (word.split("=", 1) if word.startswith(f"{_CONFIG_FLAG}=") else [word])
    ]
    if _CONFIG_FLAG not in words:
        return words, {}
    place = words.index(_CONFIG_FLAG)
    named = words[place + 1 : place + 2]
    if not named or named[0].startswith("--"):
        raise ValueError(f"{_CONFIG_FLAG} needs the name of a YAML file.")
    return words[:place] + words[place + 2 :], read_config(Path(named[0]))


def read_config(file: Path) -> dict[str, Any]:
    """Read a YAML file of settings, see [`take_config`]."""
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"The file of {_CONFIG_FLAG}, {file}, does not exist (looked from {Path.cwd()}).") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"The file of {_CONFIG_FLAG}, {file}, is not UTF-8 ({error}). Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"The file of {_CONFIG_FLAG} is not valid YAML: {error}.") from error
    if not isinstance(given, dict):
        raise ValueError(
            f"The file of {_CONFIG_FLAG}, {file}, must contain a mapping (name: value), not {given!r:.60}."
        )
    return {
        _SHORT.get(name, name): _renamed(value, file) if isinstance(value, dict) else value
        for name, value in _renamed(given, file).items()
    }


def _renamed(settings: dict[Any, Any], file: Path) -> dict[str, Any]:
    names = [str(name).replace("-", "_") for name in settings]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"The file of {_CONFIG_FLAG}, {file}, names {name} twice.")
    return dict(zip(names, settings.values(), strict=True))


def _unknown_option(word: str) -> str:
    name = word.removeprefix("--").partition("=")[0]
    known = [item.name for item in fields(RecipeArguments)]
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "lsw-hf train --help lists the options."
    return f"Unknown option {name!r}. {hint}"
