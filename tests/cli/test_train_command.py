"""`lsw-hf train` as a user runs it: the plan, and one line without a traceback for what cannot work."""

import json

import pytest
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file

from lsw_hf import cli
from lsw_hf.recipes import longskywork


@pytest.fixture
def model(tiny_llama, tiny_tokenizer, tmp_path):
    folder = tmp_path / "model"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def train(model, tmp_path):
    """Runs the command on the tiny model; later words win."""
    (tmp_path / "corpus.txt").write_text("the key is under the old stone . " * 200, encoding="utf-8")
    row = {"prompt": "where is the key ?", "completion": "under the old stone ."}
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(8)), encoding="utf-8")

    def run(*words):
        words = ["--model", model, "--context-length", 128, "--output-dir", tmp_path / "run", "--no-needle", *words]
        words += [] if "--documents" in words else ["--documents", tmp_path / "corpus.txt"]
        words += ["--stages", "continual_pretraining", "sft"] if "--stages" not in words else []
        words += [] if "--instructions" in words else ["--instructions", tmp_path / "chats.jsonl"]
        return cli.main(["train", *map(str, words)])

    return run


SMALL = (
    "--continual_pretraining.max_steps", 1, "--continual_pretraining.per_device_train_batch_size", 1,
    "--continual_pretraining.documents_per_window", 1, "--sft.max_steps", 1, "--sft.skip_probability", 1.0,
)  # fmt: skip


def test_a_run_from_files_ends_with_a_longer_model(train, tmp_path, capsys):
    assert train(*SMALL) == 0
    assert "64 -> 128 tokens" in capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [stage["stage"] for stage in report["stages"]] == ["continual_pretraining", "sft"]
    assert load_file(tmp_path / "run" / "model" / "model.safetensors")
    (tmp_path / "corpus.txt").write_text("another text altogether " * 50, encoding="utf-8")
    assert train(*SMALL) == 1
    assert "sources.documents" in capsys.readouterr().err


def test_a_plan_is_one_json_object_on_request(train, capsys):
    assert train("--plan", "--json") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert [stage["stage"] for stage in plan["stages"]] == ["continual_pretraining", "sft"]
    assert plan["context_length"] == 128
    assert train("--plan", "--json", "--documents", "missing.txt") == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("given", "stages", "said"),
    [
        ("documents", ["continual_pretraining", "long_sft"], "Without --instructions the stage sft is left out."),
        ("instructions", ["sft", "long_sft"], "Without --documents the stage continual_pretraining is left out."),
    ],
)
def test_stages_follow_from_the_data(model, tmp_path, capsys, monkeypatch, given, stages, said):
    monkeypatch.setattr(longskywork, "check_smallest_table", lambda *args, **kwargs: None)  # too few words for tables
    (tmp_path / "documents").write_text("the key is under the old stone . " * 200, encoding="utf-8")
    row = {"prompt": "where is the key ?", "completion": "under the old stone ."}
    for name in ("documents.txt", "instructions.jsonl"):
        text = json.dumps(row) if name.endswith("jsonl") else "the key is under the old stone . " * 200
        (tmp_path / name).write_text(text, encoding="utf-8")
    file = tmp_path / ("documents.txt" if given == "documents" else "instructions.jsonl")
    words = ["train", "--model", model, "--context-length", 128, "--output-dir", tmp_path / "run", "--plan"]
    assert cli.main([*map(str, words), f"--{given}", str(file)]) == 0
    shown = capsys.readouterr().out
    assert said in shown
    assert [name for name in ("continual_pretraining", "sft", "long_sft") if f"| {name} |" in shown] == stages
    assert cli.main([*map(str, words), "--json", f"--{given}", str(file)]) == 0
    assert len(json.loads(capsys.readouterr().out)["left_out"]) == 1
    assert cli.main([*map(str, words)]) == 1
    assert "Stage continual_pretraining has nothing to train on" in capsys.readouterr().err


def test_splits_are_named(train, tmp_path, capsys):
    rows = [{"prompt": "where is the key ?", "completion": "under the old stone .", "text": "the key is " * 300}]
    splits = DatasetDict({"held_in": Dataset.from_list(rows * 4), "held_out": Dataset.from_list(rows)})
    splits.save_to_disk(str(tmp_path / "saved"))
    named = ["--plan", "--documents", tmp_path / "saved", "--instructions", tmp_path / "saved"]
    assert train(*named, "--documents-split", "held_in", "--instructions-split", "held_out") == 0
    assert train(*named) == 1
    assert "has no split 'train'. It has: held_in, held_out." in capsys.readouterr().err


