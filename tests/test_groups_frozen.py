"""Gradients that frozen parameters still have."""

import pytest
import torch

import steppers
from steppers import groups


@pytest.mark.parametrize(
    "make", [torch.optim.AdamW, steppers.AdamW, lambda ps: torch.optim.SGD(ps, lr=0.1)]
)
def test_a_frozen_parameter_with_an_old_gradient_stays_where_it_is(make):
    kept, moved = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = make([kept, moved])
    (kept + moved).sum().backward()
    kept.requires_grad_(False)
    handle = optimizer.register_step_pre_hook(groups.skip_frozen)
    optimizer.step()
    assert kept.tolist() == [1.0, 1.0]
    assert kept.grad is None
    assert moved.tolist() != [1.0, 1.0]
    handle.remove()
    kept.grad = torch.ones(2)
    optimizer.step()
    assert kept.tolist() != [1.0, 1.0]  # as torch: without the hook it moves


def test_frozen_gradients_are_dropped_in_a_closure_run_too():
    kept, moved = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    kept.grad = torch.ones(2)
    kept.requires_grad_(False)
    optimizer = steppers.SGD([kept, moved], lr=0.1)
    optimizer.register_step_pre_hook(groups.skip_frozen)

    def closure():
        optimizer.zero_grad()
        loss = (kept * moved).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert kept.tolist() == [1.0, 1.0]
    assert torch.allclose(moved, torch.full((2,), 0.9))
