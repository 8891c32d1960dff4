"""Files and folders are written whole or not at all, and what killed writers left is cleared away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsw_hf.files import is_unfinished, replacing, write_json, write_text
from tests.processes import dead_process

ROOT = Path(__file__).parents[1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "new" / "report.json"
    write_json(path, {"name": "中"})
    with replacing(path) as draft:
        assert (draft.parent, draft.suffix) == (path.parent, ".json")
        assert is_unfinished(draft.name)
        draft.write_text("new")
        assert path.read_text(encoding="utf-8") == '{\n  "name": "中"\n}\n'
    assert path.read_text() == "new"
    assert names(path.parent) == ["report.json"]


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def stop_halfway(name, error):
        with replacing(tmp_path / name) as draft:
            draft.write_text("ne")
            raise error

    with pytest.raises(OSError, match="No space left"):
        stop_halfway("a.txt", OSError(28, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        stop_halfway("b.txt", KeyboardInterrupt())
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_folder_with_files_is_kept_unless_it_is_to_be_replaced(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    with replacing(target) as draft:
        draft.mkdir()
        (draft / "first").touch()
    with pytest.raises(OSError, match="not empty"), replacing(target) as draft:
        draft.mkdir()
    assert names(target) == ["first"]
    with replacing(target, overwrite_folder=True) as draft:
        draft.mkdir()
        (draft / "third").touch()
    assert names(target) == ["third"]
    assert names(tmp_path) == ["model"]


def fail_to_rename(monkeypatch, marks, error):
    """Let every rename fail whose source has one of the marks in its name."""
    rename = os.replace

    def refuse(source, destination):
        if any(mark in os.fspath(source) for mark in marks):
            raise error
        rename(source, destination)

    monkeypatch.setattr(os, "replace", refuse)


@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch, error):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    fail_to_rename(monkeypatch, [".partial"], error)
    with pytest.raises(type(error)), replacing(target, overwrite_folder=True) as draft:
        draft.mkdir()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_put_back_is_kept_for_the_next_attempt(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with monkeypatch.context() as broken:
        fail_to_rename(broken, [".partial", ".replaced"], OSError("the disk is gone"))
        with pytest.raises(OSError, match="the disk is gone"), replacing(target, overwrite_folder=True) as draft:
            draft.mkdir()
    assert names(tmp_path) == [f".model.{os.getpid()}.replaced"]
    with pytest.raises(KeyboardInterrupt), replacing(target, overwrite_folder=True):
        raise KeyboardInterrupt
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("write", [write_text, write_json])
def test_texts_and_json_are_written_whole(tmp_path, monkeypatch, write):
    """The last step is a rename: when it fails, readers still see what was there."""
    write(tmp_path / "a.json", "old")
    before = (tmp_path / "a.json").read_text()
    fail_to_rename(monkeypatch, [".partial"], OSError("the disk is gone"))
    with pytest.raises(OSError, match="the disk is gone"):
        write(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == before
    assert names(tmp_path) == ["a.json"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no process is asked")
def test_what_another_users_process_writes_is_kept(tmp_path, monkeypatch):
    def refuse(process, signal):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    (tmp_path / ".model.77.partial").touch()
    write_text(tmp_path / "model", "new")
    assert names(tmp_path) == [".model.77.partial", "model"]


def test_only_what_dead_processes_left_of_the_same_path_is_removed(tmp_path):
    dead, alive = dead_process(), os.getppid()
    for name in (f".model.{dead}.partial", f".model.{os.getpid()}.partial", f".model.{10**30}.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").touch()
    others = [f".model.{alive}.partial", f".other.{dead}.partial", f".model.{dead}.partial.json", "model.partial"]
    others += [".model.old.partial", f"model.{dead}.partial"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()  # so that the one that was put aside is not the only one
    with replacing(tmp_path / "model") as draft:
        assert names(tmp_path) == sorted([*others, "model"])
        draft.mkdir()
    assert names(tmp_path) == sorted([*others, "model"])


@pytest.mark.parametrize(("name", "unfinished"), [
    (".a.1.partial", True), (".a.b.1.replaced.json", True), ("a.1.partial", False), (".a.partial", False),
    (".lock", False), (".a.1.partial.b.c", False),
])  # fmt: skip
def test_names_of_unfinished_files(name, unfinished):
    assert is_unfinished(name) is unfinished


KILLED_BETWEEN_THE_RENAMES = """
import os, sys
from lsw_hf.files import replacing
rename, calls = os.replace, []
def once(source, target):
    if calls: os._exit(9)
    calls.append(source)
    rename(source, target)
os.replace = once
with replacing(sys.argv[1], overwrite_folder=True) as draft:
    draft.mkdir()
    (draft / "new").touch()
"""


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    """The folder that was put aside is the only one: the next attempt gives it its name back, and may fail then."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    killed = subprocess.run([sys.executable, "-c", KILLED_BETWEEN_THE_RENAMES, str(target)], cwd=ROOT)
    assert killed.returncode == 9
    assert not target.exists()
    with pytest.raises(OSError, match="the disk is gone"), replacing(target, overwrite_folder=True):
        raise OSError("the disk is gone")
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]
