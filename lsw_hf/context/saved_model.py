"""Reading the configuration of a saved model, with errors that say what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

from ..files import read_json_object
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


def load_config(
    path_or_id: str | os.PathLike[str], *, trust_remote_code: bool = False, revision: str | None = None
) -> PreTrainedConfig:
    """Return the configuration of a saved model, or an error that says what to do.

    Args:
        path_or_id (`str` or `os.PathLike`):
            Folder of a saved model, or a Hub id.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Passed to `AutoConfig`.
        revision (`str`, *optional*):
            Branch, tag or commit on the Hub.

    Returns:
        `PreTrainedConfig`

    Raises:
        ValueError: nothing is there, or what is there is no configuration that transformers can load or whose rotary
            numbers are texts or missing.
    """
    folder = Path(path_or_id)
    if folder.is_file():
        raise ValueError(f"{folder} is a file. Give the folder of a saved model, or a Hub id.")
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            if (folder / "adapter_config.json").is_file():
                raise ValueError(f"{folder} holds an adapter and no model. Give the folder of its base model.")
            raise ValueError(f"{folder} has no config.json. Give the folder of a saved model.")
        if not read_json_object(folder / "config.json").get("model_type"):
            raise ValueError(f"{folder / 'config.json'} has no model_type, so it describes no transformers model.")
    try:
        where = {} if revision is None else {"revision": revision}
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
            fix = f"{path_or_id} is no folder here; check the spelling of the id, the network and HF_HUB_OFFLINE."
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
