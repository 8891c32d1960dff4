"""Losses on real text: by position, by domain, and the leakage test."""
