"""Every example runs as a user runs it: in a process of its own, on a tiny model and tiny data."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
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
    "extend_context.py": "--model model --context-length 4096 --output-dir extended",
    "skip_align_sft.py": "--model model --rows rows.jsonl --context-length 4096 --max-steps 2 --output-dir skip",
    "longskywork_recipe.py": (
        "--model model --documents corpus.jsonl --instructions rows.jsonl --context-length 2048 --max-steps 2 "
        "--output-dir recipe"
    ),
    "datatrove_windows.py": "--model model --documents corpus.jsonl --window-length 256 --output windows",
    "needle.py": "--model model --lengths 512 1024 --samples 2 --output needle",
}
LEAVES = {
    "extend_context.py": "extended/config.json",
    "skip_align_sft.py": "skip/model.safetensors",
    "longskywork_recipe.py": "recipe/model/README.md",
    "datatrove_windows.py": "windows/windows-00000-of-00001.parquet",
    "needle.py": "needle.png",
}


def test_every_example_is_run():
    assert sorted(WORDS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WORDS))
def test_example(place, name):
    source = (EXAMPLES / name).read_text()
    assert source.startswith("# /// script\n")
    assert len(source.splitlines()) <= 60
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "HF_HOME": str(place / "home")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *WORDS[name].split()],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (place / LEAVES[name]).stat().st_size > 0
