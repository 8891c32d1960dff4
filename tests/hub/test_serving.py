"""Serving lines say what was measured: which program answers as transformers does, for which RoPE."""

import pytest

from lsw_hf.hub.serving import serving_lines

VLLM, LLAMA_CPP, CTRANSLATE2 = range(3)


def lines(*rope_types, custom_code=False):
    return serving_lines(
        list(rope_types),
        custom_code=custom_code,
        context_length=8192,
        model_type="longskywork" if custom_code else "llama",
        model="me/m",
    )


@pytest.mark.parametrize(
    ("rope_type", "served"),
    [
        ("default", (True, True, True)),
        ("linear", (True, True, True)),
        ("yarn", (True, True, False)),
        ("llama3", (True, True, False)),
        ("dynamic", (True, False, False)),
        ("longrope", (True, False, False)),
        ("unheard", (False, False, False)),
    ],
)
def test_who_serves_what(rope_type, served):
    found = lines(rope_type)
    assert tuple(line.serves for line in found) == served
    for line in found:
        assert bool(line.command) == line.serves
        assert line.serves or line.note


def test_custom_code_runs_in_vllm_alone():
    vllm, llama_cpp, ctranslate2 = lines("yarn", custom_code=True)
    assert vllm.command == "vllm serve me/m --max-model-len 8192 --trust-remote-code --revision COMMIT"
    assert not llama_cpp.serves
    assert "knows no architecture 'longskywork' and refuses" in llama_cpp.note
    assert not ctranslate2.serves


def test_commands_of_a_stock_model():
    found = lines("yarn")
    assert found[VLLM].command == "vllm serve me/m --max-model-len 8192"
    assert found[LLAMA_CPP].command == (
        "python convert_hf_to_gguf.py me/m --outfile model.gguf\nllama-server -m model.gguf -c 8192"
    )
    assert lines("linear")[CTRANSLATE2].command == "ct2-transformers-converter --model me/m --output_dir ct2"


@pytest.mark.parametrize(
    ("rope_type", "words"), [("dynamic", "drops the dynamic scaling without a word"), ("longrope", "answers wrongly")]
)
def test_silent_failures_of_llama_cpp_are_spelled_out(rope_type, words):
    assert words in lines(rope_type)[LLAMA_CPP].note


def test_gguf_loader_of_transformers_is_warned_about_where_there_is_scaling():
    assert "drops the scaling" in lines("yarn")[LLAMA_CPP].note
    assert "drops the scaling" not in lines("default")[LLAMA_CPP].note


def test_every_rope_type_of_a_model_must_be_known():
    found = lines("default", "dynamic")
    assert not found[LLAMA_CPP].serves
    assert "'dynamic'" in found[CTRANSLATE2].note
    assert "'default'" not in found[CTRANSLATE2].note


def test_unknown_window_is_left_to_the_program():
    found = serving_lines(["default"], custom_code=False, context_length=None, model_type="llama", model="m")
    assert found[VLLM].command == "vllm serve m"
    assert found[LLAMA_CPP].command.endswith("llama-server -m model.gguf")
