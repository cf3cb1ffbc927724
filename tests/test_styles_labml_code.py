"""Code as users of labml.ai's form have it runs: subclasses, decays, plots and loops."""

import copy
import math
from functools import partial
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import references as ref
import torch
from torch import nn
from torch.nn import functional as F

from steppers.styles import labml
from steppers.styles.labml import (
    AMSGrad,
    GenericAdaptiveOptimizer,
    Interleaved,
    OptimizerConfigs,
    RAdam,
    WeightDecay,
)
from steppers.styles.labml.adam import Adam
from steppers.styles.labml.noam import Noam
from steppers.train import Learner, UpdateStats
from steppers.train.nets import mnist_net

SHAPES = ((), (3,), (4, 2), (0,))


def made(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in SHAPES]


def gradients(step, dtype=torch.float64):
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(s, generator=generator, dtype=dtype) for s in SHAPES]


def run(params, optimizer, steps):
    for step in steps:
        for p, g in zip(params, gradients(step), strict=True):
            p.grad = g.to(p.dtype)
        optimizer.step()


# --- every optimizer against its formula in NumPy ----------------------------------------------

DECAY = dict(weight_decay=WeightDecay(0.1))
FORMULAS = {
    "adam": (
        lambda ps: labml.Adam(ps, 0.05, eps=1e-3),
        ref.adam_early_eps, dict(lr=0.05, eps=1e-3)),
    "radam": (
        lambda ps: RAdam(ps, 0.05, (0.9, 0.99), 1e-3, optimized_update=False),
        ref.radam_from_five, dict(lr=0.05, betas=(0.9, 0.99), eps=1e-3)),
    "adabelief": (
        lambda ps: labml.AdaBelief(ps, 0.05, (0.9, 0.99), **DECAY),
        ref.ada_belief, dict(lr=0.05, betas=(0.9, 0.99), weight_decay=0.1)),
    "adabelief, plain": (
        lambda ps: labml.AdaBelief(ps, 0.05, (0.9, 0.99), 1e-3, amsgrad=True, rectify=False),
        ref.ada_belief,
        dict(lr=0.05, betas=(0.9, 0.99), eps=1e-3, amsgrad=True, rectify=False)),
    "adabelief, still": (
        lambda ps: labml.AdaBelief(ps, 0.05, (0.9, 0.99), 1e-3, degenerate_to_sgd=False),
        ref.ada_belief, dict(lr=0.05, betas=(0.9, 0.99), eps=1e-3, degenerated_to_sgd=False)),
    "noam": (
        lambda ps: Noam(ps, 1.0, eps=1e-3, optimized_update=False, warmup=5, d_model=64, **DECAY),
        ref.noam, dict(lr=1.0, eps=1e-3, warmup_steps=5, d_model=64, weight_decay=0.1)),
    "noam without warm-up": (
        lambda ps: Noam(ps, 1.0, eps=1e-3, optimized_update=False, d_model=64),
        ref.noam, dict(lr=1.0, eps=1e-3, d_model=64)),
    "warm-up": (
        lambda ps: labml.AdamWarmup(ps, 0.05, eps=1e-3, optimized_update=False, warmup=5, **DECAY),
        ref.adam_warmup, dict(lr=0.05, eps=1e-3, warmup_steps=5, weight_decay=0.1)),
    "warm-up, cosine": (
        lambda ps: labml.AdamWarmupCosineDecay(
            ps, 0.05, eps=1e-3, optimized_update=False, warmup=3, total_steps=9, **DECAY),
        ref.adam_warmup_cosine,
        dict(lr=0.05, eps=1e-3, warmup_steps=3, total_steps=9, weight_decay=0.1)),
    "sophia before its curvature": (
        lambda ps: labml.Sophia(ps, 0.05, rho=0.5, **DECAY),
        ref.sophia, dict(lr=0.05, rho=0.5, weight_decay=0.1)),
}  # fmt: skip


