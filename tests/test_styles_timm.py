"""timm's groups, names and options: code that used `timm.optim` runs, and its formulas hold."""

import argparse
import copy
import io
import pickle
from itertools import pairwise

import pytest
import torch
from torch import nn

import steppers
from steppers.styles import timm
from steppers.styles.timm import layer_decay

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


class Net(nn.Module):
    """A token, an embedding, four blocks and a head; it says what does not decay."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.embed = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(4)
        )
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.embed(x) + self.cls_token[0]
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x))

    def no_weight_decay(self):
        return {"cls_token"}


class Matched(Net):
    def group_matcher(self, coarse=False):
        return dict(stem=r"^cls_token|^embed", blocks=[(r"^blocks\.(\d+)", None),
                                                       (r"^norm", (99999,))])  # fmt: skip


def names_of(model, group):
    names = {p: n for n, p in model.named_parameters()}
    return {names[p] for p in group["params"]}


# --- groups by decay ---------------------------------------------------------------------------


def test_vectors_biases_and_listed_names_do_not_decay():
    model = Net()
    spared, decayed = timm.param_groups_weight_decay(
        model, 0.05, no_weight_decay_list=model.no_weight_decay()
    )
    assert (spared["weight_decay"], decayed["weight_decay"]) == (0.0, 0.05)
    assert names_of(model, decayed) == {
        "embed.weight", "head.weight", *(f"blocks.{i}.1.weight" for i in range(4))
    }  # fmt: skip
    assert len(spared["params"]) + len(decayed["params"]) == len(list(model.parameters()))


def test_names_may_be_patterns_and_vectors_may_decay():
    model = Net()
    spared, _ = timm.param_groups_weight_decay(
        model, 0.05, no_weight_decay_list=["blocks.*"], weight_decay_exclude_1d=False
    )
    assert names_of(model, spared) == {n for n, _ in model.named_parameters() if "blocks" in n}


@pytest.mark.parametrize("decay", [0.0, None])
def test_without_decay_there_is_one_group(decay):
    groups = timm.param_groups_weight_decay(Net(), decay)
    assert [group["weight_decay"] for group in groups] == [0.0]


def test_frozen_parameters_and_empty_groups_are_left_out():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[0].requires_grad_(False)
    groups = timm.param_groups_weight_decay(model, 0.1)
    assert [(g["weight_decay"], names_of(model, g)) for g in groups] == [(0.1, {"1.weight"})]


def test_fallback_groups_are_flagged():
    model = Net()
    groups = timm.param_groups_weight_decay(
        model, 0.1, fallback_list=["head.*", "embed.weight"], fallback_no_weight_decay=True
    )
    flags = [(g.get("use_fallback", False), g["weight_decay"]) for g in groups]
    assert flags == [(False, 0.0), (False, 0.1), (True, 0.0)]
    assert names_of(model, groups[2]) == {"head.weight", "head.bias", "embed.weight"}


def test_options_are_keyword_only_because_their_places_have_changed():
    with pytest.raises(TypeError, match="positional"):
        timm.param_groups_weight_decay(Net(), 0.1, ["cls_token"])


# --- groups by layer ---------------------------------------------------------------------------


def test_layers_of_a_matcher_decay_towards_the_input():
    model = Matched()
    groups = timm.param_groups_layer_decay(model, 0.05, layer_decay=0.5)
    scale = {n: g["lr_scale"] for g in groups for n in g["param_names"]}
    assert scale["embed.weight"] == scale["cls_token"] == 0.5**5
    assert [scale[f"blocks.{i}.1.weight"] for i in range(4)] == [0.5**4, 0.5**3, 0.5**2, 0.5]
    assert scale["norm.weight"] == 0.5  # its key's 99999 says: with the layer before
    assert scale["head.weight"] == 1.0  # what nothing matches is last
    heads = [g for g in groups if any(n.startswith("head.") for n in g["param_names"])]
    assert [(g["lr_scale"], g["weight_decay"]) for g in heads] == [(1.0, 0.0), (1.0, 0.05)]


def test_a_matcher_may_be_a_function():
    names = ["a.0.w", "a.1.w", "b.w"]
    layers = layer_decay.matched(names, lambda name: 9 if name[0] == "b" else int(name[2]))
    assert layers == {"a.0.w": 0, "a.1.w": 1, "b.w": 2}


def test_without_a_matcher_twelve_names_are_a_layer_and_the_head_is_last():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(14)))  # 26 names and the head's two
    layers = layer_decay.layers_of(model)
    assert [layers[f"{i}.weight"] for i in (0, 5, 6, 11, 12, 13)] == [0, 0, 1, 1, 2, 3]


def test_the_head_is_what_the_model_states():
    model = Net()
    model.pretrained_cfg = {"classifier": "embed"}
    layers = layer_decay.layers_of(model)
    assert layers["embed.weight"] == max(layers.values()) > layers["head.weight"]


def test_scales_have_a_floor():
    groups = timm.param_groups_layer_decay(Matched(), layer_decay=0.1, min_scale=0.05)
    assert min(g["lr_scale"] for g in groups) == 0.05


def test_layers_below_a_scale_are_frozen_and_left_out():
    model = Matched()
    groups = timm.param_groups_layer_decay(model, layer_decay=0.5, no_opt_scale=0.2)
    kept = {n for g in groups for n in g["param_names"]}
    assert "blocks.1.1.weight" not in kept and "blocks.2.1.weight" in kept
    assert {n for n, p in model.named_parameters() if p.requires_grad} == kept


def test_the_scale_waits_for_the_scheduler_or_stands_in_lr():
    model = Matched()
    theirs = steppers.AdamW(timm.param_groups_layer_decay(model, layer_decay=0.5), lr=1.0)
    assert {g["lr"] for g in theirs.param_groups} == {1.0}
    timm.update_groups(theirs, 0.1)
    ours = steppers.AdamW(timm.param_groups_layer_decay(model, layer_decay=0.5, lr=0.1))
    rates = [[g["lr"] for g in o.param_groups] for o in (theirs, ours)]
    assert rates[0] == pytest.approx(rates[1]) and rates[1][0] == pytest.approx(0.1 * 0.5**5)


def test_scaled_rates_are_written_into_tensors():
    lr = torch.tensor(1.0)
    optimizer = torch.optim.SGD([{"params": made(), "lr_scale": 0.5}], lr=lr)
    timm.update_groups(optimizer, 0.1)
    assert lr.item() == pytest.approx(0.05)


def test_layer_decay_agrees_with_our_own_groups():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    by = lambda name: int(name[0])  # noqa: E731
    model.group_matcher = lambda coarse: by
    ours = steppers.groups.layer_decay(model, lr=1.0, decay=0.5, exclude_1d=True, depth=by)
    rates = {id(p): g["lr"] for g in ours for p in g["params"]}
    theirs = timm.param_groups_layer_decay(model, layer_decay=0.5, lr=1.0)
    assert {id(p): g["lr"] for g in theirs for p in g["params"]} == rates


@pytest.mark.parametrize("wrong", [dict(layer_decay=-1.0), dict(min_scale=float("nan"))])
def test_scales_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be >= 0"):
        timm.param_groups_layer_decay(Net(), **wrong)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", timm.list_optimizers())
def test_every_name_makes_an_optimizer_that_learns(name):
    torch.manual_seed(0)
    model = Net()
    x, y = torch.randn(32, 3), torch.randn(32, 2)
    optimizer = timm.create_optimizer_v2(model, name, lr=1e-2, weight_decay=0.01)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", timm.list_optimizers())
def test_a_resumed_run_is_identical(name):
    """The pattern of timm's own tests: a state dict round trip, then the same further steps."""
    whole = made(dtype=torch.float32)
    run(whole, timm.create_optimizer_v2(whole, name, lr=1e-2, weight_decay=0.01), range(10))
    params = made(dtype=torch.float32)
    first = timm.create_optimizer_v2(params, name, lr=1e-2, weight_decay=0.01)
    run(params, first, range(5))
    again = [nn.Parameter(p.detach().clone()) for p in params]
    second = timm.create_optimizer_v2(again, name, lr=1e-2, weight_decay=0.01)
    saved = first.state_dict()
    before = copy.deepcopy(saved)
    second.load_state_dict(saved)
    assert str(saved) == str(before)
    run(again, second, range(5, 10))
    assert all(torch.equal(p, q) for p, q in zip(whole, again, strict=True))


