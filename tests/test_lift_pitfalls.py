"""What looks liftable and is not the same: lifted exactly, or refused; never something else."""

import inspect
import random

import lift_code as code
import lift_pitfalls as pitfalls
import pytest
import torch
from torch import nn

import steppers
from steppers.styles import lift, lift_all
from steppers.styles.base import PerParameter

SHAPES = ((4, 3), (5,), ())


def weights(dtype=torch.float64):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(s, dtype=torch.float64).to(dtype)) for s in SHAPES]


def give(params, step):
    generator = torch.Generator().manual_seed(step)
    for p in params:
        p.grad = (torch.randn(p.shape, generator=generator, dtype=torch.float64) + 0.1).to(p.dtype)


class Loop:
    """Procedures one after the other, parameter by parameter, with one state each."""

    def __init__(self, params, *procedures, **hypers):
        self.params, self.procedures, self.hypers = params, procedures, hypers
        self.states = [{} for _ in params]

    @torch.no_grad()
    def step(self):
        for p, state in zip(self.params, self.states, strict=True):
            for fn in self.procedures:
                parameters = inspect.signature(fn).parameters
                held = dict(state=state) if "state" in parameters else {**state}
                given = {n: v for n, v in {**held, **self.hypers}.items() if n in parameters}
                new = fn(**{next(n for n in parameters if n != "state"): p}, **given)
                state.update(new if isinstance(new, dict) else {})


def agree(plain_of, rules, hypers, engine="loop", dtype=torch.float64, steps=9):
    ours, theirs = weights(dtype), weights(dtype)
    plain = plain_of(theirs)
    optimizer = steppers.Optimizer(ours, steps=rules, engine=engine, **hypers)
    close = dict(rtol=1e-10, atol=1e-12) if dtype == torch.float64 else dict(rtol=2e-5, atol=2e-6)
    for step in range(steps):
        for params in (ours, theirs):
            give(params, step)
        with torch.no_grad():
            plain.step()
        optimizer.step()
        for mine, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, their, **close)


ENGINES = [
    ("loop", torch.float64),
    ("foreach", torch.float64),
    pytest.param("fused", torch.float32, marks=pytest.mark.needs("llvmlite")),
]


@pytest.mark.parametrize(("engine", "dtype"), ENGINES)
@pytest.mark.parametrize("fn", pitfalls.SAME, ids=lambda fn: fn.__name__)
def test_a_pitfall_is_lifted_as_it_is(fn, engine, dtype):
    (rules, hypers) = ((lift(fn),), dict(lr=0.1))
    agree(lambda params: Loop(params, fn, **hypers), rules, hypers, engine, dtype)


