"""`lsw-hf extend`, `suggest` and `convert` from the command line to the folder."""

from __future__ import annotations

import json
import re

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.context_zoo import ARCHITECTURES
from lsw_hf import cli
from lsw_hf.context.extension import extend_config


@pytest.fixture
def source(tmp_path):
    AutoModelForCausalLM.from_config(ARCHITECTURES["llama"]()).save_pretrained(tmp_path / "source")
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


def edited(source, **changes):
    path = source / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


STRANGE = {
    "no such model": (lambda source: None, "--model {folder}/nowhere", "There is no folder .*/nowhere. Give"),
    "a file": (lambda source: None, "--model {source}/config.json", "is a file. Give the folder"),
    "an empty folder": (lambda source: None, "--model {folder}", "has no config.json. Give the folder"),
    "broken JSON": (lambda source: (source / "config.json").write_text("{"), "", "config.json is not JSON"),
    "a list": (lambda source: (source / "config.json").write_text("[]"), "", "contains a list and no JSON object"),
    "no type": (lambda source: (source / "config.json").write_text("{}"), "", "has no model_type"),
    "an unknown type": (lambda source: edited(source, model_type="x9"), "", "upgrade transformers if"),
    "a float window": (lambda source: edited(source, max_position_embeddings=64.0), "", "Correct config.json"),
    "foreign code": (
        lambda source: edited(source, model_type="x9", auto_map={"AutoConfig": "x9.X9Config"}),
        "",
        "--trust-remote-code. if you trust it",
    ),
    "no rotary": (lambda source: edited(source, model_type="gpt2"), "", "'gpt2' cannot be extended"),
    "two spellings": (lambda source: edited(source, rope_theta=77.0), "", "config.json contradicts itself"),
    "a billion": (lambda source: None, "--context-length 1000000000000000000000", "is beyond 16,777,216 tokens"),
    "a shorter window": (lambda source: None, "--context-length 7", "would shrink the window of 64 tokens"),
    "another original": (
        lambda source: None,
        "--original-context-length 9999",
        "must lie between 2 and the model's window of 64 tokens",
    ),
}


@pytest.mark.parametrize("command", ["extend", "suggest"])
@pytest.mark.parametrize("strange", STRANGE)
def test_strangers_are_told_what_to_do(command, strange, source, tmp_path, capsys):
    damage, extra, message = STRANGE[strange]
    damage(source)
    folder = tmp_path / "empty"
    folder.mkdir()
    words = f"{command} --model {source} --context-length 448 {extra.format(source=source, folder=folder)}".split()
    if command == "extend":
        words += ["--output-dir", str(tmp_path / "long")]
    assert cli.main(words) == 1
    shown = capsys.readouterr().err
    assert re.search(message, shown), shown
    assert "Traceback" not in shown
    assert len(shown) < 900
    assert not (tmp_path / "long").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--context-length 448.5", "expected a whole number of at least 1, got '448.5'"),
        ("--context-length -3", "expected a whole number of at least 1, got '-3'"),
        ("--context-length many", "got 'many'"),
        ("--contextlength 448", "Did you mean '--context-length'"),
        ("--factor two", "argument --factor: invalid float value: 'two'"),
        ("--rope-factors nowhere.json --method longrope", "nowhere.json is no JSON list of numbers"),
    ],
)
def test_misspelled_options_of_extend_are_named(words, message, source, tmp_path, capsys):
    given = ["extend", "--model", str(source), "--output-dir", str(tmp_path / "long"), "--context-length", "448"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*given, *words.split()])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--factor nan", "factor must be a finite number, got nan"),
        ("--method YARN", "unknown method 'YARN'. Use 'auto', 'linear', 'ntk'"),
        ("--method dynamic", "'dynamic' is refused"),
        ("--method longrope", "needs rope_factors"),
        ("--method longrope --rope-factors {file}", "rope_factors must be a list of 8 numbers"),
        ("--output-dir {file}", "exists and is not an empty folder"),
        ("--output-dir {file}/below", "is not a folder that can be written to"),
    ],
)
def test_wrong_values_of_extend_are_one_message(words, message, source, tmp_path, capsys):
    file = tmp_path / "file.json"
    file.write_text('{"factors": [1]}')
    given = f"extend --model {source} --context-length 448 --output-dir {tmp_path / 'long'} {words.format(file=file)}"
    assert cli.main(given.split()) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "long").exists()


@pytest.mark.parametrize("given", ["{bad", "[1]", "7"])
def test_convert_names_json_that_is_no_object(given, capsys):
    with pytest.raises(SystemExit):
        cli.main(["convert", "old", "new", "--rope-parameters", given])
    assert "argument --rope-parameters: expected a JSON object, got" in capsys.readouterr().err


def test_convert_without_sentencepiece_says_what_to_install(monkeypatch, tmp_path, capsys):
    def missing(*_, **__):
        raise ImportError("Converting a Skywork tokenizer needs: pip install sentencepiece protobuf")

    monkeypatch.setattr("lsw_hf.conversion.skywork.convert_checkpoint", missing)
    assert cli.main(["convert", str(tmp_path), str(tmp_path / "new")]) == 1
    assert "lsw-hf convert: Converting a Skywork tokenizer needs: pip install" in capsys.readouterr().err


def test_suggest_prints_the_table(source, capsys):
    assert cli.main(f"suggest --model {source} --context-length 1024 --training long".split()) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("llama: 64 -> 1,024 tokens (16x)")
    assert "Recommended: **abf**." in shown
