"""What a model's configuration says about its rotary position embedding, and which models have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

from .layers import WINDOW_FIELDS, local_reason
from .origin import RECORD_KEY, Origin, find_origin

WRITTEN_FIELDS = (
    "rope_parameters",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "max_sequence_length",
    "attention_temperature_length",
    "head_dim",
    RECORD_KEY,
)
"""Fields that an extension may write; a configuration class that lacks one does without."""

SCALING_KEYS = frozenset(
    {
        "type",
        "rope_type",
        "rope_theta",
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "truncate",
        "mscale",
        "mscale_all_dim",
        "short_factor",
        "long_factor",
        "low_freq_factor",
        "high_freq_factor",
    }
)
"""Keys that belong to one rope type; every other key (partial rotary factor, sections) describes the architecture."""

OLDER_NAME = (
    "The type 'su' is called 'longrope' today, with original_max_position_embeddings in its dictionary: write it so."
)
"""What files of Phi-3's first weeks need."""

KNOWN_ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional")
LOCAL_LAYER_TYPES = tuple(WINDOW_FIELDS)
LIMITED_ROPE_TYPES = {
    "phi3": ("default", "longrope"),
    "phi4_multimodal": ("default", "longrope"),
    "phimoe": ("default",),  # its longrope has two more numbers, which no formula gives
}
"""Architectures whose configuration class accepts only some rope types."""

SWITCHES = {"position_embedding_type": ("rope", "rotary"), "use_mem_rope": (True,)}
"""Fields of GraniteMoeHybrid and Zamba2, and the values with which they have a rotary embedding."""


@dataclass(frozen=True)
class RopeLayout:
    """Where a configuration keeps its rotary parameters, and what they were before any extension of ours.

    Args:
        config (`PreTrainedConfig`):
            The text configuration (the one that owns `rope_parameters`), not a copy.
        layer_type (`str`, *optional*):
            The key of the entry that reaches the whole context when `rope_parameters` is nested by layer type;
            `None` when it is one flat dictionary.
        rotary_dim (`int`):
            Number of rotated dimensions of a head.
        origin ([`Origin`]):
            Window, original length and rotary dictionary before any extension of ours.
    """

    config: PreTrainedConfig
    layer_type: str | None
    rotary_dim: int
    origin: Origin

    @property
    def parameters(self) -> dict[str, Any]:
        """`dict`: the entry that is in force now."""
        return rope_entry(self.config, self.layer_type)

    @property
    def rope_types(self) -> tuple[str, ...]:
        """`tuple[str, ...]`: rope types that this configuration class accepts."""
        if self.config.model_type == "phimoe" and "long_mscale" in self.origin.parameters:
            return ("longrope",)
        return LIMITED_ROPE_TYPES.get(self.config.model_type, KNOWN_ROPE_TYPES)

    @property
    def local_reason(self) -> str | None:
        """`str`, *optional*: why no scaling helps, if every layer that rotates is local."""
        return local_reason(self.config, self.origin.window)


def rope_entry(config: PreTrainedConfig, layer_type: str | None) -> dict[str, Any]:
    """Return the flat rotary dictionary of `layer_type` (`None` when `rope_parameters` is not nested)."""
    return config.rope_parameters if layer_type is None else config.rope_parameters[layer_type]


def find_layout(config: PreTrainedConfig, original_context_length: int | None = None) -> RopeLayout:
    """Read the rotary layout of `config`.

    Args:
        config (`PreTrainedConfig`):
            A causal language model's configuration; of a multimodal one the text part is taken.
        original_context_length (`int`, *optional*):
            Length in tokens at which the model was pretrained, for configurations that do not say it.

    Returns:
        `RopeLayout`

    Raises:
        ValueError: if the model has no rotary embedding that its configuration describes (the message says what it
            has instead), if the original length is missing, or if two fields contradict each other.
    """
    if not isinstance(config, PreTrainedConfig):
        raise TypeError(
            f"config must be a transformers `PreTrainedConfig`, got {type(config).__name__}. "
            "Load one with `AutoConfig.from_pretrained(path_or_id)`."
        )
    text = config.get_text_config(decoder=True)
    parameters = getattr(text, "rope_parameters", None)
    if not parameters or getattr(text, "alibi", False) or _switched_off(text) or not _reads_rope_parameters(text):
        raise ValueError(f"{text.model_type!r} cannot be extended: {_what_it_has_instead(text)}")
    layer_type = _global_layer_type(text)
    entry = rope_entry(text, layer_type)
    _refuse_unusual(text, entry)
    _check_no_stale_attribute(text, entry)
    origin = find_origin(text, entry, original_context_length)
    head_dim = _head_dim(text, layer_type)
    partial = 1.0 if entry.get("rope_type") == "proportional" else entry.get("partial_rotary_factor", 1.0)
    rotary_dim = int(head_dim * partial)
    if rotary_dim < 2 or rotary_dim % 2 or rotary_dim > head_dim:
        raise ValueError(
            f"{text.model_type!r} rotates {rotary_dim} of {head_dim} head dimensions; an even number from 2 to that "
            "is needed. Check head_dim and partial_rotary_factor."
        )
    return RopeLayout(text, layer_type, rotary_dim, origin)


