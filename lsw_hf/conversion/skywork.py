"""Legacy Skywork-13B folders as stock Llama checkpoints, or as ours: streamed, checked, reported.

What is known of the real files comes from the published architecture and from converters of others, and is what the
tests' generated folders look like. On first contact with the real ones, look at the report for: fields of the config
that were left out (one of them could change the network), the frequencies stored with the weights (they are compared
with the base, and a disagreement stops the conversion), rows beyond the tokenizer's pieces (chat checkpoints may have
trained rows for the chat tokens already, in the order [USER], [BOT], [SEP]), and compare a greedy answer of the result
with a published one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig

from ..context.saved_model import save_tokenizer
from ..context.transformers4.config_files import write_legacy_rope
from ..files import read_json_object, replacing, write_json
from ..models import LongSkyworkConfig, modeling_longskywork
from ..models.configuration_longskywork import is_number
from ..models.presets import estimate_memory
from ..models.rope_longskywork import default_inv_freq
from .skywork_config import read_skywork_config
from .skywork_tokenizer import CHAT_TOKENS, PROBE_TEXTS, convert_tokenizer
from .tensors import check_file_checksums, find_checkpoint_files, tensor_checksum

REPORT_NAME = "conversion_report.json"
TARGETS = ("llama", "longskywork")
_BY_TOKEN = ("model.embed_tokens.weight", "lm_head.weight")
_STORED_FREQUENCIES = ".rotary_emb.inv_freq"
_SAMPLING = {"temperature": (0, 100), "top_k": (0, 10**6), "top_p": (0, 1)}
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class ConvertedTensor:
    """One tensor of the result.

    Attributes:
        name (`str`):
            Its name, the same on both sides.
        shape (`tuple[int, ...]`):
            As written.
        dtype (`str`):
            As written, for example `"bfloat16"`.
        sha256 (`str`):
            Of the bytes as written, read back from the file.
        change (`str`):
            What was done to it; empty when the bytes are the source's.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    change: str = ""


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did; `conversion_report.json` in the result's folder says the same.

    Attributes:
        source (`str`):
            Name of the legacy folder.
        to (`str`):
            `"llama"` or `"longskywork"`.
        tensors (`list[ConvertedTensor]`):
            All that was written.
        changes (`list[str]`):
            What differs from the source apart from the tensors, one sentence each.
        dropped (`list[str]`):
            Tensors of the source that the result does not need.
        probe_texts (`int`):
            Texts on which the fast tokenizer was compared with SentencePiece.
        checked_files (`int`):
            Source files compared with a list of checksums.
    """

    source: str
    to: str
    tensors: list[ConvertedTensor] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    probe_texts: int = 0
    checked_files: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return asdict(self)


def convert_checkpoint(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    *,
    to: str = "llama",
    allow_pickle: bool = False,
    rope_parameters: Mapping | None = None,
    dtype: torch.dtype | None = None,
    checksums: str | os.PathLike | None = None,
    shard_bytes: int = 10**9,
) -> ConversionReport:
    """Convert a legacy Skywork-13B folder (`model_type: skywork`) to one that needs no legacy code.

    The tensors are Llama's by name and shape, so they are copied as they are; what changes is the config, the
    tokenizer (a fast one, with `[USER]`, `[BOT]`, `[SEP]` and the published chat format), and the rows of embedding
    and head for those three tokens: spare rows are used where there are any, otherwise mean rows are added. Tensors
    are streamed; the memory needed is about twice `shard_bytes` plus the largest tensor twice.

    Args:
        src (`str` or `os.PathLike`):
            The legacy folder, on disk.
        dst (`str` or `os.PathLike`):
            The folder to make; must not exist or be empty. It appears when all is written.
        to (`str`, *optional*, defaults to `"llama"`):
            `"llama"` for a stock checkpoint that servers know,
            `"longskywork"` for our class with its code next to the weights.
        allow_pickle (`bool`, *optional*, defaults to `False`):
            Whether `.bin` files may be read. Nothing in them is
            executed either way.
        rope_parameters (`Mapping`, *optional*):
            RoPE to write instead of what the legacy config says; frequencies
            stored with the weights are not compared then.
        dtype (`torch.dtype`, *optional*):
            Cast floating-point tensors; defaults to the source's own.
        checksums (`str` or `os.PathLike`, *optional*):
            A file as `sha256sum` writes it; the source's files must match.
        shard_bytes (`int`, *optional*, defaults to 1,000,000,000):
            Most bytes in one written file, unless a single
            tensor is larger.

    Returns:
        [`ConversionReport`]

    Raises:
        ValueError: for whatever is missing, inconsistent, damaged, or not exactly convertible; nothing is written.
    """
    source, target = Path(src), Path(dst).resolve()  # a link cannot be replaced, the folder it points to can
    if to not in TARGETS:
        raise ValueError(f"to={to!r}: a Skywork checkpoint converts to {' or '.join(TARGETS)}.")
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes is {shard_bytes}; it must be at least 1.")
    if not source.is_dir():
        raise ValueError(f"{source} is not a folder. Download the checkpoint first.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} exists and is not an empty folder. Name a new one.")
    if target == Path.cwd().resolve():
        raise ValueError(f"{dst} is the working folder, which cannot be replaced. Name a new one.")
    config, changes = read_skywork_config(source, to=to, rope_parameters=rope_parameters)
    files = find_checkpoint_files(source, allow_pickle=allow_pickle)
    _check_size(config, files.total_bytes())
    checked = check_file_checksums(source, Path(checksums)) if checksums is not None else 0
    ids = {f"{name}_id": getattr(config, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    tokenizer = convert_tokenizer(source / "tokenizer.model", **ids)
    old_rows = config.vocab_size
    _fit_vocabulary(config, len(tokenizer), changes)
    report = ConversionReport(source.name, to, [], changes, [], len(PROBE_TEXTS), checked)
    with replacing(target) as partial:
        partial.mkdir()
        tensors = _converted(files.tensors(), config, old_rows, dtype, rope_parameters is not None, report)
        _write_shards(tensors, partial, shard_bytes, report)
        _write_configs(config, source, partial, report)
        save_tokenizer(tokenizer, partial)
        shutil.copyfile(source / "tokenizer.model", partial / "tokenizer.model")  # llama.cpp reads this one
        write_json(partial / REPORT_NAME, report.to_dict())
    return report


def _check_size(config: LlamaConfig, total_bytes: int) -> None:
    """Before anything is built from a config: one that describes a model of any size costs a line to write."""
    parameters = estimate_memory(config, 1).parameters
    if parameters > total_bytes:  # no legacy format has less than a byte a weight
        raise ValueError(
            f"config.json describes {parameters:,} weights, but the weight files contain {total_bytes:,} bytes: one "
            "of them is cut off, or they do not belong together."
        )


def _fit_vocabulary(config: LlamaConfig, tokens: int, changes: list[str]) -> None:
    if tokens <= config.vocab_size:
        spare = config.vocab_size - tokens
        changes.append(f"the chat tokens take rows that are there: {tokens} tokens, {spare} rows still spare")
    elif tokens - len(CHAT_TOKENS) > config.vocab_size:
        raise ValueError(
            f"tokenizer.model has {tokens - len(CHAT_TOKENS)} pieces, but vocab_size is {config.vocab_size}: these "
            "files are not from one checkpoint."
        )
    else:
        added = tokens - config.vocab_size
        changes.append(f"vocab_size {config.vocab_size} is now {tokens}: {added} mean rows for the chat tokens")
        config.vocab_size = tokens


def _converted(
    tensors: Iterator[tuple[str, torch.Tensor]],
    config: LlamaConfig,
    old_rows: int,
    dtype: torch.dtype | None,
    chosen_rope: bool,
    report: ConversionReport,
) -> Iterator[tuple[str, torch.Tensor, str]]:
    """Every tensor of the result with what was done to it; raises when one is missing, unknown or of another shape."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    expected = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    seen: set[str] = set()
    for name, tensor in tensors:
        if name.endswith(_STORED_FREQUENCIES):
            if not chosen_rope:
                _check_frequencies(name, tensor, config)
            report.dropped.append(name)
            continue
        if name == "lm_head.weight" and config.tie_word_embeddings:
            report.dropped.append(name)
            continue
        if name not in expected or name in seen:
            raise ValueError(f"{name} is {'there twice' if name in seen else 'no tensor of a Skywork model'}.")
        seen.add(name)
        shape = (old_rows, *expected[name][1:]) if name in _BY_TOKEN else expected[name]
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the config asks for {shape}.")
        if tensor.dtype not in _DTYPES:
            allowed = ", ".join(_dtype_name(each) for each in _DTYPES)
            raise ValueError(f"{name} is of {_dtype_name(tensor.dtype)}; weights are of {allowed}.")
        change = []
        if name in _BY_TOKEN and expected[name][0] > old_rows:
            mean = tensor.mean(dim=0, keepdim=True, dtype=torch.float32).to(tensor.dtype)
            tensor = torch.cat([tensor, mean.expand(expected[name][0] - old_rows, -1)])
            change.append(f"{expected[name][0] - old_rows} mean rows added")
        if dtype is not None and tensor.dtype != dtype:
            change.append(f"cast from {_dtype_name(tensor.dtype)}")
            tensor = tensor.to(dtype)
        if not tensor.isfinite().all():
            raise ValueError(
                f"{name} contains NaN or infinity as {_dtype_name(tensor.dtype)}: the file is damaged, or the numbers "
                "are too large for the dtype that was asked for."
            )
        yield name, tensor, ", ".join(change)
    missing = sorted(set(expected) - seen)
    if missing:
        raise ValueError(f"The source lacks {len(missing)} tensors, among them {', '.join(missing[:3])}.")


