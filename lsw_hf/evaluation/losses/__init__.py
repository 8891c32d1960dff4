"""Losses on real text: by position, by domain, and the leakage test."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
