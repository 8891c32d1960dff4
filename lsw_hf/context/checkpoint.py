"""Extending a saved checkpoint without loading it."""

from __future__ import annotations

import copy
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import PreTrainedConfig

from ..files import read_json_object, replacing, write_json
from .architecture.layout import WRITTEN_FIELDS, inner_base
from .architecture.text_part import complete_text, set_field, text_chain
from .extension import extend_config
from .request import AUTO
from .saved_model import TOKENIZER_CONFIG, load_config, refuse_no_model, write_legacy_tokenizer
from .transformers4.config_files import CHECKPOINT_FOLDER, LEGACY_KEYS, legacy_rope_fields
from .verification import ContextReport, verify_context

logger = logging.getLogger(__name__)

REWRITTEN = ("config.json", "generation_config.json", TOKENIZER_CONFIG)
WEIGHTS = ("*.safetensors", "*.gguf", "pytorch_model*.bin", "consolidated*")
"""Names of weight files; a trainer leaves other `.bin` and `.pt` files."""

LINKED_SUFFIXES = (".safetensors",)
"""safetensors (0.8 and later) saves into a new file, which replaces the old one. A pickle (`torch.save`) and a
tokenizer are written in place: linked, they would change in the source too."""


def extend_checkpoint(
    path_or_id: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    context_length: int,
    method: str = AUTO,
    options: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> ContextReport:
    """Write a copy of a saved model with a longer context window; no weight is loaded.

    Safetensors are hard-linked where the file system allows; everything else is copied in blocks, so a checkpoint of
    any size needs memory for its configuration only. Checkpoints of a training run inside the folder (`checkpoint-5`)
    have the old window and are not copied. `config.json` gets the extension and keeps its other fields, and the
    tokenizer's `model_max_length` and a generation length equal to the old window follow.

    Args:
        path_or_id (`str` or `os.PathLike`):
            Folder of a saved model, or a Hub id to download.
        output_dir (`str` or `os.PathLike`):
            Folder to write; must not exist or be empty, and not be the working folder. It appears whole or not at
            all.
        context_length (`int`):
            Target length in tokens.
        method (`str`, *optional*, defaults to `"auto"`):
            As in [`extend_config`].
        options (`Mapping[str, Any]`, *optional*):
            Further keyword arguments of [`extend_config`]: `factor`, `rope_theta` and so on.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Passed to `AutoConfig`.
        revision (`str`, *optional*):
            Branch, tag or commit on the Hub; not for folders.

    Returns:
        `ContextReport`: of the written folder.

    Raises:
        ValueError: the source is neither a folder nor a model on the Hub, has no readable `config.json` or links
            to files that are missing, the target is not empty, one of the two is inside the other, or
            [`extend_config`] refuses.
    """
    source, target = Path(path_or_id), Path(output_dir)
    if not str(output_dir).strip():
        raise ValueError("output_dir is empty. Name the folder to write.")
    _refuse_nesting(source, target)
    _refuse_unwritable(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"output_dir {target} exists and is not an empty folder. Choose another one, or remove it.")
    if target.absolute() == Path.cwd():
        raise ValueError(f"output_dir {target} is the working folder, which cannot be replaced. Name a new one.")
    refuse_no_model(path_or_id)
    if not source.exists():
        source = download_model(str(path_or_id), revision)
    elif revision is not None:
        raise ValueError(
            f"revision={revision!r} names a state of a model on the Hub, and {source} is a folder here. Leave it out, "
            "or give the Hub id."
        )
    if source.is_dir():
        _refuse_broken_links(source)
        _check_weights(source)
    config = load_config(source, trust_remote_code=trust_remote_code)
    raw = read_json_object(source / "config.json")
    extended = extend_config(config, context_length=context_length, method=method, **(options or {}))
    before = config.get_text_config(decoder=True)
    with replacing(target) as partial:
        _link_tree(source, partial)
        write_json(partial / "config.json", _with_extension(raw, extended, before.max_position_embeddings))
        _replace_value(source, partial, TOKENIZER_CONFIG, "model_max_length", context_length)
        if (partial / TOKENIZER_CONFIG).is_file():
            write_legacy_tokenizer(partial)
        length = before.max_position_embeddings
        _replace_value(source, partial, "generation_config.json", "max_length", context_length, only_if=length)
        return verify_context(str(partial), trust_remote_code=trust_remote_code)


def download_model(name: str, revision: str | None = None) -> Path:
    """Return the local snapshot of a Hub id.

    Raises:
        ValueError: the Hub did not give it; the message says why, and what to look at.
    """
    try:
        where: dict[str, Any] = {} if revision is None else {"revision": revision}
        return Path(snapshot_download(name, **where))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        state = f" at revision {revision!r}" if revision else ""
        raise ValueError(
            f"{name} is not a folder here, and the Hub did not give a model of that name{state} ({reason}) Check the "
            "spelling, the network (HF_HUB_OFFLINE), and `hf auth login` for gated models."
        ) from error


def _refuse_nesting(source: Path, target: Path) -> None:
    inner, outer = target.resolve(), source.resolve()
    if source.is_dir() and inner != outer and (outer in inner.parents or inner in outer.parents):
        where = "inside the model's folder" if outer in inner.parents else "around the model's folder"
        raise ValueError(f"output_dir {target} is {where} {source}. Choose a folder next to it.")


def _refuse_unwritable(target: Path) -> None:
    """Refuse at the beginning what would stop the write at the end."""
    if target.is_symlink():
        raise ValueError(f"output_dir {target} is a link, which cannot be replaced whole. Name the folder itself.")
    parent = target.absolute().parent
    while not (parent.exists() or parent.is_symlink()):
        parent = parent.parent
    kernels = any(parent.is_relative_to(place) for place in ("/proc", "/sys"))  # which say yes and then refuse
    if not parent.is_dir() or not os.access(parent, os.W_OK) or kernels:
        raise ValueError(f"output_dir {target} cannot be made: {parent} is not a folder that can be written to.")


def _check_weights(source: Path) -> None:
    """Refuse adapters and folders that lack a shard; warn if there are no weights at all."""
    if (source / "adapter_config.json").is_file():
        raise ValueError(
            f"{source} contains an adapter, whose window is its base model's. Extend the base model, put the adapter "
            "onto it (`load_adapter`), and save it (`save_adapter`), or make one model of both (`merge_adapter`)."
        )
    weights = [path for pattern in WEIGHTS for path in source.glob(pattern)]
    if not weights:
        logger.warning("%s contains no weights: only its configuration is extended.", source)
    # the one that transformers would read: a folder may keep the index of a format that was left out
    order = [f"{name}{end}" for name in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json")]
    read = next((name for name in order if (source / name).is_file()), "")
    if not read.endswith(".index.json"):
        return
    shards = read_json_object(source / read).get("weight_map")
    if not isinstance(shards, dict):
        raise ValueError(f"{source / read} has no weight_map, so nothing says where the weights are.")
    names = sorted({str(name) for name in shards.values()})
    missing = [name for name in names if not (source / name).is_file()]
    if missing:
        raise ValueError(
            f"{source} lacks {len(missing)} of {len(names)} weight files that {read} names: {', '.join(missing[:3])}. "
            "Download the model again."
        )


def _files(source: Path) -> Iterator[Path]:
    """Paths below `source` that belong to the model: no hidden ones (a Hub cache's bookkeeping), no checkpoints of a
    training run, and none of a linked folder twice.
    """
    seen = set()
    for folder, names, files in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        top = Path(folder) == source
        names[:] = sorted(
            name
            for name in names
            if real not in seen and not name.startswith(".") and not (top and CHECKPOINT_FOLDER.fullmatch(name))
        )
        if real not in seen:
            seen.add(real)
            yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _refuse_broken_links(source: Path) -> None:
    broken = [str(path.relative_to(source)) for path in _files(source) if not path.exists()]
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise ValueError(
            f"{source} has links to files that are not there: {', '.join(broken[:5])}{more}. Download the model "
            "again, or bring the files back."
        )


def _link_tree(source: Path, target: Path) -> None:
    """Link weights and copy the rest, except the files that are rewritten."""
    for path in _files(source):
        relative = path.relative_to(source)
        if str(relative) in REWRITTEN:
            continue
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        real = path.resolve()  # a Hub snapshot consists of symbolic links into its blobs
        if path.suffix not in LINKED_SUFFIXES:
            shutil.copyfile(real, target / relative)
            continue
        try:
            os.link(real, target / relative)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(real, target / relative)


def _with_extension(raw: dict[str, Any], extended: PreTrainedConfig, length: int) -> dict[str, Any]:
    """Return the file with what the extension writes; `length` is the window before it."""
    *around, text = text_chain(raw, extended)
    before, described = copy.deepcopy(text), extended.get_text_config(decoder=True)
    for key in LEGACY_KEYS:
        text.pop(key, None)
    for key in WRITTEN_FIELDS:
        field = described.attribute_map.get(key, key)
        if field in vars(described):  # read past the guard of classes whose layers differ in it (Gemma 4)
            set_field(text, described, key, vars(described)[field])
    text.update(legacy_rope_fields({**complete_text(extended), **text}))
    if inner_base(described) is not None:
        text["attn_config"] = {**text["attn_config"], "rope_theta": inner_base(described)}
    changed = [key for key in {*before, *text} if before.get(key) != text.get(key)]
    for outer in around:  # some files repeat fields of the text part, and some readers look there
        if outer.get("max_position_embeddings") == length:
            outer["max_position_embeddings"] = described.max_position_embeddings
        for key in changed:
            if key in before and key in outer and outer[key] == before[key]:
                outer.pop(key)
                outer |= {key: text[key]} if key in text else {}
    return raw


def _replace_value(source: Path, target: Path, name: str, key: str, value: int, *, only_if: int | None = None) -> None:
    if not (source / name).is_file():
        return
    raw = read_json_object(source / name)
    if only_if is None or raw.get(key) == only_if:
        raw[key] = value
    write_json(target / name, raw)
