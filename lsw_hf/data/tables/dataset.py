"""Synthetic tables on disk: parquet shards that resume, and a card that says what is in them."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset

from ...files import read_json_object, replacing, write_text
from ...reports import markdown_table
from . import TableConfig, TableGenerator

SETTINGS_FILE = "settings.json"
CARD_FILE = "README.md"
_EXAMPLE_CHARACTERS = 1_200


@dataclass
class TableStatistics:
    """What a written dataset contains; every field but the first two maps a name to a number of rows or questions."""

    rows: int = 0
    tokens: int = 0
    families: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row."""
        self.rows += 1
        self.tokens += row["num_tokens"]
        self.families.update(row["families"])
        self.types.update(row["types"])
        self.formats[row["format"]] += 1
        self.languages[row["language"]] += 1
        self.lengths.append(row["num_tokens"])


def write_tables(
    generator: TableGenerator,
    output_dir: str | os.PathLike[str],
    num_samples: int,
    *,
    rows_per_shard: int = 500,
    tokenizer_name: str = "",
    progress: Callable[[int], None] | None = None,
) -> TableStatistics:
    """Write rows `0` to `num_samples - 1` of a generator as parquet shards with a dataset card.

    Shards that already exist from the same settings are kept, so a killed run continues. The folder loads with
    `datasets.load_dataset(output_dir)`.

    Args:
        generator ([`TableGenerator`]):
            Where rows come from.
        output_dir (`str` or `os.PathLike`):
            A new or empty folder, or one that an equal call left.
        num_samples (`int`):
            Rows, at least 1.
        rows_per_shard (`int`, *optional*, defaults to 500):
            Rows of a file.
        tokenizer_name (`str`, *optional*):
            What the card calls the tokenizer.
        progress (`Callable`, *optional*):
            Called with the number of finished rows after every shard.

    Returns:
        [`TableStatistics`]: what the folder contains.

    Raises:
        ValueError: counts below 1, a folder that contains something else or rows of other settings.
        NotADirectoryError: `output_dir` is a file.
    """
    for name, value in (("num_samples", num_samples), ("rows_per_shard", rows_per_shard)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    folder = Path(output_dir)
    settings = _settings(generator, num_samples, rows_per_shard, tokenizer_name)
    _claim(folder, settings)
    statistics = TableStatistics()
    example: dict[str, Any] = {}
    num_shards = -(-num_samples // rows_per_shard)
    for shard in range(num_shards):
        path = folder / "data" / f"{_split_name(generator.config)}-{shard:05d}-of-{num_shards:05d}.parquet"
        if not path.exists():
            start = shard * rows_per_shard
            rows = generator.generate(min(rows_per_shard, num_samples - start), start)
            with replacing(path) as draft:
                Dataset.from_list(rows).to_parquet(str(draft))
        for row in Dataset.from_parquet(str(path), keep_in_memory=True):
            statistics.add(row)
            example = example or dict(row)
        if progress is not None:
            progress(statistics.rows)
    card = render_card(settings, statistics, example)
    write_text(folder / CARD_FILE, card)
    return statistics


def write_table_part(generator: TableGenerator, folder: Path, num_samples: int, rank: int, world_size: int) -> Path:
    """Write one of `world_size` equal parts of the rows `0` to `num_samples - 1`, unless its file is there already.

    Returns:
        `Path`: the parquet file `train-RANK-of-WORLD.parquet` (`test-` for the eval split).

    Raises:
        ValueError: fewer rows than parts.
    """
    if num_samples < world_size:
        raise ValueError(f"num_samples={num_samples} rows cannot be cut into {world_size} parts: ask for more rows.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_split_name(generator.config)}-{rank:05d}-of-{world_size:05d}.parquet"
    if not path.exists():
        start, stop = (num_samples * part // world_size for part in (rank, rank + 1))
        with replacing(path) as draft:
            Dataset.from_list(generator.generate(stop - start, start)).to_parquet(str(draft))
    return path


def stream_tables(generator: TableGenerator, num_samples: int, num_shards: int = 8) -> IterableDataset:
    """Rows made while a trainer reads them, nothing on disk.

    Args:
        generator ([`TableGenerator`]):
            where rows come from.
        num_samples (`int`):
            rows, at least 1.
        num_shards (`int`, *optional*, defaults to 8):
            parts for ranks and workers; rows are the same for any number.

    Returns:
        `IterableDataset`: resumable by its own `state_dict`; resuming makes the current part's rows again.
    """
    if num_samples < 1 or not 1 <= num_shards <= num_samples:
        raise ValueError(
            f"num_samples={num_samples} rows cannot be cut into num_shards={num_shards} parts of at least one."
        )
    borders = [num_samples * part // num_shards for part in range(num_shards + 1)]
    ranges = list(itertools.pairwise(borders))
    return IterableDataset.from_generator(partial(_generate, generator), gen_kwargs={"ranges": ranges})


def _generate(generator: TableGenerator, ranges: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    for start, stop in ranges:
        for index in range(start, stop):
            yield generator.sample(index)


def _split_name(config: TableConfig) -> str:
    return "test" if config.split == "eval" else "train"


def _settings(generator: TableGenerator, num_samples: int, rows_per_shard: int, tokenizer_name: str) -> dict[str, Any]:
    config = asdict(generator.config) | {"schema": repr(generator.config.schema)}
    row_filter = generator.config.row_filter
    config["row_filter"] = None if row_filter is None else getattr(row_filter, "__qualname__", repr(type(row_filter)))
    run = {"num_samples": num_samples, "rows_per_shard": rows_per_shard, "tokenizer": tokenizer_name}
    settings = run | {"seed": generator.seed, "epoch": generator.epoch, "config": config}
    return json.loads(json.dumps(settings, default=str))


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Make the folder this run's, or raise when it is another's."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name a folder to write tables to.")
    path = folder / SETTINGS_FILE
    if path.exists():
        old = read_json_object(path)
        if old != settings:
            changed = [name for name in settings if settings[name] != old.get(name)]
            raise ValueError(
                f"{folder} contains tables of other settings ({', '.join(changed)} differ): use another folder."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and contains no tables: use a new folder.")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def render_card(settings: Mapping[str, Any], statistics: TableStatistics, example: Mapping[str, Any]) -> str:
    """Return the dataset card of written tables: counts, lengths, settings and the beginning of one row."""
    languages = "\n".join(f"- {name}" for name in sorted(statistics.languages))
    percentiles = [int(value) for value in np.percentile(statistics.lengths, (0, 50, 100), method="nearest")]
    first = example["messages"] if "messages" in example else example["prompt"]
    text = first if isinstance(first, str) else first[0]["content"]
    shown = text[:_EXAMPLE_CHARACTERS] + ("\n[...]" if len(text) > _EXAMPLE_CHARACTERS else "")
    tables = "\n\n".join(
        markdown_table((title, "count"), counter.most_common(), align="lr")
        for title, counter in (
            ("family", statistics.families),
            ("question type", statistics.types),
            ("format", statistics.formats),
            ("language", statistics.languages),
        )
    )
    return f"""---
language:
{languages}
tags:
- synthetic
- long-context
- tables
task_categories:
- table-question-answering
---

# Synthetic lengthy tables

{statistics.rows} rows, {statistics.tokens} tokens by the tokenizer `{settings["tokenizer"] or "not named"}`;
{percentiles[0]} to {percentiles[2]} tokens a row, median {percentiles[1]}. Every table and every answer was
computed by `lsw_hf` after the idea of LongSkywork ([arXiv 2406.00605](https://arxiv.org/abs/2406.00605)).
No text was written by a person or a model; names, places and numbers are invented.

{tables}

`depths` is where the rows that contain an answer are, 0 at the top and 1 at the bottom; it is empty for questions
about the whole table.

## One row begins like this

```text
{shown}
```

## Settings

```json
{json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True)}
```
"""
