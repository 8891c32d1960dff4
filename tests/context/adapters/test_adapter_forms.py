"""Every form of adapter: live == reloaded == merged == the merged folder read back, or refused with the cause."""

from __future__ import annotations

import pytest
from peft import PeftType, XLoraConfig
from transformers import AutoModelForCausalLM

from lsw_hf.context.adapters.saving import merge_adapter, save_adapter
from tests.context.adapters import adapter_forms as forms

pytestmark = [
    # what PEFT says when an adapter is made, saved or loaded
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    # PEFT 0.21 passes the cache under its old name to transformers 5.24
    pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning"),
]
SLOW = pytest.mark.slow
ALONE = {"XLORA"}
OFTEN = ("dora", "pissa", "bias", "own-bias", "alora", "parameters", "replicated", "rslora")
INSTALLED = {kind.value for kind in PeftType}


def test_every_form_has_a_verdict():
    assert INSTALLED - set(forms.FORMS) == set()


@pytest.mark.parametrize("base", ["llama", pytest.param("tied", marks=SLOW), pytest.param("qwen3", marks=SLOW)])
@pytest.mark.parametrize("name", sorted(set(forms.FORMS) & INSTALLED - ALONE))
def test_live_reloaded_and_merged_agree_or_the_merge_is_refused(name, base, tmp_path):
    form = forms.FORMS[name]
    if base not in form.bases:
        pytest.skip(f"PEFT does not make {name} for {base}")
    if form.missing:
        pytest.skip(f"PEFT needs {form.needs} for {name}")
    forms.prove(base, forms.configuration(name), form, tmp_path)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in OFTEN else SLOW) for name in sorted(forms.LORA_FORMS)],
)
def test_every_way_to_use_lora(name, tmp_path):
    forms.prove("llama", forms.lora_form(name), forms.LORA_FORMS[name], tmp_path)


@pytest.mark.parametrize("ensure", [False, pytest.param(True, marks=SLOW)], ids=["apart", "ensured"])
@pytest.mark.parametrize("name", forms.EMBEDDING_FORMS)
def test_lora_on_tied_embeddings(name, ensure, tmp_path):
    merged = forms.prove("tied", forms.lora_form(name, ensure_weight_tying=ensure), forms.LORA_FORMS[name], tmp_path)
    # parted where the adapter changes one and not the other, or each in its own way, as DoRA's magnitudes do
    tied = (ensure and name != "dora-embedding") or name == "rows"
    assert merged.config.tie_word_embeddings is tied
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) is tied
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert (again.lm_head.weight is again.model.embed_tokens.weight) is tied


def test_xlora_is_refused_as_peft_keeps_none_of_its_weights(tmp_path):
    folder = forms.base_folder("llama", tmp_path / "base")
    for name in ("0", "1"):  # PEFT finds no other names
        live = forms.trained(forms.extended(folder), forms.LoraConfig(**forms.RANK))
        save_adapter(live, tmp_path / name)
    model = forms.extended(folder)
    model.config.use_cache = False  # PEFT asks for it
    adapters = {name: str(tmp_path / name) for name in ("0", "1")}
    options = {**forms.FORMS["XLORA"].options, "xlora_depth": 1, "adapters": adapters}
    live = forms.trained(model, XLoraConfig(**options))
    with pytest.raises(ValueError, match=r"PEFT .* keeps no weight of a XLORA adapter when it saves one"):
        save_adapter(live, tmp_path / "adapter", selected_adapters=["default"])
    assert not (tmp_path / "adapter").exists()
    with pytest.raises(ValueError, match=f"XLORA adapter cannot be merged: it {forms.FORMS['XLORA'].verdict}"):
        merge_adapter(live, tmp_path / "merged")
