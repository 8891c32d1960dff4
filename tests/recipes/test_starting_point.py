"""What a run starts from, and what is said of a model that cannot be the start of one."""

import pytest
from transformers import BloomConfig, GPT2Config, GPT2LMHeadModel

from lsw_hf.recipes.longskywork import LongSkyworkRecipe
from lsw_hf.recipes.starting_point import load_config, load_tokenizer, window_of


def test_a_model_that_is_nowhere_is_named(tmp_path):
    for name in ("lama", "metta/lama"):
        with pytest.raises(ValueError, match=f"The model {name} is no folder here .* could not be read from the Hub"):
            load_config(name, {})
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(ValueError, match=r"model.gguf is a file. Give the folder that holds its config.json"):
        load_config(file, {})


def test_a_folder_without_tokenizer_is_named(tiny_llama, tmp_path):
    tiny_llama.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"There is no tokenizer in .* save the model's tokenizer there"):
        load_tokenizer(tmp_path, {})


def test_a_model_without_a_window_is_refused():
    with pytest.raises(ValueError, match="A bloom model has no max_position_embeddings"):
        window_of(BloomConfig(n_layer=1))


def test_an_extension_that_cannot_be_is_refused_at_once(tiny_llama, tiny_tokenizer, tmp_path):
    options = {"tokenizer": tiny_tokenizer, "context_length": 128, "output_dir": tmp_path / "run"}
    for rope, message in (
        ({"method": "yran"}, "method"),
        ({"method": "dynamic"}, "dynamic"),
        ({"method": "yarn", "factor": -1.0}, "factor"),
        ({"method": "abf", "rope_theta": -5.0}, "rope_theta"),
    ):
        with pytest.raises(ValueError, match=message):
            LongSkyworkRecipe(model=tiny_llama, rope=rope, **options)
    learned = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=64, vocab_size=20))
    with pytest.raises(ValueError, match="gpt2"):
        LongSkyworkRecipe(model=learned, **options)
    for seed in (-1, 2**32, True, 0.5):
        with pytest.raises(ValueError, match=r"seed must be a whole number from 0 to 4,294,967,295"):
            LongSkyworkRecipe(model=tiny_llama, seed=seed, **options)


def test_a_tokenizer_that_cannot_pad_is_refused_before_any_work(tiny_llama, tiny_tokenizer, tmp_path):
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer._tokenizer)
    recipe = LongSkyworkRecipe(
        model=tiny_llama, tokenizer=bare, context_length=128, output_dir=tmp_path, stages=("continual_pretraining",)
    )
    with pytest.raises(ValueError, match="neither a padding token nor an end of text"):
        recipe.check(documents=[{"text": "the key"}])
