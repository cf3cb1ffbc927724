"""Parameters so small that their steps are told by hand, and how to compare them."""

import pytest
import torch

RATE = 0.1


def one(value, grad=None):
    p = torch.tensor([float(value)], dtype=torch.float64, requires_grad=True)
    if grad is not None:
        p.grad = torch.tensor([float(grad)], dtype=torch.float64)
    return p


def four():
    """Parameters i = 0..3 with gradients i / 10."""
    return [one(i, i / 10) for i in range(4)]


def vector(values=(1.0, 2.0, 3.0), grads=(0.1, 0.2, 0.3)):
    p = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    p.grad = torch.tensor(grads, dtype=torch.float64)
    return p


def numbers(params):
    return [p.item() for p in params]


def close(*expected, tol=1e-5):
    return pytest.approx(list(expected), abs=tol)
