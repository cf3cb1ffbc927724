"""Stats and steppers of fast.ai's course v3, as users wrote them, and beside our own rules."""

import copy
import math
import pickle
from functools import partial

import pytest
import torch

import steppers
from steppers import rules
from steppers.styles.course import (
    AverageGrad,
    AverageSqrGrad,
    Optimizer,
    Stat,
    StatefulOptimizer,
    StepCount,
    adam_opt,
    adam_step,
    compose,
    debias,
    ewma,
    get_defaults,
    l2_reg,
    lamb_opt,
    lamb_step,
    lin_comb,
    listify,
    maybe_update,
    momentum_step,
    setify,
    sgd_mom_opt,
    sgd_opt,
    sgd_step,
    uniqueify,
    weight_decay,
)


def weights(values=range(4), share=0.1, dtype=torch.float64):
    """Parameters i with gradient i / 10."""
    made = [torch.tensor([float(v)], dtype=dtype, requires_grad=True) for v in values]
    for p in made:
        p.grad = share * p.detach().clone()
    return made


def values(params):
    return torch.cat([p.detach() for p in params])


def near(found, wanted, tol=1e-5):
    wanted = torch.as_tensor(wanted, dtype=found.dtype)
    return torch.allclose(found, wanted, rtol=0, atol=tol)


COUNT = torch.arange(4.0, dtype=torch.float64)


# --- the optimizer ------------------------------------------------------------------------------


def test_a_list_as_first_element_makes_groups():
    a, b, c = weights(range(3))
    assert Optimizer([a, b, c], sgd_step, lr=0.1).param_lists == [[a, b, c]]
    assert Optimizer([[a, b], [c]], sgd_step, lr=0.1).param_lists == [[a, b], [c]]
    assert Optimizer((p for p in (a, b)), sgd_step, lr=0.1).param_lists == [[a, b]]
    assert Optimizer(([a], [b, c]), sgd_step, lr=0.1).param_lists == [[a], [b, c]]
    assert Optimizer((x for x in ([a], [b, c])), sgd_step, lr=0.1).param_lists == [[a], [b, c]]
    assert Optimizer([(a,), (b, c)], sgd_step, lr=0.1).param_lists == [[a], [b, c]]


def test_weight_decay_is_a_default_that_can_be_given():
    assert sgd_opt(weights(), lr=0.1).hypers == [dict(wd=0.0, lr=0.1)]
    assert sgd_opt(weights(), lr=0.1, wd=1e-4).hypers == [dict(wd=1e-4, lr=0.1)]


def test_the_first_default_wins_explicit_ones_before_it_and_each_group_has_its_own():
    def first(p, a, **kwargs):
        return p

    def second(p, a, b, **kwargs):
        return p

    first._defaults, second._defaults = dict(a=1.0), dict(a=2.0, b=3.0)
    groups = [[w] for w in weights(range(2))]
    opt = Optimizer(groups, [first, second], lr=0.1)
    assert [dict(h) for h in opt.hypers] == [dict(lr=0.1, a=1.0, b=3.0)] * 2
    assert Optimizer(groups, [first, second], lr=0.1, a=5.0).hypers[0]["a"] == 5.0
    opt.hypers[1]["a"] = 7.0
    assert [h["a"] for h in opt.hypers] == [1.0, 7.0]
    assert [g["a"] for g in opt.param_groups] == [1.0, 7.0]


def test_stats_defaults_win_over_steppers():
    def late(p, mom, **kwargs):
        return p

    late._defaults = dict(mom=0.5)
    opt = StatefulOptimizer(weights(), late, AverageGrad(), lr=0.1)
    assert opt.hypers[0]["mom"] == 0.9


def test_a_partials_defaults_are_found():
    assert get_defaults(partial(weight_decay, wd=0.3)) == {"wd": 0.3}
    assert get_defaults(weight_decay) == {"wd": 0.0}
    assert get_defaults(print) == {}


def test_sgd_of_the_paper_form():
    params = weights()
    opt = sgd_opt(params, lr=0.1)
    opt.step()
    assert near(values(params), 0.99 * COUNT)
    opt.step()
    assert near(values(params), 0.98 * COUNT)


def test_decay_then_sgd():
    params = weights()
    sgd_opt(params, lr=0.1, wd=0.1).step()
    assert near(values(params), 0.98 * COUNT)


