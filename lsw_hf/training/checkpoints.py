"""Which checkpoint of an interrupted run can be trusted."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..files import read_json_object, write_json

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# The trainer writes this file last, so a checkpoint that a killed process left half written lacks it or contains
# half of it.
_WRITTEN_LAST = "trainer_state.json"


def last_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """Return the newest checkpoint of a run that was written to its end.

    Args:
        output_dir (`str` or `Path`):
            `output_dir` of a [`~transformers.Trainer`]; may not exist.

    Returns:
        `Path` or `None`: the folder to pass as `resume_from_checkpoint`, or `None` to start anew. Folders that a
        killed or failing save left are passed over, never deleted.
    """
    folder = Path(output_dir)
    if not folder.is_dir():
        return None
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _CHECKPOINT.fullmatch(path.name))]
    for step, path in sorted(found, reverse=True):
        if _is_complete(path, step):
            return path
    return None


def make_resumable(checkpoint: str | Path) -> None:
    """Let [`~transformers.Trainer`] resume from a checkpoint of an extended model.

    A resume reads `config.json` as a config of no model in particular. With the rope of transformers 4
    (`rope_scaling`, `rope_theta`) beside `rope_parameters`, which an extended model is saved with, transformers
    5.23 then asks that config for `max_position_embeddings`, which it does not have, and stops. The old names are
    taken out of the checkpoint; the folders that a run keeps have them again. Our trainers call this; call it yourself
    before `trainer.train(resume_from_checkpoint=...)` of another trainer.

    Args:
        checkpoint (`str` or `Path`):
            Folder of the checkpoint.
    """
    file = Path(checkpoint) / "config.json"
    if not file.exists():
        return
    config = read_json_object(file)
    if "rope_parameters" not in config or not config.keys() & {"rope_scaling", "rope_theta"}:
        return
    kept = {key: value for key, value in config.items() if key not in ("rope_scaling", "rope_theta")}
    write_json(file, kept)


def _is_complete(path: Path, step: int) -> bool:
    try:
        state = json.loads((path / _WRITTEN_LAST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and state.get("global_step") == step
