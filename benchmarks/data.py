"""What long-context data costs to make: interleaved windows against a plain packer, tables against one tokenization.

    python benchmarks/data.py

Seconds are CPU seconds of this process, the fastest of several alternating rounds. Prints a Markdown table and, as its
last line, one JSON object:

- `cip_vs_packer_stream`: tokens per second of interleaved windows / of a packer that concatenates and splits, both
  reading the same `datasets.Dataset` row by row (goal: at least 0.8);
- `cip_vs_packer_memory`: the same over arrays that lie in memory already, where a packer does little more than copy;
- `cip_vs_per_token`: tokens per second of interleaved windows / of one that appends token by token (goal: at least
  20);
- `cip_peak_megabytes`: peak memory of the whole process, libraries included, after 1 GB of tokens has streamed by;
  `cip_grown_megabytes`: by how much the stream raised it (goal: below 500);
- `tables_tokenized`: characters given to the tokenizer for a row of exact length / characters of the row;
- `tables_tokenize_seconds`: seconds in the tokenizer for such rows / seconds to tokenize the finished rows once (goal:
  at most 1.3), and `tables_all_seconds`: the same with everything else that makes a row.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from datasets import Dataset
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from benchmarks.figures import benchmark_parser, compact_table, finish, parse, peak_memory
from lsw_hf.data.tables import FORMATS, TableConfig, TableGenerator, render_table
from lsw_hf.data.tables.drawing import draw_table
from lsw_hf.data.tables.filler import SENTENCES
from lsw_hf.data.tables.schema import random_schema
from lsw_hf.data.tables.token_costs import TokenCosts
from lsw_hf.data.windows.interleaver import interleave_chunks

WINDOW, DOCUMENTS = 8_192, 8
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}{% endfor %}"
)
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def make_documents(count: int) -> list[np.ndarray]:
    """Documents of about 1,100 tokens on average, most shorter, some much longer."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 100_000, int(length)) for length in generator.lognormal(6.5, 1.0, count)]


def pack(documents: Iterable[Any]) -> Iterator[dict[str, np.ndarray]]:
    """The plain packer: concatenate, split, copy the labels."""
    waiting: list[np.ndarray] = []
    tokens = 0
    for document in documents:
        waiting.append(np.asarray(document, dtype=np.int64))
        tokens += len(document)
        if tokens >= WINDOW:
            joined = np.concatenate(waiting)
            for start in range(0, tokens - WINDOW + 1, WINDOW):
                window = joined[start : start + WINDOW]
                yield {"input_ids": window, "labels": window.copy()}
            waiting = [joined[tokens - tokens % WINDOW :]]
            tokens %= WINDOW


