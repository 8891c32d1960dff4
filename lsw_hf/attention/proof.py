"""The proof that attention carries skipped positions: which backends can, and whether the user's own model does.

Without an attention mask transformers takes a jump in `position_ids` for the beginning of another packed document and
cuts attention there, on `eager`, `sdpa` and `flex_attention`; the loss looks healthy and the method is off. Three
things help:

- rows with an all-ones mask, which every backend reads as one document (the collator's default);
- `attn_implementation="lsw_sdpa"`, registered by `import lsw_hf`, which takes documents from
  `cu_seq_lens_q` and never from positions, as flash attention does;
- [`assert_cross_skip_attention`], which changes tokens and positions and looks at what changes with them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from .packed import PACKED_ATTENTION


def attention_backend(model: PreTrainedModel) -> str:
    """Return the name of the attention implementation that the text layers of `model` run."""
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return text._attn_implementation or "eager"


def check_attention_backend(model: PreTrainedModel, *, packed: bool) -> None:
    """Refuse what is known to switch skipped positions off: an attention backend, or an adapter.

    Args:
        model (`PreTrainedModel` or `PeftModel`):
            The model to train.
        packed (`bool`):
            Whether batches contain several dialogues in a row. Rows with an all-ones mask work everywhere.

    Raises:
        ValueError: `packed`, and the backend takes document boundaries from positions; or an adapter of virtual
        tokens (prompt tuning, prefix tuning), with which PEFT drops or moves the positions.
    """
    _refuse_virtual_tokens(model)
    backend = attention_backend(model)
    if packed and backend != PACKED_ATTENTION and "flash" not in backend:
        raise ValueError(
            f"attn_implementation={backend!r} cannot carry packed dialogues with skipped positions: it takes every "
            "skip for the beginning of another dialogue. Use flash attention, on any device "
            f"model.set_attn_implementation({PACKED_ATTENTION!r}), or packed=False."
        )


class CrossSkipAttention(NamedTuple):
    """What [`assert_cross_skip_attention`] measured, as largest absolute changes of final hidden states.

    `across_skip`: after a skip, when tokens before it were changed. `across_documents`: in other documents, after
    the same change; `None` when the batch contains one document.
    """

    across_skip: float
    across_documents: float | None


def assert_cross_skip_attention(model: PreTrainedModel, batch: Mapping[str, Any]) -> CrossSkipAttention:
    """Proves on the user's own model, backend and batch that attention crosses skips and stays within documents.

    The tokens in front of a skip are replaced; final hidden states after it must change, those of all other
    documents must not. Without the skips of that document its hidden states must be others, or the model does not
    look at positions at all. If the batch happens to contain no skip, one is made in its longest document. Costs three
    or four forward passes without gradients; the training mode of every module and the random state are as before.

    Args:
        model (`PreTrainedModel` or `PeftModel`):
            Any causal language model.
        batch (`Mapping[str, Any]`):
            A batch of [`DataCollatorForSkipAlign`], in rows or packed, on any device.

    Returns:
        [`CrossSkipAttention`].

    Raises:
        ValueError: Attention is cut at the skip, leaks between documents, or does not depend on positions; the
        message names the remedy. Also when the batch has no `position_ids` or no document of at least two tokens.
    """
    _refuse_virtual_tokens(model)
    inputs = _probe_inputs(model, batch)
    row, start, end, skip = _choose_skip(inputs["position_ids"], list(_documents(inputs)))
    with _quiet(model), torch.no_grad():
        before = _hidden_states(model, inputs)
        change = (_hidden_states(model, _perturbed(model, inputs, row, start, skip)) - before).abs()
        leak = _leak(model, inputs, before, change, (row, start, end))
        moved = (_hidden_states(model, _without_skips(inputs, row, start, end)) - before).abs()
    across_skip = change[row, skip:end].max().item()
    # Written so that a NaN fails as well.
    if not across_skip > 0.0:
        raise ValueError(
            f"Attention is cut at skipped positions (attn_implementation={attention_backend(model)!r}): changing the "
            "tokens before a skip changed nothing after it, so skipped positions would teach nothing. For rows pass "
            "the collator's all-ones attention_mask on to the model; for packed dialogues use "
            f"attn_implementation={PACKED_ATTENTION!r} or flash attention together with the collator's cu_seq_lens_q."
        )
    _refuse_leak(model, leak, before, across_skip)
    if not moved[row, skip:end].max().item() > 0.0:
        raise ValueError(
            f"{type(model).__name__} does not look at position_ids: its output is the same with and without skips, so "
            "skipped positions would teach nothing. Use a model with rotary position embeddings."
        )
    return CrossSkipAttention(across_skip, leak)


def _refuse_virtual_tokens(model: PreTrainedModel) -> None:
    adapter = getattr(model, "active_peft_config", None)
    if getattr(adapter, "is_prompt_learning", False):
        raise ValueError(
            f"{type(adapter).__name__} puts virtual tokens in front of every row, and PEFT then drops or moves "
            "position_ids, so skipped positions would not reach the model. Use LoRA or train the whole model."
        )


def assert_document_isolation(model: PreTrainedModel, batch: Mapping[str, Any]) -> float | None:
    """Proves that packed dialogues do not see each other; the half of [`assert_cross_skip_attention`] that is left
    where positions have no skips.

    Args:
        model (`PreTrainedModel` or `PeftModel`):
            Any causal language model.
        batch (`Mapping[str, Any]`):
            A batch of [`DataCollatorForSkipAlign`], in rows or packed, on any device.

    Returns:
        `float` or `None`: Largest absolute change of final hidden states in other documents; `None` when the batch
        contains one document.

    Raises:
        ValueError: Attention leaks between documents; the message names the remedy.
    """
    inputs = _probe_inputs(model, batch)
    row, start, end = next(_documents(inputs))
    with _quiet(model), torch.no_grad():
        before = _hidden_states(model, inputs)
        change = (_hidden_states(model, _perturbed(model, inputs, row, start, end)) - before).abs()
        leak = _leak(model, inputs, before, change, (row, start, end))
    _refuse_leak(model, leak, before, change[row, start:end].max().item())
    return leak


def _leak(
    model: PreTrainedModel,
    inputs: dict[str, Any],
    before: torch.Tensor,
    change: torch.Tensor,
    document: tuple[int, int, int],
) -> float | None:
    """Return what a change inside `document` did outside of it, and what a change in front of it did inside."""
    row, start, end = document
    outside = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
    outside[row, start:end] = False
    leaks = [change[outside].max().item()] if outside.any() else []
    if start > 0:
        earlier = _hidden_states(model, _perturbed(model, inputs, row, 0, start))
        leaks.append((earlier - before).abs()[row, start:end].max().item())
    return max(leaks) if leaks else None


def _refuse_leak(model: PreTrainedModel, leak: float | None, before: torch.Tensor, own_change: float) -> None:
    # Equal inputs give equal outputs in dense layers. Routed experts regroup tokens, which may move the last digits,
    # but less than a twentieth of what a dialogue does to itself.
    tolerance = min(4 * torch.finfo(before.dtype).eps * before.abs().max().item(), 0.05 * own_change)
    if leak is not None and not leak <= tolerance:
        raise ValueError(
            f"Attention leaks between packed dialogues (attn_implementation={attention_backend(model)!r}): changing "
            f"one dialogue changed another by {leak:.2g}. Use attn_implementation={PACKED_ATTENTION!r} or flash "
            "attention with cu_seq_lens_q and without an attention_mask, or packed=False."
        )


def _probe_inputs(model: PreTrainedModel, batch: Mapping[str, Any]) -> dict[str, Any]:
    if batch.get("position_ids") is None:
        raise ValueError("The batch has no position_ids; it must come from DataCollatorForSkipAlign.")
    device = model.get_input_embeddings().weight.device
    names = [name for name in batch if name not in ("labels", "shift_labels", "num_items_in_batch")]
    inputs = {n: batch[n].to(device) if isinstance(batch[n], torch.Tensor) else batch[n] for n in names}
    # A skip may have to be made, and not in the batch that training continues with.
    return {**inputs, "position_ids": inputs["position_ids"].clone()}


def _documents(inputs: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Yield row, start and end (exclusive) of each document, in tokens."""
    rows, length = inputs["input_ids"].shape
    ends = inputs.get("cu_seq_lens_q")
    flat = range(0, rows * length + 1, length) if ends is None else ends.tolist()
    for start, end in pairwise(flat):
        yield start // length, start % length, start % length + end - start


