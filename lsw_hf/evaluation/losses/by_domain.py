"""Perplexity by domain after the protocol of Skywork-13B (2310.19341 and its released evaluation)."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .token_losses import TokenLosses


@dataclass(frozen=True)
class DomainLoss:
    """Pooled loss of one domain.

    Args:
        documents (`int`):
            Number of documents.
        tokens (`int`):
            Predicted tokens: all but the first of each document.
        total (`float`):
            Sum of their losses, in nats.
    """

    documents: int
    tokens: int
    total: float

    @property
    def loss(self) -> float:
        """Mean loss per token of this model's tokenizer, in nats."""
        return self.total / self.tokens

    def perplexity(self, reference: "DomainLoss | None" = None) -> float:
        """exp(loss), or exp(loss x tokens / tokens of the reference), which compares models of different tokenizers:
        the characters are the same, and the loss is counted per token of the reference model.

        Args:
            reference ([`DomainLoss`], *optional*):
                The same documents under the reference model's tokenizer.

        Raises:
            ValueError: if the reference has another number of documents.
        """
        if reference is None:
            return math.exp(self.loss)
        if reference.documents != self.documents:
            raise ValueError(
                f"both models must have read the same documents; this one read {self.documents}, "
                f"the reference {reference.documents}"
            )
        return math.exp(self.total / reference.tokens)


def domain_losses(
    model: Any,
    tokenizer: Any,
    domains: Mapping[str, Iterable[str]],
    *,
    max_tokens: int = 4096,
    num_characters: int | None = None,
    max_documents: int = 10_000,
) -> dict[str, DomainLoss]:
    """Pooled losses of documents by domain, and of all together under the name `"average"`.

    As in the paper's evaluation: every document is cut to the same number of characters for every model, tokenized
    without a beginning-of-sequence token, cut at `max_tokens`, and losses are pooled over all tokens of a domain. The
    average pools all documents; it is not the mean of the domains.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Its tokenizer.
        domains (`Mapping[str, Iterable[str]]`):
            Documents by domain.
        max_tokens (`int`, *optional*, defaults to 4096):
            Longest document, in tokens.
        num_characters (`int`, *optional*):
            Most characters of a document; defaults to `max_tokens // 3`.
        max_documents (`int`, *optional*, defaults to 10000):
            Most documents of a domain.

    Returns:
        `dict[str, DomainLoss]`

    Raises:
        ValueError: for a domain named `"average"`, or one without a document of two tokens.
        TypeError: for a domain that is one string.
    """
    if "average" in domains:
        raise ValueError("a domain cannot be called 'average': that is the name of all of them together")
    alone = [name for name, documents in domains.items() if isinstance(documents, str)]
    if alone:
        raise TypeError(f"a domain is a sequence of documents; {', '.join(map(repr, alone))} is one string")
    characters = max_tokens // 3 if num_characters is None else num_characters
    losses, found = TokenLosses(model), {}
    for name, documents in domains.items():
        cut = (document[:characters] for document in islice(documents, max_documents))
        rows = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:max_tokens] for text in cut]
        rows = [row for row in rows if len(row) >= 2]
        if not rows:
            raise ValueError(f"the domain {name!r} has no document of at least two tokens")
        total = math.fsum(float(values.double().sum()) for values in losses.of(rows))
        found[name] = DomainLoss(len(rows), sum(len(row) - 1 for row in rows), total)
    parts = list(found.values())
    found["average"] = DomainLoss(
        sum(part.documents for part in parts), sum(part.tokens for part in parts), math.fsum(p.total for p in parts)
    )
    return found
