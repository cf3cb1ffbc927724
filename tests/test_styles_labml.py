"""Code in labml.ai's form runs as it is, and its optimizers equal chains of rules in float64."""

import copy
import math
import pickle
from itertools import pairwise

import pytest
import torch
from torch import nn

import steppers
from steppers import rules
from steppers.styles import labml
from steppers.styles.labml import GenericAdaptiveOptimizer, WeightDecay

SHAPES = ((), (3,), (4, 2))
WARMED = (rules.decay, rules.average_grad, rules.average_square)


def made(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in SHAPES]


def feed(params, step):
    generator = torch.Generator().manual_seed(100 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def run(params, optimizer, steps=range(12)):
    for step in steps:
        feed(params, step)
        optimizer.step()


def assert_alike(left, right, change=None):
    """Both optimizers, made on equal parameters, go the same way."""
    a, b = made(), made()
    first, second = left(a), right(b)
    for step in range(12):
        if change and step == 6:
            for group in (*first.param_groups, *second.param_groups):
                group.update(change)
        run(a, first, [step])
        run(b, second, [step])
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)


def chain(*steps, **hypers):
    return lambda params: steppers.Optimizer(params, steps=steps, **hypers)


# --- the template ------------------------------------------------------------------------------


class TheirAdam(GenericAdaptiveOptimizer):
    """Adam as a user of labml.ai's template writes it."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=None,
                 defaults=None):  # fmt: skip
        weight_decay = weight_decay or WeightDecay()
        defaults = {} if defaults is None else defaults
        defaults.update(weight_decay.defaults())
        super().__init__(params, defaults, lr, betas, eps)
        self.weight_decay = weight_decay

    def init_state(self, state, group, param):
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)

    def step_param(self, state, group, grad, param):
        grad = self.weight_decay(param, grad, group)
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.mul_(beta1).add_(grad, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        state["step"] += 1
        bias1 = 1 - beta1 ** state["step"]
        bias2 = 1 - beta2 ** state["step"]
        size = group["lr"] * math.sqrt(bias2) / bias1
        param.data.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-size)


def test_a_template_of_the_users_runs_as_it_is():
    assert_alike(TheirAdam, labml.Adam)


@pytest.mark.filterwarnings("ignore:This overload:UserWarning")
def test_deprecated_spellings_of_torch_run():
    class Old(TheirAdam):
        def step_param(self, state, group, grad, param):
            m, v = state["exp_avg"], state["exp_avg_sq"]
            m.mul_(group["betas"][0]).add_(1 - group["betas"][0], grad)
            v.mul_(group["betas"][1]).addcmul_(1 - group["betas"][1], grad, grad)
            state["step"] += 1
            bias1, bias2 = (1 - beta ** state["step"] for beta in group["betas"])
            param.data.addcdiv_(-group["lr"] * math.sqrt(bias2) / bias1, m, v.sqrt() + group["eps"])

    assert_alike(Old, labml.Adam)


ERRORS = (
    (dict(lr=-1.0), "lr must be >= 0, got -1.0"),
    (dict(lr=math.nan), "lr must be >= 0, got nan"),
    (dict(eps=-1e-8), "eps must be >= 0, got -1e-08"),
    (dict(betas=(1.0, 0.9)), r"betas\[0\] \(beta1\) must be in \[0, 1\), got 1.0"),
    (dict(betas=(0.9, -0.1)), r"betas\[1\] \(beta2\) must be in \[0, 1\), got -0.1"),
    (dict(betas=(0.9,)), r"betas must be 2 numbers \(beta1, beta2\)"),
)


@pytest.mark.parametrize(("hypers", "text"), ERRORS)
@pytest.mark.parametrize("cls", [TheirAdam, labml.RAdam, labml.Sophia])
def test_hypers_out_of_range_are_refused(cls, hypers, text):
    with pytest.raises(ValueError, match=f"^{cls.__name__}: {text}"):
        cls(made(), **hypers)


@pytest.mark.parametrize(("hypers", "text"), ERRORS)
def test_a_groups_hypers_out_of_range_are_refused(hypers, text):
    with pytest.raises(ValueError, match=text):
        labml.Adam([{"params": made(), **hypers}])


def test_the_callers_defaults_stay_as_they_are():
    defaults = dict(weight_decay=0.5)
    labml.Adam(made(), defaults=defaults)
    assert defaults == dict(weight_decay=0.5)


def test_groups_have_their_own_hypers_and_the_rest_from_the_defaults():
    a, b = made(), made(1)
    optimizer = labml.Adam([{"params": a, "lr": 0.5, "betas": [0.8, 0.9]}, {"params": b}],
                           lr=0.1, weight_decay=WeightDecay(0.2))  # fmt: skip
    found = [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizer.param_groups]
    assert found == [(0.5, (0.8, 0.9), 0.2), (0.1, (0.9, 0.999), 0.2)]


def test_betas_may_be_a_list():
    optimizer = labml.Adam([made(), made(1)], betas=[0.8, 0.9])
    assert [g["betas"] for g in optimizer.param_groups] == [(0.8, 0.9)] * 2


def test_a_closure_runs_under_grad_and_its_loss_is_returned():
    p = nn.Parameter(torch.ones(2))
    optimizer = labml.Adam([p])

    def closure():
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert optimizer.state[p]["step"] == 1


def test_a_parameter_without_gradient_is_left_alone():
    params = made()
    feed(params, 0)
    params[1].grad = None
    optimizer = labml.Adam(params)
    optimizer.step()
    assert [len(optimizer.state[p]) if p in optimizer.state else 0 for p in params] == [3, 0, 3]


def test_sparse_gradients_are_refused_with_what_to_use():
    p = nn.Parameter(torch.ones(3, 2))
    p.grad = torch.eye(3)[:, :2].to_sparse()
    with pytest.raises(RuntimeError, match=r"Adam does not support sparse gradients; .*SparseAdam"):
        labml.Adam([p]).step()


def test_a_template_without_a_procedure_is_refused():
    class Empty(GenericAdaptiveOptimizer):
        pass

    with pytest.raises(TypeError, match="step_param"):
        Empty(made(), {}, 0.1, (0.9, 0.99), 1e-8)


def test_gradients_are_not_modified():
    params = made()
    feed(params, 0)
    before = [p.grad.clone() for p in params]
    for decouple in (True, False):
        labml.AdaBelief(params, weight_decay=WeightDecay(0.1, decouple)).step()
    assert all(torch.equal(p.grad, g) for p, g in zip(params, before, strict=True))


def test_torchs_schedulers_change_the_rate():
    params = made()
    optimizer = labml.Adam(params, lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    run(params, optimizer, [0])
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] != 1.0
    assert optimizer.param_groups[0]["betas"][0] < 0.95


# --- decay -------------------------------------------------------------------------------------

DECAYS = (
    (WeightDecay(0.1), rules.decay, {}),
    (WeightDecay(0.1, absolute=True), rules.decay_absolute, {}),
    (WeightDecay(0.1, weight_decouple=False), rules.l2, {}),
)


@pytest.mark.parametrize(("decay", "rule", "more"), DECAYS)
def test_decay_in_its_three_forms_is_a_rule_each(decay, rule, more):
    steps = (rule, rules.average_grad, rules.average_square, rules.adam_early_eps, rules.descend)
    ours = chain(*steps, lr=0.05, eps=1e-16, weight_decay=0.1)
    assert_alike(lambda ps: labml.Adam(ps, 0.05, weight_decay=decay), ours, dict(lr=0.01))


def test_absolute_decay_has_nothing_to_do_with_the_rate():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.zeros(2)
    labml.Adam([p], lr=0.001, weight_decay=WeightDecay(0.25, absolute=True)).step()
    assert p.tolist() == [0.75, 0.75]


def test_negative_decay_is_refused():
    for cls in (WeightDecay, labml.L1Decay):
        with pytest.raises(ValueError, match=r"weight_decay must be >= 0, got -0.1"):
            cls(-0.1)


def test_decay_is_a_hyper_of_each_group():
    p, q = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    groups = [{"params": [p], "weight_decay": 0.5}, {"params": [q]}]
    optimizer = labml.Adam(groups, lr=0.1, weight_decay=WeightDecay(0.0))
    p.grad, q.grad = torch.zeros(1), torch.zeros(1)
    optimizer.step()
    torch.testing.assert_close(torch.cat([p, q]).detach(), torch.tensor([0.95, 1.0]))


def test_absolute_decay_waits_while_the_rate_is_0():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.zeros(2)
    labml.Adam([p], lr=0.0, weight_decay=WeightDecay(0.5, absolute=True)).step()
    assert p.tolist() == [1.0, 1.0]


def test_decay_may_be_replaced_by_an_object_of_the_users():
    class Towards:
        """Decay towards where the parameter began, not 0."""

        def __init__(self, start):
            self.start = start

        def defaults(self):
            return {"pull": 0.5}

        def __call__(self, param, grad, group):
            return grad + group["pull"] * (param - self.start)

    p = nn.Parameter(torch.tensor([2.0]))
    p.grad = torch.zeros(1)
    optimizer = labml.Adam([p], lr=0.1, weight_decay=Towards(1.0))
    assert optimizer.param_groups[0]["pull"] == 0.5
    optimizer.step()
    assert p.item() == pytest.approx(1.9)


def test_l1_decay_shrinks_by_lr_times_decay_and_stops_at_0():
    p = nn.Parameter(torch.tensor([1.0, -1.0, 0.01]))
    p.grad = torch.zeros(3)
    labml.Adam([p], lr=0.5, weight_decay=labml.L1Decay(0.1)).step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.95, -0.95, 0.0]))


# --- the optimizers, and what equals them ------------------------------------------------------


def adam_like(second, direction, **hypers):
    return chain(rules.average_grad, *second, direction, rules.descend, **hypers)


V, LARGEST = (rules.average_square,), (rules.average_square, rules.largest_square)
BELIEF = dict(lr=0.05, betas=(0.9, 0.99))
EQUAL = {
    "adam, eps early": (
        lambda ps: labml.Adam(ps, 0.05, eps=1e-3),
        adam_like(V, rules.adam_early_eps, lr=0.05, eps=1e-3)),
    "adam, eps late": (
        lambda ps: labml.Adam(ps, 0.05, eps=1e-3, optimized_update=False),
        lambda ps: steppers.Adam(ps, 0.05, eps=1e-3)),
    "adam, torch": (
        lambda ps: labml.Adam(ps, 0.05, eps=1e-3, optimized_update=False),
        lambda ps: torch.optim.Adam(ps, 0.05, eps=1e-3)),
    "amsgrad": (
        lambda ps: labml.AMSGrad(ps, 0.05, (0.9, 0.5), eps=1e-3),
        adam_like(LARGEST, rules.adam_early_eps, lr=0.05, betas=(0.9, 0.5), eps=1e-3)),
    "amsgrad, torch": (
        lambda ps: labml.AMSGrad(ps, 0.05, (0.9, 0.5), eps=1e-3, optimized_update=False),
        lambda ps: torch.optim.Adam(ps, 0.05, (0.9, 0.5), eps=1e-3, amsgrad=True)),
    "radam": (
        lambda ps: labml.RAdam(ps, 0.05, (0.9, 0.99), eps=1e-3),
        chain(rules.average_grad, *V, rules.adam_early_eps, rules.rectification, rules.rectified,
              rules.descend, lr=0.05, betas=(0.9, 0.99), eps=1e-3)),
    "radam, torch": (  # rho is never exactly 5 here
        lambda ps: labml.RAdam(ps, 0.05, (0.9, 0.99)),
        lambda ps: torch.optim.RAdam(ps, 0.05, (0.9, 0.99))),
    "radam, still": (
        lambda ps: labml.RAdam(ps, 0.05, (0.9, 0.99), eps=1e-3, optimized_update=False,
                               degenerated_to_sgd=False),
        chain(rules.average_grad, *V, rules.adam, rules.rectification, rules.rectified_or_still,
              rules.descend, lr=0.05, betas=(0.9, 0.99), eps=1e-3)),
    "radam amsgrad": (
        lambda ps: labml.RAdam(ps, 0.05, (0.9, 0.5), amsgrad=True),
        chain(rules.average_grad, *LARGEST, rules.adam_early_eps, rules.rectification,
              rules.rectified, rules.descend, lr=0.05, betas=(0.9, 0.5), eps=1e-8)),
    "adabelief": (
        lambda ps: labml.AdaBelief(ps, 0.05, (0.9, 0.99), weight_decay=WeightDecay(0.1)),
        lambda ps: steppers.AdaBelief(ps, **BELIEF, weight_decay=0.1)),
    "adabelief, eps": (
        lambda ps: labml.AdaBelief(ps, 0.05, (0.9, 0.99), 1e-3, rectify=False,
                                   optimized_update=False),
        lambda ps: steppers.AdaBelief(ps, **BELIEF, eps=1e-3, rectify=False,
                                      optimized_update=False)),
    "adabelief amsgrad": (
        lambda ps: labml.AdaBelief(ps, 0.05, (0.9, 0.99), amsgrad=True, degenerate_to_sgd=False),
        lambda ps: steppers.AdaBelief(ps, **BELIEF, amsgrad=True, degenerated_to_sgd=False)),
    "noam": (
        lambda ps: labml.Noam(ps, 1.0, warmup=5, d_model=64, weight_decay=WeightDecay(0.1)),
        chain(*WARMED, rules.adam_early_eps, rules.noam_rate, rules.descend_at, lr=1.0, eps=1e-16,
              warmup_steps=5, d_model=64, weight_decay=0.1)),
    "noam, no warm-up": (
        lambda ps: labml.Noam(ps, 1.0),
        chain(*WARMED, rules.adam_early_eps, rules.noam_rate, rules.descend_at, lr=1.0, eps=1e-16)),
    "warm-up": (
        lambda ps: labml.AdamWarmup(ps, 0.05, warmup=5, weight_decay=WeightDecay(0.1)),
        chain(*WARMED, rules.adam_early_eps, rules.warmup_rate, rules.descend_at, lr=0.05,
              eps=1e-16, warmup_steps=5, weight_decay=0.1)),
    "warm-up, cosine": (
        lambda ps: labml.AdamWarmupCosineDecay(ps, 0.05, warmup=3, total_steps=9),
        chain(*WARMED, rules.adam_early_eps, rules.warmup_cosine_rate, rules.descend_at, lr=0.05,
              eps=1e-16, warmup_steps=3, total_steps=9)),
}  # fmt: skip


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_an_optimizer_equals_its_chain(pair):
    assert_alike(*pair, change=dict(lr=0.02))


def test_the_two_forms_of_eps_agree_at_eps_hat_of_root_times_eps():
    eps, beta2 = 1e-3, 0.99

    class Hat(labml.Adam):
        def move(self, state, group, param, m, v, rate):
            hat = {**group, "eps": math.sqrt(1 - beta2 ** state["step"]) * eps}
            super().move(state, hat, param, m, v, rate)

    betas = (0.9, beta2)
    late = lambda ps: labml.Adam(ps, 0.05, betas, eps, optimized_update=False)  # noqa: E731
    assert_alike(lambda ps: Hat(ps, 0.05, betas), late)


@pytest.mark.parametrize("t", [1, 3, 1000])
def test_the_rules_of_the_two_forms_of_eps_agree_too(t):
    m, v = (torch.tensor(x, dtype=torch.float64) for x in ([0.5, -1e-3], [0.25, 1e-6]))
    betas = dict(beta1=0.9, beta2=0.99)
    late = rules.adam(m, v, t=t, **betas, eps=1e-3)["u"]
    early = rules.adam_early_eps(m, v, t=t, **betas, eps=math.sqrt(1 - 0.99**t) * 1e-3)["u"]
    torch.testing.assert_close(early, late, rtol=1e-13, atol=0)
    printed = rules.adam_early_eps(m, v, t=t, **betas, eps=(1 - 0.99**t) * 1e-3)["u"]
    assert t == 1000 or not torch.allclose(printed, late, rtol=1e-6)  # the page's own formula


def test_hooks_of_adam_are_called_once_a_step():
    calls = []

    class Watched(labml.Adam):
        def get_mv(self, state, group, grad):
            calls.append("mv")
            return super().get_mv(state, group, grad)

        def get_lr(self, state, group):
            calls.append(("lr", state["step"]))
            return super().get_lr(state, group)

        def adam_update(self, state, group, param, m, v):
            calls.append("update")
            super().adam_update(state, group, param, m, v)

    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    Watched([p]).step()
    assert calls == ["mv", "update", ("lr", 1)]


DEFAULTS = {
    labml.Adam: (1e-3, (0.9, 0.999), 1e-16), labml.AMSGrad: (1e-3, (0.9, 0.999), 1e-16),
    labml.RAdam: (1e-3, (0.9, 0.999), 1e-8), labml.AdaBelief: (1e-3, (0.9, 0.999), 1e-16),
    labml.Noam: (1e-3, (0.9, 0.999), 1e-16), labml.AdamWarmup: (1e-3, (0.9, 0.999), 1e-16),
    labml.AdamWarmupCosineDecay: (1e-3, (0.9, 0.999), 1e-16),
    labml.AdamFP16: (1e-3, (0.9, 0.999), 1e-16), labml.Sophia: (1e-4, (0.9, 0.95), 1e-12),
}  # fmt: skip


@pytest.mark.parametrize("cls", DEFAULTS, ids=lambda cls: cls.__name__)
def test_defaults_are_the_originals(cls):
    group = cls(made(dtype=torch.float32)).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == DEFAULTS[cls]
    assert group["weight_decay"] == 0.0


FURTHER = {
    labml.AMSGrad: dict(amsgrad=True), labml.RAdam: dict(amsgrad=False),
    labml.AdaBelief: dict(amsgrad=False), labml.Noam: dict(amsgrad=False, warmup=0),
    labml.AdamWarmup: dict(amsgrad=False, warmup=0),
    labml.AdamWarmupCosineDecay: dict(amsgrad=False, warmup=0, total_steps=1e10),
    labml.Sophia: dict(rho=0.03),
}  # fmt: skip


@pytest.mark.parametrize("cls", FURTHER, ids=lambda cls: cls.__name__)
def test_further_defaults_are_the_originals_and_in_the_groups(cls):
    group = cls(made()).param_groups[0]
    assert {name: group[name] for name in FURTHER[cls]} == FURTHER[cls]


STATES = {cls: {"exp_avg", "exp_avg_sq"} for cls in DEFAULTS} | {
    labml.AMSGrad: {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    labml.AdaBelief: {"exp_avg", "exp_avg_var"},
    labml.AdamFP16: {"exp_avg", "exp_avg_sq", "fp32_copy"},
    labml.Sophia: {"exp_avg", "hessian"},
}


@pytest.mark.parametrize("cls", STATES, ids=lambda cls: cls.__name__)
def test_the_state_has_the_originals_names(cls):
    params = made(dtype=torch.float32)
    optimizer = cls(params)
    run(params, optimizer, range(3))
    for p in params:
        state = optimizer.state[p]
        assert set(state) == {"step", *STATES[cls]} and state["step"] == 3


def test_adabelief_with_amsgrad_keeps_the_largest_variance():
    params = made()
    optimizer = labml.AdaBelief(params, amsgrad=True)
    run(params, optimizer, range(3))
    assert "max_exp_avg_var" in optimizer.state[params[0]]


@pytest.mark.parametrize("cls", DEFAULTS, ids=lambda cls: cls.__name__)
def test_a_resumed_run_is_identical(cls):
    whole, params = made(dtype=torch.float32), made(dtype=torch.float32)
    optimizer, first = cls(whole), cls(params)
    run(whole, optimizer, range(8))
    run(params, first, range(4))
    again = [nn.Parameter(p.detach().clone()) for p in params]
    second = cls(again)
    second.load_state_dict(first.state_dict())
    run(again, second, range(4, 8))
    assert all(torch.equal(p, q) for p, q in zip(whole, again, strict=True))


@pytest.mark.parametrize("cls", DEFAULTS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_alike(cls, copied):
    params = made(dtype=torch.float32)
    optimizer = cls(params, weight_decay=WeightDecay(0.1))
    run(params, optimizer, range(2))
    again = copied(optimizer)
    others = again.param_groups[0]["params"]
    run(params, optimizer, range(2, 4))
    run(others, again, range(2, 4))
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_amsgrad_may_be_switched_on_later():
    params = made()
    optimizer = labml.AMSGrad(params, amsgrad=False)
    run(params, optimizer, range(2))
    assert "max_exp_avg_sq" not in optimizer.state[params[0]]
    optimizer.param_groups[0]["amsgrad"] = True
    run(params, optimizer, range(2, 4))
    largest, v = (optimizer.state[params[1]][n] for n in ("max_exp_avg_sq", "exp_avg_sq"))
    assert torch.all(largest >= v)


def test_adabelief_runs_as_it_is_documented():
    """The original shifts its arguments to RAdam: AMSGrad is on, and it first stands still."""
    params = made()
    optimizer = labml.AdaBelief(params, 0.1)
    before = [p.detach().clone() for p in params]
    run(params, optimizer, [0])
    assert set(optimizer.state[params[0]]) == {"step", "exp_avg", "exp_avg_var"}
    for p, old in zip(params, before, strict=True):  # the first step is SGD's: the mean, debiased
        torch.testing.assert_close(p.detach(), old - 0.1 * p.grad)


# --- rectification, warm-ups: the figures that the pages plot ----------------------------------


def exact_rectification(beta2, t):
    inf = 2 / (1 - beta2) - 1
    rho = inf - 2 * t * beta2**t / (1 - beta2**t)
    return math.sqrt((rho - 4) * (rho - 2) * inf / ((inf - 4) * (inf - 2) * rho))


@pytest.mark.parametrize("beta2", [0.9999, 0.999, 0.99, 0.9, 0.8])
def test_rectification_begins_at_rho_5_and_goes_to_1(beta2):
    term = labml.RAdam.calc_rectification_term
    rows = [term(beta2, t) for t in range(1, 4000)]
    first = next(i for i, r in enumerate(rows) if r is not None)
    assert first >= 4 and all(r is not None for r in rows[first:])
    assert rows[first + 5] == pytest.approx(exact_rectification(beta2, first + 6))
    later = [r for r in rows[first:] if r is not None]
    assert all(b >= a - 1e-12 for a, b in pairwise(later))


@pytest.mark.parametrize("beta2", [0.6, 0.5])
def test_a_short_memory_is_never_rectified(beta2):
    term = labml.RAdam.calc_rectification_term
    assert [term(beta2, t) for t in (1, 10, 1000)] == [None] * 3


def test_radam_at_rho_5_exactly_is_rectified():
    beta2, step = 0.7678067796924252, 7
    inf = 2 / (1 - beta2) - 1
    assert inf - 2 * step * beta2**step / (1 - beta2**step) == 5.0
    wanted = math.sqrt(1 * 3 * inf / ((inf - 4) * (inf - 2) * 5))
    assert labml.RAdam.calc_rectification_term(beta2, step) == pytest.approx(wanted)
    assert float(rules.rectification(t=step, beta2=beta2)["rect"]) == pytest.approx(wanted)
    below = math.nextafter(beta2, 0)
    assert labml.RAdam.calc_rectification_term(below, step) is None


@pytest.mark.parametrize(("d_model", "warmup"), [(512, 4000), (512, 8000), (2048, 2000)])
def test_noams_rate_is_the_papers(d_model, warmup):
    optimizer = labml.Noam(made(), lr=1.0, warmup=warmup, d_model=d_model)
    group = optimizer.param_groups[0]
    for t in (1, 100, warmup, 3 * warmup):
        paper = d_model**-0.5 * min(t**-0.5, t * warmup**-1.5)
        assert optimizer.get_lr({"step": t}, group) == pytest.approx(paper, rel=1e-14)
    top = optimizer.get_lr({"step": warmup}, group)
    assert top == pytest.approx((d_model * warmup) ** -0.5)


def test_the_warm_up_with_cosine_falls_to_a_tenth_and_stays_there():
    optimizer = labml.AdamWarmupCosineDecay(made(), 1.0, warmup=5000, total_steps=4e6)
    rate = [optimizer.get_lr({"step": t}, optimizer.param_groups[0])
            for t in (1, 2500, 5000, (5000 + 4e6) / 2, 4e6, 8e6)]  # fmt: skip
    assert rate == pytest.approx([1e-8 + 1 / 5000, 0.5 + 1e-8, 1.0, 0.5, 0.1, 0.1])


def test_a_warm_up_at_rate_0_moves_nothing():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    labml.AdamWarmup([p], lr=0.0, warmup=10).step()
    assert p.tolist() == [1.0, 1.0]


def test_warm_ups_leave_decay_to_the_groups_own_rate():
    p = nn.Parameter(torch.ones(1, dtype=torch.float64))
    p.grad = torch.zeros(1, dtype=torch.float64)
    labml.AdamWarmup([p], 0.1, warmup=100, weight_decay=WeightDecay(0.5)).step()
    assert p.item() == pytest.approx(0.95, abs=1e-12)


# --- Sophia ------------------------------------------------------------------------------------


def test_sophia_equals_its_chain_with_curvature_every_third_step():
    a, b = made(), made()
    theirs = labml.Sophia(a, 0.01, rho=0.5, weight_decay=WeightDecay(0.1))
    ours = steppers.Sophia(b, 0.01, rho=0.5, weight_decay=0.1, batch_tokens=7.0)
    for step in range(9):
        if step % 3 == 0:
            for params in (a, b):
                feed(params, 50 + step)
            theirs.update_hessian(7.0)
            ours.run("curvature")
        run(a, theirs, [step])
        run(b, ours, [step])
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)
            for name in ("exp_avg", "hessian"):
                torch.testing.assert_close(theirs.state[x][name], ours.state[y][name])
    assert {int(ours.state[p]["step"]) for p in b} == {9}


def test_sophias_curvature_is_an_average_of_scaled_squares():
    p = nn.Parameter(torch.ones(2))
    optimizer = labml.Sophia([p], betas=(0.9, 0.75))
    p.grad = torch.tensor([1.0, 2.0])
    optimizer.update_hessian(8)
    optimizer.update_hessian(8)
    wanted = 0.25 * 8 * torch.tensor([1.0, 4.0]) * (1 + 0.75)
    torch.testing.assert_close(optimizer.state[p]["hessian"], wanted)


def test_sophia_without_curvature_moves_by_lr():
    p = nn.Parameter(torch.zeros(2))
    p.grad = torch.tensor([1e-3, -5.0])
    labml.Sophia([p], lr=0.1).step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.1, 0.1]))


def test_sophia_needs_a_bound_above_0():
    with pytest.raises(ValueError, match="Sophia: rho must be > 0, got 0"):
        labml.Sophia(made(), rho=0)
