"""What prevents lifting is said: whose code, which line, what to write instead."""

import copy
import math
import random
import time
from functools import partial
from math import sqrt

import lift_code as code
import numpy as np
import pytest
import torch
from torch import nn

import steppers
from steppers.rules import adam
from steppers.styles import lift, lift_all

SEEN = []
COUNT = 0
WHOLE = "work on whole tensors, with torch.where for a part of the elements"
SHAPES = "but one rule serves all shapes"
CONSTANT = "loop over range(a constant)"


def view(p, lr):
    p.data.view(-1).add_(p.grad, alpha=-lr)


def torch_view(p, lr):
    p.data.add_(torch.flatten(p.grad), alpha=-lr)


def index(p, lr):
    p.data.add_(p.grad[0], alpha=-lr)


def assign_elements(p, lr):
    p.data[0] -= lr


def random_tensor(p, lr):
    p.data.add_(torch.randn_like(p), alpha=-lr)


def random_scalar(p, lr):
    p.data.add_(p.grad, alpha=-lr * torch.rand(()))


def random_method(p, lr):
    p.data.add_(p.grad.clone().normal_(), alpha=-lr)


def python_random(p, lr):
    p.data.add_(p.grad, alpha=-lr * random.random())


def numpy_random(p, lr):
    p.data.add_(p.grad, alpha=-lr * np.random.rand())


def counts_calls(p, lr):
    SEEN.append(1)
    p.data.add_(p.grad, alpha=-lr * len(SEEN))


def reads_the_clock(p, lr):
    p.data.add_(p.grad, alpha=-lr * time.perf_counter_ns())


def sets_a_global(p, lr):
    global COUNT
    COUNT += 1
    p.data.add_(p.grad, alpha=-lr)


def loops_on_data(p, lr):
    while p.grad.norm() > 1:
        p.grad.mul_(0.5)
    p.data.add_(p.grad, alpha=-lr)


def loops_on_a_hyper(p, lr, steps):
    for _ in range(steps):
        p.data.add_(p.grad, alpha=-lr)


def asks_for_the_shape(p, lr):
    p.data.add_(p.grad, alpha=-lr * p.shape[0])


def asks_for_dims(p, lr):
    if p.dim() > 1:
        p.data.add_(p.grad, alpha=-lr)


def asks_for_the_dtype(p, lr):
    if p.dtype == torch.float16:
        p.data.add_(p.grad, alpha=-lr)


def casts(p, lr):
    p.data.add_(p.grad.to(torch.bfloat16), alpha=-lr)


def unknown_method(p, lr):
    p.data.add_(p.grad.cumsum(0), alpha=-lr)


def unknown_function(p, lr):
    p.data.add_(torch.erf(p.grad), alpha=-lr)


def unknown_math(p, lr):
    p.data.add_(p.grad, alpha=-math.gamma(lr))


def foreach(p, lr):
    torch._foreach_add_([p], [p.grad], alpha=-lr)


def multiplies_matrices(p, lr):
    p.data.add_(p.grad @ p.grad, alpha=-lr)


def own_tensor(p, lr):
    p.data.add_(torch.ones(3), alpha=-lr)


OWN = torch.ones(3)


def global_tensor(p, lr):
    p.data.add_(OWN, alpha=-lr)


def item_of_many(p, lr):
    p.data.add_(p.grad, alpha=-lr * p.grad.item())


def truth_of_many(p, lr):
    if p.grad > 0:
        p.data.sub_(lr)


def reduces_the_first_axis(p, lr):
    p.data.sub_(p.grad.mean(0), alpha=lr)


def keeps_the_gradient(p, lr, last=None):
    p.data.add_(p.grad if last is None else last, alpha=-lr)
    return {"last": p.grad}


def keeps_rows(p, lr, rows=None):
    if rows is None:
        rows = p.grad.mean(-1, keepdim=True)
    p.data.sub_(rows)
    return {"rows": rows}


def keeps_text(p, lr):
    p.data.add_(p.grad, alpha=-lr)
    return {"note": "hello"}


def keeps_a_list(p, lr, norms=None):
    p.data.add_(p.grad, alpha=-lr)
    return {"norms": [*(norms or []), p.grad.norm()]}


def returns_another_tensor(p, lr):
    return p - lr * p.grad


def raises_on_one_way(p, lr):
    if lr > 1:
        raise ValueError("too big")
    p.data.add_(p.grad, alpha=-lr)


def catches(p, lr):
    try:
        direction = p.grad.cumsum(0)
    except Exception:
        direction = p.grad
    p.data.add_(direction, alpha=-lr)


def grows_in_place(p, lr):
    p.grad.norm().add_(p.data)


def formats(p, lr):
    SEEN.append(f"{lr:.3f}")
    p.data.add_(p.grad, alpha=-lr)


def unclear(p, factor, lr):
    p.data.add_(p.grad * factor, alpha=-lr)


def reads_keywords(p, **kwargs):
    p.data.add_(p.grad, alpha=-kwargs["lr"])


def drops_the_gradient(p, lr):
    p.data.add_(p.grad, alpha=-lr)
    p.grad = None


