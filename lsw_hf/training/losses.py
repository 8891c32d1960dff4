"""Next-token loss over the labelled positions only."""

from __future__ import annotations

import torch
from torch import nn

IGNORE_INDEX = -100


def labelled_columns(labels: torch.Tensor) -> torch.Tensor:
    """Columns whose hidden state predicts at least one labelled token.

    Args:
        labels (`torch.Tensor` of shape `(batch, length)`):
            Token ids, -100 where no loss is wanted; not shifted.

    Returns:
        `torch.Tensor`: sorted indices t with a label at t + 1 in some row. Handing them to a causal language model as
        `logits_to_keep` makes the head compute nothing else.
    """
    return labels[:, 1:].ne(IGNORE_INDEX).any(dim=0).nonzero().flatten()


def labelled_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, columns: torch.Tensor, num_items: torch.Tensor | int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross entropy of next-token prediction from logits that exist at some columns only.

    Equal to the full-logits loss: -sum log p(label[t + 1] | t) / num_items over the labelled tokens.

    Args:
        logits (`torch.Tensor` of shape `(batch, len(columns), vocabulary)`):
            Logits at `columns`.
        labels (`torch.Tensor` of shape `(batch, length)`):
            Token ids, -100 where no loss is wanted; not shifted.
        columns (`torch.Tensor`):
            Result of [`labelled_columns`].
        num_items (`torch.Tensor` or `int`, *optional*):
            What the summed loss is divided by; defaults to the number of labelled tokens. A trainer passes the count
            over all accumulation steps and processes.

    Returns:
        `tuple[torch.Tensor, torch.Tensor, torch.Tensor]`: the loss, the number of correct greedy predictions, and the
        number of labelled tokens.
    """
    targets = labels[:, columns + 1].flatten()
    flat = logits.flatten(0, 1).float()
    summed = nn.functional.cross_entropy(flat, targets, ignore_index=IGNORE_INDEX, reduction="sum")
    valid = targets.ne(IGNORE_INDEX)
    with torch.no_grad():
        correct = (flat.argmax(dim=-1).eq(targets) & valid).sum()
    count = valid.sum()
    divisor = count if num_items is None else torch.as_tensor(num_items, device=summed.device)
    return summed / divisor.clamp(min=1), correct, count
