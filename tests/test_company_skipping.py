"""skip_nonfinite: a step on a gradient that is inf or NaN changes nothing, in any chain."""

import copy
import functools
import math
import pickle

import numpy as np
import pytest
import torch
from rows import ROWS
from trials import ENGINES, draw, fits, gradients

import steppers
from steppers import rules
from steppers.chain import by_shape
from steppers.ops import copy_of_p, global_norm, square, total, where, zero, zeros

EVERY = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
ENGINE = pytest.mark.parametrize("engine", ENGINES)
SHAPES = ((3,), (7, 5), (2, 3, 4), (6, 2))
BAD = (math.nan, math.inf, -math.inf)


def parameters(shapes=SHAPES, dtype=torch.float32):
    """Parameters in these shapes, from the same seed."""
    return [torch.nn.Parameter(torch.from_numpy(x).to(dtype)) for x in draw(shapes, seed=1)]


def feed(params, step, bad=None, at=-1):
    """Gradients of one step; with `bad` one element of the one at `at` is that."""
    for p, g in zip(params, gradients([tuple(p.shape) for p in params], step), strict=True):
        p.grad = torch.from_numpy(g).to(p.dtype)
    if bad is not None:
        flat = params[at].grad.reshape(-1)
        flat[len(flat) // 2] = bad
        params[at].grad = flat.reshape(params[at].shape)


def make(row, engine, dtype=torch.float32, **more):
    """Parameters in two groups of their own hypers, and the row's optimizer on them."""
    params = parameters(fits(row, SHAPES), dtype)
    groups = [{"params": params[:-1]}, {"params": params[-1:], **row.second_group()}]
    return params, row.build(groups, engine=engine, **more)


def advance(params, optimizer, steps):
    for step in steps:
        feed(params, step)
        optimizer.step()


def bits(x):
    """What a tensor or number is, to the last bit, with its dtype."""
    if isinstance(x, torch.Tensor):
        return x.dtype, tuple(x.shape), bytes(x.detach().reshape(-1).view(torch.uint8).tolist())
    return type(x).__name__, repr(x)


def everything(optimizer):
    """Parameters, state and groups, bit for bit."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    found = {("p", i): bits(p) for i, p in enumerate(params)}
    for i, p in enumerate(params):
        found |= {(n, i): bits(x) for n, x in optimizer.state[p].items()}
    for i, group in enumerate(optimizer.param_groups):
        numbers = {n: x for n, x in group.items() if n not in ("params", "skip_nonfinite")}
        found |= {(n, "group", i): bits(x) for n, x in numbers.items()}
    return found


def numbers(optimizer):
    """Parameters, state and hypers as numbers, whether floats or tensors hold them."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    held = [x for p in params for x in (p, *optimizer.state[p].values())]
    held += [x for group in optimizer.param_groups for n, x in group.items() if n != "params"]
    return [
        torch.as_tensor(x, dtype=torch.float64).tolist()
        for x in held
        if isinstance(x, float | torch.Tensor)
    ]


def changed(before, optimizer):
    """Names of what is not as it was."""
    after = everything(optimizer)
    return sorted({str(key) for key in before.keys() | after.keys()
                   if before.get(key) != after.get(key)})  # fmt: skip


# --- the catalogue -----------------------------------------------------------------------------


@EVERY
@ENGINE
@pytest.mark.parametrize("bad", BAD)
def test_a_step_on_a_bad_gradient_changes_nothing(row, engine, bad):
    params, optimizer = make(row, engine, skip_nonfinite=True)
    advance(params, optimizer, range(2))
    before = everything(optimizer)
    for at in (0, -1):  # one tensor of either group
        feed(params, 2, bad, at)
        optimizer.step()
        assert changed(before, optimizer) == []


@EVERY
@ENGINE
def test_the_steps_after_it_are_those_of_a_run_without_it(row, engine):
    params, optimizer = make(row, engine, skip_nonfinite=True)
    others, plain = make(row, engine, skip_nonfinite=True)
    for step in range(6):
        if step in (0, 3, 4):  # the first step of all, and two in a row
            feed(params, 99 + step, math.nan, step % 2)
            optimizer.step()
        feed(params, step)
        feed(others, step)
        optimizer.step()
        plain.step()
    assert changed(everything(plain), optimizer) == []


@EVERY
@ENGINE
def test_finite_steps_are_those_without_the_option(row, engine):
    """Not to the last bit: a generated kernel may contract other products and sums."""
    params, optimizer = make(row, engine, torch.float64, skip_nonfinite=True)
    others, plain = make(row, engine, torch.float64)
    advance(params, optimizer, range(4))
    advance(others, plain, range(4))
    assert np.concatenate([np.ravel(x) for x in numbers(optimizer)]) == pytest.approx(
        np.concatenate([np.ravel(x) for x in numbers(plain)]), rel=1e-9, abs=1e-12
    )


@EVERY
def test_a_first_step_that_is_skipped_leaves_a_fresh_state(row):
    params, optimizer = make(row, "auto", skip_nonfinite=True)
    _, fresh = make(row, "auto")
    fresh.init_state()
    feed(params, 0, math.inf)
    optimizer.step()
    assert changed(everything(fresh), optimizer) == []


@EVERY
@ENGINE
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_low_and_high_precision_keep_their_bits(row, engine, dtype):
    params, optimizer = make(row, engine, dtype, skip_nonfinite=True)
    advance(params, optimizer, range(2))
    before = everything(optimizer)
    feed(params, 2, math.nan)
    optimizer.step()
    assert changed(before, optimizer) == []


@pytest.mark.parametrize("row", [r for r in ROWS if r.complex], ids=lambda row: row.name)
@ENGINE
@pytest.mark.parametrize("bad", [complex(0, math.nan), complex(math.inf, 1)])
def test_complex_gradients_are_looked_at_in_both_parts(row, engine, bad):
    params, optimizer = make(row, engine, torch.complex64, skip_nonfinite=True)
    advance(params, optimizer, range(2))
    before = everything(optimizer)
    feed(params, 2, bad)
    optimizer.step()
    assert changed(before, optimizer) == []


@EVERY
def test_it_is_off_by_default(row):
    params, optimizer = make(row, "auto")
    feed(params, 0, math.nan)
    optimizer.step()
    assert [group["skip_nonfinite"] for group in optimizer.param_groups] == [False, False]
    assert [optimizer.state[p]["step"].item() for p in params] == [1.0] * len(params)


# --- chains ------------------------------------------------------------------------------------

ORTHOGONAL = functools.partial(rules.orthogonal, ns_steps=5, ns_coefficients=None, eps=1e-7)
# fmt: off
CHAINS = {  # what could let a NaN through: norms, conditions, averages, random numbers
    "global norm": ((rules.clip_by_global_norm, rules.average_grad, rules.average_square,
                     rules.adam, rules.descend), dict(lr=0.1, max_norm=1.0)),
    "lookahead and ema": ((rules.heavy_ball, rules.descend, rules.lookahead, rules.ema),
                          dict(lr=0.1, k=3, evaluate=rules.use_average)),
    "cautious": ((rules.decay, rules.average_momentum, rules.cautious, rules.descend),
                 dict(lr=0.1, momentum=0.9, weight_decay=0.1)),
    "by shape": ((by_shape(matrices=[rules.average_momentum, ORTHOGONAL],
                           others=[rules.average_grad, rules.average_square, rules.adam]),
                  rules.descend), dict(lr=0.1)),
}
# fmt: on


@pytest.mark.parametrize("name", CHAINS)
@ENGINE
def test_chains_of_rules_skip(name, engine):
    steps, hypers = CHAINS[name]
    params = parameters()
    optimizer = steppers.Optimizer(
        params, steps=steps, skip_nonfinite=True, engine=engine, **hypers
    )
    others = parameters()
    plain = steppers.Optimizer(others, steps=steps, skip_nonfinite=True, engine=engine, **hypers)
    for step in range(5):
        for at in range(len(params)):
            before = everything(optimizer)
            feed(params, 50 + step, BAD[step % 3], at)
            optimizer.step()
            assert step == 0 or changed(before, optimizer) == []
        feed(params, step)
        feed(others, step)
        optimizer.step()
        plain.step()
    assert changed(everything(plain), optimizer) == []


@ENGINE
def test_chains_of_one_optimizer_skip_together(engine):
    params = parameters()
    groups = [{"params": params[1:2], "chain": "muon"},
              {"params": [params[0], params[3]], "chain": "prodigy"},
              {"params": params[2:3], "chain": "free"}]  # fmt: skip
    chains = {"muon": steppers.Muon, "prodigy": steppers.Prodigy,
              "free": steppers.ScheduleFreeAdamW}  # fmt: skip
    optimizer = steppers.Optimizer(groups, chains=chains, skip_nonfinite=True, engine=engine)
    advance(params, optimizer, range(2))
    before = everything(optimizer)
    for at in range(len(params)):
        feed(params, 2, math.nan, at)
        optimizer.step()
        assert changed(before, optimizer) == []
    advance(params, optimizer, [3])
    assert [optimizer.state[p]["step"].item() for p in params] == [3.0] * 4


@ENGINE
def test_a_group_that_does_not_ask_neither_stops_others_nor_waits_for_them(engine):
    params = parameters(((3,), (4,)))
    groups = [{"params": params[:1], "skip_nonfinite": True}, {"params": params[1:]}]
    optimizer = steppers.AdamW(groups, lr=0.1, engine=engine)
    for bad_at, counts in ((1, [1.0, 1.0]), (0, [1.0, 2.0])):
        feed(params, 0, math.nan, bad_at)
        optimizer.step()
        assert [optimizer.state[p]["step"].item() for p in params] == counts
    assert torch.isfinite(params[0]).all() and not torch.isfinite(params[1]).all()


@ENGINE
def test_a_bad_gradient_at_rate_zero_skips_the_other_groups_too(engine):
    params = parameters(((3,), (4,)))
    groups = [{"params": params[:1], "lr": 0.0}, {"params": params[1:]}]

    def paused(p, u, *, lr):
        return dict(p=where(lr > 0, p - lr * u, p))

    optimizer = steppers.Optimizer(
        groups, steps=[paused], lr=0.1, skip_nonfinite=True, engine=engine
    )
    optimizer.init_state()
    before = everything(optimizer)
    feed(params, 0, math.nan, 0)
    optimizer.step()
    assert changed(before, optimizer) == []


@ENGINE
def test_the_gradient_is_looked_at_before_any_rule(engine):
    def cleaned(g):
        return dict(g=where(g == g, g, 0.0))

    def burst(p, g, *, lr):  # finite gradients, whatever becomes of them
        return dict(p=p - lr * g * g)

    w = torch.nn.Parameter(torch.ones(2))
    optimizer = steppers.Optimizer(
        [w], steps=[cleaned, burst], lr=1.0, skip_nonfinite=True, engine=engine
    )
    w.grad = torch.tensor([math.nan, 1.0])
    optimizer.step()
    assert w.tolist() == [1.0, 1.0]
    w.grad = torch.tensor([1e30, 1.0])
    optimizer.step()
    assert w.tolist() == [-math.inf, 0.0]


@ENGINE
def test_scalars_keep_their_values_wherever_they_live(engine):
    def scalars(g, of_host=zero, of_all=zero, of_one=zeros, *, t, by_hypers=0.0, by_all=0.0, lr):
        sums = total(square(g))
        every = of_host + of_all + of_one + by_hypers + by_all
        return dict(of_host=of_host + t, of_all=of_all + sums, of_one=of_one + g, every=every,
                    by_hypers=by_hypers + lr, by_all=by_all + sums)  # fmt: skip

    def move(p, every):
        return dict(p=p + every)

    params = parameters(((3,), (4,)))
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    idle = torch.nn.Parameter(torch.ones(2))
    optimizer = steppers.Optimizer(
        [*groups, {"params": [idle]}], steps=[scalars, move], lr=0.5, skip_nonfinite=True,
        engine=engine,
    )  # fmt: skip
    advance(params, optimizer, range(2))
    before = everything(optimizer)
    feed(params, 2, math.nan)
    optimizer.step()
    assert changed(before, optimizer) == []
    advance(params, optimizer, [2])
    assert [group["by_hypers"] for group in optimizer.param_groups] == [1.5] * 3
    assert optimizer.state[params[0]]["of_host"].item() == 1 + 2 + 3


@ENGINE
def test_a_further_chain_on_the_gradient_skips_and_another_does_not(engine):
    def curvature(g, hessian=zeros):
        return dict(hessian=hessian + square(g))

    def forget(start=copy_of_p):
        return dict(p=start)

    def divide(g, hessian):
        return dict(u=g / (1 + hessian))

    w = torch.nn.Parameter(torch.ones(2))
    optimizer = steppers.Optimizer(
        [w], steps=[divide, rules.descend], further={"curvature": curvature, "forget": forget},
        lr=1.0, skip_nonfinite=True, engine=engine,
    )  # fmt: skip
    advance([w], optimizer, range(1))
    w.grad = torch.tensor([math.nan, 1.0])
    before = everything(optimizer)
    optimizer.run("curvature")
    assert changed(before, optimizer) == []
    optimizer.run("forget")
    assert w.tolist() == [1.0, 1.0]


# --- surroundings ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD)
def test_rules_that_cannot_be_traced_skip_together_with_others(bad):
    def scale(g, factor=zeros):
        factor = factor + torch.median(g)
        return dict(factor=factor, u=g * factor)

    params = parameters(((3,), (4,)))
    groups = [{"params": params[:1], "chain": "own"}, {"params": params[1:], "chain": "nadam"}]
    chains = {"own": (scale, rules.descend), "nadam": steppers.NAdam}
    with pytest.warns(UserWarning, match=r"scale uses torch.median"):
        optimizer = steppers.Optimizer(groups, chains=chains, lr=0.1, skip_nonfinite=True)
    for at in (0, 1):
        advance(params, optimizer, [at])
        before = everything(optimizer)
        feed(params, 5, bad, at)
        optimizer.step()
        assert changed(before, optimizer) == []
    assert [optimizer.state[p]["step"].item() for p in params] == [2.0, 2.0]


def read_back(*_):
    raise AssertionError("the host asked the device for a number")


@pytest.mark.parametrize("make", [steppers.AdamW, steppers.NAdam, steppers.ScheduleFreeAdamW])
def test_a_capturable_step_skips_without_reading_back(make, monkeypatch):
    params = parameters()
    optimizer = make(params, lr=0.1, capturable=True, skip_nonfinite=True)
    others = parameters()
    plain = make(others, lr=0.1, capturable=True)
    advance(params, optimizer, [0])
    advance(others, plain, [0])
    for step in range(1, 4):
        feed(params, 50, math.nan)
        with monkeypatch.context() as patch:
            for name in ("item", "tolist", "__bool__", "__float__"):
                patch.setattr(torch.Tensor, name, read_back)
            optimizer.step()
        advance(params, optimizer, [step])
        advance(others, plain, [step])
    assert numbers(optimizer) == numbers(plain)


@pytest.mark.parametrize("make", [steppers.AdamW, steppers.NAdam, steppers.ScheduleFreeAdamW,
                                  steppers.Prodigy, steppers.LAMB])  # fmt: skip
def test_the_functional_form_skips(make):
    chain = steppers.Functional(make, lr=0.1, skip_nonfinite=True)
    params = {"a": torch.ones(3), "b": torch.full((2, 2), 2.0)}
    grads = {"a": torch.ones(3), "b": torch.ones(2, 2)}
    params, state = chain.update(params, grads, chain.init(params))
    bad = {**grads, "b": torch.tensor([[1.0, math.nan], [0.0, 1.0]])}
    after, kept = chain.update(params, bad, state)
    flat = torch.utils._pytree.tree_leaves
    assert [bits(x) for x in flat((after, kept))] == [bits(x) for x in flat((params, state))]
    again, _ = chain.update(params, grads, state)
    assert not torch.equal(again["a"], params["a"])


def test_members_of_a_vmap_skip_each_for_itself():
    chain = steppers.Functional(steppers.AdamW, lr=0.1, skip_nonfinite=True)
    w = torch.ones(2, 3)
    g = torch.tensor([[1.0, math.nan, 1.0], [1.0, 1.0, 1.0]])
    new, state = torch.func.vmap(lambda p, g: chain.update(p, g, chain.init(p)))(w, g)
    assert new[0].tolist() == [1.0] * 3
    assert (new[1] < 1).all()
    assert state["state"]["step"].tolist() == [0.0, 1.0]


def test_maximize_goes_with_it():
    params, optimizer = make(ROWS[0], "auto", skip_nonfinite=True, maximize=True)
    others, plain = make(ROWS[0], "auto", skip_nonfinite=True, maximize=True)
    feed(params, 0, math.nan)
    optimizer.step()
    advance(params, optimizer, range(2))
    advance(others, plain, range(2))
    assert changed(everything(plain), optimizer) == []


def test_gradients_are_left_as_they_are():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = steppers.SGD([w], lr=0.1, skip_nonfinite=True)
    w.grad = torch.tensor([math.nan, math.inf, 1.0])
    before = bits(w.grad)
    optimizer.step()
    assert bits(w.grad) == before


def test_a_loaded_checkpoint_leaves_the_switch_as_it_was_built():
    params, saved = make(ROWS[0], "auto")
    advance(params, saved, range(2))
    others, optimizer = make(ROWS[0], "auto", skip_nonfinite=True)
    optimizer.load_state_dict(copy.deepcopy(saved.state_dict()))
    assert [group["skip_nonfinite"] for group in optimizer.param_groups] == [True, True]
    advance(others, optimizer, [])
    feed(others, 2, math.nan)
    before = everything(optimizer)
    optimizer.step()
    assert changed(before, optimizer) == []


def test_it_survives_pickling():
    params, optimizer = make(ROWS[1], "auto", skip_nonfinite=True)
    advance(params, optimizer, range(2))
    again = pickle.loads(pickle.dumps(optimizer))
    params = [p for group in again.param_groups for p in group["params"]]
    before = everything(again)
    feed(params, 2, math.nan)
    again.step()
    assert changed(before, again) == []


def test_a_program_is_built_once_for_each_choice():
    made = [steppers.AdamW([torch.nn.Parameter(torch.ones(2))], skip_nonfinite=skip)
            for skip in (True, False, True)]  # fmt: skip
    programs = [o.recipe_of(g).programs(o._key(g), 2) for o in made for g in o.param_groups]
    assert programs[0] is programs[2] is not programs[1]
    finite = [each.programs["steps"].finite is not None for each in programs]
    assert finite == [True, False, True]


def test_a_side_not_taken_is_still_neither_read_nor_written():
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = steppers.Optimizer(
        [w], steps=[rules.descend, rules.lookahead], lr=0.1, skip_nonfinite=True
    )
    group = optimizer.param_groups[0]
    program = optimizer.recipe_of(group).programs(optimizer._key(group), 2).programs["steps"]
    assert [condition.op for condition in program.conditions] == ["eq"]
    assert set(program.select(1, (False,)).stores) == {"p"}
    assert "slow" not in program.select(1, (False,)).reads
    assert set(program.select(1, (True,)).stores) == {"p", "slow"}


def test_a_norm_is_shared_beside_it():
    w = torch.nn.Parameter(torch.ones(2))

    def clip(g):
        return dict(g=g / global_norm(g))

    optimizer = steppers.Optimizer([w], steps=[clip, rules.descend], lr=1.0, skip_nonfinite=True)
    group = optimizer.param_groups[0]
    program = optimizer.recipe_of(group).programs(optimizer._key(group), 2).programs["steps"]
    assert [len(each.ends) for each in program.passes] == [2, 0]  # both totals in one walk


@pytest.mark.parametrize("value", [1, "yes", None])
def test_it_is_true_or_false(value):
    w = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match=r"^SGD: skip_nonfinite must be True or False, got "):
        steppers.SGD([w], skip_nonfinite=value)


def test_no_hyper_is_called_that():
    def move(p, g, *, skip_nonfinite=1.0):
        return dict(p=p - skip_nonfinite * g)

    with pytest.raises(TypeError, match=r"'skip_nonfinite' is reserved"):
        steppers.Optimizer([torch.nn.Parameter(torch.ones(2))], steps=[move])


def test_the_explanation_says_so():
    optimizer = steppers.SGD([torch.nn.Parameter(torch.ones(2))], skip_nonfinite=True)
    text = str(optimizer.explain())
    assert "finite = nonfinite == 0" in text
    assert "p'' = where(finite, p', p)" in text
    assert "skip_nonfinite = True" in text