def test_one_stepper_moves_one_parameter():
    (p,) = weights([1.0])
    assert sgd_step(p, lr=1.0) is p and near(p.detach(), [0.9]) and near(p.grad, [0.1])
    (p,) = weights([1.0])
    assert near(weight_decay(p, 1.0, 0.1).detach(), [0.9]) and near(p.grad, [0.1])
    (p,) = weights([1.0])
    assert near(l2_reg(p, 1.0, 0.1).detach(), [1.0]) and near(p.grad, [0.2])


def test_parameters_without_a_gradient_stay_and_groups_have_their_rates():
    params = weights()
    params[3].grad = None
    sgd_opt(params, lr=0.1).step()
    assert near(values(params), [0, 0.99, 1.98, 3])
    params = weights()
    opt = sgd_opt([params[:2], params[2:]], lr=0.1)
    opt.hypers[0]["lr"] = 0.01
    opt.step()
    assert near(values(params), [0, 0.999, 1.98, 2.97])


def test_grad_params_gives_each_parameter_with_its_groups_hypers():
    params = weights()
    params[2].grad = None
    opt = sgd_opt([params[:2], params[2:]], lr=[0.01, 0.1])
    found = opt.grad_params()
    wanted = (params[0], params[1], params[3])
    assert all(p is w for (p, _), w in zip(found, wanted, strict=True))
    assert [hyper["lr"] for _, hyper in found] == [0.01, 0.01, 0.1]


def test_zero_grad_fills_with_zeros_or_drops():
    params = weights()
    opt = sgd_opt(params, lr=0.1)
    held = params[1].grad
    opt.zero_grad()
    assert params[1].grad is held and near(held, [0.0])
    opt.zero_grad(set_to_none=True)
    assert params[1].grad is None


def test_l2_reaches_the_step_and_leaves_the_gradient():
    params = weights()
    opt = Optimizer(params, [l2_reg, sgd_step], lr=0.1, wd=0.1)
    opt.step()
    assert near(values(params), (1 - 0.1 * (0.1 + 0.1)) * COUNT)
    assert near(torch.cat([p.grad for p in params]), 0.1 * COUNT)


def test_with_keep_grads_off_l2_is_counted_again_at_a_second_step():
    (p,) = weights([1.0])
    opt = Optimizer([p], [l2_reg, sgd_step], lr=0.1, wd=0.1, keep_grads=False)
    opt.step()
    assert near(p.grad, [0.2])
    opt.step()
    assert near(p.grad, [0.2 + 0.1 * 0.98])


@pytest.mark.parametrize(("stats_first", "wanted"), [(False, 0.9602), (True, 0.97)])
def test_l2_reaches_statistics_unless_these_are_to_be_first(stats_first, wanted):
    params = weights()
    sgd_mom_opt(params, lr=0.1, wd=0.1, steppers=[weight_decay, momentum_step]).step()
    assert near(values(params), 0.98 * COUNT)
    steps = [l2_reg, momentum_step]
    hypers = dict(lr=0.1, wd=0.1, stats_first=stats_first)
    StatefulOptimizer(params, steps, AverageGrad(), **hypers).step()
    assert near(values(params), wanted * COUNT)
    assert near(torch.cat([p.grad for p in params]), 0.1 * COUNT)


def test_a_partial_of_l2_and_a_marked_stepper_run_before_the_stats_too():
    def clipped(p, **kwargs):
        p.grad.clamp_(max=0.05)
        return p

    clipped.on_gradient = True
    for early, wanted in ((partial(l2_reg, wd=0.1), 0.98), (clipped, 0.995)):
        (p,) = weights([1.0])
        StatefulOptimizer([p], [momentum_step, early], AverageGrad(), lr=0.1).step()
        assert near(p.detach(), [wanted])


# --- statistics ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dampening", "first", "second"), [(False, 1, 1.9), (True, 0.1, 0.19)])
def test_average_grad(dampening, first, second):
    p, stat = weights([1.0])[0], AverageGrad(dampening=dampening)
    state = stat.init_state(p)
    state = stat.update(p, state, mom=0.9)
    assert near(state["grad_avg"], first * p.grad)
    state = stat.update(p, state, mom=0.9)
    assert near(state["grad_avg"], second * p.grad)
    assert state["mom_damp"] == pytest.approx(0.1 if dampening else 1.0)


