"""The synthetic world of the embedded demo: readable sentences, a real tokenizer, and a needle task.

Every sentence has four tokens, so that lengths are exact and the text stays legible:

```text
fact      Yesterday Marlow sang .        who did what; the only place where it can be learned
filler    grey rivers slept .            says nothing about anybody
question  Recall Marlow                  the answer is one word: sang
```

1,024 names x 64 deeds. One (name, deed) pair in eight is *held out*: it never occurs in training text and the needle
evaluation uses nothing else, so no evaluated association was ever seen. All of this is our choice; the papers use web
text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerFast

_FIRST = (
    "Al Bel Cor Dan El Fen Gar Hal Il Jor Kel Lor Mar Nor Ol Per Quin Ros Sel Tor Ul Ver Wil Xan Yor Zel Bran Cal Dor "
    "Fal Gwen Hes"
).split()
_LAST = (
    "aba eda ion ola uma bert cott dine fred gard hild kin low mund nath olf pin ric sen ton vald wen win yth zar "
    "bury dell fax grim helm lund mere"
).split()
NAMES = tuple(first + last for first in _FIRST for last in _LAST)
DEEDS = tuple(
    "sang danced painted wept sailed baked wrote slipped climbed whistled marched prayed dug fished knitted rode swam "
    "planted carved traded mended brewed drummed juggled sketched hunted wandered argued laughed travelled studied "
    "harvested waited shouted gambled fenced rowed cooked listened polished sharpened counted borrowed repaired "
    "vanished stumbled dreamed bowed jumped whispered yawned sneezed kneeled saluted blushed shivered gardened "
    "fiddled lectured measured sorted welded bathed voted".split()
)
_ADJECTIVES = (
    "grey old quiet bright narrow distant golden heavy early broken silver gentle hollow frozen crooked wooden pale "
    "steep empty dusty ancient calm dark wide shallow rusty soft tall wild green cold warm"
).split()
_NOUNS = (
    "rivers clocks hills lamps roads bells clouds gates stones towers forests boats walls gardens bridges candles "
    "windows leaves mirrors harbours orchards barrels ladders kettles chimneys fields meadows valleys shadows "
    "curtains pebbles lanterns"
).split()
_PREDICATES = (
    "slept turned glowed faded waned rested drifted swayed cracked shone echoed settled rusted trembled leaned stood "
    "flickered darkened lingered gleamed crumbled rattled murmured hovered sagged spun froze thawed creaked dimmed "
    "stirred remained"
).split()

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
FACT_WORD, QUESTION_WORD, STOP_WORD, NEWLINE = "Yesterday", "Recall", ".", "\n"
_SPECIALS = (PAD, BOS, EOS, UNKNOWN)
TABLE_COLUMNS = {"name": NAMES, "deed": DEEDS, "object": _NOUNS, "look": _ADJECTIVES}
_FRAME = (FACT_WORD, QUESTION_WORD, STOP_WORD, NEWLINE, *TABLE_COLUMNS)
WORDS = (*_SPECIALS, *_FRAME, *DEEDS, *_ADJECTIVES, *_NOUNS, *_PREDICATES, *NAMES)
SENTENCE_LENGTH = 4

# One message is one piece of a transcript: the user's text ends with a question, the assistant's is its answer. There
# are
# no role tokens because `Recall` and the stop already mark the turns. The space stays outside the generation block:
# a block that ends in characters which the tokenizer drops would unmask everything after it.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ ' ' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{% endgeneration %}{% else %}{{ message['content'] }}{% endif "
    "%}{% endfor %}"
)


def held_out_pairs() -> np.ndarray:
    """Which (name, deed) pairs are kept for evaluation.

    Returns:
        `np.ndarray`: boolean, shape (1,024 names, 64 deeds), one in eight true; the same in every process.
    """
    names = np.arange(len(NAMES), dtype=np.int64)[:, None]
    deeds = np.arange(len(DEEDS), dtype=np.int64)[None, :]
    return (names * 5 + deeds * 3 + (names // 8) * (deeds // 8)) % 8 == 0


def build_tokenizer(model_max_length: int) -> PreTrainedTokenizerFast:
    """Return the world's word-level tokenizer: one token a word, one for a line break, `<s>` in front of every text.

    Args:
        model_max_length (`int`):
            Window of the model in tokens.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: with a chat template that marks the assistant's tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[ \t]+"), behavior="removed"),
            pre_tokenizers.Split(Regex(r"\n"), behavior="isolated"),
        ]
    )
    # A space in front of every word, the first one too, so that what a model adds to a prompt can be glued to it.
    tokenizer.decoder = decoders.Replace(Regex("^"), " ")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


# Parts that a dialogue's story is told in.
_PARTS = 4


