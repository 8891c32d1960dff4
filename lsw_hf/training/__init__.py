"""Trainers: TRL's `SFTTrainer` with the pieces that long context needs."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