def interleave(documents: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Ours."""
    return interleave_chunks(documents, window_length=WINDOW, documents_per_window=DOCUMENTS)


def interleave_per_token(documents: Iterable[Any]) -> Iterator[dict[str, list[int]]]:
    """Two chunks a document, one token after the other; what does not fit is carried over."""
    draws = Random(0)
    pending: list[list[int]] = []
    stream = iter(documents)
    while True:
        while sum(map(len, pending)) < WINDOW or len(pending) < DOCUMENTS:
            document = next(stream, None)
            if document is None:
                return
            pending.append([int(token) for token in document])
        window: list[int] = []
        share = WINDOW // len(pending)
        cuts = [(draws.randrange(1, max(2, min(share, len(d)))), min(share, len(d))) for d in pending]
        for first in (True, False):
            for document, (cut, stop) in zip(pending, cuts, strict=True):
                for place in range(0 if first else cut, cut if first else stop):
                    window.append(document[place])
        pending = [document[stop:] for document, (_, stop) in zip(pending, cuts, strict=True) if stop < len(document)]
        yield {"input_ids": window, "labels": list(window)}


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def rate(make: Callable[[], Iterable[dict[str, Any]]]) -> float:
    """Tokens per CPU second of one pass."""
    lengths: list[int] = []
    spent = seconds(lambda: lengths.extend(len(window["input_ids"]) for window in make()))
    return sum(lengths) / max(spent, 1e-9)


def fastest(rounds: int, *makers: Callable[[], Iterable[dict[str, Any]]]) -> list[float]:
    """Best rate of each maker, alternating between them."""
    rates = [[rate(make) for make in makers] for _ in range(rounds)]
    return [max(column) for column in zip(*rates, strict=True)]


def windows_figures(count: int, rounds: int) -> dict[str, float]:
    """Interleaved windows against the packer and the loop."""
    documents = make_documents(count)
    dataset = Dataset.from_dict({"input_ids": documents})
    rows = dataset.with_format("numpy")
    ours, plain = fastest(
        rounds,
        lambda: interleave(row["input_ids"] for row in rows),
        lambda: pack(row["input_ids"] for row in rows),
    )
    memory, packed = fastest(rounds, lambda: interleave(documents), lambda: pack(documents))
    few = documents[: count // 10]
    fast, slow = fastest(rounds, lambda: interleave(few), lambda: interleave_per_token(few))
    return {
        "cip_vs_packer_stream": ours / plain,
        "cip_vs_packer_memory": memory / packed,
        "cip_vs_per_token": fast / slow,
        "cip_tokens_per_second": memory,
    }


def memory_figure(gigabytes: float) -> dict[str, float]:
    """Peak memory while documents that exist nowhere else stream through the interleaver."""
    draws = np.random.default_rng(1)
    before = peak_memory()
    wanted = int(gigabytes * 1e9 / 8)

    def documents() -> Iterator[np.ndarray]:
        given = 0
        while given < wanted:
            document = draws.integers(0, 100_000, 2_000)
            given += len(document)
            yield document

    for _ in interleave(documents()):
        pass
    after = peak_memory()
    return {"cip_peak_megabytes": after / 2**20, "cip_grown_megabytes": (after - before) / 2**20}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with the word split of current models, trained on tables and prose."""
    draws = np.random.default_rng(0)
    corpus = [text for language in ("en", "zh") for text in SENTENCES[language]]
    for table_format in FORMATS:
        corpus += [render_table(draw_table(random_schema(draws, "en"), 60, draws), table_format) for _ in range(3)]
    backend = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"), byte_level])
    special = ["<eos>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4_000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", chat_template=CHAT_TEMPLATE)


def tables_figures(samples: int, length: int) -> dict[str, float]:
    """Rows of exact length against one tokenization of them; the first half only warms the remembered costs."""
    tokenizer = make_tokenizer()
    generator = TableGenerator(tokenizer, TableConfig(length=(length // 4, length)), seed=1)
    generator.generate(samples)
    spent = {"characters": 0, "seconds": 0.0}
    encode = TokenCosts.encode

    def watched(self: TokenCosts, texts: list[str]) -> list[list[int]]:
        spent["characters"] += sum(map(len, texts))
        found: list[list[int]] = []
        spent["seconds"] += seconds(lambda: found.extend(encode(self, texts)))
        return found

    TokenCosts.encode = watched
    rows: list[dict[str, Any]] = []
    everything = seconds(lambda: rows.extend(generator.generate(samples, start=samples)))
    TokenCosts.encode = encode
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
    once = min(seconds(lambda: [encode(generator.costs, [text]) for text in texts]) for _ in range(3))
    counts = [len(ids) for ids in encode(generator.costs, texts)]
    return {
        "tables_tokenized": spent["characters"] / sum(map(len, texts)),
        "tables_tokenize_seconds": spent["seconds"] / once,
        "tables_all_seconds": everything / once,
        "tables_worst_share_of_budget": min(n / row["length"] for n, row in zip(counts, rows, strict=True)),
        "tables_over_budget": float(sum(n > row["length"] for n, row in zip(counts, rows, strict=True))),
    }


def main() -> None:
    """Measures, prints a table, then one JSON line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tables", type=int, default=60)
    parser.add_argument("--table-length", type=int, default=32_768)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    options = parse(parser)
    # First, so that nothing else has raised the peak yet.
    figures = memory_figure(options.gigabytes)
    figures |= windows_figures(options.documents, options.rounds)
    figures |= tables_figures(options.tables, options.table_length)
    page = compact_table(("figure", "value"), [(name, f"{value:,.3f}") for name, value in figures.items()], "-r")
    finish("data", page + "\n", {name: round(value, 4) for name, value in figures.items()}, options.output_dir, 1)


if __name__ == "__main__":
    main()
