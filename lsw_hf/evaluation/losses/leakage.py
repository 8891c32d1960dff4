"""Did the model see the test set? The loss differences of Skywork-13B (2310.19341, section 5), with intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...data.corpus.contamination import units_of
from ...data.corpus.files import file_kind, read_lines
from ...data.corpus.sources import Source, iterate_rows, resolve_sources
from ...reports import SavedReport, markdown_table
from .token_losses import TokenLosses

# The paper's table on GSM8K: model, Delta1, Delta2. It sets no threshold; clean models stay within 0.06, and those it
# highlights begin at -0.1 and 0.2: our reading.
PAPER_TABLE: tuple[tuple[str, float, float], ...] = (
    ("ChatGLM3-6B", 0.0, 0.21),
    ("MOSS-7B", 0.02, -0.01),
    ("InternLM-7B", -0.06, 0.09),
    ("Qwen-7B", -0.03, 0.43),
    ("Baichuan2-7B", 0.05, -0.01),
    ("LLaMA2-13B", 0.03, -0.01),
    ("Xverse-13B", 0.03, -0.01),
    ("Baichuan-13B", 0.04, -0.01),
    ("Baichuan2-13B", -0.03, 0.37),
    ("Qwen-14B", -0.11, 0.61),
    ("InternLM-20B", 0.01, 0.11),
    ("Aquila2-34B", -0.51, 0.39),
    ("Skywork-13B", 0.01, 0.04),
)
LEAK_DELTA1, OVERFIT_DELTA2 = -0.1, 0.2
# What is read of a dataset with several splits.
SPLITS = {"train": "train", "test": "test", "reference": "train"}
_KINDS = (".jsonl", ".parquet", ".txt")


@dataclass(frozen=True)
class LeakageReport(SavedReport):
    """The result of [`leakage_test`]. Losses are in nats per token, pooled over a set.

    Args:
        train_loss, test_loss, reference_loss (`float`): Losses of the three sets.
        delta1 (`float`):
            Test minus reference: clearly negative if the model knows the test set.
        delta2 (`float`):
            Test minus train: clearly positive if the model memorized the training split.
        delta1_interval, delta2_interval (`tuple[float, float]`): 95 % bootstrap intervals over samples.
        samples (`tuple[int, int, int]`):
            Size of train, test and reference set.
        overlap (`tuple[tuple[int, str], ...]`, *optional*):
            What [`find_overlap`] found in the reference set; `None` if it was not checked.
    """

    kind: ClassVar[str] = "leakage"
    title: ClassVar[str] = "leakage report"

    train_loss: float
    test_loss: float
    reference_loss: float
    delta1: float
    delta2: float
    delta1_interval: tuple[float, float]
    delta2_interval: tuple[float, float]
    samples: tuple[int, int, int]
    overlap: tuple[tuple[int, str], ...] | None = None

    @property
    def test_leaked(self) -> bool:
        """Delta1 at most -0.1, and the interval below zero."""
        return self.delta1 <= LEAK_DELTA1 and self.delta1_interval[1] < 0

    @property
    def train_overfitted(self) -> bool:
        """Delta2 at least 0.2, and the interval above zero."""
        return self.delta2 >= OVERFIT_DELTA2 and self.delta2_interval[0] > 0

    @property
    def verdict(self) -> str:
        """What the numbers say, in one sentence."""
        findings = []
        if self.test_leaked:
            findings.append(
                "the model finds the test set easier than fresh text of its kind: test data may have leaked"
            )
        if self.train_overfitted:
            findings.append("it finds the training split easier than the test split: it was trained on that split")
        if not findings:
            findings.append("no sign that the model saw the test set or learned the training split by heart")
        if self.overlap:
            findings.append(
                f"but {len(self.overlap)} of {self.samples[2]} reference samples repeat words of train or test: a "
                "reference that is not fresh hides a leak"
            )
        return "; ".join(findings)

    def _fields(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "test_leaked": self.test_leaked,
            "train_overfitted": self.train_overfitted,
            "verdict": self.verdict,
        }

    @classmethod
    def _from_fields(cls, data: dict[str, Any]) -> "LeakageReport":
        values: dict[str, Any] = {one.name: data[one.name] for one in fields(cls)}
        if values["overlap"] is not None:
            values["overlap"] = tuple(tuple(found) for found in values["overlap"])
        for name in ("delta1_interval", "delta2_interval", "samples"):
            values[name] = tuple(values[name])
        return cls(**values)

    def to_markdown(self) -> str:
        """Return the verdict, the numbers, and the paper's table to compare with."""
        deltas = (self.delta1, self.delta1_interval), (self.delta2, self.delta2_interval)
        rows = [["**this model**", *(_number(*delta) for delta in deltas)]]
        rows += [[f"{name} (paper, GSM8K)", f"{first:.2f}", f"{second:.2f}"] for name, first, second in PAPER_TABLE]
        train, test, reference = self.samples
        return "\n\n".join(
            [
                f"{self.verdict[0].upper()}{self.verdict[1:]}.",
                markdown_table(["model", "Delta1 (test - reference)", "Delta2 (test - train)"], rows, align="lrr"),
                f"Loss in nats per token: train {self.train_loss:.3f} ({train:,} samples), test {self.test_loss:.3f} "
                f"({test:,}), reference {self.reference_loss:.3f} ({reference:,}); differences with 95 % intervals.",
                self._overlap_note(),
            ]
        )

    def _overlap_note(self) -> str:
        """Return what is known of the reference set, with the first samples that are not its own."""
        if self.overlap is None:
            return "Whether the reference set repeats train or test was not checked."
        if not self.overlap:
            return "No reference sample repeats a run of words of train or test."
        shown = "; ".join(f'sample {index}: "{run}"' for index, run in self.overlap[:5])
        return f"{len(self.overlap):,} reference samples repeat train or test, as in {shown}."


