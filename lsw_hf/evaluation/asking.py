"""Putting questions to a model and judging what comes back."""

from dataclasses import dataclass

import numpy as np

from .decoding import GreedyReader
from .haystack import NeedleQuestion
from .prompting import NeedleEncoder
from .scoring import ScoringMode, is_correct

# Haystacks of one question and one length are read together up to so many tokens (our choice): short prompts leave
# the machine idle otherwise, and longer batches would need more memory than one long prompt.
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Verdict:
    """
    The outcome of one question.

    Args:
        answered (`str`): Generated text, or the likeliest candidate.
        correct (`bool`): Whether it is right.
        margin (`float`, *optional*):
            Mean log-probability per token of the right answer above the best wrong candidate; only when scoring
            likelihoods.
    """

    answered: str
    correct: bool
    margin: float | None = None


class Examiner:
    """
    Asks the questions about haystacks, computing what they share once.

    Args:
        reader ([`GreedyReader`]): The model.
        encoder ([`NeedleEncoder`]): The tokenizer.
        scoring (`str`): One of `"contains"`, `"exact"`, `"normalised"`, `"likelihood"`; see [`is_correct`].
    """

    def __init__(self, reader: GreedyReader, encoder: NeedleEncoder, scoring: ScoringMode) -> None:
        self.reader, self.encoder, self.scoring = reader, encoder, scoring

    def batches(self, context_length: int) -> int:
        """How many haystacks of one question each are read together."""
        return 1 if self.scoring == "likelihood" else max(1, _BATCH_TOKENS // context_length)

    def examine(self, haystacks: list[list[NeedleQuestion]]) -> list[list[Verdict]]:
        """Verdicts on all questions; several haystacks at once only if each has one question and all one length."""
        if self.scoring == "likelihood":
            return [self._weigh(questions) for questions in haystacks]
        if len(haystacks) > 1:
            answers = self.reader.answer([questions[0].input_ids for questions in haystacks])
            return [self._judge(questions, [answer]) for questions, answer in zip(haystacks, answers, strict=True)]
        return [self._judge(haystacks[0], self._generate(haystacks[0]))]

    def _generate(self, questions: list[NeedleQuestion]) -> list[list[int]]:
        rows = [question.input_ids for question in questions]
        shared = common_prefix(rows)
        if len(rows) == 1 or shared == 0:
            return [self.reader.answer([row])[0] for row in rows]
        prefix = self.reader.prefill(rows[0][:shared])
        size = self.reader.batch_size(prefix, len(rows))
        answers = []
        for start in range(0, len(rows), size):
            part = [row[shared:] for row in rows[start : start + size]]
            answers += self.reader.answer(part, prefix, shared)
        return answers

    def _judge(self, questions: list[NeedleQuestion], answers: list[list[int]]) -> list[Verdict]:
        texts = [self.encoder.tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
        return [
            Verdict(text, is_correct(question.fact.answer, text, self.scoring))
            for question, text in zip(questions, texts, strict=True)
        ]

    def _weigh(self, questions: list[NeedleQuestion]) -> list[Verdict]:
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
        prefix = self.reader.prefill(questions[0].input_ids[:shared])
        size = self.reader.batch_size(prefix, max(map(len, table)))
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
    """Tokens that all rows begin with, leaving at least one of each row to ask with."""
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