@pytest.mark.parametrize(("make", "formula", "hypers"), FORMULAS.values(), ids=FORMULAS)
def test_twelve_steps_are_those_of_the_formula(make, formula, hypers):
    params = made()
    optimizer, group = make(params), ref.Group([p.detach().numpy().copy() for p in params], hypers)
    for step in range(12):
        run(params, optimizer, [step])
        formula([group], [[g.numpy() for g in gradients(step)]])
        for p, wanted in zip(params, group.params, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), wanted, rtol=1e-10, atol=1e-12)


# --- subclasses --------------------------------------------------------------------------------


class InverseRoot(Adam):
    """A rate of the user's own, with a hyper-parameter that `defaults` brings to the groups."""

    def __init__(self, params, lr=1e-3, decay_steps=10, weight_decay=None, defaults=None):
        self.calls = 0  # set before torch's own __init__
        defaults = {} if defaults is None else defaults
        defaults.update(dict(decay_steps=decay_steps))
        super().__init__(params, lr, weight_decay=weight_decay or WeightDecay(), defaults=defaults)

    def get_lr(self, state, group):
        self.calls += 1
        return group["lr"] / math.sqrt(1 + state["step"] / group["decay_steps"])


def test_a_rate_of_the_users_own_reads_its_group():
    p, q = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in "pq")
    optimizer = InverseRoot([{"params": [p]}, {"params": [q], "decay_steps": 1}], lr=0.1)
    p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
    optimizer.step()  # a first step of Adam is the rate
    assert p.item() == pytest.approx(-0.1 / math.sqrt(1.1))
    assert q.item() == pytest.approx(-0.1 / math.sqrt(2))
    again = copy.deepcopy(optimizer)
    assert again.calls == optimizer.calls == 2
    assert optimizer.hypers[1]["decay_steps"] == 1


class CentralAdam(AMSGrad):
    """Moments of a gradient that the hook changes, without touching `p.grad`."""

    def get_mv(self, state, group, grad):
        return super().get_mv(state, group, grad - grad.mean())


def test_a_hook_may_change_the_gradient_that_the_moments_see():
    p = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    p.grad = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    optimizer = CentralAdam([p], lr=0.1)
    optimizer.step()
    torch.testing.assert_close(optimizer.state[p]["exp_avg"], 0.1 * (p.grad - 3))
    assert p.grad.tolist() == [1.0, 2.0, 6.0]


class LoudRAdam(RAdam):
    """The update taken over whole, by what the class offers."""

    def r_adam_update(self, state, group, param, m, v):
        r = self.calc_rectification_term(group["betas"][1], state["step"])
        param.data.add_(m, alpha=-self.get_lr(state, group) * (r or 0.0))


def test_an_update_of_the_users_own_takes_the_place_of_radams():
    p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer, m = LoudRAdam([p], lr=1.0, betas=(0.5, 0.9)), 0.0
    wanted = 0.0
    for t in range(1, 9):
        p.grad = torch.ones_like(p)
        optimizer.step()
        m = 0.5 * m + 0.5
        inf = 2 / 0.1 - 1
        rho = inf - 2 * t * 0.9**t / (1 - 0.9**t)
        fraction = (rho - 4) * (rho - 2) * inf / ((inf - 4) * (inf - 2) * rho)
        wanted -= math.sqrt(fraction) * m if rho >= 5 else 0.0
    assert p.item() == pytest.approx(wanted) and wanted < 0


