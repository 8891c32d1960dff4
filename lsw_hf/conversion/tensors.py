"""The tensors of a checkpoint folder, one at a time, from files that are checked before they are read."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..files import read_json_object

_SINGLE = {"safetensors": "model.safetensors", "pickle": "pytorch_model.bin"}
_PARTS_OF_A_FILE = 2**24
_LONGEST_NAME = 255  # what file systems take


@dataclass(frozen=True)
class CheckpointFiles:
    """Where the tensors of a folder are; [`find_checkpoint_files`] makes it.

    Attributes:
        folder (`Path`):
            The checkpoint's folder.
        names (`tuple[str, ...]`):
            Its weight files, in order.
        pickled (`bool`):
            Whether they are PyTorch pickles (`.bin`) instead of safetensors.
        index (`dict[str, str]`):
            File of every tensor as the index says, empty when there is a single file.
    """

    folder: Path
    names: tuple[str, ...]
    pickled: bool
    index: Mapping[str, str]

    def total_bytes(self) -> int:
        """Size of all weight files together."""
        return sum((self.folder / name).stat().st_size for name in self.names)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every tensor with its name; only the one at hand is in memory.

        Raises:
            ValueError: for a file that cannot be read whole, or contains other tensors than the index says.
        """
        for name in self.names:
            found = set()
            for key, tensor in (self._unpickled if self.pickled else self._safe)(self.folder / name):
                found.add(key)
                yield key, tensor
            expected = {key for key, file in self.index.items() if file == name}
            if self.index and found != expected:
                raise ValueError(
                    f"{name} does not contain what the index says: missing {_some(expected - found)}, "
                    f"not in the index {_some(found - expected)}. Download the folder again."
                )

    @staticmethod
    def _safe(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - the file is no mapping
                    yield key, file.get_tensor(key)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file ({error}). Download it again.") from error

    @staticmethod
    def _unpickled(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
        try:
            # Mapped, so that a tensor is read when it is used; restricted to tensors, so that nothing is executed.
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{path} cannot be read as a zip archive of plain tensors ({reason}). It is cut off, written by "
                "torch before 1.6, or contains objects that would run code; save it as safetensors where it came from."
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} contains a {type(content).__name__}, and not tensors by name.")
        for key in list(content):
            tensor = content.pop(key)
            if not isinstance(key, str) or not isinstance(tensor, torch.Tensor):
                raise ValueError(f"{path} contains {key!r}, which is a {type(tensor).__name__} and not a tensor.")
            if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
                raise ValueError(
                    f"{path} contains {key!r}, which is sparse, quantized or empty; save it as plain numbers."
                )
            yield key, tensor


def find_checkpoint_files(folder: Path, *, allow_pickle: bool = False) -> CheckpointFiles:
    """Find the weight files of a folder; safetensors are preferred where both kinds are there.

    Args:
        folder (`Path`):
            A local checkpoint folder.
        allow_pickle (`bool`, *optional*, defaults to `False`):
            Whether `.bin` files may be read (as plain tensors;
            nothing in them is ever executed).

    Raises:
        ValueError: when there are no weights, only pickled ones without leave, missing shards, or an index that names
            a file outside the folder.
    """
    for kind, single in _SINGLE.items():
        index_path = folder / f"{single}.index.json"
        if not index_path.is_file() and not (folder / single).is_file():
            continue
        if kind == "pickle" and not allow_pickle:
            raise ValueError(
                f"{folder} has its weights in pickled files only ({single}). If you trust where they come from, pass "
                "allow_pickle=True (on the command line --allow-pickle): they are read as plain tensors, and nothing "
                "in them is executed."
            )
        index = _read_index(index_path) if index_path.is_file() else {}
        names = tuple(sorted(set(index.values()))) or (single,)
        _check_names(folder, names)
        return CheckpointFiles(folder, names, kind == "pickle", index)
    raise ValueError(f"{folder} contains no weights: looked for {', '.join(_SINGLE.values())} and their index files.")


def check_file_checksums(folder: Path, checksums: Path) -> int:
    """Compare files with a list as `sha256sum` writes it.

    Args:
        folder (`Path`):
            Where the files are.
        checksums (`Path`):
            Lines of a SHA-256 in hexadecimal, white space, a file name.

    Returns:
        `int`: How many files were compared.

    Raises:
        ValueError: for a list that cannot be read or is empty, a line that is no checksum, a file that is not there,
            or one whose content differs.
    """
    try:
        lines = [line for line in checksums.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{checksums} is no list of checksums ({error}). Give a file as sha256sum writes it."
        ) from error
    if not lines:
        raise ValueError(f"{checksums} is empty, so nothing would be compared. Give a file as sha256sum writes it.")
    for number, line in enumerate(lines, 1):
        digest, _, name = line.strip().partition(" ")
        name = name.strip().lstrip("*")
        if len(digest) != 64 or not name:
            raise ValueError(f"{checksums}, line {number}: expected a SHA-256 and a file name, got {line!r}.")
        _check_names(folder, (name,))
        got = hashlib.sha256()
        with open(folder / name, "rb") as file:
            while part := file.read(_PARTS_OF_A_FILE):
                got.update(part)
        if got.hexdigest() != digest.lower():
            raise ValueError(
                f"{name} has SHA-256 {got.hexdigest()}, {checksums.name} says {digest.lower()}. Download it again."
            )
    return len(lines)


def tensor_checksum(tensor: torch.Tensor) -> str:
    """SHA-256 of a tensor's bytes, in hexadecimal."""
    return hashlib.sha256(tensor.contiguous().flatten().view(torch.uint8).numpy().data).hexdigest()


def _read_index(path: Path) -> dict[str, str]:
    index = read_json_object(path).get("weight_map")
    if not isinstance(index, dict) or not index or not all(isinstance(name, str) for name in index.values()):
        raise ValueError(f"{path} is not an index of weight files: weight_map must map tensors to file names.")
    return index


def _check_names(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        path = folder / name
        # A Hub cache stores files as links out of the snapshot; what matters is that the *name* stays inside.
        if Path(name).name != name or name in ("", ".", "..") or len(name) > _LONGEST_NAME:
            raise ValueError(
                f"{name[:80]!r} is not a file name inside {folder}: an index may name only files next to it."
            )
        if not path.is_file():
            raise ValueError(f"{folder} lacks {name}. Download the missing file; {len(names)} are needed.")


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    more = len(names) - len(shown)
    return (", ".join(shown) or "nothing") + (f" and {more} more" if more else "")
