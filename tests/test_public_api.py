"""The public face: every name resolves, importing stays light and silent, and what pip reads is well formed."""

import subprocess
import sys
from pathlib import Path

import pytest

import lsw_hf

ROOT = Path(__file__).parent.parent
# For people and for training: `import lsw_hf` must not need them.
HEAVY = ("trl", "matplotlib", "peft", "datasets", "evaluate")


def run_python(source: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, check=True)


def test_all_is_sorted_and_without_repeats():
    assert lsw_hf.__all__ == sorted(set(lsw_hf.__all__))


@pytest.mark.parametrize("name", lsw_hf.__all__)
def test_every_public_name_resolves(name):
    assert getattr(lsw_hf, name) is not None


def test_dir_lists_public_names():
    assert set(lsw_hf.__all__) <= set(dir(lsw_hf))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'lsw_hf' has no attribute 'extend_contxt'"):
        lsw_hf.extend_contxt  # noqa: B018 (the access is the test)


def test_import_is_light_and_silent():
    heavy = f"print(sorted(name for name in {HEAVY} if name in sys.modules))"
    finished = run_python(f"import sys; import lsw_hf; {heavy}")
    assert finished.stdout == "[]\n"
    assert finished.stderr == ""


def test_import_works_where_optional_packages_are_missing():
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in ("trl", "matplotlib"))
    names = ("extend_context", "extend_config", "NeedleGrid", "evaluate_needle", "DataCollatorForSkipAlign")
    wanted = "; ".join(f"lsw_hf.{name}" for name in names)
    assert run_python(f"import sys; {blocked}; import lsw_hf; {wanted}; print('fine')").stdout == "fine\n"


def test_importing_registers_the_auto_classes_and_our_attention():
    source = (
        "import lsw_hf, transformers; "
        "from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as masks; "
        "print('lsw_sdpa' in transformers.AttentionInterface().valid_keys(), 'lsw_sdpa' in masks.valid_keys()); "
        "config = transformers.AutoConfig.for_model('longskywork'); "
        "print(type(config).__name__, transformers.AutoModelForCausalLM._model_mapping[type(config)].__name__)"
    )
    assert run_python(source).stdout == "True True\nLongSkyworkConfig LongSkyworkForCausalLM\n"
