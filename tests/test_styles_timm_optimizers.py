"""timm's Lookahead, SGDW, LAMB and LARS: formulas in float64, checkpoints, its own tests."""

import copy
import io
import pickle
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

import steppers
from steppers.styles import timm

SHAPES = ((3,), (4, 2), (2, 2))


def made(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in SHAPES]


def feed(params, step):
    generator = torch.Generator().manual_seed(100 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def run(params, optimizer, steps=range(8)):
    for step in steps:
        feed(params, step)
        optimizer.step()


# --- Lookahead ---------------------------------------------------------------------------------


def test_the_first_sync_moves_nothing_and_the_second_pulls_halfway():
    (p,) = params = [nn.Parameter(torch.zeros(1, dtype=torch.float64))]
    optimizer = timm.create_optimizer_v2(params, "lookahead_momentum", lr=0.1, momentum=0.0)
    path = []
    for _ in range(12):
        p.grad = torch.ones_like(p)
        optimizer.step()
        path.append(p.item())
    assert path[:6] == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6])
    assert path[11] == pytest.approx((-0.6 - 1.2) / 2)  # the rule of that name halves at 6 too


def test_lookahead_goes_around_any_optimizer_and_only_what_has_gradients():
    p, q = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = timm.Lookahead(torch.optim.SGD([p, q], lr=1.0), alpha=0.25, k=1)
    for _ in range(2):
        p.grad = torch.ones(1)
        optimizer.step()
    assert p.item() == pytest.approx(-1.25)
    assert q not in optimizer.state


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (dict(alpha=1.5), r"alpha must be in \[0, 1\], got 1.5"),
        (dict(alpha=-0.1), "alpha"),
        (dict(k=0), "k must be >= 1 and whole, got 0"),
        (dict(k=2.5), "k must be >= 1 and whole, got 2.5"),
        (dict(alpha=float("nan")), "alpha"),
    ],
)
def test_lookaheads_numbers_are_checked(wrong, text):
    with pytest.raises(ValueError, match=text):
        timm.Lookahead(steppers.SGD(made()), **wrong)


