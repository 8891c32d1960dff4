"""A run that is killed at any moment and started again ends at the same weights, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file

STAGES = ("1_pretraining", "2_continual_pretraining", "3_sft", "4_long_sft")
KILLED = """
import os, signal, sys
import torch
from transformers import TrainerCallback
from lsw_hf.recipes import longskywork, outcome, run_directory
from lsw_hf.recipes.stage_runner import StageRunner
from lsw_hf.demo.recipe import TinySettings, tiny_data, tiny_recipe
torch.set_num_threads(1)
folder, moment, stage, step = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if moment == "step" and stage in args.output_dir and state.global_step == step:
            die()
    def on_train_end(self, args, state, control, **kwargs):
        if moment == "trained" and stage in args.output_dir:
            die()

build, keep, rename = StageRunner._trainer, StageRunner._keep, os.replace
def with_kill(self, *args):
    trainer = build(self, *args)
    trainer.add_callback(Kill())
    return trainer
def keep_and_die(self, kept, trainer):
    keep(self, kept, trainer)
    if moment == "kept" and stage == kept.folder:
        die()
def rename_and_die(source, target):
    rename(source, target)
    if moment == "renamed" and os.path.basename(target) == stage:
        die()
StageRunner._trainer, StageRunner._keep = with_kill, keep_and_die
run_directory.os.replace = rename_and_die
if moment == "measuring":
    longskywork.evaluate_needle = die
if moment == "finishing":
    outcome.build_model_card = die
settings = TinySettings(
    pretraining_steps=4, interleaved_steps=4, dialogue_steps=4, table_steps=4, row_length=512, num_samples=1
)
recipe = tiny_recipe(output_dir=folder, context_length=1024, settings=settings)
recipe.run(**tiny_data(recipe, settings))
"""


def run_and_kill(folder, moment="never", stage="", step=0):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), moment, stage, str(step)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    finished = run_and_kill(folder)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return folder


def assert_same_end(expected, found):
    """Weights equal bit for bit, and equal answers."""
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (expected, found))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for name in ("needle_before.json", "needle_after.json"):
        cells = [json.loads((folder / name).read_text())["cells"] for folder in (expected, found)]
        assert cells[0] == cells[1]
    steps = [json.loads((found / stage / "metrics.json").read_text())["steps"] for stage in STAGES]
    assert steps == [4, 4, 4, 4]
    # The file of the lock stays: to remove it would let two processes hold it.
    assert {path.name for path in found.rglob(".*")} <= {".lock"}


@pytest.mark.slow
def test_killed_between_training_and_the_next_stage(tmp_path, undisturbed):
    """After the last checkpoint, after the model was kept, while measuring, renaming and finishing."""
    broken = tmp_path / "broken"
    moments = [
        ("renamed", "0_start"), ("measuring",), ("trained", "2_continual_pretraining"), ("kept", "3_sft"),
        ("trained", "4_long_sft"), ("renamed", "needle_after.json"), ("finishing",), ("renamed", "model"),
    ]  # fmt: skip
    for moment in moments:
        killed = run_and_kill(broken, *moment)
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr[-2000:])
    finished = run_and_kill(broken)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert_same_end(undisturbed, broken)


@pytest.mark.slow
def test_killed_in_every_stage_ends_at_the_same_weights(tmp_path, undisturbed):
    """SIGKILL in the middle of each stage; the last run finishes with weights equal bit for bit."""
    broken = tmp_path / "broken"
    for number, stage in enumerate(STAGES):
        killed = run_and_kill(broken, "step", stage, 2 + number % 2)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
        assert not (broken / stage / "metrics.json").exists()
    finished = run_and_kill(broken)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert_same_end(undisturbed, broken)
    metrics = [json.loads((broken / stage / "metrics.json").read_text()) for stage in STAGES]
    assert all(stage["resumed_from_step"] > 0 for stage in metrics)
