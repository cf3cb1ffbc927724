"""Procedures that look as if they could be lifted, and whose lifted form would do otherwise.

Nothing here knows of steppers: tests/test_lift_pitfalls.py runs them and lifts them.
"""

import functools
import math
import random
import types
from collections import defaultdict

import numpy as np
import torch

BUFFERS, SEEN, NOTES = {}, [], types.SimpleNamespace(count=0)
RATES = {3: 0.1, 4: 0.2}
DICE = random.Random(0)

# --- memory: which is whose ---------------------------------------------------------------------


def replaces_the_gradient(p, lr, **kwargs):
    """g is the gradient from before: p.grad is another tensor afterwards."""
    g = p.grad
    p.grad = g + 0.1 * p.data
    p.data.sub_(lr * (g + 0.5 * p.grad))


def replaces_the_data(p, lr, **kwargs):
    held = p.data
    p.data = held * 0.5
    p.data.add_(held, alpha=-lr).add_(p.grad, alpha=-lr)


def two_names_of_one_state(state, p, lr, **kwargs):
    if "a" not in state:
        state["a"] = state["b"] = torch.zeros_like(p)
    state["a"].mul_(0.9).add_(p.grad)
    p.data.sub_(lr * state["b"])


def keeps_the_present_as_former(state, p, lr, **kwargs):
    """A well-known mistake: `former` is the same tensor, so that it moves too."""
    if not state:
        state["now"], state["former"] = torch.zeros_like(p), torch.zeros_like(p)
    state["former"] = state["now"]
    state["now"].mul_(0.5).add_(p.grad)
    p.data.sub_(lr * (state["now"] - 0.5 * state["former"]))


def a_copying_cast(p, lr, **kwargs):
    g = p.grad.to(p.dtype, copy=True)
    g.mul_(0.5)
    p.data.sub_(lr * (p.grad + g))


def a_tensor_of_a_tensor(state, p, lr, **kwargs):
    if not state:
        state["m"] = torch.zeros_like(p)
    torch.as_tensor(state["m"]).mul_(0.9).add_(p.grad)
    p.data.sub_(lr * state["m"])


def divides_in_place(p, lr, **kwargs):
    d = p.data
    d //= 0.3
    d -= lr * p.grad


def masks_in_place(p, lr, **kwargs):
    mask = p.grad > 0
    both = mask
    mask &= p.data > 0
    p.data.sub_(lr * torch.where(both, p.grad, 0.5 * p.grad))


# --- state --------------------------------------------------------------------------------------


def a_switch_of_the_state(state, p, lr, **kwargs):
    if not state.get("ready"):
        state["ready"], state["m"] = True, torch.zeros_like(p)
    state["m"].mul_(0.9).add_(p.grad)
    p.data.sub_(lr * state["m"])


def a_step_called_t(state, p, lr, **kwargs):
    state["t"] = state.get("t", 0) + 1
    p.data.sub_(lr / state["t"] * p.grad)


def another_first_step(state, p, lr, **kwargs):
    state["step"] = state.get("step", 0) + 1
    if state["step"] == 1:
        state["m"] = p.grad.clone()
    else:
        state["m"].mul_(0.9).add_(p.grad)
    p.data.sub_(lr * state["m"])


def counts_from_where_it_makes_state(p, lr, step=0, m=None, **kwargs):
    if m is None:
        step, m = 0, torch.zeros_like(p)
    step += 1
    m.mul_(0.9).add_(p.grad)
    p.data.sub_(lr / step * m)
    return {"step": step, "m": m}


def a_value_that_is_dropped(state, p, lr, **kwargs):
    state["tmp"] = p.grad * 2
    p.data.sub_(lr * state["tmp"])
    del state["tmp"]


def a_state_for_nobody(state, p, lr, **kwargs):
    if not state:
        state["seen"] = torch.zeros_like(p)
    state["seen"].add_(p.grad)
    state["norm"] = p.grad.norm().item()
    p.data.sub_(lr * p.grad)


def the_best_so_far(state, p, lr, **kwargs):
    state["best"] = min(state.get("best", float("inf")), p.grad.norm().item())
    p.data.sub_(lr * state["best"] * p.grad)


# --- numbers ------------------------------------------------------------------------------------


def reductions_of_one_number(p, lr, **kwargs):
    one = torch.tensor(-2.0, dtype=p.dtype)
    scale = one.sum() + one.norm() + p.grad.norm().mean() + p.grad.norm().numel()
    p.data.sub_(lr * scale.item() * p.grad)


def the_truth_of_numbers(p, lr, **kwargs):
    if (-p.grad.abs()).any() and not (p.grad - p.grad).all():
        p.data.sub_(lr * p.grad)


