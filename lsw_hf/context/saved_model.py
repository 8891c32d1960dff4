"""A saved model's configuration, window and tokenizer, or an error that says what to do."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ..files import read_json_object, write_json
from .architecture.layout import OLDER_NAME
from .architecture.origin import RECORD_KEY

NEEDED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "longrope": ("original_max_position_embeddings",),
}
OPTIONAL = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "partial_rotary_factor", "alpha")
"""Numbers of `rope_parameters`: those without which a type cannot be computed, and those that may be `null`."""

TOKENIZER_CONFIG = "tokenizer_config.json"
NEWER_CLASS, OLDER_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""Two names of one class; transformers 5 writes the first and reads both, 4.57 knows the second only."""

# Arguments of `from_pretrained` that say where files come from.
_WHERE_FROM = ("revision", "trust_remote_code", "token")


def load_config(
    path_or_id: str | os.PathLike[str],
    *,
    trust_remote_code: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
) -> PreTrainedConfig:
    """Return the configuration of a saved model, or an error that says what to do.

    Args:
        path_or_id (`str` or `os.PathLike`):
            Folder of a saved model, or a Hub id.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Passed to `AutoConfig`.
        revision (`str`, *optional*):
            Branch, tag or commit on the Hub.
        token (`str` or `bool`, *optional*):
            For gated models; as in `from_pretrained`.

    Returns:
        `PreTrainedConfig`

    Raises:
        ValueError: nothing is there, or what is there is no configuration that transformers can load or whose rotary
            numbers are texts or missing.
    """
    refuse_no_model(path_or_id)
    folder = Path(path_or_id)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            if (folder / "adapter_config.json").is_file():
                raise ValueError(f"{folder} contains an adapter and no model. Give the folder of its base model.")
            raise ValueError(f"{folder} has no config.json. Give the folder of a saved model.")
        if not read_json_object(folder / "config.json").get("model_type"):
            raise ValueError(f"{folder / 'config.json'} has no model_type, so it describes no transformers model.")
    try:
        where = {"revision": revision, "token": token}
        where = {key: value for key, value in where.items() if value is not None}
        config = AutoConfig.from_pretrained(path_or_id, trust_remote_code=trust_remote_code, **where)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, StrictDataclassError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "trust_remote_code" in str(error):
            fix = "Read that code, and pass trust_remote_code=True (--trust-remote-code) if you trust it."
        elif folder.is_dir():
            wrong = _wrong_in_file(read_json_object(folder / "config.json"))
            fix = "Correct config.json, or upgrade transformers if the architecture is newer."
            fix = f"Look at this first: {'; '.join(wrong)}. {fix}" if wrong else fix
            fix = f"{OLDER_NAME} {fix}" if "'su'" in str(error) or _spells_su(folder) else fix
        else:
            fix = f"{path_or_id} is not a folder here (looked from {Path.cwd()})"
            fix += "; check the spelling of the id, the network and HF_HUB_OFFLINE."
        raise ValueError(f"{path_or_id} has no readable configuration: {' '.join(lines)[:300]} {fix}") from error
    text = config.get_text_config(decoder=True)
    if text is not config and hasattr(config, RECORD_KEY) and not hasattr(text, RECORD_KEY):
        # the flat file of a class that has parts hands on the fields that it knows
        setattr(text, RECORD_KEY, getattr(config, RECORD_KEY))
    wrong = _wrong_numbers(getattr(text, "rope_parameters", None))
    if wrong:
        raise ValueError(
            f"the rotary numbers of {path_or_id} cannot be used: {'; '.join(wrong)}. Write numbers, without quotes, "
            "into its config.json."
        )
    return config


def refuse_no_model(path_or_id: str | os.PathLike[str]) -> None:
    """Raise `ValueError` for a file, and for what looks like a path and leads nowhere."""
    name, folder = str(path_or_id), Path(path_or_id)
    if folder.is_file():
        raise ValueError(f"{name} is a file. Give the folder of a saved model, or a Hub id (owner/name).")
    if not folder.is_dir() and (name.startswith((".", "~", "/")) or len(folder.parts) > 2):
        raise ValueError(f"There is no folder {name}. Give the folder of a saved model, or a Hub id (owner/name).")


def window_of(config: Any) -> int:
    """Return the context window of a configuration in tokens; raises `ValueError` where it has none."""
    window = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    if window is None:
        raise ValueError(
            f"A {config.model_type} model has no max_position_embeddings, so it has no window to extend. Give a "
            "causal language model with rotary embeddings, such as Llama, Qwen or Mistral."
        )
    return int(window)