def _check_frequencies(name: str, stored: torch.Tensor, config: LlamaConfig) -> None:
    """Old checkpoints store the frequencies they were trained with: a wrong base in the config shows here."""
    rope = config.rope_parameters
    plain = default_inv_freq(config.head_dim, rope["rope_theta"])
    # a linear factor divides the frequencies or, in most classes of that time, the positions
    possible = [plain, plain / rope["factor"]] if rope["rope_type"] == "linear" else [plain]
    tolerance = 1e-5 if stored.dtype in (torch.float32, torch.float64) else 1e-2
    if stored.shape != plain.shape or not any(
        torch.allclose(stored.float(), turns, rtol=tolerance, atol=0) for turns in possible
    ):
        raise ValueError(
            f"{name} was stored with other frequencies than rope_theta={rope['rope_theta']} gives. The config does "
            "not belong to these weights, or means something else by its rope_scaling; pass rope_parameters."
        )


def _write_shards(
    tensors: Iterator[tuple[str, torch.Tensor, str]], folder: Path, shard_bytes: int, report: ConversionReport
) -> None:
    shards: list[Path] = []
    changes: dict[str, str] = {}
    batch: dict[str, torch.Tensor] = {}

    def flush() -> None:
        if batch:
            shards.append(folder / f"part-{len(shards) + 1}.safetensors")
            save_file(batch, shards[-1], metadata={"format": "pt"})
            batch.clear()

    for name, tensor, change in tensors:
        if batch and sum(held.nbytes for held in batch.values()) + tensor.nbytes > shard_bytes:
            flush()
        tensor = tensor.contiguous()
        if tensor.data_ptr() in {held.data_ptr() for held in batch.values()}:
            tensor = tensor.clone()  # a pickle may store one memory under two names, safetensors may not
        batch[name] = tensor
        changes[name] = change
    flush()
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, 1):
        last = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        written = shard.rename(folder / last)
        with safe_open(written, framework="pt") as file:  # the checksums are of what is on disk now
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                tensor = file.get_tensor(name)
                weight_map[name], total = last, total + tensor.nbytes
                record = (tuple(tensor.shape), _dtype_name(tensor.dtype), tensor_checksum(tensor), changes[name])
                report.tensors.append(ConvertedTensor(name, *record))
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        write_json(folder / "model.safetensors.index.json", index)


