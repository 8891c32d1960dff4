"""Saved folders get today's code, and nothing else is touched."""

import json
import shutil
from pathlib import Path

import pytest

from lsw_hf import refresh_code
from lsw_hf.cli import main
from lsw_hf.context import refresh
from lsw_hf.context.refresh import CODE_FILES, RELEASED, code_hash, current_code, list_current_code
from lsw_hf.models import LongSkyworkConfig

OLD = Path(__file__).parents[1] / "models" / "saved_by_95168b3"


@pytest.fixture
def saved(tmp_path) -> Path:
    """A folder as it was saved by an earlier version; the weights do not matter here."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in OLD.glob("*.txt"):
        shutil.copy(file, folder / f"{file.stem}.py")
    (folder / "config.json").write_text('{"model_type": "longskywork"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_current_code_is_listed():
    released = json.loads(RELEASED.read_text())
    unlisted = [name for name, code in current_code().items() if code_hash(code) not in released[name]]
    assert not unlisted, "folders saved today could not be refreshed later: run python -m lsw_hf.context.refresh"
    assert list(released) == list(CODE_FILES)
    assert all(len(set(hashes)) == len(hashes) for hashes in released.values())


def test_old_code_is_replaced_and_nothing_else(saved):
    before = contents(saved)
    (saved / "modeling_longskywork.py").chmod(0o640)
    replaced = refresh_code(saved)
    assert "modeling_longskywork.py" in replaced
    assert contents(saved) == before | current_code()
    assert (saved / "modeling_longskywork.py").stat().st_mode & 0o777 == 0o640


def test_a_second_time_there_is_nothing_to_do(saved):
    refresh_code(saved)
    before = {path: path.stat().st_mtime_ns for path in saved.iterdir()}
    assert refresh_code(saved) == []
    assert before == {path: path.stat().st_mtime_ns for path in saved.iterdir()}


def test_a_folder_saved_today_is_current(tmp_path):
    LongSkyworkConfig(vocab_size=11).save_pretrained(tmp_path)
    assert refresh_code(tmp_path) == []


def test_other_line_ends_are_no_edit(saved):
    code = (saved / "modeling_longskywork.py").read_bytes()
    (saved / "modeling_longskywork.py").write_bytes(code.replace(b"\n", b"\r\n"))
    assert "modeling_longskywork.py" in refresh_code(saved)


def test_edited_files_are_named_and_nothing_is_written(saved):
    for name in ("modeling_longskywork.py", "rope_longskywork.py"):
        with (saved / name).open("a") as file:
            file.write("# mine\n")
    before = contents(saved)
    with pytest.raises(ValueError, match=r"^rope_longskywork.py, modeling_longskywork.py in .*edited by hand"):
        refresh_code(saved)
    assert contents(saved) == before


@pytest.mark.parametrize(
    ("kept", "after"),
    [
        (["rope"], ["rope"]),
        (["configuration"], ["rope", "configuration"]),
        (["configuration", "rope"], ["rope", "configuration"]),
        (["modeling"], ["rope", "configuration", "modeling"]),
    ],
)
def test_a_folder_with_some_of_the_files_gets_what_those_import(saved, kept, after):
    for name in CODE_FILES:
        if name.partition("_")[0] not in kept:
            (saved / name).unlink()
    refresh_code(saved)
    names = {f"{name}_longskywork.py" for name in after}
    assert {path.name for path in saved.glob("*.py")} == names
    assert all((saved / name).read_bytes() == current_code()[name] for name in names)


def test_an_interrupted_refresh_leaves_no_drafts(saved, monkeypatch):
    before = contents(saved)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(refresh.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        refresh_code(saved)
    assert contents(saved) == before


def test_a_disk_that_is_full_at_the_last_file_changes_none(saved, monkeypatch):
    """All files are written before the first takes its name."""
    before, write, written = contents(saved), Path.write_bytes, []

    def full(path, data):
        if len(written) == 2:
            raise OSError("No space left on device")
        written.append(path.name)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        refresh_code(saved)
    assert len(written) == 2
    assert contents(saved) == before


def test_folders_without_our_code_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"contains none of rope_longskywork.py, .*nothing to refresh in other folders"
    ):
        refresh_code(tmp_path)
    with pytest.raises(ValueError, match="is not a folder; give the one that contains a saved model"):
        refresh_code(tmp_path / "missing")


def test_the_list_grows_by_what_is_new_only(tmp_path, monkeypatch):
    copy = tmp_path / "released.json"
    released = json.loads(RELEASED.read_text())
    code = current_code()
    new = "modeling_longskywork.py"
    copy.write_text(json.dumps(released | {new: [value for value in released[new] if value != code_hash(code[new])]}))
    monkeypatch.setattr(refresh, "RELEASED", copy)
    assert list_current_code() == [new]
    assert {name: set(values) for name, values in json.loads(copy.read_text()).items()} == {
        name: set(values) for name, values in released.items()
    }
    assert list_current_code() == []


def test_the_command_says_what_it_did(saved, capsys):
    assert main(["refresh", str(saved)]) == 0
    assert "modeling_longskywork.py" in capsys.readouterr().out
    assert main(["refresh", str(saved)]) == 0
    assert "is this version's already" in capsys.readouterr().out
    assert main(["refresh", str(saved / "missing")]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_a_file_that_the_configuration_names_is_put_back(saved):
    (saved / "config.json").write_text('{"auto_map": {"AutoModel": "me/it--modeling_longskywork.LongSkyworkModel"}}')
    refresh_code(saved)
    (saved / "modeling_longskywork.py").unlink()
    assert refresh_code(saved) == ["modeling_longskywork.py"]
    assert refresh_code(saved) == []
