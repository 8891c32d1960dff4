"""Reads docstrings in the form of transformers, where griffe expects Google's.

transformers writes ``name (`int`, *optional*, defaults to `2`):`` and refers to others by ``[`Name`]``. The reference
shows the type as it is written; the default is that of the signature. Fields of training arguments are documented by
the help that the command line prints.
"""

import ast
import re
from importlib import import_module

from griffe import Attribute, Class, Docstring, Extension, Function, Object

ENTRY = re.compile(r"^( +\*{0,2}\w+(?:, \w+)*) \((.*`.*?)\):(?= |$)", re.MULTILINE)
OPTIONAL = re.compile(r",? *\*optional\*.*$")
RETURNED = re.compile(r"^((?:Returns|Yields):\n +)(.+?)(: |:$|$)", re.MULTILINE)
REFERENCE = re.compile(r"\[`~?([\w.]+)`\]")


def plain_type(text: str) -> str:
    """``[`~transformers.PreTrainedModel`] or `str`, *optional*`` is `PreTrainedModel | str`."""
    text = REFERENCE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", OPTIONAL.sub("", text))
    return text.replace("` or `", " | ").replace("`", "")


def document_field(attribute: Attribute) -> None:
    """Read ``name: type = field(default=..., metadata={"help": ...})`` as a default and a docstring."""
    source = str(attribute.value or "")
    call = ast.parse(source, mode="eval").body if source.startswith("field(") else None
    given = {word.arg: word.value for word in call.keywords} if isinstance(call, ast.Call) else {}
    if isinstance(given.get("metadata"), ast.Dict):
        text = given["metadata"].values[0]
        if isinstance(text, ast.Constant):
            help_text = text.value
        else:  # a function makes it: only the imported class knows
            owner = getattr(import_module(attribute.module.path), attribute.parent.name)
            help_text = owner.__dataclass_fields__[attribute.name].metadata["help"]
        attribute.docstring = Docstring(help_text, parent=attribute)
        attribute.value = ast.unparse(given["default"]) if "default" in given else None


class HFDocstrings(Extension):
    """Rewrites docstrings of classes and functions before they are parsed, and adds those of fields."""

    def on_object(self, *, obj: Object, **kwargs: object) -> None:
        """Rewrite one docstring."""
        if isinstance(obj, Attribute) and not obj.docstring:
            document_field(obj)
        if obj.docstring and isinstance(obj, Class | Function):
            text = ENTRY.sub(lambda found: f"{found[1]} ({plain_type(found[2])}):", obj.docstring.value)
            text = RETURNED.sub(lambda found: f"{found[1]}{plain_type(found[2])}: ", text)
            obj.docstring.value = REFERENCE.sub(r"`\1`", text)
