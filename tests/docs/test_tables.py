"""Tables of the pages that repeat what the code says: defaults of windows, names of strategies."""

import re
from dataclasses import fields

from lsw_hf.data.positions.strategies import STRATEGIES
from lsw_hf.data.windows.config import ChunkInterleaveConfig
from tests.docs.pages import ROOT


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_defaults_of_windows():
    """`off` is `False`, a number is written without its point, and the end token is the command's own default."""
    said = dict(re.findall(r"^\| `--([a-z-]+)[^|]*\|[^|]*(?:\|[^|]*)*?\| ([^|]+) \|$", page("guides/data.md"), re.M))
    known = {item.name: item.default for item in fields(ChunkInterleaveConfig)}
    compared = {name: value.strip("`") for name, value in said.items() if name.replace("-", "_") in known}
    assert len(compared) >= 6
    assert compared.pop("separator-id") == "end token, `document"
    for name, value in compared.items():
        default = known[name.replace("-", "_")]
        text = f"{default:g}" if isinstance(default, float) else str(default)
        assert value == ("off" if default is False else text), name


def test_every_strategy_has_a_row():
    table = page("results/positions.md").partition("## Strategies")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.M)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(STRATEGIES)
