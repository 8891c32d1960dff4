"""Models, extensions and tokenizers that a run cannot start from are refused before any work."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from lsw_hf.recipes.longskywork import LongSkyworkRecipe


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
