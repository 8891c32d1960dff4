"""The public face: every name resolves, importing stays light and silent, and what pip reads is well formed."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import lsw_hf
from lsw_hf.public_names import HOMES
from tests.house import SCRIPTS, is_package_module

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


def test_the_table_is_sorted_by_name():
    assert list(HOMES) == sorted(HOMES)


@pytest.mark.parametrize("name", HOMES)
def test_a_name_is_importable_from_every_folder_above_its_module(name):
    folders = HOMES[name].split(".")[:-1]
    for depth in range(len(folders)):
        face = import_module(".".join(["lsw_hf", *folders[: depth + 1]]))
        assert getattr(face, name) is getattr(lsw_hf, name)
        assert name in face.__all__
        assert name in dir(face)


def test_a_face_shows_what_is_in_its_folder_and_nothing_else():
    from lsw_hf import training

    assert "SkipAlignTrainer" in training.__all__
    assert "NeedleGrid" not in training.__all__
    with pytest.raises(AttributeError, match=r"module 'lsw_hf.training' has no attribute 'NeedleGrid'"):
        training.NeedleGrid  # noqa: B018 (the access is the test)


def test_what_the_pages_and_examples_import_is_public():
    """By a folder's face, never by the path of a module, which may move."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "lsw_hf").rglob("README.md")]
    pages += [*(ROOT / "model_cards").glob("*.md"), *(ROOT / "examples").rglob("*.py")]
    sources = sorted((ROOT / "lsw_hf").rglob("*.py"))
    deep = []
    for page in [*pages, *sources]:
        prompt = ">>> " if page in sources else "(?:>>> )?"
        pattern = re.compile(rf"^\s*{prompt}from (lsw_hf[\w.]*) import (.+)$", re.MULTILINE)
        for module, names in pattern.findall(page.read_text(encoding="utf-8")):
            wanted = [name.split(" as ")[0].strip() for name in names.strip("()").split(",") if name.strip()]
            is_folder = (ROOT / module.replace(".", "/")).is_dir()
            deep += [
                f"{page.relative_to(ROOT)}: {module} {name}" for name in wanted if not is_folder or name not in HOMES
            ]
    assert deep == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_imports_of_the_package_exists(script):
    """Also inside functions, which run only when the script does."""
    missing = []
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lsw_hf":
            module = import_module(node.module)
            names = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            missing += [name for name in names if not is_package_module(f"{node.module}.{name}")]
    assert missing == []


def test_dir_lists_public_names():
    assert set(lsw_hf.__all__) <= set(dir(lsw_hf))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'lsw_hf' has no attribute 'extend_contxt'"):
        lsw_hf.extend_contxt  # noqa: B018 (the access is the test)


def test_import_is_light_and_silent():
    heavy = f"print(sorted(name for name in {HEAVY} if name in sys.modules))"
    faces = "import lsw_hf.training, lsw_hf.evaluation, lsw_hf.data, lsw_hf.hub, lsw_hf.recipes"
    finished = run_python(f"import sys; import lsw_hf; {faces}; {heavy}")
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
