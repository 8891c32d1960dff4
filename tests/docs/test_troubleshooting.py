"""Every message that the page on troubleshooting quotes begins a string of the source; placeholders are `…`."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
GUIDES = [path for path in sorted((ROOT / "docs" / "guides").glob("*.md")) if path.name != "troubleshooting.md"]
HEADINGS = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)
WARNINGS = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)


def shown(node):
    """A string as a reader meets it, or `None`: what is filled in becomes `…`, in f-strings and in logging alike."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(?:r|s|d|\.2g)", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(value.value if isinstance(value, ast.Constant) else "…" for value in node.values)
    return None


def messages(source):
    """All strings of a source, an f-string as one."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) or id(node) not in parts]
    return [text for node in whole if (text := shown(node)) is not None]


SOURCE = [
    " ".join(text.split())
    for path in sorted((ROOT / "lsw_hf").rglob("*.py"))
    for text in messages(path.read_text(encoding="utf-8"))
]


def begins_a_message(quoted):
    return any(text.startswith(quoted) for text in SOURCE)


def test_placeholders_are_dots():
    assert messages('raise ValueError(f"{a} is {b!r}, " f"not {c}: %s.")') == ["… is …, not …: %s."]
    assert messages('warn("%s has %d tokens")') == ["… has … tokens"]


def test_a_renamed_message_is_noticed():
    assert begins_a_message("unknown method …")
    assert not begins_a_message("unknown way …")


@pytest.mark.parametrize("quoted", [*HEADINGS, *WARNINGS])
def test_quoted_message_is_in_the_source(quoted):
    assert begins_a_message(quoted)


def test_no_message_has_two_entries():
    assert len(HEADINGS) == len(set(HEADINGS))


def test_the_page_covers_what_users_meet():
    assert len(HEADINGS) > 150
    assert len(WARNINGS) > 8


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_messages_in_the_tables_of_the_guides_are_in_the_source(guide):
    text = guide.read_text(encoding="utf-8").partition("## What goes wrong")[2]
    for quoted in re.findall(r"^(?:\| |\* \*?\*?)`(…[^`]+|[^`]+…[^`]*)`", text, re.MULTILINE):
        assert any(quoted in known for known in SOURCE), quoted
