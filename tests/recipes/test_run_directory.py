"""The folder of a run: claimed by settings, written whole, refused where it cannot work."""

import os
import subprocess
import sys

import pytest

from lsw_hf.recipes.run_directory import RunDirectory, differences
from tests.processes import dead_process


def test_the_same_settings_may_return_and_others_are_shown(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.claim({"seed": 0, "sft": {"max_steps": 10, "learning_rate": 1e-3}})
    RunDirectory(tmp_path / "run").claim({"sft": {"learning_rate": 1e-3, "max_steps": 10}, "seed": 0})
    directory.write_json("3_sft/metrics.json", {})
    with pytest.raises(ValueError, match=r"other settings:\n  sft.max_steps: 10 there, 20 now\nGive another"):
        directory.claim({"seed": 0, "sft": {"max_steps": 20, "learning_rate": 1e-3}})


def test_a_run_that_did_nothing_yet_makes_room(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.claim({"seed": 0})
    directory.write_text("plan.md", "seed 0")
    (tmp_path / "0_start").mkdir()
    (tmp_path / "0_start" / "model.safetensors").touch()
    (tmp_path / "3_sft").mkdir()
    directory.claim({"seed": 1})
    assert directory.read_json("settings.json") == {"seed": 1}
    assert not (tmp_path / "0_start").exists()
    (tmp_path / "3_sft" / "checkpoint-1").mkdir()
    (tmp_path / "3_sft" / "checkpoint-1" / "model.safetensors").touch()
    with pytest.raises(ValueError, match="seed: 1 there, 2 now"):
        directory.claim({"seed": 2})


def test_a_kill_in_the_first_moment_makes_room(tmp_path):
    (tmp_path / f".settings.{dead_process()}.partial.json").write_text("{")
    directory = RunDirectory(tmp_path)
    directory.claim({"seed": 0})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "settings.json"]


@pytest.mark.slow
def test_two_processes_do_not_share_a_folder(tmp_path):
    code = (
        "import sys; from lsw_hf.recipes.run_directory import RunDirectory\n"
        "lock = RunDirectory(sys.argv[1]).claim({})\nprint('mine', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(ValueError, match=r"Another process is running in .*\. Wait for it, or give another"):
            RunDirectory(tmp_path).claim({})
        other.kill()
    with RunDirectory(tmp_path).claim({}):  # the lock died with its process
        pass


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"settings.json is damaged .*Remove it"):
        RunDirectory(tmp_path).check({})


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"is not empty and contains no run of this recipe \(thesis.tex\)"):
        RunDirectory(tmp_path).claim({})


def test_a_file_is_refused(tmp_path):
    file = tmp_path / "run"
    file.touch()
    with pytest.raises(ValueError, match=r"is a file. Give a folder"):
        RunDirectory(file)


def test_an_unwritable_place_is_refused(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(ValueError, match="cannot be written to: Permission denied"):
        RunDirectory(tmp_path / "run").claim({})


def test_checking_writes_nothing(tmp_path):
    RunDirectory(tmp_path / "a" / "run").check({"seed": 0})
    assert not list(tmp_path.iterdir())


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "notes").touch()
    with pytest.raises(ValueError, match=r"run cannot be made: .*notes is a file"):
        RunDirectory(tmp_path / "notes" / "run")


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"cannot be written to: no permission for .*"):
        RunDirectory(tmp_path / "run")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.write_text("plan.md", "old")

    def half(target):
        target.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        directory.replace("plan.md", half)
    assert (tmp_path / "plan.md").read_text() == "old"
    directory.write_text("plan.md", "new")
    assert sorted(os.listdir(tmp_path)) == ["plan.md"]


def test_a_folder_is_replaced_whole(tmp_path):
    directory = RunDirectory(tmp_path)

    def write(name):
        def fill(target):
            target.mkdir()
            (target / name).touch()

        return fill

    directory.replace("model", write("a"))
    directory.replace("model", write("b"))
    assert os.listdir(tmp_path / "model") == ["b"]
    # What a kill between the two renames leaves: the old folder set aside, the new one not yet in its place.
    killed = dead_process()
    os.replace(tmp_path / "model", tmp_path / f".model.{killed}.replaced")
    (tmp_path / f".model.{killed}.partial").mkdir()
    directory.replace("model", write("c"))
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(tmp_path / "model") == ["c"]


def test_differences_name_both_sides():
    assert differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 3}, "d": 4}) == [
        ("a", 1, None),
        ("b.c", 2, 3),
        ("d", None, 4),
    ]
