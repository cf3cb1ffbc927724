"""fastai's optimizers in company: torch's optimizers wrapped, and torch's tools."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LambdaLR, OneCycleLR

from steppers import schedules
from steppers.styles import fastai
from steppers.styles.fastai import OptimWrapper, detuplify_pg, set_item_pg


def one(value, grad=None):
    p = torch.tensor([float(value)], dtype=torch.float64, requires_grad=True)
    if grad is not None:
        p.grad = torch.tensor([float(grad)], dtype=torch.float64)
    return p


def lists():
    return [[one(1, 0.1), one(2, 0.2)], [one(3, 0.3)]]


SGD = partial(OptimWrapper, opt=torch.optim.SGD)
Adam = partial(OptimWrapper, opt=torch.optim.Adam)


# --- OptimWrapper -------------------------------------------------------------------------------


def test_groups_are_spread_out_and_set_by_element():
    group = {"params": [1], "lr": 0.1, "betas": (0.9, 0.999)}
    assert detuplify_pg(group) == {"lr": 0.1, "betas__0": 0.9, "betas__1": 0.999}
    assert set_item_pg(group, "betas__0", 0.95) is group
    assert group["betas"] == (0.95, 0.999)
    assert set_item_pg(group, "lr", 0.5)["lr"] == 0.5


def test_a_wrapped_sgd_has_the_lists_and_hypers_of_ours():
    params = lists()
    native = fastai.SGD(params, lr=1e-3, mom=0.9, wd=1e-2)
    wrapped = SGD(params, lr=1e-3, momentum=0.9, weight_decay=1e-2)
    assert wrapped.param_lists == native.param_lists
    for theirs, own in zip(wrapped.hypers, native.hypers, strict=True):
        assert {**theirs, **own} == dict(theirs)
    wrapped.set_hyper("mom", 0.95)
    assert [g["momentum"] for g in wrapped.opt.param_groups] == [0.95, 0.95]
    wrapped.set_hyper("lr", [1e-4, 1e-3])
    assert [g["lr"] for g in wrapped.opt.param_groups] == [1e-4, 1e-3]
    wrapped.set_hypers(lr=slice(1e-2), wd=0.5)
    assert [h["lr"] for h in wrapped.hypers] == pytest.approx([1e-3, 1e-2])
    assert wrapped.opt.param_groups[0]["weight_decay"] == 0.5


def test_a_wrapped_adam_has_momenta_in_its_betas():
    wrapped = Adam(lists(), lr=1e-3, betas=(0.9, 0.99), eps=1e-5)
    assert [(h["mom"], h["sqr_mom"]) for h in wrapped.hypers] == [(0.9, 0.99)] * 2
    wrapped.set_hyper("mom", 0.8)
    wrapped.hypers[1]["sqr_mom"] = 0.999
    assert [g["betas"] for g in wrapped.opt.param_groups] == [(0.8, 0.99), (0.8, 0.999)]


def test_alpha_is_the_squares_momentum():
    wrapped = OptimWrapper(lists(), torch.optim.RMSprop, lr=0.1, alpha=0.9)
    wrapped.set_hyper("sqr_mom", 0.5)
    assert wrapped.opt.param_groups[0]["alpha"] == 0.5


def test_param_lists_are_those_of_the_groups_and_can_be_set():
    wrapped = SGD(lists(), lr=0.1)
    new = [[one(4)], [one(5)]]
    wrapped.param_lists = new
    assert [g["params"] for g in wrapped.opt.param_groups] == new
    with pytest.raises(ValueError, match="got 1 lists of parameters for 2 groups"):
        wrapped.param_lists = new[:1]


def test_groups_may_be_dicts_and_a_name_map_may_be_given():
    a, b = one(1), one(2)
    wrapped = OptimWrapper(
        [{"params": [a], "lr": 0.5}, {"params": [b]}],
        torch.optim.SGD,
        hp_map={"lr": "rate"},
        convert_groups=False,
        lr=0.1,
    )
    assert [h["rate"] for h in wrapped.hypers] == [0.5, 0.1]
    assert "momentum" in wrapped.hypers[0]


def test_a_built_optimizer_is_wrapped_as_it_is():
    inner = torch.optim.SGD(lists()[0], lr=0.1, momentum=0.9)
    wrapped = OptimWrapper(opt=inner)
    assert wrapped.opt is inner
    assert wrapped.hypers[0]["mom"] == 0.9
    wrapped.step()
    assert wrapped.param_lists[0][0].item() == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: OptimWrapper(), ValueError, "wants opt, a class or a built optimizer"),
        (lambda: OptimWrapper([one(1)]), ValueError, "wants opt"),
        (lambda: OptimWrapper(opt=torch.optim.SGD), ValueError, "wants params for opt"),
        (
            lambda: OptimWrapper([one(1)], torch.optim.SGD([one(1)], lr=0.1)),
            ValueError,
            "a built SGD takes no params",
        ),
        (
            lambda: OptimWrapper(opt=torch.optim.SGD([one(1)], lr=0.1), lr=0.2),
            ValueError,
            "a built SGD takes no lr",
        ),
        (lambda: OptimWrapper([one(1)], 3), TypeError, "opt must be a class"),
        (lambda: SGD([one(1)], lr=0.1).set_hyper("mim", 1), KeyError, "has no 'mim'; it has lr"),
        (lambda: SGD([one(1)], lr=0.1).set_hyper("lr", -1.0), ValueError, "lr must be >= 0"),
        (lambda: SGD(lists(), lr=0.1).set_hyper("lr", [1.0] * 3), ValueError, "3 values for 2"),
    ],
)
def test_what_is_wrong_is_said(make, kind, says):
    with pytest.raises(kind, match=says):
        make()


def trained(make, steps=4):
    torch.manual_seed(0)
    model = nn.Linear(4, 5)
    optimizer, x, y = make(model.parameters()), torch.randn(64, 4), torch.randn(64, 5)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize(
    ("decouple", "theirs"), [(True, torch.optim.AdamW), (False, torch.optim.Adam)]
)
def test_native_and_wrapped_adam_train_alike(decouple, theirs):
    hypers = dict(lr=1e-2, eps=1e-5)
    native = trained(partial(fastai.Adam, wd=1e-2, decouple_wd=decouple, **hypers))
    options = dict(weight_decay=1e-2, betas=(0.9, 0.99), **hypers)
    wrapped = trained(partial(OptimWrapper, opt=theirs, **options))
    for a, b in zip(native, wrapped, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_freezing_and_flags_are_the_wrappers():
    wrapped = Adam(lists(), lr=0.1)
    a, b = wrapped.param_lists[0]
    wrapped.state[a]["force_train"] = True
    wrapped.freeze()
    assert [a.requires_grad, b.requires_grad, wrapped.frozen_idx] == [True, False, 1]
    wrapped.unfreeze()
    assert b.requires_grad
    wrapped.step()
    assert "exp_avg" in wrapped.opt.state[a]
    wrapped.clear_state()
    assert dict(wrapped.opt.state) == {}
    assert dict(wrapped.state) == {a: {"force_train": True}}


@pytest.mark.parametrize("theirs", [torch.optim.AdamW, torch.optim.SGD])
def test_a_flag_against_decay_is_honoured(theirs):
    params, plain = lists(), lists()
    wrapped = OptimWrapper(params, theirs, lr=0.1, weight_decay=0.5)
    wrapped.state[params[0][0]]["do_wd"] = False
    groups, inner = list(wrapped.param_groups), wrapped.opt
    reference = theirs([{"params": ps} for ps in plain], lr=0.1, weight_decay=0.5)
    undecayed = theirs([one(1, 0.1)], lr=0.1, weight_decay=0.0)
    for _ in range(2):
        wrapped.step()
        reference.step()
        undecayed.step()
    assert params[0][0].item() == undecayed.param_groups[0]["params"][0].item()
    assert [params[0][1].item(), params[1][0].item()] == [plain[0][1].item(), plain[1][0].item()]
    assert all(a is b for a, b in zip(wrapped.param_groups, groups, strict=True))
    assert [len(g["params"]) for g in inner.param_groups] == [2, 1]


def test_groups_are_put_back_when_a_step_fails():
    wrapped = SGD(lists(), lr=0.1, weight_decay=0.5)
    wrapped.state[wrapped.param_lists[0][0]]["do_wd"] = False

    def closure():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wrapped.step(closure)
    assert [len(g["params"]) for g in wrapped.param_groups] == [2, 1]


def test_state_dicts_are_torchs_own_and_hooks_run():
    params, seen = lists(), []
    wrapped = SGD(params, lr=0.1, momentum=0.9)
    wrapped.register_state_dict_pre_hook(lambda o: seen.append(o))
    wrapped.register_step_post_hook(lambda o, *_: seen.append(o))
    wrapped.step()
    saved = wrapped.state_dict()
    assert seen == [wrapped, wrapped.opt]
    other = torch.optim.SGD([{"params": ps} for ps in lists()], lr=0.5)
    other.load_state_dict(saved)
    assert other.param_groups[0]["lr"] == 0.1
    wrapped.load_state_dict(saved)


def test_a_copied_wrapper_has_groups_and_flags_of_its_own():
    wrapped = SGD(lists(), lr=0.1, momentum=0.9)
    wrapped.state[wrapped.param_lists[0][0]]["do_wd"] = False
    other = copy.deepcopy(wrapped)
    (q, _), _ = other.param_lists
    assert other.state == {q: {"do_wd": False}}
    other.set_hyper("lr", 0.5)
    assert wrapped.hypers[0]["lr"] == 0.1
    other.step()


# --- torch's tools ------------------------------------------------------------------------------

KINDS = {
    "SGD": partial(fastai.SGD, mom=0.9),
    "Adam": fastai.Adam,
    "ranger": fastai.ranger,
    "wrapped": partial(SGD, momentum=0.9),
}


@pytest.mark.parametrize("name", KINDS)
def test_one_cycle_drives_rate_and_momentum(name):
    optimizer = KINDS[name]([one(1, 0.1)], lr=0.1)
    scheduler = OneCycleLR(optimizer, 1.0, total_steps=10)
    found = []
    for _ in range(9):
        found.append((optimizer.hypers[0]["lr"], optimizer.hypers[0]["mom"]))
        optimizer.step()
        scheduler.step()
    assert found[0] == pytest.approx((0.04, 0.95))
    assert found[2] == pytest.approx((1.0, 0.85))
    assert found[8][1] > 0.94


@pytest.mark.parametrize("name", KINDS)
def test_other_schedulers_drive_the_rate(name):
    optimizer = KINDS[name]([[one(1, 0.1)], [one(2, 0.2)]], lr=1.0)
    cosine = CosineAnnealingLR(optimizer, 4)
    for _ in range(2):
        optimizer.step()
        cosine.step()
    assert [h["lr"] for h in optimizer.hypers] == pytest.approx([0.5, 0.5])
    optimizer = KINDS[name]([one(1, 0.1)], lr=1.0)
    LambdaLR(optimizer, lambda t: 0.25)
    assert optimizer.hypers[0]["lr"] == 0.25
    CyclicLR(KINDS[name]([one(1, 0.1)], lr=1.0), 0.1, 1.0)


def test_schedulers_notes_are_no_hypers_and_reach_no_callback():
    seen = []
    optimizer = fastai.Optimizer([one(1, 0.1)], lambda p, **kwargs: seen.append(kwargs), lr=0.1)
    OneCycleLR(optimizer, 1.0, total_steps=10, cycle_momentum=False)
    optimizer.step()
    assert list(seen[0]) == ["lr"]


def test_schedules_of_ours_drive_hypers_by_their_short_names():
    optimizer = fastai.Adam([[one(1, 0.1)], [one(2, 0.2)]], lr=0.1)
    plan = {"lr": schedules.lin(0.0, 1.0), "mom": schedules.lin(0.8, 0.9), "wd": lambda _: 0.5}
    schedules.Scheduler(optimizer, plan, total_steps=2).step()
    assert [dict(h) for h in optimizer.hypers] == [
        dict(lr=0.5, mom=pytest.approx(0.85), wd=0.5, sqr_mom=0.99, eps=1e-5)
    ] * 2
