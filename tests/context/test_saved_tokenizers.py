"""Saved tokenizers are read alike by transformers 4.57 and 5; plain saves of transformers 5 are not."""

from __future__ import annotations

import copy
import json
import os
import subprocess

import pytest
from transformers import AutoTokenizer, LlamaConfig

import lsw_hf
from benchmarks.context_zoo import SIZES
from lsw_hf.context.checkpoint import extend_checkpoint
from lsw_hf.context.saved_model import legacy_tokenizer_settings, save_tokenizer, write_legacy_tokenizer
from lsw_hf.conversion.skywork import convert_checkpoint
from lsw_hf.conversion.skywork_tokenizer import PROBE_TEXTS
from tests.conversion.skywork_folders import make_skywork_folder

EXTRA = ["[USER]", "[SEP]"]


@pytest.fixture
def tokenizer(tiny_tokenizer):
    """With special tokens beside the named ones, a chat format and a length."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": EXTRA})
    tokenizer.chat_template = "{% for message in messages %}{{ '[USER] ' + message['content'] }}{% endfor %}"
    tokenizer.model_max_length = 4096
    return tokenizer


def settings_of(folder):
    return json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))


def test_what_differs_from_a_plain_save_is_two_names(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "plain")
    lsw_hf.save_tokenizer(tokenizer, tmp_path / "ours")
    plain, ours = settings_of(tmp_path / "plain"), settings_of(tmp_path / "ours")
    assert (plain.pop("tokenizer_class"), ours.pop("tokenizer_class")) == (
        "TokenizersBackend",
        "PreTrainedTokenizerFast",
    )
    assert plain.pop("extra_special_tokens") == ours.pop("additional_special_tokens") == EXTRA
    assert plain == ours
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_it_comes_back_the_same(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is type(tokenizer)
    text = "[USER] the lamp is in the box [SEP]"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.decode(again(text).input_ids, skip_special_tokens=True) == "the lamp is in the box"
    assert again.extra_special_tokens == EXTRA
    assert (again.model_max_length, again.chat_template) == (4096, tokenizer.chat_template)


def test_a_saved_folder_can_be_completed_once(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert write_legacy_tokenizer(tmp_path)
    assert settings_of(tmp_path)["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not write_legacy_tokenizer(tmp_path)


def test_classes_and_named_tokens_that_both_know_stay():
    for settings in (
        {"tokenizer_class": "LlamaTokenizer"},
        {"tokenizer_class": "Qwen2Tokenizer", "extra_special_tokens": {"image_token": "<image>"}},
        {},
    ):
        assert legacy_tokenizer_settings(settings) == settings
    assert legacy_tokenizer_settings({"extra_special_tokens": []}) == {}


def test_an_extended_checkpoint_is_completed_too(tokenizer, tmp_path):
    LlamaConfig(**SIZES).save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    extend_checkpoint(tmp_path / "source", tmp_path / "long", context_length=448)
    settings = settings_of(tmp_path / "long")
    assert (settings["tokenizer_class"], settings["model_max_length"]) == ("PreTrainedTokenizerFast", 448)
    assert settings["additional_special_tokens"] == EXTRA


def test_folders_without_a_tokenizer_are_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"has no tokenizer_config\.json\. Give the folder of a saved tokenizer"):
        write_legacy_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is not JSON .* Download or save it again"):
        write_legacy_tokenizer(tmp_path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="contains a list and no JSON object"):
        write_legacy_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="is a file; give the folder"):
        save_tokenizer(tokenizer, path)


READ = """
import json, sys
from transformers import AutoTokenizer
asked = json.load(open(sys.argv[1]))
found = {}
for folder, texts in asked.items():
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:
        found[folder] = f"{type(error).__name__}: {error}"
        continue
    ids = [tokenizer(text)["input_ids"] for text in texts]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "two lamp"}], tokenize=False)
    bare = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    found[folder] = [ids, bare, chat, tokenizer.model_max_length]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_transformers_4_57_reads_what_every_writer_of_ours_saves(tokenizer, tmp_path):
    """The plain save is refused there; ours, an extended and a converted one give the ids that they give here."""
    python = os.environ.get("LSW_HF_PYTHON_457")
    if not python:
        pytest.skip("set LSW_HF_PYTHON_457 to a Python with transformers 4.57")
    make_skywork_folder(tmp_path / "legacy")
    convert_checkpoint(tmp_path / "legacy", tmp_path / "converted", allow_pickle=True)
    LlamaConfig(**SIZES).save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    save_tokenizer(tokenizer, tmp_path / "ours")
    extend_checkpoint(tmp_path / "plain", tmp_path / "extended", context_length=448)
    short = ["the lamp is in the box", "[USER] red [SEP] one"]
    long = [*PROBE_TEXTS, "[USER]天工[SEP][BOT] yes[SEP]"]
    asked = {str(tmp_path / name): short for name in ("plain", "ours", "extended")}
    asked[str(tmp_path / "converted")] = long
    (tmp_path / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    done = subprocess.run(
        [python, "-c", READ, str(tmp_path / "asked.json")],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert "TokenizersBackend" in found.pop(str(tmp_path / "plain"))
    for folder, outcome in found.items():
        here = AutoTokenizer.from_pretrained(folder)
        ids = [here(text).input_ids for text in asked[folder]]
        bare = [here.decode(row, skip_special_tokens=True) for row in ids]
        chat = here.apply_chat_template([{"role": "user", "content": "two lamp"}], tokenize=False)
        assert outcome == [ids, bare, chat, here.model_max_length], folder
