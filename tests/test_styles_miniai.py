"""miniai's optimizers: `opt_step` and `reg_step` as users wrote them, and beside our own rules."""

import copy
import math
import pickle

import pytest
import torch

import steppers
from steppers import rules
from steppers.styles.miniai import SGD, Adam, Momentum, RMSProp


def weights(values=range(4), share=0.1):
    """Parameters i with gradient i / 10."""
    made = [torch.tensor([float(v)], dtype=torch.float64, requires_grad=True) for v in values]
    for p in made:
        p.grad = share * p.detach().clone()
    return made


def values(params):
    return torch.cat([p.detach() for p in params])


def near(found, wanted, tol=1e-12):
    wanted = torch.as_tensor(wanted, dtype=found.dtype)
    return torch.allclose(found, wanted, rtol=0, atol=tol)


COUNT = torch.arange(4.0, dtype=torch.float64)


def run(make, steps=6):
    torch.manual_seed(1)
    p = torch.randn(7, 5, dtype=torch.float64).requires_grad_()
    opt = make([p])
    for _ in range(steps):
        p.grad = torch.randn(7, 5, dtype=torch.float64)
        opt.step()
    return p.detach()


def formula(update, steps=6):
    """The same run with p ← update(p, g, t, kept), in float64."""
    torch.manual_seed(1)
    p, kept = torch.randn(7, 5, dtype=torch.float64), {}
    for t in range(1, steps + 1):
        p = update(p, torch.randn(7, 5, dtype=torch.float64), t, kept)
    return p


# --- ready-made ---------------------------------------------------------------------------------


def test_sgd_decays_and_then_steps():
    params = weights()
    SGD(params, 0.1, 0.1).step()
    assert near(values(params), 0.98 * COUNT)


def test_momentum_is_an_average_that_is_not_debiased():
    params = weights()
    opt = Momentum(params, lr=0.1)
    opt.step()
    opt.step()
    assert near(values(params), (1 - 0.1 * (0.01 + 0.019)) * COUNT)


def test_the_first_rmsprop_step_has_the_size_of_the_rate():
    params = weights(range(1, 4))
    RMSProp(params, lr=0.1).step()
    wanted = [i - 0.1 * (i / 10) / (i / 10 + 1e-5) for i in (1, 2, 3)]
    assert near(values(params), wanted)


def test_adam_has_eps_inside_its_root():
    (p,) = weights([1.0])
    p.grad.fill_(1e-3)
    Adam([p], lr=0.1).step()
    assert near(p.detach(), [1 - 0.1 * 1e-3 / math.sqrt(1e-6 + 1e-5)])


def momentum(p, g, t, kept):
    kept["m"] = 0.9 * kept.get("m", 0 * g) + 0.1 * g
    return p * (1 - 0.1 * 0.2) - 0.1 * kept["m"]


def rmsprop(p, g, t, kept):
    kept["v"] = 0.99 * kept.get("v", g * g) + 0.01 * g * g
    return p * (1 - 0.1 * 0.2) - 0.1 * g / (kept["v"].sqrt() + 1e-5)


def adam(p, g, t, kept):
    kept["m"] = 0.9 * kept.get("m", 0 * g) + 0.1 * g
    kept["v"] = 0.99 * kept.get("v", 0 * g) + 0.01 * g * g
    mean, square = kept["m"] / (1 - 0.9**t), kept["v"] / (1 - 0.99**t)
    return p * (1 - 0.1 * 0.2) - 0.1 * mean / (square + 1e-5).sqrt()


