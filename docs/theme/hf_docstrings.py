"""Reads docstrings in the form of transformers, where griffe expects Google's.

transformers writes ``name (`int`, *optional*, defaults to `2`):`` and refers to others by ``[`Name`]``. The reference
shows the type as it is written; the default is that of the signature.
"""

import re

from griffe import Class, Extension, Function, Object

ENTRY = re.compile(r"^( +\*{0,2}\w+) \((.+)\):$", re.MULTILINE)
OPTIONAL = re.compile(r",? *\*optional\*.*$")
RETURNED = re.compile(r"^((?:Returns|Yields):\n +)(.+?)(: |:$|$)", re.MULTILINE)
REFERENCE = re.compile(r"\[`~?([\w.]+)`\]")


def plain_type(text: str) -> str:
    """``[`~transformers.PreTrainedModel`] or `str`, *optional*`` is `PreTrainedModel | str`."""
    text = REFERENCE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", OPTIONAL.sub("", text))
    return text.replace("` or `", " | ").replace("`", "")


class HFDocstrings(Extension):
    """Rewrites docstrings of classes and functions before they are parsed."""

    def on_object(self, *, obj: Object, **kwargs: object) -> None:
        """Rewrite one docstring."""
        if obj.docstring and isinstance(obj, Class | Function):
            text = ENTRY.sub(lambda found: f"{found[1]} ({plain_type(found[2])}):", obj.docstring.value)
            text = RETURNED.sub(lambda found: f"{found[1]}{plain_type(found[2])}: ", text)
            obj.docstring.value = REFERENCE.sub(r"`\1`", text)
