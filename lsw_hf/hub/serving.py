"""Which program can serve which RoPE, with the line that does it: measured, not assumed.

The statements come from running each program on small Llama checkpoints of every RoPE type against transformers
(transformers 5.23, vLLM 0.32 on a CPU, llama.cpp of October 2026, CTranslate2 4.8).
"""

from __future__ import annotations

from dataclasses import dataclass

# The logits of llama.cpp equal transformers' for these; `dynamic` loses its scaling and `longrope` answers nonsense.
LLAMA_CPP_TYPES = ("default", "linear", "yarn", "llama3")
VLLM_TYPES = ("default", "linear", "yarn", "llama3", "dynamic", "longrope")
CTRANSLATE2_TYPES = ("default", "linear")


@dataclass(frozen=True)
class ServingLine:
    """What one program does with a checkpoint.

    Args:
        program (`str`):
            its name.
        serves (`bool`):
            whether its answers are those of transformers.
        command (`str`):
            the lines to run; empty where it does not serve.
        note (`str`):
            what to know, or why it does not serve.
    """

    program: str
    serves: bool
    command: str
    note: str


def serving_lines(
    rope_types: list[str], *, custom_code: bool, context_length: int | None, model_type: str, model: str
) -> list[ServingLine]:
    """Return what vLLM, llama.cpp and CTranslate2 do with a checkpoint.

    Args:
        rope_types (`list[str]`):
            the RoPE types in its config; a program must know all of them.
        custom_code (`bool`):
            whether its classes travel with the weights, so that loading needs `trust_remote_code`.
        context_length (`int`, *optional*):
            its window in tokens.
        model_type (`str`):
            transformers' name of the architecture.
        model (`str`):
            the path or id to write into the commands.
    """
    return [
        _vllm(rope_types, custom_code, context_length, model),
        _llama_cpp(rope_types, custom_code, context_length, model_type, model),
        _ctranslate2(rope_types, custom_code, model),
    ]


def _vllm(rope_types: list[str], custom_code: bool, context_length: int | None, model: str) -> ServingLine:
    unknown = _outside(rope_types, VLLM_TYPES)
    if unknown:
        return ServingLine("vLLM", False, "", f"RoPE type {unknown} was not tried with vLLM.")
    options = f" --max-model-len {context_length}" if context_length else ""
    options += " --trust-remote-code --revision COMMIT" if custom_code else ""
    note = "Runs the code in this repository through vLLM's Transformers backend." if custom_code else ""
    if "dynamic" in rope_types:
        note = (
            "Equal to transformers up to the original length; beyond it the frequencies depend on the prompt's length."
        )
    return ServingLine("vLLM", True, f"vllm serve {model}{options}", note)


def _llama_cpp(
    rope_types: list[str], custom_code: bool, context_length: int | None, model_type: str, model: str
) -> ServingLine:
    if custom_code:
        note = f"The converter knows no architecture {model_type!r} and refuses. Serve with transformers or vLLM."
        return ServingLine("llama.cpp", False, "", note)
    if "dynamic" in rope_types:
        note = "The converter drops the dynamic scaling without a word and writes plain RoPE: do not use it."
        return ServingLine("llama.cpp", False, "", note)
    if "longrope" in rope_types:
        note = "It converts the longrope of a Llama without a word and answers wrongly: do not use it."
        return ServingLine("llama.cpp", False, "", note)
    unknown = _outside(rope_types, LLAMA_CPP_TYPES)
    if unknown:
        return ServingLine("llama.cpp", False, "", f"RoPE type {unknown} was not tried with llama.cpp.")
    command = f"python convert_hf_to_gguf.py {model} --outfile model.gguf\nllama-server -m model.gguf"
    command += f" -c {context_length}" if context_length else ""
    note = "The converter takes a local folder and needs a tokenizer that it knows."
    if rope_types != ["default"]:
        note += " transformers' own GGUF loader drops the scaling again: load this repository there, not the GGUF."
    return ServingLine("llama.cpp", True, command, note)


def _ctranslate2(rope_types: list[str], custom_code: bool, model: str) -> ServingLine:
    if custom_code:
        return ServingLine(
            "CTranslate2", False, "", "Its converter has a table of known classes; this one is not in it."
        )
    unknown = _outside(rope_types, CTRANSLATE2_TYPES)
    if unknown:
        note = f"RoPE type {unknown} is refused or answers differently; only plain and linear RoPE are safe."
        return ServingLine("CTranslate2", False, "", note)
    return ServingLine("CTranslate2", True, f"ct2-transformers-converter --model {model} --output_dir ct2", "")


def _outside(rope_types: list[str], known: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in rope_types if name not in known)
