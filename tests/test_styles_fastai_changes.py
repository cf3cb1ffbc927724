"""fastai's optimizers with groups that change, freezing, checkpoints and wrappers."""

import copy
import pickle
from functools import partial

import pytest
import torch
from small_params import RATE, close, four, numbers, one, vector
from torch import nn

import steppers
from steppers.styles import fastai
from steppers.styles.fastai import (
    Lookahead,
    Optimizer,
    OptimWrapper,
    draft,
    l2_reg,
    mark,
    set_item_pg,
    sgd_step,
    weight_decay,
)

# --- groups that change ---------------------------------------------------------------------------


def test_assigned_groups_bring_their_parameters_and_are_given_what_they_lack():
    a, b, c = one(1, 0.1), one(2, 0.1), one(3, 0.1)
    optimizer = fastai.Adam([[a], [b]], lr=0.1, mom=[0.8, 0.9])
    optimizer.param_groups = [{"params": c, "lr": 0.5}, {"wd": 0.0}]
    assert optimizer.param_lists == [[c], [b]]
    assert [(h["lr"], h["mom"], h["wd"]) for h in optimizer.hypers] == [
        (0.5, 0.8, 0.01), (0.1, 0.9, 0.0)
    ]  # fmt: skip
    optimizer.step()
    assert numbers([a, b, c]) == close(1, 1.9, 3 * (1 - 0.005) - 0.5, tol=1e-4)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10)
    assert optimizer.hypers[0]["mom"] == pytest.approx(0.95)


def test_hypers_of_a_fastai_view_are_copied_back():
    optimizer = fastai.SGD([[one(1)], [one(2)]], lr=RATE)
    view = [
        {"params": ps, **h} for ps, h in zip(optimizer.param_lists, optimizer.hypers, strict=True)
    ]
    view[1]["lr"] = 0.5
    assert [h["lr"] for h in optimizer.hypers] == [RATE, RATE]
    optimizer.param_groups = view
    assert [h["lr"] for h in optimizer.hypers] == [RATE, 0.5]


@pytest.mark.parametrize(
    ("groups", "kind", "says"),
    [
        ([{"lr": -1.0}], ValueError, "lr must be >= 0"),
        ([{"momentun": 0.9}], TypeError, "a group has 'momentun'; did you mean 'momentum'"),
        ([{"lr": 0.5}, {"lr": 0.5}], ValueError, "a new parameter group lacks 'params'"),
        ([3], TypeError, "a parameter group is a dict, got 3"),
    ],
)
def test_assigned_groups_that_are_wrong_change_nothing(groups, kind, says):
    optimizer = fastai.SGD([one(1)], lr=RATE)
    before = optimizer.param_groups
    with pytest.raises(kind, match=says):
        optimizer.param_groups = groups
    assert optimizer.param_groups is before
    assert optimizer.hypers[0]["lr"] == RATE


def test_state_goes_with_parameters_that_are_replaced():
    a, b, c = one(1, 0.1), one(2, 0.1), one(3, 0.1)
    optimizer = fastai.SGD([[a], [b]], lr=RATE, mom=0.9)
    optimizer.step()
    optimizer.param_lists = [[b], [c]]
    assert list(optimizer.state) == [b]
    assert list(optimizer.state_dict()["state"]) == [0]
    optimizer.step()
    assert numbers([a, b, c]) == close(0.99, 2 - 0.01 - 0.019, 2.99)


@pytest.mark.parametrize("inner", [fastai.SGD, torch.optim.SGD])
def test_lookaheads_parameters_are_replaced_in_the_inner_optimizer(inner):
    p, q, r = one(1, 0.1), one(2, 0.1), one(4, 0.1)
    optimizer = Lookahead(inner([p], lr=1.0), k=2)
    optimizer.step()
    optimizer.param_lists = [[q, r]]
    assert optimizer.opt.param_groups[0]["params"] == [q, r]
    assert "param_lists" not in vars(optimizer)
    optimizer.step()
    assert numbers([p, q, r]) == close(0.9, 1.95, 3.95)
    assert numbers(optimizer.slow_weights[0]) == close(1.95, 3.95)


