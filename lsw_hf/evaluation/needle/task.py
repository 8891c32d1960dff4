"""What a needle test is made of: filler sentences, facts hidden among them, and the question about a fact."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from ..reading.prompts import PromptEncoder, PromptStyle
from ..texts.fillers import FillerSource, Language, ProseFiller
from ..texts.prose import FAMILY_NAMES, GIVEN_NAMES, WISHES, WORDS
from ..texts.prose_zh import FAMILY_NAMES_ZH, GIVEN_NAMES_ZH, WISHES_ZH, WORDS_ZH

NeedleKind = Literal["number", "word", "uuid", "sentence"]


@dataclass(frozen=True)
class NeedleFact:
    """One fact that can be hidden in a haystack and asked for.

    Args:
        text (`str`):
            The sentence that is hidden.
        question (`str`):
            What is asked at the end of the prompt; it singles out this fact among all of a haystack.
        answer (`str`):
            What the model has to say.
        answer_prefix (`str`, *optional*, defaults to `""`):
            Beginning of the answer, given to the model as the last words of the prompt.
    """

    text: str
    question: str
    answer: str
    answer_prefix: str = ""


@runtime_checkable
class NeedleTask(Protocol):
    """The world of a needle test. A task is stateless: everything it draws comes from the generator it is given.

    Attributes:
        name (`str`):
            Name in the report.
        separator (`str`):
            Text between two sentences of a haystack, usually one space.
        max_new_tokens (`int`):
            Tokens the model may generate for an answer, unless the grid says otherwise.
        chance (`float` or `None`):
            Accuracy of guessing, in [0, 1], where the task knows it.
    """

    name: str
    separator: str
    max_new_tokens: int
    chance: float | None

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Endless filler sentences that answer no question of the task."""
        ...

    def facts(self, generator: np.random.Generator, count: int) -> list[NeedleFact]:
        """Return `count` facts with distinct questions, in random order; raise `ValueError` if there are fewer."""
        ...

    def prompt(self, haystack: str, question: str) -> str:
        """Return the words around the haystack. Prompts that begin with the haystack can share its computation."""
        ...


# Per language and kind: the sentence up to the answer, its end, and the question; {who} is the person.
_FORMS: dict[tuple[Language, NeedleKind], tuple[str, str, str]] = {
    ("en", "number"): ("The locker number of {who} is", ".", "What is the locker number of {who}?"),
    ("en", "word"): ("The favourite word of {who} is", ".", "What is the favourite word of {who}?"),
    ("en", "uuid"): ("The parcel code of {who} is", ".", "What is the parcel code of {who}?"),
    ("en", "sentence"): ("The wish of {who} for this year is to", ".", "What is the wish of {who} for this year?"),
    ("zh", "number"): ("{who}的储物柜号码是", "。", "{who}的储物柜号码是多少？"),
    ("zh", "word"): ("{who}最喜欢的词是", "。", "{who}最喜欢的词是什么？"),
    ("zh", "uuid"): ("{who}的包裹编号是", "。", "{who}的包裹编号是什么？"),
    ("zh", "sentence"): ("{who}今年的愿望是", "。", "{who}今年的愿望是什么？"),
}
_TOKENS = {"number": 16, "word": 12, "uuid": 48, "sentence": 40}
_PROMPTS = {
    "en": "Read the text and answer the question about it.\n\n{haystack}\n\nQuestion: {question}\nAnswer:",
    "zh": "请阅读下面的文字，然后回答问题。\n\n{haystack}\n\n问题：{question}\n回答：",
}