def _choose_skip(position_ids: torch.Tensor, documents: list[tuple[int, int, int]]) -> tuple[int, int, int, int]:
    """Return row, start and end of the first document with a skip, and the token after that skip."""
    for row, start, end in documents:
        jumps = (position_ids[row, start:end].diff() > 1).nonzero()
        if len(jumps):
            return row, start, end, start + 1 + int(jumps[0])
    row, start, end = max(documents, key=lambda document: document[2] - document[1])
    if end - start < 2:
        raise ValueError("The batch has no document of at least two tokens, so nothing can cross a skip.")
    skip = (start + end) // 2
    position_ids[row, skip:end] += 1
    return row, start, end, skip


def _perturbed(model: PreTrainedModel, inputs: dict[str, Any], row: int, start: int, end: int) -> dict[str, Any]:
    """Return the inputs with other tokens in [start, end) of `row`."""
    ids = inputs["input_ids"].clone()
    ids[row, start:end] = (ids[row, start:end] + 1) % model.get_input_embeddings().weight.shape[0]
    return {**inputs, "input_ids": ids}


def _without_skips(inputs: dict[str, Any], row: int, start: int, end: int) -> dict[str, Any]:
    """Return the inputs with positions in [start, end) of `row` that run on by one."""
    positions = inputs["position_ids"].clone()
    positions[row, start:end] = positions[row, start] + torch.arange(end - start, device=positions.device)
    return {**inputs, "position_ids": positions}


def _hidden_states(model: PreTrainedModel, inputs: dict[str, Any]) -> torch.Tensor:
    # Not the logits: over a long batch they can be a hundred times larger than the hidden states they come from.
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    return model.base_model(**inputs, use_cache=False).last_hidden_state


@contextmanager
def _quiet(model: PreTrainedModel) -> Iterator[None]:
    """Yield evaluation mode inside; the modes of all modules and the random state come back afterwards."""
    modes = {module: module.training for module in model.modules()}
    device = model.get_input_embeddings().weight.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
