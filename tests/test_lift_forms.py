"""What lifted rules look like, and smaller procedures compared with what was lifted of them."""

import copy
import inspect
import re
from functools import partial
from pathlib import Path

import lift_code as code
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import steppers
from steppers.styles import course, fastai, labml, lift, lift_all, miniai
from steppers.styles.base import PerParameter

PAGE = Path(__file__).parents[1] / "docs" / "systems" / "lifting.md"


def body(rule):
    """The lines of a lifted rule after its docstring."""
    return [line.strip() for line in inspect.getsource(rule).split('"""')[2].strip().splitlines()]


# --- how they read ------------------------------------------------------------------------------


def test_a_lifted_step_reads_as_its_formula():
    rule = lift(code.sgd_step)
    assert str(inspect.signature(rule)) == "(p, g, *, lr)"
    assert body(rule) == ["return dict(p=p - lr * g)"]


def test_the_signature_declares_slots_hypers_and_their_defaults():
    signature = inspect.signature(lift(code.average_sqr_grad))
    assert str(signature) == "(g, sqr_avg=zeros, *, sqr_mom=0.99)"


def test_both_sides_of_an_if_on_a_hyper_are_joined():
    assert body(lift(code.weight_decay)) == ["return dict(p=p * where(wd != 0, 1 - lr * wd, 1))"]


def test_min_and_or_are_joined_where_they_differ():
    rules = lift_all([code.average_grad, code.average_sqr_grad, code.step_stat, code.lamb_step])
    lines = body(rules[-1])
    assert lines[-3:] == [
        "q = r1 / r2",
        "x1 = lr * where((r1 == 0) | (r2 == 0), 1, where(q > 10, 10, q))",
        "return dict(p=p - x1 * step)",
    ]


def test_a_first_value_that_no_initialiser_has_is_chosen_at_the_first_step():
    lines = body(lift(code.RMSProp)[1])
    assert "new_sqr_avg = where(t == 1, x1, sqr_avg) * sqr_mom + x1 * (1 - sqr_mom)" in lines


def test_a_step_count_is_t_under_whatever_name():
    def warm_up(p, lr, warmup=4.0, seen=0, **kwargs):
        seen += 1
        p.data.add_(p.grad, alpha=-lr * min(seen / warmup, 1.0))
        return {"seen": seen}

    rule = lift(warm_up)
    assert str(inspect.signature(rule)) == "(p, g, *, t, lr, warmup=4.0)"


def test_a_procedure_that_counts_steps_only_is_no_rule():
    assert [rule.__name__ for rule in lift_all([code.step_stat, code.sgd_step])] == ["sgd_step"]


def test_what_no_later_procedure_reads_is_left_out():
    stats = [code.AverageGrad(dampening=True), code.StepCount(), code.course_momentum_step]
    first, _ = lift_all(stats)
    assert body(first) == ["return dict(grad_avg=grad_avg * mom + (1 - mom) * g)"]


def test_explain_shows_the_names_of_the_code():
    rules = lift_all([code.average_grad, code.momentum_step])
    text = str(
        steppers.Optimizer([nn.Parameter(torch.ones(2))], steps=rules, lr=0.1).explain(False)
    )
    assert "grad_avg' = grad_avg * mom + g" in text
    assert re.search(r"p' = p - lr \* grad_avg'\s+# momentum_step", text)


def test_the_source_is_a_module_of_its_own():
    """What getsource shows of all that was imported for it runs elsewhere: the text is the rule."""
    rule = lift(code.adam_step)
    space = {}
    exec("from steppers.ops import *\n" + inspect.getsource(rule), space)
    given = dict(grad_avg=torch.ones(2), sqr_avg=torch.ones(2), t=3, lr=0.1, mom=0.9, sqr_mom=0.99)
    ours, theirs = (fn(torch.ones(2), eps=1e-5, **given)["p"] for fn in (rule, space["adam_step"]))
    assert torch.equal(ours, theirs)


