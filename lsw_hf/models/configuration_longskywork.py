"""LongSkywork's configuration: Llama's, plus RoPE parameters that are complete, checked, and readable by everybody."""

import sys
from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeGuard

from transformers import LlamaConfig
from transformers.activations import ACT2FN

from .rope_longskywork import ROPE_KEYS, skywork_ntk_rope_theta

AUTO_MAP = {
    "AutoConfig": "configuration_longskywork.LongSkyworkConfig",
    "AutoModel": "modeling_longskywork.LongSkyworkModel",
    "AutoModelForCausalLM": "modeling_longskywork.LongSkyworkForCausalLM",
    "AutoModelForSequenceClassification": "modeling_longskywork.LongSkyworkForSequenceClassification",
}
DEFAULT_ROPE_THETA = 10_000.0
ORIGINAL_LENGTH = "original_max_position_embeddings"
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
# RoPE number: the smallest that makes sense, and whether it does itself
RANGES = {
    "factor": (1, True),
    "attention_factor": (0, False),
    ORIGINAL_LENGTH: (2, True),
    "beta_fast": (0, True),  # 0 means "the default" for the two bounds, as it does in transformers
    "beta_slow": (0, True),
    "mscale": (0, True),
    "mscale_all_dim": (0, True),
    "low_freq_factor": (0, False),
    "high_freq_factor": (0, False),
}


