"""What the pages quote is what the package says: troubleshooting, the guides, and the list of every message."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
GUIDES = [path for path in sorted((ROOT / "docs" / "guides").glob("*.md")) if path.name != "troubleshooting.md"]
HEADINGS = re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)
WARNINGS = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)


def load_script():
    """The script that writes the page of every message; it is no part of a package."""
    spec = importlib.util.spec_from_file_location("make_messages_page", ROOT / "docs" / "make_messages_page.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


SCRIPT = load_script()


def messages(source):
    """All strings of a source, an f-string as one."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) or id(node) not in parts]
    return [text for node in whole if isinstance(node, ast.expr) and (text := SCRIPT.shown(node)) is not None]


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


def test_every_message_is_on_its_page():
    page = (ROOT / "docs" / "reference" / "messages.md").read_text(encoding="utf-8")
    assert SCRIPT.make_page() == page, "run python docs/make_messages_page.py"


def test_no_message_escapes_the_page():
    untold = {
        path.relative_to(ROOT).as_posix(): found
        for path in sorted((ROOT / "lsw_hf").rglob("*.py"))
        if (found := SCRIPT.messages_of(path.read_text(encoding="utf-8"))[1])
    }
    # What a refusal says is on the page where it is made.
    assert untold == {"lsw_hf/context/parameters.py": ["refusal"]}


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        ("raise ValueError(f'no {name} in {place!r}.')", ["no … in …."]),
        ("raise ValueError(f'wrong:\\n' + '\\n'.join(found))", ["wrong: …"]),
        ("raise ValueError(f'{path} is empty. {hint}'.rstrip())", ["… is empty. …"]),
        ("def f():\n    text = 'too few'\n    raise ValueError(text)", ["too few"]),
        ("def f(x):\n    return f'unknown {x}'\nraise ValueError(f(3))", ["unknown …"]),
        ("warnings.warn('slow', stacklevel=2)\nlogger.warning('Left out: %s', error)", ["slow", "Left out: …"]),
        ("parser.error('needs a file')\nother.error('not ours')", ["needs a file"]),
    ],
)
def test_messages_of_a_module(source, messages):
    assert SCRIPT.messages_of(source) == (messages, [])
