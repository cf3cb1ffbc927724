"""The evaluation view: what it shows, that training bits come back, and when it does nothing."""

import copy
import pickle

import numpy as np
import pytest
import torch
from rows import ROWS
from states import advance, copies, feed, identical, parameters, params_of, snapshot, through_file
from trials import close, gradients, trial

import steppers
from steppers import rules

VIEWED = [row for row in ROWS if row.x]
PLAIN = [row for row in ROWS if not (row.evaluate or getattr(row.make, "evaluate", None))]
STEPS = [rules.average_grad, rules.average_square, rules.adam, rules.descend, rules.ema]


def composed(params):
    """AdamW's averages and the average of its weights."""
    hypers = dict(lr=0.1, ema_decay=0.5)
    return steppers.Optimizer(params, steps=STEPS, evaluate=rules.use_average, **hypers)


VIEWS = {
    "schedule free": lambda params: steppers.ScheduleFreeAdamW(params, lr=0.1),
    "asgd": lambda params: steppers.ASGD(params, lr=0.1, t0=1),
    "ema": composed,
}
# fmt: off
WITHOUT = {
    "adamw": lambda params: steppers.AdamW(params, lr=0.1),
    "prodigy": lambda params: steppers.Prodigy(params),
    "composed": lambda params: steppers.Optimizer(params, steps=[rules.descend], lr=0.1),
}
# fmt: on
views = pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
without = pytest.mark.parametrize("make", WITHOUT.values(), ids=WITHOUT)


def trained(make, steps=4):
    return advance(make(parameters()), steps)


def weights(optimizer):
    return snapshot(optimizer)["params"]


def state_without_view(optimizer):
    return [{k: v for k, v in s.items() if k != "train_p"} for s in snapshot(optimizer)["state"]]


# --- what it shows -----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
@pytest.mark.parametrize("row", VIEWED, ids=lambda row: row.name)
def test_the_view_is_the_papers(row, engine):
    each = trial(row, torch.float64, engine)
    for step in range(5):
        each.step(gradients([p.shape for p in each.params], step))
    each.optimizer.eval()
    (group,) = each.groups
    for p, x, s in zip(each.params, group.params, group.states, strict=True):
        assert close(p, row.x(x, s, {"betas": (0.9, 0.999), **row.hypers}), torch.float64, 8)


def test_schedule_frees_view_is_the_weighted_average_of_z():
    """x_{t+1} = (1 - c) x_t + c z_{t+1} with c = 1 / t at a constant rate (arXiv:2405.15682)."""
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = steppers.ScheduleFreeAdamW([p], lr=0.1)
    x = p.detach().numpy().copy()
    for step in range(1, 7):
        feed([p], step)
        optimizer.step()
        x = (1 - 1 / step) * x + optimizer.state[p]["z"].numpy() / step
    with optimizer.evaluating():
        np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-12)


def test_asgds_view_is_torchs_ax():
    old = advance(torch.optim.ASGD(parameters(), lr=0.1, t0=1), 5)
    new = advance(steppers.ASGD(parameters(), lr=0.1, t0=1), 5)
    new.eval()
    torch.testing.assert_close(params_of(new), [old.state[p]["ax"] for p in params_of(old)])


@views
def test_the_view_differs_from_the_training_weights(make):
    optimizer = trained(make)
    before = weights(optimizer)
    optimizer.eval()
    assert not any(map(torch.equal, weights(optimizer), before))


# --- and back ----------------------------------------------------------------------------------


@views
def test_train_restores_every_bit(make):
    optimizer = trained(make)
    before = snapshot(optimizer)
    optimizer.eval()
    optimizer.train()
    assert identical(snapshot(optimizer), before)


@views
def test_looking_in_between_changes_no_later_step(make):
    looking, blind = trained(make), trained(make)
    with looking.evaluating():
        pass
    advance(looking, 2, first=4)
    advance(blind, 2, first=4)
    assert identical(looking.state_dict(), blind.state_dict())
    assert identical(weights(looking), weights(blind))


@views
def test_eval_twice_is_eval_once(make):
    optimizer = trained(make)
    training = weights(optimizer)
    optimizer.eval()
    once = snapshot(optimizer)
    optimizer.eval()
    assert identical(snapshot(optimizer), once)
    optimizer.train()
    assert identical(weights(optimizer), training)


