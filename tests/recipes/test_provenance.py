"""What two runs are compared by: it changes with what decides the result, and with nothing else."""

import copy

import datasets
import pytest
import torch

from lsw_hf.evaluation.needle.grid import NeedleGrid
from lsw_hf.recipes.provenance import (
    describe_model,
    describe_paths,
    describe_rows,
    describe_settings,
    describe_tokenizer,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_live_model_is_known_by_every_number_of_its_weights(tiny_llama, dtype):
    tiny_llama.to(dtype)
    described = describe_model(tiny_llama, {})
    assert describe_model(copy.deepcopy(tiny_llama), {}) == described
    for name in ("model.norm.weight", "model.embed_tokens.weight"):
        for place in (0, 1, -1):
            other = copy.deepcopy(tiny_llama)
            with torch.no_grad():
                other.get_parameter(name).view(-1)[place] += 0.1
            assert describe_model(other, {}) != described, (name, place)


def test_a_token_is_never_described():
    described = describe_model("owner/name", {"token": "hf_secret", "revision": "abc", "dtype": torch.bfloat16})
    assert described == {"name": "owner/name", "revision": "abc", "dtype": "torch.bfloat16"}


def test_a_tokenizer_is_known_by_vocabulary_and_template(tiny_tokenizer):
    described = describe_tokenizer(tiny_tokenizer)
    larger, spoken = copy.deepcopy(tiny_tokenizer), copy.deepcopy(tiny_tokenizer)
    larger.add_tokens(["quite-new"])
    spoken.chat_template = "{{ messages }}"
    assert describe_tokenizer(copy.deepcopy(tiny_tokenizer)) == described
    assert describe_tokenizer(larger) != described
    assert describe_tokenizer(spoken) != described


def test_rows_are_known_by_size_columns_and_ends():
    rows = [{"text": word} for word in "abc"]
    described = describe_rows(datasets.Dataset.from_list(rows))
    assert describe_rows(datasets.Dataset.from_list(rows)) == described
    assert describe_rows(datasets.Dataset.from_list(rows[:2])) != described
    assert describe_rows(datasets.Dataset.from_list([*rows[:2], {"text": "d"}])) != described
    assert describe_rows(datasets.Dataset.from_list([])) != described
    stream = datasets.Dataset.from_list(rows).to_iterable_dataset()
    assert describe_rows(stream) == {"stream": ["text"]}
    assert describe_rows(lambda: rows) == {"kind": "function"}
    assert describe_rows(rows) == {"kind": "list"}
    assert describe_rows(None) is None


def test_paths_are_known_by_their_bytes(tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text("long")
    (tmp_path / "b.txt").write_text("longer")
    found = describe_paths([tmp_path / "books", str(tmp_path / "b.txt"), "owner/corpus"])
    assert [{key: value for key, value in item.items() if key != "name"} for item in found] == [
        {"files": 1, "bytes": 4},
        {"files": 1, "bytes": 6},
        {},
    ]
    assert describe_paths(None) is None


@pytest.mark.parametrize("samples", [2, 3])
def test_objects_are_plain_data_with_their_class(samples):
    described = describe_settings(NeedleGrid(context_lengths=(64,), num_samples=samples))
    assert (described["class"], described["num_samples"]) == ("NeedleGrid", samples)
    assert describe_settings(None) is None