def test_lookahead_takes_parameters_that_are_appended_to_a_group():
    p, q = one(1, 0.1), one(2, 0.1)
    optimizer = Lookahead(fastai.SGD([p], lr=1.0), k=2)
    optimizer.step()
    optimizer.param_groups[0]["params"].append(q)
    optimizer.step()
    assert numbers([p, q]) == close(0.9, 1.95)


def test_a_group_that_is_added_late_is_frozen_and_set_with_the_others():
    a, b = one(1, 0.1), one(2, 0.1)
    for optimizer in (fastai.Adam([a], lr=RATE), OptimWrapper([a], torch.optim.Adam, lr=RATE)):
        optimizer.add_param_group({"params": [b]})
        optimizer.set_hyper("lr", [0.2, 0.3])
        optimizer.freeze()
        assert (a.requires_grad, b.requires_grad, optimizer.frozen_idx) == (False, True, 1)
        optimizer.unfreeze()
        with pytest.raises(TypeError, match="must be a dict"):
            optimizer.add_param_group([one(3)])


# --- freezing and flags ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [fastai.SGD, partial(OptimWrapper, opt=torch.optim.SGD)])
@pytest.mark.parametrize(
    ("n", "kind"), [(3, ValueError), (-3, ValueError), (0.5, TypeError), ("1", TypeError)]
)
def test_freezing_to_no_place_changes_nothing(make, n, kind):
    optimizer = make([[one(1)], [one(2)]], lr=RATE)
    with pytest.raises(kind, match="freeze_to"):
        optimizer.freeze_to(n)
    assert all(p.requires_grad for params in optimizer.param_lists for p in params)
    assert optimizer.frozen_idx == 0


def test_negative_places_count_from_the_end_and_one_group_is_set_alone():
    params = four()
    optimizer = fastai.SGD([[p] for p in params], lr=RATE)
    optimizer.freeze_to(-3)
    assert optimizer.frozen_idx == 1
    assert [p.requires_grad for p in params] == [False, True, True, True]
    optimizer.state[params[2]]["force_train"] = True
    optimizer.set_freeze(2, False)
    optimizer.set_freeze(0, True)
    assert [p.requires_grad for p in params] == [True, True, True, True]
    optimizer.set_freeze(2, False, ignore_force_train=True)
    assert [p.requires_grad for p in params] == [True, True, False, True]


def test_marks_are_of_fastais_norms_and_of_parameters_called_bias():
    model = nn.ModuleList([
        nn.Linear(2, 2), nn.BatchNorm1d(2), nn.LayerNorm(2), nn.InstanceNorm1d(2, affine=True),
        nn.GroupNorm(1, 2), nn.MultiheadAttention(2, 1), nn.LSTM(2, 2),
    ])  # fmt: skip
    optimizer = fastai.SGD(model.parameters(), lr=RATE)
    mark(optimizer, model)
    named = dict(model.named_parameters())
    free = [n for n, p in named.items() if optimizer.state[p].get("do_wd", True) is False]
    forced = [n for n, p in named.items() if optimizer.state[p].get("force_train")]
    norms = [f"{i}.{each}" for i in (1, 2, 3) for each in ("weight", "bias")]
    assert free == ["0.bias", *norms, "4.bias", "5.out_proj.bias"]
    assert forced == norms
    mark(optimizer, model, norm_types=(nn.GroupNorm,))
    assert optimizer.state[named["4.weight"]] == {"do_wd": False, "force_train": True}


def test_marks_obey_their_options_and_want_an_optimizer_that_reads_them():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    for options, flags in (
        (dict(wd_bn_bias=True), {"force_train": True}),
        (dict(train_bn=False), {"do_wd": False}),
        (dict(wd_bn_bias=True, train_bn=False), {}),
    ):
        optimizer = fastai.SGD(model.parameters(), lr=RATE)
        mark(optimizer, model, **options)
        assert dict(optimizer.state[model[1].weight]) == flags
    plain = torch.optim.SGD(model.parameters(), lr=RATE)
    for optimizer in (plain, Lookahead(plain)):
        with pytest.raises(TypeError, match="does not read flags; wrap it: OptimWrapper"):
            mark(optimizer, model)
    assert not plain.state
    mark(OptimWrapper(opt=plain), model)