@pytest.mark.parametrize(("dampening", "second"), [(False, 1.99), (True, 0.0199)])
def test_average_sqr_grad(dampening, second):
    p, stat = weights([1.0])[0], AverageSqrGrad(dampening=dampening)
    state = stat.init_state(p)
    for _ in range(2):
        state = stat.update(p, state, sqr_mom=0.99)
    assert near(state["sqr_avg"], second * p.grad**2)


def test_step_count():
    p, stat = weights([1.0])[0], StepCount()
    state = stat.init_state(p)
    assert state == {"step": 0}
    state = stat.update(p, state)
    assert state["step"] == 1
    for _ in range(5):
        state = stat.update(p, state)
    assert state["step"] == 6


def test_debias_is_right_for_both_kinds_of_average():
    for damp in (1.0, 0.1):
        total = 0.0
        for step in range(1, 6):
            total = 0.9 * total + damp
            assert debias(0.9, damp, step) == pytest.approx(total)
            assert debias(1.0, damp, step) == pytest.approx(damp * step)


def test_a_stat_without_its_methods_says_which():
    class Empty(Stat):
        pass

    p = weights([1.0])[0]
    with pytest.raises(NotImplementedError, match=r"Empty must have init_state\(p\)"):
        Empty().init_state(p)
    with pytest.raises(NotImplementedError, match="Empty must have update"):
        Empty().update(p, {})


def test_a_stats_sum_with_a_default_and_with_another():
    class Total(Stat):
        _defaults = dict(mom=0.9)

        def init_state(self, p):
            return {"total": 0.0}

        def update(self, p, state, **kwargs):
            return {"total": state["total"] + p.grad.item()}  # a new dict

    def still(p, **kwargs):
        return p

    (p,) = weights([1.0])
    opt = StatefulOptimizer([p], still, Total())
    assert dict(opt.hypers[0]) == {"mom": 0.9}
    opt.step()
    opt.step()
    assert opt.state[p]["total"] == pytest.approx(0.2)
    assert StatefulOptimizer([p], still, Total(), mom=0.99).hypers[0]["mom"] == 0.99


def test_the_first_stat_starts_a_shared_key():
    class One(Stat):
        start = 1

        def init_state(self, p):
            return {"x": self.start}

        def update(self, p, state, **kwargs):
            return state

    class Two(One):
        start = 2

    def still(p, x, **kwargs):
        return p

    (p,) = weights([1.0])
    opt = StatefulOptimizer([p], still, [One(), Two()])
    opt.step()
    assert opt.state[p] == {"x": 1}


# --- ready-made ---------------------------------------------------------------------------------


def test_momentum_without_dampening():
    params = weights()
    opt = sgd_mom_opt(params, lr=0.1, wd=0.0)
    opt.step()
    opt.step()
    assert near(values(params), (1 - 0.1 * (0.1 + 0.19)) * COUNT)
    assert near(opt.state[params[2]]["grad_avg"], [0.38])


def test_sgd_mom_opt_decays_after_its_step_by_a_hundredth():
    params = weights()
    sgd_mom_opt(params, lr=0.1).step()
    assert near(values(params), 0.99 * (1 - 0.1 * 0.01) * COUNT, 1e-12)


def test_adam_moves_by_its_rate():
    params = weights(range(1, 4))
    opt = adam_opt()(params, lr=0.1)
    opt.step()
    assert near(values(params), [0.9, 1.9, 2.9], 1e-3)
    opt.step()
    assert near(values(params), [0.8, 1.8, 2.8], 1e-3)


def test_adam_opt_takes_further_steppers_and_defaults():
    def halve(p, **kwargs):
        return p.mul_(0.5)

    params = weights(range(1, 4))
    adam_opt(halve, mom=0.8)(params, lr=0.1).step()
    assert near(values(params), [0.45, 0.95, 1.45], 1e-3)


def test_lamb_as_the_ratio_of_rms():
    params = weights(range(1, 4))
    joint = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    joint.grad = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    lamb_opt([joint], lr=0.1).step()
    assert near(joint.detach(), [0.7840, 1.7840, 2.7840], 1e-3)
    lamb_opt(params, lr=0.1).step()  # each alone: the direction is 1, so the ratio is p, at most 10
    assert near(values(params), [0.9, 1.8, 2.7], 1e-4)


