"""One step count for the parameters of a group, by a hook."""

import pytest
import torch
from engine_names import ENGINES

import steppers
from steppers import groups
from steppers.groups import count_together


def late(make, hook, steps=4):
    """Where a parameter is after its first step, when another one has taken `steps`."""
    first, second = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = make([first, second])
    if hook:
        optimizer.register_step_pre_hook(count_together)
    for _ in range(steps):
        first.grad = torch.full((1,), 2.0, dtype=torch.float64)
        optimizer.step()
    second.grad = torch.full((1,), 2.0, dtype=torch.float64)
    optimizer.step()
    return second.item(), optimizer.state[second]["step"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_late_parameter_is_debiased_at_the_groups_count(engine):
    def make(params):
        return steppers.Adam(params, lr=0.1, eps=0.0, engine=engine)

    # m = .1 * 2, v = .001 * 4, debiased at t = 5
    expected = 1 - 0.1 * (0.2 / (1 - 0.9**5)) / (0.004 / (1 - 0.999**5)) ** 0.5
    found, step = late(make, hook=True)
    assert found == pytest.approx(expected, rel=1e-12)
    assert step.item() == 5
    found, step = late(make, hook=False)
    assert found == pytest.approx(0.9, rel=1e-12)  # a first step: lr in size
    assert step.item() == 1


def test_a_rule_of_ones_own_counts_together_too():
    def shrinking(p, g, *, t, lr):
        return dict(p=p - lr * g / t)

    found, _ = late(lambda ps: steppers.Optimizer(ps, steps=[shrinking], lr=1.0), hook=True)
    assert found == pytest.approx(1 - 2 / 5)


def test_groups_count_apart():
    params = [torch.ones(1, requires_grad=True) for _ in range(3)]
    optimizer = steppers.AdamW([dict(params=params[:2]), dict(params=params[2:])])
    optimizer.register_step_pre_hook(count_together)
    for _ in range(3):
        params[0].grad = torch.ones(1)
        optimizer.step()
    params[2].grad = torch.ones(1)
    optimizer.step()
    counts = [int(optimizer.state[p]["step"]) for p in params]
    assert counts == [
        4,
        3,
        1,
    ]  # the second follows in its next step
    assert steppers.AdamW(params).state == {}


def test_torchs_optimizers_count_together_from_a_parameters_first_gradient():
    first, second = (torch.ones(1, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([first, second])
    optimizer.register_step_pre_hook(groups.count_together)
    for i in range(4):
        first.grad = torch.ones(1)
        second.grad = torch.ones(1) if i == 1 else None
        optimizer.step()
    optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in (first, second)] == [5, 4]


def test_an_optimizer_without_counts_is_left_alone():
    p = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.5, momentum=0.9)
    optimizer.register_step_pre_hook(count_together)
    for _ in range(2):
        p.grad = torch.ones(1)
        optimizer.step()
    assert p.item() == pytest.approx(1 - 0.5 - 0.5 * 1.9)
