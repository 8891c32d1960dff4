"""The text around the needles: prose, the user's own files, noise."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
