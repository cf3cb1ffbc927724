"""Static options, the gate that SGD's momentum is, and freezing."""

import pytest
import torch
from states import advance, copies, feed, identical, parameters, params_of, snapshot
from torch import nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

import steppers
from steppers import groups, rules

GATED = {"sgd": steppers.SGD, "rmsprop": steppers.RMSprop}
gated = pytest.mark.parametrize("cls", GATED.values(), ids=GATED)


def slot_names(optimizer):
    return {name for p in params_of(optimizer) for name in optimizer.state.get(p, {})} - {"step"}


# --- options -----------------------------------------------------------------------------------


class Switched(steppers.Optimizer):
    """A switch with the name of LAMB's cap, which is a number above 0."""

    def steps(trust_clip=False):
        """Clip or not."""
        return (rules.maximise, rules.descend) if trust_clip else (rules.descend,)

    defaults = dict(lr=0.5, trust_clip=False)


@pytest.mark.parametrize(("switch", "moved"), [(False, 0.5), (True, 1.5)])
def test_a_switch_may_have_the_name_of_a_hyper_with_a_range(switch, moved):
    p = nn.Parameter(torch.ones(2))
    optimizer = Switched([p], trust_clip=switch)
    p.grad = torch.ones(2)
    optimizer.step()
    assert p.tolist() == [moved, moved]
    with pytest.raises(TypeError, match=r"trust_clip must be True or False, got 2\.0"):
        Switched([p], trust_clip=2.0)


# fmt: off
OPTIONS = (  # class, options, the slots that they make
    (steppers.AdamW, dict(), {"exp_avg", "exp_avg_sq"}),
    (steppers.AdamW, dict(amsgrad=True), {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}),
    (steppers.RMSprop, dict(), {"square_avg"}),
    (steppers.RMSprop, dict(centered=True), {"square_avg", "grad_avg"}),
    (steppers.RMSprop, dict(momentum=0.9), {"square_avg", "momentum_buffer"}),
    (steppers.SGD, dict(), set()),
    (steppers.SGD, dict(maximize=True), set()),
    (steppers.SGD, dict(momentum=0.9), {"momentum_buffer"}),
    (steppers.SGD, dict(momentum=0.9, nesterov=True), {"momentum_buffer"}),
)
# fmt: on


@pytest.mark.parametrize(("cls", "options", "held"), OPTIONS)
def test_an_option_decides_which_slots_exist(cls, options, held):
    assert slot_names(advance(cls(parameters(), **options), 1)) == held


def test_each_group_has_its_own_options():
    first, *others = parameters()
    optimizer = steppers.AdamW([{"params": first, "amsgrad": True}, {"params": others}])
    advance(optimizer, 1)
    assert "max_exp_avg_sq" in optimizer.state[first]
    assert "max_exp_avg_sq" not in optimizer.state[others[0]]


def test_options_that_do_not_go_together_are_told():
    wanted = "SGD: nesterov=True needs momentum > 0 and dampening = 0"
    with pytest.raises(ValueError, match=wanted):
        steppers.SGD(parameters(), nesterov=True)
    with pytest.raises(ValueError, match=wanted):
        steppers.SGD([{"params": parameters(), "momentum": 0.9, "dampening": 0.1}], nesterov=True)


@pytest.mark.parametrize("value", ["yes", 2, None, [True]], ids=str)
@pytest.mark.parametrize("option", ["amsgrad", "maximize"])
def test_a_switch_is_true_or_false(option, value):
    with pytest.raises(TypeError, match=f"AdamW: {option} must be True or False"):
        steppers.AdamW(parameters(), **{option: value})


def test_a_period_is_a_hyper_and_so_can_change_at_any_time():
    steps = [rules.descend, rules.lookahead]
    optimizer = advance(steppers.Optimizer(parameters(), steps=steps, lr=0.1, k=2), 3)
    optimizer.set_hyper("k", 3)
    advance(optimizer, 1, first=3)
    assert optimizer.param_groups[0]["k"] == 3


# --- the gate ----------------------------------------------------------------------------------


def test_no_momentum_no_buffer():
    assert slot_names(advance(steppers.SGD(parameters(), lr=0.1), 2)) == set()


@gated
def test_momentum_raised_before_the_first_step_opens_the_gate(cls):
    optimizer = cls(parameters(), lr=0.1)
    optimizer.param_groups[0]["momentum"] = 0.9
    other = cls(parameters(), lr=0.1, momentum=0.9)
    assert identical(
        snapshot(advance(optimizer, 3))["params"], snapshot(advance(other, 3))["params"]
    )


