"""The folder in which the code of a page runs."""

import json
import shutil
from itertools import islice

import numpy as np
import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from lsw_hf.demo.model import build_tiny_model
from lsw_hf.demo.world import WORDS, build_tokenizer
from lsw_hf.evaluation.needle.task import ProseNeedleTask

TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + ': ' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '</s>' }}{% endgeneration %}{% else %}{{ message['content'] + '\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)


def make_tokenizer():
    """Byte-level BPE: knows every word, and short ones are one token."""
    sentences = islice(ProseNeedleTask().sentences(np.random.default_rng(0)), 3_000)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(sentences, vocab_size=1_024, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=TEMPLATE,
        model_max_length=512,
    )


def make_model(vocabulary):
    """A tiny Llama with a window of 512 tokens."""
    set_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config)


def write_lines(path, rows):
    """Write a file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with everything that pages name: `my-model/`, `books/`, `dialogues.jsonl`, `rows.jsonl`."""
    folder = tmp_path_factory.mktemp("pages")
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder / "my-model")
    make_model(len(tokenizer)).save_pretrained(folder / "my-model")
    (folder / "books").mkdir()
    for place in range(24):
        sentences = islice(ProseNeedleTask().sentences(np.random.default_rng(place + 1)), 120)
        (folder / "books" / f"{place:02}.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    turns = [
        ("Where is the key?", "Below the stone at the gate."),
        ("Who put it there?", "The gardener did, last spring."),
        ("Can I take it?", "Yes, and put it back before night."),
    ]
    dialogues = [
        [
            {"role": role, "content": f"{text} ({place})"}
            for turn in turns[: 2 + place % 2]
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        for place in range(24)
    ]
    write_lines(folder / "dialogues.jsonl", [{"messages": messages} for messages in dialogues])
    write_lines(
        folder / "rows.jsonl",
        [
            {"prompt": f"{turns[place % 3][0]} ", "completion": f"{turns[place % 3][1]} ({place})"}
            for place in range(24)
        ],
    )
    demo = folder / "demo" / "1_pretraining" / "model"  # an untrained stand-in for what `make demo` leaves
    build_tiny_model(len(WORDS), 512, seed=0).save_pretrained(demo)
    build_tokenizer(512).save_pretrained(demo)
    return folder


@pytest.fixture
def workplace(prepared, tmp_path, monkeypatch):
    """A fresh copy of the folder, which is the current one."""
    folder = tmp_path / "here"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder
