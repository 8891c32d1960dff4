"""Caches that several questions share: the name of a model's cache, forks of it, and branches in a single row."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationMixin
from transformers.cache_utils import Cache, DynamicLayer

# Since transformers 5.24, and before. A model whose code comes from the Hub may keep the older one in any version.
CACHE_NAMES = ("cache", "past_key_values")


def cache_argument(forward: Callable) -> str:
    """Return the name under which a model's `forward` takes a cache. Where its signature shows none, `generate`'s own
    decides.

    Args:
        forward (`Callable`):
            The bound or unbound forward of the model itself, not of an adapter around it.

    Returns:
        `str`: `"cache"` or `"past_key_values"`.

    Example:

    ```python
    >>> cache = DynamicCache(config=model.config)
    >>> output = model(ids, **{cache_argument(model.forward): cache})
    >>> returned_cache(output) is cache
    True
    ```
    """
    for signature in map(inspect.signature, (forward, GenerationMixin.prepare_inputs_for_generation)):
        for name in CACHE_NAMES:
            if name in signature.parameters:
                return name
    raise ValueError(f"{forward} takes no cache: neither it nor the installed transformers knows {CACHE_NAMES}.")


def returned_cache(output: Any) -> Any:
    """Return the cache in what a forward returned, or `None`. The newer name is tried first: the older one warns."""
    return next((getattr(output, name) for name in CACHE_NAMES if hasattr(output, name)), None)


class _SharedPrefixLayer(DynamicLayer):
    """Cache layer of a batch whose rows continue one common prefix. The prefix is stored once and only widened for the
    moment of one layer's attention; the layer owns the tokens after it.
    """

    def __init__(self, prefix: DynamicLayer, batch_size: int) -> None:
        super().__init__()
        self._prefix_keys = prefix.keys.expand(batch_size, -1, -1, -1)
        self._prefix_values = prefix.values.expand(batch_size, -1, -1, -1)
        self.lazy_initialization(prefix.keys, prefix.values)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = super().update(key_states, value_states)
        return torch.cat([self._prefix_keys, keys], dim=-2), torch.cat([self._prefix_values, values], dim=-2)

    def get_seq_length(self) -> int:
        return int(self._prefix_keys.shape[-2]) + int(super().get_seq_length())


def fork_cache(cache: Cache, batch_size: int) -> Cache:
    """Return a cache for `batch_size` rows that all continue `cache`, which is left as it is.

    Plain attention layers are shared; layers of other kinds (sliding window, linear attention) are copied for each
    row.
    """
    fork = copy.copy(cache)
    fork.layers = []
    for layer in cache.layers:
        if type(layer) is DynamicLayer and layer.is_initialized:
            fork.layers.append(_SharedPrefixLayer(layer, batch_size))
        else:
            layer = copy.deepcopy(layer)
            if batch_size > 1 and hasattr(layer, "batch_repeat_interleave"):
                layer.batch_repeat_interleave(batch_size)
            fork.layers.append(layer)
    return fork


def can_branch(model: torch.nn.Module, prefix: Cache) -> bool:
    """Whether branches can be in one row: the attention takes an explicit mask, and no layer forgets part of the
    prefix.

    Sliding windows and linear attention have layers of other kinds; flash attention takes no such mask.
    """
    takes_mask = getattr(model.config, "_attn_implementation", None) in ("sdpa", "eager")
    return takes_mask and all(type(layer) is DynamicLayer and layer.is_initialized for layer in prefix.layers)


@dataclass
class Branches:
    """Continuations of one prefix, one after the other in a row; each token sees the prefix and its own branch.

    ```text
    row        prefix | a1 a2 | b1 b2 |   then   | a3 | b3 |
    positions  0 .. n-1  n n+1   n n+1            n+2  n+2
    a2 sees    prefix   a1 a2                     b3 sees prefix, b1 b2 b3
    ```

    A batch of rows gives the same logits but reads and copies the prefix once a row: with a long prefix that is nearly
    all of the work.

    Args:
        prefix ([`Cache`]):
            The prefix's keys and values; not changed unless it is consumed.
        length (`int`):
            Tokens in it.
        dtype (`torch.dtype`):
            Number type of the mask, the model's.
        device (`torch.device`):
            Where the mask is made.
        consume_prefix (`bool`, *optional*, defaults to `False`):
            Grow `prefix` itself: its memory is freed layer by layer, where a copy would keep it twice.
    """

    prefix: Cache
    length: int
    dtype: torch.dtype
    device: torch.device
    consume_prefix: bool = False
    _owners: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        # Layers grow by concatenation, never in place, so shallow copies leave the prefix as it is.
        self.cache = self.prefix
        if not self.consume_prefix:
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