def test_sgd_is_nesterovs_form_and_momentum_the_plain_one():
    sgd, plain = (timm.create_optimizer_v2(made(), name) for name in ("sgd", "momentum"))
    assert (sgd.param_groups[0]["nesterov"], sgd.param_groups[0]["momentum"]) == (True, 0.9)
    assert (plain.param_groups[0]["nesterov"], plain.param_groups[0]["momentum"]) == (False, 0.9)


def test_arguments_that_a_class_does_not_take_are_dropped():
    sgd = timm.create_optimizer_v2(made(), "sgd", eps=1e-8, betas=(0.9, 0.95))
    assert "eps" not in sgd.param_groups[0] and "betas" not in sgd.param_groups[0]
    adam = timm.create_optimizer_v2(made(), "adam", eps=1e-3, momentum=0.9, betas=None)
    assert adam.param_groups[0]["eps"] == 1e-3
    with pytest.raises(TypeError, match="ampsgrad"):
        timm.create_optimizer_v2(made(), "adam", ampsgrad=True)


def test_a_model_is_split_and_its_own_list_is_spared():
    model = Net()
    optimizer = timm.create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05)
    spared, decayed = optimizer.param_groups
    assert (spared["weight_decay"], decayed["weight_decay"]) == (0.0, 0.05)
    assert "cls_token" in names_of(model, spared)
    assert optimizer.defaults["weight_decay"] == 0.0


def test_biases_and_norms_decay_where_asked():
    optimizer = timm.create_optimizer_v2(
        Net(), "adamw", weight_decay=0.05, filter_bias_and_bn=False
    )
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.05]


