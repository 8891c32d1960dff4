"""Writing a file so that readers see the old one or the whole new one, never half."""

import os
from pathlib import Path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """
    Write UTF-8 text under a temporary name in the same folder, then rename. Folders are made as needed.

    Args:
        path (`str` or `os.PathLike`): Where the text belongs.
        text (`str`): The whole content.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, target)
