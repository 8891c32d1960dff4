"""All results of one model together: curves, one page, short-context regressions."""
