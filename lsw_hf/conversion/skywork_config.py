"""A legacy Skywork `config.json` as a config that today's transformers, and everything built on Llama, understands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import LlamaConfig

from ..files import read_json_object
from ..models import LongSkyworkConfig
from ..models.configuration_longskywork import is_number
from ..models.rope_longskywork import skywork_ntk_rope_theta

# Fields with the same meaning on both sides.
_SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "tie_word_embeddings",
)
_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
# Fields read in another way, or that say nothing about the network.
_READ_ELSEWHERE = ("rope_theta", "rope_scaling")
_SAYS_NOTHING = frozenset(
    {"model_type", "architectures", "auto_map", "torch_dtype", "transformers_version", "use_cache", "_name_or_path"}
)


def read_skywork_config(
    folder: Path, *, to: str, rope_parameters: Mapping | None = None
) -> tuple[LlamaConfig, list[str]]:
    """Translate a legacy config.

    Args:
        folder (`Path`):
            Holds `config.json` with `model_type: skywork`.
        to (`str`):
            `"llama"` for a stock [`~transformers.LlamaConfig`], `"longskywork"` for ours.
        rope_parameters (`Mapping`, *optional*):
            RoPE to write instead of the legacy file's.

    Returns:
        `tuple[LlamaConfig, list[str]]`: the config, and what was changed, one sentence each.

    Raises:
        ValueError: when it is no Skywork config, lacks a field, or asks for something that cannot be said exactly.
    """
    legacy = _read(folder / "config.json")
    missing = [name for name in _NEEDED if name not in legacy]
    if missing:
        raise ValueError(f"{folder / 'config.json'} lacks {', '.join(missing)}.")
    changes = [f"model_type skywork is now {to}"]
    rope = _rope(legacy, to, rope_parameters, changes)
    unknown = sorted(set(legacy) - set(_SAME) - set(_READ_ELSEWHERE) - _SAYS_NOTHING)
    if unknown:
        left = ", ".join(f"{name if name.isidentifier() else repr(name)}={legacy[name]!r}" for name in unknown)
        changes.append(f"left out, without meaning for a Llama-shaped network as far as is known: {left}")
    fields = {name: legacy[name] for name in _SAME if legacy.get(name) is not None}
    fields.setdefault("pad_token_id", 0)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if name in fields and type(fields[name]) is not int:
            raise ValueError(f"{folder / 'config.json'} says {name}={fields[name]!r}; it must be one whole number.")
    # Ours refuses sizes and RoPE numbers that clash; stock Llama would make a broken model of them. It has no dynamic.
    dynamic = to == "llama" and rope.get("rope_type") == "dynamic"
    try:
        ours = LongSkyworkConfig(**fields, rope_parameters={} if dynamic else rope)
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder / 'config.json'} has a field of the wrong type: {reason}.") from error
    if to == "longskywork":
        return ours, changes
    return LlamaConfig(**fields, rope_parameters=rope if dynamic else ours.rope_parameters), changes


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} is missing. Give the folder of a legacy Skywork checkpoint.")
    legacy = read_json_object(path)
    if legacy.get("model_type") != "skywork":
        found = legacy.get("model_type")
        raise ValueError(
            f"{path} says model_type {found!r}; this converts legacy checkpoints of model_type 'skywork'. "
            "Others load with transformers as they are."
        )
    return legacy


def _rope(legacy: Mapping, to: str, chosen: Mapping | None, changes: list[str]) -> dict[str, Any]:
    given, scaling = legacy.get("rope_theta"), legacy.get("rope_scaling")
    if given is not None and not is_number(given, 1, including=False):
        raise ValueError(f"rope_theta={given!r}; it is the base of the frequencies, a number above 1.")
    theta = float(given or 10_000.0)
    if chosen is not None:
        changes.append(f"rope_scaling={scaling!r}, rope_theta={theta} replaced by {dict(chosen)!r} as asked")
        return dict(chosen)
    if scaling is None:
        return {"rope_type": "default", "rope_theta": theta}
    known = scaling if isinstance(scaling, dict) else {}
    kind, factor = known.get("type", known.get("rope_type")), known.get("factor")
    if kind not in ("ntk", "linear", "dynamic"):
        raise ValueError(
            f"rope_scaling={scaling!r}: legacy Skywork has the types ntk, linear and dynamic. Pass rope_parameters to "
            "say what is meant."
        )
    if not is_number(factor, 1):
        raise ValueError(f"rope_scaling={scaling!r}: factor must be a number of at least 1.")
    if kind == "ntk":
        larger = skywork_ntk_rope_theta(theta, float(factor))
        changes.append(f"rope type ntk with factor {factor} is now plain RoPE with base {theta} * {factor} = {larger}")
        return {"rope_type": "default", "rope_theta": larger}
    if kind == "linear":
        return {"rope_type": "linear", "rope_theta": theta, "factor": float(factor)}
    if to == "longskywork":
        raise ValueError(
            f"rope_scaling={scaling!r} changes its frequencies with the longest position seen, which LongSkywork does "
            'not do. Convert to "llama", or pass rope_parameters, for example {"rope_type": "yarn", "rope_theta": '
            f'{theta}, "factor": {factor}, "original_max_position_embeddings": '
            f"{legacy.get('max_position_embeddings', 4096)}}}."
        )
    changes.append("rope type dynamic is kept; llama.cpp silently drops it, so serve with transformers or vLLM")
    return {"rope_type": "dynamic", "rope_theta": theta, "factor": float(factor)}
