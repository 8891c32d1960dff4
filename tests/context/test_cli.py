"""`lsw-hf extend` and `lsw-hf suggest` from the command line to the folder."""

from __future__ import annotations

import json

import pytest
from transformers import AutoConfig

from lsw_hf import cli
from lsw_hf.context.extension import extend_config


@pytest.fixture
def source(build, tmp_path):
    build("llama").save_pretrained(tmp_path / "source")
    return tmp_path / "source"


def test_extend_writes_a_folder_and_says_what_is_in_it(source, tmp_path, capsys):
    words = f"extend --model {source} --context-length 448 --factor 14 --output-dir {tmp_path / 'long'}"
    assert cli.main(words.split()) == 0
    shown = capsys.readouterr().out
    assert "- window: 448 tokens, 64 at pretraining" in shown
    assert "yarn, base 10000, factor 14" in shown
    expected = extend_config(AutoConfig.from_pretrained(source), context_length=448, factor=14.0)
    assert AutoConfig.from_pretrained(tmp_path / "long").rope_parameters == expected.rope_parameters


def test_extend_reads_factors_from_a_file(source, tmp_path):
    (tmp_path / "factors.json").write_text(json.dumps([1.0] * 7 + [3.0]))
    words = (
        f"extend --model {source} --context-length 448 --method longrope --rope-factors {tmp_path / 'factors.json'} "
        f"--output-dir {tmp_path / 'long'}"
    )
    assert cli.main(words.split()) == 0
    assert AutoConfig.from_pretrained(tmp_path / "long").rope_parameters["long_factor"][-1] == 3.0


def test_refusals_are_one_line_and_status_1(source, tmp_path, capsys):
    words = f"extend --model {source} --context-length 32 --output-dir {tmp_path / 'long'}"
    assert cli.main(words.split()) == 1
    assert "lsw-hf extend: context_length=32 would shrink the window of 64 tokens" in capsys.readouterr().err
    assert not (tmp_path / "long").exists()


def test_suggest_prints_the_table(source, capsys):
    assert cli.main(f"suggest --model {source} --context-length 1024 --training long".split()) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("llama: 64 -> 1,024 tokens (16x)")
    assert "Recommended: **abf**." in shown