ROWS = {
    "sgd": (
        SGD,
        lambda p, g, t, kept: p * (1 - 0.1 * 0.2) - 0.1 * g,
        [rules.decay, rules.descend],
        {},
    ),
    "momentum": (
        Momentum,
        momentum,
        [rules.decay, rules.average_momentum, rules.descend],
        dict(momentum=0.9),
    ),
    "rmsprop": (
        RMSProp,
        rmsprop,
        [rules.decay, rules.mean_square_from_first, rules.rms_scaled, rules.descend],
        dict(alpha=0.99, eps=1e-5),
    ),
    "adam": (
        Adam,
        adam,
        [rules.decay, rules.average_grad, rules.average_square, rules.adam_eps_inside,
         rules.descend],
        dict(betas=(0.9, 0.99), eps=1e-5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_each_is_its_formula_and_a_chain_of_rules(name):
    style, update, steps, hypers = ROWS[name]
    found = run(lambda params: style(params, lr=0.1, wd=0.2))
    assert torch.allclose(found, formula(update), rtol=1e-12, atol=1e-12)
    for engine in ("loop", "foreach"):
        chain = run(
            lambda params, engine=engine: steppers.Optimizer(
                params, steps=steps, lr=0.1, weight_decay=0.2, engine=engine, **hypers
            )
        )
        assert torch.allclose(found, chain, rtol=1e-12, atol=1e-12)


@pytest.mark.needs("llvmlite")
@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_the_new_rules_run_as_generated_kernels(name):
    _, update, steps, hypers = ROWS[name]
    found = run(
        lambda params: steppers.Optimizer(
            params, steps=steps, lr=0.1, weight_decay=0.2, engine="fused", **hypers
        )
    )
    assert torch.allclose(found, formula(update), rtol=1e-12, atol=1e-12)


# --- code as users have it ----------------------------------------------------------------------


class OwnMomentum(SGD):
    """Momentum as a reader of the course would have it: state on the parameter, own attributes."""

    def __init__(self, params, lr, wd=0.0, mom=0.9):
        super().__init__(params, lr=lr, wd=wd)
        self.mom = mom

    def opt_step(self, p):
        if not hasattr(p, "grad_avg"):
            p.grad_avg = torch.zeros_like(p.grad)
        p.grad_avg = p.grad_avg * self.mom + p.grad * (1 - self.mom)
        p -= self.lr * p.grad_avg


class OwnAdam(SGD):
    def __init__(self, params, lr, wd=0.0, beta1=0.9, beta2=0.99, eps=1e-5):
        super().__init__(params, lr=lr, wd=wd)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def opt_step(self, p):
        if not hasattr(p, "avg"):
            p.avg = torch.zeros_like(p.grad.data)
        if not hasattr(p, "sqr_avg"):
            p.sqr_avg = torch.zeros_like(p.grad.data)
        p.avg = self.beta1 * p.avg + (1 - self.beta1) * p.grad
        unbias_avg = p.avg / (1 - self.beta1 ** (self.i + 1))
        p.sqr_avg = self.beta2 * p.sqr_avg + (1 - self.beta2) * (p.grad**2)
        unbias_sqr_avg = p.sqr_avg / (1 - self.beta2 ** (self.i + 1))
        p -= self.lr * unbias_avg / (unbias_sqr_avg + self.eps).sqrt()


@pytest.mark.parametrize(("own", "update"), [(OwnMomentum, momentum), (OwnAdam, adam)])
def test_a_users_optimizer_runs_as_it_is(own, update):
    found = run(lambda params: own(params, lr=0.1, wd=0.2))
    assert torch.allclose(found, formula(update), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
def test_torchs_old_spelling_runs():
    class Old(SGD):
        def reg_step(self, p):
            p.data.mul_(1 - self.lr * self.wd)

        def opt_step(self, p):
            p.data.add_(-self.lr, p.grad.data)

    params = weights()
    Old(params, 0.1, 0.1).step()
    assert near(values(params), 0.98 * COUNT)


def test_a_users_reg_step_is_called():
    class Absolute(SGD):
        def reg_step(self, p):
            p -= 0.5

    params = weights()
    Absolute(params, lr=0.0).step()
    assert near(values(params), COUNT - 0.5)


def test_a_users_step_over_params_runs():
    class Signs(SGD):
        def step(self):
            with torch.no_grad():
                for p in self.params:
                    p -= self.lr * p.grad.sign()
            self.i += 1

    params = weights(range(1, 4))
    opt = Signs(params, lr=0.1)
    opt.step()
    assert near(values(params), [0.9, 1.9, 2.9]) and opt.i == 1


def test_a_users_step_over_params_keeps_state_on_them():
    class Whole(OwnMomentum):
        def step(self):
            with torch.no_grad():
                for p in self.params:
                    self.reg_step(p)
                    self.opt_step(p)
            self.i += 1

    params = weights()
    Whole(params, lr=0.1).step()
    Whole(params, lr=0.1).step()
    assert near(values(params), (1 - 0.1 * (0.01 + 0.019)) * COUNT)
    assert near(params[2].grad_avg, [0.038])


# --- state --------------------------------------------------------------------------------------


def test_state_is_in_the_optimizer_and_a_new_one_starts_without():
    params = weights()
    opt = OwnMomentum(params, lr=0.1)
    opt.step()
    assert near(opt.state[params[2]]["grad_avg"], [0.02]) and not hasattr(params[2], "grad_avg")
    other = OwnMomentum(params, lr=0.1)
    other.step()
    assert near(other.state[params[2]]["grad_avg"], [0.02])


def test_what_the_parameter_had_before_stays_there():
    class Reads(SGD):
        def opt_step(self, p):
            p.mine = getattr(p, "mine", 0) + p.given
            p.given = 5

    (p,) = weights([1.0])
    p.given = 2
    opt = Reads([p], lr=0.1)
    opt.step()
    assert opt.state[p] == {"mine": 2} and p.given == 5 and not hasattr(p, "mine")
    p.mine = 100  # not the optimizer's
    opt.step()
    assert opt.state[p] == {"mine": 7} and p.mine == 100


@pytest.mark.parametrize("on_parameter", [False, True])
def test_a_step_may_keep_its_state_as_torchs_do(on_parameter):
    class Torchs(SGD):
        def opt_step(self, p):
            state = self.state[p]
            state["grad_avg"] = state.get("grad_avg", 0) * 0.9 + p.grad * 0.1
            p.steps = getattr(p, "steps", 0) + 1
            p -= self.lr * state["grad_avg"]

    params = weights()
    opt = Torchs(params, lr=0.1, on_parameter=on_parameter)
    opt.step()
    opt.step()
    assert near(values(params), (1 - 0.1 * (0.01 + 0.019)) * COUNT)
    kept = {"grad_avg"} if on_parameter else {"grad_avg", "steps"}
    assert opt.state[params[2]].keys() == kept and hasattr(params[2], "steps") == on_parameter


def test_a_step_may_drop_what_it_kept():
    class Once(SGD):
        def opt_step(self, p):
            if hasattr(p, "seen"):
                del p.seen
            else:
                p.seen = True

    (p,) = weights([1.0])
    opt = Once([p], lr=0.1)
    opt.step()
    assert opt.state[p] == {"seen": True}
    opt.step()
    assert opt.state[p] == {}


def test_state_on_the_parameter_outlives_the_optimizer():
    params = weights()
    opt = Momentum(params, lr=0.1, on_parameter=True)
    opt.step()
    assert near(params[2].grad_avg, [0.02]) and not opt.state
    Momentum(params, lr=0.1, on_parameter=True).step()
    assert near(params[2].grad_avg, [0.038])


def test_an_error_in_a_step_leaves_nothing_on_the_parameter():
    class Breaks(SGD):
        def opt_step(self, p):
            p.note = 1
            raise RuntimeError("here")

    (p,) = weights([1.0])
    opt = Breaks([p], lr=0.1)
    with pytest.raises(RuntimeError, match="here"):
        opt.step()
    assert not hasattr(p, "note") and opt.i == 0


@pytest.mark.parametrize("kind", [OwnAdam, Adam, OwnMomentum])
def test_a_run_goes_on_from_a_file(kind, tmp_path):
    params = weights(range(1, 4))
    opt = kind(params, lr=0.1)
    for _ in range(3):
        opt.step()
    torch.save(opt.state_dict(), tmp_path / "opt.pt")
    twins = [p.detach().clone().requires_grad_() for p in params]
    for twin, p in zip(twins, params, strict=True):
        twin.grad = p.grad.clone()
    other = kind(twins, lr=0.1)
    other.load_state_dict(torch.load(tmp_path / "opt.pt", weights_only=True))
    assert other.i == 3 and "i" not in other.param_groups[0]
    for each in (opt, other):
        each.step()
    assert torch.equal(values(params), values(twins))


def test_it_can_be_copied_and_pickled():
    params = weights(range(1, 4))
    opt = Adam(params, lr=0.1)
    opt.step()
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert twin.i == 1 and twin.beta2 == 0.99
        for q in twin.params:
            q.grad = 0.1 * torch.ones_like(q)
        twin.step()
        assert twin.i == 2 and opt.i == 1


# --- hyper-parameters ---------------------------------------------------------------------------


def test_attributes_are_those_of_the_parameters_group():
    params = weights(range(1, 4))
    opt = Momentum([params[:2], params[2:]], lr=0.1, mom=0.0)
    opt.param_groups[0]["lr"] = 0.01
    opt.step()
    assert near(values(params), [0.999, 1.998, 2.97])
    assert opt.lr == 0.01  # outside a step the first group's
    opt.lr = 0.5
    assert [g["lr"] for g in opt.param_groups] == [0.5, 0.5]
    opt.hypers[1]["mom"] = 0.5
    assert [g["mom"] for g in opt.param_groups] == [0.0, 0.5]


@pytest.mark.parametrize("both", [False, True])
def test_groups_own_values_win_over_what_a_subclass_sets(both):
    params = weights(range(1, 3))
    own = [{"params": params[:1], "mom": 0.0}, {"params": params[1:]}]
    if both:
        own[1]["mom"] = 0.5
    opt = OwnMomentum(own, lr=0.1)
    opt.step()
    assert near(values(params), [1 - 0.01, 2 - 0.1 * (0.5 if both else 0.1) * 0.2])
    opt.mom = 0.3
    assert [g["mom"] for g in opt.param_groups] == [0.3, 0.3]


def test_betas_are_torchs_in_the_groups_and_attributes_here():
    opt = Adam(weights(), lr=0.1, beta1=0.8)
    assert opt.param_groups[0]["betas"] == (0.8, 0.99) and (opt.beta1, opt.beta2) == (0.8, 0.99)
    opt.beta1 = 0.7
    assert opt.param_groups[0]["betas"] == (0.7, 0.99)
    with pytest.raises(ValueError, match="beta2"):
        Adam(weights(), lr=0.1, beta2=1.0)


@pytest.mark.parametrize(("kind", "name"), [(Momentum, "mom"), (Adam, "beta1")])
def test_torchs_one_cycle_drives_rate_and_momentum(kind, name):
    opt = kind(weights(), lr=0.1)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.5, total_steps=10)
    seen = []
    for _ in range(9):
        opt.step()
        sched.step()
        seen.append((opt.lr, getattr(opt, name)))
    assert max(lr for lr, _ in seen) == pytest.approx(0.5, rel=0.1)
    assert min(mom for _, mom in seen) == pytest.approx(0.85, abs=0.02)


def test_steppers_own_tools_find_the_hypers():
    opt = Adam(weights(), lr=0.1)
    steppers.hypers.put(opt, "mom", 0.6)
    assert opt.beta1 == 0.6 and steppers.hypers.get(opt, "beta2") == [0.99]


def test_a_name_that_there_is_not_is_an_attribute_error():
    opt = SGD(weights(), lr=0.1)
    with pytest.raises(AttributeError, match="SGD has no attribute 'mom'"):
        opt.mom  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'beta1'"):
        opt.beta1  # noqa: B018


def test_values_out_of_range_and_unknown_keywords_are_refused():
    with pytest.raises(ValueError, match="lr must be >= 0"):
        SGD(weights(), lr=-0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'momm'"):
        Momentum(weights(), lr=0.1, momm=0.5)


def test_gradients_none_are_skipped_and_zeroed_in_place():
    params = weights()
    params[3].grad = None
    opt = SGD(params, lr=0.1)
    opt.step()
    assert near(values(params), [0, 0.99, 1.98, 3])
    held = params[1].grad
    opt.zero_grad()
    assert params[1].grad is held and not held.any() and params[3].grad is None
    opt.zero_grad(set_to_none=True)
    assert params[1].grad is None


def test_the_count_is_the_optimizers():
    """A parameter whose gradient comes late is debiased as if it had been there, as in miniai."""
    early, late = weights([1.0, 1.0])
    late.grad = None
    opt = Adam([early, late], lr=0.1)
    for _ in range(4):
        opt.step()
    late.grad = torch.full_like(late, 0.1)
    opt.step()
    mean, square = 0.1 * 0.1 / (1 - 0.9**5), 0.01 * 0.01 / (1 - 0.99**5)
    assert near(late.detach(), [1 - 0.1 * mean / math.sqrt(square + 1e-5)])


def test_closures_and_the_state_on_a_zero_dimensional_parameter():
    p = torch.tensor(1.0, requires_grad=True)

    def closure():
        opt.zero_grad()
        loss = p * p
        loss.backward()
        return loss

    opt = Adam([p], lr=0.1)
    assert opt.step(closure).item() == 1.0 and opt.state[p]["avg"].shape == ()
