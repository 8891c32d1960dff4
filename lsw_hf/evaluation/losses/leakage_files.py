"""The leakage test on files: samples of the three sets, the overlap of the reference set, then the losses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...data.corpus.files import file_kind, read_lines
from ...data.corpus.sources import Source, iterate_rows, resolve_sources
from .leakage import LeakageReport, find_overlap, leakage_test

_KINDS = (".jsonl", ".parquet", ".txt")
# What is read of a dataset with several splits.
SPLITS = {"train": "train", "test": "test", "reference": "train"}


def read_samples(source: Source, columns: Sequence[str] = ("text",), split: str = "train") -> list[str]:
    """Return samples of one set: a line of a text file, or a row of a `.jsonl` or `.parquet` file or of a dataset.

    Args:
        source (`str`, `os.PathLike` or dataset):
            A file, a folder of files, a saved dataset, or an id on the Hub.
        columns (`Sequence[str]`, *optional*, defaults to `("text",)`):
            Columns that make a sample, one below the other: question and answer, say. Text files have none.
        split (`str`, *optional*, defaults to `"train"`):
            Which split of a dataset with several.

    Raises:
        ValueError: for a missing column (row, and the columns that are there), an empty file, or a set without text.
        TypeError: for a value that is no string (row), or one string as `columns`.
        FileNotFoundError: for a path or id that leads nowhere.
    """
    if isinstance(columns, str):
        raise TypeError(f"columns is a sequence of names, as in ({columns!r},); got {columns!r}")
    samples = []
    for rows in resolve_sources(source, kinds=_KINDS, split=split):
        if not hasattr(rows, "column_names") and file_kind(rows) == ".txt":
            samples += [line.strip() for _, line in read_lines(rows) if line.strip()]
            continue
        for place, row in iterate_rows(rows):
            missing = [name for name in columns if name not in row]
            if missing:
                raise ValueError(
                    f"{place} has no column {', '.join(missing)}. It has: {', '.join(map(str, row)) or 'none'}; "
                    "choose with columns (--column)."
                )
            for name in columns:
                if not isinstance(row[name], str):
                    raise TypeError(f"{place}: column {name!r} holds {type(row[name]).__name__}, a sample is text.")
            samples.append("\n".join(row[name].strip() for name in columns).strip())
    samples = [sample for sample in samples if sample]
    if not samples:
        raise ValueError(f"{source} holds no sample with any text.")
    return samples


def leakage_test_files(
    model: Any,
    tokenizer: Any,
    *,
    train: Source,
    test: Source,
    reference: Source,
    columns: Sequence[str] = ("text",),
    ngram: int = 8,
    num_resamples: int = 2000,
) -> LeakageReport:
    """Return the leakage test of [`leakage_test`] on files, with the overlap of the reference set beside it.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Its tokenizer.
        train, test, reference (`str`, `os.PathLike` or dataset): The three sets, see [`read_samples`]; of a dataset
            with several splits the test set is `test`, and the others are `train`.
        columns (`Sequence[str]`, *optional*, defaults to `("text",)`):
            Columns that make a sample.
        ngram (`int`, *optional*, defaults to 8):
            Words in a row that count as a copy, see [`find_overlap`].
        num_resamples (`int`, *optional*, defaults to 2000):
            Bootstrap resamples of the samples of each set.

    Raises:
        As [`read_samples`] and [`leakage_test`] do; files are read before the model is asked.
    """
    sources = {"train": train, "test": test, "reference": reference}
    known, asked, fresh = (read_samples(source, columns, SPLITS[name]) for name, source in sources.items())
    overlap = find_overlap(fresh, [*known, *asked], ngram)
    report = leakage_test(model, tokenizer, train=known, test=asked, reference=fresh, num_resamples=num_resamples)
    return replace(report, overlap=tuple(overlap))
