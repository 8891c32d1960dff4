"""Pipelines under datatrove's local executor: the same windows and rows as without it, for any number of tasks."""

import itertools
import sys

import numpy as np
import pytest
from datasets import load_dataset

from lsw_hf.data.datatrove_steps import interleave_step, read_step, tables_step
from lsw_hf.data.tables import Column, TableConfig, TableGenerator, TableSchema
from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.interleaver import ChunkInterleaver

WORDS = "one two three four five six seven eight nine ten".split()


def texts(count=300):
    draws = np.random.default_rng(0)
    return [" ".join(draws.choice(WORDS, size=int(length))) for length in draws.integers(1, 40, count)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a pipeline of steps as so many tasks of a local executor."""
    monkeypatch.setenv("DATATROVE_COLORIZE_LOGS", "0")
    from datatrove.executor import LocalPipelineExecutor

    numbers = itertools.count()

    def execute(*steps, tasks=1):
        LocalPipelineExecutor(
            pipeline=list(steps), tasks=tasks, workers=1, logging_dir=str(tmp_path / f"logs_{next(numbers)}")
        ).run()

    return execute


@pytest.fixture
def corpus(tmp_path):
    """Four files of documents."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text("\n==\n".join(texts()[number::4]), encoding="utf-8")
    return folder


def rows_of(path, tmp_path):
    return load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("tasks", [1, 2])
def test_windows_of_a_folder(run, corpus, tiny_tokenizer, tmp_path, tasks):
    """Each task reads its files and writes what the interleaver gives for them."""
    config = ChunkInterleaveConfig(window_length=32, documents_per_window=3, separator_id=tiny_tokenizer.eos_token_id)
    read = read_step(corpus, document_separator="==")
    run(read, interleave_step(tiny_tokenizer, config, tmp_path / "out", seed=1), tasks=tasks)
    seen = 0
    for rank in range(tasks):
        found = rows_of(tmp_path / "out" / f"windows-{rank:05d}-of-{tasks:05d}.parquet", tmp_path)["input_ids"][:]
        files = range(4) if tasks == 1 else (range(2), range(2, 4))[rank]
        # Every document of a file but its last one ends with its line.
        own = [text for number in files for text in texts()[number::4]]
        documents = tiny_tokenizer(own, add_special_tokens=False)["input_ids"]
        assert found == [
            window["input_ids"].tolist()
            for window in ChunkInterleaver(documents, config, seed=f"1-0-{rank}" if rank else 1)
        ]
        seen += len(found)
    assert seen > 100


def test_tables_are_the_same_for_any_number_of_tasks(run, tiny_tokenizer, tmp_path):
    schema = TableSchema((Column("lamp", "id"), Column("stone", "words", ("red", "old"))))
    config = TableConfig(
        length=60, schema=schema, formats=("tsv",), question_types=("cell",), row_format="prompt_completion",
        preamble="", pad_to_length=False, max_unknown_share=1.0,
    )  # fmt: skip
    generator = TableGenerator(tiny_tokenizer, config, seed=2)
    truth = generator.generate(5)
    for tasks in (1, 2):
        folder = tmp_path / f"tables_{tasks}"
        run(tables_step(generator, folder, 5), tasks=tasks)
        files = sorted(folder.glob("*.parquet"))
        assert [path.name for path in files] == [f"train-{n:05d}-of-{tasks:05d}.parquet" for n in range(tasks)]
        assert [row["completion"] for path in files for row in rows_of(path, tmp_path)] == [
            row["completion"] for row in truth
        ]


def test_more_tasks_than_files(corpus):
    with pytest.raises(ValueError, match="tasks=5, but the documents are in 4 files: each task reads whole files"):
        next(read_step(corpus)(None, rank=0, world_size=5))


def test_more_tasks_than_rows(tmp_path):
    with pytest.raises(ValueError, match="num_samples=2 rows cannot be cut into 3 parts: ask for more rows"):
        tables_step(None, tmp_path, 2)(None, rank=0, world_size=3)


def test_missing_library_is_named(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "datatrove.data", None)
    with pytest.raises(ImportError, match=r"pip install 'lsw-hf\[data\]'"):
        next(read_step(corpus)(None))
