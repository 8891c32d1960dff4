"""Windows as datasets: the same for any number of readers, and after a resume."""

import dataclasses
import json

import numpy as np
import pytest
from datasets import Dataset, Features, IterableDataset, List, Value
from datasets.distributed import split_dataset_by_node

from lsw_hf.data.corpus.documents import load_documents
from lsw_hf.data.windows.config import ChunkInterleaveConfig, separator_token
from lsw_hf.data.windows.dataset import interleave_dataset, read_documents

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


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_torch_workers_see_what_one_process_sees(source):
    """A stream that is read inside a worker must not be split over the workers a second time."""
    from torch.utils.data import DataLoader

    dataset = interleave_dataset(source, CONFIG, num_shards=4)
    whole = tuples(dataset)
    loaded = [tuple(row["input_ids"]) for row in DataLoader(dataset, batch_size=None, num_workers=2)]
    assert sorted(loaded) == sorted(whole)


def test_ranks_together_see_what_one_process_sees(source):
    whole = tuples(interleave_dataset(source, CONFIG, num_shards=4))
    ranks = [
        tuples(split_dataset_by_node(interleave_dataset(source, CONFIG, num_shards=4), rank, world_size=2))
        for rank in range(2)
    ]
    assert all(ranks)
    assert sorted(ranks[0] + ranks[1]) == sorted(whole)


def rebuilt(window, rows):
    """The window's tokens, fetched where its provenance says that they stand."""
    chunks = zip(window["chunk_documents"], window["chunk_offsets"], window["chunk_lengths"], strict=True)
    return tuple(
        token for place, start, length in chunks for token in rows[place]["input_ids"][start : start + length]
    )


def test_counts_are_those_of_all_parts_and_passes():
    counts = {}
    windows = list(interleave_dataset(as_dataset(), CONFIG, num_shards=4, num_epochs=2, counts=counts))
    assert counts["windows"] == len(windows)
    assert counts["documents_read"] == 2 * len(documents())
    assert counts["tokens_read"] == counts["tokens_emitted"] + counts["tokens_dropped"]


def test_provenance_names_rows_of_the_dataset_in_every_part_and_epoch():
    config = dataclasses.replace(CONFIG, provenance=True)
    rows = documents()
    windows = list(interleave_dataset(as_dataset(), config, num_shards=7, num_epochs=2))
    assert len(windows) > 500
    assert all(rebuilt(window, rows) == tuple(window["input_ids"]) for window in windows)


def test_provenance_names_the_part_of_a_stream():
    config = dataclasses.replace(CONFIG, provenance=True, shuffle_buffer=0)
    windows = list(interleave_dataset(as_stream(), config, num_shards=4))
    assert {window["shard"] for window in windows} == {0, 1, 2, 3}
    for window in windows:
        assert rebuilt(window, documents()[window["shard"] :: 4]) == tuple(window["input_ids"])


def test_files_of_one_document_each_do_not_turn_interleaving_off(tmp_path, tiny_tokenizer):
    """A folder of books is a stream of as many shards as there are books: nobody would have company there."""
    for place in range(6):
        (tmp_path / f"{place}.txt").write_text("the lamp is near the river . " * 20, encoding="utf-8")
    stream = load_documents(tmp_path)
    with pytest.raises(
        ValueError, match=r"documents_per_window=3, but part 0 of 6 contains only 1 documents .* fewer parts"
    ):
        next(iter(interleave_dataset(stream, CONFIG, tokenizer=tiny_tokenizer, num_shards=6)))
    config = dataclasses.replace(CONFIG, provenance=True)
    windows = list(interleave_dataset(stream, config, tokenizer=tiny_tokenizer))
    assert len(set(windows[0]["chunk_documents"])) == 3


def test_a_small_last_part_does_not_end_the_run(caplog):
    def generate(shards):
        for shard in shards:
            yield from ({"input_ids": [shard] * 20} for _ in range(1 if shard == 2 else 9))

    stream = IterableDataset.from_generator(generate, gen_kwargs={"shards": [0, 1, 2]})
    windows = interleave_dataset(stream, CONFIG, num_shards=3, num_epochs=2)
    assert {row["input_ids"][0] for row in windows} == {0, 1}
    assert "Part 2 of 3: documents_per_window=3, but the stream contained only 1 documents" in caplog.text
    with pytest.raises(ValueError, match="the documents contain only 9 tokens, fewer than one window of 24"):
        list(interleave_dataset(Dataset.from_list([{"input_ids": [1]}] * 9), CONFIG))


def test_rows_of_fixed_length():
    features = Features({"input_ids": List(Value("int32"), length=8)})
    fixed = Dataset.from_dict({"input_ids": [[place] * 8 for place in range(600)]}, features=features)
    read = [document["input_ids"].tolist() for document in read_documents(fixed.select(range(5, 600)))]
    assert read == [[place] * 8 for place in range(5, 600)]