@gated
def test_momentum_set_before_the_first_step_opens_the_gate(cls):
    optimizer = cls(parameters(), lr=0.1)
    optimizer.set_hyper("momentum", 0.9)
    assert "momentum_buffer" in slot_names(advance(optimizer, 1))


@gated
def test_momentum_raised_after_the_first_step_says_what_to_do(cls):
    optimizer = advance(cls(parameters(), lr=0.1), 1)
    optimizer.param_groups[0]["momentum"] = 0.9
    before = snapshot(optimizer)
    feed(params_of(optimizer), 1)
    text = rf"{cls.__name__}: momentum was 0 .* no momentum_buffer; make .* with momentum > 0"
    with pytest.raises(ValueError, match=text):
        optimizer.step()
    assert identical(snapshot(optimizer), before)


@gated
def test_momentum_set_after_the_first_step_says_what_to_do(cls):
    optimizer = advance(cls(parameters(), lr=0.1), 1)
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match=rf"{cls.__name__}: momentum was 0"):
        optimizer.set_hyper("momentum", 0.9)
    assert identical(snapshot(optimizer), before)


def test_momentum_at_zero_is_still_a_hyper():
    optimizer = steppers.SGD(parameters(), lr=0.1)
    assert optimizer.hypers[0]["momentum"] == 0.0
    assert "momentum" in set(optimizer.hypers[0])


@gated
def test_momentum_lowered_to_zero_keeps_the_buffer(cls):
    optimizer = advance(cls(parameters(), lr=0.1, momentum=0.9), 2)
    optimizer.set_hyper("momentum", 0.0)
    advance(optimizer, 1, first=2)
    assert "momentum_buffer" in slot_names(optimizer)
    optimizer.set_hyper("momentum", 0.9)
    advance(optimizer, 1, first=3)


def test_momentum_at_zero_is_plain_descent_whether_a_buffer_exists_or_not():
    lowered = advance(steppers.SGD(parameters(), lr=0.1, momentum=0.9), 1)
    plain = steppers.SGD(copies(params_of(lowered)), lr=0.1)
    lowered.set_hyper("momentum", 0.0)
    advance(lowered, 2, first=1)
    advance(plain, 2, first=1)
    torch.testing.assert_close(params_of(lowered), params_of(plain))


def test_a_lowered_momentum_still_shows_its_bytes():
    optimizer = advance(steppers.SGD(parameters(), lr=0.1, momentum=0.9), 1)
    optimizer.set_hyper("momentum", 0.0)
    assert optimizer.explain().groups[0].state_bytes_per_parameter == 4


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_one_cycle_opens_the_gate(engine):
    ours = steppers.SGD(parameters(), lr=0.1, engine=engine)
    theirs = torch.optim.SGD(parameters(), lr=0.1, momentum=0.9)
    schedulers = [OneCycleLR(o, max_lr=0.1, total_steps=6) for o in (ours, theirs)]
    for step in range(5):
        for optimizer, scheduler in zip((ours, theirs), schedulers, strict=True):
            advance(optimizer, 1, first=step)
            scheduler.step()
    assert ours.param_groups[0]["momentum"] == theirs.param_groups[0]["momentum"]
    torch.testing.assert_close(params_of(ours), params_of(theirs))


def test_cyclic_momentum_down_to_zero_and_up_again():
    """A triangle from 0.9 to 0 in 2 steps and back: torch's steps, buffer and all."""
    ours = steppers.SGD(parameters(), lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD(parameters(), lr=0.1, momentum=0.9)
    cycle = dict(base_lr=0.1, max_lr=0.2, step_size_up=2, base_momentum=0.1, max_momentum=0.9)
    schedulers = [CyclicLR(o, **cycle) for o in (ours, theirs)]
    for step in range(6):
        for optimizer, scheduler in zip((ours, theirs), schedulers, strict=True):
            advance(optimizer, 1, first=step)
            scheduler.step()
    torch.testing.assert_close(params_of(ours), params_of(theirs))


def test_a_second_group_may_have_no_buffer():
    first, *others = parameters()
    optimizer = steppers.SGD([{"params": first, "momentum": 0.9}, {"params": others}], lr=0.1)
    advance(optimizer, 2)
    assert "momentum_buffer" in optimizer.state[first]
    assert "momentum_buffer" not in optimizer.state[others[0]]


# --- freezing ----------------------------------------------------------------------------------


def model():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Linear(3, 1))


