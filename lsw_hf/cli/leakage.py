"""`lsw-hf leakage`: did a model see the test set?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .evaluation_options import add_model_options, load_model, model_window
from .output import CommandOutput
from .parser import CommandParser, count

HELP = "test whether a model saw a test set, by its losses on train, test and fresh text"
EXAMPLE = "lsw-hf leakage --model PATH_OR_ID --train train.jsonl --test test.jsonl --reference fresh.jsonl"
DETAILS = """Compares the loss on a training split, its test split and fresh samples in their style, written after them
(Skywork-13B, 2310.19341): Delta1 = test - reference, clearly negative if test data leaked; Delta2 = test - train,
clearly positive if the training split was learned by heart. Says first how many reference samples repeat the
others."""


def main(arguments: Sequence[str]) -> int:
    """Run the test with the given options and return the exit status."""
    parser = CommandParser("leakage", details=DETAILS, example=EXAMPLE)
    add_model_options(parser)
    for name, what in (("train", "training split"), ("test", "test split"), ("reference", "fresh samples")):
        parser.add_argument(f"--{name}", required=True, help=f"{what}: jsonl, parquet, txt (a line a sample), dataset")
    parser.add_argument(
        "--column", nargs="+", default=("text",), help="columns of a sample, as in question answer (default: text)"
    )
    parser.add_argument("--ngram", type=count(1), default=8, help="words in a row that count as a copy (default: 8)")
    parser.add_argument("--resamples", type=count(1), default=2000, help="bootstrap resamples (default: 2000)")
    parser.add_argument("--seed", type=count(0), default=0, help="of the resampling (default: 0)")
    parser.add_argument("--output", default=None, help="folder for leakage.json and leakage.md")
    parser.add_json_option()
    options = parser.parse(arguments)
    if options.output and Path(options.output).is_file():
        parser.error(f"--output {options.output} is a file, but leakage writes a folder: give another name.")

    from dataclasses import replace

    from ..evaluation.losses.leakage import SPLITS, find_overlap, leakage_test, read_samples
    from ..files import write_text

    with CommandOutput(options.json) as output:
        sets = {name: read_samples(getattr(options, name), options.column, split) for name, split in SPLITS.items()}
        overlap = find_overlap(sets["reference"], [*sets["train"], *sets["test"]], options.ngram)
        repeating = f"{len(overlap)} of {len(sets['reference'])} reference samples"
        output.show(f"{repeating} repeat {options.ngram} words of train or test.", {"ngram": options.ngram})
        model_window(options, options.model)
        model, tokenizer = load_model(options)
        report = leakage_test(model, tokenizer, num_resamples=options.resamples, seed=options.seed, **sets)
        report = replace(report, overlap=tuple(overlap))
        if options.output:
            report.save(Path(options.output) / "leakage.json")
            write_text(Path(options.output) / "leakage.md", report.to_markdown() + "\n")
        output.show(f"\n{report.to_markdown()}", report.to_dict())
    return 0
