"""Model cards, publishing, and checks of checkpoints."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
