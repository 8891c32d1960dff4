"""Writes `docs/reference/messages.md`: every message of the package, by the folder that it comes from.

Run it after changing a message; a test compares.

python docs/make_messages_page.py
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "messages.md"
# What a message begins with: a function that raises what it is given, or one that warns.
WARNINGS = ("warn", "warning")
INTRODUCTION = """# Every message

What the package says when it refuses something, and what it warns of. `…` is a place where your message has a name, a
number or a reason. [Troubleshooting](../guides/troubleshooting.md) says more about those that need it. This page is
written by `python docs/make_messages_page.py`.
"""


def shown(node: ast.expr) -> str | None:
    """Return a string as a reader meets it, or `None`: what is filled in, by f-strings or logging, becomes `…`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(?:r|s|d|\.2g)", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(value.value) if isinstance(value, ast.Constant) else "…" for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return "".join(shown(side) or "…" for side in (node.left, node.right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "rstrip":
        return shown(node.func.value)
    return None


def spoken(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield what a module raises, warns of, or ends a command with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            yield node.exc.args[0]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            method = node.func
            by_parser = method.attr == "error" and ast.unparse(method.value) == "parser"
            if by_parser or (method.attr in WARNINGS and ast.unparse(method.value) in ("warnings", "logger")):
                yield node.args[0]


def resolved(node: ast.expr, tree: ast.Module) -> list[str]:
    """Return the texts of a message: its own, those that are assigned to its name, or those its function returns."""
    text = shown(node)
    if text is not None:
        return [text]
    texts: list[str | None] = []
    if isinstance(node, ast.Name):
        for item in ast.walk(tree):
            if isinstance(item, ast.Assign) and [ast.unparse(target) for target in item.targets] == [node.id]:
                texts.append(shown(item.value))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        for item in ast.walk(tree):
            if isinstance(item, ast.FunctionDef) and item.name == node.func.id:
                texts += [shown(part.value) for part in ast.walk(item) if isinstance(part, ast.Return) and part.value]
    return [text for text in texts if text]


def messages_of(source: str) -> tuple[list[str], list[str]]:
    """Return the messages of a module, and the expressions of those that cannot be told without running it."""
    tree = ast.parse(source)
    found, untold = [], []
    for node in spoken(tree):
        texts = resolved(node, tree)
        found += [" ".join(text.split()) for text in texts]
        untold += [] if texts else [ast.unparse(node)]
    return found, untold


def make_page() -> str:
    """Return the whole page."""
    by_folder: dict[str, set[str]] = {}
    for path in sorted((ROOT / "lsw_hf").rglob("*.py")):
        messages = messages_of(path.read_text(encoding="utf-8"))[0]
        # Without a word of its own a message is another's, handed on.
        worded = {message for message in messages if re.search(r"\w{2}", message)}
        by_folder.setdefault(path.parent.relative_to(ROOT).as_posix(), set()).update(worded)
    parts = [INTRODUCTION]
    for folder, found in sorted(by_folder.items()):
        if found:
            items = "\n".join(f"- {quoted(message)}" for message in sorted(found, key=str.casefold))
            parts.append(f"## `{folder}/`\n\n{items}\n")
    return "\n".join(parts)


def quoted(message: str) -> str:
    """Return a message as code, whatever marks it contains."""
    marks = "``" if "`" in message else "`"
    return f"{marks}{' ' if marks == '``' else ''}{message}{' ' if marks == '``' else ''}{marks}"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
    print(f"wrote {PAGE}")
