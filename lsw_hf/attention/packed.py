"""Attention for packed dialogues with skipped positions: `attn_implementation="lsw_sdpa"`.

It takes documents from `cu_seq_lens_q` and never from positions, as flash attention does, on any device; stock
`eager`, `sdpa` and `flex_attention` take a jump in the positions for the beginning of another document.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_ATTENTION = "lsw_sdpa"

# Arguments of other attention functions that change scores; silently leaving them out would compute another model.
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
        module (`nn.Module`):
            The attention layer; its `is_causal` counts unless given as an argument.
        query (`torch.Tensor` of shape `(batch, num_heads, query_length, head_dim)`):
            Queries.
        key (`torch.Tensor` of shape `(batch, num_key_value_heads, key_length, head_dim)`):
            Keys; `value` alike.
        value (`torch.Tensor`):
            Values.
        attention_mask (`torch.Tensor`, *optional*):
            4-D mask of an unpacked batch; then this is plain `sdpa`.
        **kwargs: What transformers hands to every attention function. Read here: `cu_seq_lens_q`, int32 boundaries
            of the documents in the flattened batch; `sliding_window` in tokens; `dropout`; `scaling`; `is_causal`.

    Returns:
        `tuple`: The output of shape `(batch, query_length, num_heads, head_dim)`, and `None` for the weights.

    Raises:
        ValueError: Both boundaries and a mask, boundaries with a key-value cache, or an argument that changes
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
    """Return the mask that belongs to [`lsw_sdpa_attention`]: as for `sdpa`, but positions never imply documents.

    Returns:
        `torch.Tensor` or `None`: `None` where no padding mask is given and all tokens are new, which leaves
        causality, window and documents to the attention function; the mask of `sdpa` otherwise.

    Raises:
        ValueError: The model's masks are not causal or sliding alone, which only a given mask can express here.
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
