"""The name of a model's cache, as argument and in what it returns: transformers 5.24 renamed it."""

import inspect
from collections.abc import Callable
from typing import Any

from transformers import GenerationMixin

# Since 5.24, and before. A model whose code comes from the Hub may keep the older one under any transformers.
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
