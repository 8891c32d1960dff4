"""How each configuration class of transformers 4.57 spells its rotary numbers, and which of them its model reads.

Read from the classes of 4.57.3; `tests/context/transformers4/test_oracle.py` checks it against the tables that they
compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCALED_TYPES = ("linear", "dynamic", "yarn", "llama3", "longrope")
"""Types of scaling that transformers 4.57 has formulas for."""

LocalTables = Literal["own base", "same base", "same scaling", "same table"]


@dataclass(frozen=True)
class LegacyClass:
    """One configuration class of transformers 4.57, as far as its rotary embedding goes.

    Args:
        base (`str`):
            Field of the base (of the layers that reach the whole context, if there are two kinds).
        other_names (`tuple[str, ...]`):
            Further fields with the same base.
        fraction (`tuple[str, ...]`):
            Fields of the rotated part of a head.
        scaled_types (`tuple[str, ...]`):
            Types of scaling that the model computes.
        otherwise (`"stops"` or `"ignores"`):
            What the class does about every other type: an error when it is loaded, or unscaled tables.
        keys (`tuple[str, ...]`):
            The only keys that the class accepts in `rope_scaling`; empty if it accepts all.
        dynamic_needs (`str`, *optional*):
            Key without which the class fails at the type `"dynamic"`.
        needs_scaling (`bool`):
            Whether the class fails without a `rope_scaling` dictionary, even for the type `"default"`.
        presumes_scaling (`bool`):
            Whether a file without `rope_scaling` means some scaling, so that the field must say `null`.
        layer_words (`tuple[str, ...]`):
            What the class calls kinds of layers, if a save of transformers 5 writes other words and the class stops.
        ignored (`tuple[str, ...]`):
            Keys of the scaling that its attention does not read, and that of transformers 5 does.
        local_mask (`bool`):
            Whether the model attends within `sliding_window`, which the same model of transformers 5 does not look at.
        local (*optional*):
            What layers of the type `sliding_attention` compute with, for classes whose `rope_parameters` is nested:
            - `"own base"`: the base in `local_base`, unscaled.
            - `"same base"`: the base of the others, unscaled.
            - `"same scaling"`: the base in `local_base`, scaled like the others.
            - `"same table"`: what the others compute with.
        local_base (`str`, *optional*):
            Field of the base of these layers.
    """

    base: str = "rope_theta"
    other_names: tuple[str, ...] = ()
    fraction: tuple[str, ...] = ("partial_rotary_factor",)
    scaled_types: tuple[str, ...] = SCALED_TYPES
    otherwise: Literal["stops", "ignores"] = "stops"
    keys: tuple[str, ...] = ()
    dynamic_needs: str | None = None
    needs_scaling: bool = False
    presumes_scaling: bool = False
    layer_words: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    local_mask: bool = False
    local: LocalTables | None = None
    local_base: str | None = None


PLAIN = LegacyClass()
"""`rope_theta`, `rope_scaling` and `partial_rotary_factor`, all of them read."""

_PLAIN_NAMES = """
    arcee aria_text bamba bitnet cohere cohere2 csm deepseek_v3 diffllama doge dots1 ernie4_5 ernie4_5_moe
    exaone4 falcon falcon_h1 flex_olmo gemma gemma2 glm glm4 glm4_moe glm4v_moe_text glm4v_text granite granitemoe
    granitemoeshared helium jetmoe kyutai_speech_to_text lfm2 llama longcat_flash minimax ministral
    mistral mixtral olmoe persimmon phi phimoe qwen2 qwen2_5_vl_text qwen2_moe qwen2_vl_text qwen3 qwen3_moe
    qwen3_next seed_oss smollm3 stablelm starcoder2 vaultgemma
"""
_TWO_KEYS = LegacyClass(scaled_types=("linear", "dynamic"), keys=("type", "factor"))
_LONGROPE = LegacyClass(scaled_types=("longrope",), keys=("type", "short_factor", "long_factor"))
_GPT_NEOX = LegacyClass(other_names=("rotary_emb_base",), fraction=("partial_rotary_factor", "rotary_pct"))

LEGACY_CLASSES: dict[str, LegacyClass] = {
    **dict.fromkeys(_PLAIN_NAMES.split(), PLAIN),
    "apertus": LegacyClass(presumes_scaling=True),
    "chameleon": _TWO_KEYS,
    "deepseek_v2": LegacyClass(ignored=("mscale_all_dim",)),
    "gemma3_text": LegacyClass(local="own base", local_base="rope_local_base_freq"),
    "gemma3n_text": LegacyClass(local="own base", local_base="rope_local_base_freq"),
    "gpt_neox": _GPT_NEOX,
    "gpt_neox_japanese": _GPT_NEOX,
    "gpt_oss": LegacyClass(presumes_scaling=True),
    "granitemoehybrid": LegacyClass(layer_words=("attention", "mamba")),
    "hunyuan_v1_dense": LegacyClass(dynamic_needs="alpha"),
    "hunyuan_v1_moe": LegacyClass(dynamic_needs="alpha"),
    "llama4_text": LegacyClass(scaled_types=("llama3",)),
    "modernbert": LegacyClass(base="global_rope_theta", local="same scaling", local_base="local_rope_theta"),
    "modernbert-decoder": LegacyClass(base="global_rope_theta", local="same table", local_base="local_rope_theta"),
    "moshi": LegacyClass(local_mask=True),
    "nemotron": LegacyClass(scaled_types=(), otherwise="ignores"),
    "olmo": _TWO_KEYS,
    "olmo2": _TWO_KEYS,
    "olmo3": LegacyClass(local="same base"),
    "phi3": _LONGROPE,
    "phi4_multimodal": _LONGROPE,
    "emu3_text_model": PLAIN,
    "mllama_text_model": LegacyClass(needs_scaling=True),
    "qwen2_5_omni_text": PLAIN,
    "qwen3_omni_moe_text": LegacyClass(needs_scaling=True),
    "t5_gemma_module": PLAIN,
    "qwen3_vl_moe_text": LegacyClass(needs_scaling=True),
    "qwen3_vl_text": LegacyClass(needs_scaling=True),
    "recurrent_gemma": LegacyClass(scaled_types=(), otherwise="ignores"),
    "zamba2": LegacyClass(layer_words=("mamba", "hybrid")),
}
"""By `model_type`: every class of transformers 4.57 whose model reads text and has rotary tables from these fields."""

PARTS = frozenset(
    ("emu3_text_model", "mllama_text_model", "qwen2_5_omni_text", "qwen3_omni_moe_text", "t5_gemma_module")
)
"""Those of them that 4.57 knows only inside a larger class."""

WITHOUT_TEXT_TABLES = frozenset(
    "blt edgetam_video efficientloftr evolla fuyu idefics mimi mlcd moonshine pixtral sam2_video".split()
)
"""Classes of 4.57 with rotary fields that belong to images, sound or parts, or to no model that can be extended."""

ELSEWHERE = {"dbrx": "attn_config.rope_theta"}
"""Classes of 4.57 that keep the base in another dictionary and read no scaling: `model_type` -> field."""
