"""The Python of the guide on data runs, and prints what the page says."""

import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "data.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def make_tokenizer():
    """One token a byte: knows every word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate([*alphabet, "<eos>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", chat_template=template)


@pytest.fixture(scope="module")
def namespace():
    """Blocks continue where the ones before them ended."""
    return {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the page reads: a tokenizer in `my-model`, text files in `books`."""
    folder = tmp_path_factory.mktemp("page")
    make_tokenizer().save_pretrained(folder / "my-model")
    (folder / "books").mkdir()
    for number in range(3):
        (folder / "books" / f"{number}.txt").write_text(f"Book {number} tells of a river. " * 100, encoding="utf-8")
    return folder


@pytest.mark.parametrize("place", range(len(BLOCKS)))
def test_python_of_the_page_runs(place, namespace, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(BLOCKS[place], namespace)
    said = re.findall(r"^print\(.*\)  # (.*)$", BLOCKS[place], re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said
    if "def windows_of" in BLOCKS[place]:
        assert {len(row) for row in namespace["windows"]["input_ids"]} == {64}
        assert len(namespace["windows"]) > 300


def test_options_of_the_page_are_those_of_the_command(capsys):
    from lsw_hf import cli

    with pytest.raises(SystemExit):
        cli.main(["data", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) | {"--num-samples", "--length"}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE.read_text(encoding="utf-8"))) <= known
