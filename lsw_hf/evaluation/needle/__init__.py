"""The needle grid: a fact at a depth of a text of an exact length, asked for and reported."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
