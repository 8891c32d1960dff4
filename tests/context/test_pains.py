"""What goes wrong without this library, on plain transformers, and that it does not go wrong with it.

Each test shows the failure first. When a plain part starts to fail, the host has been repaired: delete that half.
"""

from __future__ import annotations

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from benchmarks.context_zoo import ARCHITECTURES, SIZES
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.context.suggestion import suggest_context
from lsw_hf.context.verification import verify_context

TARGET = 448


@pytest.fixture
def folder(build, tmp_path):
    build("llama").save_pretrained(tmp_path)
    return tmp_path


def test_a_base_given_at_load_is_ignored(folder, build):
    plain = AutoConfig.from_pretrained(folder, rope_theta=1e7)
    assert plain.rope_parameters["rope_theta"] == 10_000.0
    cured = extend_config(AutoConfig.from_pretrained(folder), context_length=TARGET, method="abf", rope_theta=1e7)
    assert build(cured).model.rotary_emb.inv_freq[1].item() == pytest.approx(1e7 ** (-1 / 8))


def test_a_scaling_dictionary_without_base_breaks_the_model():
    config = LlamaConfig(**SIZES)
    config.rope_parameters = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    config.standardize_rope_params()
    assert config.rope_parameters["rope_theta"] is None
    with pytest.raises(TypeError):
        AutoModelForCausalLM.from_config(config)
    cured = extend_config(LlamaConfig(**SIZES), context_length=256)
    assert cured.rope_parameters["rope_theta"] == 10_000.0
    AutoModelForCausalLM.from_config(cured)


def test_a_float_window_is_rejected_late_and_ours_early():
    with pytest.raises(StrictDataclassError):
        LlamaConfig(**{**SIZES, "max_position_embeddings": 64 * 4.0})
    with pytest.raises(TypeError, match="context_length must be an int"):
        extend_config(LlamaConfig(**SIZES), context_length=64 * 4.0)


def test_yarn_without_original_length_is_another_yarn(build):
    scaling = {"rope_type": "yarn", "factor": 7.0, "rope_theta": 10_000.0}
    plain = LlamaConfig(**{**SIZES, "max_position_embeddings": TARGET}, rope_parameters=scaling)
    assert plain.rope_parameters["original_max_position_embeddings"] == TARGET
    cured = build(extend_config(LlamaConfig(**SIZES), context_length=TARGET))
    assert cured.config.rope_parameters["original_max_position_embeddings"] == 64
    assert not torch.allclose(build(plain).model.rotary_emb.inv_freq, cured.model.rotary_emb.inv_freq)


def test_an_edited_config_is_saved_and_does_not_run(build, logits_of, tmp_path):
    plain = build("llama")
    plain.config.rope_parameters["rope_theta"] = 1e6
    plain.save_pretrained(tmp_path / "plain")
    assert not torch.equal(
        logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "plain").eval()), logits_of(plain)
    )
    with pytest.raises(ValueError, match="what is saved is not what runs"):
        verify_context(tmp_path / "plain", plain)
    cured = extend_context(build("llama"), context_length=TARGET, method="abf", rope_theta=1e6)
    cured.save_pretrained(tmp_path / "cured")
    assert torch.equal(logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "cured").eval()), logits_of(cured))


def test_files_of_transformers_5_say_nothing_to_transformers_4(tmp_path):
    """Read here as transformers 4 does: `rope_theta` and `rope_scaling`, with 10,000 and nothing as defaults."""

    def as_version_4(folder):
        raw = json.loads((folder / "config.json").read_text())
        return raw.get("rope_theta", 10_000.0), (raw.get("rope_scaling") or {}).get("rope_type", "default")

    plain = LlamaConfig(
        **{**SIZES, "max_position_embeddings": TARGET},
        rope_parameters={
            "rope_type": "yarn",
            "factor": 7.0,
            "rope_theta": 5e5,
            "original_max_position_embeddings": 64,
        },
    )
    plain.save_pretrained(tmp_path / "plain")
    assert as_version_4(tmp_path / "plain") == (10_000.0, "default")
    cured = extend_config(LlamaConfig(**SIZES), context_length=TARGET, rope_theta=5e5)
    cured.save_pretrained(tmp_path / "cured")
    assert as_version_4(tmp_path / "cured") == (5e5, "yarn")


def test_yarn_on_mixtral_does_not_build(build):
    plain = ARCHITECTURES["mixtral"]()
    plain.rope_parameters |= {"rope_type": "yarn", "factor": 7.0, "original_max_position_embeddings": 64}
    with pytest.raises(TypeError, match="NoneType"):
        build(plain)
    build(extend_config(ARCHITECTURES["mixtral"](), context_length=TARGET))


def test_the_removed_type_ntk_does_not_build(build):
    plain = LlamaConfig(**SIZES, rope_parameters={"rope_type": "ntk", "factor": 7.0, "rope_theta": 10_000.0})
    with pytest.raises(KeyError, match="ntk"):
        build(plain)
    assert extend_config(LlamaConfig(**SIZES), context_length=TARGET, method="ntk").rope_parameters["rope_type"] == (
        "default"
    )


