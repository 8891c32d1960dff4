"""The recipe end to end on a miniature of the demo, and what it refuses before any work."""

import itertools
import json
import resource
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import TrainerCallback

from lsw_hf.context.verification import verify_context
from lsw_hf.demo.recipe import TinySettings, tiny_data, tiny_recipe
from lsw_hf.recipes.longskywork import LongSkyworkRecipe
from lsw_hf.recipes.stage_runner import StageRunner
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
        assert not (folder / stage / "README.md").exists()  # TRL's, of a model without a name
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
    start = json.loads((folder / "0_start" / "config.json").read_text())
    assert config["use_cache"] is start["use_cache"] is True  # training turns it off
    assert config["max_position_embeddings"] == 1024
    assert config["rope_parameters"]["rope_type"] == "yarn"
    assert verify_context(str(folder / "model")).ok
    assert json.loads((folder / "model" / "tokenizer_config.json").read_text())["model_max_length"] == 1024


def test_every_tokenizer_is_one_that_transformers_4_reads(run):
    folder, _recipe, _ = run
    for model in ("2_continual_pretraining/model", "4_long_sft/model", "model"):
        settings = json.loads((folder / model / "tokenizer_config.json").read_text())
        assert settings["tokenizer_class"] == "PreTrainedTokenizerFast", model  # 4.57 knows no TokenizersBackend
        assert not isinstance(settings.get("extra_special_tokens"), list), model


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

    def times():
        # Some releases of filelock write the lock's time anew.
        files = (file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
        return {file: file.stat().st_mtime_ns for file in files}

    before = times()
    again = recipe.run(**tiny_data(recipe, MINIATURE))
    assert again.report == results.report
    assert again.after.to_dict() == results.after.to_dict()
    assert times() == before


def test_checkpoints_that_a_kill_left_behind_a_finished_stage_go(run, monkeypatch):
    folder, recipe, _ = run
    left = folder / "3_sft" / "checkpoint-2"
    left.mkdir()
    (folder / "report.json").rename(folder / "report.away")
    monkeypatch.setattr("lsw_hf.recipes.stage_runner.StageRunner._trainer", None)
    try:
        recipe.run(**tiny_data(recipe, MINIATURE))
    finally:
        (folder / "report.away").replace(folder / "report.json")
    assert not left.exists()


@pytest.mark.slow
def test_pretraining_alone_publishes_the_window_it_has(tmp_path):
    recipe = tiny_recipe(output_dir=tmp_path / "run", context_length=1024, settings=MINIATURE)
    recipe = replace(recipe, stages=("pretraining",), needle_grid=None)
    results = recipe.run(pretraining_documents=tiny_data(recipe, MINIATURE)["pretraining_documents"])
    assert results.report["context_length"] == 512
    config = json.loads((results.model_path / "config.json").read_text())
    assert config["max_position_embeddings"] == 512
    tokenizer = json.loads((results.model_path / "tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == 512


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
    for length, error in ((True, TypeError), (96.0, TypeError), ("128", TypeError)):
        with pytest.raises(error, match=f"context_length must be a whole number of tokens, got {length!r}"):
            LongSkyworkRecipe(context_length=length, **options)
    for length in (0, -1, 129):
        with pytest.raises(ValueError, match=f"table_length must be between 1 and the target of 128, got {length}"):
            LongSkyworkRecipe(context_length=128, table_length=length, **options)
    with pytest.raises(TypeError, match=r"table_length must be a whole number of tokens, got 64\.0"):
        LongSkyworkRecipe(context_length=128, table_length=64.0, **options)
    with pytest.raises(ValueError, match=r"Stage sft: .*strategy"):
        LongSkyworkRecipe(context_length=128, stages=("sft",), options={"sft": {"strategy": "leap"}}, **options).check(
            instructions=[{"prompt": "a", "completion": "b"}]
        )
    with pytest.raises(ValueError, match="tokens"):
        LongSkyworkRecipe(context_length=128, stages=("long_sft",), table_length=3, **options).check()
    with pytest.raises(ValueError, match=r"has no tokenizer: give tokenizer="):
        LongSkyworkRecipe(context_length=128, stages=("long_sft",), **{**options, "tokenizer": None}).check()
    for name in ("/no/such/place", "./nowhere", "a/b/c"):
        with pytest.raises(ValueError, match=f"There is no folder {name}. Give the folder of a saved model"):
            LongSkyworkRecipe(model=name, context_length=128, output_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"has no config.json. Give the folder of a saved model"):
        LongSkyworkRecipe(model=tmp_path, context_length=128, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_data_in_the_same_folder_is_refused(run):
    _, recipe, _ = run
    data = {name: make() for name, make in tiny_data(recipe, MINIATURE).items()}
    with pytest.raises(ValueError, match=r"data.instructions.*\n"):
        recipe.run(**data)
    other = replace(recipe, sources={"world": "another"})
    with pytest.raises(ValueError, match=r"sources.world.*there, 'another' now"):
        other.run(**tiny_data(recipe, MINIATURE))


def test_adapters_are_merged_into_each_stages_model(tmp_path):
    """Only the matrices that the adapter names change, and what is published is a plain model."""
    recipe = tiny_recipe(output_dir=tmp_path / "run", context_length=1024, settings=MINIATURE)
    sft = {**recipe.options["sft"], "use_peft": "true", "lora_r": 4, "lora_target_modules": ["q_proj", "v_proj"]}
    recipe = replace(recipe, stages=("sft",), options={"sft": sft}, needle_grid=None)
    results = recipe.run(instructions=tiny_data(recipe, MINIATURE)["instructions"])
    start, after = (
        load_file(path / "model.safetensors") for path in (tmp_path / "run" / "0_start", results.model_path)
    )
    changed = {name.split(".")[-2] for name in start if not torch.equal(start[name], after[name])}
    assert changed == {"q_proj", "v_proj"}
    assert not list(results.model_path.glob("adapter*"))


def test_adapters_and_packing_that_the_model_cannot_have_are_refused_before_any_work(tmp_path):
    recipe = tiny_recipe(output_dir=tmp_path / "run", context_length=1024, settings=MINIATURE)
    rows = tiny_data(recipe, MINIATURE)["instructions"]

    def check(model_kwargs, **options):
        sft = {**recipe.options["sft"], **options}
        replace(recipe, stages=("sft",), options={"sft": sft}, needle_grid=None, model_kwargs=model_kwargs).check(
            instructions=rows
        )

    with pytest.raises(ValueError, match=r"Stage sft: .*query_key_value.* not found in the base model"):
        check({}, use_peft=True, lora_target_modules=["query_key_value"])
    with pytest.raises(ValueError, match=r"Stage sft: attn_implementation='sdpa' cannot carry packed dialogues"):
        check({}, packing=True)
    for backend in ("lsw_sdpa", "flash_attention_2"):
        check({"attn_implementation": backend}, packing=True, use_peft=True, lora_target_modules=["q_proj"])
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


@pytest.mark.slow
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
