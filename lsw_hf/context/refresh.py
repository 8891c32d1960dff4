"""The code that travels in a saved LongSkywork folder, replaced by this version's.

A folder keeps the files it was saved with, so a fault that was fixed here, or a name that transformers changed, stays
in it until they are replaced. `released_code.json` next to this module contains the hash of every version that was
ever released, so that a file somebody edited is told apart from an old one. After a change to one of the three files

    python -m lsw_hf.context.refresh

adds the new hashes to it; `tests/context/test_refresh.py` fails until that was done.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

from ..files import read_json_object, replacing, write_json

CODE_FILES = ("rope_longskywork.py", "configuration_longskywork.py", "modeling_longskywork.py")
RELEASED = Path(__file__).with_name("released_code.json")
_SIBLING = re.compile(r"^from \.(\w+) import", re.MULTILINE)


def code_hash(code: bytes) -> str:
    """SHA-256 of a code file; line ends do not count, since git and editors change them."""
    return hashlib.sha256(code.replace(b"\r\n", b"\n")).hexdigest()


def current_code() -> dict[str, bytes]:
    """Return the files that a model saved today carries, by name, those first that others import."""
    folder = resources.files("lsw_hf.models")
    return {name: folder.joinpath(name).read_bytes() for name in CODE_FILES}


def refresh_code(folder: str | os.PathLike) -> list[str]:
    """Replace the code of a saved LongSkywork model by this version's. Nothing else in the folder is written.

    Args:
        folder (`str` or `os.PathLike`):
            A folder that `save_pretrained` wrote, at any time.

    Returns:
        `list[str]`: Names of the files that were replaced or, where a present one imports it, added. Empty if the
        code was this version's already.

    Raises:
        ValueError: if there is no such folder or none of our code in it, and for a file that was edited or comes from
            a version that this one does not know; nothing is written then.

    Example:

    ```python
    >>> from lsw_hf import refresh_code
    >>> refresh_code("runs/my-model")
    ['modeling_longskywork.py']
    ```
    """
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"{folder} is not a folder; give the one that contains a saved model's config.json.")
    current = current_code()
    present = {name: (place / name).read_bytes() for name in CODE_FILES if (place / name).is_file()}
    if not present:
        raise ValueError(
            f"{folder} contains none of {', '.join(CODE_FILES)}. Only LongSkywork models contain our code; "
            "there is nothing to refresh in other folders."
        )
    released = json.loads(RELEASED.read_text(encoding="utf-8"))
    foreign = [
        name
        for name, code in present.items()
        if code_hash(code) not in (*released[name], code_hash(current[name]))  # our own, even before it is listed
    ]
    if foreign:
        raise ValueError(
            f"{', '.join(foreign)} in {folder}: edited by hand, or of a newer lsw-hf than this one. Nothing was "
            "replaced. Upgrade lsw-hf if it is older than the folder; otherwise move these files elsewhere, refresh, "
            "and make the edits again."
        )
    wanted = _with_siblings(present, _named_by_config(place), current)
    stale = [name for name in wanted if code_hash(present.get(name, b"")) != code_hash(current[name])]
    with ExitStack() as written:
        # All are written before the first is renamed: a full disk changes none. Leaving the stack renames them in the
        # order of `stale`; a folder that is stopped there has some of each, and refreshing it again completes it.
        for name in reversed(stale):
            draft = written.enter_context(replacing(place / name))
            draft.write_bytes(current[name])
            if name in present:
                shutil.copymode(place / name, draft)
    return stale


def _with_siblings(present: dict[str, bytes], named: list[str], current: dict[str, bytes]) -> list[str]:
    """Return the files that are present, those that the folder's `auto_map` names, and those that their current
    versions import, in the order of `CODE_FILES`.
    """
    wanted, waiting = set(), [*present, *named]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += [f"{sibling}.py" for sibling in _SIBLING.findall(current[name].decode("utf-8"))]
    return [name for name in CODE_FILES if name in wanted]


def _named_by_config(place: Path) -> list[str]:
    """Return our code files that the `config.json` of a folder with weights names as the source of its classes."""
    path = place / "config.json"
    whole = path.is_file() and any(place.glob("*.safetensors"))
    auto_map = read_json_object(path).get("auto_map") if whole else None
    classes = auto_map.values() if isinstance(auto_map, dict) else ()
    modules = {str(value).rpartition("--")[2].partition(".")[0] for value in classes}
    return [name for name in CODE_FILES if name.removesuffix(".py") in modules]


def list_current_code() -> list[str]:
    """Add the hashes of the current files to `released_code.json` and return the names of those that were new."""
    released = json.loads(RELEASED.read_text(encoding="utf-8"))
    new = []
    for name, code in current_code().items():
        if code_hash(code) not in released[name]:
            released[name].append(code_hash(code))
            new.append(name)
    write_json(RELEASED, released)
    return new


if __name__ == "__main__":
    print(f"new in {RELEASED.name}: {', '.join(list_current_code()) or 'nothing'}")
