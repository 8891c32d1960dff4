"""Labels and separators, which must follow their tokens through cuts, carried-over documents and saved states."""

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.interleaver import ChunkInterleaver

SEPARATOR = 7


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=6, max_size=25),
    separators=st.sampled_from(["document", "window"]),
    chunks=st.sampled_from([2, 3, {1: 0.5, 4: 0.5}]),
    options=st.sampled_from([{}, {"shuffle_rounds": True}, {"group_documents": 4}, {"interleaved_fraction": 0.4}]),
    stop=st.integers(0, 12),
)
def test_labels_and_separators_through_windows_and_resumes(lengths, separators, chunks, options, stop):
    """Every third token is masked, separators stand anywhere; the state is taken after `stop` windows."""
    documents = []
    for document in [[10_000 * (n + 1) + k for k in range(length)] for n, length in enumerate([*lengths, 30, 30, 30])]:
        ids = [SEPARATOR if token % 11 == 0 else token for token in document]
        documents.append({"input_ids": ids, "labels": [-100 if token % 3 == 0 else token for token in ids]})
    config = ChunkInterleaveConfig(
        window_length=24,
        documents_per_window=3,
        chunks_per_document=chunks,
        separator_id=SEPARATOR,
        separators=separators,
        provenance=True,
        **options,
    )
    first = ChunkInterleaver(documents, config, seed=6)
    windows = list(itertools.islice(first, stop))
    second = ChunkInterleaver(documents, config, seed=7)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    windows += list(second)
    undisturbed = list(ChunkInterleaver(documents, config, seed=6))
    for name in ("input_ids", "labels"):
        assert [window[name].tolist() for window in windows] == [window[name].tolist() for window in undisturbed]
    given_out = {}
    for window in windows:
        ids, labels = window["input_ids"].tolist(), window["labels"].tolist()
        assert all(
            label == (token if token == SEPARATOR or token % 3 else -100)
            for token, label in zip(ids, labels, strict=True)
        )
        assert separators == "document" or ids.index(SEPARATOR) == 23
        start = 0
        for number, length in zip(window["chunk_documents"], window["chunk_lengths"], strict=True):
            given_out.setdefault(number, []).extend(ids[start : start + length])
            start += length
    for number, tokens in given_out.items():
        whole = [token for token in documents[number]["input_ids"] if token != SEPARATOR]
        whole += [SEPARATOR] * (separators == "document")
        assert tokens == whole[: len(tokens)]
    counts = second.counts
    kept = counts.tokens_read - counts.separators_removed + counts.separators_added
    assert kept == counts.tokens_emitted + counts.tokens_dropped
