"""Questions about a table, with their answers."""
