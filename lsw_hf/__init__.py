"""Longer context windows for Hugging Face causal language models: extend, train, measure, publish."""

# Registers the LongSkywork Auto classes, so that a checkpoint of ours loads after `import lsw_hf` like any other.
from . import models as models

# Registers attn_implementation="lsw_sdpa"; it imports nothing that the models did not.
from .attention import proof as _attention  # noqa: F401
from .public_names import face

__version__ = "0.1.0"

__all__, __getattr__, __dir__ = face(__name__)
__all__ = sorted([*__all__, "__version__"])
