"""Static options of a user's class, values by group, and several chains in one optimizer."""

import pytest
import torch

from steppers import Lion, Optimizer, by_shape
from steppers.ops import sign, zeros
from steppers.rules import average_grad, decay, descend


def signed(u):
    return dict(u=sign(u))


def momentum_sum(g, speed=zeros, *, momentum=0.5):
    speed = momentum * speed + g
    return dict(speed=speed, u=speed)


def look_ahead(g, u, *, momentum=0.5):
    return dict(u=g + momentum * u)


class Mine(Optimizer):
    """Options that choose rules: a momentum that is there or not, its form, signs."""

    def steps(momentum=0.0, nesterov=False, form="plain"):
        """No momentum, no slot."""
        if form not in ("plain", "sign"):
            raise ValueError(f"Mine: form must be 'plain' or 'sign', got {form!r}")
        speed = (momentum_sum, look_ahead) if nesterov else (momentum_sum,)
        return (
            *(speed if momentum else ()), *((signed,) if form == "sign" else ()), decay, descend,
        )  # fmt: skip

    defaults = dict(lr=0.25, momentum=0.0, nesterov=False, weight_decay=0.0, form="plain")


def parameter(shape=(2,), grad=2.0):
    w = torch.ones(shape, requires_grad=True)
    w.grad = torch.full(shape, grad)
    return w


@pytest.fixture(params=["loop", "foreach", "fused"])
def engine(request):
    return request.param


# fmt: off
OPTIONS = [  # options, p after two steps from 1 with a gradient of 2 and lr = 1/4
    ({}, 0.0), (dict(momentum=0.5), -0.25), (dict(momentum=0.5, nesterov=True), -0.625),
    (dict(form="sign"), 0.5), (dict(maximize=True), 2.0),
    (dict(momentum=0.5, form="sign", maximize=True), 1.5),
]
# fmt: on


@pytest.mark.parametrize(("options", "end"), OPTIONS, ids=[str(row[0]) for row in OPTIONS])
def test_an_option_chooses_rules(options, end, engine):
    w = parameter()
    optimizer = Mine([w], engine=engine, **options)
    optimizer.step()
    optimizer.step()
    assert w.tolist() == [end] * 2


def test_options_are_positional_in_the_order_of_the_defaults(engine):
    w = parameter()
    optimizer = Mine([w], 0.25, 0.5, True, engine=engine)
    optimizer.step()
    optimizer.step()
    assert w.tolist() == [-0.625] * 2


def test_each_group_has_its_own_options(engine):
    ws = [parameter() for _ in OPTIONS]
    groups = [{"params": [w], **row[0]} for w, row in zip(ws, OPTIONS, strict=True)]
    optimizer = Mine(groups, engine=engine)
    optimizer.step()
    optimizer.step()
    assert [w[0].item() for w in ws] == [end for _, end in OPTIONS]


def test_options_are_plain_keys_of_the_group():
    group = Mine([parameter()], momentum=0.5, form="sign").param_groups[0]
    found = {name: group[name] for name in ("momentum", "nesterov", "form", "maximize")}
    assert found == dict(momentum=0.5, nesterov=False, form="sign", maximize=False)


def test_an_option_out_of_range_says_so_before_the_parameters_are_touched():
    with pytest.raises(ValueError, match=r"^Mine: form must be 'plain' or 'sign', got 'round'$"):
        Mine(iter(()), form="round")


def test_without_momentum_there_is_no_slot():
    w = parameter()
    optimizer = Mine([w])
    optimizer.step()
    assert set(optimizer.state[w]) == {"step"}


def test_raising_an_option_that_was_0_says_that_the_slot_is_missing():
    optimizer = Mine([parameter()])
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.5
    with pytest.raises(ValueError, match=r"^Mine: momentum was 0 when .* it has no speed; make the "
                       r"optimizer with momentum > 0"):  # fmt: skip
        optimizer.step()


def test_lowering_an_option_to_0_keeps_the_slot(engine):
    """As a schedule does: momentum 0 then means 0, and the buffer follows the gradient."""
    w = parameter()
    optimizer = Mine([w], momentum=0.5, engine=engine)
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.0
    optimizer.step()
    assert (w.tolist(), optimizer.state[w]["speed"].tolist()) == ([0.0] * 2, [2.0] * 2)


