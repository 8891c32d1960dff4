"""Every form of adapter that the installed PEFT has: a small configuration, and what becomes of it."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, Qwen3Config

from benchmarks.context_zoo import SIZES
from lsw_hf.context.adapters.saving import load_adapter, merge_adapter, save_adapter
from lsw_hf.context.extension import extend_context

MERGED = "merged"
TASKS = {"POLY", "MULTITASK_PROMPT_TUNING"}
VIRTUAL = "adds virtual tokens to the input and changes no weight"


@dataclass(frozen=True)
class Form:
    """
    One form of adapter.

    Args:
        options (`dict`):
            Of its configuration.
        verdict (`str`):
            `MERGED`, or what the refusal of a merge says.
        needs (`str`, *optional*):
            A package without which PEFT does not make it.
        exact (`bool`, *optional*, defaults to `True`):
            Whether two calls of one model give equal logits; CPT projects its weights anew in every call.
        bases (`tuple[str, ...]`, *optional*):
            Of `BASES`, those that PEFT makes it for.
    """

    options: dict[str, Any] = field(default_factory=dict)
    verdict: str = MERGED
    needs: str | None = None
    exact: bool = True
    bases: tuple[str, ...] = ("llama", "tied", "qwen3")

    @property
    def missing(self) -> bool:
        """`bool`: whether a package is missing."""
        return self.needs is not None and importlib.util.find_spec(self.needs) is None


LINEAR = {"target_modules": ["q_proj", "v_proj"]}
RANK = {**LINEAR, "r": 4}
PROMPT = {"num_virtual_tokens": 3, "task_type": "CAUSAL_LM"}

FORMS = {
    "ADALORA": Form({**LINEAR, "total_step": 10, "init_r": 4, "target_r": 2}),
    "ADAMSS": Form({**RANK, "num_subspaces": 2, "subspace_rank": 1}, needs="sklearn"),
    "ADAPTION_PROMPT": Form(  # PEFT knows Llama, Mistral and GPT-2
        {"adapter_len": 3, "adapter_layers": 2, "task_type": "CAUSAL_LM"},
        "PEFT has no merge for this form",
        bases=("llama", "tied"),
    ),
    "BEFT": Form(LINEAR, "Base layer has no bias"),
    "BOFT": Form({**LINEAR, "boft_block_size": 4}),
    "C3A": Form({**LINEAR, "block_size": 16}),
    "CARTRIDGE": Form(PROMPT, VIRTUAL),
    "CPT": Form(
        {
            "cpt_token_ids": [3, 4, 5],
            "cpt_mask": [1, 1, 1],
            "cpt_tokens_type_mask": [1, 2, 3],
            "task_type": "CAUSAL_LM",
        },
        VIRTUAL,
        exact=False,
    ),
    "DEFT": Form(RANK),
    "DELORA": Form(RANK),
    "FOURIERFT": Form({**LINEAR, "n_frequency": 50}),
    "FROD": Form({**LINEAR, "progressbar": False}),
    "GLORA": Form(RANK),
    "GRALORA": Form({**RANK, "gralora_k": 2}),
    "HIRA": Form(RANK),
    "HRA": Form(RANK),
    "IA3": Form({"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}),
    "LILY": Form(RANK, "This method is not supported for Lily"),
    "LN_TUNING": Form({"target_modules": ["input_layernorm"]}),
    "LOHA": Form(RANK),
    "LOKR": Form(RANK),
    "LORA": Form(RANK),
    "MISS": Form(RANK),
    "MULTITASK_PROMPT_TUNING": Form(PROMPT, VIRTUAL),
    "OFT": Form({**LINEAR, "oft_block_size": 4, "r": 0}),
    "OSF": Form({**LINEAR, "effective_rank": 4}),
    "PEANUT": Form(RANK),
    "POLY": Form(
        {**RANK, "task_type": "CAUSAL_LM", "n_tasks": 1, "n_skills": 2, "n_splits": 1},
        "chooses its weights by the task",
    ),
    "PREFIX_TUNING": Form(PROMPT, VIRTUAL),
    "PROMPT_TUNING": Form(PROMPT, VIRTUAL),
    "PSOFT": Form(RANK),
    "PVERA": Form(RANK),
    "P_TUNING": Form({**PROMPT, "encoder_hidden_size": 16}, VIRTUAL),
    "RANDLORA": Form(RANK),
    "ROAD": Form({**LINEAR, "group_size": 4}),
    "SHADOW": Form({"r": 4, "task_type": "CAUSAL_LM"}, "runs a second, small model next to the base"),
    "SHIRA": Form(RANK),
    "SUPERTUNING": Form(LINEAR),
    "TINYLORA": Form(LINEAR),
    "TRAINABLE_TOKENS": Form({"token_indices": [1, 2, 5, 96], "target_modules": ["embed_tokens"]}),
    "UNILORA": Form({**RANK, "theta_d_length": 32}),
    "VBLORA": Form({**LINEAR, "vector_length": 4, "num_vectors": 8, "topk": 2}),
    "VERA": Form(RANK),
    "WAVEFT": Form({**LINEAR, "n_frequency": 50}),
    "XLORA": Form({"task_type": "CAUSAL_LM", "hidden_size": 48}, "mixes its adapters anew for every token"),
}


def configuration(name: str) -> PeftConfig:
    """The configuration of one form."""
    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name)](**FORMS[name].options)


LORA_FORMS = {
    "rslora": Form({"use_rslora": True}),
    "dora": Form({"use_dora": True}),
    "gaussian": Form({"init_lora_weights": "gaussian"}),
    "orthogonal": Form({"init_lora_weights": "orthogonal"}),
    "pissa": Form({"init_lora_weights": "pissa"}),
    "olora": Form({"init_lora_weights": "olora"}),
    "eva": Form({"init_lora_weights": "eva"}),
    "mica": Form({"init_lora_weights": "mica"}),
    "kasa": Form({"kasa_config": {}}),
    "bias": Form({"bias": "all", "target_modules": ["q_proj", "k_proj"]}),
    "own-bias": Form({"lora_bias": True}, "the base layer has no bias"),
    "alora": Form(
        {"task_type": "CAUSAL_LM", "alora_invocation_tokens": [5, 6]}, "aLoRA does not support safe merging"
    ),
    "monteclora": Form({"monteclora_config": {}}),
    "bdlora": Form({"use_bdlora": {"target_modules_bd_a": ["q_proj"], "nblocks": 2, "match_strict": False}}),
    "velora": Form({"velora_config": {"num_groups": 4}}),
    "parameters": Form({"target_modules": [], "target_parameters": ["q_proj.weight"]}),
    "replicated": Form({"layer_replication": [(0, 2), (1, 2)]}, "2 layers of the model share one weight"),
    "all-linear": Form({"target_modules": "all-linear"}),
    "ranks": Form({"rank_pattern": {"q_proj": 6}, "alpha_pattern": {"v_proj": 3}}),
    "norms": Form({"modules_to_save": ["norm"]}),
    "whole-embedding": Form({"modules_to_save": ["embed_tokens"]}),
    "whole-embeddings": Form({"modules_to_save": ["embed_tokens", "lm_head"]}),
    "rows": Form({"trainable_token_indices": [1, 5, 96]}),
    "embedding": Form({"target_modules": ["q_proj", "embed_tokens"]}),
    "head": Form({"target_modules": ["q_proj", "lm_head"]}),
    "both-embeddings": Form({"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
    "dora-embedding": Form({"use_dora": True, "target_modules": ["q_proj", "embed_tokens"]}),
}
EMBEDDING_FORMS = [name for name in LORA_FORMS if "embedding" in name or name in ("rows", "head")]


def lora_form(name: str, **changes: Any) -> LoraConfig:
    """The configuration of one way to use LoRA, if the installed PEFT has it."""
    unknown = LORA_FORMS[name].options.keys() - {item.name for item in fields(LoraConfig)}
    if unknown:
        pytest.skip(f"PEFT {version('peft')} has no {', '.join(unknown)}")
    return LoraConfig(**{**RANK, "lora_alpha": 9, **LORA_FORMS[name].options, **changes})


HEADS = {"hidden_size": 48, "num_attention_heads": 4}
BASES = {
    "llama": LlamaConfig(**{**SIZES, **HEADS}),
    "tied": LlamaConfig(**{**SIZES, **HEADS}, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**{**SIZES, **HEADS}, num_key_value_heads=2, head_dim=16),
}
TARGET = 448
TOLERANCE = 1e-5
"""Of logits, relative to the largest: ten times what float32 rounds here, a tenth of what the library allows."""


def base_folder(name: str, folder: Path) -> Path:
    """One of `BASES` with seeded weights, on disk as a user would have it."""
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(BASES[name]).save_pretrained(folder)
    return folder


def extended(folder: Path, **options: Any) -> PreTrainedModel:
    """The base in `folder`, extended."""
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    return extend_context(model, context_length=TARGET).eval()


def trained(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """An adapter whose every trainable weight has moved."""
    wrapped = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(13)
    for weight in wrapped.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn(weight.shape, generator=generator).to(weight.dtype) * 0.05)
    return wrapped.eval()


def logits_of(model: Any) -> torch.Tensor:
    """On tokens that are not those of the library's proof."""
    ids = torch.tensor([[5, 6, *range(4, 97, 4), 96, 5, 6, 7]])
    extra = {}
    if {config.peft_type.value for config in getattr(model, "peft_config", {}).values()} & TASKS:
        extra["task_ids"] = torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **extra).logits