# --- names ----------------------------------------------------------------------------------------


def test_slots_say_what_the_code_does_not():
    def scaled(p, lr, scale, **kwargs):
        p.data.add_(p.grad * scale, alpha=-lr)

    assert str(inspect.signature(lift(scaled, slots=["scale"]))) == "(p, g, scale, *, lr)"
    assert str(inspect.signature(lift(scaled, hypers=["scale"]))) == "(p, g, *, lr, scale)"


def test_the_use_of_a_name_tells_what_it_is():
    """The average is a tensor, since it has a root; the factor scales, as only numbers do."""

    def scaled(p, lr, average, factor, **kwargs):
        p.data.add_(p.grad / average.sqrt(), alpha=-lr * factor)

    assert str(inspect.signature(lift(scaled))) == "(p, g, average, *, lr, factor)"


def test_names_can_be_changed_to_torchs():
    names = dict(mom="beta1", sqr_mom="beta2", grad_avg="exp_avg", sqr_avg="exp_avg_sq")
    cbs = [partial(code.average_grad, dampening=True), code.average_sqr_grad, code.step_stat,
           code.adam_step]  # fmt: skip
    w = nn.Parameter(torch.ones(2))
    w.grad = torch.ones(2)
    optimizer = steppers.Optimizer([w], steps=lift_all(cbs, rename=names), lr=0.1)
    optimizer.step()
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    assert set(optimizer.state[w]) == {"step", "exp_avg", "exp_avg_sq"}


def test_constants_are_no_hypers():
    rule = lift(code.average_grad, constants=["mom"], mom=0.5)
    assert str(inspect.signature(rule)) == "(g, grad_avg=zeros)"
    assert body(rule) == ["return dict(grad_avg=grad_avg * 0.5 + g)"]


def test_a_hyper_that_decides_whether_there_is_state_can_be_a_constant():
    def step(p, lr, momentum, buffer=None, **kwargs):
        if momentum == 0:
            p.data.sub_(lr * p.grad)
            return None
        buffer = p.grad.clone() if buffer is None else buffer.mul_(momentum).add_(p.grad)
        p.data.sub_(lr * buffer)
        return {"buffer": buffer}

    with pytest.raises(TypeError, match=r"sets buffer on one side .* constants=\[…\]"):
        lift(step)
    assert body(lift(step, constants=["momentum"], momentum=0.0)) == ["return dict(p=p - lr * g)"]
    kept = lift(step, constants=["momentum"], momentum=0.5)
    assert body(kept)[0] == "new_buffer = where(t == 1, g, buffer * 0.5 + g)"


def test_a_larger_norm_takes_no_further_reduction():
    def step(p, lr, **kwargs):
        p.data.sub_(p.grad, alpha=lr * max(p.grad.norm(), p.data.norm()))

    assert inspect.getsource(lift(step)).count("norm(") == 2


def test_a_default_on_which_two_differ_has_to_be_given():
    def slow(p, lr, eps=1e-3, **kwargs):
        p.data.sub_(p.grad / (p.grad.abs() + eps), alpha=lr)

    def fast(p, lr, eps=1e-8, **kwargs):
        p.data.sub_(p.grad / (p.grad.abs() + eps), alpha=lr)

    rules, w = lift_all([slow, fast]), nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match="needs a value for eps"):
        steppers.Optimizer([w], steps=rules, lr=0.1)
    assert steppers.Optimizer([w], steps=rules, lr=0.1, eps=1e-4).param_groups[0]["eps"] == 1e-4


def test_steppers_with_an_order_are_put_into_it():
    def last(p, lr, **kwargs):
        p.data.add_(p.grad, alpha=-lr)

    last._order = 1

    def before(p, lr, wd=0.1, **kwargs):
        p.data.mul_(1 - lr * wd)

    assert [rule.__name__ for rule in lift_all([last, before])] == ["before", "last"]


