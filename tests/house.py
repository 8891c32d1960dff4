"""The rules of the house as functions: the floors and folders of the map, sizes, forbidden forms."""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from lsw_hf.public_names import HOMES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lsw_hf"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(path for folder in ("examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAX_CODE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS, MAX_MODULES = 250, 60, 8, 15
MAX_TEST_LINES, MAX_EXAMPLE_LINES = 350, 60
SMALL_MODULE = 60
REASON = "A module of its own"
"""How the docstring of a small module with one importer begins the sentence that says why it is one."""

# Folders whose modules are all of one kind, told apart by name alone.
ONE_KIND = {"lsw_hf.cli": "one module a command"}


def read_map() -> tuple[dict[str, int], dict[str, str]]:
    """
    The map in the README.

    Returns:
        `tuple`: the floor of each package or module by its dotted name (longest prefix wins), and what is in each
        folder of the first column.
    """
    floors, folders = {}, {}
    for folder, floor, text in re.findall(r"^\| `([\w/]+)/` \| (.+?) \| (.+?) \|$", README, re.MULTILINE):
        folders[folder] = text
        package = folder.replace("/", ".")
        default, *exceptions = floor.split("; ")
        if default != "-":
            floors[package] = int(default)
        for exception in exceptions:
            names, number = exception.rsplit(" ", 1)
            floors |= {f"{package}.{name}": int(number) for name in re.findall(r"`(\w+)`", names)}
    return floors, folders


README = (ROOT / "README.md").read_text(encoding="utf-8")
FLOORS, FOLDERS = read_map()
FLOOR_0 = {"numpy", "torch"}
FLOOR_1 = FLOOR_0 | {"datasets", "evaluate", "peft", "transformers"}
# What those four bring along: part of their own interfaces.
FLOOR_1 |= {"huggingface_hub", "pyarrow", "safetensors", "tokenizers", "tqdm", "yaml"}
FLOOR_3 = FLOOR_1 | {"accelerate", "trl", "jinja2"}
FLOOR_4 = FLOOR_3 | {"filelock"}
ALLOWED = {0: FLOOR_0, 1: FLOOR_1, 2: FLOOR_1, 3: FLOOR_3, 4: FLOOR_4, 5: FLOOR_4, 6: FLOOR_3}
MODELS_ALLOWED = {"torch", "transformers"}
# Optional packages: only these modules, and only inside a function.
OPTIONAL = {
    "matplotlib": (
        "lsw_hf.evaluation.figures",
        "lsw_hf.data.positions.coverage_plot",
    ),
    "bm25s": ("lsw_hf.data.corpus.similarity",),
    "datasketch": ("lsw_hf.data.corpus.deduplication",),
    "datatrove": ("lsw_hf.data.datatrove_steps",),
    "accelerate": ("lsw_hf.context.", "lsw_hf.evaluation."),
    "sentencepiece": ("lsw_hf.conversion.skywork_tokenizer",),
    "google": ("lsw_hf.conversion.skywork_tokenizer",),
}
# Kinds of evaluation: what they share is beside them.
KINDS = ("needle", "tasks", "losses")
# Neighbors that do not know each other: module prefix -> what it may not import, and who is excepted.
STRANGERS = [
    ("lsw_hf.training", "lsw_hf.evaluation", ("lsw_hf.training.needle_callback",)),
    ("lsw_hf.hub", "lsw_hf.training", ()),
    ("lsw_hf.evaluation", "lsw_hf.data.positions.collator", ()),
    *((f"lsw_hf.evaluation.{one}", f"lsw_hf.evaluation.{two}", ()) for one, two in permutations(KINDS, 2)),
]


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
    matches = [prefix for prefix in FLOORS if name == prefix or name.startswith(f"{prefix}.")]
    return FLOORS[max(matches, key=len)] if matches else None


def import_violations(found: Import) -> list[str]:
    """Return what is wrong with one import."""
    floor, place = floor_of(found.importer), f"{found.importer}:{found.line} imports {found.target}"
    package = found.target.split(".")[0]
    # The package's own __init__ registers the model and the backend; everything else in it is a table of names.
    if floor is None or found.importer == "lsw_hf" or package in sys.stdlib_module_names:
        return []
    if package == "lsw_hf":
        target_floor = floor_of(found.target) or 0
        problems = [f"{place}: up from floor {floor} to {target_floor}"] if target_floor > floor else []
        for prefix, stranger, excepted in STRANGERS:
            if (
                found.importer.startswith(prefix)
                and found.target.startswith(stranger)
                and found.importer not in excepted
            ):
                problems.append(f"{place}: the two do not know each other")
        return problems
    if found.importer.startswith("lsw_hf.models"):
        problem = f"{place}: models/ travels with the weights and has only torch and transformers"
        return [] if package in MODELS_ALLOWED else [problem]
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


def code_lines(source: str) -> int:
    """Lines that hold code: no docstrings, comments or blank lines."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - documented)


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


def handmade(source: str) -> list[str]:
    """Return what a module makes by hand although the package has one home for it: Markdown tables, configurations.

    Docstrings may contain tables.
    """
    tree = ast.parse(source)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            found += ["a table (reports.markdown_table)"] * bool(re.search(r"\| ?:?---?", node.value))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "AutoConfig.from_pretrained":
            found.append("a configuration (context.saved_model.load_config)")
    return found


def blind_handlers(source: str) -> list[int]:
    """Return the lines of `except:` and `except Exception` (or `BaseException`)."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(item is None or ast.unparse(item) in ("Exception", "BaseException") for item in caught):
                lines.append(node.lineno)
    return lines


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(
        found
        for path in SOURCES
        for found in imports_of(module_name(path), path.read_text(encoding="utf-8"), path.name == "__init__.py")
    )


def importers() -> dict[str, set[str]]:
    """Module -> what imports it; a module that defines a public name is imported by the table of names and by
    users.
    """
    found: dict[str, set[str]] = {f"lsw_hf.{home}": {"lsw_hf.public_names", "users"} for home in HOMES.values()}
    for one in all_imports():
        found.setdefault(one.target, set()).add(one.importer)
    return found


def folders_with_modules() -> set[str]:
    """Folders of the repository that the map has to name, as it names them."""
    inside = {path.parent for path in SOURCES}
    # A metric is a folder of its own to `evaluate.load`: the map names what they are in.
    inside = {folder.parent if folder.parent.name == "metrics" else folder for folder in inside}
    outside = {ROOT / name for name in ("examples", "benchmarks", "docs", "model_cards", "tests")}
    return {str(folder.relative_to(ROOT)) for folder in inside | outside}