def by_layer(net):
    return [{"params": list(layer.parameters())} for layer in net]


def trains(optimizer):
    return [[p.requires_grad for p in group["params"]] for group in optimizer.param_groups]


# fmt: off
FREEZE = (  # n, which of four groups then train
    (0, [True, True, True, True]), (1, [False, True, True, True]),
    (3, [False, False, False, True]), (-1, [False, False, False, True]),
    (-4, [True, True, True, True]),
)
# fmt: on


@pytest.mark.parametrize(("n", "trained"), FREEZE)
def test_freeze_to_trains_the_groups_from_n_on(n, trained):
    optimizer = steppers.AdamW(by_layer(model()))
    optimizer.freeze_to(n)
    assert trains(optimizer) == [[t, t] for t in trained]


def test_freeze_trains_the_last_group_only():
    optimizer = steppers.AdamW(by_layer(model()))
    optimizer.freeze()
    assert trains(optimizer) == [[False] * 2] * 3 + [[True] * 2]


def test_unfreeze_trains_all():
    optimizer = steppers.AdamW(by_layer(model()))
    optimizer.freeze()
    optimizer.unfreeze()
    assert trains(optimizer) == [[True] * 2] * 4


def test_what_is_kept_stays_trained():
    net = model()
    optimizer = steppers.AdamW(by_layer(net))
    optimizer.freeze(keep=groups.norms(net))
    assert trains(optimizer) == [[False] * 2, [True] * 2, [False] * 2, [True] * 2]


def test_keep_may_be_a_generator():
    net = model()
    optimizer = steppers.AdamW(by_layer(net))
    optimizer.freeze_to(2, keep=net[0].parameters())
    assert trains(optimizer) == [[True] * 2, [False] * 2, [True] * 2, [True] * 2]


def test_one_parameter_to_keep_is_meant_as_one():
    net = model()
    optimizer = steppers.AdamW(by_layer(net))
    optimizer.freeze_to(2, keep=[net[0].weight])
    assert trains(optimizer)[0] == [True, False]


def test_frozen_parameters_lose_their_gradients_and_do_not_move():
    optimizer = steppers.AdamW(by_layer(model()))
    frozen = params_of(optimizer)[:2]
    feed(params_of(optimizer), 0)
    before = [p.detach().clone() for p in frozen]
    optimizer.freeze_to(1)
    optimizer.step()
    assert [p.grad for p in frozen] == [None, None]
    assert all(map(torch.equal, frozen, before))


def test_unfrozen_parameters_train_on_with_their_own_count():
    optimizer = steppers.AdamW(by_layer(model()))
    optimizer.freeze_to(1)
    advance(optimizer, 2, params=params_of(optimizer)[2:])
    optimizer.unfreeze()
    advance(optimizer, 1)
    counts = [float(optimizer.state[p]["step"]) for p in params_of(optimizer)]
    assert counts == [1.0] * 2 + [3.0] * 6


@pytest.mark.parametrize("n", [5, -5])
def test_freezing_further_than_the_groups_reach_is_an_error(n):
    optimizer = steppers.AdamW(by_layer(model()))
    with pytest.raises(ValueError, match=f"freeze_to: got {n}, but there are 4 groups"):
        optimizer.freeze_to(n)
    assert all(all(group) for group in trains(optimizer))


@pytest.mark.parametrize("n", [1.0, "1", None], ids=repr)
def test_freezing_to_what_is_no_count_is_an_error(n):
    optimizer = steppers.AdamW(by_layer(model()))
    with pytest.raises(TypeError, match="freeze_to"):
        optimizer.freeze_to(n)


def test_freezing_everything_warns():
    with pytest.warns(UserWarning, match="every group is frozen, nothing will train"):
        steppers.AdamW(by_layer(model())).freeze_to(4)


def test_freezing_the_only_group_is_an_error():
    optimizer = steppers.AdamW(model().parameters())
    with pytest.raises(ValueError, match="there is only 1 group"):
        optimizer.freeze()
    assert all(all(group) for group in trains(optimizer))


def test_a_tensor_to_keep_that_is_not_in_a_list_is_an_error():
    """Walking over a tensor gives its rows, so it would keep nothing and say nothing."""
    net = model()
    with pytest.raises(TypeError, match="keep"):
        steppers.AdamW(by_layer(net)).freeze_to(2, keep=net[0].weight)
