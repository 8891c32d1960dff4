"""The RoPE change: extend configurations, models and checkpoints; suggest, search, verify, record it."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