class LongSkyworkConfig(LlamaConfig):
    r"""Configuration of a LongSkywork model. Everything is [`~transformers.LlamaConfig`]'s, except what is listed
    here.

    Args:
        rope_parameters (`dict`, *optional*, defaults to plain RoPE with base 10,000):
            `rope_type` (`"default"`, `"linear"`, `"yarn"`, `"llama3"` or `"longrope"`), `rope_theta` and the keys of
            that type in transformers' words; `yarn`, `llama3` and `longrope` must say the original length. `longrope`
            needs `short_factor` equal to `long_factor`: one set of frequencies at every length. The old spelling
            (`rope_theta=`, `rope_scaling=`) is understood, `rope_scaling={"type": "ntk", "factor": f}` as legacy
            Skywork means it: plain RoPE with the base multiplied by `f`.
        attention_temperature_slope (`float`, *optional*, defaults to 0.0):
            With a value above 0, the attention scores of the query at position `p` are multiplied by
            `1 + slope * ln(max(1, (p + 1) / attention_temperature_length))`. 0 is plain attention. Our choice.
        attention_temperature_length (`int`, *optional*):
            Tokens up to which the temperature stays 1. Defaults to the original length of `rope_parameters` where it
            has one, otherwise to `max_position_embeddings`.

    `to_dict` (so every saved `config.json`) says the RoPE numbers twice, in `rope_parameters` and in the older
    `rope_theta` and `rope_scaling`, so readers that know one of the two get the same model. `auto_map` is always
    complete.

    Raises:
        ValueError: for sizes that do not divide, unknown or incomplete RoPE parameters, two spellings that disagree.
    """

    model_type = "longskywork"
    _auto_class = "AutoConfig"

    rope_parameters: dict[str, Any] = field(default_factory=dict)
    attention_temperature_slope: float = 0.0
    attention_temperature_length: int | None = None
    auto_map: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any) -> None:
        self.auto_map = complete_auto_map(self.auto_map)
        self.rope_parameters = standard_rope_parameters(
            self.rope_parameters, kwargs.pop("rope_scaling", None), kwargs.pop("rope_theta", None)
        )
        # Before the parent looks at them: it would fill a missing original length with the extended one, and divide.
        check_sizes(vars(self))
        self.check_rope()
        super().__post_init__(**kwargs)
        self.check()

    # transformers 4.57 has no dataclass configs: fields arrive as keywords, and nothing calls __post_init__.
    if not hasattr(LlamaConfig, "__post_init__"):

        def __init__(self, **kwargs: Any) -> None:
            self.auto_map = complete_auto_map(kwargs.pop("auto_map", None))
            self.attention_temperature_slope = kwargs.pop("attention_temperature_slope", 0.0)
            self.attention_temperature_length = kwargs.pop("attention_temperature_length", None)
            self.max_position_embeddings = kwargs.get("max_position_embeddings", 2048)
            self.rope_parameters = standard_rope_parameters(
                kwargs.pop("rope_parameters", None), kwargs.pop("rope_scaling", None), kwargs.pop("rope_theta", None)
            )
            check_sizes(kwargs)
            self.check_rope()
            super().__init__(**legacy_rope(self.rope_parameters), **kwargs)
            self.check()

    def check(self) -> None:
        """Refuses what cannot be built: called when a config is made, saved, or given to a model.

        Raises:
            ValueError: what was given, what is allowed.
        """
        check_sizes(vars(self))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}."
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}; each key head serves the same number of queries."
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} is odd; RoPE turns pairs of dimensions, so it must be even.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(
                f"hidden_act={self.hidden_act!r} is no activation that transformers knows, such as 'silu'."
            )
        if not is_number(self.rms_norm_eps, 0):
            raise ValueError(f"rms_norm_eps={self.rms_norm_eps!r}; it must be a number of at least 0.")
        if self.pad_token_id is not None and self.pad_token_id >= self.vocab_size:
            raise ValueError(f"pad_token_id={self.pad_token_id} is not among the vocab_size={self.vocab_size} tokens.")
        self.check_temperature()
        self.check_rope()
        factors = self.rope_parameters.get("long_factor")
        if factors is not None and len(factors) != self.head_dim // 2:
            raise ValueError(
                f"long_factor has {len(factors)} numbers; head_dim={self.head_dim} has {self.head_dim // 2} pairs."
            )

    def check_temperature(self) -> None:
        """Refuses an attention temperature that is no number or flattens attention; the parent checks no types here.

        Raises:
            ValueError: what was given, what is allowed.
        """
        slope, length = self.attention_temperature_slope, self.attention_temperature_length
        if is_number(slope) and slope < 0:
            raise ValueError(
                f"attention_temperature_slope={slope} would flatten attention as the text "
                "grows; use 0 (off) or more, for example 1 / ln(original length)."
            )
        if not is_number(slope):
            raise ValueError(f"attention_temperature_slope={slope!r}; it must be a number of at least 0 (0 is off).")
        if length is not None and (type(length) is not int or length < 1):
            raise ValueError(
                f"attention_temperature_length={length!r}; it must be at least 1 token, as a whole number."
            )

    def check_rope(self) -> None:
        """Refuses RoPE parameters that are unknown, incomplete or out of range.

        Raises:
            ValueError: what was given, what is allowed, what to write instead.
        """
        check_rope_parameters(self.rope_parameters)

    def temperature_length(self) -> int:
        """Tokens up to which the attention temperature stays 1."""
        return (
            self.attention_temperature_length
            or self.rope_parameters.get(ORIGINAL_LENGTH)
            or self.max_position_embeddings
        )

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Check the config once more (attributes may have been set since), then saves it and its code."""
        self.check()
        super().save_pretrained(save_directory, *args, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain data, with the older spelling of the RoPE numbers beside the newer one."""
        share_lora_targets()
        output = super().to_dict()
        output.update(legacy_rope(self.rope_parameters))
        # A config loaded from the Hub points at that repository; what is saved next to the code points at the code.
        output["auto_map"] = {
            key: value.rpartition("--")[2] if isinstance(value, str) else value for key, value in self.auto_map.items()
        }
        return output

    def _validate_yarn_rope_parameters(self, rope_parameters: dict, ignore_keys: set | None = None) -> None:
        """Replace the parent's check, which warns when `factor` is not the ratio of the two lengths: a factor above
        the ratio is what works best after training, and [`check_rope_parameters`] is stricter about the rest.
        """


