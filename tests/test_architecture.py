"""The rules of the house that a machine can hold: floors, sizes, forbidden forms. Each is shown to go red too."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lsw_hf"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(path for folder in ("examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAX_FILE_LINES, MAX_EXAMPLE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 350, 60, 60, 8

# Longest prefix wins; one that ends in _ covers all names that begin so. A module of a higher floor that itself needs
# no more than floor 0 may be imported from there. The package's own __init__ is a table of names and has no floor.
FLOORS = {
    "lsw_hf.models.rope_": 0,
    "lsw_hf.data.positions.sampler": 0,
    "lsw_hf.data.windows.interleaver": 0,
    "lsw_hf.data.tables": 0,
    "lsw_hf.models": 1,
    "lsw_hf.context": 1,
    "lsw_hf.data": 1,
    "lsw_hf.evaluation": 1,
    "lsw_hf.training": 2,
    "lsw_hf.recipes": 3,
    "lsw_hf.hub": 3,
    "lsw_hf.cli": 4,
    "lsw_hf.__main__": 4,
}
FLOOR_0 = {"numpy", "torch"}
FLOOR_1 = FLOOR_0 | {"datasets", "evaluate", "peft", "transformers"}
# What those four bring along: part of their own interfaces.
FLOOR_1 |= {"huggingface_hub", "pyarrow", "safetensors", "tokenizers", "tqdm", "yaml"}
FLOOR_2 = FLOOR_1 | {"accelerate", "trl"}
ALLOWED = {0: FLOOR_0, 1: FLOOR_1, 2: FLOOR_2, 3: FLOOR_2 | {"filelock", "jinja2"}, 4: FLOOR_2}
MODELS_ALLOWED = {"torch", "transformers"}
# Optional packages: only these modules, and only inside a function.
OPTIONAL = {
    "matplotlib": ("lsw_hf.evaluation.needle.heat_map", "lsw_hf.data.positions.coverage_plot"),
    "bm25s": ("lsw_hf.data.corpus.similarity",),
    "datasketch": ("lsw_hf.data.corpus.deduplication",),
    "datatrove": ("lsw_hf.data.datatrove_steps",),
    "accelerate": ("lsw_hf.context.", "lsw_hf.evaluation."),
    "sentencepiece": ("lsw_hf.conversion.skywork_tokenizer",),
    "google": ("lsw_hf.conversion.skywork_tokenizer",),
}
# Neighbours that do not know each other: module prefix -> what it may not import, and who is excepted.
STRANGERS = {
    "lsw_hf.training": ("lsw_hf.evaluation", ("lsw_hf.training.needle_callback",)),
    "lsw_hf.hub": ("lsw_hf.training", ()),
    "lsw_hf.evaluation": ("lsw_hf.data.positions.collator", ()),
}


class Import(NamedTuple):
    """One imported module (`target`) as a module (`importer`) of the package does it."""

    importer: str
    target: str
    top_level: bool
    line: int


def module_name(path: Path) -> str:
    """`lsw_hf/data/__init__.py` is `lsw_hf.data`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_package_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports_of(name: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Yield every import statement of a module's source, relative ones resolved, `TYPE_CHECKING` ones included."""
    tree = ast.parse(source)
    later = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(outer, ast.If) and ast.unparse(outer.test) == "TYPE_CHECKING")
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if is_package else name.split(".")[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from package import module` imports the module, `from module import name` the module it stands in.
            targets = [
                f"{base}.{alias.name}" if is_package_module(f"{base}.{alias.name}") else base for alias in node.names
            ]
        else:
            continue
        for target in sorted(set(targets)):
            yield Import(name, target, id(node) not in later, node.lineno)


def floor_of(name: str) -> int | None:
    matches = [p for p in FLOORS if name == p or name.startswith(p if p.endswith("_") else f"{p}.")]
    return FLOORS[max(matches, key=len)] if matches else None


@cache
def needs_only_floor_0(name: str) -> bool:
    """Whether a module, and all of ours that it imports, needs the standard library, numpy and torch alone."""
    seen, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if not path.exists():
            return False
        seen.add(name)
        for found in imports_of(name, path.read_text(encoding="utf-8")):
            if found.target.startswith("lsw_hf."):
                waiting += [found.target] if found.target not in seen else []
            elif found.target.split(".")[0] not in sys.stdlib_module_names | FLOOR_0:
                return False
    return True


def import_violations(found: Import) -> list[str]:
    """Return what is wrong with one import."""
    floor, place = floor_of(found.importer), f"{found.importer}:{found.line} imports {found.target}"
    package = found.target.split(".")[0]
    if floor is None or package in sys.stdlib_module_names:
        return []
    if package == "lsw_hf":
        target_floor = 0 if needs_only_floor_0(found.target) else floor_of(found.target) or 0
        problems = [f"{place}: up from floor {floor} to {target_floor}"] if target_floor > floor else []
        for prefix, (stranger, excepted) in STRANGERS.items():
            if (
                found.importer.startswith(prefix)
                and found.target.startswith(stranger)
                and found.importer not in excepted
            ):
                problems.append(f"{place}: the two do not know each other")
        return problems
    if found.importer.startswith("lsw_hf.models") and package not in MODELS_ALLOWED:
        return [f"{place}: models/ travels with the weights and has only torch and transformers"]
    if found.importer.startswith(OPTIONAL.get(package, ("?",))):
        return [f"{place}: optional, so import it inside the function"] if found.top_level else []
    return [] if package in ALLOWED[floor] else [f"{place}: floor {floor} has only {sorted(ALLOWED[floor])}"]


def sibling_violations(source: str) -> list[str]:
    """In models/, own code is reached by `from .sibling import name` alone: the Hub copies these files flat."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.level > 1 or (node.level == 1 and "." in (node.module or "."))):
            problems.append(f"line {node.lineno}: {ast.unparse(node)}")
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        problems += [f"line {node.lineno}: {ast.unparse(node)}" for name in names if name.split(".")[0] == "lsw_hf"]
    return problems


def function_violations(source: str) -> list[str]:
    """Functions that are too long (docstring not counted) or take too many parameters (`self` not counted)."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        documented = ast.get_docstring(node, clean=False) is not None
        length = node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)
        if length > MAX_FUNCTION_LINES:
            problems.append(f"{node.name} has {length} lines, at most {MAX_FUNCTION_LINES} are allowed")
        arguments = node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > MAX_PARAMETERS:
            problems.append(f"{node.name} has {count} parameters, at most {MAX_PARAMETERS} are allowed")
    return problems


def blind_handlers(source: str) -> list[int]:
    """Return the lines of `except:` and `except Exception` (or `BaseException`)."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(item is None or ast.unparse(item) in ("Exception", "BaseException") for item in caught):
                lines.append(node.lineno)
    return lines


def all_imports() -> list[Import]:
    return [
        found
        for path in SOURCES
        for found in imports_of(module_name(path), path.read_text(encoding="utf-8"), path.name == "__init__.py")
    ]


def test_every_module_stands_on_a_floor():
    homeless = [module_name(path) for path in SOURCES if floor_of(module_name(path)) is None]
    assert homeless == ["lsw_hf"]


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
    limit = MAX_EXAMPLE_LINES if path.parent == ROOT / "examples" else MAX_FILE_LINES
    assert len(source.splitlines()) <= limit
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
        ("lsw_hf.data.tables.schema", "from lsw_hf.data.corpus.instructions import X", "up from floor 0 to 1"),
        ("lsw_hf.data.positions.collator", "from trl import SFTTrainer", "floor 1 has only"),
        ("lsw_hf.evaluation.needle.grid", "from lsw_hf.demo.recipe import x", "up from floor 1 to 3"),
        ("lsw_hf.training.long_sft", "def f():\n    from ..evaluation.needle import x", "do not know each other"),
        ("lsw_hf.models.modeling_x", "import numpy", "travels with the weights"),
        ("lsw_hf.evaluation.needle.heat_map", "import matplotlib.pyplot as plt", "optional"),
        ("lsw_hf.evaluation.needle.grid", "def f():\n    import matplotlib", "floor 1 has only"),
        ("lsw_hf.hub.publish", "from lsw_hf.cli import main", "up from floor 3 to 4"),
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
        ("lsw_hf.data.positions.collator", "from .positions import skipped_position_ids"),
        ("lsw_hf.training.needle_callback", "from lsw_hf.evaluation.needle.grid import evaluate_needle"),
        ("lsw_hf.evaluation.needle.heat_map", "def f():\n    import matplotlib"),
        ("lsw_hf.demo.recipe", "from lsw_hf.training.long_sft import LongSFTTrainer"),
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
    handlers = "try:\n    x\nexcept:\n    pass\ntry:\n    x\nexcept (ValueError, Exception):\n    pass\n"
    assert blind_handlers(handlers + "try:\n    x\nexcept OSError:\n    pass\n") == [3, 7]