def test_options_by_a_function_to_the_constructor():
    def steps(signs=False):
        return (signed, descend) if signs else (descend,)

    a, b = parameter(), parameter()
    Optimizer([{"params": [a]}, {"params": [b], "signs": True}], steps=steps, lr=0.25).step()
    assert (a[0].item(), b[0].item()) == (0.5, 0.75)


# --- several chains ----------------------------------------------------------------------------


def double(u):
    return dict(u=2 * u)


CHAINS = {"signs": (signed, descend), "doubled": (double, descend)}


def test_groups_choose_among_chains(engine):
    a, b, c = (parameter() for _ in range(3))
    groups = [{"params": [a]}, {"params": [b], "chain": "doubled"}, {"params": [c], "lr": 0.5}]
    Optimizer(groups, chains=CHAINS, lr=0.25, engine=engine).step()
    assert [w[0].item() for w in (a, b, c)] == [0.75, 0.0, 0.5]


def test_chains_stand_on_a_class(engine):
    both = type("Both", (Optimizer,), dict(chains={**CHAINS, "lion": Lion}, defaults=dict(lr=0.25)))
    a, b, c = (parameter() for _ in range(3))
    groups = [
        {"params": [a]}, {"params": [b], "chain": "doubled"}, {"params": [c], "chain": "lion"},
    ]  # fmt: skip
    both(groups, lr=0.25, engine=engine).step()
    assert [w[0].item() for w in (a, b, c)] == [0.75, 0.0, 0.75]


def test_a_class_serves_as_a_chain_with_its_own_defaults():
    optimizer = Optimizer(
        [{"params": [parameter()], "chain": "lion"}, {"params": [parameter()], "chain": "signs"}],
        chains={"lion": Lion, "signs": (signed, descend)}, lr=0.25,
    )  # fmt: skip
    lion = optimizer.param_groups[0]
    assert (lion["betas"], lion["weight_decay"], lion["lr"]) == ((0.9, 0.99), 0.0, 0.25)


def test_an_unknown_chain_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"^Optimizer has no chain 'sings'; did you mean 'signs'\? "
                       r"\(it has signs, doubled\)$"):  # fmt: skip
        Optimizer([{"params": [parameter()], "chain": "sings"}], chains=CHAINS, lr=0.25)


def test_a_chain_that_does_not_bind_is_named():
    with pytest.raises(
        TypeError, match=r"^broken: average_grad keeps exp_avg, but nothing uses it"
    ):
        Optimizer([parameter()], chains={"broken": (average_grad, descend)}, lr=0.25)


def test_steps_and_chains_together_are_refused():
    with pytest.raises(TypeError, match=r"^Optimizer: give steps or chains, not both$"):
        Optimizer([parameter()], steps=[descend], chains=CHAINS, lr=0.25)


def test_a_class_with_rules_takes_no_others():
    with pytest.raises(TypeError, match=r"^Mine states its own rules; use steppers.Optimizer "):
        Mine([parameter()], steps=[descend])


def test_an_optimizer_without_rules_asks_for_them():
    with pytest.raises(TypeError, match=r"^Optimizer needs rules: pass steps=\[…\] or chains="):
        Optimizer([parameter()], lr=0.25)


def test_a_choice_by_shape_keeps_one_group(engine):
    steps = [by_shape(matrices=[signed], others=[double]), descend]
    ws = [parameter(shape) for shape in [(2, 2), (2,), (), (2, 1, 2)]]
    optimizer = Optimizer(ws, steps=steps, lr=0.25, engine=engine)
    optimizer.step()
    assert len(optimizer.param_groups) == 1
    assert [w.flatten()[0].item() for w in ws] == [0.75, 0.0, 0.0, 0.75]


def test_a_subclass_inherits_rules_and_may_state_other_defaults(engine):
    faster = type("Faster", (Mine,), dict(defaults={**Mine.defaults, "lr": 0.5}))
    w = parameter()
    faster([w], engine=engine).step()
    assert w.tolist() == [0.0] * 2
