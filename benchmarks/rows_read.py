"""How much of a corpus is read, how often, and in which order: every entry point, workers and processes.

Twelve files of rows that name themselves go through every dataset and trainer that reads rows, with 0, 1, 2 and 4
workers of the data loader, in one process and in two (torchrun, gloo). A row of the table says which part of the files
and of the rows was read in one pass, how often the rows were read that were read most and least, and the files of the
first rows. Endless streams are read until one pass is over.

    python benchmarks/rows_read.py --output-dir benchmarks/results
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.figures import benchmark_parser, compact_table, finish, machine, parse

FILES, ROWS = 12, 6
WORDS = 9  # of a document, the first of which is its name
WINDOW = 2 * WORDS + 2
WORKERS, PROCESSES = (0, 1, 2, 4), (1, 2)


def document_names() -> list[str]:
    """Return names of all documents, in order; `c4` is the fourth of the third file."""
    return [f"{chr(97 + file)}{row}" for file in range(FILES) for row in range(ROWS)]


def write_corpus(folder: Path) -> None:
    """Write the documents and, with the same names, dialogues, a file each."""
    for kind in ("documents", "instructions"):
        (folder / kind).mkdir()
    for first in range(0, FILES * ROWS, ROWS):
        names = document_names()[first : first + ROWS]
        documents = [{"text": " ".join([name] + ["word"] * (WORDS - 1))} for name in names]
        dialogues = [{"prompt": f"{name} word", "completion": " word word"} for name in names]
        for kind, rows in (("documents", documents), ("instructions", dialogues)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / kind / f"{names[0][0]}.jsonl").write_text(lines, encoding="utf-8")


def make_tokenizer() -> Any:
    """A tokenizer of one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", "word", *document_names()]
    backend = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def make_model(tokenizer: Any) -> Any:
    """A Llama of one layer that is only there for its trainer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=64,
        )
    )


def datasets_of(folder: Path, tokenizer: Any) -> dict[str, Callable[[], Any]]:
    """Return what makes each dataset that the package hands out, by the name of its entry point."""
    from lsw_hf import ChunkInterleaveConfig, TokenMixture, interleave_dataset, load_documents, load_instructions

    documents, instructions = str(folder / "documents"), str(folder / "instructions")
    config = ChunkInterleaveConfig(window_length=WINDOW, documents_per_window=2, separator_id=1)
    halves = [sorted((folder / "documents").iterdir())[part::2] for part in range(2)]

    def mixture(num_shards: int) -> Any:
        sources = {name: load_documents(half) for name, half in zip("xy", halves, strict=True)}
        sources = {name: source.map(lambda row: {"length": WORDS}) for name, source in sources.items()}
        return TokenMixture(sources, {"x": 0.5, "y": 0.5}, length_column="length").as_dataset(num_shards)

    def windows(num_shards: int) -> Any:
        return interleave_dataset(load_documents(documents), config, tokenizer=tokenizer, num_shards=num_shards)

    return {
        "load_documents, a folder": lambda: load_documents(documents),
        "load_documents, not streaming": lambda: load_documents(documents, streaming=False),
        "load_documents, of a stream": lambda: load_documents([load_documents(documents)]),
        "load_documents, of a dataset": lambda: load_documents([load_documents(documents, streaming=False)]),
        "load_instructions, a folder": lambda: load_instructions(instructions),
        "load_instructions, streaming": lambda: load_instructions(instructions, streaming=True),
        "load_instructions, of a stream": lambda: load_instructions(
            [load_instructions(instructions, streaming=True)], streaming=True
        ),
        "interleave_dataset, one part": lambda: windows(1),
        "interleave_dataset, four parts": lambda: windows(4),
        "TokenMixture.as_dataset, one part": lambda: mixture(1),
        "TokenMixture.as_dataset, four parts": lambda: mixture(4),
    }


def trainers_of(folder: Path, tokenizer: Any) -> dict[str, Callable[[int], Any]]:
    """Return what makes each trainer, given the number of workers, by its name and what it reads."""
    import lsw_hf
    from lsw_hf import load_documents, load_instructions

    def arguments(workers: int) -> dict[str, Any]:
        return {
            "output_dir": str(folder / "run"),
            "max_steps": 1,
            "per_device_train_batch_size": 1,
            "dataloader_num_workers": workers,
            "report_to": "none",
            "use_cpu": True,
            "bf16": False,
            "dataloader_pin_memory": False,
        }

    def continual(workers: int, streaming: bool) -> Any:
        return lsw_hf.ContinualPretrainingTrainer(
            make_model(tokenizer),
            lsw_hf.ContinualPretrainingConfig(max_length=WINDOW, documents_per_window=2, **arguments(workers)),
            load_documents(str(folder / "documents"), streaming=streaming),
            tokenizer,
        )

    def dialogues(name: str, workers: int, streaming: bool) -> Any:
        trainer, config = getattr(lsw_hf, f"{name}Trainer"), getattr(lsw_hf, f"{name}Config")
        rows = load_instructions(str(folder / "instructions"), streaming=streaming)
        return trainer(make_model(tokenizer), config(**arguments(workers)), rows, tokenizer)

    made: dict[str, Callable[[int], Any]] = {}
    for streaming in (False, True):
        what = "a stream" if streaming else "a dataset"
        made[f"ContinualPretrainingTrainer, {what}"] = lambda workers, s=streaming: continual(workers, s)
        for name in ("SkipAlign", "LongSFT"):
            made[f"{name}Trainer, {what}"] = lambda workers, n=name, s=streaming: dialogues(n, workers, s)
    return made


def as_batch(rows: list[dict[str, Any]], tokenizer: Any) -> dict[str, Any]:
    """Return a batch of token ids, which accelerate can cut and send."""
    import torch

    ids = [
        row["input_ids"] if "input_ids" in row else tokenizer(row.get("text") or row["prompt"])["input_ids"]
        for row in rows
    ]
    return {"input_ids": torch.stack([torch.as_tensor(row) for row in ids])}


def read(loader: Iterable[Any], tokenizer: Any, most: int) -> Iterator[str]:
    """Yield the documents that a loader's rows name, of at most so many batches."""
    known = set(document_names())
    for number, batch in enumerate(loader, start=1):
        for ids in batch["input_ids"]:
            yield from (word for word in tokenizer.decode(ids).split() if word in known)
        if number == most:
            return


