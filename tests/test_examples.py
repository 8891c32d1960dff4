"""Every example runs as a user runs it: in a process of its own, on a tiny model and tiny data."""

import ast
import json
import os
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

EXAMPLES = Path(__file__).parent.parent / "examples"
TEXT = "The archive keeps a ledger of every ship. Each row names a captain, a port and a cargo of grain, salt or wool."


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with `model/`, `corpus.jsonl` and `rows.jsonl`."""
    folder = tmp_path_factory.mktemp("examples")
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator([TEXT] * 3, vocab_size=300, special_tokens=["</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token="</s>", pad_token="</s>")
    tokenizer.save_pretrained(folder / "model")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=1024, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    words = TEXT.split()
    generator = random.Random(0)
    documents = [{"text": " ".join(generator.choices(words, k=400))} for _ in range(24)]
    rows = [{"prompt": " ".join(generator.choices(words, k=9)), "completion": " grain"} for _ in range(8)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


WORDS = {
    "extend_context": "--model model --context-length 4096 --output-dir extended",
    "skip_align_sft": "--model model --rows rows.jsonl --context-length 4096 --max-steps 2 --output-dir skip",
    "longskywork_recipe": (
        "--model model --documents corpus.jsonl --instructions rows.jsonl --context-length 2048 --max-steps 2 "
        "--output-dir recipe"
    ),
    "datatrove_windows": "--model model --documents corpus.jsonl --window-length 256 --output windows",
    "needle": "--model model --lengths 512 1024 --samples 2 --output needle",
}
LEAVES = {
    "extend_context": "extended/config.json",
    "skip_align_sft": "skip/model.safetensors",
    "longskywork_recipe": "recipe/model/README.md",
    "datatrove_windows": "windows/windows-00000-of-00001.parquet",
    "needle": "needle.png",
}
NOTEBOOK = EXAMPLES / "first_page" / "first_page.ipynb"


def header(name):
    """The PEP 723 metadata of a script."""
    source = (EXAMPLES / name / f"{name}.py").read_text(encoding="utf-8")
    found = re.match(r"# /// script\n((?:#(?: .*)?\n)+)# ///\n", source)
    return tomllib.loads("".join(line[2:] + "\n" for line in found[1].splitlines()))


@pytest.fixture(scope="module")
def setup_arguments():
    """What setup.py hands to setuptools."""
    caught = (
        "import json, runpy, setuptools; caught = {}; setuptools.setup = lambda **words: caught.update(words); "
        "runpy.run_path('setup.py'); print(json.dumps(caught))"
    )
    pytest.importorskip("setuptools")
    done = subprocess.run(
        [sys.executable, "-c", caught], cwd=EXAMPLES.parent, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_each_example_has_a_folder_with_a_readme_and_is_run():
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders == {*WORDS, "first_page"}
    overview = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for folder in folders:
        file = NOTEBOOK if folder == "first_page" else EXAMPLES / folder / f"{folder}.py"
        files = {path.name for path in (EXAMPLES / folder).iterdir() if not path.name.startswith((".", "__"))}
        assert files == {"README.md", file.name}
        readme = (EXAMPLES / folder / "README.md").read_text(encoding="utf-8")
        assert f"examples/{folder}/{file.name}" in readme
        assert f"[`{folder}/`]({folder})" in overview


@pytest.mark.parametrize("name", sorted(WORDS))
def test_headers_agree_with_setup(name, setup_arguments):
    found = header(name)
    assert found["requires-python"] == setup_arguments["python_requires"]
    extras = setup_arguments["extras_require"]
    ours, *others = map(Requirement, found["dependencies"])
    assert ours.name == "lsw-hf"
    assert ours.extras <= set(extras)
    known = [*setup_arguments["install_requires"], *(line for extra in ours.extras for line in extras[extra])]
    assert {str(one) for one in others} <= {str(Requirement(line)) for line in known}
    imported = set()
    for node in ast.walk(ast.parse((EXAMPLES / name / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {node.module} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}
    packages = {module.split(".")[0] for module in imported} - set(sys.stdlib_module_names)
    assert packages == {"lsw_hf", *(one.name for one in others)}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WORDS))
def test_example(place, name):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "HF_HOME": str(place / "home")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name / f"{name}.py"), *WORDS[name].split()],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (place / LEAVES[name]).stat().st_size > 0


def test_the_notebook_is_stored_with_its_outputs():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3]
    shown = ["".join(line for output in cell["outputs"] for line in output["text"]) for cell in cells]
    assert shown[1].startswith("- window: 2,048 tokens, 512 at pretraining\n- rotary: yarn")
    assert shown[2].startswith("| depth | 1,024 | 2,048 |\n")
    ours = [line for cell in cells[1:] for line in cell["source"] if line.strip()]
    assert len(ours) <= 8


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "HF_HOME": str(tmp_path)}
    words = ["-q", "--nbmake", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), str(NOTEBOOK)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout
