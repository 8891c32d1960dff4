"""Tiny LongSkywork models of every RoPE type, and the slow truth: a float64 forward that knows no transformers."""

import math

import pytest
import torch

from lsw_hf.models import LongSkyworkConfig, LongSkyworkForCausalLM

SHAPE = {
    "vocab_size": 53,
    "hidden_size": 60,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "initializer_range": 0.15,
    "rms_norm_eps": 1e-5,
    "pad_token_id": 0,
}
ORIGINAL = {"original_max_position_embeddings": 24}
# name -> rope_parameters; head_dim is 10, so there are 5 pairs
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 500.0},
    "linear": {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.5},
    "ntk": {"rope_type": "ntk", "rope_theta": 500.0, "factor": 3.5},
    "yarn": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "beta_fast": 4.0, "beta_slow": 0.1, **ORIGINAL},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 4.0,
        "low_freq_factor": 0.3,
        "high_freq_factor": 2.0,
        **ORIGINAL,
    },
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 500.0,
        "factor": 4.0,
        "short_factor": [1.0, 1.5, 2.25, 3.0, 5.5],
        "long_factor": [1.0, 1.5, 2.25, 3.0, 5.5],
        **ORIGINAL,
    },
}


def oracle_turns(rope: dict, head_dim: int) -> tuple[list[float], float]:
    """Radians per token of each pair, and the factor on cos and sin, one scalar at a time, after the papers."""
    base, factor = rope["rope_theta"], rope.get("factor", 1.0)
    plain = [base ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    if rope["rope_type"] == "linear":
        return [turn / factor for turn in plain], 1.0
    if rope["rope_type"] == "ntk":
        return [(base * factor) ** (-2 * i / head_dim) for i in range(head_dim // 2)], 1.0
    if rope["rope_type"] == "default":
        return plain, 1.0
    length = rope["original_max_position_embeddings"]
    if rope["rope_type"] == "longrope":
        turns = [turn / divisor for turn, divisor in zip(plain, rope["long_factor"], strict=True)]
        return turns, rope.get("attention_factor", math.sqrt(1 + math.log(factor) / math.log(length)))
    if rope["rope_type"] == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        # turns within the original context decide: at `high` and above untouched, at `low` and below divided
        share = [min(1, max(0, (length * turn / (2 * math.pi) - low) / (high - low))) for turn in plain]
        return [turn * part + turn / factor * (1 - part) for turn, part in zip(plain, share, strict=True)], 1.0
    fast, slow = rope.get("beta_fast", 32), rope.get("beta_slow", 1)
    # the pair i with `rotations` turns in the context solves length * base^(-2i/d) = 2 pi rotations
    first, last = (head_dim / 2 * math.log(length / (2 * math.pi * rotations), base) for rotations in (fast, slow))
    first, last = max(math.floor(first), 0), min(math.ceil(last), head_dim - 1)
    share = [1 - min(1, max(0, (i - first) / (last - first))) for i in range(head_dim // 2)]
    turns = [turn * part + turn / factor * (1 - part) for turn, part in zip(plain, share, strict=True)]
    return turns, rope.get("attention_factor", 0.1 * math.log(factor) + 1)


def oracle_forward(
    state: dict, rope: dict, ids: list[int], positions: list[int], temper=lambda p: 1.0
) -> torch.Tensor:
    """Logits `(length, vocabulary)` of one row in float64, attention written out query by query."""
    w = {name: tensor.double() for name, tensor in state.items()}
    heads, kv_heads, layers = SHAPE["num_attention_heads"], SHAPE["num_key_value_heads"], SHAPE["num_hidden_layers"]
    head_dim = SHAPE["hidden_size"] // heads
    turns, scale = oracle_turns(rope, head_dim)
    # pair i of a head is one complex number, made of dimensions i and i + head_dim / 2
    angle = torch.tensor(positions, dtype=torch.float64)[:, None] * torch.tensor(turns, dtype=torch.float64)
    spin = scale * torch.exp(1j * angle)

    def norm(x, name):
        return w[name] * x / (x.square().mean(-1, keepdim=True) + SHAPE["rms_norm_eps"]).sqrt()

    def rotated(x, count):
        x = x.view(len(ids), count, 2, head_dim // 2)
        return torch.complex(x[:, :, 0], x[:, :, 1]) * spin[:, None]

    x = w["model.embed_tokens.weight"][ids]
    for layer in range(layers):
        at = f"model.layers.{layer}."
        h = norm(x, at + "input_layernorm.weight")
        q = rotated(h @ w[at + "self_attn.q_proj.weight"].T, heads)
        k = rotated(h @ w[at + "self_attn.k_proj.weight"].T, kv_heads)
        v = (h @ w[at + "self_attn.v_proj.weight"].T).view(len(ids), kv_heads, head_dim)
        mixed = torch.zeros(len(ids), heads, head_dim, dtype=torch.float64)
        for t in range(len(ids)):
            for head in range(heads):
                kv = head // (heads // kv_heads)
                scores = (q[t, head].conj() * k[: t + 1, kv]).real.sum(-1) / math.sqrt(head_dim) * temper(positions[t])
                mixed[t, head] = scores.softmax(0) @ v[: t + 1, kv]
        x = x + mixed.view(len(ids), -1) @ w[at + "self_attn.o_proj.weight"].T
        h = norm(x, at + "post_attention_layernorm.weight")
        gate = h @ w[at + "mlp.gate_proj.weight"].T
        x = x + (gate * gate.sigmoid() * (h @ w[at + "mlp.up_proj.weight"].T)) @ w[at + "mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight") @ w["lm_head.weight"].T


@pytest.fixture
def shape() -> dict:
    return dict(SHAPE)


@pytest.fixture(params=list(ROPES))
def rope(request) -> dict:
    return dict(ROPES[request.param])


@pytest.fixture
def ropes() -> dict:
    return {name: dict(parameters) for name, parameters in ROPES.items()}


@pytest.fixture
def turns_oracle():
    return oracle_turns


@pytest.fixture
def forward_oracle():
    return oracle_forward


@pytest.fixture
def make_model():
    def make(**changes) -> LongSkyworkForCausalLM:
        torch.manual_seed(11)
        model = LongSkyworkForCausalLM(LongSkyworkConfig(**SHAPE | changes)).eval()
        model.generation_config.eos_token_id = None  # a random model may say it at any time
        return model

    return make


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(1, SHAPE["vocab_size"], (1, 37), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def checkpoint_layers():
    """Turns gradient checkpointing on, under the name that this transformers has for it."""

    def enable(model) -> None:
        method = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        method({"use_reentrant": False})

    return enable
