"""A small word world, tokenizers of several kinds, a tiny Llama, and a model that answers by looking."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutputWithPast

from lsw_hf.evaluation import NeedleFact
from lsw_hf.evaluation.texts.prose import neutral_sentences

NAMES = [f"name{i}" for i in range(512)]
VALUES = [f"value{i}" for i in range(64)]
FILLER = [f"word{i}" for i in range(96)]
SPECIAL = ["<pad>", "<bos>", "<eos>", "Yesterday", "Recall", "."]


class WordTask:
    """Facts "Yesterday name value ." among filler of three words; "Recall name" asks for the value."""

    name = "words"
    separator = " "
    max_new_tokens = 1
    chance: float | None = 1 / len(VALUES)

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        while True:
            for words in generator.integers(len(FILLER), size=(64, 3)).tolist():
                yield " ".join(FILLER[word] for word in words) + " ."

    def facts(self, generator: np.random.Generator, count: int) -> list[NeedleFact]:
        if count > len(NAMES):
            raise ValueError(f"only {len(NAMES)} names; got {count}")
        names = generator.choice(len(NAMES), size=count, replace=False).tolist()
        values = generator.integers(len(VALUES), size=count).tolist()
        return [
            NeedleFact(f"Yesterday {NAMES[n]} {VALUES[v]} .", f"Recall {NAMES[n]}", VALUES[v])
            for n, v in zip(names, values, strict=True)
        ]

    def prompt(self, haystack: str, question: str) -> str:
        return f"{haystack} {question}" if haystack else question


def word_tokenizer(*, bos: bool) -> PreTrainedTokenizerFast:
    words = {word: index for index, word in enumerate([*SPECIAL, *NAMES, *VALUES, *FILLER])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def _prose() -> list[str]:
    sentences = neutral_sentences(np.random.default_rng(7))
    return [next(sentences) for _ in range(800)]


def byte_bpe_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<pad>", "<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(_prose(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")


def sentencepiece_like_tokenizer() -> PreTrainedTokenizerFast:
    """Words carry the space before them as one symbol, as in SentencePiece; a BOS and an EOS are added."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>", "</s>", *alphabet])
    backend.train_from_iterator(_prose(), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def chat_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = byte_bpe_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="session")
def real_sentencepiece(tmp_path_factory) -> PreTrainedTokenizerFast:
    """The 32,000 pieces that the package mistral-common brings along; its data only, nothing of it is imported."""
    found = importlib.util.find_spec("mistral_common")
    if found is None or not found.submodule_search_locations:
        pytest.skip("mistral-common is not installed")
    folder = tmp_path_factory.mktemp("sentencepiece")
    source = Path(found.submodule_search_locations[0]) / "data" / "tokenizer.model.v1"
    shutil.copy(source, folder / "tokenizer.model")
    return LlamaTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def word_task() -> WordTask:
    return WordTask()


@pytest.fixture(scope="session")
def words() -> PreTrainedTokenizerFast:
    return word_tokenizer(bos=True)


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {
        "words": word_tokenizer(bos=False),
        "words with bos": word_tokenizer(bos=True),
        "byte bpe": byte_bpe_tokenizer(),
        "sentencepiece-like": sentencepiece_like_tokenizer(),
        "chat": chat_tokenizer(),
    }


@pytest.fixture
def tiny_model(words: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=256,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


class LookupModel(LlamaForCausalLM):
    """
    Answers "Recall name" by looking the name up in the tokens so far, or wrongly where `fails(length, depth)` is true.

    The tokens so far travel in the key-value cache, so that a mistake in handling the cache shows as a wrong answer.
    """

    fails = staticmethod(lambda length, depth: False)

    def forward(self, input_ids, attention_mask=None, past_key_values=None, use_cache=None, logits_to_keep=0, **rest):
        from transformers import DynamicCache

        cache = DynamicCache() if past_key_values is None else past_key_values
        stored = input_ids[:, None, :, None].float()
        seen = cache.update(stored, stored, 0)[0][:, 0, :, 0].long()
        logits = torch.zeros(input_ids.shape[0], 1, self.config.vocab_size)
        for row, tokens in enumerate(seen.tolist()):
            logits[row, 0, self._lookup(tokens)] = 1.0
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    def _lookup(self, tokens: list[int]) -> int:
        places = [i for i, token in enumerate(tokens[:-1]) if token == tokens[-1] and tokens[i - 1] == 3]
        if len(places) != 1:
            return 0
        depth = (places[0] - 1) / len(tokens)
        right = tokens[places[0] + 1]
        first = len(SPECIAL) + len(NAMES)
        return first + (right - first + 1) % len(VALUES) if self.fails(len(tokens), depth) else right


@pytest.fixture
def lookup_model(tiny_model: LlamaForCausalLM) -> LookupModel:
    return LookupModel(tiny_model.config).eval()