def leakage_test(
    model: Any,
    tokenizer: Any,
    *,
    train: Sequence[str],
    test: Sequence[str],
    reference: Sequence[str],
    num_resamples: int = 2000,
    seed: int = 0,
) -> LeakageReport:
    """Compare the model's loss on a training split, its test split, and fresh text of the same distribution.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Its tokenizer.
        train (`Sequence[str]`):
            Samples of the training split, question and answer together.
        test (`Sequence[str]`):
            Samples of the test split.
        reference (`Sequence[str]`):
            Samples written after them in their style; check them with [`find_overlap`] first.
        num_resamples (`int`, *optional*, defaults to 2000):
            Bootstrap resamples of the samples of each set.
        seed (`int`, *optional*, defaults to 0):
            Seed of the resampling.

    Returns:
        [`LeakageReport`]: For files, and with the reference set checked, see [`leakage_test_files`].

    Raises:
        ValueError: for a set of fewer than 2 samples, or samples of fewer than 2 tokens.
        TypeError: for a set that is one string.
    """
    sets = {"train": train, "test": test, "reference": reference}
    losses, pooled, resampled = TokenLosses(model), {}, {}
    generator = np.random.default_rng(seed)
    for name, samples in sets.items():
        if isinstance(samples, str):
            raise TypeError(f"the {name} set is one string; give a sequence of samples")
        if len(samples) < 2:
            raise ValueError(f"the {name} set has {len(samples)} samples; a comparison needs at least 2")
    for name, samples in sets.items():
        rows = [tokenizer(text, verbose=False)["input_ids"] for text in samples]
        totals = np.array([(float(values.double().sum()), len(values)) for values in losses.of(rows)])
        pooled[name] = totals[:, 0].sum() / totals[:, 1].sum()
        draws = generator.integers(len(totals), size=(num_resamples, len(totals)))
        resampled[name] = totals[:, 0][draws].sum(axis=1) / totals[:, 1][draws].sum(axis=1)
    first, second = resampled["test"] - resampled["reference"], resampled["test"] - resampled["train"]
    return LeakageReport(
        train_loss=float(pooled["train"]),
        test_loss=float(pooled["test"]),
        reference_loss=float(pooled["reference"]),
        delta1=float(pooled["test"] - pooled["reference"]),
        delta2=float(pooled["test"] - pooled["train"]),
        delta1_interval=_interval(first),
        delta2_interval=_interval(second),
        samples=(len(train), len(test), len(reference)),
    )


def find_overlap(reference: Iterable[str], others: Iterable[str], ngram: int = 8) -> list[tuple[int, str]]:
    """Return samples of a reference set that share a run of words with other texts, and the run: such a set is not
    fresh.

    Args:
        reference (`Iterable[str]`):
            The set to check.
        others (`Iterable[str]`):
            Texts it must not repeat: the train and test split.
        ngram (`int`, *optional*, defaults to 8):
            Words in a row that count as a copy, in any case and without punctuation. Each Chinese, Japanese or
            Korean character counts as a word. A shorter sample is a copy if it is one of the other texts.

    Returns:
        `list[tuple[int, str]]`: Index of the sample, and the first run found.
    """
    if ngram < 1:
        raise ValueError(f"ngram must be at least 1; got {ngram}")
    seen = {run for text in others for run in _runs(text, ngram)}
    found = []
    for index, text in enumerate(reference):
        run = next((run for run in _runs(text, ngram) if run in seen), None)
        if run is not None:
            found.append((index, " ".join(run)))
    return found


def read_samples(source: Source, columns: Sequence[str] = ("text",), split: str = "train") -> list[str]:
    """Return samples of one set: a line of a text file, or a row of a `.jsonl` or `.parquet` file or of a dataset.

    Args:
        source (`str`, `os.PathLike` or dataset):
            A file, a folder of files, a saved dataset, or an id on the Hub.
        columns (`Sequence[str]`, *optional*, defaults to `("text",)`):
            Columns that make a sample, joined by line breaks: question and answer, say. Text files have none.
        split (`str`, *optional*, defaults to `"train"`):
            Which split of a dataset with several.

    Raises:
        ValueError: for a missing column (row, and the columns that are there), an empty file, or a set without text.
        TypeError: for a value that is no string (row), or one string as `columns`.
        FileNotFoundError: for a path or id that does not exist.
    """
    if isinstance(columns, str):
        raise TypeError(f"columns is a sequence of names, as in ({columns!r},); got {columns!r}")
    samples = []
    for rows in resolve_sources(source, kinds=_KINDS, split=split):
        if isinstance(rows, Path) and file_kind(rows) == ".txt":
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
                    raise TypeError(f"{place}: column {name!r} contains {type(row[name]).__name__}, a sample is text.")
            samples.append("\n".join(row[name].strip() for name in columns).strip())
    samples = [sample for sample in samples if sample]
    if not samples:
        raise ValueError(f"{source} contains no sample with any text.")
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
    """Return the leakage test of [`leakage_test`] on files, with the overlap of the reference set.

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


def _runs(text: str, ngram: int) -> list[tuple[str, ...]]:
    words = units_of(text)
    if 0 < len(words) < ngram:
        return [tuple(words)]
    return [tuple(words[start : start + ngram]) for start in range(len(words) - ngram + 1)]


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _number(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"
