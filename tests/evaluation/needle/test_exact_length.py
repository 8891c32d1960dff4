"""Token ids with a shared prefix, against the tokenizer's ids of the whole prompt."""

import pytest
from tokenizers import (
    ByteLevelBPETokenizer,
    SentencePieceBPETokenizer,
    SentencePieceUnigramTokenizer,
    Tokenizer,
    models,
)
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from lsw_hf.evaluation.needle.exact_length import TokenizedPrefix
from lsw_hf.evaluation.reading.prompts import PromptEncoder

TEXT = (
    "The harbour master wrote down every ship that came in, and its cargo of salt or wool. On some evenings nothing "
    "came. The lamp at the end of the mole was lit all the same, because the pilots trusted it more than the charts. "
) * 6
ENDINGS = ["", " ", "s and more.", " What was the cargo?", "\n\nQuestion: who?", "...", "ts", "  two spaces", "是什么"]


def wrap(backend, **options):
    return PreTrainedTokenizerFast(tokenizer_object=getattr(backend, "_tokenizer", backend), **options)


def make(kind):
    if kind == "words":
        words = {word: index for index, word in enumerate(["<unk>", *dict.fromkeys(TEXT.split())])}
        backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        backend.pre_tokenizer = Whitespace()
        return wrap(backend, unk_token="<unk>")
    if kind == "unigram":
        backend = SentencePieceUnigramTokenizer()
        backend.train_from_iterator([TEXT], vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"])
        return wrap(backend, unk_token="<unk>")
    backend = ByteLevelBPETokenizer() if kind == "bytes" else SentencePieceBPETokenizer()
    backend.train_from_iterator([TEXT], vocab_size=500)
    return wrap(backend)


@pytest.mark.parametrize("kind", ["words", "bytes", "pieces", "unigram"])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 5])
def test_ids_are_those_of_the_whole_prompt(kind, cut):
    tokenizer = make(kind)
    encoder = PromptEncoder(tokenizer, "plain")
    text = TEXT[: len(TEXT) - cut]
    prefix = TokenizedPrefix(encoder, text)
    for ending in ENDINGS:
        assert prefix.ids(ending) == encoder.ids(text + ending), (kind, cut, ending)


def test_the_shared_text_is_read_once(monkeypatch):
    encoder = PromptEncoder(make("bytes"), "plain")
    prefix = TokenizedPrefix(encoder, TEXT)
    read = []
    whole = encoder.ids
    monkeypatch.setattr(encoder, "ids", lambda text: read.append(text) or whole(text))
    prefix.ids(" What was the cargo?")
    assert not read


def test_a_short_text_is_read_whole():
    encoder = PromptEncoder(make("bytes"), "plain")
    for text in ("", "one", "one two", "The harbour "):
        assert TokenizedPrefix(encoder, text).ids(" and more") == encoder.ids(text + " and more")
