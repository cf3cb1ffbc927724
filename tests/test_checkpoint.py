"""Checkpoints: torch.optim's state in ours and ours in torch's, and resuming in mid-run."""

import copy

import pytest
import torch
from rows import ROWS
from states import (
    PAIRS,
    advance,
    copies,
    feed,
    identical,
    parameters,
    params_of,
    slots,
    snapshot,
    through_file,
)

import steppers
from steppers import ops, rules

OURS, TORCH = steppers, torch.optim
pairs = pytest.mark.parametrize(("name", "hypers"), PAIRS.values(), ids=PAIRS)
both_ways = pytest.mark.parametrize(
    ("source", "target"), [(TORCH, OURS), (OURS, TORCH)], ids=["from torch", "to torch"]
)
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def handed_over(source, target, name, hypers, dtype):
    """An optimizer after three steps, and another that has loaded its state."""
    old = advance(getattr(source, name)(parameters(dtype=dtype), **hypers), 3)
    new = getattr(target, name)(copies(params_of(old)), **hypers)
    new.load_state_dict(copy.deepcopy(old.state_dict()))  # torch keeps the tensors it is given
    return old, new


# --- torch.optim -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@both_ways
@pairs
def test_slots_pass_between_torch_and_us_bit_for_bit(name, hypers, source, target, dtype):
    old, new = handed_over(source, target, name, hypers, dtype)
    for a, b in zip(slots(old), slots(new), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k].to(torch.float64), b[k].to(torch.float64)) for k in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@both_ways
@pairs
def test_both_go_on_alike_after_a_load(name, hypers, source, target, dtype):
    old, new = handed_over(source, target, name, hypers, dtype)
    advance(old, 4, first=3)
    advance(new, 4, first=3)
    torch.testing.assert_close(params_of(new), params_of(old))
    torch.testing.assert_close(slots(new), slots(old), check_dtype=False)


@pairs
def test_hypers_come_from_torchs_checkpoint(name, hypers):
    old = getattr(TORCH, name)(parameters(), **{**hypers, "lr": 0.123})
    new = getattr(OURS, name)(parameters(), **hypers)
    new.load_state_dict(old.state_dict())
    assert new.param_groups[0]["lr"] == 0.123


def test_torchs_sgd_with_a_buffer_and_no_count_has_taken_one_step():
    _, new = handed_over(TORCH, OURS, "SGD", dict(lr=0.1, momentum=0.9), torch.float32)
    assert [float(new.state[p]["step"]) for p in params_of(new)] == [1.0, 1.0, 1.0]


def test_torchs_counts_as_python_numbers_are_taken():
    old = advance(TORCH.Adam(parameters()), 3).state_dict()
    for state in old["state"].values():
        state["step"] = int(state["step"])
    new = OURS.Adam(parameters())
    new.load_state_dict(old)
    advance(new, 1)
    assert [float(new.state[p]["step"]) for p in params_of(new)] == [4.0, 4.0, 4.0]


def test_torchs_checkpoint_of_before_the_first_step_loads():
    new = OURS.Adagrad(parameters())
    new.load_state_dict(TORCH.Adagrad(parameters()).state_dict())
    assert [float(new.state[p]["step"]) for p in params_of(new)] == [0.0, 0.0, 0.0]


def test_where_it_runs_is_not_taken_from_the_checkpoint():
    old = TORCH.AdamW(parameters(), foreach=True, capturable=False)
    new = OURS.AdamW(parameters(), foreach=False)
    new.load_state_dict(old.state_dict())
    assert new.param_groups[0]["foreach"] is False
    assert new.engine.name == "loop"


# --- resuming ----------------------------------------------------------------------------------


def built(row, params, **more):
    shaped = [p for p in params if p.ndim >= 2] if row.matrices else params
    return row.build(shaped, **more)


def with_gaps(optimizer, steps, first):
    """Steps in which one parameter at a time has no gradient, so that their counts differ."""
    params = params_of(optimizer)
    for step in range(first, first + steps):
        feed(params, step)
        params[step % len(params)].grad = None
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
@every_row
def test_resuming_in_mid_run_is_bitwise_identical(row, engine):
    whole = with_gaps(built(row, parameters(), engine=engine), 5, first=0)
    resumed = built(row, copies(params_of(whole)), engine=engine)
    resumed.load_state_dict(through_file(whole.state_dict()))
    with_gaps(whole, 4, first=5)
    with_gaps(resumed, 4, first=5)
    assert identical(snapshot(whole)["params"], snapshot(resumed)["params"])
    assert identical(whole.state_dict(), resumed.state_dict())


