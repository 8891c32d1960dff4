"""Windows as datasets: the same for any number of readers, and after a resume."""

import json

import numpy as np
import pytest
from datasets import Dataset, IterableDataset

from lsw_hf.data.chunk_interleave_config import ChunkInterleaveConfig
from lsw_hf.data.interleaved_stream import interleave_dataset, read_documents

CONFIG = ChunkInterleaveConfig(window_length=24, documents_per_window=3)


def documents(count=240):
    lengths = np.random.default_rng(0).integers(0, 60, count)
    return [{"input_ids": [1_000 * place + step for step in range(length)]} for place, length in enumerate(lengths)]


def as_dataset():
    return Dataset.from_list(documents())


def as_stream(num_shards=4):
    def generate(shards):
        rows = documents()
        for shard in shards:
            yield from rows[shard::num_shards]

    return IterableDataset.from_generator(generate, gen_kwargs={"shards": list(range(num_shards))})


def tuples(rows):
    return [tuple(row["input_ids"]) for row in rows]


@pytest.fixture(params=["dataset", "stream"])
def source(request):
    return as_dataset() if request.param == "dataset" else as_stream()


def test_every_token_at_most_once_and_little_dropped(source):
    rows = list(interleave_dataset(source, CONFIG, num_shards=4))
    tokens = [token for row in rows for token in row["input_ids"]]
    given = {token for document in documents() for token in document["input_ids"]}
    assert all(len(row["input_ids"]) == 24 == len(row["labels"]) for row in rows)
    assert len(tokens) == len(set(tokens))
    assert set(tokens) <= given
    assert len(given) - len(tokens) < 4 * 24


def test_readers_together_see_what_one_sees(source):
    whole = tuples(interleave_dataset(source, CONFIG, num_shards=4))
    parts = [
        window
        for index in range(4)
        for window in tuples(interleave_dataset(source, CONFIG, num_shards=4).shard(num_shards=4, index=index))
    ]
    assert sorted(parts) == sorted(whole)


def test_torch_workers_see_what_one_process_sees():
    from torch.utils.data import DataLoader

    dataset = interleave_dataset(as_dataset(), CONFIG, num_shards=2)
    whole = tuples(dataset)
    loaded = [tuple(row["input_ids"]) for row in DataLoader(dataset, batch_size=None, num_workers=2)]
    assert sorted(loaded) == sorted(whole)


@pytest.mark.parametrize("stop", [1, 17, 100])
def test_resume_gives_what_was_left(source, stop):
    truth = tuples(interleave_dataset(source, CONFIG, num_shards=4))
    first = interleave_dataset(source, CONFIG, num_shards=4)
    reading = iter(first)
    head = tuples(next(reading) for _ in range(stop))
    state = json.loads(json.dumps(first.state_dict()))
    second = interleave_dataset(source, CONFIG, num_shards=4)
    second.load_state_dict(state)
    assert head + tuples(second) == truth


def test_epochs_differ_and_hold_the_same_tokens():
    windows = tuples(interleave_dataset(as_dataset(), CONFIG, num_shards=1, num_epochs=2))
    half = len(windows) // 2
    assert len(windows) == 2 * half
    assert windows[:half] == tuples(interleave_dataset(as_dataset(), CONFIG, num_shards=1))
    assert windows[:half] != windows[half:]
    first, second = ({token for window in part for token in window} for part in (windows[:half], windows[half:]))
    assert len(first ^ second) < 2 * 24


def test_labels_and_further_columns():
    rows = [{"input_ids": list(range(30)), "labels": [-100] * 15 + list(range(15, 30)), "name": "x"} for _ in range(9)]
    config = ChunkInterleaveConfig(
        window_length=24, documents_per_window=2, interleaved_fraction=0.5, plain_attention="document", provenance=True
    )
    windows = list(interleave_dataset(Dataset.from_list(rows), config))
    assert sorted(windows[0]) == [
        "chunk_documents",
        "chunk_lengths",
        "chunk_offsets",
        "input_ids",
        "labels",
        "seq_lengths",
    ]
    for window in windows:
        assert sum(window["seq_lengths"]) == 24
        for token, label in zip(window["input_ids"], window["labels"], strict=True):
            assert label == (token if token >= 15 else -100)


def test_text_is_tokenised_on_the_way(tiny_tokenizer):
    texts = [{"text": "the lamp is near the river . the old key"} for _ in range(40)]
    config = ChunkInterleaveConfig(
        window_length=22, documents_per_window=2, separator_id=tiny_tokenizer.eos_token_id, split="equal"
    )
    rows = list(interleave_dataset(Dataset.from_list(texts), config, tokenizer=tiny_tokenizer))
    whole = tiny_tokenizer(texts[0]["text"])["input_ids"] + [tiny_tokenizer.eos_token_id]
    assert len(rows) == 20
    assert all(list(row["input_ids"]) == whole[:5] + whole[:5] + whole[5:] + whole[5:] for row in rows)


def test_sliced_datasets_are_read_from_their_own_place():
    part = as_dataset().select(range(50, 60))
    read = [document["input_ids"].tolist() for document in read_documents(part)]
    assert read == [document["input_ids"] for document in documents()[50:60]]
    shuffled = as_dataset().shuffle(seed=1).select(range(5))
    assert [d["input_ids"].tolist() for d in read_documents(shuffled)] == [row["input_ids"] for row in shuffled]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_shards": 0}, "num_shards must be at least 1, got 0"),
        ({"num_epochs": 0}, "num_epochs must be at least 1, got 0"),
        ({"num_shards": 241}, "num_shards=241, but the dataset can only be cut into 240 parts"),
        ({"tokenizer": object()}, r"no column 'text', only \['input_ids'\]: name the text_column"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        interleave_dataset(as_dataset(), CONFIG, **settings)


def test_missing_tokens_are_named():
    with pytest.raises(ValueError, match=r"no column 'input_ids', only \['text'\]: give a tokenizer"):
        interleave_dataset(Dataset.from_list([{"text": "a"}]), CONFIG)
