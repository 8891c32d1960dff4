"""The loss over labeled positions against the plain loss over all logits."""

import pytest
import torch

from lsw_hf.training.losses import labeled_columns, labeled_cross_entropy, unpadded_tokens


def full_loss(logits, labels, num_items=None):
    """Independent truth: a Python loop over tokens."""
    log_probs = torch.log_softmax(logits.double(), dim=-1)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1] - 1):
            target = int(labels[row, column + 1])
            if target != -100:
                total = total - log_probs[row, column, target]
                count += 1
    return total / (num_items or count)


@pytest.mark.parametrize("num_items", [None, 11])
def test_loss_and_gradient_equal_the_loop(num_items):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 9, 13, generator=generator, requires_grad=True)
    labels = torch.randint(0, 13, (3, 9), generator=generator)
    labels[torch.rand(3, 9, generator=generator) < 0.6] = -100
    labels[:, 4] = -100
    columns = labeled_columns(labels)
    assert 3 not in columns.tolist()
    loss, found = labeled_cross_entropy(logits[:, columns], labels, columns, num_items)
    expected = full_loss(logits, labels, num_items)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient.float(), rtol=1e-5, atol=1e-7)
    assert int(found.labeled) == int(labels[:, 1:].ne(-100).sum())
    distribution = torch.distributions.Categorical(logits=logits[:, :-1].detach().double())
    truth = distribution.entropy()[labels[:, 1:].ne(-100)].sum()
    torch.testing.assert_close(found.entropy.double(), truth, rtol=1e-6, atol=0)


def test_correct_counts_labeled_greedy_hits_only():
    labels = torch.tensor([[0, 1, -100, 2]])
    logits = torch.full((1, 4, 3), -1.0)
    logits[0, 0, 1] = logits[0, 1, 0] = logits[0, 2, 0] = 1.0
    columns = labeled_columns(labels)
    _, found = labeled_cross_entropy(logits[:, columns], labels, columns)
    assert (columns.tolist(), int(found.correct), int(found.labeled)) == ([0, 2], 1, 2)


def test_a_batch_without_labels_is_a_finite_zero():
    labels = torch.full((2, 5), -100)
    columns = labeled_columns(labels)
    loss, found = labeled_cross_entropy(torch.randn(2, 0, 7), labels, columns)
    assert (float(loss), *map(float, found)) == (0.0, 0.0, 0.0, 0.0)


def test_padding_is_what_rows_end_with_and_do_not_train():
    ids = torch.tensor([[5, 0, 6, 0, 0], [0, 0, 7, 8, 0], [1, 2, 3, 4, 5]])
    labels = torch.tensor([[-100, 0, 6, 0, -100], [-100, -100, 7, 8, -100], [-100] * 5])
    assert int(unpadded_tokens(ids, labels, pad_token_id=0)) == 4 + 4 + 5
