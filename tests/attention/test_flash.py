"""The same oracle through transformers' own flash-attention dispatch, with slow kernels in place of the CUDA ones."""

import pytest
import torch
from transformers import PreTrainedModel, modeling_flash_attention_utils

from lsw_hf.attention.proof import assert_cross_skip_attention
from tests.attention.attention_oracle import MODELS, assert_equals_oracle, collate, make_model


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, window: tuple[int, int]
) -> torch.Tensor:
    """Causal attention of one document, `(length, heads, head_dim)`, with all scores written out."""
    groups = query.shape[1] // key.shape[1]
    query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
    key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
    length = query.shape[1]
    distance = torch.arange(length)[:, None] - torch.arange(length)
    seen = (distance >= 0) & ((distance <= window[0]) | (window[0] < 0))
    scores = query @ key.transpose(1, 2) * (scale or query.shape[-1] ** -0.5)
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value).transpose(0, 1)


def slow_flash(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1)):
    """Stands for `flash_attn_func`: `(batch, length, heads, head_dim)`."""
    assert causal
    return torch.stack([attend(*row, softmax_scale, window_size) for row in zip(q, k, v, strict=True)])


def slow_flash_varlen(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
):
    """Stands for `flash_attn_varlen_func`: `(tokens, heads, head_dim)`, documents by their boundaries."""
    assert causal
    assert max_seqlen_q == max_seqlen_k == int(cu_seqlens_q.diff().max())
    assert torch.equal(cu_seqlens_q, cu_seqlens_k)
    sizes = cu_seqlens_q.diff().tolist()
    documents = zip(*(tensor.split(sizes) for tensor in (q, k, v)), strict=True)
    return torch.cat([attend(*document, softmax_scale, window_size) for document in documents])


@pytest.fixture
def flash(monkeypatch):
    """Returns a function that makes a model on the flash dispatch."""
    utils = modeling_flash_attention_utils
    monkeypatch.setattr(utils, "_loaded_implementation", None)
    for name in ("_flash_fn", "_flash_varlen_fn", "_pad_fn", "_unpad_fn", "_process_flash_kwargs_fn"):
        monkeypatch.setattr(utils, name, None)
    kernels = [slow_flash, slow_flash_varlen, None, utils._pad_input, utils._unpad_input]
    monkeypatch.setattr(utils, "_lazy_imports", lambda *args, **kwargs: tuple(kernels))

    def build(name: str) -> PreTrainedModel:
        model = make_model(name)
        # The public setter wants the CUDA package.
        model.config._attn_implementation_internal = "flash_attention_2"
        return model

    return build


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("multiple", [None, 8])
def test_packed_on_flash_equals_each_dialogue_alone(flash, name, multiple):
    assert_equals_oracle(name, flash(name), collate(packed=True, pad_to_multiple_of=multiple))


@pytest.mark.parametrize("name", MODELS)
def test_rows_on_flash_equal_each_dialogue_alone(flash, name):
    assert_equals_oracle(name, flash(name), collate(packed=False, pad_to_multiple_of=8))


@pytest.mark.parametrize("packed", [False, True])
def test_the_probe_on_flash(flash, packed):
    seen = assert_cross_skip_attention(flash("llama"), collate(packed))
    assert seen.across_skip > 0
    assert seen.across_documents == 0
