"""Chunk-interleaved windows: what goes in comes out once, in order, at the distances of the formula. The truth is
rebuilt from provenance and from tokens that carry their own address.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.cuts import chunk_order, cut_points, share_window
from lsw_hf.data.windows.interleaver import ChunkInterleaver, interleave_chunks

SEPARATOR = 7


def addressed(lengths):
    """Documents whose tokens say where they come from: document number times 10,000 plus offset, plus 10,000."""
    return [[10_000 * (number + 1) + offset for offset in range(length)] for number, length in enumerate(lengths)]


def interleaver(lengths, seed=0, **settings_):
    defaults = {"window_length": 24, "documents_per_window": 3}
    return ChunkInterleaver(addressed(lengths), ChunkInterleaveConfig(**{**defaults, **settings_}), seed=seed)


def test_paper_example_round_by_round():
    documents = [["A1", "A2", "A3"], ["B1", "B2", "B3"], ["C1", "C2", "C3"]]
    tokens = {name: place for place, name in enumerate(itertools.chain.from_iterable(documents))}
    windows = interleave_chunks(
        [[tokens[name] for name in document] for document in documents],
        window_length=9,
        documents_per_window=3,
        chunks_per_document=3,
        split="equal",
    )
    expected = ["A1", "B1", "C1", "A2", "B2", "C2", "A3", "B3", "C3"]
    assert next(windows)["input_ids"].tolist() == [tokens[name] for name in expected]
    assert list(windows) == []


def test_exact_windows_with_leftovers():
    windows = list(interleaver([5, 4, 11, 3], window_length=8, documents_per_window=2, split="equal"))
    assert windows[0]["input_ids"].tolist() == [10_000, 10_001, 20_000, 20_001, 10_002, 10_003, 20_002, 20_003]
    assert windows[1]["input_ids"].tolist() == [10_004, 30_000, 30_001, 30_002, 30_003, 30_004, 30_005, 30_006]
    assert sorted(windows[0]) == ["input_ids", "labels"]


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=4, max_size=40),
    window_length=st.integers(7, 45),
    documents_per_window=st.integers(1, 4),
    chunks=st.sampled_from([1, 2, 3, 5, {1: 0.3, 2: 0.5, 4: 0.2}]),
    split=st.sampled_from(["random", "equal"]),
    fraction=st.sampled_from([0.0, 0.5, 1.0]),
    shuffle_rounds=st.booleans(),
    group=st.sampled_from([0, 5]),
    seed=st.integers(0, 3),
)
def test_nothing_lost_doubled_or_out_of_order(
    lengths, window_length, documents_per_window, chunks, split, fraction, shuffle_rounds, group, seed
):
    lengths = [*lengths, 9, 8, 7, 6]
    stream = interleaver(
        lengths,
        seed,
        window_length=window_length,
        documents_per_window=documents_per_window,
        chunks_per_document=chunks,
        split=split,
        interleaved_fraction=fraction,
        shuffle_rounds=shuffle_rounds,
        group_documents=group,
        provenance=True,
    )
    windows = list(stream)
    given_out: dict[int, list[int]] = {}
    for window in windows:
        assert len(window["input_ids"]) == len(window["labels"]) == sum(window["chunk_lengths"]) == window_length
        rebuilt = [
            10_000 * (document + 1) + offset + step
            for document, offset, length in zip(
                window["chunk_documents"], window["chunk_offsets"], window["chunk_lengths"], strict=True
            )
            for step in range(length)
        ]
        assert window["input_ids"].tolist() == rebuilt
        for token in rebuilt:
            given_out.setdefault(token // 10_000 - 1, []).append(token % 10_000)
    for document, offsets in given_out.items():
        assert offsets == list(range(len(offsets))), f"document {document} lost its order"
    counts = stream.counts
    assert counts.tokens_read == sum(lengths)
    assert counts.tokens_emitted == sum(map(len, given_out.values()))
    assert counts.tokens_dropped == sum(lengths) - counts.tokens_emitted < window_length
    assert counts.documents_empty == lengths.count(0)
    assert counts.windows == len(windows)


def test_gaps_follow_the_formula():
    """Equal documents, equal chunks: between two chunks of a document lie (D - 1) L / (D K) foreign tokens."""
    for num_documents, num_chunks in ((2, 2), (4, 2), (3, 4), (6, 5)):
        length = num_documents * num_chunks * 7
        stream = interleaver(
            [length // num_documents] * num_documents,
            window_length=length,
            documents_per_window=num_documents,
            chunks_per_document=num_chunks,
            split="equal",
        )
        window = next(stream)["input_ids"]
        for document in range(num_documents):
            places = np.flatnonzero(window // 10_000 == document + 1)
            jumps = np.diff(places)
            assert sorted(set(jumps.tolist())) == [1, 1 + (num_documents - 1) * length // (num_documents * num_chunks)]
            assert (jumps > 1).sum() == num_chunks - 1


def test_random_cut_points_are_uniform_and_equal_ones_even():
    from random import Random

    draws = Random(3)
    cuts = [cut_points(101, 2, "random", draws)[1] for _ in range(20_000)]
    assert min(cuts) == 1
    assert max(cuts) == 100
    assert np.allclose(np.bincount(cuts, minlength=101)[1:] / 200, 1.0, atol=0.35)
    for length in range(1, 30):
        for num_chunks in range(1, 12):
            for split in ("random", "equal"):
                borders = cut_points(length, num_chunks, split, draws)
                sizes = np.diff(borders)
                assert borders[0] == 0
                assert borders[-1] == length
                assert len(sizes) == min(num_chunks, length)
                assert sizes.min() >= 1
                assert split == "random" or sizes.max() - sizes.min() <= 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.data())
def test_shares_fill_the_window_and_favor_nobody(lengths, data):
    window = data.draw(st.integers(len(lengths), max(len(lengths), sum(lengths))))
    if window > sum(lengths):
        return
    shares = share_window(lengths, window)
    assert sum(shares) == window
    cut = [share for share, length in zip(shares, lengths, strict=True) if share < length]
    assert all(1 <= share <= length for share, length in zip(shares, lengths, strict=True))
    assert not cut or max(cut) - min(cut) <= 1
    assert not cut or max(shares) <= max(cut) + 1


def test_order_of_rounds_is_kept_unless_shuffled():
    borders = [[0, 1, 2], [0, 3], [0, 2, 4]]
    assert chunk_order(borders) == [(0, 0, 1), (1, 0, 3), (2, 0, 2), (0, 1, 2), (2, 2, 4)]
    assert chunk_order(borders, list.reverse) == [(2, 0, 2), (1, 0, 3), (0, 0, 1), (2, 2, 4), (0, 1, 2)]


def test_chunk_distribution_is_followed():
    stream = interleaver([24] * 3000, chunks_per_document={1: 0.2, 2: 0.5, 3: 0.3}, provenance=True, seed=5)
    pieces = [
        len(list(group)) for window in stream for _, group in itertools.groupby(sorted(window["chunk_documents"]))
    ]
    shares = np.bincount(pieces, minlength=4) / len(pieces)
    assert np.allclose(shares[1:4], [0.2, 0.5, 0.3], atol=0.03)


def test_interleaved_fraction_and_segments_of_plain_windows():
    stream = interleaver([13] * 900, interleaved_fraction=0.3, plain_attention="document", provenance=True)
    windows = list(stream)
    assert 0.24 < stream.counts.windows_interleaved / stream.counts.windows < 0.36
    for window in windows:
        assert sum(window["seq_lengths"]) == 24
        if len(set(window["chunk_documents"])) < len(window["chunk_documents"]):
            assert window["seq_lengths"] == [24]
        elif window["seq_lengths"] != [24]:
            assert window["seq_lengths"] == window["chunk_lengths"]


def test_plain_windows_are_a_plain_packer():
    lengths = [5, 31, 0, 2, 60, 13]
    flat = list(itertools.chain.from_iterable(addressed(lengths)))
    windows = [window["input_ids"].tolist() for window in interleaver(lengths, interleaved_fraction=0.0)]
    assert windows == [flat[start : start + 24] for start in range(0, len(flat) - 23, 24)]


def test_labels_travel_with_their_tokens():
    documents = [
        {"input_ids": [1, 2, 3, 4], "labels": [-100, 2, -100, 4]},
        [5, 6, 7, 8],
        {"input_ids": np.array([9, 10, 11, 12]), "labels": None},
    ]
    window = next(interleave_chunks(documents, window_length=12, documents_per_window=3, split="equal"))
    assert window["input_ids"].tolist() == [1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]
    assert window["labels"].tolist() == [-100, 2, 5, 6, 9, 10, -100, 4, 7, 8, 11, 12]
    window["labels"][:] = 0
    assert window["input_ids"].tolist()[:2] == [1, 2]


def test_separator_once_per_document_on_its_last_chunk():
    documents = [[SEPARATOR, 1, 2, SEPARATOR, 3], [4, 5, 6, 7 + 1, SEPARATOR], [SEPARATOR, SEPARATOR]]
    stream = interleave_chunks(
        documents, window_length=9, documents_per_window=2, split="equal", separator_id=SEPARATOR
    )
    window = next(stream)["input_ids"].tolist()
    assert window == [1, 2, 4, 5, 3, SEPARATOR, 6, 8, SEPARATOR]
    assert list(stream) == []
    assert (stream.counts.separators_removed, stream.counts.separators_added) == (4, 1)
    assert stream.counts.documents_empty == 1


def test_separator_once_per_window():
    config = ChunkInterleaveConfig(
        window_length=9, documents_per_window=2, split="equal", separator_id=SEPARATOR, separators="window"
    )
    stream = ChunkInterleaver([[1, 2, 3, 4, SEPARATOR], [SEPARATOR, 5, 6, SEPARATOR, 8, 9, SEPARATOR]], config)
    assert next(stream)["input_ids"].tolist() == [1, 2, 5, 6, 3, 4, 8, 9, SEPARATOR]
    counts = stream.counts
    assert counts.tokens_read - counts.separators_removed + counts.separators_added == counts.tokens_emitted == 9


def test_similar_lengths_stand_together_when_grouped():
    lengths = np.random.default_rng(2).integers(20, 60, 240).tolist()

    def spread(**options):
        stream = interleaver(lengths, window_length=120, provenance=True, **options)
        return np.mean(
            [np.ptp([lengths[document] for document in set(window["chunk_documents"])]) for window in stream]
        )

    assert spread(group_documents=240) < 0.6 * spread()


def test_seed_decides_everything():
    def windows(seed):
        return [window["input_ids"].tolist() for window in interleaver([40] * 20, seed)]

    assert windows(1) == windows(1)
    assert windows(1) != windows(2)


def test_memory_does_not_grow_with_the_stream():
    documents = ([number % 1000] * 50 for number in range(20_000))
    stream = interleave_chunks(documents, window_length=128, documents_per_window=4)
    largest = 0
    for _ in stream:
        largest = max(largest, sum(len(piece.input_ids) for piece in stream._pending))
    assert largest < 4 * 128


def test_more_chunks_than_tokens():
    """A document shorter than K is cut into single tokens and drops out of the later rounds."""
    windows = interleave_chunks(
        [[1, 2], [11, 12, 13, 14, 15, 16]],
        window_length=8,
        documents_per_window=2,
        chunks_per_document=8,
        split="equal",
    )
    assert next(windows)["input_ids"].tolist() == [1, 11, 2, 12, 13, 14, 15, 16]


def test_a_gigantic_document_goes_through_many_windows_in_order():
    """It takes what the short ones leave, and is neither cut off nor read twice."""
    giant = np.arange(10, 100_010)
    documents = [giant, *([n % 10] * 3 for n in range(3_200))]
    windows = interleave_chunks(documents, window_length=64, documents_per_window=4)
    tokens = np.concatenate([window["input_ids"] for window in windows])
    assert tokens[tokens >= 10].tolist() == giant[: np.count_nonzero(tokens >= 10)].tolist()
    assert len(tokens) + windows.counts.tokens_dropped == 100_000 + 9_600
    assert windows.counts.tokens_dropped < 64


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"window_length": 1}, "window_length must be an integer of at least 2, got 1"),
        ({"window_length": 24.0}, "window_length must be an integer of at least 2, got 24.0"),
        ({"documents_per_window": 0}, "documents_per_window must be an integer of at least 1, got 0"),
        ({"documents_per_window": 24}, "does not fit a window of 24 tokens: take fewer documents or a longer window"),
        ({"chunks_per_document": 0}, "chunks_per_document must be a positive integer or a mapping from them, got 0"),
        ({"chunks_per_document": {2: 0.5, 3: 0.4}}, "must be >= 0 and sum to 1"),
        ({"chunks_per_document": {2: float("nan")}}, "must be >= 0 and sum to 1"),
        ({"split": "even"}, "split must be one of 'random', 'equal', got 'even'"),
        ({"interleaved_fraction": 1.5}, r"interleaved_fraction must lie in \[0, 1\], got 1.5"),
        ({"plain_attention": "full"}, "plain_attention must be one of 'window', 'document', got 'full'"),
        ({"separators": "all"}, "separators must be one of 'document', 'window', got 'all'"),
        ({"separators": "window"}, "separators='window' puts a token at the end of every window: name it with"),
        ({"group_documents": -1}, "group_documents must be an integer of at least 0, got -1"),
    ],
)
def test_bad_settings_are_refused_before_reading(settings_, message):
    with pytest.raises(ValueError, match=message):
        interleaver([5], **settings_)


@pytest.mark.parametrize(
    ("documents", "error", "message"),
    [
        ("text", TypeError, "documents must be an iterable of token id sequences, got str"),
        ({"input_ids": [1]}, TypeError, "documents must be an iterable of token id sequences, got dict"),
        (["some text", [1]], TypeError, "input_ids of document 0 must be integers, got <U9: tokenize"),
        ([[1.5, 2.0]], TypeError, "input_ids of document 0 must be integers, got float64"),
        ([{"text": "a"}], ValueError, r"Document 0 has no input_ids, only \['text'\]"),
        ([[1], {"input_ids": [1, 2], "labels": [1]}], ValueError, "Document 1 has 2 input_ids but 1 labels"),
        ([np.ones((2, 2), int)], ValueError, r"must be one sequence, got an array of shape \(2, 2\)"),
        ([[1] * 30, None], TypeError, "input_ids of document 1 must be integers, got object"),
        ([[1, 2], []], ValueError, "documents_per_window=3, but the stream contained only 1 documents with tokens"),
    ],
)
def test_bad_documents_are_named(documents, error, message):
    with pytest.raises(error, match=message):
        list(interleave_chunks(documents, window_length=24, documents_per_window=3))
