"""Reading the configuration of a saved model, with errors that say what to do."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

from .json_files import read_json_object


def load_config(path_or_id: str | os.PathLike[str], *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """
    The configuration of a saved model, or an error that says what to do.

    Args:
        path_or_id (`str` or `os.PathLike`):
            Folder of a saved model, or a Hub id.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Passed to `AutoConfig`.

    Returns:
        `PreTrainedConfig`

    Raises:
        ValueError: nothing is there, or what is there is no configuration that transformers can load.
    """
    folder = Path(path_or_id)
    if folder.is_file():
        raise ValueError(f"{folder} is a file. Give the folder of a saved model, or a Hub id.")
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} has no config.json. Give the folder of a saved model.")
        if not read_json_object(folder / "config.json").get("model_type"):
            raise ValueError(f"{folder / 'config.json'} has no model_type, so it describes no transformers model.")
    try:
        return AutoConfig.from_pretrained(path_or_id, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "trust_remote_code" in str(error):
            fix = "Read that code, and pass trust_remote_code=True (--trust-remote-code) if you trust it."
        elif folder.is_dir():
            fix = "Correct config.json, or upgrade transformers if the architecture is newer."
        else:
            fix = f"{path_or_id} is no folder here; check the spelling of the id, the network and HF_HUB_OFFLINE."
        raise ValueError(f"{path_or_id} has no readable configuration: {' '.join(lines)[:300]} {fix}") from error
