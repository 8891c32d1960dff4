"""How documents become chunk-interleaved windows, and what a stream of them has counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .cuts import Split


class TooFewDocumentsError(ValueError):
    """A stream contains fewer documents, or fewer tokens, than one window takes."""


class ChunksFromText:
    """What `HfArgumentParser` calls with the text of an option: of a union it takes the type beside `str`."""

    def __new__(cls, text: str) -> "int | dict[int, float]":  # type: ignore[misc]
        """Return the number of chunks, or the probability of each."""
        return _chunks_from_text(text)


if TYPE_CHECKING:
    Chunks = int | str | Mapping[int, float]
else:
    Chunks = ChunksFromText | str


SMALLEST = {"documents_per_window": 1, "window_length": 2, "shuffle_buffer": 0, "group_documents": 0}
"""Least value of each whole number in [`ChunkInterleaveConfig`]."""


@dataclass
class InterleaveCounts:
    """What a stream of windows has taken in and given out, in tokens unless the name says otherwise.

    At the end of a stream `tokens_read - separators_removed + separators_added == tokens_emitted + tokens_dropped`.
    """

    documents_read: int = 0
    documents_empty: int = 0
    tokens_read: int = 0
    separators_removed: int = 0
    separators_added: int = 0
    windows: int = 0
    windows_interleaved: int = 0
    windows_below_documents: int = 0
    tokens_emitted: int = 0
    tokens_dropped: int = 0

    def __add__(self, other: "InterleaveCounts") -> "InterleaveCounts":
        """Add the counts of another stream."""
        return InterleaveCounts(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(kw_only=True)
class WindowOptions:
    """How documents share windows: the fields that [`ChunkInterleaveConfig`], [`ContinualPretrainingConfig`] and
    `lsw-hf data interleave` have in common.

    A field that is added here is an option of all three, with this default and this help. `metadata` contains what
    `argparse` takes and nothing else, because `HfArgumentParser` passes it on. Not frozen, because training arguments,
    which inherit the fields, are not.
    """

    documents_per_window: int = field(
        default=4,
        metadata={
            "help": "Documents interleaved in a window. More are taken when these do not fill it; fewer only at the "
            "end of the stream. 1 with chunks_per_document=1 is plain concatenation. The paper's number is not known, "
            "independent implementations use 4 and 8; our choice is 4, the smaller gap between chunks."
        },
    )
    chunks_per_document: Chunks = field(
        default=2,
        metadata={
            "help": "Chunks a document is cut into inside a window (CIP-K), or the probability of each number of "
            "chunks: 1:0.2,2:0.8, in Python and YAML also a mapping. The paper's best is 2. A document shorter than "
            "that is cut into single tokens.",
            "metavar": "K",
        },
    )
    split: Split = field(
        default="random",
        metadata={
            "help": "Chunk lengths: random or equal. The paper's rule is not known; public CIP-2 settings use random."
        },
    )
    interleaved_fraction: float = field(
        default=1.0,
        metadata={
            "help": "Share of the windows, in [0, 1], that are interleaved, drawn for each window. The others contain "
            "whole documents in a row."
        },
    )
    plain_attention: Literal["window", "document"] = field(
        default="window",
        metadata={
            "help": "Attention in windows that are not interleaved: window lets it cross documents; document adds the "
            "column seq_lengths, which padding-free collators turn into one segment per document. An interleaved "
            "window is always one segment: masking its documents would delete what interleaving creates."
        },
    )
    separators: Literal["document", "window"] = field(
        default="document",
        metadata={
            "help": "document: exactly one separator per document, at the end of its last chunk, those inside it "
            "removed; window: all removed, one at the end of every window, so that masks built from separators see a "
            "window as one document. Without a separator token nothing is removed or added."
        },
    )
    shuffle_rounds: bool = field(
        default=False,
        metadata={
            "help": "Draw another order of the documents in every round of chunks. The paper keeps one order, so that "
            "all documents have nearly the same gap; shuffling spreads the gaps and does not give away which document "
            "comes next."
        },
    )
    shuffle_buffer: int = field(
        default=1_000,
        metadata={
            "help": "Draw the order of the documents, another one in every pass: of a Dataset by shuffling all of it; "
            "of a stream by reading its files in random order, several at a time where the installed datasets can, "
            "and drawing from a buffer of this many documents. 0 leaves the order to the data.",
            "metavar": "N",
        },
    )
    group_documents: int = field(
        default=0,
        metadata={
            "help": "Read this many documents ahead and put those of similar length together, for even gaps. 0 keeps "
            "the order in which they come.",
            "metavar": "N",
        },
    )


@dataclass(kw_only=True)
class ChunkInterleaveConfig(WindowOptions):
    """How documents become windows: [`WindowOptions`] and what belongs to one stream of windows.

    Raises:
        ValueError: a value outside its range; the message names it and what is allowed.
    """

    window_length: int = field(metadata={"help": "Tokens in every window, exactly."})
    separator_id: int | None = field(
        default=None,
        metadata={"help": "The token that ends a document; None leaves tokens as they are. Needed for `separators`."},
    )
    provenance: bool = field(
        default=False,
        metadata={
            "help": "Add chunk_documents, chunk_offsets and chunk_lengths: for every chunk in window order its "
            "document (counted from 0 over the stream, empty ones included), its offset there, and its tokens."
        },
    )

    def __post_init__(self) -> None:
        if isinstance(self.chunks_per_document, str):
            self.chunks_per_document = _chunks_from_text(self.chunks_per_document)
        for name, least in SMALLEST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
        if self.documents_per_window >= self.window_length:
            raise ValueError(
                f"documents_per_window={self.documents_per_window} does not fit a window of {self.window_length} "
                "tokens: take fewer documents or a longer window."
            )
        if not 0.0 <= self.interleaved_fraction <= 1.0:
            raise ValueError(f"interleaved_fraction must lie in [0, 1], got {self.interleaved_fraction!r}.")
        allowed = {
            "split": ("random", "equal"),
            "plain_attention": ("window", "document"),
            "separators": ("document", "window"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, values))}, got {getattr(self, name)!r}.")
        if self.separators == "window" and self.separator_id is None:
            raise ValueError("separators='window' puts a token at the end of every window: name it with separator_id.")
        self._check_chunks()

    @property
    def chunk_weights(self) -> dict[int, float]:
        """The probability of each number of chunks."""
        chunks = self.chunks_per_document
        assert not isinstance(chunks, str)
        return dict(chunks) if isinstance(chunks, Mapping) else {chunks: 1.0}

    def _check_chunks(self) -> None:
        chunks, weights = self.chunks_per_document, self.chunk_weights
        if not weights or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in weights):
            raise ValueError(f"chunks_per_document must be a positive integer or a mapping from them, got {chunks!r}.")
        if min(weights.values()) < 0 or not abs(sum(weights.values()) - 1.0) <= 1e-6:
            raise ValueError(f"The probabilities in chunks_per_document must be >= 0 and sum to 1, got {weights!r}.")


def _chunks_from_text(text: str) -> int | dict[int, float]:
    """Parse `2`, or numbers of chunks with their probabilities like `1:0.2,2:0.8`."""
    try:
        if ":" not in text:
            return int(text)
        pairs = [part.split(":") for part in text.split(",") if part.strip()]
        numbers = {int(number): float(probability) for number, probability in pairs}
    except ValueError:
        numbers, pairs = {}, []
    if not numbers or len(numbers) < len(pairs):
        raise ValueError(f"chunks_per_document must be a number of chunks, or some like 1:0.2,2:0.8, got {text!r}.")
    return numbers


SEPARATOR_HELP = (
    "Token that ends a document: an id, eos (the end of text, which is the tokenizer's end token unless that ends a "
    "turn of a dialogue), or none to leave tokens as they are."
)
# End tokens of chat models that end a turn, and ends of text that the same vocabularies have beside them.
_ENDS_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end|>",
    "<|return|>",
    "<|eot|>",
)
_ENDS_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")


def separator_token(separator: int | str | None, tokenizer: Any) -> int | None:
    """Return the id of the token that ends a document.

    Args:
        separator (`int` or `str`, *optional*):
            An id, `"eos"` for the end of text, or `"none"`. The end token of many chat models ends a turn; documents
            of theirs end with the end of text that the base model was pretrained with, if the vocabulary has one of
            the known names for it (our choice).
        tokenizer (`PreTrainedTokenizerBase`):
            The tokenizer of the documents.

    Raises:
        ValueError: the tokenizer has no end token, or no token of this id.
    """
    if separator in (None, "none"):
        return None
    if separator == "eos":
        if tokenizer.eos_token_id is None:
            raise ValueError(
                "The tokenizer has no end token to put between documents: set separator_id to a token id, or to none."
            )
        return _end_of_text(tokenizer)
    try:
        token = int(separator)
    except ValueError:
        raise ValueError(f"separator_id must be a token id, eos or none, got {separator!r}.") from None
    if not 0 <= token < len(tokenizer):
        raise ValueError(
            f"separator_id {token} is not a token of the tokenizer: ids go from 0 to {len(tokenizer) - 1}."
        )
    return token


def _end_of_text(tokenizer: Any) -> int:
    if tokenizer.eos_token in _ENDS_OF_TURN:
        vocabulary = tokenizer.get_vocab()
        for token in _ENDS_OF_TEXT:
            if token in vocabulary:
                return vocabulary[token]
    return tokenizer.eos_token_id


def stream_seed(seed: int, epoch: int = 0, part: int = 0) -> int | str:
    """Return the seed of one stream of windows among several.

    The first pass over the first part takes `seed` itself: what is not cut into parts has the windows of
    `interleave_chunks(documents, seed=seed)`, whoever builds them.
    """
    return seed if epoch == part == 0 else f"{seed}-{epoch}-{part}"
