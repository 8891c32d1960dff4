"""How a model reads long prompts: templates, shared prefixes, caches, greedy answers."""