def test_options_of_windows_are_read_as_by_their_own_command(train, capsys):
    """`HfArgumentParser` takes one type of a union, which was `int`."""
    assert train("--plan", "--continual_pretraining.chunks_per_document", "1:0.2,2:0.8") == 0
    assert train("--plan", "--continual_pretraining.chunks_per_document", "3") == 0
    assert train("--plan", "--continual_pretraining.separator_id", "7") == 0
    capsys.readouterr()
    assert train("--plan", "--continual_pretraining.chunks_per_document", "1:0.2,2:0.2") == 1
    assert "must be >= 0 and sum to 1" in capsys.readouterr().err
    assert train("--plan", "--continual_pretraining.chunks_per_document", "two") == 1
    assert "chunks_per_document" in capsys.readouterr().err


def test_a_plan_checks_everything_and_writes_nothing(train, tmp_path, capsys):
    assert train("--plan") == 0
    assert "| continual_pretraining |" in capsys.readouterr().out
    assert train("--plan", "--documents", tmp_path / "missing.txt") == 1
    assert "missing.txt" in capsys.readouterr().err
    assert train("--plan", "--output-dir", tmp_path / "corpus.txt") == 1
    assert "is a file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dtype", "float17"], "dtype is 'float17'; choose from auto, bfloat16, float16, float32."),
        (["--needle-samples", "0"], "needle_samples must be at least 1, got 0."),
        (["--model", "/no/such/model"], "There is no folder /no/such/model."),
        (["--context-length", "64"], "context_length=64 is not larger than the model's window of 64 tokens."),
        (["--sft.strategy", "leap"], "Stage sft: strategy must be one of"),
        (["--sft.sentence_end_tokens", "unheard"], "not single tokens of this tokenizer"),
    ],
)
def test_refusals_are_one_line(train, words, message, capsys):
    assert train(*words) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


MISTAKES = {
    "a file": ("config.json", lambda folder: None, "is a file. Give the folder of a saved model, or a Hub id"),
    "an empty folder": ("empty", lambda folder: None, "has no config.json. Give the folder of a saved model."),
    "an adapter": (
        "empty",
        lambda folder: (folder / "empty" / "adapter_config.json").write_text("{}"),
        "contains an adapter and no model. Give the folder of its base model.",
    ),
    "a missing folder": ("missing", lambda folder: None, "There is no folder "),
    "an unknown id": ("metta/lama", lambda folder: None, "metta/lama is not a folder here (looked from "),
    "broken JSON": ("", lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
    "no model_type": ("", lambda folder: (folder / "config.json").write_text("{}"), "has no model_type"),
    "an unknown model_type": (
        "",
        lambda folder: (folder / "config.json").write_text('{"model_type": "x9"}'),
        "upgrade transformers if the architecture is newer.",
    ),
    "no rotary embedding": (
        "",
        lambda folder: (folder / "config.json").write_text('{"model_type": "gpt2", "n_positions": 64}'),
        "'gpt2' cannot be extended",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_train_and_suggest_answer_a_mistake_alike(mistake, train, model, capsys):
    name, damage, message = MISTAKES[mistake]
    (model / "empty").mkdir()
    damage(model)
    given = name if name == "metta/lama" else str(model / name)
    shown = []
    for command in ("train", "suggest"):
        words = ["suggest", "--model", given, "--context-length", "128"]
        assert (train("--model", given) if command == "train" else cli.main(words)) == 1
        shown.append(capsys.readouterr().err.removeprefix(f"lsw-hf {command}: "))
    assert shown[0] == shown[1]
    assert message in shown[0]


def test_damaged_weights_are_named(train, model, capsys):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert train() == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_loss_that_is_not_a_number_is_one_line(train, capsys):
    assert train(*SMALL, "--sft.learning_rate", "1e30", "--sft.max_steps", 3) == 1
    shown = capsys.readouterr().err
    assert "Stage sft: The loss became" in shown
    assert "Traceback" not in shown
