"""How a model reads long prompts: templates, shared prefixes, caches, greedy answers."""

from ...public_names import face

__all__, __getattr__, __dir__ = face(__name__)
