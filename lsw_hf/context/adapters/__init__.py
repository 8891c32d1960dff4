"""Adapters (LoRA and others) that remember the context window they were trained with."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
