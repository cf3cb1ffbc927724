"""Places where a formula has no value, or a wrong constant would be noticed too late."""

import pytest
import torch

import steppers
from steppers import Optimizer
from steppers.ops import amax

MATRIX = torch.ones(2, 2)


def test_schedule_free_has_no_average_to_show_at_beta1_zero():
    """At beta1 = 0 y is z, and x cannot be told from them: an error, not NaN in the weights."""
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"beta1"):
        optimizer = steppers.ScheduleFreeAdamW([p], betas=(0.0, 0.999))
        for _ in range(3):
            p.grad = p.detach().clone()
            optimizer.step()
        optimizer.eval()
        assert p.isfinite().all()


# fmt: off
CONSTANTS = (
    (dict(ns_steps=-1),                     r"Muon: ns_steps must be .*got -1"),
    (dict(ns_steps=2.5),                    r"Muon: ns_steps must be .*got 2.5"),
    (dict(ns_coefficients=(3.0, -4.0)),     r"Muon: ns_coefficients must be 3 numbers.*got \(3"),
)
# fmt: on


@pytest.mark.parametrize(("given", "text"), CONSTANTS, ids=lambda x: str(x)[:24])
def test_constants_of_the_iteration_are_checked_when_it_is_made(given, text):
    with pytest.raises((TypeError, ValueError), match=text):
        steppers.Muon([torch.nn.Parameter(MATRIX.clone())], **given)


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_muon_takes_matrices_of_rank_one_and_zero(engine):
    params = [torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2)]
    params[0].grad, params[1].grad = torch.zeros(3, 2), torch.ones(3, 2)
    steppers.Muon(params, lr=0.1, weight_decay=0.0, engine=engine).step()
    assert params[0].tolist() == [[1.0, 1.0]] * 3
    assert (params[1] < 1).all()


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_muon_on_a_batch_is_muon_on_each_matrix(engine):
    values, grads = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    whole = torch.nn.Parameter(values.clone())
    pieces = [torch.nn.Parameter(x.clone()) for x in values]
    whole.grad = grads.clone()
    for p, g in zip(pieces, grads, strict=True):
        p.grad = g.clone()
    steppers.Muon([whole], lr=0.1, engine=engine).step()
    steppers.Muon(pieces, lr=0.1, engine=engine).step()
    torch.testing.assert_close(whole.detach(), torch.stack([p.detach() for p in pieces]))


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_the_largest_element_of_an_empty_tensor_stops_nothing(engine):
    def scaled(p, g, *, lr):
        return dict(p=p - lr * g / amax(abs(g)))

    params = [torch.nn.Parameter(torch.ones(0, 3)), torch.nn.Parameter(torch.ones(2))]
    for p in params:
        p.grad = torch.full_like(p, 2.0)
    Optimizer(params, steps=[scaled], lr=0.5, engine=engine).step()
    assert params[1].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_late_step_count_is_exact(dtype):
    """beta2**t at t = 100,001, in double precision: the debias of a long run."""
    p = torch.nn.Parameter(torch.ones(1, dtype=dtype))
    optimizer = steppers.Adam([p], betas=(0.9, 0.99999), eps=0.0, lr=1.0)
    optimizer.init_state()
    state = optimizer.state[p]
    state["step"].fill_(100_000)
    state["exp_avg"].fill_(1.0)
    state["exp_avg_sq"].fill_(1 - 0.99999**100_001)
    p.grad = torch.ones_like(p)
    before = state["exp_avg_sq"].item()
    optimizer.step()
    second = (0.99999 * before + 1e-5) / (1 - 0.99999**100_001)
    assert state["step"].item() == 100_001
    assert p.item() == pytest.approx(1 - second**-0.5, abs=8 * torch.finfo(dtype).eps)
