"""Whole runs: the stages of a paper, planned before they start and resumed after a stop."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