def prove(base: str, config: PeftConfig, form: Form, path: Path) -> PreTrainedModel | None:
    """live == reloaded == merged == read back, or refused by a message that names form, cause and remedy."""
    plain = extended(base_folder(base, path / "base"))
    before = logits_of(plain)
    live = trained(plain, config)
    expected = logits_of(live)
    assert expected.shape != before.shape or (expected - before).abs().max() > 1e-3 * before.abs().max()
    save_adapter(live, path / "adapter")
    reloaded = load_adapter(path / "adapter").eval()
    precision = 0.0 if form.exact else 1e-6
    torch.testing.assert_close(logits_of(reloaded), expected, rtol=0, atol=precision)
    if form.verdict != MERGED:
        with pytest.raises(
            ValueError, match=f"{config.peft_type.value} adapter cannot be merged.*{re.escape(form.verdict)}"
        ) as refusal:
            merge_adapter(reloaded, path / "merged")
        assert "Publish the adapter itself by `save_adapter`" in str(refusal.value)
        assert sorted(item.name for item in path.iterdir()) == ["adapter", "base"]
        torch.testing.assert_close(logits_of(reloaded), expected, rtol=0, atol=precision)
        return None
    merged = merge_adapter(reloaded, path / "merged").eval()
    size = expected.abs().max().item()
    torch.testing.assert_close(logits_of(merged), expected, rtol=0, atol=TOLERANCE * size)
    again = AutoModelForCausalLM.from_pretrained(path / "merged").eval()
    assert torch.equal(logits_of(again), logits_of(merged))
    assert again.config.max_position_embeddings == TARGET
    assert sorted(item.name for item in path.iterdir()) == ["adapter", "base", "merged"]
    return merged
