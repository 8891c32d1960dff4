"""What chunk interleaving and synthetic tables teach, on the tiny world, at equal tokens.

    python benchmarks/cip_synl.py --output-dir runs/cip_synl

For each seed one tiny model is pretrained in its window of 512 tokens and extended to 8,192 tokens. From it,

- CIP: every K of 1, 2, 4 and 8 chunks a document trains on as many windows of the same 16 documents. Measured are the
  gaps that the windows have (foreign tokens between a chunk and the next one of its document, against the formula
  `(D - 1) L / (D K)`), the needle grid, and the loss by position in texts that ask for facts from anywhere before;
- SynL: tables with questions, long rows written by hand (stories with questions, in the very form of the needle grid)
  and half of each, 256 questions a row, rows of 8,192 tokens, plain positions. Measured are the needle grid and the
  share of right answers in fresh rows of both kinds about pairs which no training text holds.

Prints Markdown tables and, as its last line, one JSON object, and writes `cip_synl.md` and `cip_synl.json`.
Interrupted, it continues where it stopped. One core needs half a minute to a minute a variant and
seed; `--seeds 0 --steps 4 --samples 5` is a quick look.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import datasets
import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.figures import benchmark_parser, finish, parse
from benchmarks.tiny_runs import ROPE, accuracy_by_length, only, pretrained, variant_folder
from lsw_hf import LongSkyworkRecipe, evaluate_needle, extend_context
from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.interleaver import ChunkInterleaver
from lsw_hf.demo.recipe import ORIGINAL_LENGTH, TinySettings, table_generator, tiny_data, tiny_recipe
from lsw_hf.demo.world import DEEDS, FACT_WORD, NAMES, QUESTION_WORD, SENTENCE_LENGTH, STOP_WORD, TinyWorld
from lsw_hf.evaluation.losses.by_position import loss_by_position
from lsw_hf.files import write_json
from lsw_hf.reports import markdown_table

LENGTH = 8_192
DOCUMENTS = LENGTH // ORIGINAL_LENGTH
QUESTIONS = 256
UNTRAINED = "extended, not trained"
CIP = {f"CIP, K = {chunks}": chunks for chunks in (1, 2, 4, 8)}
SYNL = ("SynL tables", "rows by hand", "half of each")
# Far from every seed that training data or the needle grid is drawn with.
FRESH = 5_000_000


def settings_of(arguments: argparse.Namespace) -> TinySettings:
    """Budgets: so many steps of one window."""
    return TinySettings(interleaved_steps=arguments.steps * LENGTH // 4_096, num_samples=arguments.samples)


def recipe_of(seed: int, folder: Path, arguments: argparse.Namespace) -> LongSkyworkRecipe:
    """The demo's recipe for a target of `LENGTH` tokens."""
    recipe = tiny_recipe(seed=seed, output_dir=folder, context_length=LENGTH, settings=settings_of(arguments))
    return dataclasses.replace(recipe, rope=ROPE)


def train_cip(chunks: int, recipe: LongSkyworkRecipe, base: Path, arguments: argparse.Namespace) -> Path:
    """Continual pretraining on interleaved windows of whole documents."""
    options = only(
        recipe, "continual_pretraining", max_length=LENGTH, per_device_train_batch_size=1, max_steps=arguments.steps,
        documents_per_window=DOCUMENTS, chunks_per_document=chunks,
    )  # fmt: skip
    documents = tiny_data(recipe, settings_of(arguments))["documents"]
    recipe = dataclasses.replace(
        recipe, model=base, stages=("continual_pretraining",), options=options, needle_grid=None
    )
    return recipe.run(documents=documents).model_path


