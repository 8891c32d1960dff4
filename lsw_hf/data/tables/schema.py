"""Columns and schemas: which cells a table may contain, which of them name a row, and schemas drawn at random."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from .vocabulary import CATEGORIES, CITIES, GIVEN_NAMES, HEADERS, SURNAMES, Language

ColumnKind = Literal["id", "name", "city", "category", "date", "integer", "decimal", "code", "words"]
ORDERED_KINDS = ("date", "integer", "decimal")
NUMBER_KINDS = ("integer", "decimal")
_FIRST_DAY = datetime.date(1990, 1, 1).toordinal()
_DEFAULT_RANGE = {"id": (100_000, 9_999_999), "integer": (0, 9_999), "decimal": (0, 99_999), "date": (0, 14_000)}
_CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Column:
    """One column: a header and a finite, ordered domain that cells are drawn from.

    Args:
        name (`str`):
            The header.
        kind (`str`):
            `"id"`, `"name"`, `"city"`, `"category"`, `"date"`, `"integer"`, `"decimal"` (two places), `"code"`, or
            `"words"` for the given `values`.
        values (`tuple[str, ...]`, *optional*):
            The domain of `"words"` and `"category"` columns.
        low, high (`int`, *optional*):
            Smallest and largest value of number columns (`"decimal"`: in hundredths; `"date"`: days after 1990-01-01).
        distinct (`int`, *optional*):
            Collisions: at most this many different values in one table. By default the whole domain.
        language (`str`, *optional*, defaults to `"en"`):
            Which names and cities are used.

    Raises:
        ValueError: an unknown kind, an empty or contradictory domain; the message says what is allowed.
    """

    name: str
    kind: ColumnKind
    values: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    distinct: int | None = None
    language: Language = "en"

    def __post_init__(self) -> None:
        if self.kind not in get_args(ColumnKind):
            raise ValueError(
                f"Unknown kind {self.kind!r} of column {self.name!r}: use one of {', '.join(get_args(ColumnKind))}."
            )
        if not self.name.strip():
            raise ValueError(f"A column of kind {self.kind!r} has no name: give it a header.")
        if self.kind in ("words", "category") and not self.values:
            raise ValueError(
                f"Column {self.name!r} of kind {self.kind!r} needs values, a tuple of its possible cells."
            )
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"Column {self.name!r} lists the same value twice.")
        if self.language not in get_args(Language):
            raise ValueError(f"Unknown language {self.language!r} of column {self.name!r}: use 'en' or 'zh'.")
        # A text is a sequence of texts as well: its letters would become the words.
        if not isinstance(self.values, tuple) or not all(isinstance(value, str) and value for value in self.values):
            raise ValueError(
                f"values of column {self.name!r} must be a tuple of texts, none of them empty, got {self.values!r}."
            )
        for given in ("low", "high", "distinct"):
            value = getattr(self, given)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise ValueError(f"{given} of column {self.name!r} must be an integer, got {value!r}.")
        low, high = self.bounds
        if low > high:
            raise ValueError(f"Column {self.name!r} has low={low} above high={high}.")
        least, most = self._limits
        if low < least or high > most:
            raise ValueError(
                f"low={low} and high={high} of column {self.name!r} must lie between {least} and {most} for kind "
                f"{self.kind!r}."
            )
        if self.distinct is not None and not 1 <= self.distinct <= self.size:
            raise ValueError(f"distinct={self.distinct} of column {self.name!r} must lie between 1 and {self.size}.")

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest number of a number column; of the others, of the place in their domain."""
        low, high = _DEFAULT_RANGE.get(self.kind, (0, max(self._word_count - 1, 0)))
        return (low if self.low is None else self.low, high if self.high is None else self.high)

    @property
    def _limits(self) -> tuple[int, int]:
        """What `bounds` may be: numbers whose sums stay exact in `int64`; the calendar; the listed words."""
        if self.kind in ("id", "integer", "decimal"):
            return -(10**12), 10**12
        if self.kind == "date":
            return datetime.date(1000, 1, 1).toordinal() - _FIRST_DAY, datetime.date.max.toordinal() - _FIRST_DAY
        return 0, self._word_count - 1

    @property
    def size(self) -> int:
        """Number of different cells this column can have."""
        low, high = self.bounds
        return high - low + 1

    @property
    def _word_count(self) -> int:
        if self.kind == "name":
            return (
                27 * len(GIVEN_NAMES["en"]) * len(SURNAMES["en"])
                if self.language == "en"
                else len(GIVEN_NAMES["zh"]) * len(SURNAMES["zh"])
            )
        if self.kind == "code":
            return len(_CODE_LETTERS) ** 2 * 10_000
        return len(CITIES[self.language]) if self.kind == "city" else len(self.values)

    @cached_property
    def _text_of(self) -> Callable[[int], str]:
        texts: dict[str, Callable[[int], str]] = {
            "id": str,
            "integer": str,
            "decimal": lambda number: f"{'-' if number < 0 else ''}{abs(number) // 100}.{abs(number) % 100:02d}",
            "date": lambda day: datetime.date.fromordinal(_FIRST_DAY + day).isoformat(),
            "name": self._name_text,
            "code": _code_text,
            "city": CITIES[self.language].__getitem__,
        }
        return texts.get(self.kind, self.values.__getitem__)

    def _name_text(self, place: int) -> str:
        given, surnames = GIVEN_NAMES[self.language], SURNAMES[self.language]
        place, first = divmod(place, len(given))
        initial, last = divmod(place, len(surnames))
        if self.language == "zh":
            return surnames[last] + given[first]
        return (
            f"{given[first]} {surnames[last]}"
            if initial == 0
            else f"{given[first]} {chr(64 + initial)}. {surnames[last]}"
        )

    def text(self, number: int) -> str:
        """Return the cell for one number of the domain (between the two `bounds`)."""
        return self._text_of(number)

    def texts(self, numbers: np.ndarray) -> list[str]:
        """Return the cells for many numbers of the domain."""
        text_of = self._text_of
        return [text_of(number) for number in numbers.tolist()]

    def sampler(self, generator: np.random.Generator) -> Callable[[int], np.ndarray]:
        """Return a function that draws n numbers of the domain uniformly; over all calls at most `distinct` different
        ones.
        """
        low, _ = self.bounds
        if self.distinct is None:
            return lambda count: low + generator.integers(0, self.size, count)
        pool = generator.choice(self.size, self.distinct, replace=False)
        return lambda count: low + pool[generator.integers(0, len(pool), count)]


