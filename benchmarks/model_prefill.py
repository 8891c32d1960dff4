"""Does a long prompt read in pieces fit in memory, and is its answer that of the prompt read at once?

    lsw-hf demo --context-length 200000 --output-dir runs/demo_200k
    python benchmarks/model_prefill.py --model runs/demo_200k/model

First, needle questions at a length where both fit are answered twice: prompt read at once, and in pieces. Then one
prompt of the full length is read in pieces, and the peak memory of the whole process is measured. The needles are the
tiny world's, so the model must be one that the demo made. Prints a Markdown table and as its last line one JSON
object; with `--output-dir` both are written there too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.figures import benchmark_parser, compact_table, finish, machine, parse, peak_memory
from lsw_hf import NeedleGrid, evaluate_needle
from lsw_hf.demo.needle_task import TinyNeedleTask
from lsw_hf.evaluation.reading.reader import ReadingOptions

DEPTHS = (0.1, 0.5, 0.9)


def read(model: Any, tokenizer: Any, length: int, chunk: int | None, seed: int) -> dict[str, Any]:
    """Answers to needle questions at one length, read in pieces of `chunk` tokens or at once."""
    grid = NeedleGrid(context_lengths=(length,), depths=DEPTHS, num_samples=4, questions_per_haystack=12, seed=seed)
    start, used = time.perf_counter(), time.process_time()
    reading = ReadingOptions(prefill_chunk_length=chunk)
    report = evaluate_needle(model, tokenizer, grid, TinyNeedleTask(), reading=reading, progress=False)
    return {
        "length": length,
        "chunk": chunk or length,
        "answers": [sample.answered for sample in report.samples],
        "accuracy": report.accuracy,
        "seconds": round(time.perf_counter() - start),
        "cpu_seconds": round(time.process_time() - used),
        "peak_gib": round(peak_memory() / 2**30, 2),
    }


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--model", required=True, help="folder of a model that lsw-hf demo made")
    parser.add_argument("--length", type=int, default=200_000, help="tokens of the long prompt (default: 200,000)")
    parser.add_argument("--both-length", type=int, default=32_768, help="tokens where both fit (default: 32,768)")
    parser.add_argument("--chunk", type=int, default=1_024, help="tokens a piece (default: 1,024)")
    parser.add_argument("--seed", type=int, default=0)
    options = parse(parser)
    model = AutoModelForCausalLM.from_pretrained(options.model, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows = [
        read(model, tokenizer, length, chunk, options.seed)
        # the piecewise readings first: memory only ever peaks upwards
        for length, chunk in (
            (options.both_length, options.chunk),
            (options.length, options.chunk),
            (options.both_length, None),
        )
    ]
    same = rows[0]["answers"] == rows[2]["answers"]
    header = ("tokens", "read in pieces of", "right answers", "seconds", "CPU seconds", "peak memory so far")
    cells = [
        (
            f"{row['length']:,}",
            f"{row['chunk']:,}",
            f"{row['accuracy']:.0%} of {len(row['answers'])}",
            row["seconds"],
            row["cpu_seconds"],
            f"{row['peak_gib']} GiB",
        )
        for row in rows
    ]
    shown = [compact_table(header, cells, "r" * 6)]
    shown.append(
        f"\n{machine()}, {torch.get_num_threads()} threads; {model.num_parameters():,} parameters, {model.dtype}."
    )
    shown.append(f"Answers at {options.both_length:,} tokens {'equal' if same else 'DIFFER'} in pieces and at once.")
    page = "\n".join(shown) + "\n"
    figures = {
        "parameters": model.num_parameters(),
        "answers_equal": same,
        "peak_gib_in_pieces": rows[1]["peak_gib"],
        "accuracy_at_full_length": rows[1]["accuracy"],
        "rows": rows,
    }
    finish("model_prefill", page, figures, options.output_dir)


if __name__ == "__main__":
    main()