def test_texts_that_are_none_are_named(tiny_tokenizer):
    rows = Dataset.from_dict({"text": ["the lamp", None, "the key"]})
    with pytest.raises(TypeError, match="The text of row 1 is null, but must be a string: leave the row out"):
        list(interleave_dataset(rows, CONFIG, tokenizer=tiny_tokenizer))
    with pytest.raises(TypeError, match=r"The text of document \d that was read is null, but must be a string"):
        list(interleave_dataset(rows.to_iterable_dataset(), CONFIG, tokenizer=tiny_tokenizer))


@pytest.mark.parametrize("stop", [1, 17, 100, 301, 500])
def test_resume_gives_what_was_left_in_any_pass(source, stop):
    def build():
        return interleave_dataset(source, CONFIG, num_shards=4, num_epochs=2)

    truth = tuples(build())
    first = build()
    reading = iter(first)
    head = tuples(next(reading) for _ in range(stop))
    second = build()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert head + tuples(second) == truth


@pytest.mark.parametrize("kind", ["dataset", "stream"])
def test_documents_come_in_another_order_in_every_pass(kind):
    """In the order of the files, windows would interleave neighbors of one source and small budgets see one file."""

    def files_of(windows):
        numbers = [{token // 1_000 for token in row["input_ids"]} for row in windows]
        return [{number // 60 for number in window} for window in numbers]

    def generate(files):
        for file in files:
            yield from documents()[60 * file : 60 * (file + 1)]

    source = as_dataset()
    if kind == "stream":
        source = IterableDataset.from_generator(generate, gen_kwargs={"files": list(range(4))})
    whole = list(interleave_dataset(source, CONFIG, num_shards=1, num_epochs=2))
    first, second = whole[: len(whole) // 2], whole[len(whole) // 2 :]
    for part in (first, second):
        mixed = sum(len(files) > 1 for files in files_of(part))
        assert mixed > 0.8 * len(part)
        assert set().union(*files_of(part[: len(part) // 5])) == {0, 1, 2, 3}
    assert tuples(first) != tuples(second)
    again = interleave_dataset(source, CONFIG, num_shards=1, num_epochs=2)
    other = interleave_dataset(source, CONFIG, num_shards=1, num_epochs=2, seed=1)
    assert tuples(again) == tuples(whole) != tuples(other)
    plain = dataclasses.replace(CONFIG, shuffle_buffer=0)
    in_order = files_of(interleave_dataset(source, plain, num_shards=1))
    assert sum(len(files) > 1 for files in in_order) < 0.05 * len(in_order)


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


def test_text_is_tokenized_on_the_way(tiny_tokenizer):
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


def test_a_separator_is_a_token_of_the_tokenizer(tiny_tokenizer):
    last = len(tiny_tokenizer) - 1
    given = (None, "none", "eos", 0, "0", last)
    assert [separator_token(separator, tiny_tokenizer) for separator in given] == [
        None, None, tiny_tokenizer.eos_token_id, 0, 0, last,
    ]  # fmt: skip
    for wrong in (-1, last + 1):
        with pytest.raises(ValueError, match=rf"separator_id {wrong} is not a token .*: ids go from 0 to {last}"):
            separator_token(wrong, tiny_tokenizer)
    with pytest.raises(ValueError, match="separator_id must be a token id, eos or none, got 'dot'"):
        separator_token("dot", tiny_tokenizer)


@pytest.mark.parametrize(
    ("end", "others", "expected"),
    [
        ("<|im_end|>", ["<|endoftext|>"], "<|endoftext|>"),  # Qwen
        ("<|eot_id|>", ["<|end_of_text|>"], "<|end_of_text|>"),  # Llama 3
        ("<|im_end|>", ["</s>"], "</s>"),
        ("<|im_end|>", [], "<|im_end|>"),
        ("<|endoftext|>", ["<|im_end|>", "</s>"], "<|endoftext|>"),
        ("</s>", ["<|endoftext|>"], "</s>"),
    ],
)
def test_documents_of_chat_models_end_with_the_end_of_text(end, others, expected):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({token: place for place, token in enumerate([*others, end])}, end))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end)
    assert tokenizer.convert_ids_to_tokens(separator_token("eos", tokenizer)) == expected


@pytest.mark.parametrize("kind", ["dataset", "stream"])
def test_the_order_itself_differs_from_pass_to_pass(kind):
    """A window each, so that nothing but the order can differ."""
    rows = [{"input_ids": [number] * 24} for number in range(60)]
    source = Dataset.from_list(rows)
    source = source if kind == "dataset" else source.to_iterable_dataset(num_shards=6)
    config = ChunkInterleaveConfig(window_length=24, documents_per_window=1, chunks_per_document=1)
    order = [row["input_ids"][0] for row in interleave_dataset(source, config, num_shards=1, num_epochs=2)]
    first, second = order[:60], order[60:]
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second
    assert first != sorted(first)


def test_what_was_taken_from_a_stream_stays_what_it_is():
    """Cut into parts, datasets would take from each part, and rows that were held out would be trained."""
    stream = as_stream(16)
    config = dataclasses.replace(CONFIG, shuffle_buffer=0)
    held_out = {token for row in stream.take(40) for token in row["input_ids"]}
    trained = {
        token for row in interleave_dataset(stream.skip(40), config, num_epochs=2) for token in row["input_ids"]
    }
    assert len(trained) > 1_000
    assert not trained & held_out
