"""Chunk-interleaved windows (CIP): short documents in, long windows out."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
