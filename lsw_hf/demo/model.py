"""The demo's model: half a million parameters, started where retrieval can form within a minute on a CPU."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..models import LongSkyworkConfig, LongSkyworkForCausalLM

# Pairs of the rotary table that turn fastest; they alone can tell neighbors apart.
_FAST_PAIRS = 6
# Peak of the previous-token heads, strength of the content match, gain of the copying heads, damping of the MLP.
# Found on development seeds 0 to 2; much larger matches get stuck.
_LOCAL_GAIN, _MATCH_GAIN, _COPY_GAIN, _MLP_GAIN, _NOISE = 5.5, 1.5, 4.0, 0.05, 0.02


def build_tiny_model(vocab_size: int, context_length: int, seed: int, pad_token_id: int = 0) -> LongSkyworkForCausalLM:
    """Return a tiny [`LongSkyworkForCausalLM`] with the structured start of [`initialize_for_induction`].

    Args:
        vocab_size (`int`):
            Number of tokens.
        context_length (`int`):
            Window in tokens.
        seed (`int`):
            Seed of the weights.
        pad_token_id (`int`, *optional*, defaults to 0):
            Id of the padding token; the next two are begin and end of text.

    Returns:
        [`LongSkyworkForCausalLM`]: 2 layers, hidden size 128, 4 heads of 32, tied embeddings, float32.
    """
    config = LongSkyworkConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        intermediate_size=256,
        max_position_embeddings=context_length,
        tie_word_embeddings=True,
        initializer_range=0.05,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        pad_token_id=pad_token_id,
        bos_token_id=pad_token_id + 1,
        eos_token_id=pad_token_id + 2,
    )
    torch.manual_seed(seed)
    return initialize_for_induction(LongSkyworkForCausalLM(config), seed=seed)


@torch.no_grad()
def initialize_for_induction(model: LongSkyworkForCausalLM, seed: int) -> LongSkyworkForCausalLM:
    """Start a two-layer model near an induction circuit, in place (our choice; nothing of it is in the papers).

    From a random start no retrieval forms within the demo's budget. Here all embeddings share a direction `u`; the
    heads of layer 0 read only `u` and peak one token back through the fast rotary pairs; layer 0 writes that previous
    token into a rotated subspace; the heads of layer 1 match their own token against it through the pairs that turn
    less than once in twice the window, and copy what is there. All weights are trained afterwards. Untrained, the
    model answers about a third of the questions at 64 tokens.

    Args:
        model ([`LongSkyworkForCausalLM`]):
            A model without biases whose rotary table is unscaled.
        seed (`int`):
            Seed of the random directions.

    Returns:
        [`LongSkyworkForCausalLM`]: the same model.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    hidden = config.hidden_size
    std = config.initializer_range
    shared = torch.randn(hidden, generator=generator)
    shared /= shared.norm()
    beside_shared = torch.eye(hidden) - torch.outer(shared, shared)

    embedding = model.model.embed_tokens.weight
    content = torch.randn(embedding.shape, generator=generator) @ beside_shared
    embedding.copy_(std * content + std * math.sqrt(hidden) * shared)
    memory = _orthogonal(hidden, generator)
    layers: Any = model.model.layers
    for index, layer in enumerate(layers):
        layer.mlp.down_proj.weight.mul_(_MLP_GAIN)
        values = _orthogonal(max(hidden, config.num_attention_heads * config.head_dim), generator)
        values = values[: config.num_attention_heads * config.head_dim, :hidden] @ beside_shared
        if index == 0:
            query, key = _previous_token_weights(model, shared)
            output = memory @ values.t()
        else:
            query, key = _content_match_weights(model, memory, beside_shared, generator)
            output = _COPY_GAIN * values.t()
        attention = layer.self_attn
        attention.q_proj.weight.copy_(query + _NOISE * torch.randn(query.shape, generator=generator))
        attention.k_proj.weight.copy_(key + _NOISE * torch.randn(key.shape, generator=generator))
        attention.v_proj.weight.copy_(values)
        attention.o_proj.weight.copy_(output * std * math.sqrt(2))
    return model


def _orthogonal(size: int, generator: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=generator))[0]


def _previous_token_weights(model: LongSkyworkForCausalLM, shared: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key weights of heads that look one token back, whatever the tokens are."""
    config = model.config
    frequencies = model.model.rotary_emb.inv_freq
    fast = (torch.arange(config.head_dim // 2) < _FAST_PAIRS).float()
    # The query is the key turned by one position, so the product peaks at distance one.
    query = torch.cat([fast * torch.cos(frequencies), -fast * torch.sin(frequencies)])
    key = torch.cat([fast, torch.zeros_like(fast)])
    # After RMSNorm the component along the shared direction is sqrt(hidden / 2).
    gain = _LOCAL_GAIN / math.sqrt(config.hidden_size / 2)
    heads = config.num_attention_heads
    return gain * torch.cat([torch.outer(query, shared)] * heads), gain * torch.cat([torch.outer(key, shared)] * heads)


def _content_match_weights(
    model: LongSkyworkForCausalLM, memory: torch.Tensor, beside_shared: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key weights of heads that match the own token with the previous token stored by layer 0."""
    config = model.config
    wavelengths = 2 * math.pi / model.model.rotary_emb.inv_freq
    slow = (wavelengths > 2 * config.max_position_embeddings).float()
    rows = torch.cat([slow, slow]).repeat(config.num_attention_heads)[:, None]
    shape = (config.num_attention_heads * config.head_dim, config.hidden_size)
    mixing = torch.randn(shape, generator=generator) * math.sqrt(2 / config.hidden_size)
    return _MATCH_GAIN * rows * (mixing @ beside_shared), _MATCH_GAIN * rows * (mixing @ memory.t() @ beside_shared)
