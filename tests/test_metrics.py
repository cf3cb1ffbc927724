"""The metric functions against figures worked out by hand, or by torch in double precision."""

import math

import pytest
import torch
from torch.nn import functional as F

from steppers.train import metrics

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [1.0, 2.0, 0.0], [3.0, 2.0, 1.0]])
CLASSES = torch.tensor([0, 1, 1, 2])  # right, second, right, third


def test_accuracy_counts_the_largest_output():
    assert metrics.accuracy(LOGITS, CLASSES).item() == 0.5


def test_error_rate_is_the_rest():
    assert metrics.error_rate(LOGITS, CLASSES).item() == 0.5


@pytest.mark.parametrize(("k", "share"), [(1, 0.5), (2, 0.75), (3, 1.0)])
def test_top_k_accuracy_counts_the_k_largest(k, share):
    assert metrics.top_k_accuracy(LOGITS, CLASSES, k=k).item() == share


def test_targets_may_be_probabilities():
    soft = F.one_hot(CLASSES, 3) * 0.8 + 0.1
    assert metrics.accuracy(LOGITS, soft).item() == 0.5


def test_classes_may_stand_in_another_dimension():
    preds = LOGITS.T[None]  # one item with four positions, classes in dimension 1
    assert metrics.accuracy(preds, CLASSES[None]).item() == 0.5
    assert metrics.accuracy(preds.transpose(1, 2), CLASSES[None], dim=-1).item() == 0.5
    assert metrics.top_k_accuracy(preds, CLASSES[None], k=2).item() == 0.75


def test_errors_by_hand():
    preds, target = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 4.0, 1.0])
    assert metrics.mse(preds, target).item() == pytest.approx(20 / 3)
    assert metrics.mae(preds, target).item() == 2.0
    assert metrics.rmse(preds, target) == pytest.approx(math.sqrt(20 / 3))


def test_bits_and_perplexity_are_of_the_cross_entropy():
    loss = F.cross_entropy(LOGITS.double(), CLASSES).item()
    bits = metrics.bits_per_byte(LOGITS.double(), CLASSES).item()
    assert bits == pytest.approx(loss / math.log(2), rel=1e-12)
    assert metrics.perplexity(LOGITS.double(), CLASSES) == pytest.approx(math.exp(loss), rel=1e-12)
    assert 2**bits == pytest.approx(math.exp(loss))


def test_perplexity_of_a_huge_loss_is_infinite():
    assert metrics.perplexity(torch.tensor([[0.0, 1e4]]), torch.tensor([0])) == math.inf


@pytest.mark.parametrize("name", ["mse", "mae", "rmse"])
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(ValueError, match=r"\(4, 1\).*\(4,\)"):
        getattr(metrics, name)(torch.ones(4, 1), torch.ones(4))


@pytest.mark.parametrize("name", ["accuracy", "error_rate", "top_k_accuracy"])
def test_targets_of_another_shape_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name}: .*\(4, 3\).* \(4,\), got \(4, 1\)"):
        getattr(metrics, name)(LOGITS, CLASSES[:, None])


def test_a_dimension_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no dimension 1"):
        metrics.accuracy(torch.ones(4), torch.ones(4).long())


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_classes_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must be in 1 ... 3, got {k}"):
        metrics.top_k_accuracy(LOGITS, CLASSES, k=k)
