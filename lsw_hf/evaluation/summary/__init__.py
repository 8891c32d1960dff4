"""All results of one model together: curves, one page, short-context regressions."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