def hides_state(p, lr):
    p.__dict__["seen"] = 1
    p.data.add_(p.grad, alpha=-lr)


def a_reserved_name(p, lr, u=1.0):
    p.data.add_(p.grad, alpha=-lr * u)


def late_state(state, p, lr):
    if "a" not in state:
        state["a"] = torch.zeros_like(p)
    elif "b" not in state:
        state["b"] = torch.zeros_like(p)
    p.data.add_(p.grad + state["a"] + state.get("b", 0), alpha=-lr)


# fmt: off
ERRORS = [
    (view, "uses .view: a part or another view of a tensor", WHOLE),
    (torch_view, "uses torch.flatten: a part or another view of a tensor", WHOLE),
    (index, "uses indexing: a part or another view of a tensor", WHOLE),
    (assign_elements, "uses indexing: a part or another view of a tensor", WHOLE),
    (random_tensor, "draws random numbers by torch.randn_like",
     "write a rule with uniform(x), normal(x) or coin(x) of steppers.ops"),
    (random_scalar, "draws random numbers by torch.rand", "write a rule with uniform(x)"),
    (random_method, "draws random numbers by .normal_()", "write a rule with uniform(x)"),
    (python_random, "draws random numbers by random.random", "write a rule with uniform(x)"),
    (numpy_random, "draws random numbers by numpy.random.rand", "write a rule with uniform(x)"),
    (counts_calls, "changes SEEN, a list, which is outside of the step", "keep in the state"),
    (reads_the_clock, "is not pure: two runs of it differ", "let it depend on p, its gradient"),
    (sets_a_global, "assigns COUNT, a variable outside of sets_a_global", "keep in the state"),
    (loops_on_data, "asks 16 questions about traced values in one run: a loop on data has no fixed "
     "length", CONSTANT),
    (loops_on_a_hyper, "counts by a traced number: a loop or an index of unknown length", CONSTANT),
    (asks_for_the_shape, f"looks into the shape, {SHAPES}", "steppers.by_shape"),
    (asks_for_dims, f"asks for the shape by .dim, {SHAPES}", "steppers.by_shape"),
    (asks_for_the_dtype, "branches on the dtype, but a rule computes in one way", "state_dtype"),
    (casts, "casts to torch.bfloat16, which rounds", "state_dtype and rounding"),
    (unknown_method, "uses .cumsum(), which has no word in steppers.ops", "there are pow sqrt"),
    (unknown_function, "uses torch.erf, which has no word in steppers.ops", "there are pow sqrt"),
    (unknown_math, "uses math.gamma, which has no word in steppers.ops", "there are pow sqrt"),
    (foreach, "uses torch._foreach_add_, which has no word in steppers.ops", "there are pow sqrt"),
    (multiplies_matrices, "multiplies matrices", "write a rule with matmul"),
    (own_tensor, "makes a tensor of a shape of its own by torch.ones", "write torch.zeros_like(p)"),
    (global_tensor, "computes with a tensor of its own, of shape (3,)", "a constant is a number"),
    (item_of_many, "takes item() of a tensor of many elements", "reduce it first"),
    (truth_of_many, "asks for the truth of a tensor of many elements", "write torch.where"),
    (reduces_the_first_axis, "takes mean over dim=0, keepdim=False", "with keepdim=True"),
    (keeps_the_gradient, "keeps p or its gradient itself as last", "keep a clone()"),
    (keeps_rows, "keeps rows, a state of another shape than p's", "keep tensors like p"),
    (keeps_text, "keeps 'hello' as note", "keep tensors like p, and numbers"),
    (keeps_a_list, "as norms", "keep tensors like p, and numbers"),
    (returns_another_tensor, "returns another tensor than p", "change p in place"),
    (raises_on_one_way, "raises ValueError: too big", "check values elsewhere"),
    (catches, "uses .cumsum(), which has no word in steppers.ops", "there are pow sqrt"),
    (grows_in_place, "changes a tensor in place by one of another shape", "bind the result"),
    (formats, "prints a traced value", "log outside of the step"),
    (unclear, "takes factor, and its signature does not say which are state and which numbers",
     "pass slots=('factor',) or hypers=('factor',) to lift"),
    (reads_keywords, "raises KeyError: 'lr'", "name what it reads in its signature"),
    (drops_the_gradient, "drops the gradient", "leave that to zero_grad()"),
    (hides_state, "writes p.__dict__['seen']", "write p.seen"),
    (a_reserved_name, "has a hyper-parameter or a state called u, which means something else in "
     "rules (p, g, u, t)", "give it another name"),
    (late_state, "makes the state b in a later step only", "make it in the first step"),
]
# fmt: on
AFTERWARDS = {  # known when the code has returned: there is no line to give
    counts_calls,
    reads_the_clock,
    sets_a_global,
    keeps_the_gradient,
    keeps_rows,
    keeps_text,
    keeps_a_list,
    returns_another_tensor,
    unclear,
    hides_state,
    a_reserved_name,
    late_state,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fn", "what", "instead"), ERRORS, ids=lambda x: getattr(x, "__name__", "")
)
def test_what_prevents_lifting_is_told(fn, what, instead):
    with pytest.raises(TypeError) as caught:
        lift(fn)
    text = str(caught.value)
    assert text.startswith(f"lift: {fn.__name__} ")
    assert what in text and instead in text
    assert ("of test_lift_errors.py)" in text) is (fn not in AFTERWARDS)


