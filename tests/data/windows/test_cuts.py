"""What a faster interleaver must not change: shares of a window, the stream of a seed, whose memory a window is."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.cuts import share_window
from lsw_hf.data.windows.interleaver import ChunkInterleaver, interleave_chunks


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 400))
def test_shares_are_those_of_one_document_after_the_other(lengths, window):
    """The slow truth: from the shortest on, everybody takes what it has or an equal part of what is left."""
    window = max(len(lengths), min(window, sum(lengths)))
    assume(min(lengths) <= window // len(lengths))  # else all get the same, the last ones one more
    truth, room, waiting = [0] * len(lengths), window, len(lengths)
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        truth[index] = min(lengths[index], room // waiting)
        room, waiting = room - truth[index], waiting - 1
    assert share_window(lengths, window) == truth


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({}, "0beec204120f45ac"),
        ({"chunks_per_document": {1: 0.3, 3: 0.7}, "shuffle_rounds": True, "group_documents": 9}, "3046b3c72fdb5951"),
        ({"interleaved_fraction": 0.5, "separator_id": 10_003, "separators": "window"}, "b76686d11c552f98"),
    ],
)
def test_a_seed_gives_the_same_stream_in_every_version(settings_, expected):
    """A run that is resumed after an update must not read other windows."""
    lengths = np.random.default_rng(1).integers(0, 90, 200).tolist()
    documents = [[10_000 * (place + 1) + step for step in range(length)] for place, length in enumerate(lengths)]
    config = ChunkInterleaveConfig(**{"window_length": 24, "documents_per_window": 3, **settings_})
    windows = [window["input_ids"] for window in ChunkInterleaver(documents, config, seed=8)]
    assert hashlib.sha256(np.concatenate(windows).astype("<i8").tobytes()).hexdigest()[:16] == expected


def test_windows_own_their_memory():
    """Writing into one changes no other window and no document; keeping one keeps no other alive."""
    documents = [np.arange(40) for _ in range(9)]
    first, second = itertools.islice(interleave_chunks(documents, window_length=24, documents_per_window=2), 2)
    before = second["input_ids"].tolist()
    first["input_ids"][:] = first["labels"][:] = -1
    assert second["input_ids"].tolist() == second["labels"].tolist() == before
    assert all(document.tolist() == list(range(40)) for document in documents)
    assert first["input_ids"].base.nbytes == 2 * 24 * 8


@pytest.mark.parametrize("text", ["two", "1:x", "1:0.5,1:0.5", ":", "1:"])
def test_numbers_of_chunks_that_are_none(text):
    with pytest.raises(ValueError, match="chunks_per_document must be a number of chunks, or some like"):
        ChunkInterleaveConfig(window_length=24, chunks_per_document=text)


def test_numbers_of_chunks_as_text_are_those_as_numbers():
    for text, value in (("3", 3), ("1:0.25,3:0.75", {1: 0.25, 3: 0.75})):
        given = ChunkInterleaveConfig(window_length=24, chunks_per_document=text)
        assert given == ChunkInterleaveConfig(window_length=24, chunks_per_document=value)
