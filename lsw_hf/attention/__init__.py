"""Attention that packed documents and skipped positions need, and the proof that a model has it."""
