"""Attention that packed documents and skipped positions need, and the proof that a model has it."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
