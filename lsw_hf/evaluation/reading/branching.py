"""Several continuations of one prefix in a single row: the prefix is read once for all of them."""

import copy
from dataclasses import dataclass, field

import torch
from transformers.cache_utils import Cache, DynamicLayer


def can_branch(model: torch.nn.Module, prefix: Cache) -> bool:
    """Whether branches can stand in one row: the attention takes an explicit mask, and no layer forgets part of the
    prefix.

    Sliding windows and linear attention have layers of other kinds; flash attention takes no such mask.
    """
    takes_mask = getattr(model.config, "_attn_implementation", None) in ("sdpa", "eager")
    return takes_mask and all(type(layer) is DynamicLayer and layer.is_initialized for layer in prefix.layers)


@dataclass
class Branches:
    """Continuations of one prefix, laid one behind the other; each token sees the prefix and its own branch.

    ```text
    row        prefix | a1 a2 | b1 b2 |   then   | a3 | b3 |
    positions  0 .. n-1  n n+1   n n+1            n+2  n+2
    a2 sees    prefix   a1 a2                     b3 sees prefix, b1 b2 b3
    ```

    A batch of rows gives the same logits but reads and copies the prefix once a row: with a long prefix that is nearly
    all of the work.

    Args:
        prefix ([`Cache`]):
            The prefix's keys and values; not changed unless it is given away.
        length (`int`):
            Tokens in it.
        dtype (`torch.dtype`):
            Number type of the mask, the model's.
        device (`torch.device`):
            Where the mask is made.
        give_away (`bool`, *optional*, defaults to `False`):
            Grow `prefix` itself: its memory is given back layer by layer, where a copy would hold it twice.
    """

    prefix: Cache
    length: int
    dtype: torch.dtype
    device: torch.device
    give_away: bool = False
    _owners: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        # Layers grow by concatenation, never in place, so shallow copies leave the prefix as it is.
        self.cache = self.prefix
        if not self.give_away:
            self.cache = copy.copy(self.prefix)
            self.cache.layers = [copy.copy(layer) for layer in self.prefix.layers]
        self._owners = torch.empty(0, dtype=torch.long, device=self.device)

    def extend(self, rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions and mask of the next `tokens` tokens of each of `rows` branches.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: `position_ids` of shape (1, rows x tokens), and the mask that is added
            to the attention scores, of shape (1, 1, rows x tokens, prefix and all branches so far).
        """
        past = self.length + len(self._owners) // rows
        new = torch.arange(rows, device=self.device).repeat_interleave(tokens)
        self._owners = torch.cat([self._owners, new])
        order = torch.arange(len(self._owners), device=self.device)
        own = new[:, None] == self._owners[None]
        seen = own & (order[None] <= order[-len(new) :, None])
        mask = torch.zeros((len(new), self.length + len(self._owners)), dtype=self.dtype, device=self.device)
        mask[:, self.length :].masked_fill_(~seen, torch.finfo(self.dtype).min)
        positions = past + torch.arange(tokens, device=self.device).repeat(rows)
        return positions[None], mask[None, None]
