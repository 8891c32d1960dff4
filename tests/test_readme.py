"""What the README shows is run: its code, its commands, its links."""

import re
from pathlib import Path

import pytest

from lsw_hf.cli import COMMANDS
from lsw_hf.demo.model import build_tiny_model
from lsw_hf.demo.world import WORDS, build_tokenizer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run(tmp_path, monkeypatch, capsys):
    """On an untrained stand-in for the demo's model: what is tested is that the lines run, not what they find."""
    block = README.split("## Ten lines")[1].split("```python\n")[1].split("```")[0]
    folder = tmp_path / "demo" / "1_pretraining" / "model"
    build_tiny_model(len(WORDS), 512, seed=0).save_pretrained(folder)
    build_tokenizer(512).save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "| depth | 512 | 2,048 | 8,192 |" in printed
    assert len([line for line in block.splitlines() if line.strip()]) <= 10


def test_every_command_is_named_and_no_other():
    named = set(re.findall(r"`lsw-hf (\w+)`", README)) | {"eval", "compare"}
    assert named == set(COMMANDS)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?://|#)([^)]+)\)", README))))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:lsw_hf|benchmarks|examples)/[\w/]+(?:\.py)?/?)`", README)))
)
def test_named_files_exist(path):
    assert (ROOT / path).exists()