def test_a_function_that_is_called_as_its_hyper_gets_a_name_of_its_own():
    def decay(p, lr, decay=0.1, **kwargs):
        p.data.mul_(1 - lr * decay)

    rule = lift(decay)
    assert rule.__name__ == "decay_rule"
    w = nn.Parameter(torch.ones(2))
    assert steppers.Optimizer([w], steps=[rule], lr=0.1).param_groups[0]["decay"] == 0.1


def test_hypers_may_have_the_names_of_words_and_be_infinite():
    def scaled(p, lr, norm=2.0, cap=float("inf"), **kwargs):
        p.data.sub_(torch.clamp(p.grad * norm, max=cap) * p.grad.norm(), alpha=lr)

    w = nn.Parameter(torch.ones(4))
    w.grad = torch.ones(4)
    steppers.Optimizer([w], steps=[lift(scaled)], lr=0.1).step()  # 1 - 0.1 * 2 * 2
    torch.testing.assert_close(w.detach(), torch.full((4,), 0.6))


def test_a_rate_that_is_a_tensor_is_a_hyper_too():
    w = nn.Parameter(torch.ones(2))
    (rule,) = lift(code.OwnMomentum([w], lr=torch.tensor(0.25)))
    assert inspect.signature(rule).parameters["lr"].default == 0.25


def test_groups_that_take_other_code_are_told():
    v, w = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = code.OwnMomentum([dict(params=[v]), dict(params=[w], nesterov=True)])
    with pytest.raises(TypeError, match="the groups of OwnMomentum differ in nesterov"):
        lift(optimizer)


def test_marked_parameters_are_told():
    w = nn.Parameter(torch.ones(2))
    optimizer = fastai.SGD([w], lr=0.1, wd=0.1)
    optimizer.state[w]["do_wd"] = False
    with pytest.raises(TypeError, match="marked do_wd=False"):
        lift(optimizer)


def test_an_optimizer_of_lifted_rules_can_be_copied():
    w = nn.Parameter(torch.ones(2))
    optimizer = steppers.Optimizer([w], steps=[lift(code.sgd_step)], lr=0.1)
    copied = copy.deepcopy(optimizer)
    p = copied.param_groups[0]["params"][0]
    p.grad = torch.ones(2)
    copied.step()
    assert p.tolist() == pytest.approx([0.9, 0.9]) and w.tolist() == [1.0, 1.0]


# --- procedures that are lifted and compared with themselves ------------------------------------


def keeps_the_last_gradient(p, lr, last=None, **kwargs):
    if last is None:
        last = p.grad.clone()
    p.data.add_(p.grad + last, alpha=-lr)
    return {"last": p.grad.clone()}


def averages_weights(p, lr, slow=None, **kwargs):
    if slow is None:
        slow = p.data.clone()
    p.data.add_(p.grad, alpha=-lr)
    slow.lerp_(p.data, 0.5)
    p.data.copy_(slow)
    return dict(slow=slow)


def running_norm(p, lr, average=None, **kwargs):
    norm = p.grad.norm().item()
    average = norm if average is None else 0.9 * average + 0.1 * norm
    p.data.add_(p.grad, alpha=-lr / (average + 1.0))
    return dict(average=average)


def running_norm_tensor(p, lr, average=None, **kwargs):
    if average is None:
        average = torch.tensor(0.0)
    average = average * 0.9 + 0.1 * p.grad.norm()
    p.data.add_(p.grad / (average + 1.0), alpha=-lr)
    return dict(average=average)


def looks_ahead(p, lr, k=3, alpha=0.5, count=0, slow=None, **kwargs):
    if slow is None:
        slow = p.data.clone()
    p.data.add_(p.grad, alpha=-lr)
    count += 1
    if count % k == 0:
        slow.add_(p.data - slow, alpha=alpha)
        p.data.copy_(slow)
    return dict(count=count, slow=slow)


