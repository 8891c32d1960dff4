"""The same rotary numbers for readers that only know the spelling of transformers 4."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
