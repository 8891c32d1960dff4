"""What the longer context is worth: needle grids, tasks, losses, leakage, and their reports."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
