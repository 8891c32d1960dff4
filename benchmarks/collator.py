"""What skipped positions cost: our collator against TRL's on the same rows, and against one that goes token by token.

    python benchmarks/collator.py

Times are CPU seconds on one thread, the fastest of several alternating rounds. Prints a Markdown table and, as its
last line, one JSON object:

- `collator_vs_trl`: seconds of our collator (`skip_all`, also at ends of sentences) / of TRL's, same rows, both ending
  in padded tensors (goal: at most 1.3);
- `pose_vs_per_token`, `cream_vs_per_token`: tokens per second of our collator with that sampler / of one that writes
  each batch with a Python loop over tokens, with the same published sampler (goal: at least 20);
- `skip_all_vs_per_token`: the same for our own default with ends of sentences, against the faster of those two;
- `share_of_training_step`: seconds of our collator / of forward, backward and update of the tiny model on that batch,
  rows of 2,048 tokens (goal: at most 0.02).
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from benchmarks.figures import benchmark_parser, finish, parse
from lsw_hf import DataCollatorForSkipAlign
from lsw_hf.reports import markdown_table

SENTENCE_END = 7
CREAM_SIGMA = 3.0


def make_rows(count: int, length: int) -> list[dict[str, list[int]]]:
    """Dialogues of three turns and about `length` tokens, one sentence in twenty tokens."""
    generator = random.Random(0)
    rows = []
    for _ in range(count):
        ids: list[int] = []
        labels: list[int] = []
        for turn in range(6):
            segment = [generator.randrange(8, 1_000) for _ in range(length // 6 - generator.randrange(9))]
            segment[::20] = [SENTENCE_END] * len(segment[::20])
            ids += segment
            labels += segment if turn % 2 else [-100] * len(segment)
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def pose_per_token(length: int, context_length: int, generator: random.Random) -> list[int]:
    """PoSE's published sampler, one token after the other."""
    border = generator.randint(1, (length + 1) // 2)
    shift = generator.randint(0, context_length - length)
    return [index if index < border else index + shift for index in range(length)]


def cream_per_token(length: int, context_length: int, generator: random.Random) -> list[int]:
    """CREAM's published sampler, one token after the other."""
    factor = context_length // length
    edge = length // 3 if generator.random() < 0.5 or 8 * factor >= length else 4 * factor
    middle = length - 2 * edge
    zone = int(min(max(generator.normalvariate(1 + factor, CREAM_SIGMA), 2), 2 * factor))
    low, high = edge + (middle - 1) * zone // 2, zone * length // 2 - edge - 1
    first = generator.randint(low, high) - (middle - 1)
    positions = []
    for index in range(length):
        if index < edge:
            positions.append(index)
        elif index < edge + middle:
            positions.append(first + index - edge)
        else:
            positions.append(context_length - length + index)
    return positions


class PerTokenCollator:
    """Pads with Python loops and draws positions with `sampler`, which goes token by token."""

    def __init__(self, sampler: Callable[[int, int, random.Random], list[int]], context_length: int) -> None:
        self.sampler, self.context_length, self.generator = sampler, context_length, random.Random(0)

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        names = ("input_ids", "labels", "position_ids", "attention_mask")
        columns: dict[str, list[list[int]]] = {name: [] for name in names}
        for row in rows:
            length = len(row["input_ids"])
            positions = self.sampler(length, self.context_length, self.generator)
            inside = [index < length for index in range(longest)]
            columns["input_ids"].append([row["input_ids"][i] if inside[i] else 0 for i in range(longest)])
            columns["labels"].append([row["labels"][i] if inside[i] else -100 for i in range(longest)])
            columns["position_ids"].append([positions[i] if inside[i] else 0 for i in range(longest)])
            columns["attention_mask"].append([1 for _ in range(longest)])
        return {name: torch.tensor(values) for name, values in columns.items()}


def fastest(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """CPU seconds of a call of each function: the fastest of `rounds`, in turns, so a busy minute hits all alike."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            function()
            best[name] = min(best[name], time.process_time() - start)
    return best


def training_step(collator: DataCollatorForSkipAlign, rows: list[dict[str, list[int]]]) -> Callable[[], object]:
    """Returns a step of a model of the demo's shape (485 thousand parameters) on a batch of `rows`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1_224,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=collator.context_length,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters())
    batch = collator(rows)

    def step() -> None:
        model(**batch, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Measures, prints a table and the JSON object."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--rows", type=int, default=16, help="rows in a batch")
    parser.add_argument("--length", type=int, default=4_096, help="tokens in a row, about")
    parser.add_argument("--context-length", type=int, default=131_072, help="target context length in tokens")
    parser.add_argument("--rounds", type=int, default=15, help="rounds, of which the fastest counts")
    arguments = parse(parser)
    torch.set_num_threads(1)

    rows = make_rows(arguments.rows, arguments.length)
    context = arguments.context_length
    ours = DataCollatorForSkipAlign(0, context, skip_probability=1.0, sentence_end_token_ids=[SENTENCE_END])
    trl = DataCollatorForLanguageModeling(pad_token_id=0)
    pose, cream = PerTokenCollator(pose_per_token, context), PerTokenCollator(cream_per_token, context)
    same_pose, same_cream = (
        DataCollatorForSkipAlign(0, context, strategy=name, skip_probability=1.0) for name in ("pose", "cream")
    )
    seconds = fastest(
        {
            "lsw_hf, skip_all at sentences": lambda: ours(rows),
            "TRL, no skips": lambda: trl([dict(row) for row in rows]),
            "lsw_hf, PoSE": lambda: same_pose(rows),
            "token by token, PoSE": lambda: pose(rows),
            "lsw_hf, CREAM": lambda: same_cream(rows),
            "token by token, CREAM": lambda: cream(rows),
        },
        arguments.rounds,
    )
    tokens = sum(len(row["input_ids"]) for row in rows)
    shown = markdown_table(
        ("collator", "ms a batch", "million tokens a second"),
        [(name, f"{value * 1e3:.2f}", f"{tokens / value / 1e6:.2f}") for name, value in seconds.items()],
    )

    short = make_rows(2, 2_048)
    parts = fastest({"collator": lambda: ours(short), "step": training_step(ours, short)}, arguments.rounds)
    mine, theirs, our_pose, by_pose, our_cream, by_cream = seconds.values()
    figures = {
        "collator_vs_trl": round(mine / theirs, 3),
        "pose_vs_per_token": round(by_pose / our_pose, 1),
        "cream_vs_per_token": round(by_cream / our_cream, 1),
        "skip_all_vs_per_token": round(min(by_pose, by_cream) / mine, 1),
        "share_of_training_step": round(parts["collator"] / parts["step"], 4),
    }
    page = (
        f"{arguments.rows} rows of about {arguments.length} tokens, context {context}, one thread\n\n{shown}\n\n"
        f"Tiny model, 2 rows of 2,048 tokens: step {parts['step'] * 1e3:.1f} ms\n"
    )
    finish("collator", page, figures, arguments.output_dir, indent=1)


if __name__ == "__main__":
    main()
