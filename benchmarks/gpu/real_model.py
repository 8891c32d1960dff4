"""A real pretrained model on one GPU: what extending it does to real text, without training and with a minute of it.

    python benchmarks/gpu/real_model.py --model model --texts texts --output real_model.json   # one GPU, minutes
    python benchmarks/gpu/real_model.py --device cpu --small                       # tiny inputs on a CPU

On an H200 the first four rows of part 1 were run (`benchmarks/results/gpu_real_model.md`), parts 2 and 3 were **not**.
`real_model_inputs.py` says how the two folders are made. Three parts, the most telling first; every result is printed
as it comes, and `--output` is rewritten after it, so that a run that is stopped keeps what it has.

1. *No training*: loss by position on windows of held-out text, as it comes and extended 8, 4 and 2 times by each
   method at its defaults, in bfloat16. A window's length and its positions are those the model sees.
2. *A minute of training each* (continual pretraining on documents: every token has a label), from the extension that
   `auto` takes, in bfloat16 autocast with float32 weights. All arms cut the same text and have as many tokens a step:
   `skipped` are rows of half the old window whose positions jump at sentence ends and reach the target, `plain` the
   same rows with ordinary positions, `full` rows of the target's length, `interleaved` such rows of 8 documents in 2
   chunks each. An arm ends at `--tokens` or after `--seconds-per-arm`, whichever comes first; learning rate and
   warm-up follow the nearer of the two ends. `skipped, few` has the tokens of `full`: equal tokens beside equal time.
   The learning rate is our choice and was not tuned. One seed.
3. *Needle*: one fact in a text of the filler's prose, at five depths, for the models of part 2.

Losses are in nats a token, ± one standard error over windows, which share two documents and so are not independent.
The text may have been part of the model's pretraining: compare rows, not with other texts.
"""

import argparse
import copy
import math
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from real_model_inputs import Inputs, load_inputs, write_small
from real_model_training import ARMS, train_arm
from transformers import AutoModelForCausalLM, PreTrainedModel

from lsw_hf import NeedleGrid, evaluate_needle, extend_context, loss_by_position, verify_context
from lsw_hf.context.request import AUTO, METHODS
from lsw_hf.files import write_json
from lsw_hf.recipes.console import quiet_libraries
from lsw_hf.recipes.provenance import describe_environment

# Borders of the buckets, in quarters of the model's own window.
BORDERS = (0, 1, 2, 4, 8, 16, 32)


class Results:
    """
    Everything measured so far, printed and written as it comes.

    Args:
        path (`Path` or `None`): JSON file that is replaced after every result.
        facts (`dict`): What the run was made with.
    """

    def __init__(self, path: Path | None, facts: dict[str, Any]) -> None:
        self.path, self.start = path, time.perf_counter()
        self.data: dict[str, Any] = {**facts, "finished": False, "no_training": [], "training": [], "needle": []}

    def add(self, part: str, row: dict[str, Any], line: str, left: float) -> None:
        """Keeps a row of a part, prints its line of the table, and how many seconds are left by what was seen."""
        self.data[part].append(row)
        spent = time.perf_counter() - self.start
        print(f"{line}  <!-- {spent:.0f} s, this part {left:.0f} s more -->", flush=True)
        self.save()

    def save(self) -> None:
        """Replaces the file."""
        self.data["seconds"] = time.perf_counter() - self.start
        if self.path is not None:
            write_json(self.path, self.data, indent=1)


def load_model(arguments: argparse.Namespace, dtype: torch.dtype) -> PreTrainedModel:
    """The model as it comes, on the device."""
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype, attn_implementation="sdpa")
    return model.to(arguments.device)


