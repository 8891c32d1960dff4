"""The embedded default: the whole recipe on a tiny model in a synthetic world."""
