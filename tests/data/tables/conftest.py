"""
Two real tokenizers of different build, trained on the spot: byte-level BPE, and BPE on metaspaces with byte fallback.
"""

import numpy as np
import pytest

from lsw_hf.data.tables import FORMATS, render_table
from lsw_hf.data.tables.drawing import draw_table
from lsw_hf.data.tables.filler import SENTENCES
from lsw_hf.data.tables.questions.templates import TEMPLATES
from lsw_hf.data.tables.schema import random_schema

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# The split that current byte-level tokenizers use: words with their space, three digits, punctuation, line ends.
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus():
    """Tables of every format, templates and prose, in both languages."""
    texts = []
    for language in ("en", "zh"):
        for number, table_format in enumerate(FORMATS * 2):
            draws = np.random.default_rng(number)
            texts.append(render_table(draw_table(random_schema(draws, language), 40, draws), table_format))
        texts += [text for pairs in TEMPLATES[language].values() for pair in pairs for text in pair] * 4
        texts += SENTENCES[language] * 8
    return texts


def wrap(backend, **special):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=CHAT_TEMPLATE, **special)


@pytest.fixture(scope="session")
def byte_tokenizer():
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<eos>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus(), trainer)
    return wrap(backend, eos_token="<eos>")


@pytest.fixture(scope="session")
def piece_tokenizer():
    from tokenizers import Tokenizer, models, normalizers, trainers

    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=2200,
        special_tokens=["<unk>", "<eos>", "<|user|>", "<|assistant|>", *(f"<0x{byte:02X}>" for byte in range(256))],
        max_token_length=12,
        show_progress=False,
    )
    # Line by line: without a pre-tokenizer whole texts would become single words.
    backend.train_from_iterator([line for text in corpus() for line in text.replace(" ", "\n").split("\n")], trainer)
    return wrap(backend, eos_token="<eos>", unk_token="<unk>")


@pytest.fixture(scope="session", params=["byte_tokenizer", "piece_tokenizer"])
def tokenizer(request):
    return request.getfixturevalue(request.param)