@views
def test_train_twice_is_train_once(make):
    optimizer = trained(make)
    before = snapshot(optimizer)
    optimizer.train()
    assert identical(snapshot(optimizer), before)


@views
def test_the_view_changes_no_slot(make):
    optimizer = trained(make)
    before = state_without_view(optimizer)
    optimizer.eval()
    assert identical(state_without_view(optimizer), before)


@views
def test_an_exception_in_the_block_restores_the_training_bits(make):
    optimizer = trained(make)
    before = snapshot(optimizer)
    with pytest.raises(KeyError), optimizer.evaluating():
        raise KeyError("validation failed")
    assert identical(snapshot(optimizer), before)


@views
def test_changes_to_the_weights_in_the_view_are_dropped(make):
    optimizer = trained(make)
    before = weights(optimizer)
    with optimizer.evaluating(), torch.no_grad():
        params_of(optimizer)[0].zero_()
    assert identical(weights(optimizer), before)


def test_an_error_of_the_evaluate_chain_can_be_undone():
    """It stops halfway, and train() puts back what it moved."""
    optimizer = advance(composed(parameters()), 2)
    before = weights(optimizer)
    optimizer.state[params_of(optimizer)[2]]["average"] = torch.zeros(7)
    with pytest.raises(RuntimeError):
        optimizer.eval()
    optimizer.train()
    assert identical(weights(optimizer), before)


# --- stepping in the view ----------------------------------------------------------------------


@views
def test_a_step_in_the_view_raises_and_moves_nothing(make):
    optimizer = trained(make)
    optimizer.eval()
    before = snapshot(optimizer)
    with pytest.raises(RuntimeError, match=r"evaluation view; call optimizer.train\(\)"):
        optimizer.step()
    assert identical(snapshot(optimizer), before)


def test_a_step_in_the_view_raises_before_it_calls_the_closure():
    optimizer, called = trained(composed), []
    optimizer.eval()
    with pytest.raises(RuntimeError, match="evaluation view"):
        optimizer.step(lambda: called.append(1))
    assert called == []


def test_a_step_after_the_view_is_as_if_it_had_not_been():
    optimizer, other = trained(composed), trained(composed)
    optimizer.eval()
    with pytest.raises(RuntimeError, match="evaluation view"):
        optimizer.step()
    optimizer.train()
    assert identical(weights(advance(optimizer, 1, 4)), weights(advance(other, 1, 4)))


# --- parameters without state ------------------------------------------------------------------


@views
def test_a_parameter_that_never_had_a_gradient_is_shown_as_it_is(make):
    optimizer = make(parameters())
    first, *others = params_of(optimizer)
    before = first.detach().clone()
    advance(optimizer, 2, params=others)
    optimizer.eval()
    assert torch.equal(first, before)
    optimizer.train()
    assert torch.equal(first, before)


@views
def test_before_the_first_step_the_view_is_the_weights(make):
    optimizer = make(parameters())
    before = weights(optimizer)
    optimizer.eval()
    assert identical(weights(optimizer), before)


@views
def test_state_made_without_a_step_shows_the_weights(make):
    optimizer = make(parameters())
    optimizer.init_state()
    before = weights(optimizer)
    optimizer.eval()
    torch.testing.assert_close(weights(optimizer), before)


@views
def test_missing_gradients_do_not_hide_a_parameter_from_the_view(make):
    optimizer, other = trained(make), trained(make)
    for p in params_of(optimizer):
        p.grad = None
    optimizer.eval()
    other.eval()
    assert identical(weights(optimizer), weights(other))


@views
def test_gradients_are_left_alone(make):
    optimizer = trained(make)
    before = [p.grad.clone() for p in params_of(optimizer)]
    optimizer.eval()
    optimizer.train()
    assert all(map(torch.equal, (p.grad for p in params_of(optimizer)), before))


def test_a_group_added_in_the_view_does_not_turn_the_others_again():
    optimizer = trained(VIEWS["schedule free"])
    optimizer.eval()
    shown = weights(optimizer)
    optimizer.add_param_group({"params": parameters([(2, 2)], seed=5)})
    optimizer.eval()
    assert identical(weights(optimizer)[:3], shown)


