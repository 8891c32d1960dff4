"""Where training rows come from: documents, instructions, windows, tables, skipped positions."""