def measure_loss(model: PreTrainedModel, inputs: Inputs, context_length: int) -> dict[str, Any]:
    """Loss by position on the first `context_length` tokens of each window, and the seconds it took."""
    start = time.perf_counter()
    unit = inputs.window // 4
    # one window of each text: the same tokens for every target
    options = {"context_length": context_length, "num_buckets": context_length // unit, "max_windows": 1}
    reports = [loss_by_position(model, inputs.tokenize, [name], **options) for name in inputs.held_out]
    buckets = []
    for first, last in pairwise(BORDERS):
        if last * unit <= context_length:
            losses = [report.loss_between(first * unit, last * unit) for report in reports]
            error = stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else None
            place = {"start": first * unit, "end": last * unit}
            buckets.append({**place, "loss": mean(losses), "standard_error": error, "by_window": losses})
    return {"context_length": context_length, "buckets": buckets, "seconds": time.perf_counter() - start}


def loss_cells(row: dict[str, Any]) -> str:
    """The losses of a row as cells of the table."""
    cells = []
    for bucket in row["buckets"]:
        error = bucket["standard_error"]
        cells.append(f"{bucket['loss']:.3f}" + ("" if error is None else f" ± {error:.3f}"))
    return " | ".join(cells + [""] * (len(BORDERS) - 1 - len(cells)))


def print_head(title: str, columns: list[str]) -> None:
    """A title and the head of a table."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)


def bucket_names(inputs: Inputs) -> list[str]:
    """Names of the buckets, in tokens."""
    unit = inputs.window // 4
    return [f"{a * unit:,} to {b * unit - 1:,}" for a, b in pairwise(BORDERS)]


def no_training(arguments: argparse.Namespace, inputs: Inputs, results: Results) -> None:
    """Part 1: the model as it comes and extended by every method, the longest target first."""
    print_head(f"No training, {len(inputs.held_out)} windows", ["method", "target", *bucket_names(inputs)])
    model = load_model(arguments, torch.bfloat16)
    longest = max(arguments.factors)
    plan = [("as it comes", longest), *((m, f) for f in arguments.factors for m in arguments.methods)]
    # what a window costs beside others: linear layers, and attention that grows with its length
    cost, guess = {factor: factor + factor**2 for factor in arguments.factors}, 0.0
    for done, (method, factor) in enumerate(plan, start=1):
        target = factor * inputs.window
        row: dict[str, Any] = {"method": method, "context_length": target}
        extended = copy.deepcopy(model)
        try:
            if method != "as it comes":
                extend_context(extended, context_length=target, method=method)
                verify_context(model=extended)
        except ValueError as error:
            row["refused"] = str(error)
            line = f"| {method} | {target:,} | refused: {str(error).split(': ')[0][:100]} {'|' * (len(BORDERS) - 1)}"
        else:
            row |= {"rope_parameters": dict(extended.config.rope_parameters), **measure_loss(extended, inputs, target)}
            line = f"| {method} | {target:,} | {loss_cells(row)} |"
            guess = row["seconds"] / cost[factor]
        results.add("no_training", row, line, sum(guess * cost[later] for _, later in plan[done:]))


def training(arguments: argparse.Namespace, inputs: Inputs, results: Results) -> dict[str, PreTrainedModel]:
    """Part 2: trains and measures every arm; the models in bfloat16, the untrained extension among them."""
    target = inputs.window * max(arguments.factors)
    columns = ["arm", "million tokens", "seconds", "tokens a second", "peak GiB", *bucket_names(inputs)]
    print_head(f"Training, target {target:,}, learning rate {arguments.learning_rate:g}", columns)
    base = extend_context(load_model(arguments, torch.bfloat16), context_length=target)
    models = {f"no training ({base.config.rope_parameters['rope_type']})": base}
    few = 0
    for done, arm in enumerate(arguments.arms, start=1):
        if arm == "skipped, few" and not few:
            continue  # nothing to be equal to
        start = time.perf_counter()
        model = extend_context(load_model(arguments, torch.float32), context_length=target)
        row = train_arm(arm, model, inputs, few if arm == "skipped, few" else arguments.tokens, arguments)
        few = row["tokens"] if arm == "full" else few
        models[arm] = copy.deepcopy(base)
        models[arm].load_state_dict(model.state_dict())  # rounds to bfloat16
        del model
        row |= measure_loss(models[arm], inputs, target)
        speed, peak = row["tokens"] / row["training_seconds"], row["peak_gib"] or math.nan
        line = f"| {arm} | {row['tokens'] / 1e6:.2f} | {row['training_seconds']:.0f} | {speed:,.0f} | {peak:.1f} |"
        left = (len(arguments.arms) - done) * (time.perf_counter() - start)
        results.add("training", row, f"{line} {loss_cells(row)} |", left)
        if arguments.device != "cpu":
            torch.cuda.empty_cache()
    return models


def needle(arguments: argparse.Namespace, inputs: Inputs, models: dict[str, Any], results: Results) -> None:
    """Part 3: one fact in a text, each question with a text of its own."""
    lengths = tuple(inputs.window * factor for factor in sorted({1, *arguments.factors}))
    # 7 digits and the space in front; moving needles would be read in many small pieces
    options = {"num_samples": arguments.needle_samples, "shared_haystack": False, "max_new_tokens": 10}
    grid = NeedleGrid(lengths, tuple(arguments.needle_depths), seed=arguments.seed, **options)
    title = f"Needle, {len(grid.depths) * grid.num_samples} questions a length, % right"
    print_head(title, ["model", *(f"{length:,}" for length in lengths)])
    for done, (name, model) in enumerate(models.items(), start=1):
        start = time.perf_counter()
        report = evaluate_needle(model, inputs.tokenizer, grid, progress=False)
        cells = " | ".join(f"{100 * report.accuracy_at(length):.0f}" for length in lengths)
        left = (len(models) - done) * (time.perf_counter() - start)
        results.add("needle", {"model": name, **report.to_dict()}, f"| {name} | {cells} |", left)


def parse() -> argparse.Namespace:
    """Arguments; `--small` makes them tiny."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder with the model and its tokenizer")
    parser.add_argument("--texts", type=Path, help="folder with train/*.txt and held_out/*.txt")
    parser.add_argument("--output", type=Path, help="JSON file that is rewritten after every result")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny inputs and fewer choices, for a look at the code")
    parser.add_argument(
        "--factors", type=int, nargs="+", default=[8, 4, 2], choices=[8, 4, 2], help="targets / window"
    )
    methods = [name for name in ("yarn", *METHODS, "dynamic") if name not in (AUTO, "none")]
    parser.add_argument("--methods", nargs="*", default=list(dict.fromkeys(methods)), help="defaults to all")
    parser.add_argument("--windows", type=int, default=8, help="most windows of held-out text")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=list(ARMS[:4]), help="defaults to the first four")
    parser.add_argument("--tokens", type=int, default=16_000_000, help="most tokens of an arm")
    parser.add_argument("--seconds-per-arm", type=float, default=60.0)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--needle-samples", type=int, default=2, help="questions at each depth; 0 for no needles")
    parser.add_argument("--needle-depths", type=float, nargs="+", default=(0.1, 0.3, 0.5, 0.7, 0.9))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", help="of the code, where there is no git checkout")
    arguments = parser.parse_args()
    if arguments.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {arguments.device}: no CUDA device here; use --device cpu --small for a look.")
    if not arguments.small and (arguments.model is None or arguments.texts is None):
        parser.error("--model and --texts are needed; real_model_inputs.py makes them. --small needs neither.")
    if arguments.small:
        arguments.windows, arguments.tokens, arguments.learning_rate = 2, 2_048, 1e-2
        arguments.factors, arguments.methods = [8, 2], ["yarn", "longrope"]
        arguments.arms = ["skipped", "full", "skipped, few"]
        arguments.needle_samples, arguments.needle_depths = min(arguments.needle_samples, 1), (0.5,)
    arguments.factors = sorted(set(arguments.factors), reverse=True)
    return arguments