def long_rows(kind: str, count: int, recipe: LongSkyworkRecipe, seed: int, evaluation: bool = False) -> list[dict]:
    """Dialogues of about `LENGTH` tokens with `QUESTIONS` questions: over a table, or over a story."""
    world = TinyWorld(evaluation=evaluation)
    if kind == "SynL tables":
        # There are fewer people for fresh tables than for those of the training, so these are shorter.
        length = 6_144 if evaluation else LENGTH
        generator = table_generator(world, dataclasses.replace(recipe, table_length=length), seed=seed)
        return [{"messages": generator.sample(index)["messages"]} for index in range(count)]
    if kind == "rows by hand":
        sentences = LENGTH // SENTENCE_LENGTH - 2
        return list(world.dialogues(count, sentences, (QUESTIONS, 2 * QUESTIONS), QUESTIONS, seed=seed))
    parts = [long_rows(name, -(-count // 2), recipe, seed + place, evaluation) for place, name in enumerate(SYNL[:2])]
    return [row for pair in zip(*parts, strict=True) for row in pair][:count]


def train_synl(kind: str, recipe: LongSkyworkRecipe, base: Path, arguments: argparse.Namespace) -> Path:
    """A long SFT stage on plain positions."""
    rows = datasets.Dataset.from_list(long_rows(kind, arguments.steps, recipe, recipe.seed * 1_000 + 7))
    options = only(recipe, "long_sft", strategy="none", max_steps=arguments.steps)
    recipe = dataclasses.replace(recipe, model=base, stages=("long_sft",), options=options, needle_grid=None)
    return recipe.run(tables=rows).model_path


def extended(recipe: LongSkyworkRecipe, base: Path) -> Any:
    """The model every variant starts to train from."""
    model = AutoModelForCausalLM.from_pretrained(base)
    return extend_context(model, context_length=LENGTH, **recipe.rope)


def answered(model: Any, tokenizer: Any, rows: list[dict]) -> float:
    """Share of the questions whose answer's first token is the likeliest, after the right answers to earlier ones."""
    right = asked = 0
    for row in rows:
        encoded = tokenizer.apply_chat_template(
            row["messages"], return_dict=True, return_assistant_tokens_mask=True, return_tensors="pt"
        )
        ids, mask = encoded["input_ids"], encoded["assistant_masks"][0].bool()
        first = (mask & ~mask.roll(1)).nonzero().flatten()
        with torch.no_grad():
            found = model(input_ids=ids, logits_to_keep=first - 1).logits[0].argmax(dim=-1)
        right += int((found == ids[0, first]).sum())
        asked += len(first)
    return right / asked


def recalling_texts(count: int, seed: int) -> list[str]:
    """Texts of `LENGTH` tokens: a quarter of the sentences says who did what, half of them say one of these again."""
    world, generator, texts = TinyWorld(evaluation=True), np.random.default_rng(seed), []
    places = LENGTH // SENTENCE_LENGTH
    for _ in range(count):
        names, deeds = world.facts(places // 4, generator)
        told, sentences = 0, []
        for kind in generator.permutation(np.arange(places) % 4):
            if kind == 0:
                sentences.append(f"{FACT_WORD} {NAMES[names[told]]} {DEEDS[deeds[told]]} {STOP_WORD}")
                told += 1
            elif kind == 1 or not told:
                sentences += world.filler(1, generator)
            else:
                fact = int(generator.integers(told))
                sentences.append(f"{QUESTION_WORD} {NAMES[names[fact]]} {DEEDS[deeds[fact]]} {STOP_WORD}")
        texts.append(" ".join(sentences))
    return texts


def measure(model: Any, recipe: LongSkyworkRecipe, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that is measured of one model."""
    tokenizer, seed = recipe.tokenizer, FRESH + recipe.seed
    model = model.eval()
    report = evaluate_needle(model, tokenizer, recipe.needle_grid, recipe.needle_task, progress=False)
    losses = loss_by_position(
        model, tokenizer, recalling_texts(arguments.texts, seed), context_length=LENGTH, num_buckets=8
    )
    rows = {name: long_rows(name, arguments.texts, recipe, seed, evaluation=True) for name in SYNL[:2]}
    return {
        "needle": {str(length): value for length, value in accuracy_by_length(report).items()},
        "loss": {str(bucket.end): bucket.loss for bucket in losses.buckets},
        "answered": {name: answered(model, tokenizer, own) for name, own in rows.items()},
    }


def run_variant(name: str, seed: int, base: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and measures one variant, unless that was done before."""
    saved = folder / "measured.json"
    if not saved.exists():
        recipe = recipe_of(seed, folder / "run", arguments)
        if name == UNTRAINED:
            model = extended(recipe, base)
        elif name in CIP:
            model = AutoModelForCausalLM.from_pretrained(train_cip(CIP[name], recipe, base, arguments))
        else:
            model = AutoModelForCausalLM.from_pretrained(train_synl(name, recipe, base, arguments))
        found = measure(model, recipe, arguments)
        write_json(saved, found, indent=1)
    return json.loads(saved.read_text(encoding="utf-8"))


def gaps(chunks: int, windows: int = 50) -> dict[str, float]:
    """Foreign tokens between a chunk and the next one of its document, for documents as the stage has them."""
    config = ChunkInterleaveConfig(
        window_length=LENGTH, documents_per_window=DOCUMENTS, chunks_per_document=chunks, provenance=True
    )
    stream = ChunkInterleaver(([1] * ORIGINAL_LENGTH for _ in range(windows * DOCUMENTS)), config)
    found: list[int] = []
    for window in stream:
        end: dict[int, int] = {}
        place = 0
        for document, length in zip(window["chunk_documents"], window["chunk_lengths"], strict=True):
            if document in end:
                found.append(place - end[document])
            place += length
            end[document] = place
    if not found:
        return {"mean": 0.0, "10 %": 0.0, "90 %": 0.0, "formula": 0.0}
    low, high = np.quantile(found, (0.1, 0.9))
    formula = (DOCUMENTS - 1) * LENGTH / (DOCUMENTS * chunks)
    return {"mean": float(np.mean(found)), "10 %": float(low), "90 %": float(high), "formula": formula}


def mean_and_spread(values: list[float], scale: float, digits: int) -> str:
    """Mean over seeds with the smallest and largest value."""
    mean, low, high = (scale * value for value in (sum(values) / len(values), min(values), max(values)))
    return f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def table(title: str, names: list[str], columns: list[str], cell: Callable[[str, str], str]) -> str:
    """One Markdown table, names down, columns across."""
    rows = [[name, *(cell(name, column) for column in columns)] for name in names]
    return markdown_table([title, *columns], rows, " " + "r" * len(columns))


def main() -> None:
    """Trains, evaluates, prints the tables and the JSON object."""
    parser = benchmark_parser(__doc__, "runs/cip_synl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=40, help=f"steps of {LENGTH:,} tokens")
    parser.add_argument("--samples", type=int, default=50, help="questions in a cell of the needle grid")
    parser.add_argument("--texts", type=int, default=4, help="texts and rows a model is measured on")
    arguments = parse(parser)

    names = [UNTRAINED, *CIP, *SYNL]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in arguments.seeds:
        base = pretrained(seed, arguments.output_dir / f"seed_{seed}", LENGTH)
        for name in names:
            folder = variant_folder(arguments.output_dir, seed, name)
            found[name].append(run_variant(name, seed, base, folder, arguments))

    def values(name: str, kind: str, column: str) -> list[float]:
        return [run[kind][column] for run in found[name]]

    measured = {name: gaps(chunks) for name, chunks in CIP.items()}
    kinds = {kind: list(found[UNTRAINED][0][kind]) for kind in ("needle", "loss", "answered")}
    tables = [
        table("gaps in tokens", [*CIP], [*measured["CIP, K = 1"]], lambda name, at: f"{measured[name][at]:,.0f}"),
        table(
            "needle accuracy in % by length", names, kinds["needle"],
            lambda name, column: mean_and_spread(values(name, "needle", column), 100, 0),
        ),
        table(
            "loss in nats up to position", names, kinds["loss"],
            lambda name, column: mean_and_spread(values(name, "loss", column), 1, 2),
        ),
        table(
            "right answers in % in fresh", names, kinds["answered"],
            lambda name, column: mean_and_spread(values(name, "answered", column), 100, 0),
        ),
    ]  # fmt: skip
    means = {
        name: {
            kind: {column: round(float(np.mean(values(name, kind, column))), 4) for column in columns}
            for kind, columns in kinds.items()
        }
        for name in names
    }
    figures = {"gaps": measured, "seeds": arguments.seeds, "steps": arguments.steps, "means": means}
    finish("cip_synl", "\n\n".join(tables) + "\n", figures, arguments.output_dir)


if __name__ == "__main__":
    main()
