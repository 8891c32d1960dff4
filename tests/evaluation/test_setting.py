"""What a report says of the weights it is about."""

import pytest
import torch
from torch import nn

from lsw_hf.evaluation.setting import describe_weights


class Weights(nn.Module):
    """One parameter of an odd number of elements, and one saved buffer."""

    def __init__(self, dtype):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(37, 41, generator=generator).to(dtype), requires_grad=False)
        self.register_buffer("scale", torch.ones(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.complex128])
def test_every_number_and_buffer_counts(dtype):
    whole = describe_weights(Weights(dtype))
    assert whole == describe_weights(Weights(dtype))
    for place in (0, 1, 700, 1515, 1516):
        changed = Weights(dtype)
        changed.weight.view(-1)[place] += 1
        assert describe_weights(changed) != whole, place
    changed = Weights(dtype)
    changed.scale[1] = 2
    assert describe_weights(changed) != whole


def test_an_unaligned_view_counts_like_a_copy():
    model, copied = Weights(torch.bfloat16), Weights(torch.bfloat16)
    storage = torch.empty(37 * 41 + 1, dtype=torch.bfloat16)
    storage[1:] = model.weight.view(-1)
    model.weight = nn.Parameter(storage[1:].view(37, 41), requires_grad=False)
    assert model.weight.storage_offset() == 1
    assert describe_weights(model) == describe_weights(copied)


def test_shapes_alone_count_on_the_meta_device():
    with torch.device("meta"):
        assert len(describe_weights(Weights(torch.float32))) == 16
