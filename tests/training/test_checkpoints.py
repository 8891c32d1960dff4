"""A checkpoint counts only when it was written to its end."""

import json

from lsw_hf.training.checkpoints import last_complete_checkpoint


def write(folder, step, state):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "model.safetensors").touch()
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_half_written_checkpoints_are_passed_over(tmp_path):
    whole = write(tmp_path, 9, json.dumps({"global_step": 9}))
    write(tmp_path, 10, None)
    write(tmp_path, 11, '{"global_step": 1')
    write(tmp_path, 100, json.dumps({"global_step": 99}))
    assert last_complete_checkpoint(tmp_path) == whole
    assert (tmp_path / "checkpoint-10").is_dir()


def test_the_newest_is_chosen_by_number_not_by_name(tmp_path):
    write(tmp_path, 9, json.dumps({"global_step": 9}))
    newest = write(tmp_path, 10, json.dumps({"global_step": 10}))
    assert last_complete_checkpoint(tmp_path) == newest


def test_nothing_to_resume(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    assert last_complete_checkpoint(tmp_path / "missing") is None
