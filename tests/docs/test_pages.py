"""Every block of code in the README and on the pages is run, or says why not; links and commands exist."""

import re
from contextlib import redirect_stdout
from io import StringIO

import pytest

from lsw_hf import cli
from lsw_hf.cli import train_options
from lsw_hf.cli.parser import CommandParser
from tests.docs.pages import (
    BLOCK,
    PAGES,
    ROOT,
    Block,
    blocks_of,
    commands_of,
    follows,
    in_order,
    matches,
    said_in_comments,
)

RUN_BY_OTHERS = {"docs/guides/data.md": "tests/data/test_data_page.py"}
"""Pages whose Python is run by a test of its own, in a world of its own."""


def named(page):
    return str(page.relative_to(ROOT))


PARAMETERS = [pytest.param(page, id=named(page)) for page in PAGES if blocks_of(page.read_text(encoding="utf-8"))]


class Parsed(Exception):
    """A command line was parsed as a whole."""


@pytest.fixture
def only_parsed(monkeypatch):
    """Commands stop after they have parsed their options."""

    def stopping(parse):
        def parse_and_stop(*arguments):
            parse(*arguments)
            raise Parsed

        return parse_and_stop

    monkeypatch.setattr(CommandParser, "parse", stopping(CommandParser.parse))
    parse_recipe_arguments = stopping(train_options.parse_recipe_arguments)
    monkeypatch.setattr(train_options, "parse_recipe_arguments", parse_recipe_arguments)


def without_config(words: list[str]) -> list[str]:
    """Return a command line of `train` with the required options in the place of the YAML file that has them."""
    if "--config" not in words:
        return words
    place = words.index("--config")
    required = "--model x --documents x --context-length 1024 --output-dir x".split()
    return [*words[:place], *words[place + 2 :], *required]


def run_command(words: list[str]) -> int:
    """Run one `lsw-hf` line in this process."""
    assert words[1] != "demo", "takes minutes: mark the block as not run"
    try:
        return cli.main(words[1:])
    except SystemExit as done:
        return int(done.code or 0)


def check_output(block: Block, after: Block | None, printed: str, where: str):
    if after is not None:
        right = after.mark is not None or matches(after.code, printed)
        assert right, f"{where} printed\n{printed}\nand the page says\n{after.code}"
        return
    said = said_in_comments(block.code)
    assert in_order(said, printed.splitlines()), f"{where} printed\n{printed}\nand the page says\n{said}"


@pytest.mark.filterwarnings("ignore:.*:FutureWarning", "ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("page", PARAMETERS)
def test_blocks_run(page, workplace):
    text = page.read_text(encoding="utf-8")
    blocks, namespace = blocks_of(text), {"__name__": "__page__"}
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.mark == "not run" or block.language not in ("python", "bash"):
            continue
        where, output = f"{named(page)}:{block.line}", StringIO()
        with redirect_stdout(output):
            if block.language == "bash":
                for words in commands_of(block.code):
                    assert words[0] != "lsw-hf" or run_command(words) == 0, f"{where}: {' '.join(words)}"
            elif named(page) not in RUN_BY_OTHERS:
                code = "\n" * block.line + block.code  # so that a traceback names the line of the page
                exec(compile(code, str(page), "exec"), namespace)
        shown = after if after and after.language == "text" and follows(text, block, after) else None
        if (block.language == "python" and named(page) not in RUN_BY_OTHERS) or shown:
            check_output(block, shown, output.getvalue(), where)


@pytest.mark.parametrize("page", PARAMETERS)
def test_commands_parse(page, only_parsed):
    """Options exist, also where a command is not run."""
    for block in blocks_of(page.read_text(encoding="utf-8")):
        for words in commands_of(block.code) if block.language == "bash" else []:
            if words[0] == "lsw-hf" and "--help" not in words and "--version" not in words:
                with pytest.raises(Parsed):
                    cli.main(without_config(words[1:]))
            if words[0] == "python" and words[1].endswith(".py"):
                assert (ROOT / words[1]).exists(), f"{named(page)}:{block.line}: {words[1]}"


def test_blocks_that_are_not_run_say_why():
    reasons = {
        f"{named(page)}:{block.line}": block.reason
        for page in PAGES
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.mark == "not run"
    }
    for where, reason in reasons.items():
        print(f"{where}: {reason}")
        assert len(reason.split()) >= 3, f"{where}: {reason!r} is no reason"


@pytest.mark.parametrize("page", [pytest.param(page, id=named(page)) for page in PAGES])
def test_files_that_a_page_names_exist(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    # A path with a wildcard or a placeholder is none.
    paths = re.findall(r"`((?:lsw_hf|benchmarks|examples|tests|docs)/[\w./]*\w/?)`", text)
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def test_the_checks_go_red():
    text = "```python\nprint(3)\n```\n\n```text\n4\n```\n"
    block, after = blocks_of(text)
    assert follows(text, block, after)
    with pytest.raises(AssertionError, match="printed"):
        check_output(block, after, "3\n", "here")
    with pytest.raises(AssertionError, match="printed"):
        check_output(Block("python", "print(3)  # 4\n", 1, None, None), None, "3\n", "here")
    check_output(Block("python", "print(x)\n# a ... d\n", 1, None, None), None, "a b c d\n", "here")
    (marked,) = blocks_of("<!-- not run: needs a GPU -->\n```bash\nlsw-hf demo\n```\n")
    assert (marked.mark, marked.reason, marked.line) == ("not run", "needs a GPU", 2)
    assert commands_of("A=1 lsw-hf data inspect \\\n  --x 'a b'  # c\npip install x && lsw-hf demo") == [
        ["lsw-hf", "data", "inspect", "--x", "a b"],
        ["pip", "install", "x"],
        ["lsw-hf", "demo"],
    ]


def test_unknown_options_go_red(only_parsed, capsys):
    with pytest.raises(SystemExit):
        cli.main(["suggest", "--model", "x", "--context-length", "8", "--metod", "yarn"])
    assert "unknown option" in capsys.readouterr().err


SCRIPTS = sorted(
    {
        line.split("    #")[0].strip()
        for page in [*PAGES, *sorted((ROOT / "benchmarks").rglob("*.md"))]
        for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        if re.match(r"\s*(?:\w+=\S+ )*python (?:benchmarks|examples)/", line)
    }
)


@pytest.mark.parametrize("line", SCRIPTS)
def test_scripts_that_pages_call_have_the_options(line):
    script = ROOT / re.search(r"python (\S+\.py)", line)[1]
    shared = (ROOT / "benchmarks" / "figures.py").read_text(encoding="utf-8")
    source = script.read_text(encoding="utf-8") + shared
    assert [option for option in re.findall(r" (--[\w-]+)", line) if f'"{option}"' not in source] == []