@every_row
def test_a_file_gives_back_every_bit(row):
    optimizer = with_gaps(built(row, parameters()), 3, first=0)
    assert identical(through_file(optimizer.state_dict()), optimizer.state_dict())


@every_row
def test_a_checkpoint_of_before_the_first_step_loads(row):
    fresh, other = built(row, parameters()), built(row, parameters())
    other.load_state_dict(fresh.state_dict())
    with_gaps(fresh, 2, first=0)
    with_gaps(other, 2, first=0)
    assert identical(fresh.state_dict(), other.state_dict())


@every_row
def test_state_made_without_a_step_loads(row):
    fresh, other = built(row, parameters()), built(row, parameters())
    fresh.init_state()
    other.load_state_dict(fresh.state_dict())
    assert identical(slots(other), slots(fresh))
    with_gaps(fresh, 2, first=0)
    with_gaps(other, 2, first=0)
    assert identical(fresh.state_dict(), other.state_dict())


def jitter(p, u, *, lr):
    return dict(p=p - lr * (u + ops.normal(u)))


def test_noise_goes_on_as_it_would_have():
    whole = advance(steppers.Optimizer(parameters(), steps=[jitter], lr=0.1), 3)
    resumed = steppers.Optimizer(copies(params_of(whole)), steps=[jitter], lr=0.1, seed=1)
    resumed.load_state_dict(whole.state_dict())
    assert identical(snapshot(advance(whole, 3, 3))["params"],
                     snapshot(advance(resumed, 3, 3))["params"])  # fmt: skip


def test_momentum_lowered_to_zero_keeps_its_buffer_through_a_checkpoint():
    optimizer = advance(steppers.SGD(parameters(), lr=0.1, momentum=0.9), 2)
    optimizer.param_groups[0]["momentum"] = 0.0
    advance(optimizer, 1, first=2)
    other = steppers.SGD(copies(params_of(optimizer)), lr=0.1, momentum=0.9)
    other.load_state_dict(optimizer.state_dict())
    for each in (optimizer, other):
        each.param_groups[0]["momentum"] = 0.5
        advance(each, 2, first=3)
    assert identical(other.state_dict(), optimizer.state_dict())


# --- kept scalars ------------------------------------------------------------------------------


def test_prodigys_distance_survives_a_file():
    optimizer = advance(steppers.Prodigy(parameters()), 5)
    other = steppers.Prodigy(parameters())
    other.load_state_dict(through_file(optimizer.state_dict()))
    for kept in ("d", "d_max", "d_numerator"):
        assert identical(other.param_groups[0][kept], optimizer.param_groups[0][kept])
    assert float(other.param_groups[0]["d"]) > 1e-6  # it has grown from d0


def test_schedule_frees_weights_survive_a_file():
    optimizer = advance(steppers.ScheduleFreeAdamW(parameters(), lr=0.1), 5)
    other = steppers.ScheduleFreeAdamW(parameters())
    other.load_state_dict(through_file(optimizer.state_dict()))
    # five steps, each with the weight lr**2
    assert other.param_groups[0]["weight_sum"] == optimizer.param_groups[0]["weight_sum"]
    assert other.param_groups[0]["weight_sum"] == pytest.approx(5 * 0.1**2, rel=1e-12)
    assert other.param_groups[0]["steps_taken"] == 5


@pytest.mark.parametrize(("name", "scalars"), [("NAdam", ["mu_product"]), ("ASGD", ["eta", "mu"])])
def test_host_scalars_stay_numbers_on_the_host(name, scalars):
    optimizer = advance(getattr(steppers, name)(parameters()), 3)
    other = getattr(steppers, name)(parameters())
    other.load_state_dict(through_file(optimizer.state_dict()))
    for p, q in zip(params_of(optimizer), params_of(other), strict=True):
        for scalar in scalars:
            assert other.state[q][scalar].shape == ()
            assert identical(other.state[q][scalar], optimizer.state[p][scalar])


