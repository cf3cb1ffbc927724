"""Optimizers as readers of the course have them in their notebooks, and what breaks them."""

import io
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, ReduceLROnPlateau

from steppers.groups import no_decay
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
    get_defaults,
    l2_reg,
    lamb_opt,
    listify,
    maybe_update,
    momentum_step,
    sgd_mom_opt,
    sgd_opt,
    sgd_step,
    weight_decay,
)

OLD = pytest.mark.filterwarnings("ignore:This overload of:UserWarning")


def vector(*numbers, grads=None, dtype=torch.float64):
    p = torch.tensor(numbers, dtype=dtype, requires_grad=True)
    p.grad = 0.1 * p.detach() if grads is None else torch.tensor(grads, dtype=dtype)
    return p


def near(found, wanted, tol=1e-9):
    wanted = torch.as_tensor(wanted, dtype=found.dtype)
    return torch.allclose(found.detach(), wanted, rtol=0, atol=tol)


def path(make, steps=5, dtype=torch.float64):
    """Where an optimizer gets on the same gradients."""
    drawn = torch.Generator().manual_seed(0)
    p = torch.randn(4, 3, generator=drawn, dtype=dtype).requires_grad_()
    opt = make([p])
    for _ in range(steps):
        p.grad = torch.randn(4, 3, generator=drawn, dtype=dtype)
        opt.step()
    return p.detach()


# --- notebooks ----------------------------------------------------------------------------------


class NotebookStateful(Optimizer):
    """The notebook's own class on Optimizer, in its words."""

    def __init__(self, params, steppers, stats=None, **defaults):
        self.stats = listify(stats)
        maybe_update(self.stats, defaults, get_defaults)
        super().__init__(params, steppers, **defaults)
        self.state = {}

    def step(self):
        for p, hyper in self.grad_params():
            if p not in self.state:
                self.state[p] = {}
                maybe_update(self.stats, self.state[p], lambda o: o.init_state(p))  # noqa: B023
            state = self.state[p]
            for stat in self.stats:
                state = stat.update(p, state, **hyper)
            compose(p, self.steppers, **state, **hyper)
            self.state[p] = state


def test_a_stateful_optimizer_written_on_ours_is_ours():
    stats = [AverageGrad(dampening=True), AverageSqrGrad(), StepCount()]
    own = partial(NotebookStateful, steppers=[adam_step, weight_decay], stats=stats)
    assert torch.equal(
        path(partial(own, lr=0.1, wd=0.2)), path(partial(adam_opt(), lr=0.1, wd=0.2))
    )


def test_a_step_of_ones_own_may_give_steppers_more():
    class Counts(Optimizer):
        count = 0

        def step(self):
            self.count += 1
            for p, hyper in self.grad_params():
                compose(p, self.steppers, count=self.count, **hyper)

    def slower(p, lr, count, **kwargs):
        p.data.sub_(lr / count * p.grad.data)
        return p

    p = vector(1.0, grads=[1.0])
    opt = Counts([p], slower, lr=0.6)
    for _ in range(3):
        opt.step()
    assert near(p, [1 - 0.6 * (1 + 1 / 2 + 1 / 3)])


@OLD
def test_lamb_in_the_notebooks_old_words_is_ours():
    def lamb_step(p, lr, mom, mom_damp, step, sqr_mom, sqr_damp, grad_avg, sqr_avg, eps, wd, **kw):
        debias1, debias2 = debias(mom, mom_damp, step), debias(sqr_mom, sqr_damp, step)
        r1 = p.data.pow(2).mean().sqrt()
        u = (grad_avg / debias1) / ((sqr_avg / debias2).sqrt() + eps) + wd * p.data
        r2 = u.pow(2).mean().sqrt()
        p.data.add_(-lr * min(r1 / r2, 10), u)
        return p

    lamb_step._defaults = dict(eps=1e-6, wd=0.0)

    class Averages(Stat):
        _defaults = dict(mom=0.9, sqr_mom=0.99)

        def init_state(self, p):
            return {"grad_avg": torch.zeros_like(p.grad.data), "sqr_avg": torch.zeros_like(p.data)}

        def update(self, p, state, mom, sqr_mom, **kwargs):
            state["mom_damp"], state["sqr_damp"] = 1 - mom, 1 - sqr_mom
            state["grad_avg"].mul_(mom).add_(state["mom_damp"], p.grad.data)
            state["sqr_avg"].mul_(sqr_mom).addcmul_(state["sqr_damp"], p.grad.data, p.grad.data)
            return state

    own = partial(StatefulOptimizer, steppers=lamb_step, stats=[Averages(), StepCount()])
    found = path(partial(own, lr=0.1, wd=0.2))
    assert torch.allclose(found, path(partial(lamb_opt, lr=0.1, wd=0.2)), rtol=1e-12, atol=1e-12)


