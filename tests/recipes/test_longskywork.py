"""The recipe end to end on a miniature of the demo, and what it refuses before any work."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import TrainerCallback

from lsw_hf.context.verification import verify_context
from lsw_hf.recipes.longskywork import LongSkyworkRecipe
from lsw_hf.recipes.stage_runner import StageRunner
from lsw_hf.recipes.tiny import TinySettings, tiny_data, tiny_recipe
from lsw_hf.training.checkpoints import last_complete_checkpoint
from lsw_hf.training.long_context_trainer import NonFiniteLossError

MINIATURE = TinySettings(
    pretraining_steps=3, interleaved_steps=2, dialogue_steps=2, table_steps=2, row_length=512, num_samples=2
)
STAGES = ("1_pretraining", "2_continual_pretraining", "3_sft", "4_long_sft")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "run"
    recipe = tiny_recipe(output_dir=folder, context_length=1024, settings=MINIATURE)
    return folder, recipe, recipe.run(**tiny_data(recipe, MINIATURE))


def test_a_run_leaves_what_it_promises(run):
    folder, _recipe, results = run
    for name in ("plan.md", "plan.json", "needle_before.json", "needle_after.json", "needle.png", "report.json"):
        assert (folder / name).stat().st_size > 0, name
    for stage in STAGES:
        assert (folder / stage / "metrics.json").exists()
        assert not list((folder / stage).glob("checkpoint-*"))
    model = {path.name for path in (folder / "model").iterdir()}
    assert {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md", "needle.png",
        "configuration_longskywork.py", "modeling_longskywork.py", "rope_longskywork.py",
    } <= model  # fmt: skip
    assert not list(folder.rglob("*.partial*"))
    grid = json.loads((folder / "needle_after.json").read_text())
    assert set(grid["cells"][0]) >= {"context_length", "depth", "samples", "correct", "accuracy"}
    assert {cell["context_length"] for cell in grid["cells"]} == {512, 1024}
    report = json.loads((folder / "report.json").read_text())
    assert [stage["steps"] for stage in report["stages"]] == [3, 2, 2, 2]
    assert [stage["tokens"] for stage in report["stages"][:2]] == [3 * 8 * 512, 2 * 4096]
    assert all(stage["final_loss"] > 0 for stage in report["stages"])
    assert {"versions", "seed", "commit", "total"} <= set(report)
    assert results.report == report


def test_the_final_model_is_extended_and_verified(run):
    folder, _recipe, _ = run
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["max_position_embeddings"] == 1024
    assert config["rope_parameters"]["rope_type"] == "yarn"
    assert verify_context(str(folder / "model")).ok
    assert json.loads((folder / "model" / "tokenizer_config.json").read_text())["model_max_length"] == 1024


def test_every_stage_changed_the_weights(run):
    folder, _, _ = run
    paths = [folder / "0_start", *[folder / stage / "model" for stage in STAGES]]
    weights = [load_file(path / "model.safetensors")["model.layers.1.self_attn.q_proj.weight"] for path in paths]
    for earlier, later in itertools.pairwise(weights):
        assert float((earlier - later).abs().max()) > 1e-5


def test_a_finished_run_repeats_nothing(run, monkeypatch):
    folder, _, results = run
    monkeypatch.setattr("lsw_hf.recipes.stage_runner.StageRunner._trainer", None)
    recipe = tiny_recipe(output_dir=folder, context_length=1024, settings=MINIATURE)
    again = recipe.run(**tiny_data(recipe, MINIATURE))
    assert again.report["stages"] == results.report["stages"]


def test_another_setting_in_the_same_folder_is_refused(run):
    folder, _, _ = run
    other = tiny_recipe(output_dir=folder, context_length=1024, settings=MINIATURE, seed=1)
    with pytest.raises(ValueError, match=r"other settings:\n(.*\n)*?  seed: 0 there, 1 now"):
        other.run(**tiny_data(other, MINIATURE))


def test_the_plan_says_what_and_where_from(run):
    _, recipe, _ = run
    text = recipe.plan().to_markdown()
    assert "512 -> 1,024 tokens" in text
    assert [line.split("|")[1].strip() for line in text.splitlines()[4:8]] == [
        "pretraining", "continual_pretraining", "sft", "long_sft",
    ]  # fmt: skip
    assert "set for this run" in text
    plain = LongSkyworkRecipe(model=recipe.model, context_length=1024, output_dir="unused").plan().to_markdown()
    assert "steps: LongSkywork (2406.00605)" in plain
    assert "length: the original window, as in SkipAlign (2405.03939)" in plain
    assert recipe.plan().stages[2].reach == 1024
    assert recipe.plan().tokens == 3 * 4096 + 2 * 4096 + 2 * 4096 + 2 * 1024


def test_refusals_before_any_work(tmp_path, tiny_llama, tiny_tokenizer):
    options = {"model": tiny_llama, "tokenizer": tiny_tokenizer, "output_dir": tmp_path / "run"}
    with pytest.raises(ValueError, match="context_length=64 is not larger than the model's window of 64 tokens"):
        LongSkyworkRecipe(context_length=64, **options)
    with pytest.raises(ValueError, match=r"Unknown stage: 'sfft'. Did you mean 'sft'"):
        LongSkyworkRecipe(context_length=128, stages=("sfft",), **options)
    with pytest.raises(ValueError, match=r"Unknown stage: 'longsft'. Did you mean 'long_sft'"):
        LongSkyworkRecipe(context_length=128, options={"longsft": {}}, **options)
    recipe = LongSkyworkRecipe(context_length=128, stages=("sft",), **options)
    with pytest.raises(ValueError, match="Stage sft has nothing to train on: give instructions="):
        recipe.run()
    assert not (tmp_path / "run").exists()


def with_callback(callback):
    """A `StageRunner._trainer` whose trainers have one more callback."""
    build = StageRunner._trainer

    def make(self, *args):
        trainer = build(self, *args)
        trainer.add_callback(callback)
        return trainer

    return make


def test_a_loss_that_is_not_a_number_names_the_stage(tmp_path, monkeypatch):
    """Finished stages and the last checkpoint stay; the message says where to look."""

    class Poison(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if "continual" in args.output_dir and state.global_step == 1:
                with torch.no_grad():
                    model.model.norm.weight[0] = float("nan")

    monkeypatch.setattr(StageRunner, "_trainer", with_callback(Poison()))
    recipe = tiny_recipe(output_dir=tmp_path / "run", context_length=1024, settings=MINIATURE)
    options = {name: {**given, "save_steps": 1} for name, given in recipe.options.items()}
    recipe = replace(recipe, options=options, needle_grid=None)
    with pytest.raises(NonFiniteLossError, match=r"Stage continual_pretraining: The loss became nan at step 2 of"):
        recipe.run(**tiny_data(recipe, MINIATURE))
    assert (tmp_path / "run" / "1_pretraining" / "metrics.json").exists()
    kept = last_complete_checkpoint(tmp_path / "run" / "2_continual_pretraining")
    assert kept is not None
    assert kept.name == "checkpoint-1"


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    """Files may not grow beyond 100 KB from step 3 on; the next run goes on from the checkpoint before that."""
    settings = replace(MINIATURE, pretraining_steps=4)

    def recipe():
        made = tiny_recipe(output_dir=tmp_path / "run", context_length=1024, settings=settings)
        options = {"pretraining": {**made.options["pretraining"], "save_steps": 2}}
        return replace(made, options=options, stages=("pretraining",), needle_grid=None)

    class Fill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = recipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageRunner, "_trainer", with_callback(Fill()))
        try:
            with pytest.raises((OSError, RuntimeError, SafetensorError)):
                full.run(**tiny_data(full, settings))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert last_complete_checkpoint(tmp_path / "run" / "1_pretraining").name == "checkpoint-2"
    again = recipe()
    results = again.run(**tiny_data(again, settings))
    assert results.report["stages"][0]["resumed_from_step"] == 2


KILLED = """
import os, signal, sys
from transformers import TrainerCallback
from lsw_hf.recipes import stage_runner
from lsw_hf.recipes.stage_runner import StageRunner
from lsw_hf.recipes.tiny import TinySettings, tiny_data, tiny_recipe
import torch
torch.set_num_threads(1)
folder, stage, step = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if stage in args.output_dir and state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

