"""What tables and questions a generator makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from .drawing import RowFilter
from .questions.asking import QUESTION_TYPES
from .rendering import FORMATS, TableFormat, check_writable
from .schema import TableSchema
from .vocabulary import Language

RowFormat = Literal["messages", "prompt_completion", "conversational"]
Split = Literal["all", "train", "eval"]


@dataclass(frozen=True)
class TableConfig:
    """Settings of a [`TableGenerator`].

    Args:
        length (`int` or `tuple[int, int]`, *optional*, defaults to `(2_048, 102_400)`):
            Tokens of a whole row (template, table, questions and answers). Two numbers: drawn log-uniformly between
            them, both included. The default is the paper's range.
        question_types (`tuple[str, ...]`, *optional*):
            Which questions are asked; all of `QUESTION_TYPES` by default.
        questions_per_table (`int` or `tuple[int, int]`, *optional*, defaults to 1):
            Questions about one table, as a dialogue of that many turns (fewer when the table has no more to ask: no
            question is asked twice).
        formats (`tuple[str, ...]`, *optional*):
            Ways to write a table; all of `FORMATS` by default.
        languages (`tuple[str, ...]`, *optional*, defaults to `("en",)`):
            `"en"`, `"zh"`. Ignored when a schema is given, which has its own.
        schema ([`TableSchema`], *optional*):
            Columns of every table. By default each table draws its own.
        templates (`dict[str, Sequence[tuple[str, str]]]`, *optional*):
            `(question, answer)` texts by question type, in place of the built-in paraphrases. Slots of `"cell"`:
            `{key}`, `{key_column}`, `{column}`, `{value}`.
        row_filter (`Callable`, *optional*):
            Gets a table row as `{header: cell}` and returns whether it may appear in any table.
        split (`str`, *optional*, defaults to `"all"`):
            `"train"` and `"eval"` tables never share a key: an eighth of all keys, by a fixed hash, belongs to
            `"eval"`.
        row_format (`str`, *optional*, defaults to `"messages"`):
            Columns of the rows: `messages`, or text `prompt` and `completion`, or `prompt` and `completion` as
            messages.
        header (`bool`, *optional*, defaults to `True`):
            Whether CSV and TSV begin with their headers.
        preamble (`str`, *optional*):
            Text above the table; a sentence in the table's language by default, `""` for none.
        distractors (`tuple[str, ...]`, *optional*):
            Sentences about something else. Built-in ones by default, `()` for none.
        distractor_share (`float`, *optional*, defaults to 0.0):
            Share of the length that distractors take, at most 0.9.
        distractor_places (`tuple[str, ...]`, *optional*, defaults to `("before", "between", "after")`):
            Where they are put: before the table, between blocks of its rows, after it.
        distractor_blocks (`int`, *optional*, defaults to 3):
            Number of places between rows that get a paragraph.
        pad_to_length (`bool`, *optional*, defaults to `True`):
            Adds words to a last paragraph until the length is met. Otherwise a row may stay below by one table row.
        max_unknown_share (`float`, *optional*, defaults to 0.001):
            Largest share of unknown tokens before a row is refused.

    Raises:
        ValueError: a value outside its range; the message names it and what is allowed.
    """

    length: int | tuple[int, int] = (2_048, 102_400)
    question_types: tuple[str, ...] = ()
    questions_per_table: int | tuple[int, int] = 1
    formats: tuple[TableFormat, ...] = FORMATS
    languages: tuple[Language, ...] = ("en",)
    schema: TableSchema | None = None
    templates: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    row_filter: RowFilter | None = None
    split: Split = "all"
    row_format: RowFormat = "messages"
    header: bool = True
    preamble: str | None = None
    distractors: tuple[str, ...] | None = None
    distractor_share: float = 0.0
    distractor_places: tuple[str, ...] = ("before", "between", "after")
    distractor_blocks: int = 3
    pad_to_length: bool = True
    max_unknown_share: float = 0.001

    def __post_init__(self) -> None:
        every = tuple(name for name in QUESTION_TYPES if self.schema is None or name != "join")
        object.__setattr__(self, "question_types", tuple(self.question_types) or every)
        choices = {
            "question_types": tuple(QUESTION_TYPES),
            "formats": FORMATS,
            "languages": get_args(Language),
            "distractor_places": ("before", "between", "after"),
        }
        for name, allowed in choices.items():
            unknown = [value for value in getattr(self, name) if value not in allowed]
            if unknown or not getattr(self, name):
                raise ValueError(f"{name} must contain some of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        for name, allowed in (("split", get_args(Split)), ("row_format", get_args(RowFormat))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        for name, least in (("length", 16), ("questions_per_table", 1)):
            value = getattr(self, name)
            pair = value if isinstance(value, tuple | list) else (value, value)
            if len(pair) != 2 or any(isinstance(end, bool) or not isinstance(end, int) for end in pair):
                raise ValueError(f"{name} must be an integer or a pair of them, got {value!r}.")
            low, high = self.span(name)
            if not least <= low <= high:
                raise ValueError(
                    f"{name} must be at least {least} tokens or questions, low before high, got {(low, high)}."
                )
        if self.row_format == "prompt_completion" and self.span("questions_per_table") != (1, 1):
            raise ValueError(
                "A prompt_completion row has one question: set questions_per_table=1 or row_format='messages'."
            )
        if not 0.0 <= self.distractor_share <= 0.9:
            raise ValueError(f"distractor_share must lie in [0, 0.9], got {self.distractor_share!r}.")
        if self.distractors == () and (self.distractor_share > 0 or self.pad_to_length):
            raise ValueError(
                "Without distractors nothing can fill up a row: set distractor_share=0 and pad_to_length=False."
            )
        if self.schema is not None and "join" in self.question_types:
            raise ValueError(
                "'join' draws two tables of its own: leave it out of question_types when a schema is given."
            )
        foreign = [name for name in self.templates if name not in QUESTION_TYPES]
        if foreign:
            raise ValueError(f"templates are given for {foreign}: the question types are {', '.join(QUESTION_TYPES)}.")
        if self.schema is not None:
            for table_format in self.formats:
                check_writable(self.schema, table_format)

    def span(self, name: str) -> tuple[int, int]:
        """Smallest and largest value of `length` or `questions_per_table`."""
        value = getattr(self, name)
        return (value, value) if isinstance(value, int) else (value[0], value[1])