def measure(folder: Path, workers: int, only: str, file: Path) -> None:
    """Read all entry points in this process, which may be one of several, and write what it saw."""
    from accelerate import Accelerator
    from torch.utils.data import DataLoader

    tokenizer = make_tokenizer()
    accelerator = Accelerator(cpu=True)
    # Of those that never end, what two processes can share evenly.
    one_pass = FILES * ROWS * (WORDS + 1) // WINDOW // accelerator.num_processes
    seen = {}
    for name, make in datasets_of(folder, tokenizer).items():
        if only in name:
            collate = partial(as_batch, tokenizer=tokenizer)
            loader = DataLoader(make(), batch_size=1, num_workers=workers, collate_fn=collate)
            seen[name] = list(read(accelerator.prepare(loader), tokenizer, sys.maxsize))
    for name, make_trainer in trainers_of(folder, tokenizer).items():
        if only in name:
            most = one_pass if name.startswith("Continual") else sys.maxsize
            seen[name] = list(read(make_trainer(workers).get_train_dataloader(), tokenizer, most))
    file.write_text(json.dumps(seen), encoding="utf-8")


def run(workers: int, processes: int, only: str = "") -> dict[str, list[list[str]]]:
    """Return the documents that each rank saw in one pass, by entry point."""
    with tempfile.TemporaryDirectory() as place:
        folder, seen = Path(place), Path(place) / "seen"
        seen.mkdir()
        write_corpus(folder)
        words = [__file__, "--corpus", str(folder), "--workers", str(workers), "--only", only]
        if processes > 1:
            words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *words]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"Reading with {workers} workers in {processes} processes failed:\n{done.stderr}")
        ranks = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(seen.iterdir())]
    return {name: [rank[name] for rank in ranks] for name in ranks[0]}


def summarize(ranks: list[list[str]]) -> dict[str, Any]:
    """Count files, rows and repetitions; the order is that of the first rank's rows."""
    counts = Counter(name for rank in ranks for name in rank)
    times = [counts[name] for name in document_names()]
    return {
        "files": len({name[0] for name in counts}) / FILES,
        "rows": sum(map(bool, times)) / len(times),
        "least": min(times),
        "most": max(times),
        "order": " ".join(name[0] for name in ranks[0][:24]),
    }


def main() -> None:
    """Measure all entry points, or one arm in a process of its own."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--only", default="", help="entry points whose name contains this (default: all)")
    parser.add_argument("--corpus", type=Path, help="for the processes that this script starts")
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS), help="workers of the loader")
    parser.add_argument("--processes", type=int, nargs="+", default=list(PROCESSES), help="processes")
    options = parse(parser)
    if options.corpus:
        file = options.corpus / "seen" / f"{os.environ.get('RANK', '0')}.json"
        measure(options.corpus, options.workers[0], options.only, file)
        return
    figures: dict[str, dict[str, Any]] = {}
    for processes in options.processes:
        for workers in options.workers:
            print(f"{processes} processes, {workers} workers", file=sys.stderr, flush=True)
            for name, ranks in run(workers, processes, options.only).items():
                figures.setdefault(name, {})[f"{processes} x {workers}"] = summarize(ranks)
    header = ("entry point", "processes x workers", "files read", "rows read", "a row, times", "files, in order")
    rows = [
        (
            name,
            setting,
            f"{found['files']:.0%}",
            f"{found['rows']:.0%}",
            f"{found['least']}-{found['most']}",
            found["order"],
        )
        for name, settings in figures.items()
        for setting, found in settings.items()
    ]
    page = f"# Rows read\n\n{FILES} files of {ROWS} rows. {machine()}.\n\n{compact_table(header, rows)}\n"
    finish("rows_read", page, figures, options.output_dir)


if __name__ == "__main__":
    main()
