"""Windows on disk, by one process or by the ranks of an engine."""

import numpy as np
import pytest
from datasets import load_dataset

from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.interleaver import ChunkInterleaver
from lsw_hf.data.windows.parquet import write_windows

WORDS = "one two three four five six seven eight nine ten".split()


def texts(count=300):
    draws = np.random.default_rng(0)
    return [" ".join(draws.choice(WORDS, size=int(length))) for length in draws.integers(1, 40, count)]


def config(tokenizer, **options):
    return ChunkInterleaveConfig(
        window_length=32, documents_per_window=3, separator_id=tokenizer.eos_token_id, **options
    )


def test_file_holds_what_the_interleaver_gives(tiny_tokenizer, tmp_path):
    settings = config(tiny_tokenizer, provenance=True)
    counts = write_windows(texts(), tiny_tokenizer, settings, tmp_path / "out", seed=4)
    documents = tiny_tokenizer(texts(), add_special_tokens=False)["input_ids"]
    truth = list(ChunkInterleaver(documents, settings, seed=4))
    loaded = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert counts.windows == len(loaded) == len(truth) > 128
    for row, window in zip(loaded, truth, strict=True):
        assert row == {name: list(values) for name, values in window.items()}


def test_documents_that_fill_no_window_leave_no_file(tiny_tokenizer, tmp_path):
    settings = config(tiny_tokenizer)
    with pytest.raises(
        ValueError, match="The documents contain only 16 tokens, fewer than one window of 32: give more"
    ):
        write_windows(["the lamp is"] * 4, tiny_tokenizer, settings, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    counts = write_windows(["the lamp is"] * 4, tiny_tokenizer, settings, tmp_path / "out", rank=1, world_size=2)
    assert counts.windows == 0


def test_bad_places(tiny_tokenizer, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file: name a folder to write windows to"):
        write_windows(texts(), tiny_tokenizer, config(tiny_tokenizer), tmp_path / "file")
    with pytest.raises(ValueError, match=r"rank must lie in \[0, world_size\), got rank=2 and world_size=2"):
        write_windows(texts(), tiny_tokenizer, config(tiny_tokenizer), tmp_path, rank=2, world_size=2)