# --- the evaluation view -----------------------------------------------------------------------


def test_a_checkpoint_of_the_evaluation_view_restores_the_training_bits():
    optimizer = advance(steppers.ScheduleFreeAdamW(parameters(), lr=0.1), 3)
    training = snapshot(optimizer)["params"]
    optimizer.eval()
    model = copies(params_of(optimizer))  # what a trainer saves: the weights of the view
    saved = through_file(optimizer.state_dict())
    optimizer.train()
    other = steppers.ScheduleFreeAdamW(model, lr=0.1)
    other.load_state_dict(saved)
    assert other.param_groups[0]["train_mode"] is False
    other.train()
    assert identical(snapshot(other)["params"], training)
    advance(optimizer, 2, first=3)
    advance(other, 2, first=3)
    assert identical(other.state_dict(), optimizer.state_dict())


# --- copies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [OURS, TORCH], ids=["ours", "torch's"])
def test_nothing_is_shared_with_the_source(source):
    old = advance(source.AdamW(parameters(), lr=torch.tensor(0.1)), 2).state_dict()
    before = copy.deepcopy(old)
    new = OURS.AdamW(parameters())
    new.load_state_dict(old)
    new.param_groups[0]["lr"].fill_(0.5)
    for state in new.state.values():
        for value in state.values():
            value.fill_(7.0)
    assert identical(old, before)


@pytest.mark.parametrize("source", [OURS, TORCH], ids=["ours", "torch's"])
def test_the_source_is_not_modified(source):
    old = advance(source.SGD(parameters(), lr=0.1, momentum=0.9), 2).state_dict()
    before, held = copy.deepcopy(old), old["state"][0]["momentum_buffer"]
    new = OURS.SGD(parameters(), momentum=0.9)
    new.load_state_dict(old)
    advance(new, 2)
    assert identical(old, before)
    assert old["state"][0]["momentum_buffer"] is held


def test_a_state_dict_taken_earlier_does_not_load_its_own_future():
    optimizer = advance(steppers.AdamW(parameters()), 2)
    saved, counts = copy.deepcopy(optimizer.state_dict()), [2.0] * 3
    advance(optimizer, 3)
    optimizer.load_state_dict(saved)
    assert [float(optimizer.state[p]["step"]) for p in params_of(optimizer)] == counts
    assert identical(optimizer.state_dict(), saved)


def test_loading_its_own_state_changes_nothing():
    optimizer = advance(steppers.NAdam(parameters()), 2)
    before = snapshot(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    assert identical(snapshot(optimizer), before)


def test_a_composed_chain_resumes_by_the_names_of_its_rules():
    steps = [rules.average_grad, rules.average_square, rules.adam, rules.descend, rules.lookahead]
    old = advance(steppers.Optimizer(parameters(), steps=steps, lr=0.1), 2)
    new = steppers.Optimizer(copies(params_of(old)), steps=steps, lr=0.5)
    new.load_state_dict(old.state_dict())
    advance(old, 2, 2)
    advance(new, 2, 2)
    assert identical(new.state_dict(), old.state_dict())


def test_a_checkpoint_without_the_first_rate_brings_its_own():
    """Composer's decay goes by lr / initial_lr: with this optimizer's own 1e-3 it would be 100."""
    (p,) = parameters([(3, 2)])
    theirs = advance(torch.optim.AdamW([p], lr=0.1, weight_decay=0.01), 2)
    (q,) = copies([p])
    ours = steppers.DecoupledAdamW([q], lr=1e-3, weight_decay=0.01)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["initial_lr"] == ours.param_groups[0]["lr"] == 0.1
    before = q.detach().clone()
    q.grad = torch.zeros_like(q)
    ours.state[q]["exp_avg"].zero_()
    ours.step()
    assert torch.allclose(q, before * (1 - 0.01))


def test_a_checkpoint_with_the_first_rate_keeps_it():
    old = advance(steppers.DecoupledAdamW(parameters(), lr=0.1), 1)
    old.param_groups[0]["lr"] = 0.05
    new = steppers.DecoupledAdamW(copies(params_of(old)), lr=1e-3)
    new.load_state_dict(old.state_dict())
    assert (new.param_groups[0]["initial_lr"], new.param_groups[0]["lr"]) == (0.1, 0.05)
