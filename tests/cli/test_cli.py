"""The dispatcher: what a user reads before anything heavy is imported."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import LlamaConfig

import lsw_hf
from lsw_hf import cli
from lsw_hf.cli.parser import CommandParser, count

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_overview_shows_every_command_with_an_example(words, capsys):
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in shown
        assert f"$ lsw-hf {name} " in shown


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_keeps_its_promises(name):
    command = cli.load_command(name)
    assert command.EXAMPLE.startswith(f"lsw-hf {name} ")
    assert "\n" not in command.HELP
    assert callable(command.main)


def test_version_names_what_matters(capsys):
    assert cli.main(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"lsw-hf {lsw_hf.__version__}"
    for name in ("torch", "transformers", "trl", "peft", "tokenizers", "safetensors"):
        assert f"{name} {metadata.version(name)}" in lines
    assert lines[-1].startswith(f"python {sys.version.split()[0]} on ")


def test_version_says_what_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_LIBRARIES", ("no-such-library",))
    assert cli.main(["--version"]) == 0
    assert "no-such-library not installed" in capsys.readouterr().out


def test_a_glance_imports_nothing_beyond_the_package():
    """In one process, because the package itself takes seconds to import: what is there before is not counted."""
    program = (
        "import sys\nfrom lsw_hf import cli\nbefore = {name.partition('.')[0] for name in sys.modules}\n"
        "for words in ('--version',), ('--help',), ('compare', '--help'):\n"
        "    try:\n        cli.main(words)\n    except SystemExit:\n        pass\n"
        "    loaded = {name.partition('.')[0] for name in sys.modules} - before - set(sys.stdlib_module_names)\n"
        "    print('beyond the package:', sorted(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.count("beyond the package: []\n") == 3


def test_unknown_command_names_the_nearest(capsys):
    assert cli.main(["dmeo"]) == 2
    assert capsys.readouterr().err.startswith(
        "lsw-hf: unknown command 'dmeo'. Did you mean 'demo'?\nCommands are demo,"
    )


def test_unknown_command_far_from_all_names_none(capsys):
    assert cli.main(["xyzzy"]) == 2
    assert "Did you mean" not in capsys.readouterr().err


@pytest.mark.slow
def test_module_and_script_are_the_same():
    finished = subprocess.run(
        [sys.executable, "-m", "lsw_hf", "tran"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert finished.returncode == 2
    assert "Did you mean 'train'?" in finished.stderr


@pytest.fixture
def command(monkeypatch):
    """A command that does what the test says; its calls are kept."""
    calls = []

    def install(behavior):
        def main(arguments):
            calls.append(arguments)
            return behavior()

        monkeypatch.setattr(cli, "COMMANDS", ("probe",))
        monkeypatch.setattr(cli, "load_command", lambda name: SimpleNamespace(main=main))
        return calls

    return install


def test_arguments_and_status_pass_through(command):
    calls = command(lambda: 3)
    assert cli.main(["probe", "--seed", "1"]) == 3
    assert calls == [["--seed", "1"]]


def test_refused_input_is_one_line_without_a_traceback(command, capsys, monkeypatch):
    monkeypatch.delenv("LSW_HF_TRACEBACK", raising=False)

    def refuse():
        raise ValueError("context_length must be positive, got -1")

    command(refuse)
    assert cli.main(["probe"]) == 1
    assert capsys.readouterr().err == (
        "lsw-hf probe: context_length must be positive, got -1\n(LSW_HF_TRACEBACK=1 shows where this was raised.)\n"
    )
    monkeypatch.setenv("LSW_HF_TRACEBACK", "1")
    with pytest.raises(ValueError, match="must be positive"):
        cli.main(["probe"])


def test_our_own_mistakes_keep_their_traceback(command):
    command(lambda: {}["missing"])
    with pytest.raises(KeyError):
        cli.main(["probe"])


def test_interrupt_is_status_130(command, capsys):
    def interrupt():
        raise KeyboardInterrupt

    command(interrupt)
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err == "\nlsw-hf probe: stopped.\n"


@pytest.fixture
def parser():
    parser = CommandParser("probe", details="Does.", example="lsw-hf probe --seed 1")
    parser.add_argument("--seed", type=count(0), default=0)
    return parser


def test_misspelled_option_names_the_nearest(parser, capsys):
    with pytest.raises(SystemExit) as stopped:
        parser.parse(["--sede=3"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "lsw-hf probe: unknown option '--sede'. Did you mean '--seed'?\n"
        "lsw-hf probe --help shows the options and an example.\n"
    )


@pytest.mark.parametrize("text", ["-1", "1.5", "many", ""])
def test_count_refuses(parser, text, capsys):
    with pytest.raises(SystemExit):
        parser.parse([f"--seed={text}"])
    assert f"argument --seed: expected a whole number of at least 0, got {text!r}" in capsys.readouterr().err


def test_count_accepts_digits_apart(parser):
    assert parser.parse(["--seed", "200_000"]).seed == 200_000


def test_help_ends_with_the_example(parser, capsys):
    with pytest.raises(SystemExit) as stopped:
        parser.parse(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert shown.endswith("example:\n  $ lsw-hf probe --seed 1\n")


def test_demo_help_and_bad_options(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", "--help"])
    assert stopped.value.code == 0
    assert "--context-length" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["demo", "--context-length", "0"])
    assert "at least 1, got '0'" in capsys.readouterr().err


def test_a_misspelled_required_option_is_named(capsys):
    """argparse alone says only that the right one is missing."""
    with pytest.raises(SystemExit):
        cli.main(["extend", "--model", "x", "--contxt-length", "4096", "--output-dir", "y"])
    assert "unknown option '--contxt-length'. Did you mean '--context-length'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["needle", "--context-lengths", "64", "--model"],
        ["tables", "--num-samples", "1", "--output", "out", "--tokenizer"],
        ["data", "interleave", "--documents", "text.txt", "--output", "out", "--tokenizer"],
    ],
    ids=lambda words: words[0],
)
def test_a_folder_without_a_tokenizer_is_named(words, tmp_path, monkeypatch, capsys):
    """transformers asks for a library instead."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("some words", encoding="utf-8")
    LlamaConfig(vocab_size=8, hidden_size=32, intermediate_size=8, num_hidden_layers=1).save_pretrained("model")
    assert cli.main([*words, "model"]) == 1
    assert "No tokenizer could be loaded from model: save the model's tokenizer there" in capsys.readouterr().err