class Lion(GenericAdaptiveOptimizer):
    """An optimizer without `init_state`'s usual names, whose eps nothing reads."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=None):
        self.weight_decay = weight_decay or WeightDecay(absolute=False)
        super().__init__(params, self.weight_decay.defaults(), lr, betas, 0.0)

    def init_state(self, state, group, param):
        state["m"] = param.new_zeros(param.shape)

    def step_param(self, state, group, grad, param):
        grad = self.weight_decay(param, grad, group)
        (beta1, beta2), m = group["betas"], state["m"]
        param.data -= group["lr"] * torch.sign(beta1 * m + (1 - beta1) * grad)
        m.mul_(beta2).add_(grad, alpha=1 - beta2)


def test_lion_on_the_template_is_the_librarys():
    import steppers

    a, b = made(), made()
    first = Lion(a, 0.05, weight_decay=WeightDecay(0.1))
    second = steppers.Lion(b, 0.05, weight_decay=0.1)
    run(a, first, range(8))
    run(b, second, range(8))
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore:This overload:UserWarning")
def test_a_template_in_the_spelling_of_old_torch_runs():
    class Old(GenericAdaptiveOptimizer):
        def init_state(self, state, group, param):
            state["step"] = 0
            state["v"] = torch.zeros_like(param.data)

        def step_param(self, state, group, grad, param):
            state["step"] += 1
            state["v"].mul_(group["betas"][1]).addcmul_(1 - group["betas"][1], grad, grad)
            root = state["v"].sqrt().add_(group["eps"])
            param.data.addcdiv_(-group["lr"], grad.data, root)

    p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    p.grad = torch.tensor([3.0, -4.0], dtype=torch.float64)
    Old([p], {}, 0.1, (0.0, 0.75), 0.0).step()
    assert p.tolist() == pytest.approx([-0.2, 0.2])  # lr / sqrt(1 - .75)


def test_a_step_of_the_users_own_around_the_templates():
    class Counted(labml.Adam):
        def step(self, closure=None):
            self.taken = getattr(self, "taken", 0) + 1
            return super().step(closure)

    p = nn.Parameter(torch.ones(2))
    optimizer = Counted([p])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.5**n)
    p.grad = torch.ones(2)
    assert optimizer.step(lambda: 3.0) == 3.0
    scheduler.step()
    assert optimizer.taken == 1 and optimizer.param_groups[0]["lr"] == 5e-4


# --- decays ------------------------------------------------------------------------------------


def test_a_decay_that_spares_vectors_and_adds_to_the_gradient():
    class MatricesOnly(WeightDecay):
        def __call__(self, param, grad, group):
            return super().__call__(param, grad, group) if param.ndim > 1 else grad

    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    matrix.grad, vector.grad = torch.zeros(2, 2), torch.zeros(2)
    labml.Adam([matrix, vector], lr=0.1, weight_decay=MatricesOnly(0.5)).step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), 0.95))
    assert vector.tolist() == [1.0, 1.0]


def test_groups_without_decay_as_transformers_have_them():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.5},
        {"params": (p for p in model.parameters() if p.ndim < 2), "weight_decay": 0.0},
    ]
    optimizer = labml.AdamWarmup(groups, lr=0.1, warmup=10, weight_decay=WeightDecay(0.1))
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old * (0.95 if p.ndim > 1 else 1.0))


# --- the plots of the pages --------------------------------------------------------------------


def test_rates_are_read_off_with_a_bare_step_and_the_defaults():
    model = nn.Linear(4, 4)
    sizes = ((512, 4000), (512, 8000), (2048, 2000))
    opts = [Noam(model.parameters(), lr=1, d_model=d, warmup=w) for d, w in sizes]
    rows = np.array([[opt.get_lr({"step": i}, opt.defaults) for opt in opts]
                     for i in range(1, 20_000, 500)])  # fmt: skip
    wanted = [[d**-0.5 * min(i**-0.5, i * w**-1.5) for d, w in sizes]
              for i in range(1, 20_000, 500)]  # fmt: skip
    np.testing.assert_allclose(rows, wanted, rtol=1e-13)

    opt = labml.AdamWarmupCosineDecay(model.parameters(), warmup=5000, lr=1e-4, total_steps=4e6)
    rates = [opt.get_lr({"step": i}, opt.defaults) for i in range(1, int(6e6), 100_000)]
    assert rates[0] == pytest.approx(1e-8 + 1e-4 / 5000)
    assert rates[10] == pytest.approx(
        0.5e-4 * (1 + math.cos(math.pi * (1_000_001 - 5000) / (4e6 - 5000)))
    )
    assert set(rates[40:]) == {1e-5}


def test_rectification_can_be_plotted_none_being_a_gap():
    betas = (0.9999, 0.999, 0.99, 0.9, 0.8, 0.6, 0.5)
    rows = [[RAdam.calc_rectification_term(b, i) for b in betas] for i in range(1, 1000)]
    table = np.array(rows, dtype=float)
    begin = [int(np.isfinite(column).argmax()) + 1 for column in table.T[:5]]
    # the first t at which rho is 5 or more, by rho = inf - 2 t b^t / (1 - b^t)
    assert begin == [6, 6, 6, 6, 7]
    assert np.isnan(table[:, 5:]).all()
    assert table[-1, 2] == pytest.approx(1.0, abs=1e-3)


# --- loops and surroundings --------------------------------------------------------------------


def test_a_training_loop_with_scheduler_clipping_and_a_scaler():
    torch.manual_seed(0)
    model, x, y = nn.Linear(5, 3), torch.randn(16, 5), torch.randint(3, (16,))
    optimizer = labml.RAdam(model.parameters(), lr=0.1, betas=(0.9, 0.99))
    schedulers = [
        torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=30),
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer),
    ]
    scaler, losses = torch.amp.GradScaler("cpu"), []
    for _ in range(30):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        schedulers[0].step()
        schedulers[1].step(loss.item())
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


def test_state_may_be_reset_by_hand_and_groups_may_come_late():
    params = made()
    optimizer = labml.Adam(params[:3], lr=0.1)
    run(params, optimizer, range(3))
    for p in params[:3]:
        optimizer.state[p] = {}
    late = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    late.grad = torch.ones_like(late)
    optimizer.add_param_group({"params": late, "betas": [0.5, 0.75]})
    optimizer.param_groups[0]["betas"] = (0.0, 0.0)
    before = params[1].detach().clone()
    run(params, optimizer, [3])
    assert {optimizer.state[p]["step"] for p in (*params[:3], late)} == {1}
    torch.testing.assert_close(params[1].detach(), before - 0.1 * params[1].grad.sign())
    assert optimizer.param_groups[1]["betas"] == (0.5, 0.75)


def test_a_run_of_torchs_adam_goes_on():
    """Its state has the same names; its step count is a float32 tensor, which limits the digits."""
    params, others = made(), made()
    torchs = torch.optim.Adam(params, 0.05, eps=1e-3)
    run(params, torchs, range(4))
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.data)
    ours = labml.Adam(others, eps=1e-3, optimized_update=False)
    ours.load_state_dict(torchs.state_dict())
    run(params, torchs, range(4, 8))
    run(others, ours, range(4, 8))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    assert {int(ours.state[q]["step"]) for q in others} == {8}


def test_a_learner_takes_an_optimizer_with_its_decay_by_partial():
    x = torch.randn(8, 3)
    opt_func = partial(labml.AdamWarmup, warmup=2, weight_decay=WeightDecay(0.1))
    dls = SimpleNamespace(train=[(x, torch.zeros(8, 2))] * 3, valid=None)
    learn = Learner(nn.Linear(3, 2), dls, F.mse_loss, lr=0.01, opt_func=opt_func, progress="silent")
    learn.fit_one_cycle(2)
    assert type(learn.opt) is labml.AdamWarmup
    assert {learn.opt.state[p]["step"] for p in learn.model.parameters()} == {6}


def test_gradients_are_dropped_to_none_and_then_nothing_moves():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    optimizer = labml.Adam([p], lr=0.1, weight_decay=WeightDecay(0.5))
    optimizer.zero_grad()
    optimizer.step()
    assert p.grad is None and p.tolist() == [1.0, 1.0] and not optimizer.state


def test_complex_parameters_go_as_pairs_of_real_ones_as_torchs():
    def pair():
        p = nn.Parameter(torch.tensor([1 + 2j, -1j], dtype=torch.complex128))
        return p, torch.tensor([0.5 - 1j, 2 + 0.25j], dtype=torch.complex128)

    for amsgrad in (False, True):
        (p, g), (q, _) = pair(), pair()
        ours = AMSGrad([p], 0.1, eps=1e-3, optimized_update=False, amsgrad=amsgrad)
        torchs = torch.optim.Adam([q], 0.1, eps=1e-3, amsgrad=amsgrad)
        for k in range(5):
            p.grad, q.grad = g * (1 - 0.3 * k), g * (1 - 0.3 * k)
            ours.step()
            torchs.step()
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_sophias_curvature_of_complex_parameters_is_real():
    p = nn.Parameter(torch.tensor([1 + 2j], dtype=torch.complex128))
    p.grad = torch.tensor([3 - 4j], dtype=torch.complex128)
    optimizer = labml.Sophia([p], lr=0.1, betas=(0.9, 0.5))
    optimizer.update_hessian(2)
    assert optimizer.state[p]["hessian"].tolist() == [[9.0, 16.0]]
    optimizer.step()
    assert torch.isfinite(torch.view_as_real(p.detach())).all()


# --- settings ----------------------------------------------------------------------------------


def test_settings_take_a_generator_a_decay_object_and_copy():
    class Twice(labml.L1Decay):
        pass

    configs = OptimizerConfigs()
    configs.parameters = nn.Linear(2, 2).parameters()
    configs.weight_decay_obj = Twice(0.25)
    configs.optimizer = "AdaBelief"
    for each in (configs, copy.deepcopy(configs)):
        optimizer = each.create()
        assert type(optimizer.weight_decay) is Twice
        assert optimizer.param_groups[0]["weight_decay"] == 0.25
        assert len(optimizer.param_groups[0]["params"]) == 2
    configs.optimizer = "SGD"
    with pytest.raises(ValueError, match="SGD takes no weight_decay_obj; set weight_decay"):
        configs.create()


# --- the MNIST experiment ----------------------------------------------------------------------


def test_a_loader_in_parts_gives_each_batch_once_in_a_round_of_parts():
    for size in range(1, 25):
        for parts in range(1, size + 1):
            loader = Interleaved(list(range(size)), parts)
            rounds = [list(loader) for _ in range(2 * parts)]
            for each in (rounds[:parts], rounds[parts:]):
                assert list(chain(*each)) == list(range(size))
            assert [each[0] for each in rounds[:parts]] == [i * size // parts for i in range(parts)]
            assert len(loader) == max(map(len, rounds)) <= min(map(len, rounds)) + 1


def test_a_part_that_is_broken_off_goes_on_at_the_next_pass():
    loader = Interleaved(range(6), 2)
    assert next(iter(loader)) == 0
    assert [list(loader) for _ in range(3)] == [[1, 2], [3, 4, 5], [0, 1, 2]]


@pytest.mark.parametrize("parts", [0, 4, True, -1])
def test_parts_must_fit_the_loader(parts):
    with pytest.raises(ValueError, match=f"parts must be from 1 to .* 3 batches, got {parts}"):
        Interleaved([1, 2, 3], parts)


def test_a_loader_in_parts_must_have_a_length():
    with pytest.raises(TypeError, match="a generator, has no length"):
        Interleaved(x for x in (1, 2))


def test_the_experiment_in_small_interleaves_and_notes_losses_accuracy_and_norms():
    torch.manual_seed(0)
    x, y = torch.randn(40, 1, 28, 28), torch.randint(10, (40,))
    train = torch.utils.data.DataLoader(list(zip(x, y, strict=True)), 2, shuffle=True)
    valid = torch.utils.data.DataLoader(list(zip(x, y, strict=True)), 4)
    net, stats = mnist_net(), UpdateStats(every=1)
    assert sum(p.numel() for p in net.parameters()) == 431_080
    accuracy = lambda preds, target: (preds.argmax(-1) == target).float().mean()  # noqa: E731
    learn = Learner(
        net,
        SimpleNamespace(train=Interleaved(train, 10), valid=Interleaved(valid, 10)),
        lr=1.5e-4,
        cbs=[stats],
        opt_func=partial(labml.Adam, eps=1e-8),
        metrics=dict(accuracy=accuracy),
        train_metrics=True,
        progress="silent",
    )
    learn.fit(10)  # one epoch of the data
    assert type(learn.opt) is labml.Adam and learn.opt.param_groups[0]["lr"] == 1.5e-4
    assert len(learn.recorder.rows) == 10 and len(learn.recorder.losses) == 20
    names = {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy"}
    assert names <= set(learn.recorder.rows[0])
    assert stats.grad_norms.shape == stats.weight_norms.shape == (20, 8)
    assert (stats.grad_norms > 0).all() and (stats.weight_norms > 0).all()
