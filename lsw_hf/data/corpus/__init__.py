"""Documents and instruction rows from files, folders and datasets, and what a corpus contains."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