def layer_config(config: PreTrainedConfig, layer_type: str | None) -> PreTrainedConfig:
    """Return the configuration of the layers of one type, where they differ in more than RoPE (Gemma 4's heads)."""
    if layer_type is not None and getattr(config, "is_heterogeneous", False):
        return config.per_layer_config[layer_type]
    return config


def _head_dim(config: PreTrainedConfig, layer_type: str | None) -> int:
    config = layer_config(config, layer_type)
    given = getattr(config, "head_dim", None)
    if given:
        return int(given)
    size, heads = getattr(config, "hidden_size", None), getattr(config, "num_attention_heads", None)
    if not (isinstance(size, int) and isinstance(heads, int) and heads > 0):
        raise ValueError(
            f"{config.model_type!r} does not say the size of a head: its configuration has neither head_dim nor "
            "hidden_size and num_attention_heads. A model made of several others is extended by hand."
        )
    return size // heads


def _switched_off(config: PreTrainedConfig) -> str | None:
    """Return the field by which an architecture that may have a rotary embedding has none, with its value."""
    known = getattr(type(config), "__dataclass_fields__", {})
    for name, values in SWITCHES.items():
        # a field that the class does not have is left over from elsewhere: Cohere 2's files say rope_gptj
        if name in known and getattr(config, name) not in values:
            return f"{name}={getattr(config, name)}"
    return None


def _reads_rope_parameters(config: PreTrainedConfig) -> bool:
    """Whether the class knows the field: anyone can add it to a `config.json`, and the model would not look at it."""
    fields = getattr(type(config), "__dataclass_fields__", {})
    return "rope_parameters" in fields or not type(config).__module__.startswith("transformers.")


def _what_it_has_instead(config: PreTrainedConfig) -> str:
    name = config.model_type
    if _switched_off(config):
        return (
            f"its configuration switches the rotary embedding off ({_switched_off(config)}). "
            "Choose a model with rotary embeddings."
        )
    if getattr(config, "alibi", False) or name in ("bloom", "mpt"):
        return "it uses ALiBi biases, which have no frequencies to change. Choose a model with rotary embeddings."
    if hasattr(config, "state_size") or hasattr(config, "mamba_d_state") or "rwkv" in name:
        return "it is a state-space model without position embeddings. Choose a model with rotary embeddings."
    if hasattr(config, "rotary_dim"):
        return (
            "its rotary tables are fixed inside the attention layers and its configuration has no `rope_parameters`. "
            "Choose a model whose configuration has them."
        )
    return (
        "its configuration has no `rope_parameters`, so its positions are learned, relative or absent. "
        "Choose a model with rotary embeddings."
    )


def inner_base(config: PreTrainedConfig) -> float | None:
    """Return the base that DBRX's files keep in the dictionary of the attention, where transformers 5 does not
    look.
    """
    inner = getattr(config, "attn_config", None)
    found = inner.get("rope_theta") if isinstance(inner, dict) else getattr(inner, "rope_theta", None)
    return None if found is None else float(found)


def _global_layer_type(config: PreTrainedConfig) -> str | None:
    nested = [key for key, value in config.rope_parameters.items() if isinstance(value, dict)]
    if not nested:
        return None
    if not _reads_layer_types(config):
        raise ValueError(
            f"{config.model_type!r} reads one flat dictionary of rotary parameters, and this one has entries for "
            f"{', '.join(sorted(nested))}, which its layers do not see. Write the fields of one entry in their place."
        )
    reaching = [key for key in nested if key not in LOCAL_LAYER_TYPES]
    if not reaching and len(nested) == 1:
        return nested[0]  # the other layers have no positions: only the length can change
    if len(reaching) != 1:
        raise ValueError(
            f"{config.model_type!r} has rotary parameters for the layer types {sorted(nested)}; exactly one that is "
            f"not local {LOCAL_LAYER_TYPES} can be extended."
        )
    return reaching[0]


