"""Attention that carries skipped positions: a backend for packed dialogues, and the proof that a backend carries them.

Without an attention mask transformers takes a jump in `position_ids` for the beginning of another packed document and
cuts attention there, on `eager`, `sdpa` and `flex_attention`; the loss looks healthy and the method is off. Three
things help:

- rows with an all-ones mask, which every backend reads as one document (the collator's default);
- `attn_implementation="lsw_sdpa"`, registered by `import lsw_hf`, which takes documents from
  `cu_seq_lens_q` and never from positions, as flash attention does;
- [`assert_cross_skip_attention`], which changes tokens and looks at what changes with them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_ATTENTION = "lsw_sdpa"

# Arguments of other attention functions that change scores; leaving them out without a word would be another model.
_UNSUPPORTED = ("softcap", "position_bias", "s_aux")


def lsw_sdpa_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document of a packed batch, on any device `scaled_dot_product_attention` runs on.

    Args:
        module (`nn.Module`): The attention layer; its `is_causal` counts unless given as an argument.
        query (`torch.Tensor` of shape `(batch, num_heads, query_length, head_dim)`): Queries.
        key (`torch.Tensor` of shape `(batch, num_key_value_heads, key_length, head_dim)`): Keys; `value` alike.
        value (`torch.Tensor`): Values.
        attention_mask (`torch.Tensor`, *optional*): 4-D mask of an unpacked batch; then this is plain `sdpa`.
        **kwargs: What transformers hands to every attention function. Read here: `cu_seq_lens_q`, int32 boundaries of
        the
            documents in the flattened batch; `sliding_window` in tokens; `dropout`; `scaling`; `is_causal`.

    Returns:
        `tuple`: The output of shape `(batch, query_length, num_heads, head_dim)`, and `None` for the weights.

    Raises:
        `ValueError`: Both boundaries and a mask, boundaries with a key-value cache, or an argument that changes
        scores and is not supported (logit soft-capping, attention sinks, position bias).
    """
    boundaries, window = kwargs.get("cu_seq_lens_q"), kwargs.get("sliding_window")
    length = query.shape[2]
    if boundaries is not None and attention_mask is not None:
        raise ValueError("A packed batch has cu_seq_lens_q and an attention_mask with zeros; pass no attention_mask.")
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    windowed = window is not None and length > window
    if boundaries is None and not (windowed and causal and attention_mask is None and key.shape[2] == length):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ValueError(f"{PACKED_ATTENTION!r} does not support {name}; use flash attention for this model.")
    if key.shape[2] != length or not causal:
        raise ValueError(
            f"{length} queries and {key.shape[2]} keys (causal: {bool(causal)}) in a packed batch: cu_seq_lens_q is "
            "for causal training without a key-value cache."
        )
    options = {"dropout_p": kwargs.get("dropout", 0.0), "scale": kwargs.get("scaling")}
    if boundaries is None:
        return _causal_attention(query, key, value, window, options).transpose(1, 2).contiguous(), None

    batch = query.shape[0]
    # The boundaries count tokens of the flattened batch, as in flash attention.
    query, key, value = (_flatten_batch(tensor) for tensor in (query, key, value))
    # On CUDA this waits for the device in every layer; flash attention, which does not, is the backend for GPUs.
    sizes = boundaries.diff().tolist()
    outputs = [
        _causal_attention(q, k, v, window, options)
        for q, k, v in zip(*(tensor.split(sizes, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    output = torch.cat(outputs, dim=2)
    return output.transpose(1, 2).reshape(batch, length, output.shape[1], output.shape[3]).contiguous(), None


def _flatten_batch(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.shape[0] == 1:
        return tensor
    return tensor.transpose(0, 1).flatten(1, 2)[None]


def _causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, options: dict[str, Any]
) -> torch.Tensor:
    """Causal attention over one document, `(batch, heads, length, head_dim)`; in a window, block by block."""
    length, grouped = query.shape[2], key.shape[1] != query.shape[1]
    if window is None or length <= window:
        return scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped, **options)
    if grouped:
        # With a mask, grouped heads fall back to the kernel that stores all scores; repeated heads do not.
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    block = max(window, 128)
    outputs = []
    for start in range(0, length, block):
        end, first = min(start + block, length), max(0, start - window + 1)
        distance = torch.arange(start, end, device=query.device)[:, None] - torch.arange(
            first, end, device=query.device
        )
        mask = (distance >= 0) & (distance < window)
        keys, values = key[:, :, first:end], value[:, :, first:end]
        outputs.append(scaled_dot_product_attention(query[:, :, start:end], keys, values, attn_mask=mask, **options))
    return torch.cat(outputs, dim=2)


def lsw_sdpa_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """The mask that belongs to [`lsw_sdpa_attention`]: as for `sdpa`, but positions never imply documents.

    Returns:
        `torch.Tensor` or `None`: `None` where no padding mask is given and all tokens are new, which leaves
        causality, window and documents to the attention function; the mask of `sdpa` otherwise.

    Raises:
        `ValueError`: The model's masks are not causal or sliding alone, which only a given mask can express here.
    """
    config = kwargs.get("config")
    unusual = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if attention_mask is None and q_length == kv_length and q_offset == kv_offset == 0:
        if kwargs.get("use_vmap") or unusual:
            raise ValueError(
                f"{PACKED_ATTENTION!r} supports causal full and sliding attention, and this model asks for more "
                f"({', '.join(sorted(unusual)) or 'its own mask function'}). Use rows instead of packed batches."
            )
        return None
    return sdpa_mask(batch_size, q_length, kv_length, q_offset, kv_offset, attention_mask=attention_mask, **kwargs)


AttentionInterface.register(PACKED_ATTENTION, lsw_sdpa_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, lsw_sdpa_mask)


def attention_backend(model: PreTrainedModel) -> str:
    """Returns the name of the attention implementation that the text layers of `model` run."""
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return text._attn_implementation or "eager"


def check_attention_backend(model: PreTrainedModel, *, packed: bool) -> None:
    """Refuses an attention backend that would cut attention at skips.

    Args:
        model (`PreTrainedModel` or `PeftModel`): The model to train.
        packed (`bool`): Whether batches hold several dialogues in a row. Rows with an all-ones mask work everywhere.

    Raises:
        `ValueError`: `packed`, and the backend takes document boundaries from positions.
    """
    backend = attention_backend(model)
    if packed and backend != PACKED_ATTENTION and "flash" not in backend:
        raise ValueError(
            f"attn_implementation={backend!r} cannot carry packed dialogues with skipped positions: it takes every "
            "skip for the beginning of another dialogue. Use flash attention, on any device "
            f"model.set_attn_implementation({PACKED_ATTENTION!r}), or packed=False."
        )


class CrossSkipAttention(NamedTuple):
    """What [`assert_cross_skip_attention`] measured, as largest absolute changes of final hidden states.

    `across_skip`: behind a skip, after tokens before it were changed. `across_documents`: in other documents, after
    the same change; `None` when the batch holds one document.
    """

    across_skip: float
    across_documents: float | None


def assert_cross_skip_attention(model: PreTrainedModel, batch: Mapping[str, Any]) -> CrossSkipAttention:
    """Proves on the user's own model, backend and batch that attention crosses skips and stays within documents.

    The tokens in front of a skip are replaced; final hidden states behind it must change, those of all other
    documents must not. If the batch happens to hold no skip, one is made in its longest document. Costs two or three
    forward passes without gradients; the training mode of every module and the random state are as before.

    Args:
        model (`PreTrainedModel` or `PeftModel`):
            Any causal language model.
        batch (`Mapping[str, Any]`):
            A batch of [`DataCollatorForSkipAlign`], in rows or packed, on any device.

    Returns:
        [`CrossSkipAttention`].

    Raises:
        `ValueError`: Attention is cut at the skip, or leaks between documents; the message names the remedy. Also
        when the batch has no `position_ids` or no document of at least two tokens.
    """
    inputs = _probe_inputs(model, batch)
    row, start, end, skip = _choose_skip(inputs["position_ids"], list(_documents(inputs)))
    with _quiet(model), torch.no_grad():
        before = _hidden_states(model, inputs)
        change = (_hidden_states(model, _perturbed(model, inputs, row, start, skip)) - before).abs()
        leak = _leak(model, inputs, before, change, (row, start, end))
    across_skip = change[row, skip:end].max().item()
    # Written so that a NaN fails as well.
    if not across_skip > 0.0:
        raise ValueError(
            f"Attention is cut at skipped positions (attn_implementation={attention_backend(model)!r}): changing the "
            "tokens before a skip changed nothing behind it, so skipped positions would teach nothing. For rows pass "
            "the collator's all-ones attention_mask on to the model; for packed dialogues use "
            f"attn_implementation={PACKED_ATTENTION!r} or flash attention together with the collator's cu_seq_lens_q."
        )
    _refuse_leak(model, leak, before, across_skip)
    return CrossSkipAttention(across_skip, leak)


def assert_document_isolation(model: PreTrainedModel, batch: Mapping[str, Any]) -> float | None:
    """Proves that packed dialogues do not see each other; the half of [`assert_cross_skip_attention`] that is left
    where positions have no skips.

    Args:
        model (`PreTrainedModel` or `PeftModel`): Any causal language model.
        batch (`Mapping[str, Any]`): A batch of [`DataCollatorForSkipAlign`], in rows or packed, on any device.

    Returns:
        `float` or `None`: Largest absolute change of final hidden states in other documents; `None` when the batch
        holds one document.

    Raises:
        `ValueError`: Attention leaks between documents; the message names the remedy.
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
    """What a change inside `document` did outside of it, and what a change in front of it did inside."""
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
    # A skip may have to be made, and not in the batch that training goes on with.
    return {**inputs, "position_ids": inputs["position_ids"].clone()}


def _documents(inputs: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Yields row, start and end (exclusive) of each document, in tokens."""
    rows, length = inputs["input_ids"].shape
    ends = inputs.get("cu_seq_lens_q")
    flat = range(0, rows * length + 1, length) if ends is None else ends.tolist()
    for start, end in pairwise(flat):
        yield start // length, start % length, start % length + end - start


def _choose_skip(position_ids: torch.Tensor, documents: list[tuple[int, int, int]]) -> tuple[int, int, int, int]:
    """Returns row, start and end of the first document with a skip, and the token behind that skip."""
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
    """Returns the inputs with other tokens in [start, end) of `row`."""
    ids = inputs["input_ids"].clone()
    ids[row, start:end] = (ids[row, start:end] + 1) % model.get_input_embeddings().weight.shape[0]
    return {**inputs, "input_ids": ids}


def _hidden_states(model: PreTrainedModel, inputs: dict[str, Any]) -> torch.Tensor:
    # Not the logits: over a long batch they can be a hundred times larger than the hidden states they come from.
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    return model.base_model(**inputs, use_cache=False).last_hidden_state


@contextmanager
def _quiet(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode inside; the modes of all modules and the random state come back afterwards."""
    modes = {module: module.training for module in model.modules()}
    device = model.get_input_embeddings().weight.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
