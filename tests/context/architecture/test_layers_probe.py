"""What the configuration tells about layers, against what each layer of a live model is seen to do."""

from __future__ import annotations

import warnings

import pytest

from benchmarks.context_subjects import Subject, class_subjects, published_subjects
from benchmarks.layer_probe import probe_layers
from benchmarks.tiny_models import config_from, tiny_model

NOT_COMPARED = {
    "blt": "five parts with a configuration each",
    "gemma3n": "its vision tower needs timm",
    "gemma4_unified_assistant": "drafts for another model, whose keys it takes",
}


def _seen(subject: Subject) -> tuple[list[tuple[bool, bool]], list[tuple[bool, bool]]] | None:
    """Rotates and local, of each attention layer: told by the configuration, and found by experiment."""
    layers = pytest.importorskip("lsw_hf.context.architecture.layers")
    config = config_from(subject.small)
    text = config.get_text_config(decoder=True)
    if not getattr(text, "rope_parameters", None):
        return None
    length = getattr(text, "max_position_embeddings", None) or 2**24
    told = [(layer.rotates, layer.is_local(length - 1)) for layer in layers.attention_layers(text)]
    # a layer that a recurrent model runs several times is one layer
    found = {layer.name: (layer.rotates, layer.local) for layer in probe_layers(tiny_model(config))}
    return told, list(found.values())


def _differences(subjects: list[Subject]) -> list[str]:
    problems = []
    for subject in subjects:
        if subject.reason or subject.name in NOT_COMPARED:
            continue
        pair = _seen(subject)
        if pair is not None and pair[0] != pair[1]:
            problems.append(f"{subject.name}: told {pair[0]}, found {pair[1]} (rotates, local)")
    return problems


@pytest.mark.slow
def test_every_class_is_told_right():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _differences(list(class_subjects())) == []


@pytest.mark.slow
def test_every_published_configuration_is_told_right():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _differences(list(published_subjects())) == []


@pytest.mark.parametrize(
    "name", ["cohere2", "exaone4", "gemma3_text", "gpt_oss", "llama4_text", "smollm3", "granite_swa"]
)
def test_classes_with_layers_of_several_kinds_are_told_right(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _differences(list(class_subjects([name]))) == []


def test_the_probe_sees_what_gemma_and_cohere_are_known_for():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            subject.name: [(one.rotates, one.local) for one in probe_layers(tiny_model(config_from(subject.small)))]
            for subject in class_subjects(["cohere2", "gemma3_text", "llama"])
        }
    assert found["llama"] == [(True, False)] * 2
    assert found["gemma3_text"] == [(True, True), (True, False)]
    assert found["cohere2"] == [(True, True), (False, False)]
