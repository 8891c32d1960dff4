"""Skywork's SentencePiece tokenizer as a fast one, with its chat tokens and format, proved equal on probes."""

from __future__ import annotations

import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import normalizers, processors
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

# In the order in which Skywork's own demo adds them, so that trained rows meet their tokens.
CHAT_TOKENS = ("[USER]", "[BOT]", "[SEP]")

# Published for one turn (README of Skywork-13B-Chat and -Math): eos, bos, [USER], question, [SEP], [BOT]; the answer
# ends at [SEP]. Ending it with [SEP] and eos, and starting every further turn like the first, is our choice.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ eos_token + bos_token + '[USER]' + message['content'] | replace('\\r', '') | trim + '[SEP][BOT]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] | trim + '[SEP]' + eos_token }}{% endgeneration %}"
    "{% else %}"
    "{{ raise_exception('Skywork has the roles user and assistant, got ' + message['role'] + '.') }}"
    "{% endif %}"
    "{% endfor %}"
)

# English, Chinese, both, digits, code, white space of every kind, and what only bytes can say.
PROBE_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "天工大模型支持二十万字的上下文。",
    "2023年10月30日，Skywork-13B 开源了 3.2TB tokens 的训练数据。",
    "Numbers: 0 7 42 65519 3.14159 1,000,000 -273.15 0x1F",
    "def f(x):\n    return [i ** 2 for i in range(x) if i % 2 == 0]\n",
    "\tif (a && b || !c) { return a->b[3]; }  // 注释",
    " leading", "trailing ", "  two   three    four  ", "\n\n\n", "\t\t", " ", "a\r\nb",
    "naïve café Ångström — “quotes” … ½ ≠ ∞",
    "😀👍🏽 🏳️‍🌈 ⚙️", "\u200b\u00a0\ufeff", "𠮷野家 𝒳 ﷽", "ปลา рыба 물고기 魚 سمك",
    "<tag attr='v'>&amp;</tag>", "▁▁ literal ▁ marks", "\x00\x07\x7f", "supercalifragilisticexpialidocious" * 2,
)  # fmt: skip


def convert_tokenizer(model_file: Path, *, bos_id: int, eos_id: int, pad_id: int) -> PreTrainedTokenizerFast:
    """Return a fast tokenizer out of a SentencePiece model, with Skywork's three chat tokens after its last piece.

    Args:
        model_file (`Path`):
            The SentencePiece model (`tokenizer.model`).
        bos_id (`int`):
            Id of the piece that starts a text.
        eos_id (`int`):
            Id of the piece that ends one.
        pad_id (`int`):
            Id of the piece that fills rows up.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: proved to give SentencePiece's ids on `PROBE_TEXTS`.

    Raises:
        ImportError: when `sentencepiece` or `protobuf` is not installed.
        ValueError: for a file that is no SentencePiece model, an id out of range, or texts that differ.
    """
    pieces = load_sentencepiece(model_file)
    for name, number in (("bos", bos_id), ("eos", eos_id), ("pad", pad_id)):
        if not 0 <= number < pieces.vocab_size():
            raise ValueError(f"{name}_token_id={number}, but {model_file.name} has {pieces.vocab_size()} pieces.")
    bos, eos, pad = (pieces.id_to_piece(number) for number in (bos_id, eos_id, pad_id))
    unk = pieces.id_to_piece(pieces.unk_id())
    with tempfile.TemporaryDirectory() as alone:  # next to the legacy files the legacy class would be asked for
        shutil.copyfile(model_file, Path(alone) / "tokenizer.model")
        llama = LlamaTokenizer.from_pretrained(alone, bos_token=bos, eos_token=eos, unk_token=unk)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=llama.backend_tokenizer,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        pad_token=pad,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    _split_like_sentencepiece(tokenizer, bos, bos_id)
    tokenizer.add_special_tokens({"additional_special_tokens": list(CHAT_TOKENS)})
    tokenizer.chat_template = CHAT_TEMPLATE
    check_same_ids(tokenizer, pieces)
    return tokenizer


def load_sentencepiece(model_file: Path) -> SentencePieceProcessor:
    """Read a SentencePiece model.

    Raises:
        ImportError: when `sentencepiece` or `protobuf` is not installed.
        ValueError: when the file is missing or is no such model.
    """
    try:
        import_module("google.protobuf")  # transformers reads the model with it
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ImportError("Converting a Skywork tokenizer needs: pip install sentencepiece protobuf") from error
    if not model_file.is_file():
        raise ValueError(f"{model_file} is missing; it is the SentencePiece model of the legacy tokenizer.")
    try:
        return SentencePieceProcessor(model_file=str(model_file))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{model_file} is not a SentencePiece model ({error}). Download it again.") from error


def check_same_ids(tokenizer: PreTrainedTokenizerFast, pieces: SentencePieceProcessor) -> int:
    """Compare the fast tokenizer with SentencePiece on `PROBE_TEXTS`, one way and back.

    Returns:
        `int`: How many texts were compared.

    Raises:
        ValueError: the first text that differs, with both results.
    """
    for text in PROBE_TEXTS:
        expected = pieces.encode(text)
        got = tokenizer.encode(text, add_special_tokens=False)
        if got != expected:
            raise ValueError(f"The fast tokenizer reads {text!r} as {got}, SentencePiece as {expected}.")
        if tokenizer.decode(got) != pieces.decode(expected):
            raise ValueError(
                f"The fast tokenizer writes {expected} as {tokenizer.decode(got)!r}, "
                f"SentencePiece as {pieces.decode(expected)!r}."
            )
    return len(PROBE_TEXTS)


def _split_like_sentencepiece(tokenizer: PreTrainedTokenizerFast, bos: str, bos_id: int) -> None:
    backend = tokenizer.backend_tokenizer
    # Every text, and every part after an added token, starts with one more space mark, as in 2023's slow tokenizer.
    # Llama's own setting leaves the mark out where the text starts with a space, which gives other ids.
    backend.pre_tokenizer = None
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)]
    )
