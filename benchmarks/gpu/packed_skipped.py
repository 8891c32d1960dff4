"""Packed dialogues with skipped positions on one GPU: right first, then speed and memory by attention backend.

    python benchmarks/gpu/packed_skipped.py                          # one GPU, bfloat16
    python benchmarks/gpu/packed_skipped.py --device cpu --small     # the same code on a CPU, in seconds

On an H200 the comparison was run for `lsw_sdpa` and `sdpa`: `benchmarks/results/gpu_packed_skipped.md`. Nothing is
known yet about the flash-attention kernels, or any of the times and sizes that it prints there.

For each backend (flash attention 2 and 4 where installed, `lsw_sdpa`, and rows on `sdpa` to compare with):

- *right*: hidden states and gradients of the packed batch, against every dialogue run alone in float32, for Llama,
  Qwen3, Mistral with a window, and Gemma 3 with local and full layers. The limit is twice the error that the backend
  itself makes on single dialogues in the same dtype, so that rounding passes and a leak or a cut does not.
  Stock `sdpa` takes a skip for another dialogue: it is compared as well, and has to be found wrong;
- *speed*: tokens a second, forward and backward, padding not counted, fastest of several rounds;
- *memory*: most bytes allocated in a step (GPU only).

Its last line is one JSON object. It exits with 1 if a backend is wrong, or `sdpa` is not.
"""

import argparse
import json
import sys
import time
from itertools import pairwise, product
from typing import Any

import torch
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
from transformers.utils import is_flash_attn_2_available
from transformers.utils.import_utils import is_flash_attn_4_available

from lsw_hf import DataCollatorForSkipAlign

PACKED_BACKENDS = ("flash_attention_2", "flash_attention_4", "lsw_sdpa")
ROWS_BACKEND = "sdpa"
# Known to cut attention at skips: a comparison that finds it right could find nothing wrong.
CONTROL = "sdpa"
ARCHITECTURES = {
    "llama": lambda sizes, window: LlamaForCausalLM(LlamaConfig(**sizes)),
    "qwen3": lambda sizes, window: Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=head_dim(sizes))),
    "mistral": lambda sizes, window: MistralForCausalLM(MistralConfig(**sizes, sliding_window=window)),
    "gemma3": lambda sizes, window: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **sizes,
            head_dim=head_dim(sizes),
            sliding_window=window,
            layer_types=["sliding_attention", "full_attention"] * (sizes["num_hidden_layers"] // 2),
        )
    ),
}
# What summing in another order costs in float32; a leak or a cut is a thousand times larger.
FLOAT32_ROUNDING = 1e-5


def head_dim(sizes: dict[str, int]) -> int:
    """Size of a head where a class's own default is that of one released model."""
    return sizes["hidden_size"] // sizes["num_attention_heads"]


def make_rows(count: int, longest: int, vocabulary: int) -> list[dict[str, list[int]]]:
    """Dialogues of odd lengths between a quarter of `longest` and `longest` tokens."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index in range(count):
        length = longest - (index * 3 * longest // (4 * count)) - index % 2
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]})
    return rows


def make_model(
    sizes: dict[str, int], context_length: int, device: str, architecture: str = "llama", window: int | None = None
) -> PreTrainedModel:
    """A random model in float32 whose attention is not flat, so that a leak or a cut shows."""
    torch.manual_seed(0)
    sizes = {**sizes, "max_position_embeddings": context_length, "pad_token_id": 0}
    with torch.device(device):  # a billion random weights take longer on a CPU than all that is measured
        model = ARCHITECTURES[architecture](sizes, window)
    for name, parameter in model.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            torch.nn.init.normal_(parameter, std=1.5 * parameter.shape[1] ** -0.5)
    return model


def on_device(batch: dict[str, Any], device: str) -> dict[str, Any]:
    """The batch without labels, on the device."""
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
        if name != "labels"
    }


def states_and_gradient(model: PreTrainedModel, batches: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states of all tokens in order, `(tokens, hidden)`, and the gradient of the first layer's queries."""
    model.zero_grad()
    states = [model.model(**batch, use_cache=False).last_hidden_state.flatten(0, 1) for batch in batches]
    flat = torch.cat(states).float()
    # A fixed direction for every token, so that no token's error can hide.
    directions = torch.randn(flat.shape, generator=torch.Generator().manual_seed(1)).to(flat.device)
    (flat * directions).mean().backward()
    return flat.detach(), model.model.layers[0].self_attn.q_proj.weight.grad.detach().float()


def relative_errors(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> list[float]:
    """Largest difference relative to the largest value, of each tensor."""
    return [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, expected, strict=True)]


