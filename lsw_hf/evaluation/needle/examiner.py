"""Ask a model the questions about haystacks, and judge its answers."""

from dataclasses import dataclass

import numpy as np

from ..reading.reader import LONGEST_BRANCH, GreedyReader
from ..scoring import ScoringMode, is_correct
from .task import NeedleEncoder, NeedleQuestion

# Haystacks of one question and one length are read together up to so many tokens (our choice): short prompts leave
# the machine idle otherwise, and longer batches would need more memory than one long prompt.
_BATCH_TOKENS = 4096
# Shorter prompts are read together rather than one after the other from where they differ (our choice).
_SHORT_PROMPT = 256
# A prompt that shares less of itself is read alone: on a CPU the masks of continuing cost more than that saves.
_LEAST_SHARED = 0.25


@dataclass(frozen=True)
class Verdict:
    """The outcome of one question.

    Args:
        answered (`str`):
            Generated text, or the likeliest candidate.
        correct (`bool`):
            Whether it is right.
        margin (`float`, *optional*):
            Mean log-probability per token of the right answer above the best wrong candidate; only when scoring
            likelihoods.
    """

    answered: str
    correct: bool
    margin: float | None = None


class Examiner:
    """Asks the questions about haystacks, computing what they share once.

    Args:
        reader ([`GreedyReader`]):
            The model.
        encoder ([`NeedleEncoder`]):
            The tokenizer.
        scoring (`str`):
            One of `"contains"`, `"exact"`, `"normalized"`, `"likelihood"`; see [`is_correct`].
    """

    def __init__(self, reader: GreedyReader, encoder: NeedleEncoder, scoring: ScoringMode) -> None:
        self.reader, self.encoder, self.scoring = reader, encoder, scoring

    def batch_size(self, context_length: int) -> int:
        """How many haystacks of one question each are read together."""
        return 1 if self.scoring == "likelihood" else max(1, _BATCH_TOKENS // context_length)

    def examine(self, haystacks: list[list[NeedleQuestion]]) -> list[list[Verdict]]:
        """Verdicts on all questions; several haystacks at once only if each has one question and all one length."""
        if self.scoring == "likelihood":
            return [self._score_all_likelihoods(questions) for questions in haystacks]
        if len(haystacks) > 1:
            answers = self.reader.answer([questions[0].input_ids for questions in haystacks])
            return [self._judge(questions, [answer]) for questions, answer in zip(haystacks, answers, strict=True)]
        return [self._judge(haystacks[0], self._generate(haystacks[0]))]

    def _generate(self, questions: list[NeedleQuestion]) -> list[list[int]]:
        rows = [question.input_ids for question in questions]
        if len(rows) == 1 or not self.reader.can_continue():
            return [self.reader.answer([row])[0] for row in rows]
        shared = common_prefix(rows)
        ending = len(rows[0]) - shared
        if ending > LONGEST_BRANCH:
            return self._generate_in_turn(rows) if len(rows[0]) >= _SHORT_PROMPT else self._generate_together(rows)
        prefix = self.reader.prefill(rows[0][:shared])
        size = self.reader.batch_size(prefix, len(rows), ending)
        answers = []
        for start in range(0, len(rows), size):
            part = [row[shared:] for row in rows[start : start + size]]
            answers += self.reader.answer(part, prefix, shared, consume_prefix=start + size >= len(rows))
        return answers

    def _generate_in_turn(self, rows: list[list[int]]) -> list[list[int]]:
        """Return answers to prompts that each share a longer prefix with the next one than with the one before."""
        answers: list[list[int]] = []
        trunk, read = None, 0
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            shared = read if following is None else common_prefix([row, following])
            if shared > read:
                trunk, read = self.reader.prefill(row[read:shared], trunk, read), shared
            worth = read >= len(row) * _LEAST_SHARED
            answers += self.reader.answer([row[read:]], trunk, read) if worth else self.reader.answer([row])
            if shared < read:
                trunk, read = None, 0
        return answers

    def _generate_together(self, rows: list[list[int]]) -> list[list[int]]:
        """Return answers to short prompts of one length, a few of them read at once."""
        size, answers = self.batch_size(len(rows[0])), []
        for start in range(0, len(rows), size):
            answers += self.reader.answer(rows[start : start + size])
        return answers

    def _judge(self, questions: list[NeedleQuestion], answers: list[list[int]]) -> list[Verdict]:
        texts = [self.encoder.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
        return [
            Verdict(text, is_correct(question.fact.answer, text, self.scoring))
            for question, text in zip(questions, texts, strict=True)
        ]

    def _score_all_likelihoods(self, questions: list[NeedleQuestion]) -> list[Verdict]:
        """Questions at the end of one text share it; needles that move through a text are scored one by one."""
        shared = common_prefix([question.input_ids for question in questions])
        if len(questions[0].input_ids) - shared > LONGEST_BRANCH:
            return [verdict for question in questions for verdict in self._score_likelihoods([question])]
        return self._score_likelihoods(questions)

    def _score_likelihoods(self, questions: list[NeedleQuestion]) -> list[Verdict]:
        """Teacher-forced: the right answer must be likelier, per token, than every candidate."""
        separator = self.encoder.task.separator
        table = [
            [self.encoder.ids(question.prompt + separator + answer) for answer in question.candidates]
            for question in questions
        ]
        starts = [
            min(_agreement(question.input_ids, ids) for ids in rows)
            for question, rows in zip(questions, table, strict=True)
        ]
        shared = min(common_prefix([question.input_ids for question in questions]), *(start - 1 for start in starts))
        prefix, size = None, 1
        if self.reader.can_continue():
            prefix = self.reader.prefill(questions[0].input_ids[:shared])
            size = self.reader.batch_size(prefix, max(map(len, table)), tokens=LONGEST_BRANCH + 1)
        else:
            shared = 0
        verdicts = []
        for question, rows, start in zip(questions, table, starts, strict=True):
            scores: list[float] = []
            for first in range(0, len(rows), size):
                part = rows[first : first + size]
                counts = [len(ids) - start for ids in part]
                scores += self.reader.log_probabilities([ids[shared:] for ids in part], counts, prefix, shared)
            best = max(range(1, len(scores)), key=scores.__getitem__)
            margin = scores[0] - scores[best]
            verdicts.append(Verdict(question.candidates[0 if margin > 0 else best], margin > 0, margin))
        return verdicts


def common_prefix(rows: list[list[int]]) -> int:
    """Tokens that all rows begin with, leaving at least one token of each row."""
    shortest = min(map(len, rows))
    table = np.array([row[:shortest] for row in rows])
    differs = (table != table[0]).any(axis=0)
    return min(int(differs.argmax()) if differs.any() else shortest, shortest - 1)


def _agreement(prompt: list[int], continued: list[int]) -> int:
    """Tokens of the prompt that stay the same when an answer follows."""
    for index, (ours, theirs) in enumerate(zip(prompt, continued, strict=False)):
        if ours != theirs:
            return index
    return min(len(prompt), len(continued))
