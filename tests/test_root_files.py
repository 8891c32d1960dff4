"""The files at the root that other programs and sites read: they parse, and name only what exists."""

import ast
import re
from pathlib import Path

import pytest
import yaml

import lsw_hf
from lsw_hf import cli

ROOT = Path(__file__).parent.parent
LLMS = (ROOT / "llms.txt").read_text(encoding="utf-8")
PAPERS = ("2406.00605", "2405.03939", "2310.19341", "2310.16713")


def test_the_citation_names_the_library_and_the_papers():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == lsw_hf.__version__
    assert {"message", "title", "type", "authors", "license"} <= set(found)
    assert found["authors"] == [{"name": "The lsw_hf authors"}]
    assert [paper["url"].rpartition("/")[2] for paper in found["references"]] == list(PAPERS)
    assert all({"type", "title", "authors"} <= set(paper) for paper in found["references"])


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_parse_and_ask_for_versions(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    fields = {part["id"]: part for part in form["body"] if part["type"] != "markdown"}
    assert len(fields) >= 3
    assert "lsw-hf --version" in fields["versions"]["attributes"]["description"]
    assert fields["versions"]["validations"]["required"] == (name == "bug")


def test_llms_txt_names_only_what_exists():
    assert LLMS.startswith("# lsw_hf\n\n> ")
    paths = re.findall(r"\]\(([^)]+)\)", LLMS)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    named = set(re.findall(r"`([a-zA-Z_]+)`", LLMS)) - {"lsw_hf"}
    assert len(named) > 20
    assert named <= set(lsw_hf.__all__)
    assert set(re.findall(r"`lsw-hf (\w+)`", LLMS)) <= set(cli.COMMANDS)


def test_nothing_trusts_remote_code_by_itself():
    """What SECURITY.md promises: no call and no default in the package says yes."""
    trusting = []
    for path in (ROOT / "lsw_hf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword):
                given = [(node.arg, node.value)]
            elif isinstance(node, ast.arguments):
                given = [(one.arg, value) for one, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
                given += [(one.arg, value) for one, value in zip(node.args[::-1], node.defaults[::-1], strict=False)]
            elif isinstance(node, ast.AnnAssign):
                given = [(ast.unparse(node.target), node.value)]
            else:
                continue
            trusting += [
                str(path)
                for name, value in given
                if name == "trust_remote_code" and isinstance(value, ast.Constant) and value.value is True
            ]
    assert trusting == []