@dataclass(frozen=True)
class TinyWorld:
    """Sampler of the world's texts; every text is a function of the generator that is handed in.

    Args:
        evaluation (`bool`, *optional*, defaults to `False`):
            Draw facts from the held-out pairs only (evaluation) or from all others (training).
    """

    evaluation: bool = False
    _allowed: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        held_out = held_out_pairs()
        object.__setattr__(self, "_allowed", held_out if self.evaluation else ~held_out)

    def is_allowed(self, name: str, deed: str) -> bool:
        """Whether the pair may appear in the texts of this sampler."""
        return bool(self._allowed[NAMES.index(name), DEEDS.index(deed)])

    def facts(self, count: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws `count` facts about different people.

        Args:
            count (`int`):
                How many, from 1 to 1,024.
            generator (`np.random.Generator`):
                Source of randomness.

        Returns:
            `tuple[np.ndarray, np.ndarray]`: indices of the names and of their deeds.

        Raises:
            ValueError: if `count` is not in that range.
        """
        if not 0 < count <= len(NAMES):
            raise ValueError(f"count must be between 1 and {len(NAMES)} facts (one a name), got {count}.")
        names = generator.choice(len(NAMES), size=count, replace=False)
        weights = self._allowed[names] * generator.random((count, len(DEEDS)))
        return names, weights.argmax(axis=1)

    def filler(self, count: int, generator: np.random.Generator) -> list[str]:
        """Draws `count` sentences of scenery, four tokens each."""
        adjectives = generator.integers(len(_ADJECTIVES), size=count)
        nouns = generator.integers(len(_NOUNS), size=count)
        predicates = generator.integers(len(_PREDICATES), size=count)
        return [
            f"{_ADJECTIVES[a]} {_NOUNS[n]} {_PREDICATES[p]} {STOP_WORD}"
            for a, n, p in zip(adjectives, nouns, predicates, strict=True)
        ]

    def story(
        self, num_sentences: int, num_facts: int, generator: np.random.Generator
    ) -> tuple[list[str], np.ndarray]:
        """Return a story of `num_sentences` sentences with `num_facts` facts at random places.

        Returns:
            `tuple[list[str], np.ndarray]`: the sentences, and the facts as rows of (name index, deed index).
        """
        sentences = self.filler(num_sentences, generator)
        names, deeds = self.facts(num_facts, generator)
        places = generator.choice(num_sentences, size=num_facts, replace=False)
        for place, name, deed in zip(places, names, deeds, strict=True):
            sentences[place] = f"{FACT_WORD} {NAMES[name]} {DEEDS[deed]} {STOP_WORD}"
        return sentences, np.stack([names, deeds], axis=1)

    def document(self, num_sentences: int, num_facts: int, num_questions: int, generator: np.random.Generator) -> str:
        """Return a title line, a story, and questions about it with their answers, as plain text for pretraining.

        With `<s>` before and `</s>` after it has `4 + 4 * num_sentences` tokens.
        """
        title = _NOUNS[generator.integers(len(_NOUNS))]
        sentences, facts = self.story(num_sentences - num_questions, num_facts, generator)
        asked = facts[_picks(num_facts, num_questions, generator)]
        sentences += [f"{QUESTION_WORD} {NAMES[name]} {DEEDS[deed]} {STOP_WORD}" for name, deed in asked]
        return f"{title} {NEWLINE} " + " ".join(sentences)

    def dialogue(
        self, num_sentences: int, num_facts: int, num_questions: int, generator: np.random.Generator
    ) -> list[dict[str, str]]:
        """Return the same as a dialogue in TRL's `messages` form, told in four parts of equal length.

        After each part come a quarter of the questions, about all that was told so far. With all questions at the end
        the distance between question and answer was rarely short, and in long texts facts near the end were missed.
        """
        sentences, facts = self.story(num_sentences - num_questions, num_facts, generator)
        places = {sentence: place for place, sentence in enumerate(sentences)}
        told = np.array([places[f"{FACT_WORD} {NAMES[name]} {DEEDS[deed]} {STOP_WORD}"] for name, deed in facts])
        messages = []
        begin, asked = 0, 0
        for part in range(1, _PARTS + 1):
            end, until = part * len(sentences) // _PARTS, part * num_questions // _PARTS
            known = facts[told < end]
            if until == asked or not len(known):
                continue  # told and asked with the next part
            for turn, (name, deed) in enumerate(known[_picks(len(known), until - asked, generator)]):
                story = sentences[begin:end] if turn == 0 else []
                messages.append({"role": "user", "content": " ".join([*story, f"{QUESTION_WORD} {NAMES[name]}"])})
                messages.append({"role": "assistant", "content": f"{DEEDS[deed]} {STOP_WORD}"})
            begin, asked = end, until
        return messages

    def documents(
        self, num_documents: int, num_sentences: int, facts: tuple[int, int], num_questions: int, seed: int
    ) -> Iterator[dict[str, str]]:
        """Yield `num_documents` documents `{"text": str}`; the number of facts is uniform in `facts` (inclusive).

        `<s>` is part of the text, because documents are tokenized without special tokens.
        """
        generator = np.random.default_rng(seed)
        for _ in range(num_documents):
            num_facts = int(generator.integers(facts[0], facts[1] + 1))
            yield {"text": f"{BOS} " + self.document(num_sentences, num_facts, num_questions, generator)}

    def dialogues(
        self, num_dialogues: int, num_sentences: int, facts: tuple[int, int], num_questions: int, seed: int
    ) -> Iterator[dict[str, list[dict[str, str]]]]:
        """Yield `num_dialogues` rows `{"messages": [...]}`; the number of facts is uniform in `facts` (inclusive)."""
        generator = np.random.default_rng(seed)
        for _ in range(num_dialogues):
            num_facts = int(generator.integers(facts[0], facts[1] + 1))
            yield {"messages": self.dialogue(num_sentences, num_facts, num_questions, generator)}


def _picks(num_facts: int, num_questions: int, generator: np.random.Generator) -> np.ndarray:
    """Which facts are asked about: all different while they last, then with repetition."""
    if num_questions <= num_facts:
        return generator.choice(num_facts, size=num_questions, replace=False)
    return generator.integers(num_facts, size=num_questions)