# --- checkpoints and copies -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "kind", "says"),
    [
        ([1], TypeError, "a state dict must be a dict, got list"),
        ({}, ValueError, "one that holds nothing"),
        ({"hypers": [{"lr": 0.5}]}, ValueError, "got None as 'state'"),
        ({"hypers": [1], "state": [{}]}, ValueError, r"got \[1\] as 'hypers'"),
        ({"hypers": [{"lr": 0.5}], "state": [None]}, ValueError, r"got \[None\] as 'state'"),
        ({"hypers": [{"lr": 0.5}], "state": []}, ValueError, "has 0 parameters in 1 groups"),
    ],
)
def test_a_checkpoint_in_no_format_changes_nothing(saved, kind, says):
    p = one(1, 0.1)
    optimizer = fastai.SGD([p], lr=RATE, mom=0.9)
    optimizer.step()
    with pytest.raises(kind, match=says):
        optimizer.load_state_dict(saved)
    assert optimizer.hypers[0]["lr"] == RATE
    assert optimizer.state[p]["grad_avg"].item() == 0.1


def test_a_checkpoint_of_fastai_is_loaded_before_the_first_step_and_copied():
    saved = {
        "state": [{"grad_avg": torch.tensor([0.5], dtype=torch.float64)}, {"do_wd": False}],
        "hypers": [{"lr": 0.2, "mom": 0.5, "wd": 0.1}],
    }
    a, b = one(1, 0.1), one(1, 0.1)
    optimizer = fastai.SGD([a, b], lr=RATE, mom=0.9)
    optimizer.load_state_dict(saved)
    optimizer.step()
    first = (1 - 0.02) - 0.2 * (0.5 * 0.5 + 0.1)
    assert numbers([a, b]) == close(first, 1 - 0.2 * 0.1, tol=1e-12)
    assert saved["state"][0]["grad_avg"].item() == 0.5


@pytest.mark.parametrize("form", ["state_dict", "fastai_state_dict"])
def test_lookahead_goes_on_alike_from_either_format(form):
    p, q = vector(), vector()
    optimizer, other = fastai.ranger([p], lr=RATE, k=3), fastai.ranger([q], lr=1.0, k=3)
    for _ in range(4):
        optimizer.step()
    saved = getattr(optimizer, form)()
    assert {"count", "slow_weights"} < set(saved)
    with torch.no_grad():
        q.copy_(p)
    other.load_state_dict(copy.deepcopy(saved))
    for each in (optimizer, other):
        for _ in range(4):
            each.step()
    assert torch.equal(p, q)


def test_state_is_given_by_place_so_that_another_order_of_groups_gets_anothers():
    a, b = one(1, 0.1), one(2, 0.2)
    optimizer = fastai.SGD([a, b], lr=RATE, mom=0.9)
    optimizer.step()
    other = fastai.SGD([b, a], lr=RATE, mom=0.9)
    other.load_state_dict(optimizer.state_dict())
    assert [other.state[p]["grad_avg"].item() for p in (b, a)] == [0.1, 0.2]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_of_wrappers_and_drafts_go_on_alike(copied):
    def drafted(params):
        stats = [partial(draft.average_grad, dampening=True), draft.average_sqr_grad]
        steppers = [weight_decay, draft.adam_step]
        return draft.Optimizer(params, steppers, [*stats, draft.step_stat], lr=RATE, wd=0.1)

    def marked(params):
        wrapped = OptimWrapper(params, torch.optim.AdamW, lr=RATE, weight_decay=0.5)
        wrapped.state[params[0]]["do_wd"] = False
        return wrapped

    for make in (drafted, marked, lambda ps: Lookahead(marked(ps), k=2)):
        p = vector()
        optimizer = make([p])
        for _ in range(3):
            optimizer.step()
        other = copied(optimizer)
        (q,) = other.param_lists[0]
        for _ in range(3):
            q.grad = p.grad
            optimizer.step()
            other.step()
        assert q is not p
        assert torch.equal(p, q)


