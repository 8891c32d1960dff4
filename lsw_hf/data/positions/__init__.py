"""Skipped positions (SkipAlign): which position ids a short row trains."""
