"""How documents become chunk-interleaved windows, and what a stream of them has counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .cuts import Split


class TooFewDocumentsError(ValueError):
    """A stream holds fewer documents, or fewer tokens, than one window takes."""


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


@dataclass(frozen=True)
class ChunkInterleaveConfig:
    """How documents become windows.

    Args:
        window_length (`int`):
            Tokens in every window, exactly.
        documents_per_window (`int`):
            Documents interleaved in a window. More are taken when these do not fill it; fewer only at the end of the
            stream, when no more are left.
        chunks_per_document (`int` or `dict[int, float]`, *optional*, defaults to 2):
            Chunks a document is cut into inside a window, or the probability of each number of chunks. Two was the
            paper's best (CIP-2). A document shorter than that is cut into single tokens.
        split (`str`, *optional*, defaults to `"random"`):
            `"random"` or `"equal"` chunk lengths. The paper's rule is not known; public CIP-2 settings use random.
        interleaved_fraction (`float`, *optional*, defaults to 1.0):
            Share of windows that are interleaved, drawn per window. The others hold documents one after the other.
        plain_attention (`str`, *optional*, defaults to `"window"`):
            For windows that are not interleaved: `"window"` lets attention cross documents, `"document"` adds the
            column `seq_lengths`, which padding-free collators turn into one attention segment per document. An
            interleaved window is always one segment: masking its documents would delete what CIP creates.
        separator_id (`int`, *optional*):
            The token that ends a document. Needed for `separators`.
        separators (`str`, *optional*, defaults to `"document"`):
            `"document"`: exactly one separator per document, at the end of its last chunk, those inside it removed.
            `"window"`: all removed, one at the end of every window, so that masks built from separators see a window
            as one document. Without `separator_id` tokens are left as they are.
        shuffle_rounds (`bool`, *optional*, defaults to `False`):
            Draws a new document order in every round. The paper keeps one order, so that all documents have nearly the
            same gap; shuffling spreads the gaps and takes away the hint which document comes next.
        group_documents (`int`, *optional*, defaults to 0):
            Reads this many documents ahead and puts those of similar length together, so that gaps are even. 0 keeps
            the order of the stream.
        provenance (`bool`, *optional*, defaults to `False`):
            Adds `chunk_documents`, `chunk_offsets` and `chunk_lengths`: for every chunk in window order its document
            (counted from 0 over the stream, empty ones included), its offset there, and its tokens.

    Raises:
        ValueError: a value outside its range; the message names it and what is allowed.
    """

    window_length: int
    documents_per_window: int
    chunks_per_document: int | Mapping[int, float] = 2
    split: Split = "random"
    interleaved_fraction: float = 1.0
    plain_attention: Literal["window", "document"] = "window"
    separator_id: int | None = None
    separators: Literal["document", "window"] = "document"
    shuffle_rounds: bool = False
    group_documents: int = 0
    provenance: bool = False

    def __post_init__(self) -> None:
        for name, least in (("documents_per_window", 1), ("window_length", 2), ("group_documents", 0)):
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

    def _check_chunks(self) -> None:
        chunks = self.chunks_per_document
        weights = chunks if isinstance(chunks, Mapping) else {chunks: 1.0}
        if not weights or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in weights):
            raise ValueError(f"chunks_per_document must be a positive integer or a mapping from them, got {chunks!r}.")
        if min(weights.values()) < 0 or not abs(sum(weights.values()) - 1.0) <= 1e-6:
            raise ValueError(
                f"The probabilities in chunks_per_document must be >= 0 and sum to 1, got {dict(weights)!r}."
            )