@OLD
def test_ones_own_l2_in_the_notebooks_words_runs_where_it_stands():
    def l2_reg(p, lr, wd, **kwargs):
        p.grad.data.add_(wd, p.data)
        return p

    l2_reg._defaults = dict(wd=0.0)
    for steps, wanted in (([l2_reg, sgd_step], 0.98), ([sgd_step, l2_reg], 0.99)):
        p = vector(1.0)
        Optimizer([p], steps, lr=0.1, wd=0.1).step()
        assert near(p, [wanted]) and near(p.grad, [0.1])


class Norms(Stat):
    """The notebook's exercise: statistics of the weights for LARS."""

    def init_state(self, p):
        return {"w_norm": 0.0, "g_norm": 0.0}

    def update(self, p, state, **kwargs):
        return {"w_norm": p.data.norm(), "g_norm": p.grad.data.norm()}


def test_lars_the_exercise_is_a_stat_and_a_stepper():
    def lars_step(p, lr, trust, wd, w_norm, g_norm, **kwargs):
        p.data.add_(p.grad.data, alpha=-lr * trust * w_norm / (g_norm + wd * w_norm))
        return p

    lars_step._defaults = dict(trust=0.02, wd=0.0)
    p = vector(1.0, 2.0, 3.0)
    opt = StatefulOptimizer([p], lars_step, Norms(), lr=0.1)
    opt.step()
    assert near(p, [0.998, 1.996, 2.994])  # a local rate of .02
    assert opt.hypers[0]["trust"] == 0.02


def test_adabound_is_adam_whose_rates_are_clamped():
    def bound_step(p, lr, mom, mom_damp, sqr_mom, sqr_damp, step, grad_avg, sqr_avg, eps, final_lr,
                   **kwargs):  # fmt: skip
        v = sqr_avg / debias(sqr_mom, sqr_damp, step)
        low, high = final_lr * (1 - 1 / (step + 1)), final_lr * (1 + 1 / step)
        rate = (lr / (v.sqrt() + eps)).clamp(low, high)
        p.data.sub_(rate * grad_avg / debias(mom, mom_damp, step))
        return p

    bound_step._defaults = dict(eps=0.0, final_lr=0.1)
    p = vector(1.0, 1.0, 1.0, grads=[1e-3, 1.0, 0.5])
    stats = [AverageGrad(dampening=True), AverageSqrGrad(), StepCount()]
    StatefulOptimizer([p], bound_step, stats, lr=0.06).step()
    # rates .06/|g| = 60, .06, .12; between .05 and .2
    assert near(p, [1 - 0.2e-3, 1 - 0.06, 1 - 0.06])


@pytest.mark.parametrize("mom", [0.0, 0.9])
def test_decay_is_the_gradient_of_half_the_squares_and_differs_from_l2_with_momentum(mom):
    w = vector(1.0, -2.0)
    (0.5 * 0.3 * w.square().sum()).backward()
    assert near(w.grad, [0.1 + 0.3, -0.2 - 0.6])  # g + wd * w

    def run(steps):
        return path(lambda ps: StatefulOptimizer(ps, steps, AverageGrad(), lr=0.1, wd=0.3, mom=mom))

    decayed, penalised = run([weight_decay, momentum_step]), run([l2_reg, momentum_step])
    assert torch.allclose(decayed, penalised, rtol=0, atol=1e-12) == (mom == 0)


def test_before_a_batchnorm_smaller_weights_are_a_higher_rate_and_the_same_function():
    torch.manual_seed(0)
    x, y = torch.randn(16, 3, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)
    norm, found = nn.BatchNorm1d(2, eps=1e-12, dtype=torch.float64), []
    weight = torch.randn(2, 3, dtype=torch.float64)
    for scale in (1.0, 0.5):
        w = (scale * weight).requires_grad_()
        loss = nn.functional.mse_loss(norm(x @ w.T), y)
        loss.backward()
        found.append((loss.item(), w.grad))
    assert found[0][0] == pytest.approx(found[1][0])
    assert torch.allclose(2 * found[0][1], found[1][1])


