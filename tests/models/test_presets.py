"""Published shapes, and the memory arithmetic against what tiny models really allocate."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import DynamicCache

from lsw_hf.models import LongSkyworkForCausalLM
from lsw_hf.models.presets import PRESETS, estimate_memory, preset_config


@pytest.mark.parametrize("name", PRESETS)
def test_the_parameter_count_is_that_of_the_built_model(name):
    config = preset_config(name)
    with torch.device("meta"):
        model = LongSkyworkForCausalLM(config)
    assert estimate_memory(config, 1).parameters == sum(weight.numel() for weight in model.parameters())


def test_skywork_13b_has_the_published_size():
    assert estimate_memory(preset_config("skywork-13b"), 4096).parameters == 13_854_113_280


def test_longskywork_13b_at_its_window_is_what_the_shape_says():
    estimate = estimate_memory(preset_config("longskywork-13b"), 200_000)
    assert estimate.kv_cache == 2 * 52 * 200_000 * 4_608 * 2
    assert str(estimate) == (
        "13,854,113,280 parameters; weights 25.8 GiB, kv_cache 178.5 GiB, logits 24.4 GiB, checkpoints 89.3 GiB"
    )


def test_the_long_base_is_the_ntk_aware_one_rounded_up():
    formula = 10_000 * (200_000 / 4_096) ** (128 / 126)
    assert formula < preset_config("longskywork-13b").rope_parameters["rope_theta"] < formula * 1.01


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True, "mlp_bias": True}, {"tie_word_embeddings": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_cache_and_logits_are_what_is_allocated(make_model, changes, dtype):
    model = make_model(**changes).to(dtype)
    ids = torch.arange(3 * 17).view(3, 17)
    cache = DynamicCache()
    with torch.no_grad():
        logits = model(ids, past_key_values=cache).logits
    estimate = estimate_memory(model.config, 17, batch_size=3, dtype=dtype)
    assert estimate.weights == sum(weight.nbytes for weight in model.parameters())
    assert estimate.kv_cache == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert estimate.logits == logits.nbytes


@pytest.mark.filterwarnings(
    "ignore:.*Profiler clears events"
)  # torch 2.11 says so of every profile, ours is read at once
def test_each_layer_more_keeps_one_layer_input_more(make_model, checkpoint_layers):
    def kept(layers: int) -> int:
        model = make_model(num_hidden_layers=layers).train()
        checkpoint_layers(model)
        ids = torch.ones(2, 501, dtype=torch.long)
        model(ids, labels=ids, use_cache=False).loss.backward()  # lazy buffers exist from now on
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
            loss = model(ids, labels=ids, use_cache=False).loss
        allocated = sum(event.self_cpu_memory_usage for event in trace.key_averages())
        del loss
        return allocated

    config = make_model().config
    per_layer = estimate_memory(config, 501, batch_size=2, dtype=torch.float32).checkpoints / config.num_hidden_layers
    # and the state of the random generator, for dropout to be the same when the layer runs again
    assert (kept(5) - kept(2)) / 3 == per_layer + torch.get_rng_state().nbytes


def test_a_preset_takes_changes_and_is_not_changed_by_them():
    config = preset_config("tiny", vocab_size=77)
    config.rope_parameters["rope_theta"] = 5.0
    assert config.vocab_size == 77
    assert preset_config("tiny").rope_parameters["rope_theta"] == 10_000.0
    assert preset_config("tiny").vocab_size == 512


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="Unknown preset 'huge'; there are skywork-13b, longskywork-13b, tiny"):
        preset_config("huge")


@pytest.mark.parametrize(("counts", "message"), [((0, 1), "context_length is 0"), ((8, -2), "batch_size is -2")])
def test_counts_below_one_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        estimate_memory(preset_config("tiny"), *counts)