def _write_configs(config: LlamaConfig, source: Path, folder: Path, report: ConversionReport) -> None:
    ours = isinstance(config, LongSkyworkConfig)
    config.architectures = ["LongSkyworkForCausalLM" if ours else "LlamaForCausalLM"]
    config.dtype = next(tensor.dtype for tensor in report.tensors if tensor.name == _BY_TOKEN[0])
    config.save_pretrained(folder)
    if ours:
        shutil.copyfile(modeling_longskywork.__file__, folder / "modeling_longskywork.py")
    else:
        write_legacy_rope(folder)
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    sampling = _sampling(source / "generation_config.json", report)
    GenerationConfig(**ids, **sampling).save_pretrained(folder)


def _sampling(path: Path, report: ConversionReport) -> dict[str, Any]:
    """Return what a legacy generation config says about sampling; the rest of it is about lengths and ids."""
    if not path.is_file():
        return {}
    given = {key: value for key, value in read_json_object(path).items() if value is not None}
    for key, (low, high) in _SAMPLING.items():
        if key in given and not (is_number(given[key], low) and given[key] <= high):
            raise ValueError(f"{path} says {key}={given[key]!r}; it must be a number from {low} to {high}.")
    kept = {key: given[key] for key in _SAMPLING if key in given}
    if given.get("do_sample", bool(kept)) is not True or kept.get("temperature") == 0:
        kept = {}  # greedy search takes no such numbers
    else:
        kept["do_sample"] = True
    report.changes.append(f"generation_config.json: kept {', '.join(sorted(kept)) or 'nothing but the token ids'}")
    return kept


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
