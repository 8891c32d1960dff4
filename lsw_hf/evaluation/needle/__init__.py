"""The needle grid: a fact at a depth of a text of an exact length, asked for and reported."""