def product_of_averages(p, lr, product=1.0, **kwargs):
    product = product * 0.9
    p.data.add_(p.grad, alpha=-lr / (1 - product))
    return dict(product=product)


def cautious(p, lr, momentum=None, **kwargs):
    if momentum is None:
        momentum = torch.zeros_like(p)
    momentum.lerp_(p.grad, 0.1)
    mask = (momentum * p.grad > 0).to(p.grad.dtype)
    mask.div_(mask.mean().clamp_(min=1e-3))
    p.data.sub_(lr * momentum * mask)
    return dict(momentum=momentum)


def within_bounds(p, lr, **kwargs):
    if 0 < p.grad.norm() < 2.5:
        p.data.add_(p.grad, alpha=-lr)


def clips(p, lr, **kwargs):
    norm = torch.linalg.vector_norm(p.grad)
    p.grad.mul_(torch.clamp(1.0 / (norm + 1e-6), max=1.0))
    p.data.add_(p.grad, alpha=-lr)


def unless_not_finite(p, lr, **kwargs):
    if torch.isnan(p.grad).any() or not torch.isfinite(p.grad).all():
        return p
    p.data.add_(p.grad, alpha=-lr)
    return p


def smooth(p, lr, **kwargs):
    p.data.add_(F.softplus(p.grad, beta=2.0) - torch.where(p.grad > 0, p.grad, 0.5), alpha=-lr)


def many_words(p, lr, **kwargs):
    g = p.grad.data
    up = g.sign() * g.abs().pow(0.5) + torch.tanh(g) - g.exp().reciprocal() * torch.sigmoid(g)
    up = up.masked_fill(g < -1, 0.25).maximum(torch.full_like(g, -2.0)) + g.square().rsqrt().log()
    p.data = p.data - lr * (up + g.max() - g.min() + g.abs().sum() / p.numel())


def at_first_otherwise(state, p, lr, **kwargs):
    if len(state) == 0:
        state["seen"] = torch.ones_like(p)
        p.data.add_(p.grad, alpha=-2 * lr)
    else:
        state["seen"].add_(p.grad.pow(2))
        p.data.addcdiv_(p.grad, state["seen"].sqrt(), value=-lr)
    return state


def swaps(state, p, lr, **kwargs):
    if "a" not in state:
        state["a"], state["b"] = torch.zeros_like(p), torch.ones(p.shape, dtype=p.dtype)
    a, b = state["a"], state["b"]
    a.add_(p.grad)
    a, b = b, a
    a *= 0.5
    p.data.sub_(lr * (a - b))


PROCEDURES = [
    keeps_the_last_gradient, averages_weights, running_norm, running_norm_tensor, looks_ahead,
    product_of_averages, cautious, within_bounds, clips, unless_not_finite, smooth, many_words,
    at_first_otherwise, swaps,
]  # fmt: skip


def weights():
    """A matrix, a vector and a number."""
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in ((4, 3), (5,), ())]


def give(params, step, finite=True):
    generator = torch.Generator().manual_seed(step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype) + 0.1
        if step == 5 and not finite:
            p.grad.fill_(float("inf") if p.ndim else 0.0)


def with_state(fn, states):
    """The procedure as a callback: its `state`, where it wants one, is the parameter's."""

    def call(p, **values):
        return fn(states.setdefault(id(p), {}), p, lr=values["lr"])

    return call


@pytest.mark.parametrize("fn", PROCEDURES, ids=lambda fn: fn.__name__)
def test_a_lifted_procedure_is_itself(fn):
    ours, theirs = weights(), weights()
    takes_state = "state" in inspect.signature(fn).parameters
    plain = code.Callbacks([theirs], [with_state(fn, {}) if takes_state else fn], lr=0.1)
    optimizer = steppers.Optimizer(ours, steps=[lift(fn)], lr=0.1)
    for step in range(12):
        for params in (ours, theirs):
            give(params, step, finite=fn is not unless_not_finite)
        plain.step()
        optimizer.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


