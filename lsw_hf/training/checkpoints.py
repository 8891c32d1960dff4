"""Which checkpoint of an interrupted run can be trusted."""

from __future__ import annotations

import json
import re
from pathlib import Path

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# The trainer writes this file last, so a checkpoint that a killed process left half written lacks it or holds half of
# it.
_WRITTEN_LAST = "trainer_state.json"


def last_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """The newest checkpoint of a run that was written to its end.

    Args:
        output_dir (`str` or `Path`):
            `output_dir` of a [`~transformers.Trainer`]; may not exist.

    Returns:
        `Path` or `None`: the folder to pass as `resume_from_checkpoint`, or `None` to start anew. Folders that a
        killed or failing save left behind are passed over, never deleted.
    """
    folder = Path(output_dir)
    if not folder.is_dir():
        return None
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _CHECKPOINT.fullmatch(path.name))]
    for step, path in sorted(found, reverse=True):
        if _is_complete(path, step):
            return path
    return None


def _is_complete(path: Path, step: int) -> bool:
    try:
        state = json.loads((path / _WRITTEN_LAST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(state, dict) and state.get("global_step") == step
