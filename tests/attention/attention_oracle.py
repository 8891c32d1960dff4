"""Five tiny models, three dialogues, and the slow truth: each dialogue run alone on stock eager attention."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import lsw_hf.attention.proof  # noqa: F401 (registers "lsw_sdpa")
from lsw_hf.data.positions.collator import DataCollatorForSkipAlign
from lsw_hf.models import LongSkyworkConfig, LongSkyworkForCausalLM

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4_096,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
GEMMA = {**SIZES, "head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA)),
    "longskywork": lambda: LongSkyworkForCausalLM(LongSkyworkConfig(**SIZES)),
}
# Float32 on two layers: what reordering sums costs. The 1e-6 is relative to losses near 4.6 and gradients near 1.
TOLERANCE = 1e-6


def make_model(name: str, backend: str = "sdpa") -> PreTrainedModel:
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.set_attn_implementation(backend)
    return model


def rows() -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    result = []
    for prompt, answer in ((7, 6), (3, 19), (11, 2)):
        ids = torch.randint(1, 97, (prompt + answer,), generator=generator).tolist()
        result.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return result


def collate(packed: bool, **changes) -> dict:
    arguments = {"pad_token_id": 0, "context_length": 900, "skip_probability": 1.0, "packed": packed, **changes}
    # Any model that carries packed dialogues: the batch may be meant for one that does not.
    model = make_model("llama", "lsw_sdpa") if packed else None
    return DataCollatorForSkipAlign(**arguments, model=model)(rows())


def loss_of(model: PreTrainedModel, batch: dict) -> torch.Tensor:
    """Mean loss of the labeled tokens, as a trainer computes it: without a cache."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100)


def oracle(name: str, model: PreTrainedModel | None = None) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the same dialogues, run one by one on stock eager attention with an explicit mask; those
    of `model`, which has an adapter, if it is given."""
    model = make_model(name, "eager") if model is None else model
    batch = collate(packed=False)
    total, count = torch.zeros(()), 0
    for index, row in enumerate(rows()):
        length = len(row["input_ids"])
        one = {key: value[index : index + 1, :length] for key, value in batch.items()}
        one["attention_mask"] = torch.ones_like(one["input_ids"])  # not the collator's, which is under test
        tokens = int((one["labels"][:, 1:] != -100).sum())
        total, count = total + loss_of(model, one) * tokens, count + tokens
    loss = total / count
    loss.backward()
    return loss.item(), {key: value.grad for key, value in model.named_parameters() if value.grad is not None}


def assert_equals_oracle(name: str, model: PreTrainedModel, batch: dict) -> None:
    loss = loss_of(model, batch)
    loss.backward()
    expected_loss, expected_gradients = oracle(name)
    assert abs(loss.item() - expected_loss) <= TOLERANCE * max(1.0, expected_loss)
    for key, parameter in model.named_parameters():
        expected = expected_gradients[key]
        scale = max(1.0, expected.abs().max().item())
        assert (parameter.grad - expected).abs().max().item() <= TOLERANCE * scale, key
