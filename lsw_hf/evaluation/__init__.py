"""What a model can still find at a length: needle grids, perplexity, leakage, and their reports."""
