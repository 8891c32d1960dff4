"""The code of the guide on data runs, and `datasets.map` gives the same rows in one process and in two."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def block(text):
    """The one block of the page that contains `text`."""
    (found,) = (block for block in BLOCKS if text in block)
    return found


WINDOW, MAPPED, TABLES, MIXTURE = map(block, ("next(windows)", "def windows_of", "TableGenerator(", "TokenMixture("))
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def run(block, processes, names=None):
    names = dict(names or {})
    exec(block.replace("num_proc=2", f"num_proc={processes}"), names)
    return names


def test_windows_example(capsys):
    run(WINDOW, 1)
    assert capsys.readouterr().out == "[1, 2, 5, 6, 3, 4, 7, 8]\n"


def test_mixture_example(capsys):
    """The shares of the whole: 75% and 25%, the means of 90% to 60% and of 10% to 40%."""
    run(MIXTURE, 1)
    assert capsys.readouterr().out == "{'long': 3060, 'short': 990}\n"


def test_windows_are_the_same_in_two_processes():
    one, two = (run(MAPPED, processes)["windows"] for processes in (1, 2))
    assert one["input_ids"][:] == two["input_ids"][:]
    # Each batch of 5,000 tokens fills 78 windows of 64; what was cut differs from batch to batch.
    assert len(one) == 4 * 78
    assert all(len(ids) == 64 for ids in one["input_ids"])
    assert [id_ % 100 for id_ in one["input_ids"][0]] != [id_ % 100 for id_ in one["input_ids"][78]]


@pytest.fixture
def byte_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate([*alphabet, "<eos>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", chat_template=template)


def test_tables_are_the_same_in_two_processes(byte_tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    byte_tokenizer.save_pretrained("my-model")
    one, two = (run(TABLES, processes)["tables"] for processes in (1, 2))
    assert one[:] == two[:]
    assert one["index"][:] == list(range(8))
    assert len(set(map(str, one["messages"]))) == 8
