"""Streams inside streams: every row once, for any number of workers."""

import json

import pytest
from datasets import IterableDataset
from torch.utils.data import DataLoader, get_worker_info

from lsw_hf.data.corpus.documents import load_documents
from lsw_hf.data.corpus.instructions import load_instructions
from lsw_hf.data.mixtures import TokenMixture
from lsw_hf.data.streams import read_whole
from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.dataset import interleave_dataset

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
SLOW = pytest.mark.slow
FILES, ROWS = 8, 3
NAMES = [f"{file}.{row}" for file in range(FILES) for row in range(ROWS)]


@pytest.fixture
def folder(tmp_path):
    """Eight files of documents that are instructions as well."""
    for file in range(FILES):
        names = NAMES[file * ROWS :][:ROWS]
        lines = [json.dumps({"text": name, "prompt": name, "completion": name, "num_tokens": 1}) for name in names]
        (tmp_path / f"{file}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def instructions(folder, streaming):
    return load_instructions(folder, streaming=streaming)


def mixture(folder, num_shards):
    halves = {name: sorted(folder.iterdir())[part::2] for part, name in enumerate("xy")}
    sources = {name: load_documents(files).map(lambda row: {"length": 1}) for name, files in halves.items()}
    return TokenMixture(sources, {"x": 0.5, "y": 0.5}, length_column="length").as_dataset(num_shards)


def windows(folder, num_shards):
    """Windows of two documents of one token: the number of the document."""
    rows = [{"input_ids": [number]} for number in range(len(NAMES))]

    def generate(files):
        for file in files:
            yield from rows[file * ROWS :][:ROWS]

    stream = IterableDataset.from_generator(generate, gen_kwargs={"files": list(range(FILES))})
    config = ChunkInterleaveConfig(window_length=3, documents_per_window=2, chunks_per_document=1)
    return interleave_dataset(stream, config, num_shards=num_shards)


ENTRY_POINTS = {
    "documents": lambda folder: load_documents(folder),
    "documents in memory": lambda folder: load_documents(folder, streaming=False),
    "documents of a stream": lambda folder: load_documents([load_documents(folder)]),
    "documents of a dataset": lambda folder: load_documents([load_documents(folder, streaming=False)]),
    "documents of a saved dataset": lambda folder: saved(folder),
    "instructions": lambda folder: instructions(folder, streaming=False),
    "instructions, streamed": lambda folder: instructions(folder, streaming=True),
    "instructions of a stream": lambda folder: load_instructions([instructions(folder, True)], streaming=True),
    "windows, one part": lambda folder: windows(folder, 1),
    "windows, four parts": lambda folder: windows(folder, 4),
    "mixture, one part": lambda folder: mixture(folder, 1),
    "mixture, four parts": lambda folder: mixture(folder, 4),
}


def saved(folder):
    load_documents(folder, streaming=False).save_to_disk(str(folder / "saved"))
    return load_documents(folder / "saved")


def names_of(row):
    if "input_ids" in row:
        return [NAMES[token] for token in row["input_ids"]]
    return [row.get("text") or row["prompt"]]


@pytest.mark.parametrize("entry", ENTRY_POINTS)
@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=SLOW), 2, pytest.param(4, marks=SLOW)])
def test_every_row_once_for_any_number_of_workers(folder, entry, num_workers):
    loader = DataLoader(ENTRY_POINTS[entry](folder), batch_size=None, num_workers=num_workers)
    seen = [name for row in loader for name in names_of(row)]
    assert sorted(seen) == NAMES


class _InWorkers:
    """A dataset of torch that reads another stream inside its own iteration."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        assert get_worker_info() is not None
        yield from read_whole(self.rows)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_stream_is_read_whole_in_a_worker(folder, streaming):
    from torch.utils.data import IterableDataset as TorchIterableDataset

    class Nested(_InWorkers, TorchIterableDataset):
        pass

    rows = load_documents(folder, streaming=streaming)
    loader = DataLoader(Nested(rows), batch_size=None, num_workers=2)
    assert sorted(row["text"] for row in loader) == sorted(2 * NAMES)


def test_rows_keep_their_own_columns():
    """In a batch of several, a column that one row lacks would come as null."""
    rows = [{"text": "a"}, {"text": "b", "labels": [1]}]
    stream = IterableDataset.from_generator(lambda: iter(rows))
    assert list(read_whole(stream)) == rows


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")  # torchdata under the newest torch
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=SLOW)])
@pytest.mark.parametrize(
    "entry", ["windows, one part", "windows, four parts", "mixture, one part", "mixture, four parts"]
)
def test_a_data_loader_with_state_continues_at_every_cut(folder, entry, num_workers):
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader():
        return StatefulDataLoader(ENTRY_POINTS[entry](folder), batch_size=None, num_workers=num_workers)

    whole = [names_of(row) for row in loader()]
    for cut in range(0, len(whole), 5 if num_workers else 1):
        first, second = loader(), loader()
        reading = iter(first)
        head = [names_of(next(reading)) for _ in range(cut)]
        second.load_state_dict(first.state_dict())
        assert head + [names_of(row) for row in second] == whole