def test_schedule_free_refuses_the_beta_that_its_view_divides_by():
    """With beta1 = 0 the weights are z, and x = (y - (1 - beta1) z) / beta1 cannot be had."""
    with pytest.raises(ValueError, match="beta1"):
        steppers.ScheduleFreeAdamW(parameters(), betas=(0.0, 0.999))


def test_the_view_cannot_be_run_past_eval():
    """run("evaluate") would put it over the training weights, which nothing then holds."""
    optimizer = trained(composed)
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match=r"evaluate.*optimizer\.eval\(\)"):
        optimizer.run("evaluate")
    assert identical(snapshot(optimizer), before)


def test_steps_are_taken_by_step():
    with pytest.raises(ValueError, match=r"'steps'.*optimizer\.step\(\)"):
        trained(composed).run("steps")


# --- the mode ----------------------------------------------------------------------------------


@views
def test_the_mode_is_a_group_key(make):
    optimizer = trained(make)
    assert [group["train_mode"] for group in optimizer.param_groups] == [True]
    optimizer.eval()
    assert [group["train_mode"] for group in optimizer.param_groups] == [False]
    optimizer.train()
    assert [group["train_mode"] for group in optimizer.param_groups] == [True]


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))],
    ids=["deepcopy", "pickle"],
)
@views
def test_the_view_survives_a_copy(make, copied):
    optimizer = trained(make)
    training = weights(optimizer)
    optimizer.eval()
    other = copied(optimizer)
    assert identical(snapshot(other)["state"], snapshot(optimizer)["state"])
    with pytest.raises(RuntimeError, match="evaluation view"):
        other.step()
    other.train()
    assert identical(weights(other), training)


@views
def test_the_view_survives_a_checkpoint(make):
    optimizer = trained(make)
    training = weights(optimizer)
    optimizer.eval()
    other = make(copies(params_of(optimizer)))
    other.load_state_dict(through_file(optimizer.state_dict()))
    with pytest.raises(RuntimeError, match="evaluation view"):
        other.step()
    other.train()
    assert identical(weights(other), training)


@views
def test_a_checkpoint_of_training_loaded_in_the_view_ends_the_view(make):
    optimizer = trained(make)
    saved, training = copy.deepcopy(optimizer.state_dict()), copies(params_of(optimizer))
    optimizer.eval()
    optimizer.load_state_dict(saved)
    with torch.no_grad():
        for p, x in zip(params_of(optimizer), training, strict=True):
            p.copy_(x)
    optimizer.train()
    assert identical(weights(optimizer), [x.detach() for x in training])
    advance(optimizer, 1)


# --- chains without a view ---------------------------------------------------------------------


@without
def test_without_an_evaluate_chain_nothing_happens(make):
    optimizer = trained(make)
    before = snapshot(optimizer)
    optimizer.eval()
    optimizer.train()
    with optimizer.evaluating():
        assert identical(snapshot(optimizer), before)
    assert "train_mode" not in optimizer.param_groups[0]


@without
def test_without_an_evaluate_chain_a_step_after_eval_is_fine(make):
    optimizer, other = trained(make), trained(make)
    optimizer.eval()
    assert identical(weights(advance(optimizer, 1, 4)), weights(advance(other, 1, 4)))


@pytest.mark.parametrize("row", PLAIN, ids=lambda row: row.name)
def test_the_rest_of_the_catalogue_has_no_view(row):
    shapes = [(3, 2)] if row.matrices else [(3, 2), (4,)]
    optimizer = advance(row.build(parameters(shapes)), 1)
    before = snapshot(optimizer)
    with optimizer.evaluating():
        assert identical(snapshot(optimizer), before)


def test_chains_with_and_without_a_view_in_one_optimizer():
    first, *others = parameters()
    optimizer = steppers.Optimizer(
        [{"params": first, "chain": "asgd"}, {"params": others, "chain": "adamw"}],
        chains={"asgd": steppers.ASGD, "adamw": steppers.AdamW},
    )
    advance(optimizer, 2)
    before = weights(optimizer)
    optimizer.eval()
    assert torch.equal(first, optimizer.state[first]["ax"])
    assert identical(weights(optimizer)[1:], before[1:])
    optimizer.train()
    assert identical(weights(optimizer), before)
