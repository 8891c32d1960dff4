"""The model that a run starts from: its configuration, window and tokenizer, or why they cannot be had."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

# Arguments of `from_pretrained` that say where files come from.
_WHERE_FROM = ("revision", "trust_remote_code", "token")


def load_config(model: str | Path, model_kwargs: Mapping[str, Any]) -> Any:
    """Load the configuration of a model that is named by its folder or Hub id.

    Args:
        model (`str` or `Path`):
            Folder of a saved model, or id on the Hub.
        model_kwargs (`Mapping`):
            Arguments of `from_pretrained`; those about the source are used.

    Returns:
        [`~transformers.PreTrainedConfig`]

    Raises:
        ValueError: if the name is a file, an empty or missing folder, or cannot be read from the Hub.
    """
    name, folder = str(model), Path(model)
    if folder.is_file():
        raise ValueError(f"The model {name} is a file. Give the folder that holds its config.json.")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"The folder {name} holds no config.json. Give the folder of a saved model.")
    if not folder.is_dir() and (name.startswith((".", "~", "/")) or len(folder.parts) > 2):
        raise ValueError(f"There is no folder {name}. Give the folder of a saved model, or a Hub id (owner/name).")
    try:
        return AutoConfig.from_pretrained(model, **_where_from(model_kwargs))
    except OSError as error:
        if folder.is_dir():
            raise
        raise ValueError(
            f"The model {name} is no folder here (looked from {Path.cwd()}), and could not be read from the Hub: "
            f"{error}"
        ) from error


def window_of(config: Any) -> int:
    """Return the context window of a configuration in tokens; raises `ValueError` where it has none."""
    window = getattr(config.get_text_config(), "max_position_embeddings", None)
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
    """Load the tokenizer that lies beside a model.

    Args:
        model (`str` or `Path`), model_kwargs (`Mapping`):
            As in [`load_config`].

    Raises:
        ValueError: if there is none, saying where it was looked for.
    """
    if not str(model):
        raise ValueError("A model that was not loaded from anywhere has no tokenizer: give tokenizer=...")
    try:
        return AutoTokenizer.from_pretrained(model, **_where_from(model_kwargs))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"There is no tokenizer in {model} that can be loaded: save the model's tokenizer there "
            f"(tokenizer.save_pretrained). The reason was: {error}"
        ) from error


def _where_from(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: model_kwargs[key] for key in _WHERE_FROM if key in model_kwargs}
