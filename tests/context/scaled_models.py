"""Llamas as makers scale them, and the table that the host's own class turns with."""

from __future__ import annotations

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding


def llama(window, rope, head_dim=128):
    return LlamaConfig(
        hidden_size=2 * head_dim, num_attention_heads=2, head_dim=head_dim, max_position_embeddings=window,
        rope_parameters=rope, vocab_size=97, num_hidden_layers=1, intermediate_size=32,
    )  # fmt: skip


def long_table(config, module=LlamaRotaryEmbedding, layer_type=None):
    """What the host's own class turns with at inputs as long as the window."""
    rotary = module(config)
    positions = torch.tensor([[config.max_position_embeddings - 1]])
    if layer_type is None:
        rotary(torch.zeros(1, 1, 4), positions)
        return rotary.inv_freq.double()
    rotary(torch.zeros(1, 1, 4), positions, layer_type)
    return getattr(rotary, f"{layer_type}_inv_freq").double()
