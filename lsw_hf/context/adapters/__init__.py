"""Adapters (LoRA and others) that remember the context window they were trained with."""
