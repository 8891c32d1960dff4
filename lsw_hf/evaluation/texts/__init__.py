"""The text around the needles: prose, the user's own files, noise."""
