"""fastai's optimizers: parameters, freezing, checkpoints, Lookahead."""

import copy
import io
import pickle

import pytest
import torch
from small_params import RATE, close, four, numbers, one, vector
from torch import nn

from steppers.styles import fastai
from steppers.styles.fastai import Optimizer, average_grad

# --- parameters and state -----------------------------------------------------------------------


def test_all_params_gives_parameter_group_state_and_hypers():
    a, b, c, d = four()
    d.grad = None
    optimizer = fastai.SGD([[a, b], [c, d]], lr=[0.01, 0.1])
    found = optimizer.all_params()
    assert [p for p, *_ in found] == [a, b, c, d]
    assert [group for _, group, *_ in found] == [[a, b], [a, b], [c, d], [c, d]]
    assert [hyper["lr"] for *_, hyper in found] == [0.01, 0.01, 0.1, 0.1]
    assert [p for p, *_ in optimizer.all_params(slice(1, None), with_grad=True)] == [c]
    assert [p for p, *_ in optimizer.all_params(0)] == [a, b]
    found[0][2]["do_wd"] = False
    assert optimizer.state[a] == {"do_wd": False}


def test_grad_params_pairs_parameters_that_have_a_gradient_with_their_groups_hypers():
    a, b, c, d = four()
    b.grad = None
    pairs = fastai.SGD([[a, b], [c, d]], lr=[0.01, 0.1]).grad_params()
    assert [p for p, _ in pairs] == [a, c, d]
    assert [hyper["lr"] for _, hyper in pairs] == [0.01, 0.1, 0.1]


def frozen(optimizer):
    return [[p.requires_grad for p in params] for params in optimizer.param_lists]


def test_freezing_goes_by_groups_and_leaves_out_flagged_parameters():
    params = four()
    optimizer = fastai.SGD([params[:2], params[2:3], params[3:]], lr=RATE)
    optimizer.state[params[0]]["force_train"] = True
    optimizer.freeze_to(1)
    assert (frozen(optimizer), optimizer.frozen_idx) == ([[True, False], [True], [True]], 1)
    optimizer.unfreeze()
    assert (frozen(optimizer), optimizer.frozen_idx) == ([[True, True], [True], [True]], 0)
    optimizer.freeze()
    assert (frozen(optimizer), optimizer.frozen_idx) == ([[True, False], [False], [True]], 2)
    with pytest.warns(UserWarning, match="every group is frozen"):
        optimizer.freeze_to(3)


def test_a_frozen_parameter_does_not_move():
    params = four()
    optimizer = fastai.SGD([params[:2], params[2:]], lr=RATE)
    optimizer.freeze()
    optimizer.step()
    assert numbers(params) == close(0, 1, 1.98, 2.97)


def test_freezing_that_cannot_be_is_an_error():
    with pytest.raises(ValueError, match="freeze needs 2 groups or more, there is 1"):
        fastai.SGD(four(), lr=RATE).freeze()
    with pytest.raises(ValueError, match="freeze_to got 2, but there are 1 groups"):
        fastai.SGD(four(), lr=RATE).freeze_to(2)


def test_marking_a_model_flags_norms_and_biases():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = fastai.SGD(model.parameters(), lr=1e-2, wd=1.0)
    fastai.mark(optimizer, model)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(5):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    moved = [p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]
    assert not torch.allclose(moved[0], torch.full_like(moved[0], -0.05), atol=1e-4)
    assert all(torch.allclose(m, torch.full_like(m, -0.05), atol=1e-6) for m in moved[1:])


def test_clear_state_keeps_the_flags_alone():
    params = four()
    optimizer = fastai.SGD(params, lr=RATE, mom=0.9)
    optimizer.state[params[0]].update(force_train=True, do_wd=False)
    optimizer.step()
    optimizer.clear_state()
    assert dict(optimizer.state) == {params[0]: {"force_train": True, "do_wd": False}}