@pytest.mark.parametrize(("guard", "moved"), [(True, -0.1), (False, 0.0)])
def test_lamb_moves_a_tensor_of_zeros_only_with_its_guard(guard, moved):
    p = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    p.grad = torch.ones(3, dtype=torch.float64)
    step = partial(lamb_step, guard=guard)
    stats = [AverageGrad(dampening=True), AverageSqrGrad(), StepCount()]
    StatefulOptimizer([p], step, stats, lr=0.1).step()
    assert near(p.detach(), [moved] * 3)


@pytest.mark.parametrize("guard", [True, False])
def test_lamb_never_makes_nan_of_zeros(guard):
    p = torch.zeros(2, requires_grad=True)
    p.grad = torch.zeros(2)
    stats = [AverageGrad(dampening=True), AverageSqrGrad(), StepCount()]
    StatefulOptimizer([p], partial(lamb_step, guard=guard), stats, lr=0.1, wd=0.1).step()
    assert p.tolist() == [0.0, 0.0]


def run(make, steps=6):
    torch.manual_seed(1)
    start = torch.randn(7, 5, dtype=torch.float64)
    p = start.clone().requires_grad_()
    opt = make([p])
    for _ in range(steps):
        p.grad = torch.randn(7, 5, dtype=torch.float64)
        opt.step()
    return p.detach()


