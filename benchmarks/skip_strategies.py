"""Which skipped positions teach a longer context: every strategy on the tiny world, at equal tokens.

    python benchmarks/skip_strategies.py --output-dir runs/skips

For each seed one tiny model is pretrained in its window of 512 tokens. From it, each variant extends with YaRN at its
defaults, trains on as many tokens of the same dialogues (60 steps of 4,096 tokens, in rows of 512 tokens, the window),
and answers needle questions at every length. `skip_strategies.md`, `.json` (accuracies by variant,
length and seed) and `.png` are written; the last line is one JSON object: {variant: mean accuracy at the target}.
Interrupted, it goes on where it stopped; variants that are not finished are left out of the table.

`--seeds 0 --steps 20 --variants skip_all` is a quick look, `--only-table` trains nothing.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers import AutoModelForCausalLM

from benchmarks.figures import benchmark_parser, keep, parse
from benchmarks.tiny_runs import ROPE, accuracy_by_length, only, pretrained, variant_folder
from lsw_hf import NeedleReport, evaluate_needle, extend_context
from lsw_hf.demo.recipe import TinySettings, tiny_data, tiny_recipe
from lsw_hf.evaluation.figures import save_figure
from lsw_hf.reports import markdown_table

# What differs from the demo's stage of dialogues: skip_all with all probability, also at the ends of sentences.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain SFT, short rows": {"strategy": "none"},
    "skip_all": {},
    "skip_all, half the rows": {"skip_probability": 0.5},
    "skip_all, between segments only": {"sentence_end_tokens": None},
    "skip_inner": {"strategy": "skip_inner"},
    "skip_outer": {"strategy": "skip_outer"},
    "PoSE": {"strategy": "pose"},
    "CREAM": {"strategy": "cream"},
    "LongRecipe": {"strategy": "long_recipe"},
    "random": {"strategy": "random"},
}
FULL_LENGTH = "plain SFT, rows of full length"
UNTRAINED = "extension alone, no training"


def trained(name: str, seed: int, base: Path, folder: Path, arguments: argparse.Namespace) -> Path:
    """Trains one variant and returns the folder of its model."""
    target, row = arguments.context_length, arguments.row_length
    changes = {"max_steps": arguments.steps, **VARIANTS.get(name, {})}
    if name == FULL_LENGTH:
        row, steps = target, max(1, arguments.steps * 4_096 // target)
        changes = {"strategy": "none", "max_length": target, "max_steps": steps, "per_device_train_batch_size": 1}
    settings = TinySettings(dialogue_steps=arguments.steps, row_length=row)
    recipe = tiny_recipe(seed=seed, output_dir=folder / "run", context_length=target, settings=settings)
    options = only(recipe, "sft", **changes)
    recipe = dataclasses.replace(recipe, model=base, stages=("sft",), options=options, needle_grid=None, rope=ROPE)
    return recipe.run(instructions=tiny_data(recipe, settings)["instructions"]).model_path


def run_variant(name: str, seed: int, base: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Trains and measures one variant, unless it was measured before."""
    if (folder / "needle.json").exists():
        return
    recipe = tiny_recipe(seed=seed, output_dir=folder, context_length=arguments.context_length)
    if name == UNTRAINED:
        model = AutoModelForCausalLM.from_pretrained(base).eval()
        extend_context(model, context_length=arguments.context_length, **ROPE)
    else:
        model = AutoModelForCausalLM.from_pretrained(trained(name, seed, base, folder, arguments)).eval()
    grid = dataclasses.replace(recipe.needle_grid, num_samples=arguments.samples)
    report = evaluate_needle(model, recipe.tokenizer, grid, recipe.needle_task, progress=False)
    report.save(folder / "needle.json")


def draw(table: dict[str, dict[int, list[float]]], path: Path) -> None:
    """Accuracy at the longest two lengths: the mean as a bar, every seed as a point."""
    from matplotlib.figure import Figure

    names = sorted(table, key=lambda name: mean(list(table[name].values())[-1]))
    lengths = list(table[names[0]])[-2:]
    figure = Figure(figsize=(9, 0.38 * len(names) + 1.2), layout="constrained", dpi=160)
    for axes, length in zip(figure.subplots(1, 2, sharey=True), lengths, strict=True):
        values = [table[name][length] for name in names]
        axes.barh(names, [mean(own) for own in values], color="#9db4d0")
        for row, own in enumerate(values):
            axes.plot(own, [row] * len(own), "o", color="#1f3a5f", markersize=4)
        axes.set(xlim=(0, 1.01), xlabel="needle accuracy", title=f"{length:,} tokens")
        axes.grid(axis="x", linewidth=0.4)
    save_figure(figure, path)


def page(table: dict[str, dict[int, list[float]]]) -> str:
    """Mean accuracy in percent by length, and the smallest and largest of the seeds at the target."""
    lengths = list(next(iter(table.values())))
    rows = []
    for name, found in table.items():
        last = found[lengths[-1]]
        cells = [f"{100 * mean(found[length]):.1f}" for length in lengths]
        rows.append([name, len(last), *cells, f"{100 * min(last):.1f} to {100 * max(last):.1f}"])
    header = ["variant", "seeds", *(f"{length:,}" for length in lengths), "seeds at the target"]
    return markdown_table(header, rows, " " + "r" * (len(lengths) + 2)) + "\n"


def main() -> None:
    """Trains, evaluates, prints the table and the JSON object."""
    parser = benchmark_parser(__doc__, "runs/skip_strategies")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--context-length", type=int, default=8_192, help="target in tokens")
    parser.add_argument("--row-length", type=int, default=512, help="tokens of a training row")
    parser.add_argument("--steps", type=int, default=60, help="steps of 4,096 tokens")
    parser.add_argument("--samples", type=int, default=100, help="questions in a cell")
    parser.add_argument("--variants", nargs="+", default=[UNTRAINED, *VARIANTS, FULL_LENGTH])
    parser.add_argument("--only-table", action="store_true", help="train nothing, show what is finished")
    arguments = parse(parser)

    table: dict[str, dict[int, list[float]]] = {}
    for seed in arguments.seeds:
        folder = arguments.output_dir / f"seed_{seed}"
        if not arguments.only_table:
            base = pretrained(seed, folder, arguments.context_length)
        for name in [UNTRAINED, *VARIANTS, FULL_LENGTH]:
            report = variant_folder(arguments.output_dir, seed, name) / "needle.json"
            if name in arguments.variants and not arguments.only_table:
                run_variant(name, seed, base, report.parent, arguments)
            if name in arguments.variants and report.exists():
                for length, accuracy in accuracy_by_length(NeedleReport.load(report)).items():
                    table.setdefault(name, {}).setdefault(length, []).append(accuracy)
    print(page(table), end="")
    draw(table, arguments.output_dir / "skip_strategies.png")
    keep("skip_strategies", page(table), table, arguments.output_dir, indent=1)
    print(json.dumps({name: round(mean(list(found.values())[-1]), 4) for name, found in table.items()}))


if __name__ == "__main__":
    main()