# --- checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["state_dict", "fastai_state_dict"])
def test_a_checkpoint_in_either_format_is_taken_over(form):
    p = vector((1, 2, 3), (4, 5, 6))
    optimizer = Optimizer([p], average_grad)
    optimizer.step()
    q = vector((1, 2, 3), (0, 0, 0))
    other = Optimizer([q], average_grad, mom=0.99)
    other.load_state_dict(getattr(optimizer, form)())
    assert other.hypers == [{"mom": 0.9}]
    assert other.state[q]["grad_avg"].tolist() == [4, 5, 6]
    assert other.state[q]["grad_avg"] is not optimizer.state[p]["grad_avg"]


def test_the_format_of_fastai_is_two_lists():
    a, b = one(1, 0.1), one(2)
    optimizer = fastai.SGD([[a], [b]], lr=[0.1, 0.2], mom=0.9)
    optimizer.step()
    saved = optimizer.fastai_state_dict()
    assert saved["hypers"] == [dict(lr=0.1, mom=0.9, wd=0.0), dict(lr=0.2, mom=0.9, wd=0.0)]
    assert [list(state) for state in saved["state"]] == [["grad_avg"], []]
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    fastai.SGD([[one(1)], [one(2)]], lr=1.0).load_state_dict(torch.load(file, weights_only=True))


def test_a_checkpoint_of_other_sizes_is_an_error_and_changes_nothing():
    optimizer = fastai.SGD(four(), lr=RATE)
    saved = fastai.SGD([four()[:2], four()[2:]], lr=0.5).fastai_state_dict()
    with pytest.raises(ValueError, match="4 parameters in 2 groups, the optimizer 4 in 1"):
        optimizer.load_state_dict(saved)
    assert optimizer.hypers[0]["lr"] == RATE


def test_flags_that_a_checkpoint_lacks_stay():
    p = one(1, 0.1)
    saved = fastai.SGD([one(1)], lr=0.5).state_dict()
    optimizer = fastai.SGD([p], lr=RATE)
    optimizer.state[p]["do_wd"] = False
    optimizer.load_state_dict(saved)
    assert optimizer.state[p] == {"do_wd": False}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("make", [fastai.Adam, fastai.ranger])
def test_copies_go_on_alike(make, copied):
    p = vector()
    optimizer = make([p], lr=RATE)
    for _ in range(4):
        optimizer.step()
    other = copied(optimizer)
    (q,) = other.param_lists[0]
    for _ in range(4):
        q.grad = p.grad
        optimizer.step()
        other.step()
    assert q is not p
    assert torch.equal(p, q)


# --- Lookahead ----------------------------------------------------------------------------------


def test_lookahead_meets_at_the_sixth_step():
    p = vector()
    start = p.detach().clone()
    optimizer = fastai.Lookahead(fastai.SGD([p], lr=RATE))
    for _ in range(5):
        optimizer.step()
    assert torch.allclose(p, start - 0.5 * p.grad)
    optimizer.step()
    assert p.tolist() == close(0.97, 1.94, 2.91)


def test_lookahead_moves_parameters_without_gradients_and_takes_any_optimizer():
    a, b = one(1, 0.1), one(2)
    optimizer = fastai.Lookahead(torch.optim.SGD([a, b], lr=1.0), k=2)
    optimizer.step()
    with torch.no_grad():
        b.fill_(4.0)
    optimizer.step()
    assert numbers([a, b]) == close(0.9, 3.0)


def test_lookahead_forwards_what_it_lacks():
    inner = fastai.SGD([[one(1)], [one(2)]], lr=RATE)
    optimizer = fastai.Lookahead(inner)
    optimizer.set_hyper("lr", [0.1, 0.2])
    assert optimizer.hypers == inner.hypers
    assert optimizer.param_groups is inner.param_groups
    optimizer.freeze()
    assert frozen(inner) == [[False], [True]]
    with pytest.raises(AttributeError, match="quux"):
        optimizer.quux  # noqa: B018


