"""Chunk-interleaved windows (CIP): short documents in, long windows out."""
