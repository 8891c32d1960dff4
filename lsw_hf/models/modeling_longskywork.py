"""LongSkywork models: Llama's layers, with our own rotary embedding and an attention temperature (off by default)."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import __version__ as transformers_version
from transformers.cache_utils import Cache
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaForCausalLM,
    LlamaMLP,
    LlamaModel,
    LlamaPreTrainedModel,
    LlamaRMSNorm,
    apply_rotary_pos_emb,
    eager_attention_forward,
)

from .configuration_longskywork import LongSkyworkConfig
from .rope_longskywork import attention_temperature, rope_frequencies

# What transformers calls the cache of a model: since 5.24, and before.
CACHE_NAMES = ("cache", "past_key_values")


class CacheArgument:
    """How one forward of the installed transformers takes a cache. What it does not name, it swallows unread.

    Args:
        forward (`Callable`):
            The forward; its signature decides, not the version.
    """

    def __init__(self, forward: Callable) -> None:
        self.parameters = frozenset(inspect.signature(forward).parameters)
        self.name = next((name for name in CACHE_NAMES if name in self.parameters), "")

    def renamed(self, given: dict[str, Any], config: LongSkyworkConfig) -> dict[str, Any]:
        """Return the keywords `given`, with the cache under the name that the forward takes.

        Raises:
            ValueError: for two caches, or one under a name that neither the forward nor this file knows.
        """
        kept = dict(given)
        for name, value in given.items():
            is_cache = isinstance(value, Cache)
            # Before 5.24 `cache` was the one of continuous batching, of another class: attention functions read it.
            known = name in CACHE_NAMES and (is_cache or name != "cache")
            if name in self.parameters or not (known or is_cache):
                continue
            if value is not None:
                if not (known and self.name):
                    raise ValueError(cache_error(f"is given as {name!r}", config))
                if kept.get(self.name) is not None:
                    raise ValueError(f"{name} and {self.name} are two names of one cache; give {self.name} alone.")
                kept[self.name] = value
            del kept[name]
        return kept

    def take(self, given: dict[str, Any], config: LongSkyworkConfig) -> Any:
        """Remove the cache from the keywords `given` and return it; `None` where none is used.

        Raises:
            ValueError: for a cache that would be passed over.
        """
        cache = given.pop(self.name, None)
        for name, value in given.items():
            if isinstance(value, Cache):
                raise ValueError(cache_error(f"is given as {name!r}", config))
        if cache is None and given.get("use_cache"):
            raise ValueError(cache_error("is wanted, but does not arrive", config))
        return cache


def cache_error(what: str, config: LongSkyworkConfig) -> str:
    """Return the message about a cache that would be passed over, and text generated as if its beginning did not
    exist.
    """
    return (
        f"Under transformers {transformers_version} a cache {what}, and this model's code knows it as "
        f"{' or '.join(CACHE_NAMES)} only. Get newer code: pip install --upgrade lsw-hf, then lsw-hf refresh "
        f"{getattr(config, '_name_or_path', '') or 'FOLDER'}. Until then use_cache=False is right, and slow."
    )


def with_either_cache_name(forward: Callable) -> Callable:
    """Return a model's `forward` that takes its cache under each of `CACHE_NAMES`."""
    argument = CacheArgument(forward)

    @wraps(forward)
    def either(self: Any, *args: Any, **kwargs: Any) -> Any:
        return forward(self, *args, **argument.renamed(kwargs, self.config))

    return either


