"""Other people's formats: legacy Skywork-13B checkpoints as ones that today's programs read."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