def test_lookahead_saves_and_loads_without_touching_what_it_is_given():
    p, q = vector(), vector()
    optimizer = fastai.Lookahead(fastai.Adam([p], lr=RATE), k=3)
    other = fastai.Lookahead(fastai.Adam([q], lr=0.5), k=3)
    for _ in range(2):
        optimizer.step()
    saved = optimizer.state_dict()
    keys = set(saved)
    with torch.no_grad():
        q.copy_(p)
    other.load_state_dict(saved)
    assert set(saved) == keys == {"state", "param_groups", "count", "slow_weights"}
    for each in (optimizer, other):
        each.step()
        each.step()
    assert torch.equal(p, q)
    assert other.count == 4


def test_lookahead_refuses_slow_weights_of_other_shapes_before_anything_changes():
    optimizer = fastai.Lookahead(fastai.SGD([vector()], lr=RATE))
    saved = fastai.Lookahead(fastai.SGD([one(1, 1)], lr=0.5))
    saved.step()
    with pytest.raises(ValueError, match="slow weights have shapes"):
        optimizer.load_state_dict(saved.state_dict())
    assert (optimizer.count, optimizer.hypers[0]["lr"]) == (0, RATE)


def test_lookaheads_clear_state_drops_everything():
    optimizer = fastai.ranger([vector()], lr=RATE)
    optimizer.step()
    optimizer.clear_state()
    assert (optimizer.count, optimizer.slow_weights, dict(optimizer.state)) == (0, None, {})


def test_lookahead_copies_groups_that_are_added_later():
    p, q = one(1, 0.1), one(2, 0.1)
    optimizer = fastai.Lookahead(fastai.SGD([p], lr=1.0), k=2)
    optimizer.step()
    optimizer.add_param_group({"params": [q]})
    optimizer.step()
    assert numbers([p, q]) == close(0.9, 1.95)


@pytest.mark.parametrize(("k", "alpha", "says"), [(0, 0.5, "k must be"), (6, 1.5, "alpha must be")])
def test_lookahead_checks_its_hypers(k, alpha, says):
    with pytest.raises(ValueError, match=says):
        fastai.Lookahead(fastai.SGD([one(1)], lr=RATE), k, alpha)


def test_ranger_is_lookahead_around_radam_with_its_own_defaults():
    optimizer = fastai.ranger([one(1)], lr=RATE, sqr_mom=0.999)
    expected = dict(lr=RATE, mom=0.95, sqr_mom=0.999, eps=1e-6, wd=0.01, beta=0.0)
    assert optimizer.hypers == [expected]
    assert (optimizer.k, optimizer.alpha) == (6, 0.5)


MADE = ("SGD", "RMSProp", "Adam", "RAdam", "QHAdam", "Larc", "Lamb", "ranger")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", MADE)
def test_any_shape_and_dtype_steps_and_stays_what_it_is(name, dtype):
    shapes = [torch.tensor(1.0), torch.zeros(0), torch.randn(4, 3).t(), torch.zeros(2)]
    params = [p.to(dtype).requires_grad_() for p in shapes]
    start = [p.detach().clone() for p in params]
    optimizer = getattr(fastai, name)(params, lr=0.1)
    for _ in range(7):
        for p in params:
            p.grad = torch.randn_like(p)
        optimizer.step()
    assert all(p.dtype == dtype and p.isfinite().all() for p in params)
    assert all(p.numel() == 0 or not torch.equal(p, s) for p, s in zip(params, start, strict=True))


@pytest.mark.parametrize("make", [fastai.Adam, fastai.ranger])
def test_a_grad_scaler_leaves_out_steps_that_are_not_finite(make):
    p = torch.ones(2, requires_grad=True)
    optimizer, scaler = make([p], lr=0.1, wd=0.0), torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale((p * float("inf")).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [1.0, 1.0]
    optimizer.zero_grad()
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    assert p.tolist() == pytest.approx([0.9, 0.9], abs=1e-4)