def _reads_layer_types(config: PreTrainedConfig) -> bool:
    """Whether the class has layers of several types: a stock one that has not reads a flat dictionary alone."""
    stock = type(config).__module__.startswith("transformers.")
    return not stock or bool(getattr(config, "layer_types", None)) or _is_nested_by_default(type(config))


def _is_nested_by_default(kind: type[PreTrainedConfig]) -> bool:
    return any(isinstance(value, dict) for value in (kind().rope_parameters or {}).values())


def _refuse_unusual(config: PreTrainedConfig, entry: dict[str, Any]) -> None:
    rope_type = entry.get("rope_type", "default")
    _refuse_wrong_numbers(config, entry, rope_type)
    if not isinstance(getattr(config, "max_position_embeddings", None), int):
        raise ValueError(
            f"{config.model_type!r} has no max_position_embeddings, the window to extend; its attention is local or "
            "recurrent. Choose a model that has one."
        )
    if getattr(config, "layer_rope_theta", None):
        raise ValueError(
            f"{config.model_type!r} has a base for each layer (layer_rope_theta), which one change cannot serve. "
            "Extend it by hand."
        )
    if rope_type not in KNOWN_ROPE_TYPES:
        raise ValueError(
            f"{config.model_type!r} uses rope type {rope_type!r}, which has no extension rule here; "
            f"known types: {', '.join(KNOWN_ROPE_TYPES)}.{' ' + OLDER_NAME if rope_type == 'su' else ''}"
        )


def _refuse_wrong_numbers(config: PreTrainedConfig, entry: dict[str, Any], rope_type: str) -> None:
    needed = ("rope_theta", "factor") if rope_type in ("linear", "dynamic", "llama3") else ("rope_theta",)
    for key in ("rope_theta", "factor", "attention_factor", "original_max_position_embeddings"):
        value, lowest = entry.get(key), 1.0 if key == "rope_theta" else 0.0
        if value is None and key not in needed:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest < value < float("inf"):
            raise ValueError(
                f"{config.model_type!r} has {key}={value!r} in its rotary parameters; it must be a number above "
                f"{lowest:g}. Correct the configuration."
            )
    _refuse_wrong_lists(config, entry)
    for key in ("head_dim", "num_attention_heads"):
        size = vars(config).get(key)  # past the guard of classes whose layers differ in it (Gemma 4)
        if isinstance(size, int) and size < 1:
            raise ValueError(
                f"{config.model_type!r} has {key}={size}; it must be at least 1. Correct the configuration."
            )
    window = getattr(config, "max_position_embeddings", None)
    if isinstance(window, int) and window < 2:
        raise ValueError(f"{config.model_type!r} has a window of {window} tokens; it has at least 2.")


def _refuse_wrong_lists(config: PreTrainedConfig, entry: dict[str, Any]) -> None:
    lists = {key: entry[key] for key in ("short_factor", "long_factor") if entry.get(key) is not None}
    for key, values in lists.items():
        numbers = isinstance(values, (list, tuple)) and all(
            isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value < float("inf")
            for value in values
        )
        if not numbers or len(values) != len(lists.get("short_factor", values)):
            raise ValueError(
                f"{config.model_type!r} has a {key} that is no list of numbers above 0, or not as many as "
                "short_factor. It needs one for each rotated pair in both. Correct the configuration."
            )


def _check_no_stale_attribute(config: PreTrainedConfig, entry: dict[str, Any]) -> None:
    elsewhere = inner_base(config)
    if elsewhere is not None and elsewhere != entry.get("rope_theta"):
        raise ValueError(
            f"contradictory base: attn_config.rope_theta is {elsewhere} and is read by transformers 4 only; what runs "
            f"here has the base {entry.get('rope_theta')}. Write rope_theta={elsewhere} at the top level of "
            "config.json, as the model was trained, and load it again."
        )
    stale = vars(config).get("rope_theta")
    if stale is not None and stale != entry.get("rope_theta"):
        raise ValueError(
            f"contradictory base: config.rope_theta is {stale} but rope_parameters['rope_theta'] is "
            f"{entry.get('rope_theta')}, and the model uses only the second. Delete `config.rope_theta` and pass "
            "rope_theta= to the extension instead."
        )
