"""Which transformers loads a saved LongSkywork folder, with trust or with the package, and how close its logits are.

    python benchmarks/model_matrix.py [--output-dir benchmarks/results]

For each RoPE type (and for an attention temperature) a tiny random model is saved here; then every folder is read in
fresh processes: by this interpreter, and those named in `LSW_HF_PYTHON_OLDEST` (the oldest supported transformers)
and `LSW_HF_PYTHON_457` (transformers 4.57), where set; once with `trust_remote_code=True` and the package shut
out, once with the package and no trust, once with neither. Prints a Markdown table of the largest difference between
logits, relative to the largest logit, and as its last line one JSON object; with `--output-dir` both are written
there too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import benchmark_parser, compact_table, finish, parse

READERS = {"this": None, "oldest": "LSW_HF_PYTHON_OLDEST", "4.57": "LSW_HF_PYTHON_457"}
WAYS = ("trust", "package", "neither")
BASE = {"rope_theta": 10_000.0}
EXTENDED = {"factor": 4.0, "original_max_position_embeddings": 32}
FACTORS = {"short_factor": [1.0, 1.5, 2.0, 4.0], "long_factor": [1.0, 1.5, 2.0, 4.0]}
ROPES = {
    "default": {"rope_type": "default", **BASE},
    "linear": {"rope_type": "linear", "factor": 4.0, **BASE},
    "ntk": {"rope_type": "ntk", "factor": 4.0, **BASE},
    "yarn": {"rope_type": "yarn", **EXTENDED, **BASE},
    "llama3": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **EXTENDED, **BASE},
    "longrope": {"rope_type": "longrope", **FACTORS, **EXTENDED, **BASE},
    "yarn + temperature": {"rope_type": "yarn", **EXTENDED, **BASE},
}


def save_all(root: Path) -> None:
    """One folder for each row of the table, with its logits."""
    import torch
    import transformers

    from lsw_hf.models import LongSkyworkForCausalLM
    from lsw_hf.models.presets import preset_config

    transformers.utils.logging.disable_progress_bar()
    ids = torch.randint(0, 512, (1, 77), generator=torch.Generator().manual_seed(3))
    for name, rope in ROPES.items():
        shape = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
        slope = 0.2 if "temperature" in name else 0.0
        config = preset_config("tiny", **shape, rope_parameters=rope, max_position_embeddings=128)
        config.attention_temperature_slope = slope
        model = LongSkyworkForCausalLM(config).eval()
        model.save_pretrained(root / name)
        with torch.no_grad():
            torch.save((ids, model(ids).logits), root / name / "expected.pt")


def read_all(root: Path, way: str) -> dict[str, object]:
    """What this process makes of every folder below `root`."""
    if way == "package":
        import lsw_hf  # noqa: F401 - registers the classes
    else:
        sys.modules["lsw_hf"] = None  # type: ignore[assignment]
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    transformers.utils.logging.set_verbosity_error()
    found: dict[str, object] = {"transformers": transformers.__version__}
    for name in ROPES:
        ids, expected = torch.load(root / name / "expected.pt")
        try:
            model = AutoModelForCausalLM.from_pretrained(root / name, trust_remote_code=way == "trust")
        except ValueError as error:
            found[name] = "refused" if "trust_remote_code=True" in str(error) else str(error)[:80]
            continue
        with torch.no_grad():
            found[name] = ((model.eval()(ids).logits - expected).abs().max() / expected.abs().max()).item()
    return found


def read_elsewhere(root: Path, python: str, way: str) -> dict[str, object]:
    """`read_all` in a fresh process."""
    shared = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    repository = {"PYTHONPATH": str(Path(__file__).parents[1])} if way == "package" else {}
    home = {"HF_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1"}
    command = [python, str(Path(__file__).resolve()), "--read", str(root), "--way", way]
    done = subprocess.run(
        command, env=shared | repository | home, cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parse(parser)
    if options.read:
        print(json.dumps(read_all(options.read, options.way)))
        return
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        save_all(Path(folder))
        for reader, variable in READERS.items():
            python = os.environ.get(variable) if variable else sys.executable
            # the package needs transformers 5; a saved folder does not
            ways = [way for way in WAYS if way != "package" or reader != "4.57"] if python else []
            columns |= {f"{reader}, {way}": read_elsewhere(Path(folder), python, way) for way in ways}
    titles = [f"{column['transformers']}, {name.partition(', ')[2]}" for name, column in columns.items()]
    rows = []
    for name in ROPES:
        cells = [column[name] for column in columns.values()]
        rows.append([name, *(f"{cell:.0e}" if isinstance(cell, float) else cell for cell in cells)])
    page = compact_table(["RoPE", *titles], rows) + "\n"
    found = [(title, column[name]) for title, column in zip(titles, columns.values(), strict=True) for name in ROPES]
    loaded = [outcome for title, outcome in found if not title.endswith("neither")]
    figures = {
        "cells": len(found),
        "equal_to_1e-5": sum(isinstance(outcome, float) and outcome <= 1e-5 for outcome in loaded),
        "refused_without_trust": sum(outcome == "refused" for title, outcome in found if title.endswith("neither")),
        "largest_relative_difference": max(outcome for outcome in loaded if isinstance(outcome, float)),
    }
    finish("model_matrix", page, figures, options.output_dir)


if __name__ == "__main__":
    main()