def is_number(value: Any, low: float = float("-inf"), including: bool = True) -> TypeGuard[float]:
    """Whether `value` is a finite number, of at least `low` or above it; `True` and `False` are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max and (low <= value if including else low < value)


def check_sizes(fields: Mapping) -> None:
    """Refuses sizes that are no whole number of at least 1; one that is missing or `None` has a default.

    Raises:
        ValueError: which one, what was given, what is allowed.
    """
    for name in SIZES:
        value = fields.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{name} is {value!r}; it must be at least 1, and a whole number.")


def complete_auto_map(auto_map: Mapping | None) -> dict:
    """`auto_map` with every Auto class of ours; entries of a Hub repository (`repo--file.Class`) keep their prefix."""
    if not isinstance(auto_map, Mapping | None) or not isinstance((auto_map or {}).get("AutoConfig", ""), str):
        raise ValueError(f"auto_map={auto_map!r}; it maps Auto classes to 'file.Class'. Leave it out to get ours.")
    given = dict(auto_map or {})
    prefix = "".join(given.get("AutoConfig", "").rpartition("--")[:2])
    return {key: prefix + value for key, value in AUTO_MAP.items()} | given


def standard_rope_parameters(
    rope_parameters: Mapping | None, rope_scaling: Mapping | None = None, rope_theta: float | None = None
) -> dict:
    """One dictionary out of the newer spelling (`rope_parameters`) and the older one (the other two).

    Returns:
        `dict`: `rope_type` and `rope_theta` are always there, nothing is `None`, `ntk` has become `default`.

    Raises:
        ValueError: when two spellings are given and do not say the same.
    """
    for name, spelling in (("rope_parameters", rope_parameters), ("rope_scaling", rope_scaling)):
        if not isinstance(spelling, Mapping | None):
            raise ValueError(
                f"{name}={spelling!r}; it is a dictionary, for example {{'type': 'linear', 'factor': 4.0}}."
            )
    merged: dict[str, Any] = {}
    for spelling in (rope_parameters or {}, rope_scaling or {}, {"rope_theta": rope_theta}):
        given = {key: value for key, value in spelling.items() if value is not None}
        if "type" in given:
            given.setdefault("rope_type", given["type"])
            if given.pop("type") != given["rope_type"]:
                raise ValueError(f"RoPE parameters say two types: {dict(spelling)}. Keep rope_type, drop type.")
        for key, value in given.items():
            if key in merged and merged[key] != value:
                raise ValueError(
                    f"RoPE parameters disagree about {key}: rope_parameters={rope_parameters}, "
                    f"rope_scaling={rope_scaling}, rope_theta={rope_theta}. Give rope_parameters alone."
                )
            merged[key] = value
    merged.setdefault("rope_type", "default")
    merged.setdefault("rope_theta", DEFAULT_ROPE_THETA)
    if merged["rope_type"] == "ntk":
        if set(merged) - {"rope_type", "rope_theta"} != {"factor"}:
            raise ValueError(f"rope type 'ntk' is a factor and nothing else, got {merged}.")
        if not is_number(merged["factor"], 1) or not is_number(merged["rope_theta"], 1, including=False):
            raise ValueError(
                f"rope type 'ntk' multiplies rope_theta, above 1, by a factor of at least 1; got {merged}."
            )
        merged = {"rope_type": "default", "rope_theta": skywork_ntk_rope_theta(merged["rope_theta"], merged["factor"])}
    return merged


def legacy_rope(rope_parameters: Mapping) -> dict[str, Any]:
    """Return the older spelling of `rope_parameters`: `rope_theta`, and `rope_scaling` (`None` for plain RoPE)."""
    scaling = {key: value for key, value in rope_parameters.items() if key != "rope_theta"}
    return {
        "rope_theta": rope_parameters.get("rope_theta", DEFAULT_ROPE_THETA),
        "rope_scaling": scaling if scaling.get("rope_type", "default") != "default" else None,
    }


def check_rope_parameters(rope_parameters: Mapping) -> None:
    """Refuses RoPE parameters a LongSkywork model could not follow exactly.

    Raises:
        ValueError: what was given, what is allowed, what to write instead.
    """
    rope_type = rope_parameters.get("rope_type")
    if rope_type == "dynamic":
        raise ValueError(
            "rope type 'dynamic' changes its frequencies with the longest position seen, so training, caches and "
            "servers disagree. Write the length you want: 'yarn', or 'default' with a larger rope_theta."
        )
    if not isinstance(rope_type, str) or rope_type not in ROPE_KEYS:
        raise ValueError(f"Unknown rope type {rope_type!r}: LongSkywork knows {', '.join(sorted(ROPE_KEYS))} and ntk.")
    needed, possible = ROPE_KEYS[rope_type]
    missing = sorted(needed - {key for key, value in rope_parameters.items() if value is not None})
    if missing:
        raise ValueError(f"rope type {rope_type!r} needs {', '.join(missing)}; got {dict(rope_parameters)}.")
    unknown = sorted(set(rope_parameters) - needed - possible - {"rope_type", "rope_theta"})
    if unknown:
        raise ValueError(
            f"rope type {rope_type!r} does not know {', '.join(unknown)}; it takes "
            f"{', '.join(sorted(needed | possible | {'rope_theta'}))}."
        )
    theta = rope_parameters.get("rope_theta")
    if not is_number(theta, 1, including=False):
        raise ValueError(f"rope_theta={theta!r}; it is the base of the frequencies, a number above 1.")
    for key, (low, including) in RANGES.items():
        value = rope_parameters.get(key)
        if value is not None and not is_number(value, low, including):
            allowed = f"of at least {low}" if including else f"above {low}"
            raise ValueError(f"{key}={value!r} in rope type {rope_type!r}; it must be a number {allowed}.")
    if not isinstance(rope_parameters.get("truncate", True), bool | None):
        raise ValueError(f"truncate={rope_parameters['truncate']!r} in rope type {rope_type!r}; it is true or false.")
    _check_band(rope_parameters)
    if rope_type == "longrope":
        _check_divisors(rope_parameters)


def _check_band(rope_parameters: Mapping) -> None:
    """Check that the two bounds of a mixed band are in order."""
    names = {"yarn": ("beta_slow", "beta_fast"), "llama3": ("low_freq_factor", "high_freq_factor")}
    low, high = names.get(rope_parameters["rope_type"], (None, None))
    values = rope_parameters.get(low) or 1, rope_parameters.get(high) or 32
    if low and not values[0] < values[1]:
        raise ValueError(f"{low}={values[0]} must be below {high}={values[1]}.")


def _check_divisors(rope_parameters: Mapping) -> None:
    """Check the two lists of `longrope`: numbers above 0, the same ones."""
    for name in ("short_factor", "long_factor"):
        divisors = rope_parameters[name]
        if not isinstance(divisors, list | tuple) or not all(is_number(each, 0, including=False) for each in divisors):
            raise ValueError(f"{name}={divisors!r}; it is a list of numbers above 0, one for each pair of dimensions.")
    if list(rope_parameters["short_factor"]) != list(rope_parameters["long_factor"]):
        raise ValueError(
            "short_factor differs from long_factor: such a model has other frequencies for short texts, which cannot "
            "be cached or trained on mixed lengths. Write the set you want in both."
        )


def share_lora_targets() -> None:
    """Tells PEFT, where it is in use, that our layers are named like Llama's.

    PEFT finds the default targets of a model in tables keyed by the model types it was released with, and reads the
    model's config through `to_dict` right before; so that call is where a type of later date can add itself.
    """
    tables = sys.modules.get("peft.utils.constants")
    for table in vars(tables).values() if tables else ():
        if isinstance(table, dict) and "llama" in table:
            table.setdefault(LongSkyworkConfig.model_type, table["llama"])