build = stage_runner.StageRunner._trainer
def with_kill(self, *args):
    trainer = build(self, *args)
    trainer.add_callback(Kill())
    return trainer
stage_runner.StageRunner._trainer = with_kill
settings = TinySettings(
    pretraining_steps=4, interleaved_steps=4, dialogue_steps=4, table_steps=4, row_length=512, num_samples=1
)
recipe = tiny_recipe(output_dir=folder, context_length=1024, settings=settings)
recipe.run(**tiny_data(recipe, settings))
"""


def run_and_kill(folder, stage, step):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), stage, str(step)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
def test_killed_in_every_stage_ends_at_the_same_weights(tmp_path):
    """SIGKILL in the middle of each stage; the last run finishes with weights equal bit for bit."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = run_and_kill(whole, "no such stage", 0)
    assert undisturbed.returncode == 0, undisturbed.stderr[-2000:]
    for number, stage in enumerate(STAGES):
        killed = run_and_kill(broken, stage, 2 + number % 2)
        assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
        assert not (broken / stage / "metrics.json").exists()
    finished = run_and_kill(broken, "no such stage", 0)
    assert finished.returncode == 0, finished.stderr[-2000:]
    expected, found = (load_file(folder / "model" / "model.safetensors") for folder in (whole, broken))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    resumed = [json.loads((broken / stage / "metrics.json").read_text())["resumed_from_step"] for stage in STAGES]
    assert all(step > 0 for step in resumed), resumed
    assert (
        json.loads((broken / "needle_after.json").read_text())["cells"]
        == json.loads((whole / "needle_after.json").read_text())["cells"]
    )
