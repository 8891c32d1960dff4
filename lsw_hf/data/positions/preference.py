"""Skipped positions for preference pairs: both answers look back at one prompt, at the same positions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .borders import IGNORE_INDEX, find_borders
from .collator import DataCollatorForSkipAlign, as_token_array
from .draws import content_hash, row_keys

_REFERENCE_NAMES = ("ref_chosen_logps", "ref_rejected_logps")


@dataclass
class DataCollatorForSkipAlignPreference(DataCollatorForSkipAlign):
    """Pads preference rows for TRL's `DPOTrainer` and gives each pair skipped `position_ids`.

    ```
    row        [ prompt        ][ chosen       ]
    positions    0 1 2  57 58 59  301 302 303 304
    row        [ prompt        ][ rejected ]
    positions    0 1 2  57 58 59  301 302
    ```
    Positions jump between sentences of the prompt and in front of the answer. There is no jump inside an answer, so
    that the two differ in their tokens and in nothing else (our choice).

    A row is a dictionary with `"prompt_ids"`, `"chosen_ids"` and `"rejected_ids"`, as TRL prepares it. The epoch, the
    seed and the arguments not named here are those of [`DataCollatorForSkipAlign`]; draws are keyed by the prompt.

    Args:
        max_length (`int`, *optional*):
            Cuts each sequence of prompt and answer to its first `max_length` tokens. `DPOConfig.max_length` only
            reaches TRL's own collator.

    Returns (of a call):
        `dict` of tensors of shape `(2 * num_rows, length)`, chosen sequences first: `input_ids`, `attention_mask`
        (all ones), `completion_mask` and `position_ids`; also `ref_chosen_logps` and `ref_rejected_logps` if the rows
        contain them.

    Raises:
        ValueError: As [`DataCollatorForSkipAlign`]; also for `packed=True`, for a prompt or answer without tokens
        (or cut off by `max_length`), and for reference log-probabilities computed beforehand once the epoch is past
        0, since they belong to the positions of epoch 0.
    """

    max_length: int | None = None

    def __post_init__(self, model: Any) -> None:
        if self.packed:
            raise ValueError("Preference pairs cannot be packed; TRL's DPOTrainer pads. Use packed=False.")
        super().__post_init__(model)
        if self.max_length is not None and self.max_length < 2:
            raise ValueError(f"max_length must be at least 2 tokens, got {self.max_length}.")

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        pairs = [self._sequences(row, index) for index, row in enumerate(rows)]
        prompts = np.array([prompt for prompt, _, _ in pairs])
        longest = [max(chosen, rejected, key=len) for _, chosen, rejected in pairs]
        lengths = np.array([len(sequence) for sequence in longest])
        tokens = np.concatenate(longest)

        in_answer = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        in_answer = in_answer >= np.repeat(prompts, lengths)
        begins = self._sentence_starts(tokens)
        borders = find_borders(in_answer, lengths, None if begins is None else begins & ~in_answer)
        hashes = [content_hash(sequence[:prompt]) for sequence, prompt in zip(longest, prompts, strict=True)]
        positions = self._sampler()(lengths, borders, row_keys(self.seed, self.epoch, hashes))

        # The shorter answer has the positions of the longer one, as far as it goes.
        drawn = np.split(positions, np.cumsum(lengths)[:-1])
        sequences = [chosen for _, chosen, _ in pairs] + [rejected for _, _, rejected in pairs]
        sizes = np.array([len(sequence) for sequence in sequences])
        flat_positions = [own[:size] for own, size in zip([*drawn, *drawn], sizes, strict=True)]
        labels = [sequence.copy() for sequence in sequences]
        for label, prompt in zip(labels, [*prompts, *prompts], strict=True):
            label[:prompt] = IGNORE_INDEX
        batch = self._pad(np.concatenate(sequences), np.concatenate(labels), np.concatenate(flat_positions), sizes)
        batch["completion_mask"] = (batch.pop("labels") != IGNORE_INDEX).long()
        for name in _REFERENCE_NAMES:
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows])
        return batch

    def _sequences(self, row: Mapping[str, Any], index: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Return the length of the prompt, and prompt and answer in one for both answers."""
        missing = [name for name in ("prompt_ids", "chosen_ids", "rejected_ids") if name not in row]
        if missing:
            raise ValueError(
                f"Row {index} lacks {missing} (its keys: {sorted(row)}). Pass rows as TRL's DPOTrainer prepares them."
            )
        if self.epoch > 0 and any(name in row for name in _REFERENCE_NAMES):
            raise ValueError(
                f"Row {index} contains reference log-probabilities, which belong to the positions of epoch 0, and "
                f"this is epoch {self.epoch}. Use precompute_ref_log_probs=False, or train for one epoch."
            )
        prompt = as_token_array(row["prompt_ids"])
        answers = [as_token_array(row[name]) for name in ("chosen_ids", "rejected_ids")]
        chosen, rejected = (np.concatenate([prompt, answer])[: self.max_length] for answer in answers)
        if len(prompt) == 0 or min(len(chosen), len(rejected)) <= len(prompt):
            raise ValueError(
                f"Row {index} has a prompt of {len(prompt)} tokens and answers of {[len(a) for a in answers]} tokens, "
                f"of which max_length={self.max_length} leaves nothing to compare. Filter such rows or raise it."
            )
        return len(prompt), chosen, rejected
