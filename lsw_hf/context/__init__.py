"""The RoPE change: extending configs and models, verifying, converting."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
