"""Synthetic lengthy tables (SynL): schemas, eight formats, questions with exact answers, rows of an exact length."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
