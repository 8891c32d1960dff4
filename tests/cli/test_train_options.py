"""Options of `lsw-hf train`: flags, YAML, stage options, and what is said about a wrong one."""

import pytest

from lsw_hf.cli.train_options import parse_recipe_arguments
from lsw_hf.recipes.stages import default_options, stage_options

NEEDED = ["--model", "m", "--context-length", "2048", "--output-dir", "out"]


def write(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return ["--config", str(file)]


def test_flags_with_dashes_and_stage_options():
    arguments = parse_recipe_arguments(
        [*NEEDED, "--documents", "a.txt", "b.jsonl", "--sft.max-steps", "7", "--sft.learning_rate=1e-4", "--plan"]
    )
    assert (arguments.model_name_or_path, arguments.context_length, arguments.plan) == ("m", 2048, True)
    assert arguments.documents == ["a.txt", "b.jsonl"]
    assert stage_options("sft", arguments.sft, 2048, 256)["max_steps"] == 7
    assert stage_options("sft", arguments.sft, 2048, 256)["learning_rate"] == 1e-4


def test_flags_override_yaml(tmp_path):
    config = write(
        tmp_path,
        "model_name_or_path: m\ncontext_length: 4096\noutput_dir: out\nstages: [sft]\n"
        "sft:\n  max_steps: 5\n  learning_rate: 1e-5\n",
    )
    arguments = parse_recipe_arguments([*config, "--context-length", "1024", "--sft.max_steps", "9"])
    assert (arguments.context_length, arguments.stages) == (1024, ["sft"])
    assert stage_options("sft", arguments.sft, 1024, 256) == {
        **{key: value for key, (value, _) in default_options("sft", 1024, 256).items()},
        "max_steps": 9,
        "learning_rate": 1e-5,  # YAML reads 1e-5 as text
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contxt_length: 4096\n", r"Unknown option 'contxt_length'. Did you mean 'context_length'\?"),
        ("stages: [stf]\n", r"Unknown stage: 'stf'. Did you mean 'sft'\?"),
        ("sft: [1\n", "The file of --config is not valid YAML"),
        ("sft:\n\tmax_steps: 1\n", "The file of --config is not valid YAML"),
        ("documents: 5\n", "documents must be a name or a list of names, got 5"),
        ("documents: [a.txt, 5]\n", r"documents must be a name or a list of names, got \['a.txt', 5\]"),
        ("- sft\n", r"run.yaml, must contain a mapping \(name: value\), not \['sft'\]"),
        ("", "run.yaml, must contain a mapping"),
        ("context_length: 5\ncontext-length: 6\n", "run.yaml, names context_length twice"),
        ("sft: 5\n", "sft must be a mapping of training options, got 5"),
    ],
)
def test_wrong_yaml(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe_arguments([*write(tmp_path, text), *NEEDED])


def test_yaml_takes_the_names_of_the_flags(tmp_path):
    text = "model: m\ncontext-length: '4096'\noutput-dir: out\nsft:\n  max-steps: 5\n  learning_rate: '2e-5'\n"
    arguments = parse_recipe_arguments(write(tmp_path, text))
    assert (arguments.model_name_or_path, arguments.context_length, arguments.output_dir) == ("m", 4096, "out")
    options = stage_options("sft", arguments.sft, 4096, 256)
    assert (options["max_steps"], options["learning_rate"]) == (5, 2e-5)
    file = tmp_path / "run.yaml"
    assert parse_recipe_arguments([f"--config={file}"]) == arguments
    file.write_text("contxt_length: 4096\n")
    with pytest.raises(ValueError, match=r"Did you mean 'context_length'\?"):  # not "context_length is required"
        parse_recipe_arguments(["--config", str(file)])


def test_a_config_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "run.yaml").write_bytes(b"# caf\xe9\n")
    for words, message in (
        (["--config"], "--config needs the name of a YAML file"),
        (["--config", "--plan"], "--config needs the name of a YAML file"),
        (["--config", str(tmp_path / "none.yaml")], r"none.yaml, does not exist \(looked from"),
        (["--config", str(tmp_path / "run.yaml")], r"run.yaml, is not UTF-8"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_recipe_arguments(words)


def test_a_stage_option_takes_several_values():
    words = ["--sft.lora_target_modules", "q_proj", "v_proj", "--sft.use_peft", "--sft.sentence_end_tokens", "."]
    options = stage_options("sft", parse_recipe_arguments([*NEEDED, *words]).sft, 2048, 256)
    assert options["lora_target_modules"] == ["q_proj", "v_proj"]
    assert (options["use_peft"], options["sentence_end_tokens"]) == (True, ["."])
    with pytest.raises(ValueError, match="7 is one value too many"):
        stage_options("sft", parse_recipe_arguments([*NEEDED, "--sft.max_steps", "5", "7"]).sft, 2048, 256)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--documnets", "a"], r"Unknown option 'documnets'. Did you mean 'documents'\?"),
        (["--sftt.max_steps", "1"], r"Unknown stage: 'sftt'. Did you mean 'sft'\?"),
        (["--stages", "sft", "sft"], "A stage is named twice: sft, sft"),
    ],
)
def test_wrong_flags(words, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe_arguments([*NEEDED, *words])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_step": 3}, r"Unknown option of stage sft: 'max_step'. Did you mean 'max_steps'\?"),
        ({"output_dir": "x"}, "sft.output_dir is set by the recipe itself"),
        ({"max_steps": "many"}, "Cannot read the options"),
        ({"max_steps": 0}, "sft.max_steps must be a whole number of at least 1, got 0"),
        (
            {"per_device_train_batch_size": -1},
            "sft.per_device_train_batch_size must be a whole number of at least 1, got -1",
        ),
        ({"max_steps": True}, "sft.max_steps must be a whole number of at least 1, got True"),
        ({"max_length": None}, "sft.max_length must be a whole number of at least 1, got None"),
        ({"max_length": 4096}, "sft.max_length is 4096, longer than the target, 2048 tokens"),
        ({"save_steps": 0}, "sft.save_steps must be a number of steps, or a share of them between 0 and 1, got 0"),
        ({"logging_steps": -0.5}, "sft.logging_steps must be a number of steps, or a share .* got -0.5"),
        ({"learning_rate": 0.0}, "sft.learning_rate must be positive, got 0.0"),
        ({"learning_rate": None}, "sft.learning_rate must be positive, got None"),
        ({"learning_rate": "nan"}, "sft.learning_rate must be positive, got nan"),
        ({"save_strategy": "no"}, "sft.save_strategy='no' would make the run impossible to resume: set save_steps"),
        ({"save_only_model": "true"}, "sft.save_only_model=True would make the run impossible to resume"),
        ({"num_train_epochs": 3}, "sft.num_train_epochs cannot be set: max_steps says how long a stage is"),
        ({"eval_strategy": "steps"}, "sft.eval_strategy cannot be set: a stage has no rows for evaluation"),
        ({"ignore_data_skip": True}, "sft.ignore_data_skip=True would make the run impossible to resume"),
    ],
)
def test_wrong_stage_options(given, message):
    with pytest.raises(ValueError, match=message):
        stage_options("sft", given, 2048, 256)


def test_pretraining_stays_in_its_window():
    with pytest.raises(ValueError, match=r"pretraining.max_length is 512, longer than the window that the model is"):
        stage_options("pretraining", {"max_length": 512}, 2048, 256)
