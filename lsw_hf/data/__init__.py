"""Where training rows come from: documents, instructions, windows, tables, skipped positions."""

from ..public_names import face

__all__, __getattr__, __dir__ = face(__name__)