CHAINS = {
    "sgd": (
        partial(sgd_opt, lr=0.1, wd=0.2),
        [rules.decay, rules.descend],
        dict(lr=0.1, weight_decay=0.2),
    ),
    "momentum": (
        partial(sgd_mom_opt, lr=0.1, wd=0.2),
        [rules.heavy_ball, rules.descend, rules.decay],
        dict(lr=0.1, weight_decay=0.2, momentum=0.9),
    ),
    "adam": (
        partial(adam_opt(), lr=0.1, wd=0.2),
        [rules.average_grad, rules.average_square, rules.adam, rules.descend, rules.decay],
        dict(lr=0.1, weight_decay=0.2, betas=(0.9, 0.99), eps=1e-5),
    ),
    "lamb": (
        partial(lamb_opt, lr=0.1, wd=0.2),
        [
            rules.average_grad,
            rules.average_square,
            rules.adam,
            rules.decayed_direction,
            rules.trust_ratio,
            rules.descend,
        ],
        dict(lr=0.1, weight_decay=0.2, betas=(0.9, 0.99), eps=1e-6),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_styles_optimizer_is_a_chain_of_rules(name):
    style, steps, hypers = CHAINS[name]
    ours = run(lambda params: steppers.Optimizer(params, steps=steps, **hypers))
    assert torch.allclose(run(style), ours, rtol=1e-12, atol=1e-12)


def test_adam_against_the_formula():
    torch.manual_seed(1)
    p = torch.randn(7, 5, dtype=torch.float64)
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    for t in range(1, 7):
        g = torch.randn(7, 5, dtype=torch.float64)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        p = p - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-5)
        p = p * (1 - 0.1 * 0.2)  # decay after the step
    assert torch.allclose(run(partial(adam_opt(), lr=0.1, wd=0.2)), p, rtol=1e-12, atol=1e-12)


# --- code as users have it ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
def test_steppers_in_torchs_old_spelling_run_as_they_are():
    def descend(p, lr, **kwargs):
        p.data.add_(-lr, p.grad.data)
        return p

    def shrink(p, lr, wd, **kwargs):
        p.data.mul_(1 - lr * wd)
        return p

    shrink._defaults = dict(wd=0.0)

    class Squares(Stat):
        _defaults = dict(sqr_mom=0.99)

        def init_state(self, p):
            return {"squares": torch.zeros_like(p.grad.data)}

        def update(self, p, state, sqr_mom, **kwargs):
            state["squares"].mul_(sqr_mom).addcmul_(1 - sqr_mom, p.grad.data, p.grad.data)
            return state

    def scaled(p, lr, squares, eps, **kwargs):
        p.data.addcdiv_(-lr, p.grad.data, squares.sqrt() + eps)
        return p

    scaled._defaults = dict(eps=1e-8)
    params = weights()
    opt_func = partial(Optimizer, steppers=[shrink, descend])
    opt_func(params, lr=0.1, wd=0.1).step()
    assert near(values(params), 0.98 * COUNT)
    params = weights(range(1, 4))
    opt = StatefulOptimizer(params, [scaled, shrink], stats=Squares(), lr=0.1)
    opt.step()
    wanted = [i - 0.1 * (i / 10) / (math.sqrt(0.01) * i / 10 + 1e-8) for i in (1, 2, 3)]
    assert near(values(params), wanted, 1e-6)


def test_order_sorts_the_steppers():
    calls = []

    def late(p, **kwargs):
        calls.append("late")
        return p

    def early(p, **kwargs):
        calls.append("early")
        return p

    early._order = -1
    Optimizer(weights([1.0]), [late, early]).step()
    assert calls == ["early", "late"]
    assert compose(2, [lambda x: x + 1, lambda x: x * 10]) == 30


def test_sets_of_one_of_several_and_of_nothing():
    assert [setify(o) for o in ("aa", ["aa", 1], None, 1, {1})] == [
        {"aa"}, {"aa", 1}, set(), {1}, {1},
    ]  # fmt: skip
    assert uniqueify("banana") == ["b", "a", "n"]
    assert uniqueify(iter([3, 1, 3]), sort=True) == [1, 3]


def test_lists_and_updates():
    assert [listify(o) for o in (None, 3, "ab", [1], (1, 2), range(2))] == [
        [], [3], ["ab"], [1], [1, 2], [0, 1],
    ]  # fmt: skip
    tensor = torch.ones(3)
    assert listify(torch.tensor(1.0)) == [torch.tensor(1.0)] and len(listify(tensor)) == 3
    found = {"a": 1}
    maybe_update([{"a": 5, "b": 2}, {"b": 3}], found, lambda o: o)
    assert found == {"a": 1, "b": 2}
    assert ewma is lin_comb and lin_comb(1.0, 3.0, 0.9) == pytest.approx(1.2)


def mom1(avg, beta, yi, i):
    avg = yi if avg is None else avg
    return beta * avg + yi


def mom2(avg, beta, yi, i):
    avg = yi if avg is None else avg
    return lin_comb(avg, yi, beta)


def mom3(avg, beta, yi, i):
    return lin_comb(0.0 if avg is None else avg, yi, beta)


@pytest.mark.parametrize("beta", [0.5, 0.7, 0.9, 0.99])
def test_averages_of_the_momentum_study(beta):
    """The notebook's functions, against the sums that they stand for."""
    torch.manual_seed(0)
    ys = (torch.randn(20, dtype=torch.float64) + 0.3).tolist()
    found = {}
    for f in (mom1, mom2, mom3):
        avg, found[f] = None, []
        for i, y in enumerate(ys):
            avg = f(avg, beta, y, i)
            found[f].append(avg)
    assert found[mom1][0] == pytest.approx((1 + beta) * ys[0]) and found[mom2][0] == ys[0]
    for i in range(len(ys)):
        shares = [beta ** (i - j) for j in range(i + 1)]
        total = sum(share * y for share, y in zip(shares, ys, strict=False))
        assert found[mom1][i] == pytest.approx(beta ** (i + 1) * ys[0] + total)
        assert found[mom2][i] == pytest.approx(beta ** (i + 1) * ys[0] + (1 - beta) * total)
        debiased = found[mom3][i] / debias(beta, 1 - beta, i + 1)
        assert debiased == pytest.approx(total / sum(shares))  # weights that sum to 1


# --- what goes wrong ----------------------------------------------------------------------------


def test_a_misspelt_hyper_is_an_error_unless_told():
    with pytest.raises(TypeError, match="no hyper-parameter 'mom_sqr'; did you mean"):
        adam_opt()(weights(), lr=0.1, mom_sqr=0.99)
    assert adam_opt()(weights(), lr=0.1, mom_sqr=0.9, strict=False).hypers[0]["mom_sqr"] == 0.9


def test_a_stepper_that_reads_kwargs_takes_the_usual_names():
    def reads(p, **kwargs):
        p.data.sub_(kwargs["lr"] * kwargs["wd"])
        return p

    (p,) = weights([1.0])
    Optimizer([p], reads, lr=0.5, wd=1.0).step()
    assert p.item() == 0.5
    with pytest.raises(TypeError, match="no hyper-parameter 'decay'"):
        Optimizer([p], reads, lr=0.5, decay=1.0)


def test_a_state_named_as_a_hyper_is_an_error_before_anything_moves():
    class Clash(Stat):
        def init_state(self, p):
            return {"lr": 3}

        def update(self, p, state, **kwargs):
            return state

    params = weights()
    opt = StatefulOptimizer(params, sgd_step, Clash(), lr=0.1)
    with pytest.raises(TypeError, match="'lr' is a hyper-parameter and in the state too"):
        opt.step()
    assert near(values(params), COUNT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Optimizer(weights(), sgd_step), "sgd_step needs lr"),
        (lambda: Optimizer(weights(), "sgd", lr=0.1), "a stepper is a function"),
        (lambda: StatefulOptimizer(weights(), sgd_step, AverageGrad, lr=0.1), "an instance"),
        (lambda: StatefulOptimizer(weights(), sgd_step, 3, lr=0.1), "a stat has init_state"),
    ],
)
def test_wrong_parts_are_refused_at_construction(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_rate_out_of_its_range_is_refused():
    with pytest.raises(ValueError, match="lr must be >= 0"):
        sgd_opt(weights(), lr=-1.0)


def test_a_stepper_or_stat_that_returns_nothing_is_named():
    class Lost(Stat):
        def init_state(self, p):
            return {"x": 0}

        def update(self, p, state, **kwargs):
            state["x"] += 1

    def forgets(p, **kwargs):
        p.mul_(1)

    with pytest.raises(TypeError, match="the stepper forgets must return p"):
        Optimizer(weights(), forgets).step()
    with pytest.raises(TypeError, match=r"Lost\.update must return the state"):
        StatefulOptimizer(weights(), sgd_step, Lost(), lr=0.1).step()


def test_an_error_in_a_stepper_puts_the_gradient_back():
    def breaks(p, **kwargs):
        p.grad.mul_(0)
        raise RuntimeError("here")

    (p,) = weights([1.0])
    held = p.grad
    with pytest.raises(RuntimeError, match="here"):
        Optimizer([p], breaks).step()
    assert p.grad is held and near(held, [0.1])


# --- torch's tools ------------------------------------------------------------------------------


def test_state_goes_through_a_file_and_on(tmp_path):
    params = weights(range(1, 4))
    opt = adam_opt()(params, lr=0.1)
    opt.step()
    torch.save(opt.state_dict(), tmp_path / "opt.pt")
    twins = [p.detach().clone().requires_grad_() for p in params]
    for twin, p in zip(twins, params, strict=True):
        twin.grad = p.grad.clone()
    other = adam_opt()(twins, lr=0.5, mom=0.5)
    other.load_state_dict(torch.load(tmp_path / "opt.pt", weights_only=True))
    assert other.hypers[0]["lr"] == 0.1 and other.state[twins[0]]["step"] == 1
    opt.step()
    other.step()
    assert torch.equal(values(params), values(twins))


def test_it_can_be_copied_and_pickled():
    params = weights(range(1, 4))
    opt = adam_opt()(params, lr=0.1)
    opt.step()
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        twin_params = twin.param_groups[0]["params"]
        for q, p in zip(twin_params, params, strict=True):
            q.grad = p.grad.clone()
        twin.step()
        assert near(values(twin_params), [0.8, 1.8, 2.8], 1e-3)


def test_torchs_one_cycle_drives_rate_and_momentum():
    params = weights()
    opt = sgd_mom_opt(params, lr=0.1)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.5, total_steps=10)
    seen = []
    for _ in range(9):
        opt.step()
        sched.step()
        seen.append((opt.hypers[0]["lr"], opt.hypers[0]["mom"]))
    assert max(lr for lr, _ in seen) == pytest.approx(0.5, rel=0.1)
    assert min(mom for _, mom in seen) == pytest.approx(0.85, abs=0.02)


def test_a_closure_and_a_sparse_gradient():
    (p,) = weights([1.0])
    assert sgd_opt([p], lr=0.1).step(lambda: 3.0) == 3.0
    table = torch.nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        sgd_opt(table.parameters(), lr=0.1).step()


def test_adam_step_refuses_a_parameter_without_a_gradient():
    p = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="no gradient"):
        sgd_step(p, 0.1)
    assert adam_step._defaults == {"eps": 1e-5} and lamb_step._defaults == {"eps": 1e-6, "wd": 0.0}