def test_the_line_is_that_of_the_code():
    with pytest.raises(TypeError, match=r"\(line \d+ of") as caught:
        lift(view)
    assert f"line {view.__code__.co_firstlineno + 1} " in str(caught.value)


def test_more_ways_than_anybody_can_read_are_refused():
    def branches(p, lr, a=1.0, b=1.0, c=1.0, d=1.0, e=1.0, f=1.0, h=1.0):
        for x in (a, b, c, d, e, f, h):
            if x > lr:
                p.data.mul_(x)

    with pytest.raises(TypeError, match="branches has more than 64 ways through its conditions"):
        lift(branches)


def test_a_nonlocal_that_is_written_is_told():
    seen = 0

    def counts(p, lr):
        nonlocal seen
        seen += 1
        p.data.add_(p.grad, alpha=-lr * seen)

    with pytest.raises(TypeError, match="assigns seen, a variable outside of counts"):
        lift(counts)
    assert seen == 0


def test_a_class_that_counts_on_itself_is_told():
    class Counting(code.SGD):
        def opt_step(self, p):
            self.seen = getattr(self, "seen", 0) + 1
            p -= self.lr * p.grad

    with pytest.raises(TypeError, match=r"counting_opt_step sets self\.seen in a step"):
        lift(Counting)


class HasNothing:
    def run(self):
        pass


# fmt: off
REFUSED = [
    (3, "it takes a function, a class or an optimizer, got 3"),
    ("adam", "it takes a function, a class or an optimizer, got 'adam'"),
    (None, "it takes a function, a class or an optimizer, got None"),
    (torch.zeros(1), "it takes a function, a class or an optimizer, got tensor"),
    (len, "<built-in function len> has no Python code"),
    (torch.add, "has no Python code"),
    (adam, "adam is a rule already"),
    (steppers.AdamW, "AdamW is made of rules already"),
    (torch.optim.SGD, "torch.optim.SGD keeps its maths in kernels"),
    (HasNothing(), "HasNothing has none of opt_step, step_param, update_parameter, step"),
    (partial(view, 1), "bind the arguments of"),
]
# fmt: on


@pytest.mark.parametrize(("what", "text"), REFUSED, ids=lambda x: str(x)[:20])
def test_what_is_no_code_of_this_kind_is_refused(what, text):
    with pytest.raises(TypeError) as caught:
        lift(what)
    assert str(caught.value).startswith("lift: ") and text in str(caught.value)


def test_a_list_is_wanted_for_lift_all():
    with pytest.raises(TypeError, match="lift_all: it takes a list of callbacks"):
        lift_all(view)


def test_a_method_that_there_is_not_is_told():
    with pytest.raises(TypeError, match="LabAdam has no method 'stride'"):
        lift(code.LabAdam, method="stride")


def test_the_code_stays_as_it_was():
    """Its functions, classes, globals, objects and parameters are those from before."""
    w = nn.Parameter(torch.ones(3))
    w.grad = torch.full((3,), 0.5)
    optimizer = code.RAdam([w], lr=0.1)
    before = {
        "module": dict(vars(code)), "class": dict(vars(code.RAdam)),
        "parent": dict(vars(code.LabAdam)),
        "defaults": copy.deepcopy(optimizer.defaults), "attributes": set(vars(optimizer)),
        "function": (code.adam_step.__code__, code.adam_step.__globals__, code.adam_step.__dict__),
    }  # fmt: skip
    lift(optimizer)
    lift_all([code.average_grad, code.average_sqr_grad, code.step_stat, code.adam_step])
    assert dict(vars(code)) == before["module"]
    assert (
        dict(vars(code.RAdam)) == before["class"] and dict(vars(code.LabAdam)) == before["parent"]
    )
    assert optimizer.defaults == before["defaults"] and set(vars(optimizer)) == before["attributes"]
    assert code.adam_step.__globals__ is before["function"][1] and math.sqrt is sqrt
    assert len(optimizer.state) == 0 and optimizer.param_groups[0]["lr"] == 0.1
    torch.testing.assert_close(w.detach(), torch.ones(3), rtol=0, atol=0)
    torch.testing.assert_close(w.grad, torch.full((3,), 0.5), rtol=0, atol=0)


def test_a_refusal_leaves_the_code_as_it_was():
    w = nn.Parameter(torch.ones(3))

    class Draws(code.LabAdam):
        def get_mv(self, state, group, grad):
            return super().get_mv(state, group, grad + torch.randn_like(grad))

    optimizer = Draws([w])
    with pytest.raises(
        TypeError, match=r"draws_step_param draws random numbers by torch\.randn_like"
    ):
        lift(optimizer)
    w.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[w]["step"] == 1 and not torch.equal(w.detach(), torch.ones(3))
