"""Tiny folders in the shape of the legacy Skywork-13B release, made from its published architecture.

Names of tensors and fields are those that converters for the real files read: Llama's, without biases, heads of one
kind (`num_key_value_heads` = `num_attention_heads`), `.bin` shards with an index, a SentencePiece BPE with byte
fallback and split digits, no chat tokens in the tokenizer's files.
"""

import json
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file

PIECES = 420
SIZES = {"hidden_size": 36, "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 3}
TEXTS = [
    "The quick brown fox jumps over the lazy dog while 12 of 345 people watch.",
    "天工大模型支持二十万字的上下文，训练数据有三万亿。",
    "def f(x):\n    return [i for i in range(x) if i % 2 == 0]",
    "Skywork is a series of language models trained on Chinese and English text.",
] * 20


def train_pieces(folder: Path) -> None:
    """Writes `tokenizer.model`."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=PIECES,
        character_coverage=0.98,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()


def legacy_state(vocab_size: int, dtype: torch.dtype, inv_freq_base: float | None) -> dict[str, torch.Tensor]:
    """Random weights under the legacy names; with a base also the frequencies that old checkpoints stored."""
    generator = torch.Generator().manual_seed(3)
    hidden, mlp = SIZES["hidden_size"], SIZES["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (vocab_size, hidden), "model.norm.weight": (hidden,)}
    shapes["lm_head.weight"] = (vocab_size, hidden)
    head_dim = hidden // SIZES["num_attention_heads"]
    state = {}
    for layer in range(SIZES["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"{at}mlp.{name}_proj.weight": (mlp, hidden) for name in ("gate", "up")}
        shapes |= {f"{at}mlp.down_proj.weight": (hidden, mlp)}
        shapes |= {f"{at}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
        if inv_freq_base:
            turns = [inv_freq_base ** (-2 * i / head_dim) for i in range(head_dim // 2)]
            state[f"{at}self_attn.rotary_emb.inv_freq"] = torch.tensor(turns, dtype=dtype)
    for name, shape in shapes.items():
        weight = torch.randn(shape, generator=generator) * 0.2 + (1.0 if "norm" in name else 0.0)
        state[name] = weight.to(dtype)
    return state


def make_skywork_folder(
    folder: Path,
    *,
    rope_scaling: dict | None = None,
    vocab_size: int = PIECES,
    pickled: bool = True,
    shards: int = 3,
    dtype: torch.dtype = torch.bfloat16,
    inv_freq_base: float | None = 10_000.0,
    **fields,
) -> dict[str, torch.Tensor]:
    """Makes a legacy folder and returns its tensors."""
    folder.mkdir()
    config = {
        "architectures": ["SkyworkForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_skywork.SkyworkConfig",
            "AutoModelForCausalLM": "modeling_skywork.SkyworkForCausalLM",
        },
        "model_type": "skywork",
        "vocab_size": vocab_size,
        **SIZES,
        "num_key_value_heads": SIZES["num_attention_heads"],
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "initializer_range": 0.01,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "rope_scaling": rope_scaling,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "transformers_version": "4.33.1",
        "use_cache": True,
    }
    (folder / "config.json").write_text(json.dumps(config | fields))
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "transformers_version": "4.33.1"})
    )
    (folder / "modeling_skywork.py").write_text("raise SystemExit('legacy code must never run')\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "SkyworkTokenizer",
                "auto_map": {"AutoTokenizer": ["tokenization_skywork.SkyworkTokenizer", None]},
            }
        )
    )
    train_pieces(folder)
    state = legacy_state(vocab_size, dtype, inv_freq_base)
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = [f"{stem}-{n:05d}-of-{shards:05d}.{suffix}" for n in range(1, shards + 1)]
    weight_map = {name: names[position % shards] for position, name in enumerate(state)}
    for file in names:
        part = {name: state[name] for name in state if weight_map[name] == file}
        path = folder / (file if shards > 1 else f"{stem}.{suffix}")
        torch.save(part, path) if pickled else save_file(part, path, metadata={"format": "pt"})
    if shards > 1:
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return state