def test_dynamic_frequencies_depend_on_other_rows(build, logits_of, input_ids):
    """The same row alone and beside a longer one: another answer with `dynamic`, which is why it is refused."""
    config = LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "factor": 7.0, "rope_theta": 10_000.0})
    short = input_ids[:1, :40]
    plain = build(config)
    alone = logits_of(plain, short)
    positions = torch.arange(40)[None]
    with torch.no_grad():
        far = plain(short.repeat(2, 1), position_ids=torch.cat([positions, positions + 300]), use_cache=True).logits
    assert not torch.allclose(far[:1], alone, atol=1e-4)
    cured = extend_context(build("llama"), context_length=TARGET)
    alone = logits_of(cured, short)
    with torch.no_grad():
        far = cured(short.repeat(2, 1), position_ids=torch.cat([positions, positions + 300]), use_cache=True).logits
    torch.testing.assert_close(far[:1], alone, rtol=0, atol=1e-6)


def test_short_prompts_depend_on_earlier_long_ones(build, logits_of, input_ids):
    """With `dynamic` the same prompt gets another answer once the model has read a longer one."""
    config = LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "factor": 7.0, "rope_theta": 10_000.0})
    long = torch.cat([input_ids[:1]] * 4, dim=1)
    plain, cured = build(config), extend_context(build("llama"), context_length=TARGET)
    changes = []
    for model in (plain, cured):
        before = logits_of(model, input_ids)
        logits_of(model, long)
        changes.append((logits_of(model, input_ids) - before).abs().max().item())
    assert changes[0] > 1e-4
    assert changes[1] == 0.0


def test_short_prompts_keep_their_answers_where_that_is_promised(build, logits_of, input_ids):
    """A static factor slows the pairs down for short prompts too; `none` changes nothing up to the old window."""
    short = input_ids[:, :40]
    before = logits_of(build("llama"), short)
    scaling = {"rope_type": "yarn", "factor": 7.0, "rope_theta": 10_000.0, "original_max_position_embeddings": 64}
    plain = build(LlamaConfig(**{**SIZES, "max_position_embeddings": TARGET}, rope_parameters=scaling))
    assert (logits_of(plain, short) - before).abs().max() > 1e-3
    kept = extend_context(build("llama"), context_length=TARGET, method="none")
    assert torch.equal(logits_of(kept, short), before)
    # where it is not promised, the comparison says so before anything is trained
    suggestion = suggest_context(LlamaConfig(**SIZES), TARGET)
    row = next(row for row in suggestion.candidates if row.method == "yarn")
    assert "short inputs change a little" in row.evidence


def read_like_transformers_4(raw: dict) -> tuple[float, dict]:
    """Also what vLLM did on it, and CTranslate2 does: the older spelling alone."""
    return raw.get("rope_theta", 10_000.0), raw.get("rope_scaling") or {"rope_type": "default"}


def read_like_llama_cpp(raw: dict) -> tuple[float, dict]:
    """Its converter takes `rope_parameters`, else `rope_scaling`, and a base beside it wins over one inside."""
    scaling = dict(raw.get("rope_parameters") or raw.get("rope_scaling") or {})
    inside = scaling.pop("rope_theta", 10_000.0)
    return raw.get("rope_theta", inside), {"rope_type": "default", **scaling}


def read_like_transformers_5(raw: dict) -> tuple[float, dict]:
    """Also vLLM on it: the older spelling has priority, what is missing comes from the newer one."""
    parameters = {**(raw.get("rope_parameters") or {}), **(raw.get("rope_scaling") or {})}
    if raw.get("rope_theta") is not None:
        parameters["rope_theta"] = raw["rope_theta"]
    return parameters.pop("rope_theta", 10_000.0), {"rope_type": "default", **parameters}


SERVERS = (read_like_transformers_4, read_like_llama_cpp, read_like_transformers_5)


@pytest.mark.parametrize("method", ["linear", "ntk", "abf", "yarn", "llama3"])
def test_servers_read_plain_files_differently_and_ours_alike(method, tmp_path):
    extended = extend_config(LlamaConfig(**SIZES), context_length=TARGET, method=method)
    extended.save_pretrained(tmp_path / "ours")
    LlamaConfig(
        **{**SIZES, "max_position_embeddings": TARGET}, rope_parameters=dict(extended.rope_parameters)
    ).save_pretrained(tmp_path / "plain")

    def read(folder):
        raw = json.loads((tmp_path / folder / "config.json").read_text())
        return [server(raw) for server in SERVERS]

    ours, plain = read("ours"), read("plain")
    expected = {key: value for key, value in extended.rope_parameters.items() if key != "rope_theta"}
    assert ours == [(extended.rope_parameters["rope_theta"], expected)] * 3
    assert plain[0] != plain[2]


def test_a_cast_moves_far_positions_by_whole_turns(build):
    model = build("llama")
    exact = model.model.rotary_emb.inv_freq.clone()
    model.to(torch.bfloat16)
    drift = (model.model.rotary_emb.inv_freq.double() - exact.double()).abs() * 100_000
    assert drift.max() > 6.28
    extend_context(model, context_length=TARGET, method="none")
    assert torch.equal(model.model.rotary_emb.inv_freq, exact)
