"""Continual pretraining on chunk-interleaved documents (LongSkywork, stage 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import datasets
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from ..data.windows.interleaver import interleave_chunks
from .arguments import LossWeightingArguments
from .long_context_trainer import LongContextTrainerMixin

_TOKENIZED_AT_ONCE = 64


@dataclass
class ContinualPretrainingConfig(LossWeightingArguments, SFTConfig):
    """[`~trl.SFTConfig`] with the settings of chunk interleaving.

    `max_length` is the window length in tokens: every row is exactly as long. `max_steps` must be set, because windows
    are cut from a stream whose number is not known beforehand.
    """

    documents_per_window: int = field(
        default=4,
        metadata={
            "help": "Documents interleaved in a window. 1 with chunks_per_document=1 is plain concatenation. The "
            "paper's number is not known; 4 and 8 are used by independent implementations."
        },
    )
    chunks_per_document: int = field(
        default=2, metadata={"help": "Chunks each document is cut into (CIP-K); the paper's best is 2."}
    )
    split: Literal["random", "equal"] = field(
        default="random", metadata={"help": "Where documents are cut: at random points, or into equal parts."}
    )
    interleaved_fraction: float = field(
        default=1.0, metadata={"help": "Share of the windows, in [0, 1], that are interleaved; the others are plain."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is None or self.max_length < 2:
            raise ValueError(
                "max_length is the window length of continual pretraining and must be at least 2 tokens, got "
                f"{self.max_length}."
            )
        if self.max_steps <= 0:
            raise ValueError(
                f"max_steps must be positive, got {self.max_steps}: the number of windows in a stream of documents "
                "is not known beforehand."
            )
        if self.packing:
            raise ValueError(
                "packing must be False: windows are already full, and a document mask would undo interleaving."
            )


def interleaved_windows(
    documents: Iterable[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    args: ContinualPretrainingConfig,
    counts: dict[str, int] | None = None,
) -> Iterator[dict[str, list[int]]]:
    """Yield full windows of chunk-interleaved documents.

    Args:
        documents (`Iterable[dict]`):
            Rows with `text` (column `args.dataset_text_field`) or `input_ids` and optional `labels`.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its end-of-sequence token, where it has one, ends each document.
        args ([`ContinualPretrainingConfig`]):
            Window length and interleaving.
        counts (`dict[str, int]`, *optional*):
            Filled with what went in and out so far, see [`~lsw_hf.data.windows.config.InterleaveCounts`]:
            documents shorter than a window are joined, what does not fill the last one is dropped, both are counted.

    Yields:
        `dict`: `input_ids` and `labels` of `args.max_length` tokens.

    Raises:
        ValueError: if a document has neither text nor token ids, or the stream does not fill one window.
    """
    windows = interleave_chunks(
        _token_lists(documents, tokenizer, args.dataset_text_field),
        window_length=args.max_length,
        documents_per_window=args.documents_per_window,
        chunks_per_document=args.chunks_per_document,
        split=args.split,
        interleaved_fraction=args.interleaved_fraction,
        separator_id=tokenizer.eos_token_id,
        seed=args.seed,
    )
    empty = True
    for window in windows:
        empty = False
        if counts is not None:
            counts.update(asdict(windows.counts))
        yield {"input_ids": list(window["input_ids"]), "labels": list(window["labels"])}
    if empty:
        raise ValueError(
            f"The documents hold fewer tokens than one window of max_length={args.max_length}: give more text or a "
            "shorter window."
        )


def _token_lists(
    documents: Iterable[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, text_field: str
) -> Iterator[dict[str, list[int]] | list[int]]:
    batch: list[str] = []
    for row in documents:
        if "input_ids" in row:
            yield {key: row[key] for key in ("input_ids", "labels") if row.get(key) is not None}
            continue
        if text_field not in row:
            raise ValueError(f"A document needs the column {text_field!r} or 'input_ids'; it has {sorted(row)}.")
        batch.append(row[text_field])
        if len(batch) == _TOKENIZED_AT_ONCE:
            yield from _tokenize(batch, tokenizer)
            batch = []
    yield from _tokenize(batch, tokenizer)


def _tokenize(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        return []
    # Documents may be longer than the tokenizer's model_max_length: they are cut into windows, not truncated.
    encoded = tokenizer(texts, truncation=False, verbose=False, return_attention_mask=False)["input_ids"]
    end = tokenizer.eos_token_id
    if end is None:
        return encoded
    return [ids if ids and ids[-1] == end else [*ids, end] for ids in encoded]


class ContinualPretrainingTrainer(LongContextTrainerMixin, SFTTrainer):
    """Trains with plain next-token loss on windows of chunk-interleaved documents.

    Each window takes `documents_per_window` documents, cuts each into `chunks_per_document` chunks, and lays them down
    round by round (A1 B1 C1 A2 B2 C2), so that the second half of a document is predicted across foreign text:
    long-range dependence without long documents. Attention crosses document borders; every token is trained
    ([LongSkywork, 2406.00605](https://arxiv.org/abs/2406.00605)).

    Args:
        model ([`~transformers.PreTrainedModel`] or `str`):
            The model, with its context already extended ([`extend_context`]).
        args ([`ContinualPretrainingConfig`]):
            Training arguments.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            *Documents*, with `text` or `input_ids`; windows are built here, streamed, and repeat when the documents
            end.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            The tokenizer.
        trainer_kwargs (`dict`):
            Other arguments of [`~trl.SFTTrainer`].

    Attributes:
        window_counts (`dict[str, int]`):
            documents, windows and tokens of the present pass over the documents.

    Example:

    ```python
    trainer = ContinualPretrainingTrainer(
        model=extend_context(model, context_length=32_768),
        args=ContinualPretrainingConfig("runs/cpt", max_length=32_768, max_steps=1_000),
        train_dataset=datasets.load_dataset("text", data_dir="books", streaming=True)["train"],
        processing_class=tokenizer,
    )
    trainer.train()
    ```
    """

    def __init__(
        self,
        model: Any,
        args: ContinualPretrainingConfig,
        train_dataset: datasets.Dataset | datasets.IterableDataset,
        processing_class: PreTrainedTokenizerBase,
        **trainer_kwargs: Any,
    ) -> None:
        args.dataset_kwargs = {**(args.dataset_kwargs or {}), "skip_prepare_dataset": True}
        # Windows are built where the data loader runs: in worker processes these counts stay empty.
        self.window_counts: dict[str, int] = {}
        windows = datasets.IterableDataset.from_generator(
            partial(
                interleaved_windows,
                documents=train_dataset,
                tokenizer=processing_class,
                args=args,
                counts=self.window_counts,
            )
        )
        super().__init__(
            model=model, args=args, train_dataset=windows, processing_class=processing_class, **trainer_kwargs
        )
