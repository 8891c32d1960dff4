"""Whole runs: the stages of a paper, planned before they start and resumed after a stop."""
