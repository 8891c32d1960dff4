"""A stream of windows goes on from its state as if it had never stopped, at every cut and right after loading."""

import itertools
import json

import numpy as np
import pytest

from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.interleaver import ChunkInterleaver
from tests.data.windows.test_interleaver import SEPARATOR, addressed, interleaver


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"group_documents": 7},
        {"interleaved_fraction": 0.5, "shuffle_rounds": True, "plain_attention": "document"},
        {"separators": "window", "separator_id": SEPARATOR, "chunks_per_document": {1: 0.3, 4: 0.7}},
        {"documents_per_window": 1, "chunks_per_document": 1, "separator_id": SEPARATOR, "provenance": True},
    ],
)
def test_resume_equals_the_undisturbed_stream_at_every_cut(options):
    lengths = np.random.default_rng(0).integers(0, 60, 60).tolist()
    truth = [window["input_ids"].tolist() for window in interleaver(lengths, 4, **options)]
    for cut in range(len(truth) + 1):
        first = interleaver(lengths, 4, **options)
        head = [window["input_ids"].tolist() for window in itertools.islice(first, cut)]
        state = json.loads(json.dumps(first.state_dict()))
        second = interleaver(lengths, 99, **options)
        second.load_state_dict(state)
        # Right after loading, and after a few more windows again.
        assert second.state_dict() == state
        head += [window["input_ids"].tolist() for window in itertools.islice(second, 3)]
        third = interleaver(lengths, 99, **options)
        third.load_state_dict(second.state_dict())
        assert head + [window["input_ids"].tolist() for window in third] == truth
        assert third.counts.tokens_emitted == 24 * len(truth)


def test_resume_without_skipping_takes_a_stream_that_resumed_itself():
    documents = addressed([30] * 20)
    config = ChunkInterleaveConfig(window_length=24, documents_per_window=3)
    first = ChunkInterleaver(documents, config)
    next(first)
    second = ChunkInterleaver(documents[first.counts.documents_read :], config)
    second.load_state_dict(first.state_dict(), skip_documents=False)
    assert [w["input_ids"].tolist() for w in second] == [w["input_ids"].tolist() for w in first]


def test_state_of_another_config_is_refused():
    state = interleaver([5] * 9).state_dict()
    with pytest.raises(ValueError, match=r"The saved stream was made with .*window_length=24"):
        interleaver([5] * 9, window_length=25).load_state_dict(state)
