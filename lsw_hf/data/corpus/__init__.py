"""Documents and instruction rows from files, folders and datasets, and what a corpus contains."""