# --- kinds of parameters ------------------------------------------------------------------------


MAKERS = {"sgd": sgd_opt, "momentum": sgd_mom_opt, "adam": adam_opt(), "lamb": lamb_opt}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", MAKERS)
def test_every_dtype_moves_with_its_state(name, dtype):
    found = path(partial(MAKERS[name], lr=0.01, wd=0.1), dtype=dtype)
    p = torch.randn((), dtype=dtype).requires_grad_()
    opt = MAKERS[name]([p, torch.zeros(0, 3, dtype=dtype, requires_grad=True)], lr=0.01)
    for each in opt.param_lists[0]:
        each.grad = torch.ones_like(each)
    opt.step()
    assert found.dtype == dtype and found.isfinite().all() and p.isfinite()
    tensors = [v for state in opt.state.values() for v in state.values() if torch.is_tensor(v)]
    assert all(v.dtype == dtype for v in tensors)


def test_complex_parameters_are_stepped_as_torch_does_it():
    theirs = partial(torch.optim.Adam, lr=0.1, betas=(0.9, 0.99), eps=1e-5)
    ours = partial(adam_opt(), lr=0.1)
    assert torch.allclose(path(ours, dtype=torch.complex128), path(theirs, dtype=torch.complex128))
    assert path(partial(lamb_opt, lr=0.1), dtype=torch.complex128).isfinite().all()
    p = vector(1.0 + 2.0j, dtype=torch.complex128)
    Optimizer([p], [l2_reg, sgd_step], lr=0.1, wd=0.1, keep_grads=False).step()
    assert near(p.grad, [0.2 + 0.4j]) and near(p, [0.98 + 1.96j])


def test_strided_parameters_are_stepped_in_place():
    base = torch.ones(3, 4, dtype=torch.float64)
    p = base.t().requires_grad_()
    p.grad = torch.ones(4, 3, dtype=torch.float64)
    adam_opt()([p], lr=0.1).step()
    assert near(base, torch.full((3, 4), 0.9), 1e-4)


def test_a_frozen_parameter_without_a_gradient_stays_and_can_be_thawed():
    a, b = vector(1.0), vector(1.0)
    opt = sgd_mom_opt([[a], [b]], lr=0.1)
    a.requires_grad_(False)
    a.grad = None
    opt.step()
    assert a.item() == 1.0 and b.item() < 1.0
    a.requires_grad_(True)
    a.grad = torch.ones(1, dtype=torch.float64)
    opt.step()
    assert a.item() < 1.0 and opt.state[a]["grad_avg"].item() == 1.0


def test_two_optimizers_over_the_same_parameters_keep_apart():
    p = vector(1.0, grads=[1.0])
    first, second = sgd_mom_opt([p], lr=0.1, wd=0.0), adam_opt()([p], lr=0.1)
    first.step()
    second.step()
    assert near(p, [0.8], 1e-5)
    assert set(first.state[p]) == {"grad_avg", "mom_damp"} and second.state[p]["step"] == 1


# --- torch's tools ------------------------------------------------------------------------------


def test_torchs_schedulers_write_what_steppers_read():
    p = vector(1.0, grads=[1.0])
    for make, wanted in (
        (lambda o: CosineAnnealingLR(o, 2), [0.5, 0.0]),
        (lambda o: LambdaLR(o, lambda e: 0.1**e), [0.1, 0.01]),
    ):
        opt = sgd_opt([p], lr=1.0)
        sched, found = make(opt), []
        for _ in range(2):
            opt.step()
            sched.step()
            found.append(opt.hypers[0]["lr"])
        assert found == pytest.approx(wanted)
    opt = sgd_opt([p], lr=1.0)
    plateau = ReduceLROnPlateau(opt, patience=0)
    for loss in (1.0, 1.0, 1.0):
        plateau.step(loss)
    assert opt.hypers[0]["lr"] == pytest.approx(0.01)