class LongSkyworkRotaryEmbedding(nn.Module):
    """Turns positions into the cos and sin that queries and keys are rotated with.

    The inverse frequencies stay float32 whatever the model is cast to: in bfloat16 the angle at position 4,000 is off
    by more than a quarter turn. They depend on the config alone, never on the positions seen.
    """

    inv_freq: torch.Tensor
    original_inv_freq: torch.Tensor

    def __init__(self, config: LongSkyworkConfig, device: torch.device | None = None) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.rope_type = config.rope_parameters["rope_type"]
        inv_freq, self.attention_scaling = self.frequencies()
        self.register_buffer("inv_freq", inv_freq.to(device), persistent=False)
        self.register_buffer("original_inv_freq", inv_freq.to(device).clone(), persistent=False)

    def frequencies(self) -> tuple[torch.Tensor, float]:
        """Inverse frequencies and attention factor that the config asks for."""
        return rope_frequencies(self.config.rope_parameters, self.config.head_dim, self.config.max_position_embeddings)

    def reset_buffers(self) -> None:
        """Write the frequencies anew: a model built without memory (on `meta`) has none."""
        inv_freq, self.attention_scaling = self.frequencies()
        self.inv_freq.copy_(inv_freq)
        self.original_inv_freq.copy_(inv_freq)

    def _apply(self, fn: Callable, recurse: bool = True) -> "LongSkyworkRotaryEmbedding":
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = getattr(self, name)
            if moved.dtype != buffer.dtype:
                setattr(self, name, buffer.to(moved.device))
        return self

    @torch.no_grad()
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Args:
            x (`torch.Tensor`): Any tensor with the device and dtype of the result.
            position_ids (`torch.Tensor`): `(batch, length)`.

        Returns:
            `tuple[torch.Tensor, ...]`: cos and sin, `(batch, length, head_dim)`; with a temperature also what the
            queries are multiplied with, `(batch, 1, length, 1)`, float32.
        """
        angles = position_ids[..., None].float() * self.inv_freq.to(device=x.device, dtype=torch.float32)
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        embeddings = cos.to(x.dtype), sin.to(x.dtype)
        slope = self.config.attention_temperature_slope
        if slope == 0:
            return embeddings
        temperature = attention_temperature(position_ids, self.config.temperature_length(), slope)
        return *embeddings, temperature[:, None, :, None]


class LongSkyworkAttention(LlamaAttention):
    """Llama's attention; a third tensor in `position_embeddings` multiplies the queries.

    Queries, not scores, because every attention backend takes queries.
    """

    _cache = CacheArgument(LlamaAttention.forward)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, ...] = (),
        attention_mask: Any = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        kwargs = self._cache.renamed(kwargs, self.config)
        if len(position_embeddings) == 2:
            return super().forward(
                hidden_states,
                position_embeddings=position_embeddings,
                attention_mask=attention_mask,
                **kwargs,
            )
        cache = self._cache.take(kwargs, self.config)
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (
            projection(hidden_states).view(shape).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos, sin, temperature = position_embeddings
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        query = (query * temperature).to(query.dtype)
        if cache is not None and self._cache.name == "past_key_values":
            # transformers 4.57's static cache wants to be told where to write; later ones know
            where = {"cache_position": kwargs["cache_position"]} if "cache_position" in kwargs else None
            key, value = cache.update(key, value, self.layer_idx, where)
        elif cache is not None:
            # the cache of continuous batching changes the keywords of the attention function
            key, value = cache.update(key, value, self.layer_idx, kwargs=kwargs)
        attend = eager_attention_forward
        if self.config._attn_implementation != "eager":
            attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        dropout = self.attention_dropout if self.training else 0.0
        output, weights = attend(
            self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
        )
        return self.o_proj(output.reshape(*hidden_states.shape[:-1], -1).contiguous()), weights


class LongSkyworkDecoderLayer(LlamaDecoderLayer):
    def __init__(self, config: LongSkyworkConfig, layer_idx: int) -> None:
        # Past Llama's constructor, which would allocate an attention we do not use.
        super(LlamaDecoderLayer, self).__init__()
        self.hidden_size = config.hidden_size
        self.self_attn = LongSkyworkAttention(config, layer_idx)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class LongSkyworkPreTrainedModel(LlamaPreTrainedModel):
    """What all LongSkywork models share: their config, how they are split and initialized."""

    config: LongSkyworkConfig
    config_class = LongSkyworkConfig
    _no_split_modules: ClassVar[list[str]] = ["LongSkyworkDecoderLayer"]
    _can_record_outputs: ClassVar[dict[str, type]] = {
        "hidden_states": LongSkyworkDecoderLayer,
        "attentions": LongSkyworkAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LongSkyworkRotaryEmbedding):
            module.reset_buffers()
        else:
            super()._init_weights(module)


class LongSkyworkModel(LongSkyworkPreTrainedModel, LlamaModel):
    """The decoder without a head. Its forward is [`~transformers.LlamaModel`]'s.

    Args:
        config ([`LongSkyworkConfig`]):
            Sizes and RoPE parameters.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: LongSkyworkConfig) -> None:
        # Past Llama's constructor, which would build all layers once more.
        LlamaPreTrainedModel.__init__(self, config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(
            LongSkyworkDecoderLayer(config, index) for index in range(config.num_hidden_layers)
        )
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LongSkyworkRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    forward = with_either_cache_name(LlamaModel.forward)


class LongSkyworkForCausalLM(LongSkyworkPreTrainedModel, LlamaForCausalLM):
    """The decoder with a language-model head. Its forward is [`~transformers.LlamaForCausalLM`]'s.

    Args:
        config ([`LongSkyworkConfig`]):
            Sizes and RoPE parameters.
    """

    _auto_class = "AutoModelForCausalLM"

    def __init__(self, config: LongSkyworkConfig) -> None:
        LlamaPreTrainedModel.__init__(self, config)
        self.model = LongSkyworkModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    forward = with_either_cache_name(LlamaForCausalLM.forward)


class LongSkyworkForSequenceClassification(GenericForSequenceClassification, LongSkyworkPreTrainedModel):
    """The decoder with a classification head on the last token of each row.

    Args:
        config ([`LongSkyworkConfig`]):
            Sizes, RoPE parameters, `num_labels`.
    """

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: LongSkyworkConfig) -> None:
        # The generic constructor looks the base model up in AutoModel, which does not know code loaded from a folder.
        LlamaPreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.model = LongSkyworkModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    forward = with_either_cache_name(GenericForSequenceClassification.forward)
