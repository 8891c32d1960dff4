"""The rules of the house that a machine can check: floors, sizes, forbidden forms. Each is shown to go red too."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.house import (
    FLOORS,
    FOLDERS,
    MAX_CODE_LINES,
    MAX_EXAMPLE_LINES,
    MAX_MODULES,
    MAX_TEST_LINES,
    ONE_KIND,
    PACKAGE,
    REASON,
    ROOT,
    SCRIPTS,
    SMALL_MODULE,
    SOURCES,
    TESTS,
    all_imports,
    blind_handlers,
    code_lines,
    folders_with_modules,
    function_violations,
    handmade,
    import_violations,
    importers,
    imports_of,
    is_package_module,
    module_name,
    sibling_violations,
)


def test_the_map_in_the_readme_is_the_tree():
    assert set(FOLDERS) == folders_with_modules()
    assert [name for name in FLOORS if not is_package_module(name) and name.startswith("lsw_hf")] == [
        "lsw_hf.evaluation.metrics",
        "lsw_hf.evaluation.lm_eval_tasks",
    ]


def test_a_folder_has_few_modules_or_modules_of_one_kind():
    counts = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    crowded = {module_name(folder / "__init__.py"): count for folder, count in counts.items() if count > MAX_MODULES}
    assert set(crowded) == set(ONE_KIND)


def test_a_small_module_with_one_importer_says_why():
    known = importers()
    silent = []
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        small = path.name != "__init__.py" and code_lines(source) < SMALL_MODULE
        documented = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
        if small and len(known.get(module_name(path), ())) == 1 and REASON not in documented:
            silent.append(f"{module_name(path)}, imported by {known[module_name(path)]}")
    assert silent == []


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("rule = '|---|---:|'", "a table"),
        ("rule = '| --- |'", "a table"),
        ("rule = f'{name} | :--- |'", "a table"),
        ("config = AutoConfig.from_pretrained(path)", "a configuration"),
    ],
)
def test_what_is_made_by_hand_is_noticed(statement, what):
    assert [found.partition(" (")[0] for found in handmade(statement)] == [what]
    assert handmade('def f():\n    """A table.\n\n    | a |\n    |---|\n    """') == []


def test_tables_and_configurations_have_one_home():
    homes = {"lsw_hf.reports", "lsw_hf.context.saved_model"}
    made = {module_name(path): handmade(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {name: found for name, found in made.items() if found and name not in homes} == {}


def test_own_imports_are_relative():
    """Absolute ones only in files that other programs load by path, and in `python -m lsw_hf`."""
    loose = ("lsw_hf.evaluation.metrics", "lsw_hf.evaluation.lm_eval_tasks", "lsw_hf.__main__")
    absolute = [
        module_name(path)
        for path in SOURCES
        if re.search(r"^\s*(?:from|import) lsw_hf\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert [name for name in absolute if not name.startswith(loose)] == []


def test_imports_only_go_down():
    assert [problem for found in all_imports() for problem in import_violations(found)] == []


def test_no_import_cycles():
    graph: dict[str, set[str]] = {}
    for found in all_imports():
        if found.top_level and found.target.startswith("lsw_hf.") and found.importer != found.target:
            graph.setdefault(found.importer, set()).add(found.target)

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join([*path, name])}"
        if name not in cleared:
            for target in sorted(graph.get(name, ())):
                walk(target, (*path, name))
            cleared.add(name)

    cleared: set[str] = set()
    for name in sorted(graph):
        walk(name, ())


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.name)
def test_model_files_reach_each_other_as_siblings(path):
    assert sibling_violations(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_one_sitting(path):
    source = path.read_text(encoding="utf-8")
    if path.is_relative_to(ROOT / "examples"):
        assert len(source.splitlines()) <= MAX_EXAMPLE_LINES
    if path in TESTS:
        assert len(source.splitlines()) <= MAX_TEST_LINES
    else:
        assert code_lines(source) <= MAX_CODE_LINES
    assert path.name != "utils.py"
    if path not in TESTS:
        assert function_violations(source) == []
    assert blind_handlers(source) == []
    if path != Path(__file__):
        assert re.findall(r"\b(?:TODO|FIXME|XXX)\b", source) == []


@pytest.mark.parametrize(
    ("importer", "statement", "reason"),
    [
        ("lsw_hf.data.positions.sampler", "import transformers", "floor 0 has only"),
        ("lsw_hf.data.tables.schema", "from ..corpus.instructions import X", "up from floor 0 to 1"),
        ("lsw_hf.data.positions.collator", "from trl import SFTTrainer", "floor 1 has only"),
        ("lsw_hf.evaluation.needle.grid", "from ...demo.recipe import x", "up from floor 2 to 5"),
        ("lsw_hf.training.long_sft", "def f():\n    from ..evaluation.needle.grid import x", "do not know each other"),
        ("lsw_hf.evaluation.tasks.suite", "from ..needle.grid import NeedleGrid", "do not know each other"),
        ("lsw_hf.models.modeling_x", "import numpy", "travels with the weights"),
        ("lsw_hf.evaluation.figures", "import matplotlib.pyplot as plt", "optional"),
        ("lsw_hf.evaluation.needle.grid", "def f():\n    import matplotlib", "floor 2 has only"),
        ("lsw_hf.hub.publish", "from ..cli import main", "up from floor 3 to 6"),
        ("lsw_hf.data.positions.sampler", "from .collator import x", "up from floor 0 to 1"),
    ],
)
def test_import_rules_go_red(importer, statement, reason):
    problems = [problem for found in imports_of(importer, statement) for problem in import_violations(found)]
    assert len(problems) == 1
    assert reason in problems[0]


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("lsw_hf.data.positions.sampler", "import math, torch"),
        ("lsw_hf.data.positions.collator", "from .sampler import skipped_position_ids"),
        ("lsw_hf.training.needle_callback", "from ..evaluation.needle.grid import evaluate_needle"),
        ("lsw_hf.evaluation.figures", "def f():\n    import matplotlib"),
        ("lsw_hf.demo.recipe", "from ..training.long_sft import LongSFTTrainer"),
        ("lsw_hf.models.rope_x", "import torch"),
        ("lsw_hf.conversion.skywork_tokenizer", "if TYPE_CHECKING:\n    import sentencepiece"),
    ],
)
def test_import_rules_stay_green(importer, statement):
    assert [problem for found in imports_of(importer, statement) for problem in import_violations(found)] == []


def test_other_rules_go_red():
    assert len(sibling_violations("from . import x\nfrom ..data import y\nimport lsw_hf\nfrom .x.y import z")) == 4
    assert sibling_violations("from .x import y\nimport torch") == []
    long_function = "def f():\n" + "    x = 1\n" * 60
    assert function_violations(long_function) == ["f has 61 lines, at most 60 are allowed"]
    documented = 'def f():\n    """One.\n\n    Two.\n    """\n' + "    x = 1\n" * 59
    assert function_violations(documented) == []
    assert function_violations("def f(self, a, b, c, d, *, e, f, g, h): pass") == []
    assert function_violations("def f(a, b, c, d, e, f, g, h, i): pass") == [
        "f has 9 parameters, at most 8 are allowed"
    ]
    assert code_lines('"""Doc."""\n\n# why\nx = """a\nb"""\ny = 1  # two\n') == 3
    handlers = "try:\n    x\nexcept:\n    pass\ntry:\n    x\nexcept (ValueError, Exception):\n    pass\n"
    assert blind_handlers(handlers + "try:\n    x\nexcept OSError:\n    pass\n") == [3, 7]
