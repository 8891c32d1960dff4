"""Model cards, publishing, and checks of checkpoints."""

from .model_card import build_model_card

__all__ = ["build_model_card"]