def test_lookahead_shares_groups_with_schedulers_and_added_parameters():
    params, late = made(), made(1)
    optimizer = timm.Lookahead(steppers.AdamW(params, lr=1.0), k=2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    run(params, optimizer, range(2))
    scheduler.step()
    assert optimizer.base_optimizer.param_groups[0]["lr"] == 0.5
    optimizer.add_param_group({"params": late, "lr": 0.3})
    assert [len(o.param_groups) for o in (optimizer, optimizer.base_optimizer)] == [2, 2]
    assert optimizer.param_groups[1]["lookahead_k"] == 2
    run([*params, *late], optimizer, range(2, 6))


@pytest.mark.parametrize("inside", [steppers.AdamW, torch.optim.AdamW])
def test_lookahead_resumes_and_is_copied(inside):
    whole = made(dtype=torch.float32)
    run(whole, timm.Lookahead(inside(whole, lr=0.1), k=3), range(10))
    params = made(dtype=torch.float32)
    first = timm.Lookahead(inside(params, lr=0.1), k=3)
    run(params, first, range(5))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    again = [nn.Parameter(p.detach().clone()) for p in params]
    second = timm.Lookahead(inside(again, lr=0.9), k=3)
    second.load_state_dict(torch.load(file, weights_only=True))
    for each in (second, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        own = each.param_groups[0]["params"]
        run(own, each, range(5, 10))
        assert all(torch.equal(p, q) for p, q in zip(own, whole, strict=True))


def test_lookahead_goes_around_optimizers_only():
    with pytest.raises(TypeError, match="goes around an optimizer, got list"):
        timm.Lookahead(made())
    with pytest.raises(TypeError, match="goes around no other"):
        timm.Lookahead(timm.Lookahead(steppers.SGD(made())))


def test_slow_weights_are_saved_in_the_states_as_timm_has_them():
    (p,) = params = [nn.Parameter(torch.zeros(1))]
    optimizer = timm.Lookahead(torch.optim.SGD(params, lr=1.0), k=1)
    p.grad = torch.ones(1)
    optimizer.step()
    saved = optimizer.state_dict()
    assert saved.keys() == {"state", "param_groups"}
    assert saved["state"][0]["lookahead_slow_buff"].item() == -1.0
    q = nn.Parameter(torch.full((1,), -1.0))
    again = timm.Lookahead(steppers.SGD([q], lr=1.0), k=1)
    again.load_state_dict(saved)  # of another class with the same state, and not aliased
    q.grad = torch.ones(1)
    again.step()
    assert (q.item(), saved["state"][0]["lookahead_slow_buff"].item()) == (-1.5, -1.0)


def test_slow_weights_follow_the_names_of_their_parameters():
    pairs = [("a", nn.Parameter(torch.zeros(1))), ("b", nn.Parameter(torch.full((1,), 5.0)))]
    first = timm.Lookahead(steppers.SGD(pairs, lr=1.0), k=1)
    feed([p for _, p in pairs], 0)
    first.step()
    turned = [(n, nn.Parameter(p.detach().clone())) for n, p in reversed(pairs)]
    second = timm.Lookahead(steppers.SGD(turned, lr=1.0), k=1)
    second.load_state_dict(first.state_dict())
    for n, p in turned:
        assert torch.equal(second.state[p]["lookahead_slow_buff"], dict(pairs)[n].detach())


def test_lookahead_takes_up_the_checkpoint_of_the_optimizer_inside():
    params = made()
    plain = steppers.AdamW(params, lr=0.1)
    run(params, plain, range(3))
    wrapped = timm.Lookahead(steppers.AdamW(made(), lr=0.7), k=4)
    wrapped.load_state_dict(plain.state_dict())
    group = wrapped.param_groups[0]
    assert (group["lr"], group["lookahead_k"], group["lookahead_step"]) == (0.1, 4, 0)
    with pytest.raises(ValueError, match="Lookahead: a state dict holds 'state'"):
        wrapped.load_state_dict([])


def test_lookahead_syncs_where_timms_trainer_asks_for_it():
    (p,) = params = [nn.Parameter(torch.zeros(1))]
    optimizer = timm.Lookahead(torch.optim.SGD(params, lr=1.0), k=4)
    p.grad = torch.ones(1)
    optimizer.step()
    optimizer.sync_lookahead()  # the first copies: -1
    optimizer.step()
    optimizer.sync_lookahead()
    assert p.item() == -1.5


# --- SGDW, LAMB, LARS: timm's formulas in float64 ----------------------------------------------


def follow(optimizer_of, step_of, rates):
    """Our optimizer and a formula, (params, grads, states, lr, t) -> params, side by side."""
    params, others = made(), [p.detach().clone() for p in made()]
    params[2].data.zero_()
    others[2].zero_()
    optimizer, states = optimizer_of(params), [{} for _ in params]
    for step, lr in enumerate(rates):
        optimizer.param_groups[0]["lr"] = lr
        run(params, optimizer, [step])
        grads = [p.grad for p in params]
        others = step_of(others, grads, states, lr, step + 1)
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p.detach(), q, rtol=1e-11, atol=1e-13)


RATES = [0.1, 0.1, 0.05, 0.2, 0.02, 0.1]


def masked(u, g):
    mask = (u * g > 0).double()
    return u * mask / mask.mean().clamp(min=1e-3)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("caution", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgdw_in_its_modes_of_decay(corrected, caution, nesterov):
    def step(ps, gs, states, lr, t):
        found = []
        for p, g, s in zip(ps, gs, states, strict=True):
            s["b"] = g.clone() if t == 1 else 0.9 * s["b"] + g
            u = g + 0.9 * s["b"] if nesterov else s["b"]
            scale = lr**2 / 0.1 if corrected else lr
            found.append(p * (1 - scale * 0.3) - lr * (masked(u, g) if caution else u))
        return found

    follow(lambda ps: timm.SGDW(ps, 0.1, 0.9, 0.0, 0.3, nesterov, caution, corrected), step, RATES)


def test_caution_is_of_momentums_direction():
    """Without momentum nothing is masked: zeros in a gradient would else scale up the rest."""
    p, q = (nn.Parameter(torch.ones(4)) for _ in range(2))
    p.grad = q.grad = torch.tensor([1.0, 0.0, 0.0, 2.0])
    timm.SGDW([p], 0.1, caution=True).step()
    timm.SGDW([q], 0.1).step()
    assert torch.equal(p, q)


def decayed(rate, optimizer):
    """What one step without a gradient leaves of a 1, at a rate."""
    p = optimizer.param_groups[0]["params"][0]
    p.data.fill_(1.0)
    p.grad = torch.zeros_like(p)
    optimizer.param_groups[0]["lr"] = rate
    optimizer.step()
    return 1 - p.item()


@pytest.mark.parametrize("make", [
    lambda ps: timm.SGDW(ps, 0.1, weight_decay=0.5, corrected_weight_decay=True),
    lambda ps: timm.Lamb(ps, 0.1, weight_decay=0.5, decoupled_decay=True,
                         corrected_weight_decay=True),
])  # fmt: skip
def test_corrected_decay_goes_by_the_top_of_the_schedule(make):
    """lr**2 / max_lr * wd; what a group began at is not OneCycleLR's top, which it states."""
    optimizer = make([nn.Parameter(torch.ones((), dtype=torch.float64))])
    assert decayed(0.05, optimizer) == pytest.approx(0.05**2 / 0.1 * 0.5)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=9, cycle_momentum=False)
    assert decayed(0.2, optimizer) == pytest.approx(0.2**2 / 0.4 * 0.5)
    optimizer.param_groups[0]["max_lr"] = 0.8
    assert decayed(0.2, optimizer) == pytest.approx(0.2**2 / 0.8 * 0.5)


LAMB = [
    dict(),
    dict(max_grad_norm=None),
    dict(trust_clip=True),
    dict(weight_decay=0.0),
    dict(weight_decay=0.0, always_adapt=True),
    dict(bias_correction=False, grad_averaging=False),
    dict(decoupled_decay=True, caution=True),
    dict(decoupled_decay=True, corrected_weight_decay=True),
    dict(corrected_weight_decay=True),  # for decoupled decay alone
]


@pytest.mark.parametrize("options", LAMB, ids=str)
def test_lamb_with_each_option(options):
    o = dict(weight_decay=0.3, max_grad_norm=1.0, trust_clip=False, always_adapt=False,
             bias_correction=True, grad_averaging=True, decoupled_decay=False,
             corrected_weight_decay=False, caution=False) | options  # fmt: skip

    def step(ps, gs, states, lr, t):
        norm = torch.sqrt(sum(g.square().sum() for g in gs))
        clip = max(norm / o["max_grad_norm"], 1.0) if o["max_grad_norm"] else 1.0
        found = []
        for p, g, s in zip(ps, gs, states, strict=True):
            g, wd = g / clip, o["weight_decay"]
            s["m"] = 0.9 * s.get("m", 0) + (0.1 if o["grad_averaging"] else 1.0) * g
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
            c1, c2 = (1 - 0.9**t, 1 - 0.999**t) if o["bias_correction"] else (1.0, 1.0)
            u = s["m"] / c1 / (s["v"].sqrt() / c2**0.5 + 1e-6)
            u = masked(u, g) if o["caution"] else u
            if o["decoupled_decay"]:
                p = p * (1 - (lr**2 / 0.1 if o["corrected_weight_decay"] else lr) * wd)
            else:
                u = u + wd * p
            if wd or o["always_adapt"]:
                ratio = p.norm() / u.norm() if p.norm() > 0 and u.norm() > 0 else 1.0
                u = u * (min(ratio, 1.0) if o["trust_clip"] else ratio)
            found.append(p - lr * u)
        return found

    follow(lambda ps: timm.Lamb(ps, 0.1, **{"weight_decay": 0.3, **options}), step, RATES)


def lamb_by_group(ps, gradients, rates, wd=0.3, betas=(0.9, 0.999), eps=1e-6):
    """timm's loop over a group, without clip: one count for it, idle parameters skipped."""
    states, count = [{} for _ in ps], 0
    for grads, lr in zip(gradients, rates, strict=True):
        count += 1
        for i, (g, s) in enumerate(zip(grads, states, strict=True)):
            if g is None:
                continue
            s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
            s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
            root = (s["v"] / (1 - betas[1] ** count)).sqrt() + eps
            u = s["m"] / (1 - betas[0] ** count) / root + wd * ps[i]
            ps[i] = ps[i] - lr * ps[i].norm() / u.norm() * u
    return ps


def test_lamb_counts_the_steps_of_a_group():
    """A gradient that comes late, steps without one, steps of none at all, and a rate of 0."""
    gradients = []
    for step in range(7):
        generator = torch.Generator().manual_seed(step)
        both = [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES[:2]]
        gradients.append([None, None] if step == 4 else [both[0], both[1] if step > 1 else None])
    rates = [0.1, 0.1, 0.0, 0.1, 0.1, 0.1, 0.05]
    params, idle = made()[:2], made(1)
    expected = lamb_by_group([p.detach().clone() for p in params], gradients, rates)
    groups = [{"params": params}, {"params": idle}]
    optimizer = timm.Lamb(groups, weight_decay=0.3, max_grad_norm=None)
    for grads, lr in zip(gradients, rates, strict=True):
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    assert [g["group_step"] for g in optimizer.param_groups] == [7, 7]
    for p, q in zip(params, expected, strict=True):
        torch.testing.assert_close(p.detach(), q, rtol=1e-12, atol=1e-14)
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert copied.param_groups[1]["group_step"] == 7


def test_steps_count_while_nothing_is_debiased_by_them():
    params = made()
    optimizer = timm.Lamb(params, bias_correction=False)
    run(params, optimizer, range(3))
    optimizer.param_groups[0]["bias_correction"] = True
    run(params, optimizer, range(3, 5))
    assert optimizer.param_groups[0]["group_step"] == 5


def test_steps_that_are_skipped_do_not_count():
    params = made()
    optimizer = timm.Lamb(params, skip_nonfinite=True)
    run(params, optimizer, range(2))
    params[0].grad[0] = float("nan")
    optimizer.step()
    assert optimizer.param_groups[0]["group_step"] == 2


@pytest.mark.parametrize("count", [5, torch.tensor(5.0)])
def test_a_checkpoint_of_timms_lamb_has_the_count_in_its_groups(count):
    params = made()
    optimizer = timm.Lamb(params, 0.1)
    run(params, optimizer, range(5))
    saved = optimizer.state_dict()
    for state in saved["state"].values():
        del state["step"]
    (group,) = saved["param_groups"]
    timms = ("lr", "betas", "eps", "weight_decay", "trust_clip", "always_adapt", "params")
    again = [nn.Parameter(p.detach().clone()) for p in params]
    second = timm.Lamb(again, 0.7)
    theirs = {**{name: group[name] for name in timms}, "step": count}
    second.load_state_dict({"state": saved["state"], "param_groups": [theirs]})
    assert second.param_groups[0]["group_step"] == 5 and "step" not in second.param_groups[0]
    run(params, optimizer, range(5, 8))
    run(again, second, range(5, 8))
    assert all(torch.equal(p, q) for p, q in zip(params, again, strict=True))


@pytest.mark.parametrize("wrong", [[], {"state": {}}, {"state": {}, "param_groups": [3]}, 4])
def test_what_is_no_checkpoint_is_refused(wrong):
    with pytest.raises(ValueError, match=r"Lamb: .*state dict"):
        timm.Lamb(made()).load_state_dict(wrong)


@pytest.mark.parametrize("cls", [timm.Lamb, timm.Lars])
def test_switches_may_differ_from_group_to_group(cls):
    """A group's trust_clip and always_adapt count there and nowhere else."""
    for switch in ("trust_clip", "always_adapt"):
        own, alone = made(), made()
        settings = dict(lr=1e-3, weight_decay=0.0 if switch == "always_adapt" else 0.1)
        optimizer = cls([{"params": own, switch: True}, {"params": made(1)}], **settings)
        single = cls(alone, **settings, **{switch: True})
        if cls is timm.Lamb:
            for each in (optimizer, single):
                each.set_hyper("max_grad_norm", 0.0)
        for group in optimizer.param_groups:
            feed(group["params"], 0)
        feed(alone, 0)
        optimizer.step()
        single.step()
        assert [g[switch] for g in optimizer.param_groups] == [True, False]
        assert all(torch.equal(p, q) for p, q in zip(own, alone, strict=True))
        with pytest.raises(TypeError, match=f"{switch} must be True or False, got 10.0"):
            cls(made(), **{switch: 10.0})


@pytest.mark.parametrize(("ours", "clip"), [(steppers.LARS, False), (steppers.LARC, True)])
def test_lars_is_the_catalogues_where_everything_decays(ours, clip):
    a, b, more = made(), made(), dict(momentum=0.9, weight_decay=0.1, nesterov=True)
    run(a, timm.Lars(a, 0.1, trust_coeff=0.02, trust_clip=clip, **more))
    run(b, ours(b, 0.1, trust_coefficient=0.02, **more))
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


LARS = [
    dict(momentum=0.9, weight_decay=0.1),
    dict(momentum=0.9, nesterov=True, weight_decay=0.1, trust_coeff=0.02),
    dict(momentum=0.9, dampening=0.5, weight_decay=0.1),
    dict(momentum=0.9),
    dict(always_adapt=True),
    dict(momentum=0.9, weight_decay=0.1, trust_clip=True, trust_coeff=0.5),
]


@pytest.mark.parametrize("options", LARS, ids=str)
def test_lars_with_each_option(options):
    o = dict(momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, trust_coeff=1e-3,
             trust_clip=False, always_adapt=False) | options  # fmt: skip

    def step(ps, gs, states, lr, t):
        found = []
        for p, g, s in zip(ps, gs, states, strict=True):
            wd = o["weight_decay"]
            if wd or o["always_adapt"]:
                ratio = o["trust_coeff"] * p.norm() / (g.norm() + p.norm() * wd + 1e-8)
                ratio = ratio if p.norm() > 0 and g.norm() > 0 else torch.tensor(1.0)
                ratio = min(ratio / lr, torch.tensor(1.0)) if o["trust_clip"] else ratio
                g = (g + wd * p) * ratio
            if o["momentum"]:
                first = t == 1
                s["b"] = g if first else o["momentum"] * s["b"] + (1 - o["dampening"]) * g
                g = g + o["momentum"] * s["b"] if o["nesterov"] else s["b"]
            found.append(p - lr * g)
        return found

    follow(lambda ps: timm.Lars(ps, 0.1, **options), step, RATES)


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
@pytest.mark.parametrize("cls", [timm.SGDW, timm.Lamb, timm.Lars])
def test_engines_agree(cls, engine):
    more = {"momentum": 0.9} if cls is not timm.Lamb else {}
    a, b = made(), made()
    run(a, cls(a, 0.1, weight_decay=0.1, engine=engine, **more))
    run(b, cls(b, 0.1, weight_decay=0.1, engine="loop", **more))
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_numbers_of_lamb_are_checked():
    for wrong in (dict(max_grad_norm=-1.0), dict(lr=-1.0), dict(betas=(1.0, 0.9))):
        with pytest.raises(ValueError, match="Lamb: "):
            timm.Lamb(made(), **wrong)


def test_nesterovs_form_needs_momentum():
    for cls in (timm.SGDW, timm.Lars):
        with pytest.raises(ValueError, match="nesterov=True needs momentum > 0"):
            cls(made(), nesterov=True)


# --- the valley and the small net of timm's own tests ------------------------------------------

VALLEY = {"sgd": 1e-3, "adam": 5e-2, "radam": 1e-3, "lamb": 1e-3, "lars": 1e-3,
          "rmsprop": 1e-2, "adabelief": 5e-2, "lookahead_sgd": 1e-3, "lookahead_adam": 5e-2,
          "lookahead_radam": 1e-4}  # fmt: skip


@pytest.mark.parametrize("name", VALLEY)
def test_a_curved_valley_is_not_left(name):
    """Rosenbrock's function from (1.5, 1.5), one coordinate a step: no farther from (1, 1)."""
    p = nn.Parameter(torch.tensor([1.5, 1.5]))
    optimizer = timm.create_optimizer_v2([p], name, lr=VALLEY[name])
    for step in range(2000):
        x, y = p.detach().tolist()
        g = torch.tensor([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
        keep = torch.tensor([1.0, 0.0]) if step % 2 else torch.tensor([0.0, 1.0])
        p.grad = g * keep
        optimizer.step()
    assert torch.dist(p.detach(), torch.ones(2)) <= torch.dist(torch.full((2,), 1.5), torch.ones(2))


def line(contiguous):
    """(w x + b)**2 of timm's tests: w and b to train, and x."""
    generator = torch.Generator().manual_seed(0)
    w, b = (torch.randn(*s, generator=generator) for s in ((10, 5, 2), (10, 2)))
    w, b = (w[..., 0], b[..., 0]) if not contiguous else (w[..., 0].clone(), b[..., 0].clone())
    return nn.Parameter(w), nn.Parameter(b), torch.randn(5, generator=generator)


def loss_of(optimizer, w, b, x):
    optimizer.zero_grad()
    loss = (w.mv(x) + b).square().sum()
    loss.backward()
    return loss


@pytest.mark.parametrize("contiguous", [True, False], ids=["", "strided"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adabelief", "radam", "lamb", "lars", "rmsprop",
                                  "lookahead_adam"])  # fmt: skip
def test_two_hundred_steps_go_down_and_resume_on_the_way(name, contiguous):
    """timm's basic cases: a partial as the closure, two groups, a scheduler, a state taken over."""
    w, b, x = line(contiguous)
    make = lambda w, b: timm.create_optimizer_v2(  # noqa: E731
        [{"params": [w]}, {"params": [b], "lr": 3e-3}], name, lr=1e-3
    )
    optimizer = make(w, b)
    assert type(optimizer).__name__ in repr(optimizer)
    closure = partial(loss_of, optimizer, w, b, x)
    first = closure().item()
    for _ in range(20):
        optimizer.step(closure)
    v, c = (nn.Parameter(p.detach().clone()) for p in (w, b))
    other, saved = make(v, c), optimizer.state_dict()
    other.load_state_dict(copy.deepcopy(saved))
    for _ in range(20):
        optimizer.step(closure)
        other.step(partial(loss_of, other, v, c, x))
        torch.testing.assert_close(v, w, rtol=1e-5, atol=1e-6)  # sums go by the memory's order
    public = [{name for name in vars(o) if name[0] != "_"} for o in (other, copy.deepcopy(other))]
    assert public[0] == public[1]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.99)
    for _ in range(160):
        optimizer.step(closure)
        scheduler.step()
    assert closure().item() < first


@pytest.mark.parametrize("name", ["sgd", "adamw", "radam", "lamb", "lars", "adabelief", "rmsprop"])
def test_the_loss_of_a_tiny_net_falls_at_every_step(name):
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid())
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    optimizer = timm.create_optimizer_v2(net, name, lr=5e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(b < a for a, b in pairwise(losses))
