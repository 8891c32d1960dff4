"""Skipped positions (SkipAlign): which position ids a short row trains."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
