"""A saved folder is enough: other processes, other transformers releases, with and without the package.

The matrix needs interpreters that hold another transformers release. Each is named by an environment variable, and
its tests, like those of `test_hosts.py`, are skipped while that is unset:

    for release in 4.57 5.17 5.23; do
        python -m venv env$release && env$release/bin/pip install torch==2.13.0 "transformers==$release.*"
    done
    LSW_HF_PYTHON_457=env4.57/bin/python LSW_HF_PYTHON_OLDEST=env5.17/bin/python LSW_HF_PYTHON_523=env5.23/bin/python \
        python -m pytest -m slow tests/models
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lsw_hf.models.configuration_longskywork import AUTO_MAP

HERE = Path(__file__).resolve().parent
CODE = HERE.parents[1] / "lsw_hf" / "models"
TRAVELLERS = ("configuration_longskywork.py", "modeling_longskywork.py", "rope_longskywork.py")


@pytest.fixture(scope="module")
def word_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *(f"w{i}" for i in range(51))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")


@pytest.fixture
def folders(make_model, ropes, word_tokenizer, tmp_path):
    """One saved folder a RoPE type, the last one with a temperature too."""

    def save(names) -> list[str]:
        for name in names:
            extra = {"attention_temperature_slope": 0.3} if name == names[-1] else {}
            model, folder = make_model(rope_parameters=ropes[name], **extra), tmp_path / name
            model.save_pretrained(folder)
            word_tokenizer.save_pretrained(folder)
            # transformers 4.57 does not know the class name that later ones write for the very same tokenizer
            settings = json.loads((folder / "tokenizer_config.json").read_text())
            settings["tokenizer_class"] = "PreTrainedTokenizerFast"
            (folder / "tokenizer_config.json").write_text(json.dumps(settings))
            prompt = "w3 w1 w4 w1 w5 w9 w2 w6"
            ids = word_tokenizer(prompt, return_tensors="pt").input_ids
            with torch.no_grad():
                logits = model(ids).logits
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
            expected = {
                "prompt": prompt,
                "ids": ids.tolist(),
                "logits": logits.tolist(),
                "answer": word_tokenizer.decode(answer[0, ids.shape[1] :]),
            }
            (folder / "expected.json").write_text(json.dumps(expected))
        return [str(tmp_path / name) for name in names]

    return save


def run_fresh(python: str, how: str, folders: list[str], home: Path) -> dict:
    keep = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_MODULES_CACHE")}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1"}
    package = {"PYTHONPATH": str(HERE.parents[1])} if how == "package" else {}
    done = subprocess.run(
        [python, str(HERE / "fresh_process.py"), how, *folders],
        env=keep | offline | package,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check_findings(findings: dict, folders: list[str], tolerance: float) -> None:
    assert len(findings["folders"]) == len(folders)
    for folder, found in zip(folders, findings["folders"], strict=True):
        expected = json.loads(Path(folder, "expected.json").read_text())
        saved = json.loads(Path(folder, "config.json").read_text())
        assert found["classes"] == [value.partition(".")[2] for value in AUTO_MAP.values()]
        assert found["relative_difference"] <= tolerance, folder
        assert found["resaved_difference"] == 0.0
        assert found["resaved_auto_map"] == AUTO_MAP
        assert found["resaved_rope"] == [saved[key] for key in ("rope_parameters", "rope_theta", "rope_scaling")]
        assert found["round_trip"] == expected["prompt"]
        assert found["answer"].split() == expected["answer"].split()
        assert found["inv_freq_after_cast"] == "torch.float32"


def test_the_traveling_files_import_torch_transformers_and_each_other_only():
    allowed = {"torch", "transformers"} | set(sys.stdlib_module_names)
    for name in TRAVELLERS:
        for node in ast.walk(ast.parse((CODE / name).read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, name
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1, name
                assert f"{node.module}.py" in TRAVELLERS, name
            elif isinstance(node, ast.ImportFrom):
                assert node.module.partition(".")[0] in allowed, name


def test_a_saved_folder_holds_the_code_word_for_word(folders):
    (folder,) = folders(["yarn"])
    for name in TRAVELLERS:
        assert Path(folder, name).read_text() == (CODE / name).read_text()


@pytest.mark.slow
def test_a_saved_folder_loads_in_a_fresh_process_without_the_package_and_not_without_trust(folders, tmp_path):
    saved = folders(["yarn"])
    findings = run_fresh(sys.executable, "trust", saved, tmp_path)
    check_findings(findings, saved, tolerance=0.0)
    assert "contains custom code" in findings["refused"]
    assert "trust_remote_code=True" in findings["refused"]


# 5.23 is the last that calls a cache past_key_values
RELEASES = {
    "this": None,
    "5.23": "LSW_HF_PYTHON_523",
    "5.17": "LSW_HF_PYTHON_OLDEST",
    "4.57": "LSW_HF_PYTHON_457",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["trust", "package"])
@pytest.mark.parametrize("release", RELEASES)
def test_every_rope_type_loads_under_every_release(folders, ropes, tmp_path, release, how):
    if release == "4.57" and how == "package":
        pytest.skip("the package needs transformers 5; saved folders do not")
    variable = RELEASES[release]
    if variable and variable not in os.environ:
        pytest.skip(f"set {variable} to a Python with transformers {release} (see the top of this file)")
    saved = folders(list(ropes))
    findings = run_fresh(os.environ[variable] if variable else sys.executable, how, saved, tmp_path)
    assert variable is None or findings["transformers"].startswith(release)
    if how == "trust":
        assert "trust_remote_code=True" in findings["refused"]
    # another release may sum the same numbers in another order
    check_findings(findings, saved, tolerance=0.0 if variable is None else 1e-5)
