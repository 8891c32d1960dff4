"""One cache, two names: both are taken at every level, and nothing that holds keys is swallowed."""

import inspect
import warnings

import pytest
import torch
from transformers import DynamicCache, LlamaForCausalLM, LlamaModel

from lsw_hf.evaluation.reading.caches import cache_argument, returned_cache
from lsw_hf.models import LongSkyworkForCausalLM, LongSkyworkForSequenceClassification, LongSkyworkModel
from lsw_hf.models.modeling_longskywork import CACHE_NAMES, CacheArgument, LongSkyworkAttention

TEMPERATURE = {"attention_temperature_slope": 0.7, "attention_temperature_length": 9}


@pytest.fixture(params=[{}, TEMPERATURE], ids=["plain", "temperature"])
def model(request, make_model) -> LongSkyworkForCausalLM:
    return make_model(**request.param)


def attend(model, **keywords):
    """The first layer's attention, called as a layer calls it."""
    hidden = torch.ones(1, 3, model.config.hidden_size)
    embeddings = model.model.rotary_emb(hidden, torch.arange(3)[None])
    return model.model.layers[0].self_attn(hidden, position_embeddings=embeddings, **keywords)


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_models_take_their_cache_under_both_names(model, ids, name):
    with torch.no_grad():
        whole = {"causal": model(ids, use_cache=False).logits, "base": model.model(ids, use_cache=False)[0]}
        for kind, part in (("causal", model), ("base", model.model)):
            cache = DynamicCache(config=model.config)
            pieces = [part(piece, **{name: cache})[0] for piece in ids.split(11, dim=1)]
            assert cache.get_seq_length() == ids.shape[1]
            torch.testing.assert_close(torch.cat(pieces, dim=1), whole[kind])
    classifier = LongSkyworkForSequenceClassification(model.config).eval()
    with torch.no_grad():
        cache = DynamicCache(config=model.config)
        classifier(ids[:, :20], **{name: cache})
        continued = classifier(ids[:, 20:], **{name: cache}).logits
        torch.testing.assert_close(continued, classifier(ids).logits)


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_attention_fills_the_cache_under_both_names(model, name):
    cache = DynamicCache(config=model.config)
    attend(model, **{name: cache}, use_cache=True)
    assert cache.get_seq_length() == 3


def test_a_cache_under_another_name_is_refused(model):
    for name in ("past_key_value", "layer_past", "kv_store"):
        with pytest.raises(
            ValueError, match=f"a cache is given as '{name}'.*knows it as cache or past_key_values only"
        ):
            attend(model, **{name: DynamicCache(config=model.config)})
        with pytest.raises(ValueError, match=f"given as '{name}'.*lsw-hf refresh FOLDER"):
            model(torch.tensor([[1, 2]]), **{name: DynamicCache(config=model.config)})


def test_two_caches_are_refused(model, ids):
    two = {name: DynamicCache(config=model.config) for name in CACHE_NAMES}
    with pytest.raises(ValueError, match=r"are two names of one cache; give \w+ alone"):
        model(ids, **two)
    with pytest.raises(ValueError, match="are two names of one cache"):
        attend(model, **two)


def test_none_under_either_name_is_no_cache(model, ids):
    nothing = dict.fromkeys(CACHE_NAMES)
    with torch.no_grad():
        assert torch.equal(model(ids, **nothing).logits, model(ids).logits)
    attend(model, **nothing)


def test_a_cache_that_is_wanted_and_missing_is_missed(make_model):
    with pytest.raises(ValueError, match="a cache is wanted, but does not arrive"):
        attend(make_model(**TEMPERATURE), use_cache=True)
    attend(make_model(**TEMPERATURE), use_cache=False)


def test_the_parents_signature_decides():
    def takes_the_older(hidden_states, past_key_values=None, **kwargs):
        pass

    def takes_neither(hidden_states, **kwargs):
        pass

    assert CacheArgument(takes_the_older).name == "past_key_values"
    assert CacheArgument(takes_neither).name == ""
    cache = DynamicCache()
    assert CacheArgument(takes_the_older).renamed({"cache": cache, "x": 1}, None) == {"past_key_values": cache, "x": 1}
    # the cache of continuous batching, below transformers 5.24
    paged = object()
    assert CacheArgument(takes_the_older).renamed({"cache": paged}, None) == {"cache": paged}
    for name in CACHE_NAMES:
        with pytest.raises(ValueError, match=f"given as '{name}'"):
            CacheArgument(takes_neither).renamed({name: cache}, None)
    assert LongSkyworkAttention._cache.name == cache_argument(LlamaModel.forward)


def test_signatures_are_the_parents(model):
    """`generate` and trainers read them."""
    for ours, parent in ((LongSkyworkForCausalLM, LlamaForCausalLM), (LongSkyworkModel, LlamaModel)):
        assert inspect.signature(ours.forward) == inspect.signature(parent.forward)


def test_the_helper_for_other_peoples_models_reads_their_signature(ids, shape):
    from transformers import LlamaConfig

    class OldCode(LlamaForCausalLM):
        def forward(self, input_ids=None, past_key_values=None, **kwargs):
            cache = {cache_argument(LlamaForCausalLM.forward): past_key_values}
            return super().forward(input_ids, **cache, **kwargs)

    stock = LlamaForCausalLM(LlamaConfig(**shape)).eval()
    old = OldCode(stock.config).eval()
    assert cache_argument(old.forward) == "past_key_values"
    assert cache_argument(lambda *args, **kwargs: None) == cache_argument(LlamaForCausalLM.forward)
    for model in (stock, old):
        cache = DynamicCache(config=model.config)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("error")
            output = model(ids, **{cache_argument(model.forward): cache})
        assert returned_cache(output) is cache
        assert cache.get_seq_length() == ids.shape[1]
    assert returned_cache(object()) is None