class ProseNeedleTask:
    """The built-in task: facts about named people, hidden in prose.

    All facts of a haystack have the same form, so that a distractor can only be told from the needle by the name, and
    the last words of the prompt are the needle's own up to the answer, so that base models answer as well.

    Args:
        kind (`str`, *optional*, defaults to `"number"`):
            What is remembered: `"number"` (7 digits), `"word"` (one of 64), `"uuid"` (32 hexadecimal digits with
            hyphens) or `"sentence"` (a short wish, one of 256).
        language (`str`, *optional*, defaults to `"en"`):
            `"en"` or `"zh"`.
        filler ([`FillerSource`], *optional*):
            Text around the facts; defaults to neutral prose of that language.

    Raises:
        ValueError: for an unknown kind or language.
    """

    def __init__(
        self, kind: NeedleKind = "number", language: Language = "en", filler: FillerSource | None = None
    ) -> None:
        if (language, kind) not in _FORMS:
            raise ValueError(
                f"kind must be one of {', '.join(_TOKENS)} and language 'en' or 'zh'; got {kind!r}, {language!r}"
            )
        self.kind, self.language = kind, language
        self.filler = ProseFiller(language) if filler is None else filler
        self.name = f"{kind}-{language}"
        self.separator = " " if language == "en" else ""
        self.max_new_tokens = _TOKENS[kind]
        self.chance: float | None = {"word": 1 / len(WORDS), "sentence": 1 / 256}.get(kind, 0.0)

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Sentences of the filler source."""
        return self.filler.sentences(generator)

    def facts(self, generator: np.random.Generator, count: int) -> list[NeedleFact]:
        """Return `count` facts about `count` different people."""
        given, family = (GIVEN_NAMES, FAMILY_NAMES) if self.language == "en" else (GIVEN_NAMES_ZH, FAMILY_NAMES_ZH)
        available = len(given) * len(family)
        if count > available:
            raise ValueError(
                f"{count} facts were asked for, but the task {self.name!r} has only {available} distinct people; "
                "lower distractors_per_64_tokens or set max_distractors"
            )
        people = generator.choice(available, size=count, replace=False).tolist()
        answers = self._answers(generator, count)
        lead, end, question = _FORMS[self.language, self.kind]
        facts = []
        for person, answer in zip(people, answers, strict=True):
            first, last = given[person // len(family)], family[person % len(family)]
            who = f"{first} {last}" if self.language == "en" else f"{last}{first}"
            start = lead.format(who=who)
            facts.append(NeedleFact(f"{start}{self.separator}{answer}{end}", question.format(who=who), answer, start))
        return facts

    def prompt(self, haystack: str, question: str) -> str:
        """Instruction, haystack, question."""
        return _PROMPTS[self.language].format(haystack=haystack, question=question)

    def _answers(self, generator: np.random.Generator, count: int) -> list[str]:
        """Independent answers, repeats allowed: a repeated answer tells nothing about the question."""
        if self.kind == "number":
            return [str(number) for number in generator.integers(1_000_000, 10_000_000, size=count).tolist()]
        if self.kind == "uuid":
            return [str(uuid.UUID(bytes=generator.bytes(16), version=4)) for _ in range(count)]
        if self.kind == "word":
            words = WORDS if self.language == "en" else WORDS_ZH
            return [words[index] for index in generator.integers(len(words), size=count).tolist()]
        deeds, places = WISHES if self.language == "en" else WISHES_ZH
        pairs = generator.integers(16, size=(count, 2)).tolist()
        if self.language == "en":
            return [f"{deeds[deed]} {places[place]}" for deed, place in pairs]
        return [f"{places[place]}{deeds[deed]}" for deed, place in pairs]


@dataclass(frozen=True)
class NeedleQuestion:
    """One question about one haystack, ready for the model.

    Args:
        fact (`NeedleFact`):
            The fact that is asked for.
        cell_depth (`float`):
            Depth of the grid cell that the question counts for.
        depth (`float`):
            Where the fact is, by tokens: 0 is the first place of the haystack, 1 the last possible one.
        prompt (`str`):
            The whole prompt.
        input_ids (`list[int]`):
            The tokenizer's ids of the prompt; exactly `prompt_length` of them.
        candidates (`tuple[str, ...]`):
            The right answer, then up to 7 wrong ones: answers of other facts, of this haystack where it has enough.
            Empty unless the plan asks for them.
    """

    fact: NeedleFact
    cell_depth: float
    depth: float
    prompt: str
    input_ids: list[int]
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class HaystackPlan:
    """What one haystack should contain.

    Args:
        prompt_length (`int`):
            Tokens of every prompt about this haystack, special tokens and question included.
        needle_depths (`tuple[float, ...]`):
            Cell depth of each needle, in [0, 1].
        tolerance (`float`):
            How far a needle may be from its cell depth. 0 places it at the nearest sentence border.
        facts_per_64_tokens (`float`):
            Density of facts, needles included; the needles are always there.
        max_distractors (`int`, *optional*):
            Upper bound on the number of facts that are not needles.
        candidates (`bool`, *optional*, defaults to `False`):
            Whether each question has wrong answers to score against.
        moving (`bool`, *optional*, defaults to `False`):
            Whether the needles are in the text one at a time, each in a prompt of its own; see [`build_questions`].
    """

    prompt_length: int
    needle_depths: tuple[float, ...]
    tolerance: float
    facts_per_64_tokens: float = 0.0
    max_distractors: int | None = None
    candidates: bool = False
    moving: bool = False


class CrowdedHaystackError(ValueError):
    """So many needles that one cannot be near enough to its depth."""


class NeedleEncoder(PromptEncoder):
    """Turns haystacks and facts of one task into prompts, and counts their parts.

    Args:
        tokenizer ([`PreTrainedTokenizerBase`]):
            The model's tokenizer.
        task ([`NeedleTask`]):
            Gives the words around the haystack.
        style (`str`, *optional*, defaults to `"auto"`):
            As in [`PromptEncoder`].
    """

    def __init__(self, tokenizer: Any, task: NeedleTask, style: PromptStyle = "auto") -> None:
        super().__init__(tokenizer, style)
        self.task = task
        self._sizes: dict[str, int] = {}

    def text(self, haystack: str, fact: NeedleFact) -> str:
        """Return the whole prompt as text, up to where the model continues."""
        return self.wrap(self.task.prompt(haystack, fact.question), fact.answer_prefix, self.task.separator)

    def sizes(self, pieces: list[str]) -> list[int]:
        """Tokens that each piece adds when it follows another sentence of the haystack."""
        unknown = list({piece: None for piece in pieces if piece not in self._sizes})
        if unknown:
            anchor = unknown[0]
            alone = len(self.tokenizer(anchor, add_special_tokens=False)["input_ids"])
            joined = [anchor + self.task.separator + piece for piece in unknown]
            encoded = self.tokenizer(joined, add_special_tokens=False)["input_ids"]
            self._sizes.update({piece: len(ids) - alone for piece, ids in zip(unknown, encoded, strict=True)})
        return [self._sizes[piece] for piece in pieces]