def _code_text(place: int) -> str:
    place, number = divmod(place, 10_000)
    first, second = divmod(place, len(_CODE_LETTERS))
    return f"{_CODE_LETTERS[first]}{_CODE_LETTERS[second]}-{number:04d}"


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table, and which of them name a row.

    Args:
        columns (`tuple[Column, ...]`):
            Two or more columns with different names.
        key (`tuple[str, ...]`, *optional*):
            Columns whose cells together occur only once in a table; the first column by default. Two or more make a
            composite key.
        asked (`tuple[str, ...]`, *optional*):
            Columns whose cells questions ask for; all that are not key columns by default.
        language (`str`, *optional*, defaults to `"en"`):
            Language of questions about the table.

    Raises:
        ValueError: fewer than two columns, names that repeat, keys that are not columns.
    """

    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    language: Language = "en"

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(names) < 2:
            raise ValueError(f"A table needs at least two columns, got {names}.")
        if len(set(names)) != len(names):
            raise ValueError(f"Column names must differ, got {names}.")
        object.__setattr__(self, "key", self.key or (names[0],))
        unknown = [name for name in self.key if name not in names]
        if unknown:
            raise ValueError(f"Key columns {unknown} are not in the schema: choose among {names}.")
        unknown = [name for name in self.asked if name not in names or name in self.key]
        if unknown:
            raise ValueError(
                f"Asked columns {unknown} are not columns beside the key {self.key}: choose among {names}."
            )
        if len(self.key) == len(names):
            raise ValueError("Every column is a key column: leave at least one to ask for.")
        limited = [column.name for column in self.columns if column.name in self.key and column.distinct is not None]
        if limited:
            raise ValueError(
                f"Key columns {limited} cannot be limited by distinct: give them a smaller domain instead."
            )

    @cached_property
    def key_indices(self) -> tuple[int, ...]:
        """Places of the key columns."""
        names = [column.name for column in self.columns]
        return tuple(names.index(name) for name in self.key)

    @cached_property
    def value_indices(self) -> tuple[int, ...]:
        """Places of the other columns."""
        return tuple(index for index in range(len(self.columns)) if index not in self.key_indices)

    @cached_property
    def asked_indices(self) -> tuple[int, ...]:
        """Places of the columns questions ask for."""
        return tuple(index for index in self.value_indices if not self.asked or self.columns[index].name in self.asked)

    @property
    def key_size(self) -> int:
        """Number of rows with different keys that exist."""
        size = 1
        for index in self.key_indices:
            size *= self.columns[index].size
        return size


def random_schema(
    generator: np.random.Generator, language: Language, num_columns: tuple[int, int] = (4, 8)
) -> TableSchema:
    """Draw a schema: an id or code as key, a category, a number, and further columns of mixed kinds.

    Args:
        generator (`np.random.Generator`):
            source of the draws.
        language (`str`):
            `"en"` or `"zh"`, of headers and cells.
        num_columns (`tuple[int, int]`, *optional*, defaults to `(4, 8)`):
            fewest and most columns, between 4 and 12.

    Our choice: the paper's schemas are not known.
    """
    low, high = num_columns
    if not 4 <= low <= high <= 12:
        raise ValueError(f"num_columns must be two numbers between 4 and 12 in order, got {num_columns}.")
    keys: tuple[ColumnKind, ColumnKind] = ("id", "code")
    kinds: list[ColumnKind] = [keys[int(generator.integers(2))], "category", "integer"]
    extra: list[ColumnKind] = ["name", "city", "date", "integer", "decimal", "code", "category", "name", "city"]
    wanted = int(generator.integers(low, high + 1))
    kinds += [extra[place] for place in generator.permutation(len(extra))[: wanted - 3]]
    free = {
        kind: [HEADERS[language][kind][place] for place in generator.permutation(len(HEADERS[language][kind]))]
        for kind in HEADERS[language]
    }
    categories = [list(CATEGORIES[language])[place] for place in generator.permutation(len(CATEGORIES[language]))]
    columns = []
    for kind in kinds:
        name = categories.pop() if kind == "category" else free[kind].pop()
        values = CATEGORIES[language][name] if kind == "category" else ()
        columns.append(Column(name, kind, values, language=language))
    order = [0, *(1 + generator.permutation(len(columns) - 1)).tolist()]
    return TableSchema(tuple(columns[place] for place in order), language=language)
