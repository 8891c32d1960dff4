"""Which architecture, extended by which method, is read as the same model by which transformers.

    python benchmarks/context_matrix.py [--output-dir benchmarks/results]

For each pair a tiny random model is extended in place, saved, verified and loaded again here; then every folder is
loaded by the interpreters named in `LSW_HF_PYTHON_OLDEST` (the oldest supported transformers) and `LSW_HF_PYTHON_457`
(transformers 4.57), where they are set. Prints a Markdown table and, as its last line, one JSON object; with
`--output-dir` both are written there too, as `context_matrix.md` and `context_matrix.json`.

A cell names the readers whose logits equal the live model's (at most 1e-5 apart), and what the others did.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.figures import benchmark_parser, compact_table, finish, parse

METHODS = ("linear", "ntk", "abf", "yarn", "llama3", "longrope", "none")
TOLERANCE = 1e-5
NUM_TOKENS = 75  # longer than the original window of 64
READERS = {"oldest": "LSW_HF_PYTHON_OLDEST", "4.57": "LSW_HF_PYTHON_457"}


def input_ids() -> torch.Tensor:
    """One row of tokens that every tiny vocabulary has."""
    return torch.randint(3, 97, (1, NUM_TOKENS), generator=torch.Generator().manual_seed(3))


def read_folder(folder: Path) -> dict[str, object]:
    """Loads one saved model with whatever transformers runs this file and compares its logits with the stored ones."""
    from transformers import AutoModelForCausalLM

    expected = torch.load(folder / "logits.pt")
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
    except (ValueError, TypeError, KeyError, OSError, AttributeError, ImportError, RuntimeError) as error:
        return {"refused": f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"}
    with torch.no_grad():
        logits = model(input_ids(), use_cache=False).logits
    return {"difference": (logits - expected).abs().max().item()}


def read_all(root: Path) -> dict[str, object]:
    """The results of `read_folder` for every model below `root`, and the version that read them."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    found = {folder.name: read_folder(folder) for folder in sorted(root.iterdir())}
    return {"transformers": transformers.__version__, "models": found}


def write_all(root: Path, names: list[str]) -> dict[str, dict[str, object]]:
    """Extends, saves and verifies every pair here; returns what happened by `architecture.method`."""
    from transformers import AutoModelForCausalLM

    from benchmarks.context_zoo import ARCHITECTURES, rising_factors
    from lsw_hf.context.extension import extend_context
    from lsw_hf.context.verification import verify_context

    results: dict[str, dict[str, object]] = {}
    for name in names:
        for method in METHODS:
            torch.manual_seed(7)
            config = ARCHITECTURES[name]()
            length = 7 * config.max_position_embeddings
            options = {}
            if method == "longrope":
                options["rope_factors"] = rising_factors(config)
            model = AutoModelForCausalLM.from_config(config).eval()
            extend_context(model, context_length=length, method=method, **options)
            folder = root / f"{name}.{method}"
            model.save_pretrained(folder)
            with torch.no_grad():
                torch.save(model(input_ids(), use_cache=False).logits, folder / "logits.pt")
            report = verify_context(folder, model, raise_on_mismatch=False)
            results[folder.name] = {"live == saved": report.ok, "rope_type": report.rope_type}
    return results


def readers() -> dict[str, str]:
    """Label -> interpreter of everyone who reads: this one, and those that the environment names."""
    named = {label: os.environ[variable] for label, variable in READERS.items() if os.environ.get(variable)}
    return {"newest": sys.executable, **named}


def cell(name: str, here: dict[str, object], read: dict[str, dict]) -> str:
    """One cell of the table."""
    if not here["live == saved"]:
        return "live ≠ saved"
    good = [label for label, result in read.items() if result["models"][name].get("difference", 1.0) <= TOLERANCE]
    words = ["all"] if len(good) == len(read) else [", ".join(good) or "none"]
    for label, result in read.items():
        found = result["models"][name]
        if "refused" in found:
            words.append(f"{label} refuses")
        elif found["difference"] > TOLERANCE:
            words.append(f"**{label} differs** ({found['difference']:.0e})")
    return "; ".join(words)


def table(names: list[str], here: dict[str, dict], read: dict[str, dict]) -> str:
    """The Markdown table, architectures down, methods across."""
    rows = [
        [name, *(cell(f"{name}.{method}", here[f"{name}.{method}"], read) for method in METHODS)] for name in names
    ]
    return compact_table(["architecture", *METHODS], rows)


def refusals(read: dict[str, dict]) -> list[str]:
    """Every distinct reason for which a reader refused, with the models it concerns."""
    found: dict[str, list[str]] = {}
    for label, result in read.items():
        for name, outcome in result["models"].items():
            if "refused" in outcome:
                reason = str(outcome["refused"]).split(", got ")[0]
                found.setdefault(f"{label} refuses with {reason}", []).append(name)
    return [f"{reason}: {', '.join(names)}" for reason, names in found.items()]


def main() -> int:
    """Runs the command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--architectures", nargs="*", help="a part of the architectures (default: all)")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parse(parser)
    if arguments.read:
        print(json.dumps(read_all(arguments.read)))
        return 0
    from benchmarks.context_zoo import ARCHITECTURES

    logging.getLogger("lsw_hf").setLevel(logging.ERROR)
    names = arguments.architectures or list(ARCHITECTURES)
    with tempfile.TemporaryDirectory() as root:
        here = write_all(Path(root), names)
        read = {}
        for label, python in readers().items():
            command = [python, str(Path(__file__).resolve()), "--read", root]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=root)
            read[label] = json.loads(done.stdout.splitlines()[-1])
    versions = {label: result["transformers"] for label, result in read.items()}
    page = "readers: " + ", ".join(f"{label} = transformers {version}" for label, version in versions.items())
    page = "\n".join([page, table(names, here, read), *(f"\n{reason}" for reason in refusals(read))]) + "\n"
    matrix = {
        name: {**found, **{label: result["models"][name] for label, result in read.items()}}
        for name, found in here.items()
    }
    green = sum(
        bool(found["live == saved"]) and all(found[label].get("difference", 1.0) <= TOLERANCE for label in read)
        for found in matrix.values()
    )
    figures = {"readers": versions, "pairs": len(matrix), "equal_everywhere": green, "matrix": matrix}
    finish("context_matrix", page, figures, arguments.output_dir, indent=4)
    return 0


if __name__ == "__main__":
    sys.exit(main())
