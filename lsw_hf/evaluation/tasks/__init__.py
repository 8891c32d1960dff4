"""Long-context tasks beyond one needle, following RULER's definitions (2404.06654), with texts of our own."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
