"""The reference shows every public name once, from the module that defines it; every page is in the navigation."""

import re
from collections import Counter

import yaml

from lsw_hf.cli import COMMANDS
from lsw_hf.public_names import HOMES
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"


def shown():
    """Full names that the reference shows, as often as it does."""
    pages = sorted((DOCS / "reference").glob("*.md"))
    return Counter(
        name for page in pages for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.M)
    )


def test_every_public_name_is_on_one_reference_page():
    expected = {f"lsw_hf.{home}.{name}" for name, home in HOMES.items()}
    found = shown()
    missing = sorted(f"::: {name}" for name in expected - set(found))
    assert not missing, f"add to a page of docs/reference/: {missing}"
    assert not set(found) - expected, "no public names"
    assert set(found.values()) == {1}


def test_the_overview_names_them_all():
    overview = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    for page, names in re.findall(r"^\| \[.+?\]\((\w+\.md)\) \| (.+) \|$", overview, re.M):
        text = (DOCS / "reference" / page).read_text(encoding="utf-8")
        assert re.findall(r"^::: [\w.]+\.(\w+)$", text, re.M) == re.findall(r"`(\w+)`", names), page
    assert set(re.findall(r"`(\w+)`", overview)) >= set(HOMES)


def test_every_command_is_on_its_page():
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    cells = " ".join(re.findall(r"^\| (`.+?) \|", page, re.M))
    assert set(re.findall(r"`(?:lsw-hf )?(\w+)`", cells)) == set(COMMANDS)


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    in_navigation = re.findall(r"[\w/]+\.md", text)
    assert sorted(in_navigation) == sorted(pages)


def test_the_build_loads_nothing_from_elsewhere():
    theme = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[0])
    assert theme["theme"]["font"] is False
    assert not [sheet for sheet in theme.get("extra_css", []) + theme.get("extra_javascript", []) if ":" in sheet]