# --- the styles' own optimizers -----------------------------------------------------------------


class OwnStyle(PerParameter):
    def update_parameter(self, p, state, group):
        if not state:
            state["velocity"] = torch.zeros_like(p)
        state["velocity"].mul_(group["mom"]).add_(p.grad)
        p.sub_(group["lr"] * state["velocity"])


decays = dict(wd=0.1)
STYLES = {
    "fastai.SGD": lambda ps: fastai.SGD(ps, lr=0.1, mom=0.9, **decays),
    "fastai.RMSProp": lambda ps: fastai.RMSProp(ps, lr=0.01, mom=0.9, **decays),
    "fastai.Adam": lambda ps: fastai.Adam(ps, lr=0.1, **decays),
    "fastai.Adam, l2": lambda ps: fastai.Adam(ps, lr=0.1, decouple_wd=False, **decays),
    "fastai.RAdam": lambda ps: fastai.RAdam(ps, lr=0.1, beta=20.0),
    "fastai.QHAdam": lambda ps: fastai.QHAdam(ps, lr=0.1),
    "fastai.Larc": lambda ps: fastai.Larc(ps, lr=0.1, **decays),
    "fastai.Lamb": lambda ps: fastai.Lamb(ps, lr=0.1, **decays),
    "course.sgd_opt": lambda ps: course.sgd_opt(ps, lr=0.1, **decays),
    "course.sgd_mom_opt": lambda ps: course.sgd_mom_opt(ps, lr=0.1, **decays),
    "course.adam_opt": lambda ps: course.adam_opt()(ps, lr=0.1, **decays),
    "miniai.SGD": lambda ps: miniai.SGD(ps, lr=0.1, **decays),
    "miniai.Momentum": lambda ps: miniai.Momentum(ps, lr=0.1, **decays),
    "miniai.RMSProp": lambda ps: miniai.RMSProp(ps, lr=0.01, **decays),
    "miniai.Adam": lambda ps: miniai.Adam(ps, lr=0.1, **decays),
    "labml.Adam": lambda ps: labml.Adam(ps, lr=0.1),
    "labml.AMSGrad": lambda ps: labml.AMSGrad(ps, lr=0.1),
    "labml.RAdam": lambda ps: labml.RAdam(ps, lr=0.1),
    "labml.AdaBelief": lambda ps: labml.AdaBelief(ps, lr=0.1),
    "labml.Noam": lambda ps: labml.Noam(ps, lr=0.1, warmup=4),
    "labml.Sophia": lambda ps: labml.Sophia(ps, lr=0.1),
    "PerParameter": lambda ps: OwnStyle(ps, dict(lr=0.1, mom=0.9)),
}


@pytest.mark.parametrize("name", STYLES)
def test_an_optimizer_of_a_style_is_lifted_with_its_hypers(name):
    ours, theirs = weights(), weights()
    plain = STYLES[name](theirs)
    optimizer = steppers.Optimizer(ours, steps=lift(plain), engine="loop")
    for step in range(12):
        give(ours, step)
        give(theirs, step)
        plain.step()
        optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


# --- the page -----------------------------------------------------------------------------------


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
def test_every_block_of_the_page_runs_and_prints_what_it_shows(capsys, tmp_path):
    """Blocks of one page go on from each other; a text block is what the one before printed."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"```(python|text)\n(.*?)```", text, re.DOTALL)
    file, space = tmp_path / "page.py", {"__name__": "page"}
    assert any(language == "python" for language, _ in found)
    for number, (language, block) in enumerate(found):
        if language == "text":
            assert capsys.readouterr().out.strip() == block.strip()
            continue
        file = tmp_path / f"block{number}.py"
        file.write_text(block, encoding="utf-8")
        capsys.readouterr()
        exec(compile(block, str(file), "exec"), space)
