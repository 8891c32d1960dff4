"""The loss of every token of a text, without ever holding the logits of the whole text."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

_HEAD_TOKENS = 512


class TokenLosses:
    """Computes next-token losses with a causal LM. The head runs over 512 positions at a time, so that memory does not
    grow with length x vocabulary.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM, on any device; evaluated in eval mode, and returned to its mode.
        batch_tokens (`int`, *optional*, defaults to 8192):
            Most tokens, padding included, that run together.
    """

    def __init__(self, model: Any, batch_tokens: int = 8192) -> None:
        self.model, self.batch_tokens = model, batch_tokens
        self._splits: bool | None = None

    def of(self, rows: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """Losses of each row, in the order of the rows.

        Args:
            rows (`Sequence[Sequence[int]]`):
                Token ids, at least 2 a row.

        Yields:
            `torch.Tensor`: Row of n ids: n - 1 losses in nats (float32, on the CPU); loss i is that of token i + 1.

        Raises:
            ValueError: for a row of fewer than 2 tokens, or losses that are not finite.
        """
        for index, row in enumerate(rows):
            if len(row) < 2:
                raise ValueError(f"text {index} has {len(row)} tokens; a loss needs at least 2")
        was_training = self.model.training
        self.model.eval()
        try:
            for batch in self._batches(rows):
                yield from self._batch_losses(batch)
        finally:
            self.model.train(was_training)

    def _batches(self, rows: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
        """Neighboring rows that fit together: order is kept, so that results stream out in order."""
        batch: list[Sequence[int]] = []
        for row in rows:
            longest = max(len(row), *(len(other) for other in batch)) if batch else len(row)
            if batch and longest * (len(batch) + 1) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    @torch.no_grad()
    def _batch_losses(self, batch: list[Sequence[int]]) -> Iterator[torch.Tensor]:
        longest = max(map(len, batch))
        # Padding to the right: causal attention keeps it out of everything before it, and its losses are dropped. The
        # mask stays all ones, which spares the explicit mask that a zero would cost.
        ids = torch.tensor([[*row, *([row[-1]] * (longest - len(row)))] for row in batch], device=self.model.device)
        mask = torch.ones_like(ids)
        if self._head_is_separate(ids[:1, :8]):
            hidden = self._decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            head = self.model.get_output_embeddings()
            pieces = []
            for start in range(0, longest - 1, _HEAD_TOKENS):
                stop = min(start + _HEAD_TOKENS, longest - 1)
                pieces.append(_losses(head(hidden[:, start:stop]), ids[:, start + 1 : stop + 1]))
            losses = torch.cat(pieces, dim=1)
        else:
            losses = _losses(
                self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1], ids[:, 1:]
            )
        for row, values in zip(batch, losses.cpu(), strict=True):
            found = values[: len(row) - 1].clone()
            if not torch.isfinite(found).all():
                place = int((~torch.isfinite(found)).nonzero()[0]) + 1
                raise ValueError(
                    f"the loss is not finite at token {place} of a text; check the model's weights and its number "
                    "type (float16 overflows in many models)"
                )
            yield found

    def _decoder(self) -> Any:
        return self.model.get_decoder() if hasattr(self.model, "get_decoder") else self.model.base_model

    def _head_is_separate(self, ids: torch.Tensor) -> bool:
        """Whether the logits are the head's output and nothing else: some models scale or cap them afterwards."""
        if self._splits is None:
            head = self.model.get_output_embeddings()
            self._splits = False
            if head is not None:
                mask = torch.ones_like(ids)
                hidden = self._decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
                whole = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                self._splits = bool(torch.allclose(head(hidden).float(), whole.float(), rtol=1e-3, atol=1e-3))
        return self._splits


def _losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (batch, positions) in float32."""
    # The vocabulary stays the last dimension. torch also takes a transposed view, and then one thread of a GPU walks
    # the whole vocabulary of a position.
    flat = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return flat.view_as(targets)