def without_weights(config: Any, model_kwargs: Mapping[str, Any]) -> PreTrainedModel:
    """Return the model of a configuration on the `meta` device: its modules have names and shapes, and take no memory.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            Of the model that a run starts from.
        model_kwargs (`Mapping`):
            Arguments of `from_pretrained`; those that decide which code runs are used. Attention is only named, so
            that a machine without the kernels can plan for one that has them.

    Returns:
        [`~transformers.PreTrainedModel`]
    """
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), trust_remote_code=model_kwargs.get("trust_remote_code", False)
        )
    if model_kwargs.get("attn_implementation"):
        model.config._attn_implementation = model_kwargs["attn_implementation"]
    return model


def load_tokenizer(model: str | Path, model_kwargs: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Load the tokenizer saved with a model.

    Args:
        model (`str` or `Path`):
            Folder of a saved model, or id on the Hub.
        model_kwargs (`Mapping`):
            Arguments of `from_pretrained`; those about the source are used.

    Raises:
        ValueError: if there is none, saying where it was looked for.
    """
    if not str(model):
        raise ValueError("A model that was not loaded from a folder or the Hub has no tokenizer: give tokenizer=...")
    try:
        return AutoTokenizer.from_pretrained(model, **where_from(model_kwargs))
    except (OSError, ValueError) as error:
        fix = "save the model's tokenizer there (tokenizer.save_pretrained)."
        if not Path(model).exists():
            fix = f"that is not a folder here (looked from {Path.cwd()}); check the spelling, the id and the network."
        raise ValueError(f"No tokenizer could be loaded from {model}: {fix} The reason: {error}") from error


def where_from(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that say where files come from: all that [`load_config`] takes."""
    return {key: model_kwargs[key] for key in _WHERE_FROM if key in model_kwargs}


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """Save a tokenizer so that transformers 4.57 reads it as well as 5.

    `tokenizer.save_pretrained` of transformers 5 writes a class name that 4.57 does not know, and lists special tokens
    under a key that means something else there; the files themselves are the same.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            Any tokenizer.
        folder (`str` or `os.PathLike`):
            Where to.

    Raises:
        ValueError: nothing was written, because `folder` is a file.
    """
    if Path(folder).is_file():
        raise ValueError(f"{folder} is a file; give the folder to save the tokenizer in.")
    tokenizer.save_pretrained(folder)
    write_legacy_tokenizer(folder)


def write_legacy_tokenizer(folder: str | os.PathLike[str]) -> bool:
    """Rename what transformers 4.57 does not understand in a saved `tokenizer_config.json`.

    Args:
        folder (`str` or `os.PathLike`):
            Folder with a saved tokenizer.

    Returns:
        `bool`: whether the file was changed.

    Raises:
        ValueError: the folder has no `tokenizer_config.json`, or the file is not a JSON object.
    """
    path = Path(folder) / TOKENIZER_CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} has no {TOKENIZER_CONFIG}. Give the folder of a saved tokenizer.")
    settings = read_json_object(path)
    renamed = legacy_tokenizer_settings(settings)
    if renamed == settings:
        return False
    write_json(path, renamed)
    return True


def legacy_tokenizer_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the same settings as both generations of transformers understand them; the argument is not changed."""
    renamed = dict(settings)
    if renamed.get("tokenizer_class") == NEWER_CLASS:
        renamed["tokenizer_class"] = OLDER_CLASS
    if isinstance(renamed.get("extra_special_tokens"), list):
        # a list of tokens to transformers 5, a dictionary of named ones to 4.57; the older key is a list to both
        extra = renamed.pop("extra_special_tokens")
        if extra:
            renamed["additional_special_tokens"] = extra
    return renamed


def _spells_su(folder: Path) -> bool:
    scaling = read_json_object(folder / "config.json").get("rope_scaling")
    return isinstance(scaling, dict) and "su" in (scaling.get("type"), scaling.get("rope_type"))


def _wrong_in_file(raw: dict[str, Any]) -> list[str]:
    fields = raw.get("text_config") if isinstance(raw.get("text_config"), dict) else raw
    spelled = [(key, fields.get(key)) for key in ("rope_scaling", "rope_parameters") if isinstance(fields, dict)]
    return [problem for key, value in spelled for problem in _wrong_numbers(value, f"{key}.")]


def _wrong_numbers(parameters: Any, where: str = "") -> list[str]:
    """Entries of `rope_parameters` that transformers loads and cannot compute with, in words."""
    if not isinstance(parameters, dict):
        return []
    inner = {key: value for key, value in parameters.items() if isinstance(value, dict)}
    if inner:
        return [problem for key, value in inner.items() for problem in _wrong_numbers(value, f"{where}{key}.")]
    rope_type = parameters.get("rope_type", parameters.get("type"))
    needed = ("rope_theta", *NEEDED.get(str(rope_type), ()))
    if parameters.get("alpha"):
        needed = ("rope_theta",)  # Hunyuan's dynamic scaling has no factor
    return [
        f"{where}{key} is {parameters[key]!r}"
        for key in (*needed, *OPTIONAL)
        if key in parameters and not _is_number(parameters[key]) and (key in needed or parameters[key] is not None)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
