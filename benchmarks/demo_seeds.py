"""The demo on several seeds: needle accuracy before and after, time and memory, each seed in a process of its own.

    python benchmarks/demo_seeds.py --seeds 200 201 202 203 204 --output-dir runs/seeds
    python benchmarks/demo_seeds.py --seeds 200 201 202 203 204 --context-length 200000 --output-dir runs/seeds_200k

Writes `demo_seeds.json` and `demo_seeds.md` and prints the table; the last line is one JSON object.
Interrupted, it goes on with the seeds that `demo_seeds.json` lacks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import benchmark_parser, keep, parse
from lsw_hf.reports import markdown_table


def run_seed(seed: int, output_dir: Path, context_length: int | None) -> dict[str, Any]:
    """One demo in a process of its own, with its seconds and its peak memory."""
    if (output_dir / "report.json").exists():
        raise SystemExit(f"{output_dir} holds a finished run, whose seconds would not be measured. Give a new folder.")
    command = [sys.executable, "-m", "lsw_hf", "demo", "--seed", str(seed), "--output-dir", str(output_dir)]
    if context_length:
        command += ["--context-length", str(context_length)]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"The demo of seed {seed} failed; run it again: {' '.join(command)}")
    peak = usage.ru_maxrss / 2**20
    report = json.loads((output_dir / "report.json").read_text())
    facts = {"commit": report["commit"], "versions": report["versions"], "machine": report["machine"]}
    measured = {"seed": seed, "seconds": round(seconds, 1), "peak_gb": round(peak, 2)}
    return {**measured, **read_grids(output_dir), **facts}


def read_grids(output_dir: Path) -> dict[str, Any]:
    """Accuracy by length before and after, the worst cell after, and the samples in a cell."""
    result: dict[str, Any] = {}
    for moment in ("before", "after"):
        cells = json.loads((output_dir / f"needle_{moment}.json").read_text())["cells"]
        counted: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for cell in cells:
            counted[cell["context_length"]][0] += cell["correct"]
            counted[cell["context_length"]][1] += cell["samples"]
        result[moment] = {str(length): correct / samples for length, (correct, samples) in sorted(counted.items())}
        result[f"worst_cell_{moment}"] = min(cell["accuracy"] for cell in cells)
        result["samples_a_cell"] = min(cell["samples"] for cell in cells)
    return result


def to_markdown(runs: list[dict[str, Any]]) -> str:
    """One row a seed and moment, one column a length."""
    lengths = list(runs[0]["after"])
    header = ["seed", "", *(f"{int(length):,}" for length in lengths), "worst cell", "seconds", "GB"]
    rows = []
    for run in runs:
        for moment in ("before", "after"):
            cells = [f"{100 * run[moment][length]:.1f}" for length in lengths]
            cost = [f"{run['seconds']:.0f}", f"{run['peak_gb']:.1f}"] if moment == "after" else ["", ""]
            rows.append([run["seed"], moment, *cells, f"{100 * run[f'worst_cell_{moment}']:.1f}", *cost])
    return markdown_table(header, rows, "r " + "r" * (len(lengths) + 3))


def main() -> None:
    """Run the seeds that the command line names."""
    parser = benchmark_parser(__doc__, "runs/demo_seeds")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--context-length", type=int, default=None)
    options = parse(parser)
    kept = options.output_dir / "demo_seeds.json"
    runs = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    for seed in options.seeds:
        if seed in [run["seed"] for run in runs]:
            continue
        runs.append(run_seed(seed, options.output_dir / f"seed_{seed}", options.context_length))
        keep("demo_seeds", to_markdown(runs) + "\n", runs, options.output_dir)
    print(to_markdown(runs))
    lengths = list(runs[0]["after"])
    print(
        json.dumps(
            {
                "seeds": options.seeds,
                "worst_length_after": min(min(run["after"].values()) for run in runs),
                "worst_cell_after": min(run["worst_cell_after"] for run in runs),
                "before_at_longest": max(run["before"][lengths[-1]] for run in runs),
                "seconds": max(run["seconds"] for run in runs),
                "peak_gb": max(run["peak_gb"] for run in runs),
            }
        )
    )


if __name__ == "__main__":
    main()