def floors_of_floats(p, lr, k=0.1, **kwargs):
    p.data.sub_(lr * (1.0 // k) * p.grad)


def logs_to_a_base(p, lr, step=0, **kwargs):
    step += 1
    if not math.isnan(p.grad.norm()):
        p.data.sub_(lr * math.log(step + 1, 2) / np.sqrt(step) * p.grad)
    return {"step": step}


def numbers_of_numpy(p, lr, **kwargs):
    p.data.sub_(np.float64(0.5) * lr * np.float32(0.25) * np.cos(np.pi * lr) * p.grad)


def asks_for_types(p, lr, **kwargs):
    if isinstance(p, torch.nn.Parameter) and type(lr) is float and isinstance(lr, int | float):
        p.data.sub_(lr * p.grad)


def halved(fn):
    @functools.wraps(fn)
    def with_half(p, lr, **kwargs):
        return fn(p, lr=lr / 2, **kwargs)

    return with_half


@halved
def a_decorated_step(p, lr, **kwargs):
    p.data.sub_(lr * p.grad)


class Factor:
    def __init__(self, by=0.5):
        self.by = by

    def of(self, x):
        return math.sqrt(x) * self.by


FACTOR = Factor()


def an_object_of_the_module(p, lr, factor=FACTOR, **kwargs):
    if isinstance(FACTOR, Factor) and type(factor) is Factor:
        p.data.sub_(FACTOR.of(lr) * p.grad)


def tries_its_state(state, p, lr, **kwargs):
    try:
        m = state["m"]
    except KeyError:
        m = state["m"] = torch.zeros_like(p)
    m.mul_(0.9).add_(p.grad)
    p.data.sub_(lr / 2 * m)


def a_first_argument_of_another_name(weight, lr, wd=0.1):
    weight.data.mul_(1 - lr * wd).sub_(lr * weight.grad)


SAME = [
    replaces_the_gradient, replaces_the_data, two_names_of_one_state, keeps_the_present_as_former,
    a_copying_cast, a_tensor_of_a_tensor, divides_in_place, masks_in_place, a_switch_of_the_state,
    a_step_called_t, another_first_step, a_value_that_is_dropped, a_state_for_nobody,
    the_best_so_far, reductions_of_one_number, the_truth_of_numbers, floors_of_floats,
    logs_to_a_base, numbers_of_numpy, asks_for_types, a_decorated_step, an_object_of_the_module,
    a_first_argument_of_another_name, tries_its_state, counts_from_where_it_makes_state,
]  # fmt: skip


# --- what is refused ----------------------------------------------------------------------------


def casts_in_place(p, lr):
    g = p.grad.double()
    g.add_(p.data, alpha=0.5)
    p.data.sub_(lr * p.grad)


def makes_contiguous_in_place(p, lr):
    p.grad.contiguous().mul_(0.5)
    p.data.sub_(lr * p.grad)


def shares_on_one_side(state, p, lr, wd=0.1):
    if not state:
        state["m"], state["d"] = torch.zeros_like(p), torch.zeros_like(p)
    state["m"].mul_(0.9).add_(p.grad)
    p.data.sub_(lr * state["d"])
    state["d"] = state["m"].clone() if wd > 0.05 else state["m"]


def data_that_is_state(state, p, lr):
    if not state:
        state["s"] = p.data.clone()
    p.data = state["s"]
    p.data.sub_(lr * p.grad)


def a_dict_of_the_module(p, lr):
    if p not in BUFFERS:
        BUFFERS[p] = torch.zeros_like(p)
    BUFFERS[p].mul_(0.9).add_(p.grad)
    p.data.sub_(lr * BUFFERS[p])


def a_dict_among_the_defaults(p, lr, held=defaultdict(dict)):  # noqa: B006
    state = held[p]
    state.setdefault("m", torch.zeros_like(p)).mul_(0.9).add_(p.grad)
    p.data.sub_(lr * state["m"])


def an_object_that_counts(p, lr):
    NOTES.count += 1
    p.data.sub_(lr * 0.9 ** min(NOTES.count, 1) * p.grad)


def reads_its_keywords(p, lr, **kwargs):
    p.data.mul_(1 - lr * kwargs.get("wd", 0.0)).sub_(lr * p.grad)


def _decay(p, lr, wd=0.0, **kwargs):
    p.data.mul_(1 - lr * wd)


def hands_its_keywords_on(p, lr, **kwargs):
    _decay(p, lr, **kwargs)
    p.data.sub_(lr * p.grad)


def asks_its_keywords(p, lr, **kwargs):
    p.data.sub_((lr if "wd" in kwargs else 2 * lr) * p.grad)


def looks_a_number_up(p, lr, step=0):
    step += 1
    p.data.sub_(lr * RATES.get(step, 1.0) * p.grad)
    return {"step": step}


def a_number_in_a_set(p, lr, wd=0.0):
    if wd in {0.0, -1.0}:
        p.data.sub_(lr * p.grad)


def counts_digits(p, lr, step=0):
    step += 1
    p.data.sub_(lr * len(str(step)) * p.grad)
    return {"step": step}


def rarely_draws(p, lr):
    if random.random() < 0.001:
        p.data.zero_()
    p.data.sub_(lr * p.grad)


def draws_of_its_own(p, lr):
    p.data.sub_(lr * DICE.uniform(1, 1) * p.grad)


def prints(p, lr):
    print("a step")
    p.data.sub_(lr * p.grad)


def marks_a_tensor(state, p, lr):
    m = state.setdefault("m", torch.zeros_like(p))
    m.count = getattr(m, "count", 0) + 1
    p.data.sub_(lr / m.count * m.add_(p.grad))


def sums_what_is_filled(p, lr):
    p.data.sub_(lr * torch.ones_like(p).sum(-1, keepdim=True) * p.grad)


def a_switch_that_changes(state, p, lr):
    state["odd"] = not state.get("odd", False)
    p.data.sub_(lr * (2 if state["odd"] else 1) * p.grad)


def a_state_with_a_blank(state, p, lr):
    state.setdefault("exp avg", torch.zeros_like(p)).mul_(0.9).add_(p.grad)
    p.data.sub_(lr * state["exp avg"])


def a_state_that_lacks_some(state, p, lr):
    m = state.get("m", torch.zeros_like(p)) * 0.9 + p.grad
    state.setdefault("seen", 0.5)
    p.data.sub_(lr * m)
    return {"m": m}


def a_hyper_that_it_returns(p, lr):
    p.data.sub_(lr * p.grad)
    return {"lr": lr * 0.9}


def state_of_another(p, lr, grad_avg=None):
    p.data.sub_(lr * (p.grad if grad_avg is None else grad_avg))


def catches_a_division(p, lr, wd=0.0):
    try:
        factor = 1 / wd
    except ZeroDivisionError:
        factor = 0.5
    p.data.sub_(lr * factor * p.grad)


def catches_a_root(p, lr):
    try:
        factor = math.sqrt(lr - 1)
    except (TypeError, ValueError):
        factor = 0.5
    p.data.sub_(lr * factor * p.grad)


def a_step_that_is_no_count(state, p, lr):
    state["step"] = state.get("step", 1.0) * 0.9
    p.data.sub_(lr * state["step"] * p.grad)


REFUSED = [
    (a_step_that_is_no_count, "called step, which means something else in steppers"),
    (catches_a_division, "catches ZeroDivisionError, while numbers of a rule raise none"),
    (catches_a_root, "catches ValueError, while numbers of a rule raise none"),
    (casts_in_place, "a cast copies only what has another dtype"),
    (makes_contiguous_in_place, "contiguous() copies some tensors, and not others"),
    (shares_on_one_side, "d and m are one in some steps or on one side of an if"),
    (data_that_is_state, "keeps p or its gradient itself as s"),
    (a_dict_of_the_module, "changes BUFFERS, a dict, which is outside of the step"),
    (a_dict_among_the_defaults, "changes a default of a_dict_among_the_defaults"),
    (an_object_that_counts, "changes NOTES, a SimpleNamespace"),
    (reads_its_keywords, "reads wd of **kwargs"),
    (hands_its_keywords_on, "reads wd of **kwargs"),
    (asks_its_keywords, "depends on what is in **kwargs"),
    (looks_a_number_up, "looks a traced number up in a dict or a set"),
    (a_number_in_a_set, "looks a traced number up in a dict or a set"),
    (counts_digits, "makes text of a traced value"),
    (rarely_draws, "draws random numbers by random.random"),
    (draws_of_its_own, "draws random numbers by Random.uniform"),
    (prints, "prints"),
    (marks_a_tensor, "sets .count of a tensor"),
    (sums_what_is_filled, "takes sum of a tensor like p that is filled with fewer numbers"),
    (a_switch_that_changes, "keeps False as odd in later steps, else True"),
    (a_state_with_a_blank, "called 'exp avg', which is no name in Python"),
    (a_state_that_lacks_some, "returns a state without seen"),
    (a_hyper_that_it_returns, "puts lr into the state, which it takes as a hyper-parameter"),
    (state_of_another, "takes grad_avg=None and does not make it"),
]
