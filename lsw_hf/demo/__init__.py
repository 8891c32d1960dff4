"""The embedded default: the whole recipe on a tiny model in a synthetic world."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