def test_a_scaler_and_a_clip_work_on_its_gradients():
    p = vector(1.0, dtype=torch.float32)
    opt = adam_opt()([p], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for factor, moved in ((3.0, True), (math.inf, False)):
        before = p.item()
        opt.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.unscale_(opt)
        nn.utils.clip_grad_norm_([p], 1.0)
        assert not moved or p.grad.item() == pytest.approx(1.0)
        scaler.step(opt)
        scaler.update()
        assert (p.item() != before) == moved
    assert opt.state[p]["step"] == 1


def test_groups_are_added_late_and_changed_between_steps():
    a, b = vector(1.0, grads=[1.0]), vector(1.0, grads=[1.0])
    opt = sgd_mom_opt([a], lr=0.1, wd=0.0)
    opt.step()
    opt.add_param_group({"params": [b], "lr": 0.5})
    opt.set_hyper("mom", [0.0, 0.9])
    opt.step()
    assert near(a, [0.8]) and near(b, [0.5])
    assert [h["wd"] for h in opt.hypers] == [0.0, 0.0]
    with pytest.raises(TypeError, match="did you mean 'mom'"):
        opt.add_param_group({"params": [vector(1.0)], "momm": 0.5})
    assert len(opt.param_groups) == 2


def test_norms_and_biases_are_spared_by_groups():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    opt = adam_opt()(no_decay(model), lr=0.1, wd=0.5)
    assert [(len(g["params"]), g["wd"]) for g in opt.param_groups] == [(1, 0.5), (3, 0.0)]
    assert [h["wd"] for h in adam_opt()(model.parameters(), lr=0.1, wd=0.5).hypers] == [0.5]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_state_dict_is_loaded_before_or_after_the_first_step_without_aliases(when):
    source, target = vector(1.0), vector(1.0)
    opt, other = adam_opt()([source], lr=0.1), adam_opt()([target], lr=0.3, sqr_mom=0.5)
    opt.step()
    if when == "after":
        other.step()
        target.data.fill_(source.item())
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    target.data.copy_(source.data)
    other.load_state_dict(saved)
    saved["state"][0]["grad_avg"].fill_(9.0)
    opt.step()
    other.step()
    assert torch.equal(source, target) and other.hypers == opt.hypers


def test_a_state_of_other_stats_says_what_is_missing():
    a, b = vector(1.0), vector(1.0)
    opt, other = sgd_mom_opt([a], lr=0.1), adam_opt()([b], lr=0.1)
    opt.step()
    other.load_state_dict(opt.state_dict())
    with pytest.raises(KeyError, match=r"AverageSqrGrad\.update wants 'sqr_avg'.*with other stats"):
        other.step()
    assert b.item() == 1.0


# --- what is lacking ----------------------------------------------------------------------------


def test_a_stepper_that_lacks_what_a_stat_would_keep_says_so_before_anything_moves():
    p = vector(1.0)
    with pytest.raises(TypeError, match="Optimizer: momentum_step needs grad_avg"):
        Optimizer([p], [weight_decay, momentum_step], lr=0.1, wd=0.5).step()
    opt = StatefulOptimizer([p], [weight_decay, adam_step], StepCount(), lr=0.1, wd=0.5)
    with pytest.raises(TypeError, match="adam_step needs mom"):
        opt.step()
    assert p.item() == 1.0


def test_hypers_named_as_the_parameter_and_negative_ones_are_refused():
    with pytest.raises(TypeError, match="no hyper-parameter 'p'"):
        Optimizer([vector(1.0)], sgd_step, lr=0.1, p=2)
    for name, value in (("wd", -1), ("lr", math.nan), ("mom", -0.1), ("sqr_mom", 1.5)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            adam_opt()([vector(1.0)], **{"lr": 0.1, name: value})
    assert adam_opt()([vector(1.0)], lr=-1.0, strict=False).hypers[0]["lr"] == -1.0


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([], ValueError, "empty parameter list"),
        ([1, 2], TypeError, "element 0 is a int"),
        (nn.Linear(2, 2), TypeError, "model.parameters"),
    ],
)
def test_parameters_that_are_none_say_what_is_wanted(params, error, message):
    with pytest.raises(error, match=message):
        sgd_opt(params, lr=0.1)


def test_a_parameter_in_two_groups_is_refused():
    p = vector(1.0)
    with pytest.raises(ValueError, match="more than one parameter group"):
        sgd_opt([[p], [p]], lr=0.1)


def test_ctrl_c_in_a_stepper_leaves_the_gradient():
    def interrupted(p, **kwargs):
        p.grad.zero_()
        raise KeyboardInterrupt

    p = vector(1.0)
    held = p.grad
    with pytest.raises(KeyboardInterrupt):
        Optimizer([p], interrupted).step()
    assert p.grad is held and near(held, [0.1])