def test_the_later_drafts_adam_is_the_final_one():
    p, q = vector(), vector()
    stats = [partial(draft.average_grad, dampening=True), draft.average_sqr_grad, draft.step_stat]
    hypers = dict(lr=RATE, wd=0.1)
    pair = [
        draft.Optimizer([p], [draft.weight_decay, draft.adam_step], stats, **hypers),
        fastai.Adam([q], **hypers),
    ]
    for grads in torch.randn(6, 3, dtype=torch.float64):
        p.grad, q.grad = grads.clone(), grads.clone()
        for optimizer in pair:
            optimizer.step()
    assert torch.equal(p, q)


def test_factories_of_the_draft_take_true_wd_by_place_and_are_pickled():
    for value, first in ((True, weight_decay), (False, l2_reg)):
        assert draft.SGD([one(1)], RATE, 0.0, 0.1, value).cbs[0] is first
        assert draft.SGD([one(1)], RATE, true_wd=value).cbs[0] is first
    assert pickle.loads(pickle.dumps(partial(draft.Adam, mom=0.8))).keywords == {"mom": 0.8}


# --- wrappers -------------------------------------------------------------------------------------


def test_a_part_of_a_tuple_that_is_not_there_is_an_error():
    with pytest.raises(IndexError):
        set_item_pg({"betas": (0.9, 0.99)}, "betas__2", 0.5)
    assert set_item_pg({"own__name": 1}, "own__name", 2) == {"own__name": 2}


def test_of_two_names_that_would_be_one_the_second_stays():
    p = one(1, 0.1)
    inner = torch.optim.SGD([{"params": [p], "betas": (0.7, 0.8)}], lr=RATE, momentum=0.9)
    wrapped = OptimWrapper(opt=inner)
    assert [wrapped.hypers[0][n] for n in ("mom", "betas__0", "sqr_mom")] == [0.9, 0.7, 0.8]
    wrapped.set_hyper("betas__0", 0.5)
    assert inner.param_groups[0]["betas"] == (0.5, 0.8)
    with pytest.raises(TypeError, match=r"hp_map must be a dict of names, got \['lr'\]"):
        OptimWrapper([p], torch.optim.SGD, hp_map=["lr"], lr=RATE)


def test_chains_of_steppers_are_wrapped_with_their_hypers():
    p, q = vector(), vector()
    wrapped = OptimWrapper([p], steppers.AdamW, lr=RATE, weight_decay=0.1)
    wrapped.set_hypers(mom=0.8, sqr_mom=0.99)
    wrapped.state[p]["do_wd"] = False
    theirs = torch.optim.AdamW([q], lr=RATE, betas=(0.8, 0.99), weight_decay=0.0)
    for optimizer in (wrapped, theirs):
        for _ in range(4):
            optimizer.step()
    assert torch.allclose(p, q, rtol=1e-12)


def test_a_wrapper_around_lookahead_drives_what_is_inside():
    p = one(1, 0.1)
    inner = torch.optim.SGD([p], lr=RATE, momentum=0.9)
    wrapped = OptimWrapper(opt=Lookahead(inner, k=2))
    wrapped.set_hypers(lr=1.0, mom=0.0)
    wrapped.step()
    wrapped.step()
    assert p.item() == pytest.approx(0.9)
    wrapped.clear_state()
    assert (wrapped.opt.count, dict(inner.state)) == (0, {})


def test_flags_of_a_wrapper_reach_through_lookahead():
    a, b, c, d = (vector() for _ in range(4))
    wrapped = OptimWrapper(opt=Lookahead(torch.optim.AdamW([a, b], lr=RATE, weight_decay=0.5), k=2))
    wrapped.state[a]["do_wd"] = False
    plain = [
        Lookahead(torch.optim.AdamW([p], lr=RATE, weight_decay=wd), k=2)
        for p, wd in ((c, 0.0), (d, 0.5))
    ]
    for optimizer in (wrapped, *plain):
        for _ in range(5):
            optimizer.step()
    assert torch.equal(a, c)
    assert torch.equal(b, d)


def test_an_interrupted_step_of_lookahead_counts_nothing():
    p = one(1, 0.1)

    def interrupted(p, **kwargs):
        raise KeyboardInterrupt

    optimizer = Lookahead(Optimizer([p], [interrupted, sgd_step], lr=RATE), k=1)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert (optimizer.count, p.item()) == (0, 1.0)