def check(backend: str, arguments: argparse.Namespace, architecture: str = "llama") -> dict[str, Any]:
    """Compares a packed batch with every dialogue alone in float32."""
    sizes, device = arguments.check_sizes, arguments.device
    rows = make_rows(5, arguments.check_length, sizes["vocab_size"])
    options = {"pad_token_id": 0, "context_length": arguments.context_length, "skip_probability": 1.0}
    # Far below a dialogue's length, so that it counts, and no multiple of a kernel's block.
    window = arguments.check_length // 30 + 1
    model = make_model(sizes, arguments.context_length, device, architecture, window)
    # Stock attention is measured as well, so the collator is told of the one that is right.
    model.set_attn_implementation("lsw_sdpa")
    packed = on_device(DataCollatorForSkipAlign(**options, packed=True, model=model)(rows), device)
    ends = packed["cu_seq_lens_q"].tolist()
    alone = [{name: packed[name][:, a:b] for name in ("input_ids", "position_ids")} for a, b in pairwise(ends)]
    alone = [{**one, "attention_mask": torch.ones_like(one["input_ids"])} for one in alone]

    model.set_attn_implementation("sdpa")
    oracle = states_and_gradient(model, alone)
    # Not model.to(dtype): that would also round the inverse frequencies of the rotary embedding.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(arguments.dtype)
    model.set_attn_implementation(backend)
    rounding = relative_errors(states_and_gradient(model, alone), oracle)
    found = relative_errors(states_and_gradient(model, [packed]), oracle)
    right = all(error <= 2 * limit + FLOAT32_ROUNDING for error, limit in zip(found, rounding, strict=True))
    return {"backend": backend, "model": architecture, "right": right, "error": found, "rounding": rounding}


def measure(backend: str, packed: bool, arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second and peak memory of forward and backward on one batch."""
    device = arguments.device
    rows = make_rows(arguments.documents, arguments.length, arguments.sizes["vocab_size"])
    model = make_model(arguments.sizes, arguments.context_length, device)
    model.set_attn_implementation("lsw_sdpa")
    collator = DataCollatorForSkipAlign(0, arguments.context_length, skip_probability=1.0, packed=packed, model=model)
    batch = on_device(collator(rows), device)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(arguments.dtype)
    model.set_attn_implementation(backend)
    # transformers 5.23 renamed it.
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    model.train()
    on_gpu = device != "cpu"
    seconds = []
    for _ in range(arguments.rounds + 1):
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        start = time.perf_counter()
        model.model(**batch, use_cache=False).last_hidden_state.float().pow(2).mean().backward()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        model.zero_grad()
    tokens = sum(len(row["input_ids"]) for row in rows)
    return {
        "backend": f"{backend}, {'packed' if packed else 'rows'}",
        "tokens_per_second": round(tokens / min(seconds[1:])),  # the first round compiles and allocates
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu else None,
    }


def parse() -> argparse.Namespace:
    """Arguments, with the sizes they imply."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a look at the code on a CPU")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="flash needs bfloat16")
    parser.add_argument("--documents", type=int, default=8, help="dialogues in a batch")
    parser.add_argument("--length", type=int, default=16_384, help="tokens of the longest dialogue")
    parser.add_argument("--context-length", type=int, default=131_072, help="target context length in tokens")
    parser.add_argument("--backends", nargs="+", choices=PACKED_BACKENDS, help="defaults to those installed")
    parser.add_argument("--rounds", type=int, default=2, help="rounds, of which the fastest counts")
    arguments = parser.parse_args()
    if arguments.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {arguments.device}: no CUDA device here; use --device cpu --small for a look.")
    installed = {"flash_attention_2": is_flash_attn_2_available(), "flash_attention_4": is_flash_attn_4_available()}
    on_flash = arguments.device != "cpu" and arguments.dtype == "bfloat16"
    flash = [name for name, there in installed.items() if there and on_flash]
    arguments.backends = arguments.backends or [*flash, "lsw_sdpa"]
    arguments.dtype = getattr(torch, arguments.dtype)
    # About a billion parameters, with the grouped heads of today's models.
    shape = (32_000, 2_048, 5_632, 22, 32, 4)
    if arguments.small:
        shape, arguments.documents, arguments.length, arguments.rounds = (97, 32, 48, 2, 4, 2), 4, 96, 1
    names = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads"
    arguments.sizes = dict(zip(names.split(), shape, strict=True))
    small = (97, 32, 48, 2, 4, 2) if arguments.small else (1_000, 512, 1_024, 4, 8, 2)
    arguments.check_sizes = dict(zip(names.split(), small, strict=True))
    arguments.check_length = 96 if arguments.small else 3_001
    return arguments


def main() -> None:
    """Checks, measures, prints two tables and the JSON object."""
    arguments = parse()
    name = torch.cuda.get_device_name() if arguments.device != "cpu" else "CPU"
    print(f"{name}, {arguments.dtype}, context {arguments.context_length:,}\n")
    print("| packed on | model | right | states, gradient: error | error of single dialogues |")
    print("| --- | --- | --- | --- | --- |")
    checks = []
    for backend, architecture in product([*arguments.backends, CONTROL], ARCHITECTURES):
        one = check(backend, arguments, architecture)
        checks.append(one)
        errors, limits = (", ".join(f"{value:.1e}" for value in one[key]) for key in ("error", "rounding"))
        print(
            f"| {backend} | {architecture} | {'yes' if one['right'] else '**no**'} | {errors} | {limits} |", flush=True
        )

    speeds = [measure(backend, True, arguments) for backend in arguments.backends]
    speeds.append(measure(ROWS_BACKEND, False, arguments))
    print("\n| forward and backward | tokens a second | peak GiB |\n| --- | --- | --- |")
    for one in speeds:
        print(f"| {one['backend']} | {one['tokens_per_second']:,} | {one['peak_gib']} |")
    print(json.dumps({"device": name, "checks": checks, "speeds": speeds}))
    if any(one["right"] != (one["backend"] != CONTROL) for one in checks):
        sys.exit(1)


if __name__ == "__main__":
    main()
