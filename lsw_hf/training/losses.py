"""Next-token loss over the labeled positions only, every token or every sequence counting the same.

A module of its own so that the formulas, tensors in and numbers out, are read and tested without a trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from trl.trainer.utils import entropy_from_logits

from ..data.positions.borders import IGNORE_INDEX


class Predictions(NamedTuple):
    """Sums over the labeled tokens of one process: their number, how many the most probable token hits, and the
    entropies of what was predicted, in nats.
    """

    labeled: torch.Tensor
    correct: torch.Tensor
    entropy: torch.Tensor


def labeled_columns(labels: torch.Tensor) -> torch.Tensor:
    """Columns whose hidden state predicts at least one labeled token.

    Args:
        labels (`torch.Tensor` of shape `(batch, length)`):
            Token ids, -100 where no loss is wanted; not shifted.

    Returns:
        `torch.Tensor`: sorted indices t with a label at t + 1 in some row. Handing them to a causal language model as
        `logits_to_keep` makes the head compute nothing else.
    """
    return labels[:, 1:].ne(IGNORE_INDEX).any(dim=0).nonzero().flatten()


def labeled_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    columns: torch.Tensor,
    num_items: torch.Tensor | int | None = None,
    weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Predictions]:
    """Cross entropy of next-token prediction from logits that exist at some columns only.

    Equal to the full-logits loss: -sum log p(label[t + 1] | t) / num_items over the labeled tokens.

    Args:
        logits (`torch.Tensor` of shape `(batch, len(columns), vocabulary)`):
            Logits at `columns`.
        labels (`torch.Tensor` of shape `(batch, length)`):
            Token ids, -100 where no loss is wanted; not shifted.
        columns (`torch.Tensor`):
            Result of [`labeled_columns`].
        num_items (`torch.Tensor` or `int`, *optional*):
            What the summed loss is divided by; defaults to the number of labeled tokens. A trainer passes the count
            over all accumulation steps and processes.
        weights (`torch.Tensor` of shape `(batch, length)`, *optional*):
            What the loss of each label is multiplied by, as [`sequence_weights`] gives them; defaults to 1.

    Returns:
        `tuple[torch.Tensor, Predictions]`: the loss, and what is counted about the labeled tokens.
    """
    targets = labels[:, columns + 1].flatten()
    flat = logits.flatten(0, 1).float()
    if weights is None:
        summed = nn.functional.cross_entropy(flat, targets, ignore_index=IGNORE_INDEX, reduction="sum")
    else:
        each = nn.functional.cross_entropy(flat, targets, ignore_index=IGNORE_INDEX, reduction="none")
        summed = (each * weights[:, columns + 1].flatten()).sum()
    valid = targets.ne(IGNORE_INDEX)
    with torch.no_grad():
        correct = (flat.argmax(dim=-1).eq(targets) & valid).sum()
        entropy = (entropy_from_logits(flat) * valid).sum()
    count = valid.sum()
    divisor = count if num_items is None else torch.as_tensor(num_items, device=summed.device)
    return summed / divisor.clamp(min=1), Predictions(count, correct, entropy)


def unpadded_tokens(input_ids: torch.Tensor, labels: torch.Tensor, pad_token_id: int) -> torch.Tensor:
    """Tokens of rows that are padded on the right and come without a mask of it.

    Args:
        input_ids (`torch.Tensor` of shape `(batch, length)`):
            Token ids.
        labels (`torch.Tensor` of shape `(batch, length)`):
            Token ids, -100 where no loss is wanted.
        pad_token_id (`int`):
            The padding token. What a row ends with of it is padding unless it is trained, as an end of text is.
    """
    is_padding = input_ids.eq(pad_token_id) & labels.eq(IGNORE_INDEX)
    return is_padding.flip(-1).cumprod(-1).eq(0).sum()


def sequence_weights(labels: torch.Tensor, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights under which every sequence counts the same, however many labeled tokens it has.

    The mean over sequences of their mean token loss, `1 / S * sum_s (1 / n_s * sum_t loss_t)` for `S` sequences with
    `n_s` labeled tokens, is the sum of `weight * loss` over all tokens, divided by `S`, with `weight = 1 / n_s`.
    Written so, it stays itself when the batch is cut into accumulation steps and processes, or packed into one row:
    only `S` must be counted over all of them. It is the loss weighting of
    [LongAlign, 2401.18058](https://arxiv.org/abs/2401.18058), section 3.2. *Relation* to the token mean: that has
    `weight = 1` and divides by the number of tokens, so that a sequence counts by its length.

    ```text
    labels       . a a . b b b b     two packed sequences, boundaries from cu_seq_lens_q or restarted position_ids
    weights      0 1/2 1/2 0 1/4 1/4 1/4 1/4
    ```

    Args:
        labels (`torch.Tensor` of shape `(batch, length)`):
            Token ids, -100 where no loss is wanted; not shifted.
        inputs (`Mapping`):
            The rest of the batch. `cu_seq_lens_q` gives the sequences of its single row; without it, a sequence begins
            where `position_ids` do not increase; without these, every row is one sequence.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: float32 weights of the shape of `labels`, 0 where no loss is wanted and on
        the first token of each sequence, which nothing in its own sequence predicts; and the number of sequences that
        have a weight (int64, no dimensions).
    """
    begins = _sequence_begins(labels, inputs)
    numbers = begins.flatten().cumsum(0).sub(1).view_as(labels)
    trained = labels.ne(IGNORE_INDEX) & ~begins
    counts = torch.bincount(numbers[trained], minlength=int(numbers[-1, -1]) + 1)
    weights = torch.where(trained, counts.clamp(min=1).float().reciprocal()[numbers], 0.0)
    return weights, counts.gt(0).sum()


def _sequence_begins(labels: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
    begins = torch.zeros_like(labels, dtype=torch.bool)
    begins[:, 0] = True
    borders, positions = inputs.get("cu_seq_lens_q"), inputs.get("position_ids")
    if borders is not None:
        begins[0, borders[:-1].to(labels.device).long()] = True
    elif positions is not None:
        begins[:, 1:] = positions.to(labels.device).diff(dim=-1).le(0)
    return begins
