"""A saved model whose configuration, window or tokenizer cannot be loaded gets an answer that says what to do."""

import pytest
from transformers import BloomConfig

from lsw_hf.context.saved_model import load_config, load_tokenizer, where_from, window_of


def test_a_model_that_is_nowhere_is_named(tmp_path):
    for name in ("lama", "metta/lama"):
        with pytest.raises(
            ValueError,
            match=f"{name} has no readable configuration: .* {name} is not a folder here .*HF_HUB_OFFLINE",
        ):
            load_config(name)
    for name in ("/no/such/place", "./nowhere", "~/nowhere", "a/b/c"):
        with pytest.raises(ValueError, match=f"There is no folder {name}. Give the folder of a saved model"):
            load_config(name)
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(
        ValueError, match=r"model.gguf is a file. Give the folder of a saved model, or a Hub id .owner/name."
    ):
        load_config(file)


def test_a_folder_without_tokenizer_is_named(tiny_llama, tmp_path):
    tiny_llama.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"No tokenizer could be loaded from .*: save the model's tokenizer there"):
        load_tokenizer(tmp_path, {})


def test_a_model_without_a_window_is_refused():
    with pytest.raises(ValueError, match="A bloom model has no max_position_embeddings"):
        window_of(BloomConfig(n_layer=1))


def test_arguments_about_the_source_are_told_from_the_others():
    given = {"revision": "v1", "token": "secret", "trust_remote_code": True, "dtype": "auto"}
    assert where_from(given) == {"revision": "v1", "token": "secret", "trust_remote_code": True}
    assert where_from({"dtype": "auto"}) == {}


def test_the_hub_is_asked_for_the_revision_and_with_the_token(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "lsw_hf.context.saved_model.AutoConfig.from_pretrained",
        lambda name, **given: asked.update(given) or BloomConfig(n_layer=1),
    )
    load_config("owner/name", revision="v1", token="secret")
    assert asked == {"revision": "v1", "token": "secret", "trust_remote_code": False}


def test_the_tokenizer_comes_from_the_same_place_as_the_model(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "lsw_hf.context.saved_model.AutoTokenizer.from_pretrained", lambda name, **given: asked.append((name, given))
    )
    where = {"revision": "v1", "token": "secret", "trust_remote_code": True}
    load_tokenizer("owner/name", {**where, "dtype": "auto"})
    assert asked == [("owner/name", where)]


def test_a_misspelled_folder_is_said_to_be_none(tmp_path):
    with pytest.raises(ValueError, match=r"No tokenizer could be loaded from .*none: that is not a folder here"):
        load_tokenizer(tmp_path / "none", {})
    with pytest.raises(ValueError, match=r"No tokenizer could be loaded from .*: save the model's tokenizer there"):
        load_tokenizer(tmp_path, {})
