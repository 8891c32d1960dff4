"""Extending a saved folder: only metadata changes, weights are the same files."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionConfig, LlavaConfig

from benchmarks.context_zoo import ARCHITECTURES, SIZES
from lsw_hf.cli import main
from lsw_hf.context import checkpoint
from lsw_hf.context.checkpoint import extend_checkpoint
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.models import LongSkyworkConfig
from tests.processes import dead_process

TARGET = 448
PROCESS_STATUS = Path("/proc/self/status")


@pytest.fixture
def source(build, tiny_tokenizer, tmp_path):
    folder = tmp_path / "source"
    model = build("llama")
    model.generation_config.max_length = 64
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    (folder / "notes").mkdir()
    (folder / "notes" / "README.md").write_text("hello")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "state").write_text("x")
    return folder


def test_the_written_folder_is_the_extended_model(source, tmp_path, build, logits_of):
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    report = extend_checkpoint(source, tmp_path / "long", context_length=TARGET, options={"factor": 14.0})
    assert (report.rope_type, report.factor, report.context_length, report.ok) == ("yarn", 14.0, TARGET, True)
    assert report.notes == ()
    live = extend_context(build("llama"), context_length=TARGET, factor=14.0)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "long").eval()
    assert torch.equal(logits_of(loaded), logits_of(live))
    assert loaded.generation_config.max_length == TARGET
    assert AutoTokenizer.from_pretrained(tmp_path / "long").model_max_length == TARGET
    assert (tmp_path / "long" / "notes" / "README.md").read_text() == "hello"
    assert not (tmp_path / "long" / ".cache").exists()
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long", "source"]


def test_weights_are_linked_and_copied_where_links_do_not_work(source, tmp_path, monkeypatch):
    extend_checkpoint(source, tmp_path / "linked", context_length=TARGET)
    weights = "model.safetensors"
    assert (tmp_path / "linked" / weights).samefile(source / weights)

    def no_links(*_):
        raise OSError("another device")

    monkeypatch.setattr(checkpoint.os, "link", no_links)
    extend_checkpoint(source, tmp_path / "copied", context_length=TARGET)
    assert not (tmp_path / "copied" / weights).samefile(source / weights)
    assert (tmp_path / "copied" / weights).read_bytes() == (source / weights).read_bytes()


def test_saving_over_the_copy_leaves_the_source_alone(source, tmp_path, build, tiny_tokenizer):
    extend_checkpoint(source, tmp_path / "long", context_length=TARGET)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "long")
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    model.save_pretrained(tmp_path / "long")
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(tmp_path / "long")
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_a_hub_snapshot_of_symbolic_links_is_resolved(source, tmp_path):
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (snapshot / path.name).symlink_to(path)
    extend_checkpoint(snapshot, tmp_path / "long", context_length=TARGET)
    assert not any(path.is_symlink() for path in (tmp_path / "long").iterdir())
    assert "rope_scaling" not in json.loads((source / "config.json").read_text())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_reads_back_as_its_extended_config(name, tmp_path):
    config = ARCHITECTURES[name]()
    config.save_pretrained(tmp_path / "source")
    length = 1024
    extend_checkpoint(tmp_path / "source", tmp_path / "long", context_length=length, method="abf")
    loaded = type(config).from_pretrained(tmp_path / "long")
    expected = extend_config(config, context_length=length, method="abf")
    assert loaded.rope_parameters == expected.rope_parameters
    assert loaded.max_position_embeddings == length
    raw = json.loads((tmp_path / "long" / "config.json").read_text())
    expected.save_pretrained(tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert raw["rope_theta"] == written["rope_theta"]
    assert raw.get("rope_scaling") == written.get("rope_scaling")


def test_old_spelling_in_the_source_is_replaced(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    ARCHITECTURES["llama"]().save_pretrained(source)
    raw = json.loads((source / "config.json").read_text())
    del raw["rope_parameters"]
    raw |= {
        "rope_theta": 500_000.0,
        "max_position_embeddings": 128,
        "rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64},
        "custom": 5,
    }
    (source / "config.json").write_text(json.dumps(raw))
    extend_checkpoint(source, tmp_path / "long", context_length=256)
    written = json.loads((tmp_path / "long" / "config.json").read_text())
    assert written["rope_scaling"]["factor"] == 4.0
    assert written["rope_parameters"]["rope_theta"] == written["rope_theta"] == 500_000.0
    assert written["custom"] == 5


def test_bad_sources_and_targets_are_refused_and_nothing_is_left(source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no config\.json"):
        extend_checkpoint(tmp_path / "empty", tmp_path / "long", context_length=TARGET)
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        extend_checkpoint(source, source, context_length=TARGET)
    with pytest.raises(ValueError, match="unknown method"):
        extend_checkpoint(source, tmp_path / "long", context_length=TARGET, method="magic")
    with pytest.raises(TypeError, match="unexpected keyword argument 'factr'"):
        extend_checkpoint(source, tmp_path / "long", context_length=TARGET, options={"factr": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "source"]
    extend_checkpoint(source, tmp_path / "empty", context_length=TARGET)
    assert (tmp_path / "empty" / "config.json").is_file()


def test_a_source_that_contradicts_itself_is_refused(source, tmp_path):
    raw = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**raw, "rope_theta": 77.0}))
    with pytest.raises(
        ValueError,
        match=r"(?s)is ambiguous:\n- config\.json contradicts itself: rope_theta=77.*Correct the",
    ):
        extend_checkpoint(source, tmp_path / "long", context_length=TARGET)


def test_pickled_files_are_copied_because_they_are_rewritten_in_place(source, tmp_path):
    torch.save({"steps": 5}, source / "training_args.bin")
    extend_checkpoint(source, tmp_path / "long", context_length=TARGET)
    torch.save({"steps": 6}, tmp_path / "long" / "training_args.bin")
    assert torch.load(source / "training_args.bin") == {"steps": 5}


def test_checkpoints_inside_a_training_folder_are_left_behind(source, tmp_path):
    """They are models with the shorter window."""
    (source / "checkpoint-5").mkdir()
    (source / "checkpoint-5" / "config.json").write_text("{}")
    extend_checkpoint(source, tmp_path / "long", context_length=TARGET)
    assert not (tmp_path / "long" / "checkpoint-5").exists()


def test_a_neighbor_of_the_target_is_not_removed(source, tmp_path):
    (tmp_path / "long.partial").mkdir()
    (tmp_path / "long.partial" / "thesis.tex").write_text("x")
    extend_checkpoint(source, tmp_path / "long", context_length=TARGET)
    assert (tmp_path / "long.partial" / "thesis.tex").read_text() == "x"


def test_what_a_killed_process_left_does_not_block_the_next(source, tmp_path):
    leftover = tmp_path / f".long.{dead_process()}.partial"
    leftover.mkdir()
    (leftover / "half.safetensors").touch()
    extend_checkpoint(source, tmp_path / "long", context_length=TARGET)
    assert not leftover.exists()
    assert not (tmp_path / "long" / "half.safetensors").exists()


def test_the_working_folder_is_no_target(source, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match=r"output_dir \. is the working folder"):
        extend_checkpoint(source, ".", context_length=TARGET)


@pytest.mark.parametrize("method", ["yarn", "ntk"])
def test_an_attention_temperature_keeps_its_length(method, build, input_ids, tmp_path):
    config = LongSkyworkConfig(**SIZES, attention_temperature_slope=0.3)
    build(config).save_pretrained(tmp_path / "source")
    extend_checkpoint(tmp_path / "source", tmp_path / "long", context_length=TARGET, method=method)
    live = extend_context(build(config), context_length=TARGET, method=method)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "long").eval()
    with torch.no_grad():
        assert torch.equal(loaded(input_ids).logits, live(input_ids).logits)


def test_a_model_with_its_own_code_is_extended_without_a_question(source, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (source / "configuration_own.py").write_text(
        "from transformers import LlamaConfig\n\n\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    )
    (source / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\n\nfrom .configuration_own import OwnConfig\n\n\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    classes = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    raw = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**raw, "model_type": "own", "auto_map": classes}))
    report = extend_checkpoint(source, tmp_path / "long", context_length=TARGET, trust_remote_code=True)
    assert (report.ok, report.context_length) == (True, TARGET)


def test_the_text_part_of_a_model_that_sees_is_extended(tmp_path):
    sees = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    LlavaConfig(text_config=ARCHITECTURES["llama"](), vision_config=sees).save_pretrained(tmp_path / "source")
    report = extend_checkpoint(tmp_path / "source", tmp_path / "long", context_length=TARGET)
    assert (report.ok, report.context_length, report.rope_type) == (True, TARGET, "yarn")
    assert LlavaConfig.from_pretrained(tmp_path / "long").text_config.max_position_embeddings == TARGET


def test_links_to_nowhere_are_named_before_any_work(source, tmp_path):
    (source / "model-2.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"links to files that are not there: model-2\.safetensors\. Download"):
        extend_checkpoint(source, tmp_path / "long", context_length=TARGET)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_linked_folder_is_copied_once(source, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "chat.jinja").write_text("x")
    (source / "templates").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    extend_checkpoint(source, tmp_path / "long", context_length=TARGET)
    found = [str(path.relative_to(tmp_path / "long")) for path in (tmp_path / "long").rglob("chat.jinja")]
    assert found == ["templates/chat.jinja"]


def test_a_copy_inside_its_source_or_around_it_is_refused(source, tmp_path):
    for target, where in ((source / "long", "inside the model's folder"), (tmp_path, "around the model's folder")):
        with pytest.raises(ValueError, match=f"is {where}.*Choose a folder next to it"):
            extend_checkpoint(source, target, context_length=TARGET)
    assert not (source / "long").exists()


def test_a_revision_belongs_to_the_hub(source, tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match=r"revision='v1' names a state of a model on the Hub, and .*source is a folder"
    ):
        extend_checkpoint(source, tmp_path / "long", context_length=TARGET, revision="v1")
    asked = []

    def download(name, revision=None):
        asked.append((name, revision))
        return str(source)

    monkeypatch.setattr(checkpoint, "snapshot_download", download)
    words = ["extend", "--model", "some/model", "--revision", "v1", "--context-length", str(TARGET)]
    assert main([*words, "--output-dir", str(tmp_path / "long")]) == 0
    assert asked == [("some/model", "v1")]


@pytest.mark.slow
@pytest.mark.skipif(not PROCESS_STATUS.exists(), reason="the peak of one process is read from Linux's /proc")
def test_the_command_extends_13b_within_a_gigabyte(source, tmp_path):
    """Sparse files of 27 GB, 13B weights in bfloat16, stand in six shards with an index; measured is the peak."""
    (source / "model.safetensors").unlink()
    names = [f"model-{number:05d}-of-00006.safetensors" for number in range(1, 7)]
    for name in names:
        with open(source / name, "wb") as shard:
            shard.truncate(4_500_000_000)
    index = {"metadata": {"total_size": 27_000_000_000}, "weight_map": {f"w{n}": name for n, name in enumerate(names)}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    # VmHWM starts anew with the program. getrusage's ru_maxrss keeps the peak of the process that started it, here of
    # a pytest worker, which after many tests is larger than what is measured.
    code = (
        "import sys; from lsw_hf.cli import main; status = main(sys.argv[1:]);"
        f"status_lines = open({str(PROCESS_STATUS)!r}).read().splitlines();"
        "print(next(line.split()[1] for line in status_lines if line.startswith('VmHWM:'))); sys.exit(status)"
    )
    words = ["extend", "--model", str(source), "--context-length", "448", "--output-dir", str(tmp_path / "long")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    kilobytes = int(done.stdout.split()[-1])
    print(f"peak {kilobytes / 2**20:.2f} GiB")
    assert kilobytes < 2**20
    assert sum(path.stat().st_size for path in (tmp_path / "long").glob("*.safetensors")) == 27_000_000_000
    assert "window: 448 tokens" in done.stdout