@pytest.mark.parametrize(("fn", "why"), pitfalls.REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_a_pitfall_that_no_rule_can_do_is_refused(fn, why):
    with pytest.raises(TypeError) as caught:
        lift(fn)
    assert str(caught.value).startswith(f"lift: {fn.__name__} ") and why in str(caught.value)


def test_what_a_refused_procedure_changed_is_put_back():
    for fn, _ in pitfalls.REFUSED:
        with pytest.raises(TypeError):
            lift(fn)
    assert pitfalls.BUFFERS == {} and pitfalls.NOTES.count == 0
    assert pitfalls.a_dict_among_the_defaults.__defaults__ == ({},)


def test_lifting_draws_no_random_numbers():
    before = random.getstate()
    with pytest.raises(TypeError, match="draws random numbers"):
        lift(pitfalls.rarely_draws)
    assert random.getstate() == before


# --- procedures after each other -----------------------------------------------------------------


def average(p, m=None, **kwargs):
    m = torch.zeros_like(p) if m is None else m
    m.mul_(0.9).add_(p.grad)
    return {"m": m}


def also_called_d(p, m, **kwargs):
    return {"d": m}


def halves_d(p, d, **kwargs):
    d.mul_(0.5)


def halves_m(p, m, **kwargs):
    m.mul_(0.5)


def steps_along_d(p, lr, d, **kwargs):
    p.data.sub_(lr * d)


def steps_along_m(p, lr, m, **kwargs):
    p.data.sub_(lr * m)


def bounds_the_gradient(p, wd=0.1, **kwargs):
    p.data.mul_(1 - wd)
    p.grad.clamp_(-0.5, 0.5)


def decays_into_the_gradient(p, wd=0.1, **kwargs):
    p.grad = p.grad + wd * p.data


CHAINS = {
    "one memory, two names": [average, also_called_d, halves_d, steps_along_d],
    "another changes the slot": [average, halves_m, steps_along_m],
    "twice the same": [average, average, steps_along_m],
    "the gradient changes": [bounds_the_gradient, decays_into_the_gradient, code.sgd_step],
}


@pytest.mark.parametrize(("engine", "dtype"), ENGINES)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_later_procedure_sees_the_memory_of_an_earlier_one(chain, engine, dtype):
    procedures = CHAINS[chain]
    hypers = dict(lr=0.1)
    agree(lambda params: Loop(params, *procedures, **hypers), lift_all(procedures), hypers, engine,
          dtype)  # fmt: skip


def test_rules_lifted_one_by_one_hand_the_gradient_on():
    procedures = CHAINS["the gradient changes"]
    rules = [lift(fn) for fn in procedures]
    agree(lambda params: Loop(params, *procedures, lr=0.1), rules, dict(lr=0.1))


def reads_the_former(p, lr, m=None, **kwargs):
    if m is not None:
        p.data.sub_(0.3 * lr * m)


def scales(p, lr, scale=1.0, **kwargs):
    p.data.sub_(lr * scale * p.grad)


def makes_a_scale(p, **kwargs):
    return {"scale": 0.5}


def counts(p, step=0, **kwargs):
    return {"step": step + 1}


@pytest.mark.parametrize(
    ("procedures", "why"),
    [
        ([reads_the_former, average, steps_along_m], "reads_the_former asks for m, which average"),
        ([scales, makes_a_scale], "scales asks for scale, which makes_a_scale makes only after it"),
        ([counts, counts, code.sgd_step], "changes step, with which an earlier procedure counts"),
    ],
)
def test_what_the_step_before_left_is_no_state_of_this_one(procedures, why):
    with pytest.raises(TypeError, match="lift: ") as caught:
        lift_all(procedures)
    assert why in str(caught.value)


# --- classes --------------------------------------------------------------------------------------


class CountsBefore(code.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.n = 0

    def step(self):
        self.n += 1
        super().step()

    def opt_step(self, p):
        p -= self.lr / (self.n + self.i) * p.grad


class DecaysAfter(code.SGD):
    def step(self):
        for p in self.params:
            self.opt_step(p)
            self.reg_step(p)

    def reg_step(self, p):
        p *= 0.9


class KeepsANumberCalledI(code.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.i = 3

    def step(self):
        for p in self.params:
            self.opt_step(p)

    def opt_step(self, p):
        p -= self.lr / self.i * p.grad


class CountsInAfterStep(PerParameter):
    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))
        self.n = 0

    def update_parameter(self, p, state, group):
        p.sub_(group["lr"] / (1 + self.n) * p.grad)

    def after_step(self):
        self.n += 1


class AssignsItsState(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p not in self.state:
                    self.state[p] = {"m": torch.zeros_like(p), "step": 0}
                state = self.state[p]
                state["step"] += 1
                state["m"].mul_(0.9).add_(p.grad)
                p.add_(state["m"], alpha=-group["lr"] / state["step"])


@pytest.mark.parametrize(
    "cls", [CountsBefore, DecaysAfter, KeepsANumberCalledI, CountsInAfterStep, AssignsItsState]
)
def test_a_class_is_lifted_with_what_its_step_does(cls):
    agree(lambda params: cls(params, lr=0.1), lift(cls), dict(lr=0.1))


class KeepsADict(code.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.buffers = {}

    def opt_step(self, p):
        m = self.buffers.setdefault(p, torch.zeros_like(p))
        p -= self.lr * m.mul_(0.9).add_(p.grad)


class Clips(code.SGD):
    def step(self):
        for p in self.params:
            p.grad.clamp_(-0.5, 0.5)
            self.opt_step(p)


class LowersItsRate(code.SGD):
    def step(self):
        super().step()
        self.lr *= 0.9


class Skips(code.SGD):
    def step(self):
        for p in self.params[::2]:
            self.opt_step(p)


class Countdown:
    def __init__(self):
        self.n = 0

    def next(self):
        self.n += 1
        return 1 / self.n


class HoldsACounter(code.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.countdown = Countdown()

    def opt_step(self, p):
        p -= self.lr * self.countdown.next() * p.grad


class ComputesItsDamping(code.SGD):
    def __init__(self, params, lr, mom=0.9):
        super().__init__(params, lr)
        self.mom, self.damp = mom, 1 - mom

    def opt_step(self, p):
        p.avg = getattr(p, "avg", torch.zeros_like(p)) * self.mom + self.damp * p.grad
        p -= self.lr * p.avg


class HalvesItsRate(code.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr / 2)


class ClipsAll(AssignsItsState):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            norm = torch.sqrt(sum(p.grad.norm() ** 2 for p in group["params"]))
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad / norm)


class AsksAll(AssignsItsState):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            if all(torch.isfinite(p.grad).all() for p in group["params"]):
                for p in group["params"]:
                    p.sub_(group["lr"] * p.grad)


class CountsParameters(AssignsItsState):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            size = sum(p.numel() for p in group["params"])
            for p in group["params"]:
                p.sub_(group["lr"] / size * p.grad)


class CountsInItsGroup(AssignsItsState):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            group.update(k=group.get("k", 0) + 1)
            for p in group["params"]:
                p.sub_(group["lr"] / group["k"] * p.grad)


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (KeepsADict, "changes self.buffers, a dict, which is outside of the step"),
        (Clips, "changes p, its gradient or its state before it calls opt_step in its step()"),
        (LowersItsRate, "changes self.lr in its step()"),
        (Skips, "does not call the same methods for every parameter in its step()"),
        (HoldsACounter, "changes self.countdown, a Countdown, which is outside of the step"),
        (ComputesItsDamping, "computes something from mom when it is made"),
        (HalvesItsRate, "is given lr=1.0 and holds 0.5 as lr"),
        (ClipsAll, "takes several parameters together, as in a norm over all of them"),
        (AsksAll, "takes several parameters together"),
        (CountsParameters, "takes several parameters together"),
        (CountsInItsGroup, "writes the group's k"),
    ],
)
def test_a_class_that_does_more_than_its_methods_is_refused(cls, why):
    with pytest.raises(TypeError) as caught:
        lift(cls)
    assert str(caught.value).startswith("lift: ") and why in str(caught.value)


def test_a_number_computed_from_a_constant_stays():
    rules = lift(ComputesItsDamping, mom=0.5, constants=["mom"])
    agree(lambda params: ComputesItsDamping(params, 0.1, 0.5), rules, dict(lr=0.1))


def test_a_hyper_on_which_the_groups_differ_has_to_be_given():
    v, w = (nn.Parameter(torch.ones(2)) for _ in range(2))
    (rule,) = lift(code.OwnMomentum([dict(params=[v]), dict(params=[w], lr=0.3)]))
    parameters = inspect.signature(rule).parameters
    assert parameters["lr"].default is inspect.Parameter.empty
    assert parameters["momentum"].default == 0.9


# --- names that lift is given --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            dict(constants=["lrr"]),
            "constants has 'lrr', which the code does not; did you mean 'lr'",
        ),
        (dict(hypers=["damp"]), "hypers has 'damp', which the code does not"),
        (dict(rename=dict(rate="lr")), "rename has 'rate', which the code does not"),
        (dict(rename=dict(lr="x", wd="x")), "rename gives two names to 'x'"),
        (dict(slots=["speed"]), "slots has 'speed', which the code does not"),
        (dict(momentum=0.5), "lift: fixed takes no 'momentum'; it has p, lr, wd"),
    ],
)
def test_a_name_that_the_code_does_not_have_is_told(given, text):
    def fixed(p, lr, wd=0.0):
        p.data.mul_(1 - lr * wd).sub_(lr * p.grad)

    with pytest.raises(TypeError) as caught:
        lift(fixed, **given)
    assert text in str(caught.value)
