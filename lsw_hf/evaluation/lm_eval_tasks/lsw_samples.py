"""Samples and scores for lm-evaluation-harness: the same functions that `lsw_hf` itself evaluates with."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import datasets
from transformers import AutoTokenizer

from lsw_hf.evaluation.needle.grid import NeedleGrid, iterate_haystacks
from lsw_hf.evaluation.needle.task import NeedleEncoder, ProseNeedleTask
from lsw_hf.evaluation.reading.prompts import PromptEncoder
from lsw_hf.evaluation.scoring import match_all, match_any
from lsw_hf.evaluation.tasks.suite import TaskSuite, default_tasks, iterate_samples

# What `--metadata` may contain besides the tokenizer (or `pretrained` of the model arguments).
_DEFAULTS = {"max_seq_lengths": [4096], "num_samples": 20, "seed": 0}


def _options(metadata: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Tokenizer and counts from the harness's metadata."""
    name = metadata.get("tokenizer") or metadata.get("pretrained")
    if not name:
        raise ValueError('lengths are counted in tokens: pass --metadata \'{"tokenizer": "PATH_OR_ID"}\'')
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=bool(metadata.get("trust_remote_code")))
    return tokenizer, {key: metadata.get(key, default) for key, default in _DEFAULTS.items()}


def _dataset(rows: Iterator[dict[str, Any]]) -> dict[str, datasets.Dataset]:
    return {"test": datasets.Dataset.from_list(list(rows))}


def needle(**metadata: Any) -> dict[str, datasets.Dataset]:
    """One number needle a prompt, five depths a length; `num_samples` a cell."""
    tokenizer, options = _options(metadata)
    grid = NeedleGrid(options["max_seq_lengths"], num_samples=options["num_samples"], seed=options["seed"])
    encoder = NeedleEncoder(tokenizer, ProseNeedleTask(), "plain")

    def rows() -> Iterator[dict[str, Any]]:
        for length in grid.context_lengths:
            for questions in iterate_haystacks(encoder, grid, length):
                for question in questions:
                    yield {
                        "input": question.prompt,
                        "expected": [question.fact.answer],
                        "match": "all",
                        "context_length": length,
                        "depth": question.depth,
                    }

    return _dataset(rows())


def _task(name: str, **metadata: Any) -> dict[str, datasets.Dataset]:
    """Yield samples of one of the default task families."""
    tokenizer, options = _options(metadata)
    (task,) = [task for task in default_tasks() if task.name == name]
    suite = TaskSuite(options["max_seq_lengths"], num_samples=options["num_samples"], seed=options["seed"])
    encoder = PromptEncoder(tokenizer, "plain")

    def rows() -> Iterator[dict[str, Any]]:
        for length in suite.context_lengths:
            for sample in iterate_samples(task, encoder, suite, length):
                yield {
                    "input": sample.text,
                    "expected": list(sample.expected),
                    "match": sample.match,
                    "context_length": length,
                    "depth": -1.0,
                }

    return _dataset(rows())


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score of one answer, in [0, 1]."""
    judge: Callable[[list[str], str], float] = match_all if doc["match"] == "all" else match_any
    return {"accuracy": judge(doc["expected"], results[0])}


single_1 = partial(_task, "single_1")
single_2 = partial(_task, "single_2")
single_3 = partial(_task, "single_3")
multikey_1 = partial(_task, "multikey_1")
multikey_2 = partial(_task, "multikey_2")
multikey_3 = partial(_task, "multikey_3")
multivalue = partial(_task, "multivalue")
multiquery = partial(_task, "multiquery")
variable_tracking = partial(_task, "variable_tracking")
common_words = partial(_task, "common_words")
frequent_words = partial(_task, "frequent_words")
table_lookup = partial(_task, "table_lookup")
table_join = partial(_task, "table_join")
table_aggregate = partial(_task, "table_aggregate")
paraphrase = partial(_task, "paraphrase")