def test_iterables_pass_through_with_their_decay():
    groups = [{"params": made(), "lr": 0.3}, {"params": made(1)}]
    optimizer = timm.create_optimizer_v2(groups, "adamw", lr=0.1, weight_decay=0.05)
    found = [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups]
    assert found == [(0.3, 0.05), (0.1, 0.05)]


def test_group_functions_go_before_layers_and_layers_before_decay():
    model = Matched()
    optimizer = timm.create_optimizer_v2(model, "adamw", weight_decay=0.05, layer_decay=0.5)
    assert {g["lr_scale"] for g in optimizer.param_groups} == {0.5**i for i in range(6)}
    only = timm.create_optimizer_v2(
        model, "adamw", weight_decay=0.05, layer_decay=0.5,
        param_group_fn=lambda m: m.head.parameters(),
    )  # fmt: skip
    assert [len(g["params"]) for g in only.param_groups] == [2]


def test_lr_none_is_the_classs_own():
    assert timm.create_optimizer_v2(made(), "lion").param_groups[0]["lr"] == 1e-4


def test_names_are_listed_by_patterns():
    assert timm.list_optimizers("*lar[sc]") == ["larc", "lars", "nlarc", "nlars"]
    assert timm.list_optimizers(["lamb*", "lion"], exclude_filters=["*c"]) == ["lamb", "lion"]
    assert timm.list_optimizers("lion", with_description=True) == [
        ("lion", "the sign of a momentum")
    ]


def test_what_is_known_of_a_name():
    info = timm.get_optimizer_info("SGD")
    assert (info.has_momentum, info.has_eps, info.has_betas) == (True, False, False)
    assert timm.get_optimizer_info("adamw").has_betas
    bound = timm.get_optimizer_class("sgd")(made(), momentum=0.5)
    assert bound.param_groups[0]["nesterov"] is True
    assert timm.get_optimizer_class("sgd", bind_defaults=False) is steppers.SGD


def test_optimizers_and_aliases_can_be_added():
    registry = timm.OptimizerRegistry()
    registry.register(timm.OptimInfo("mine", torch.optim.SGD, "torch's", {"momentum": 0.5}))
    registry.register_alias("yours", "mine")
    made_by_name = registry.create_optimizer(made(), "yours", lr=0.1, momentum=None)
    assert type(made_by_name) is torch.optim.SGD
    assert made_by_name.param_groups[0]["momentum"] == 0.5
    with pytest.raises(ValueError, match="'mine' is registered already"):
        registry.register(timm.OptimInfo("Mine", torch.optim.SGD))
    with pytest.raises(ValueError, match="no prefix"):
        registry.register(timm.OptimInfo("lookahead_sgd", torch.optim.SGD))


@pytest.mark.parametrize(
    ("name", "text"), [("adanw", "did you mean 'adam"), ("lookbehind_sgd", "the one prefix")]
)
def test_unknown_names_are_refused(name, text):
    with pytest.raises(ValueError, match=text):
        timm.create_optimizer_v2(made(), name)


def test_arguments_of_a_command_line_make_an_optimizer():
    args = argparse.Namespace(
        opt="adamw", lr=0.02, weight_decay=0.05, momentum=0.9, opt_eps=None, opt_betas=[0.8, 0.9],
        layer_decay=None, opt_args={"amsgrad": True},
    )  # fmt: skip
    group = timm.create_optimizer(args, Net()).param_groups[1]
    assert (group["lr"], group["betas"], group["amsgrad"]) == (0.02, (0.8, 0.9), True)
    assert group["eps"] == 1e-8


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
        (dict(k=0), "k must be >= 1, got 0"),
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


LAMB = [
    dict(),
    dict(max_grad_norm=None),
    dict(trust_clip=True),
    dict(weight_decay=0.0),
    dict(weight_decay=0.0, always_adapt=True),
    dict(bias_correction=False, grad_averaging=False),
    dict(decoupled_decay=True, caution=True),
]


@pytest.mark.parametrize("options", LAMB, ids=str)
def test_lamb_with_each_option(options):
    o = dict(weight_decay=0.3, max_grad_norm=1.0, trust_clip=False, always_adapt=False,
             bias_correction=True, grad_averaging=True, decoupled_decay=False,
             caution=False) | options  # fmt: skip

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
                p = p * (1 - lr * wd)
            else:
                u = u + wd * p
            if wd or o["always_adapt"]:
                ratio = p.norm() / u.norm() if p.norm() > 0 and u.norm() > 0 else 1.0
                u = u * (min(ratio, 1.0) if o["trust_clip"] else ratio)
            found.append(p - lr * u)
        return found

    follow(lambda ps: timm.Lamb(ps, 0.1, **{"weight_decay": 0.3, **options}), step, RATES)


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

VALLEY = {"momentum": 1e-3, "adam": 5e-2, "radam": 1e-3, "lamb": 1e-3, "lars": 1e-3,
          "rmsprop": 1e-2, "adabelief": 5e-2, "lookahead_momentum": 1e-3, "lookahead_adam": 5e-2,
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
