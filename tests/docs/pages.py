"""Pages of the documentation as blocks that can be run.

Python blocks of a page run in order in one namespace. What they print is compared with a `text` block right after
them, else with comments: `print(x)  # 3`, or comment lines right after the line that prints. `...` stands for any
text. A block after `<!-- not run: REASON -->` is not run; a `text` block after `<!-- output differs: REASON -->` is
not compared.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>not run|output differs): (?P<reason>.+?) -->\s*)?"
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """One block of code: what it is, what is in it, the line where it begins, and why it is not run."""

    language: str
    code: str
    line: int
    mark: str | None
    reason: str | None


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a page in order."""
    found = []
    for match in BLOCK.finditer(text):
        indent = len(match["indent"])
        code = "".join(line[indent:] if line.strip() else "\n" for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("indent")) + 1
        reason = " ".join(match["reason"].split()) if match["reason"] else None
        found.append(Block(match["language"], code, line, match["mark"], reason))
    return found


def follows(text: str, first: Block, second: Block) -> bool:
    """Tell whether nothing but blank lines and a mark is between two blocks."""
    lines = text.splitlines()[first.line + first.code.count("\n") + 1 : second.line - 1]
    return not re.sub(r"<!--.*?-->", "", "\n".join(lines), flags=re.DOTALL).strip()


def said_in_comments(code: str) -> list[str]:
    """Return the lines that a block says it prints."""
    lines, said, printing = code.splitlines(), [], False
    for place, line in enumerate(lines):
        if line.startswith("# ") and printing:
            rest = next((later for later in lines[place:] if not later.startswith("# ")), "")
            said += [line[2:]] if not rest.strip() else []
            continue
        printing = line.startswith("print(")
        comment = re.search(r"\)  # (.*)$", line) if printing else None
        said += [comment[1]] if comment else []
    return said


def matches(said: str, printed: str) -> bool:
    """Tell whether the whole of what was printed is what a page says, where `...` stands for any text."""
    pattern = ".*".join(re.escape(part) for part in said.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def in_order(said: list[str], printed: list[str]) -> bool:
    """Tell whether every line that was announced was printed, in that order."""
    remaining = iter(printed)
    return all(any(matches(line, other) for other in remaining) for line in said)


def commands_of(code: str) -> list[list[str]]:
    """Return the command lines of a shell block as words, without comments, variables set in front, and pipes."""
    commands = []
    for line in code.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word not in ("|", "&&", ";", ">", "2>&1"):
                words.append(word)
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                commands.append(words)
            words = []
    return commands
