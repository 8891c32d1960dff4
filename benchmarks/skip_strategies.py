"""Which skipped positions teach a longer context: every strategy on the tiny world, at equal tokens.

    python benchmarks/skip_strategies.py --output runs/skips --figure skip_strategies.png

For each seed one tiny model is pretrained in its window of 512 tokens. From it, each variant extends the same way,
trains on as many tokens of the same dialogues (200 steps of 4,096 tokens), and answers needle questions at every
length. The last line is one JSON object: {variant: mean accuracy at the target}. Interrupted, it goes on where it
stopped.

Two cores need a bit over a minute a variant and seed; `--seeds 0 --steps 20` is a quick look.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from lsw_hf import LongSkyworkRecipe, NeedleReport, evaluate_needle
from lsw_hf.recipes.tiny import TinySettings, tiny_data, tiny_recipe

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


def pretrained(seed: int, folder: Path, context_length: int) -> Path:
    """The model every variant of a seed starts from."""
    recipe = tiny_recipe(seed=seed, output_dir=folder / "base", context_length=context_length)
    recipe = dataclasses.replace(
        recipe, stages=("pretraining",), options=only(recipe, "pretraining"), needle_grid=None
    )
    recipe.run(pretraining_documents=tiny_data(recipe)["pretraining_documents"])
    return folder / "base" / "1_pretraining" / "model"


def only(recipe: LongSkyworkRecipe, stage: str, **changes: Any) -> dict[str, dict[str, Any]]:
    """The options of one stage, some of them changed."""
    return {stage: {**recipe.options[stage], **changes}}


def accuracy_by_length(report: NeedleReport) -> dict[int, float]:
    """Share of right answers at each length, over all depths."""
    cells: dict[int, list[tuple[int, int]]] = {}
    for cell in report.cells:
        cells.setdefault(cell.context_length, []).append((cell.correct, cell.samples))
    return {length: sum(c for c, _ in own) / sum(s for _, s in own) for length, own in sorted(cells.items())}


def run_variant(name: str, seed: int, base: Path, folder: Path, arguments: argparse.Namespace) -> dict[int, float]:
    """Trains one variant, unless it was trained before, and returns its accuracy by length."""
    saved = folder / "needle.json"
    if not saved.exists():
        target, changes = arguments.context_length, {"max_steps": arguments.steps, **VARIANTS.get(name, {})}
        settings = TinySettings(dialogue_steps=arguments.steps)
        if name == FULL_LENGTH:
            steps = max(1, arguments.steps * 4_096 // target)
            changes = {"strategy": "none", "max_length": target, "max_steps": steps, "per_device_train_batch_size": 1}
            settings = dataclasses.replace(settings, row_length=target, dialogue_steps=arguments.steps)
        recipe = tiny_recipe(seed=seed, output_dir=folder / "run", context_length=target, settings=settings)
        options = only(recipe, "sft", **changes)
        grid, task, tokenizer = recipe.needle_grid, recipe.needle_task, recipe.tokenizer
        recipe = dataclasses.replace(recipe, model=base, stages=("sft",), options=options, needle_grid=None)
        results = recipe.run(instructions=tiny_data(recipe, settings)["instructions"])
        model = AutoModelForCausalLM.from_pretrained(results.model_path).eval()
        grid = dataclasses.replace(grid, num_samples=arguments.samples)
        evaluate_needle(model, tokenizer, grid, task, progress=False).save(saved)
    return accuracy_by_length(NeedleReport.load(saved))


def draw(table: dict[str, dict[int, float]], path: Path) -> None:
    """Accuracy over length, one line a variant."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, by_length in table.items():
        axes.plot(list(by_length), list(by_length.values()), marker="o", label=name)
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="context length in tokens", ylabel="needle accuracy")
    axes.set_xticks(list(by_length), [f"{length:,}" for length in by_length], minor=False)
    axes.legend(fontsize="small")
    figure.savefig(path)


def main() -> None:
    """Trains, evaluates, prints the table and the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/skip_strategies"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--context-length", type=int, default=8_192, help="target in tokens")
    parser.add_argument("--steps", type=int, default=200, help="steps of 4,096 tokens")
    parser.add_argument("--samples", type=int, default=100, help="questions in a cell")
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS, FULL_LENGTH])
    parser.add_argument("--figure", type=Path, help="where to draw the figure")
    arguments = parser.parse_args()

    found: dict[str, list[dict[int, float]]] = {name: [] for name in arguments.variants}
    for seed in arguments.seeds:
        base = pretrained(seed, arguments.output / f"seed_{seed}", arguments.context_length)
        for number, name in enumerate([*VARIANTS, FULL_LENGTH]):
            if name in found:
                folder = arguments.output / f"seed_{seed}" / f"variant_{number}"
                found[name].append(run_variant(name, seed, base, folder, arguments))

    table = {
        name: {length: sum(own[length] for own in runs) / len(runs) for length in runs[0]}
        for name, runs in found.items()
    }
    lengths = list(next(iter(table.values())))
    print("| variant | " + " | ".join(f"{length:,}" for length in lengths) + " |")
    print("| --- |" + " --- |" * len(lengths))
    for name, by_length in table.items():
        print(f"| {name} | " + " | ".join(f"{by_length[length]:.3f}" for length in lengths) + " |")
    if arguments.figure:
        draw(table, arguments.figure)
    print(json.dumps({name: round(by_length[lengths[-1]], 4) for name, by_length in table.items()}))


if __name__ == "__main__":
    main()
