"""Prefill and decoding speed of LongSkywork against stock Llama with the same weights.

    python benchmarks/model_speed.py [--rounds 120] [--temperature] [--output-dir benchmarks/results]

The two models share their weights' memory and take turns, one prompt or one new token each, every round in the other
order, so that whatever else the machine does hits both. Printed is ours over Llama's (1 is equal, below 1 is faster):
the median over the rounds of each round's ratio with its 95 % interval (bootstrap), in seconds of the processor and in
seconds that passed. On a machine that does other work at the same time only the processor's seconds say something.
With `--temperature` also with an attention temperature, which Llama does not have. The last line is one JSON object;
with `--output-dir` both are written there too.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from benchmarks.figures import benchmark_parser, compact_table, finish, machine, parse
from lsw_hf.evaluation.reading.caches import cache_argument
from lsw_hf.models import LongSkyworkForCausalLM
from lsw_hf.models.presets import preset_config

WARM_UP = 2
SHAPE = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}


def build(slope: float) -> tuple[LongSkyworkForCausalLM, LlamaForCausalLM]:
    """Our model and its stock twin, with equal weights."""
    config = preset_config("tiny", **SHAPE, num_key_value_heads=8, vocab_size=8_000, max_position_embeddings=8_192)
    config.attention_temperature_slope = slope
    torch.manual_seed(0)
    ours = LongSkyworkForCausalLM(config).eval()
    known = {key: value for key, value in config.to_dict().items() if hasattr(LlamaConfig(), key)}
    known = {key: value for key, value in known.items() if key not in ("model_type", "rope_scaling")}
    stock = LlamaForCausalLM(LlamaConfig(**known)).eval()
    stock.load_state_dict(ours.state_dict(), assign=True)  # the same memory, so that where it lies favors neither
    return ours, stock


def prefill(model: torch.nn.Module, ids: torch.Tensor) -> Callable[[], object]:
    """One forward pass over the prompt."""
    return lambda: model(ids, logits_to_keep=1)


def decode(model: torch.nn.Module, ids: torch.Tensor) -> Callable[[], object]:
    """One greedy step after the prompt; the cache forgets it again, so that every step does the same work."""
    cache = DynamicCache(config=model.config)
    token = model(ids, **{cache_argument(model.forward): cache}, logits_to_keep=1).logits.argmax(-1)

    def step() -> None:
        model(token, **{cache_argument(model.forward): cache}).logits.argmax(-1)
        cache.crop(-1)

    return step


@torch.inference_mode()
def measured(work: Callable, models: tuple, rounds: int, prompt: int) -> list[list[tuple[float, float]]]:
    """(seconds passed, seconds of the processor) of every round, for each of the two models."""
    ids = torch.randint(0, 8_000, (1, prompt), generator=torch.Generator().manual_seed(1))
    runs = [work(model, ids) for model in models]
    times: list[list[tuple[float, float]]] = [[], []]
    for turn in range(rounds + WARM_UP):
        for which in (0, 1) if turn % 2 else (1, 0):
            passed, used = time.perf_counter(), time.process_time()
            runs[which]()
            times[which].append((time.perf_counter() - passed, time.process_time() - used))
    return [each[WARM_UP:] for each in times]


def compared(ours: list[tuple[float, float]], stock: list[tuple[float, float]], clock: int) -> list[float]:
    """Median of the rounds' ratios and its 95 % interval; clock 0 is time passed, 1 is the processor's."""
    each = [mine[clock] / theirs[clock] for mine, theirs in zip(ours, stock, strict=True)]
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(each, k=len(each))) for _ in range(1_000))
    return [round(value, 4) for value in (statistics.median(each), medians[25], medians[974])]


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=120)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prefill (default: 256)")
    parser.add_argument("--temperature", action="store_true", help="also with an attention temperature")
    options = parse(parser)
    rows = []
    figures = {}
    for kind, slope in (("", 0.0), (" with a temperature", 0.1)) if options.temperature else (("", 0.0),):
        models = build(slope)
        for work in (prefill, decode):
            ours, stock = measured(work, models, options.rounds, options.prompt)
            cells, name = [], f"{work.__name__}{kind}"
            for title, clock in (("processor", 1), ("passed", 0)):
                median, low, high = compared(ours, stock, clock)
                cells.append(f"{median:.3f} ({low:.3f} to {high:.3f})")
                figures[f"{name.replace(' ', '_')}_{title}"] = [median, low, high]
            rows.append([name, *cells])
    work_done = f"prompt of {options.prompt} tokens, {options.rounds} rounds; median and its 95 % interval"
    lines = [compact_table(("ours / stock Llama", "seconds of the processor", "seconds passed"), rows, "-rr")]
    lines.append(f"\n{machine()}, {torch.get_num_threads()} threads; 8 layers of 512, float32; {work_done}.")
    page = "\n".join(lines) + "\n"
    finish("model_speed", page, figures, options.output_dir)


if __name__ == "__main__":
    main()