def run(arguments: argparse.Namespace) -> None:
    """All parts on given inputs."""
    chosen = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    facts = {**describe_environment(), "device": "CPU", "settings": chosen}
    facts["commit"] = arguments.commit or facts["commit"]
    if arguments.device != "cpu":
        facts["device"] = torch.cuda.get_device_name()
        facts["device_gib"] = torch.cuda.get_device_properties(0).total_memory / 2**30
    results = Results(arguments.output, facts)
    inputs = load_inputs(arguments)
    results.data["held_out"] = list(inputs.held_out)
    results.data["training_documents"] = len(inputs.documents)
    results.data["training_tokens"] = sum(map(len, inputs.documents))
    counts = f"{results.data['training_documents']} documents of {results.data['training_tokens']:,} tokens"
    print(f"{facts['device']}, commit {facts['commit']}, {facts['versions']}\n{counts} for training")
    print("\n".join(["held out:", *inputs.held_out]))
    no_training(arguments, inputs, results)
    if arguments.arms:
        models = training(arguments, inputs, results)
        if arguments.needle_samples:
            needle(arguments, inputs, models, results)
    results.data["finished"] = True
    results.save()


def main() -> None:
    """Runs all parts, on tiny inputs where asked."""
    arguments = parse()
    torch.manual_seed(arguments.seed)
    with quiet_libraries(), tempfile.TemporaryDirectory() as folder:
        if arguments.small:
            arguments.model, arguments.texts = write_small(Path(folder))
        run(arguments)


if __name__ == "__main__":
    main()
