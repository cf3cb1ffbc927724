"""timm's groups and names: code that used `timm.optim` runs; and the page of both systems."""

import argparse
import copy
import inspect
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import steppers
from steppers.styles import timm
from steppers.styles.timm import default_registry, layer_decay

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
    groups = timm.param_groups_weight_decay(model, 0.1, fallback_list=["head.*", "embed.weight"])
    flags = [(g.get("use_fallback", False), g["weight_decay"]) for g in groups]
    assert flags == [(False, 0.0), (False, 0.1), (True, 0.0), (True, 0.1)]
    assert names_of(model, groups[2]) == {"head.bias"}
    assert names_of(model, groups[3]) == {"head.weight", "embed.weight"}


@pytest.mark.parametrize("groups_of", [timm.param_groups_weight_decay,
                                       timm.param_groups_layer_decay])  # fmt: skip
def test_names_without_decay_may_go_to_the_fallback_as_well(groups_of):
    """timm's fallback_no_weight_decay: no_weight_decay_list is added to fallback_list."""
    model = Net()
    groups = groups_of(
        model, 0.1, no_weight_decay_list=["cls_token"], fallback_list=["head.weight"],
        fallback_no_weight_decay=True,
    )  # fmt: skip
    found = {n: g["weight_decay"] for g in groups if "use_fallback" in g
             for n in names_of(model, g)}  # fmt: skip
    assert found == {"cls_token": 0.0, "head.weight": 0.1}


@pytest.mark.parametrize("argument", ["no_weight_decay_list", "fallback_list"])
def test_one_string_is_no_list_of_names(argument):
    """timm takes its letters for names, so that nothing is spared."""
    for groups_of in (timm.param_groups_weight_decay, timm.param_groups_layer_decay):
        with pytest.raises(TypeError, match=f"{argument} must be a list of names, got 'head"):
            groups_of(Net(), 0.1, **{argument: "head.weight"})


def test_options_are_keyword_only_because_their_places_have_changed():
    with pytest.raises(TypeError, match="positional"):
        timm.param_groups_weight_decay(Net(), 0.1, ["cls_token"])


@pytest.mark.parametrize(
    "groups_of", [timm.param_groups_weight_decay, timm.param_groups_layer_decay]
)
def test_groups_are_of_a_model_and_decay_by_a_number(groups_of):
    with pytest.raises(TypeError, match="goes by a model's names, got generator; give the model"):
        groups_of(Net().parameters())
    for wrong in (-0.1, float("nan"), "0.1"):
        with pytest.raises(ValueError, match="weight_decay must be a number >= 0 or None, got"):
            groups_of(Net(), wrong)


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
    assert [(g["lr_scale"], g["weight_decay"]) for g in heads] == [(1.0, 0.05), (1.0, 0.0)]


def test_a_matcher_may_be_a_function():
    names = ["a.0.w", "a.1.w", "b.w"]
    layers = layer_decay.matched(names, lambda name: 9 if name[0] == "b" else int(name[2]))
    assert layers == {"a.0.w": 0, "a.1.w": 1, "b.w": 2}


def test_a_matcher_that_captures_words_says_so():
    with pytest.raises(ValueError, match=r"must capture numbers.* of 'a.0' it captured \('a',\)"):
        layer_decay.matched(["a.0"], {"stem": r"(\w)\."})


def test_a_matcher_may_leave_entries_and_brackets_out():
    names = ["a.1.w", "a.w", "b.w"]
    layers = layer_decay.matched(names, {"none": None, "a": r"a\.(\d)?", "b": (("b", (2,)),)})
    assert layers == {"a.w": 0, "a.1.w": 1, "b.w": 2}


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


def test_groups_stand_in_the_order_of_the_models_names():
    """As in timm, so that a checkpoint of it has its groups where ours are."""
    model = Matched()
    groups = timm.param_groups_layer_decay(model, 0.05, no_weight_decay_list=["cls_token"])
    names = [name for name, _ in model.named_parameters()]
    firsts = [names.index(group["param_names"][0]) for group in groups]
    assert firsts == sorted(firsts)
    assert groups[0]["param_names"] == ["cls_token", "embed.bias"]


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


def test_a_field_that_a_group_lacks_changes_none():
    optimizer = torch.optim.SGD([{"params": made()}, {"params": made(1)}], lr=1.0)
    optimizer.param_groups[0]["temperature"] = 1.0
    with pytest.raises(ValueError, match="a group has no 'temperature'"):
        timm.update_groups(optimizer, 0.1, "temperature")
    assert optimizer.param_groups[0]["temperature"] == 1.0


def test_layer_decay_agrees_with_our_own_groups():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    by = lambda name: int(name[0])  # noqa: E731
    model.group_matcher = lambda coarse: by
    ours = steppers.groups.layer_decay(model, lr=1.0, decay=0.5, exclude_1d=True, depth=by)
    rates = {id(p): g["lr"] for g in ours for p in g["params"]}
    theirs = timm.param_groups_layer_decay(model, layer_decay=0.5, lr=1.0)
    assert {id(p): g["lr"] for g in theirs for p in g["params"]} == rates


@pytest.mark.parametrize("wrong", [dict(layer_decay=-1.0), dict(min_scale=float("nan")),
                                   dict(min_scale="0.1")])  # fmt: skip
def test_scales_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be >= 0"):
        timm.param_groups_layer_decay(Net(), **wrong)


ARGUMENTS = {
    timm.create_optimizer_v2: dict(
        opt="sgd", lr=None, weight_decay=0.0, momentum=0.9, foreach=None, filter_bias_and_bn=True,
        layer_decay=None, layer_decay_min_scale=0.0, layer_decay_no_opt_scale=None,
        param_group_fn=None,
    ),
    timm.param_groups_weight_decay: dict(weight_decay=1e-5),
    timm.param_groups_layer_decay: dict(weight_decay=0.05),
    timm.Lookahead: dict(alpha=0.5, k=6),
    timm.SGDW: dict(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False),
    timm.Lamb: dict(
        lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01,
        grad_averaging=True, max_grad_norm=1.0, trust_clip=False, always_adapt=False, caution=False,
        decoupled_decay=False,
    ),
    timm.Lars: dict(
        lr=1.0, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, trust_coeff=1e-3,
        eps=1e-8, trust_clip=False, always_adapt=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("made_by", ARGUMENTS, ids=lambda f: f.__name__)
def test_arguments_stand_in_timms_order_with_its_defaults(made_by):
    arguments = list(inspect.signature(made_by).parameters.values())[1:]
    wanted = ARGUMENTS[made_by]
    assert {a.name: a.default for a in arguments[: len(wanted)]} == wanted
    assert [a.name for a in arguments[: len(wanted)]] == list(wanted)


def test_options_of_groups_have_timms_defaults():
    of_decay, of_layers = (
        {name: a.default for name, a in inspect.signature(f).parameters.items()}
        for f in (timm.param_groups_weight_decay, timm.param_groups_layer_decay)
    )
    assert (of_layers["layer_decay"], of_layers["min_scale"]) == (0.75, 0.0)
    assert of_layers["no_opt_scale"] is None
    for found in (of_decay, of_layers):
        assert found["weight_decay_exclude_1d"] is True and found["no_weight_decay_list"] == ()
        assert found["fallback_list"] == () and found["fallback_no_weight_decay"] is False


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


def test_lr_none_is_the_classs_own_and_a_decay_of_none_is_0():
    assert timm.create_optimizer_v2(made(), "lion").param_groups[0]["lr"] == 1e-4
    for params in (made(), Net()):
        optimizer = timm.create_optimizer_v2(params, "adamw", weight_decay=None)
        assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0}


def test_names_are_listed_by_patterns():
    assert timm.list_optimizers("*lar[sc]") == ["larc", "lars", "nlarc", "nlars"]
    assert timm.list_optimizers(["lamb*", "lion"], exclude_filters=["*c", "*w", "*d"]) == [
        "lamb", "lion"
    ]  # fmt: skip
    assert timm.list_optimizers("li*", exclude_filters="*c") == ["lion"]
    assert timm.list_optimizers("nothing*") == []
    assert timm.list_optimizers(None) == timm.list_optimizers()
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


def test_optimizers_and_aliases_can_be_added(caplog):
    registry = timm.OptimizerRegistry()
    registry.register(
        timm.OptimInfo("mine", torch.optim.SGD, "torch's", defaults={"momentum": 0.5})
    )
    registry.register_alias("yours", "mine")
    made_by_name = registry.create_optimizer(made(), "yours", lr=0.1)
    assert type(made_by_name) is torch.optim.SGD
    assert made_by_name.param_groups[0]["momentum"] == 0.5  # before the 0.9 that all get
    assert not caplog.records
    registry.register(timm.OptimInfo("Mine", torch.optim.RMSprop))
    assert "'mine' was registered already; it is replaced" in caplog.text
    assert registry.get_optimizer_class("mine") is torch.optim.RMSprop
    with pytest.raises(ValueError, match="does not begin with 'lookahead_'"):
        registry.register(timm.OptimInfo("lookahead_sgd", torch.optim.SGD))
    with pytest.raises(ValueError, match="no optimizer is called 'their"):
        registry.register_alias("ours", "theirs")


def test_a_registration_as_people_write_it_for_timm():
    """Facts stated by hand, a name with an underscore, a class that takes what it is given."""

    class Plain(torch.optim.SGD):
        def __init__(self, params, lr=0.1, **kwargs):
            super().__init__(params, lr, **kwargs)

    registry = timm.OptimizerRegistry()
    registry.register(
        timm.OptimInfo(
            name="my_sgd", opt_class=Plain, description="mine", has_eps=False, has_momentum=True,
            has_betas=False, num_betas=2, second_order=False, defaults={"nesterov": True},
        )
    )  # fmt: skip
    group = registry.create_optimizer(Net(), "My_SGD", weight_decay=0.1).param_groups[1]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.1)
    wrapped = registry.create_optimizer(made(), "lookahead_my_sgd")
    assert type(wrapped.base_optimizer) is Plain
    info = registry.get_optimizer_info("my_sgd")
    bound = registry.get_optimizer_class(info)(made(), momentum=0.5)
    assert bound.param_groups[0]["nesterov"] is True
    open_to_all = timm.OptimInfo("other", Plain)
    stated = (open_to_all.has_eps, open_to_all.has_betas, open_to_all.has_momentum)
    assert stated == (True, True, False)  # its ** may take what is asked for, not what all get


def test_a_decay_that_a_class_does_not_take_is_an_error_and_not_dropped():
    registry = timm.OptimizerRegistry()
    registry.register(timm.OptimInfo("rprop", torch.optim.Rprop))
    registry.create_optimizer(made(), "rprop")
    with pytest.raises(TypeError, match="weight_decay"):
        registry.create_optimizer(made(), "rprop", weight_decay=0.1)


def test_none_is_kept_where_it_means_something():
    optimizer = timm.create_optimizer_v2(made(), "lamb", max_grad_norm=None, eps=None)
    group = optimizer.param_groups[0]
    assert (group["max_grad_norm"], group["eps"]) == (0.0, 1e-6)
    adagrad = timm.create_optimizer_v2(made(), "adagrad", eps=None)
    assert adagrad.param_groups[0]["eps"] == 1e-8  # the name's, as without the None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("adanw", "did you mean 'adam"),
        ("lookbehind_sgd", "no optimizer is called 'lookbehind_sgd'"),
        ("my_adamw", "did you mean 'adamw'"),
        ("lookahead_adanw", "no optimizer is called 'adanw'"),
        ("", "no optimizer is called ''"),
    ],
)
def test_unknown_names_are_refused(name, text):
    """timm takes what stands behind the last '_' and so would make its adamw of 'my_adamw'."""
    with pytest.raises(ValueError, match=text):
        timm.create_optimizer_v2(made(), name)


@pytest.mark.parametrize("name", [None, torch.optim.SGD])
def test_names_are_strings(name):
    with pytest.raises(TypeError, match="a string like 'adamw'"):
        timm.create_optimizer_v2(made(), name)


def test_the_split_of_a_model_takes_the_fallback_of_timms_hybrids():
    model = Net()
    for more in ({}, {"layer_decay": 0.5}):
        optimizer = timm.create_optimizer_v2(
            model, "adamw", weight_decay=0.05, fallback_list=["head.weight"],
            fallback_no_weight_decay=True, **more,
        )  # fmt: skip
        found = {n for g in optimizer.param_groups if g.get("use_fallback")
                 for n in names_of(model, g)}  # fmt: skip
        assert found == {"head.weight", "cls_token"}


def test_arguments_of_a_command_line_make_an_optimizer():
    args = argparse.Namespace(
        opt="adamw", lr=0.02, weight_decay=0.05, momentum=0.9, opt_eps=None, opt_betas=[0.8, 0.9],
        layer_decay=None, opt_args={"amsgrad": True},
    )  # fmt: skip
    group = timm.create_optimizer(args, Net()).param_groups[1]
    assert (group["lr"], group["betas"], group["amsgrad"]) == (0.02, (0.8, 0.9), True)
    assert group["eps"] == 1e-8


# --- the page ----------------------------------------------------------------------------------

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "systems" / "composer_timm.md").read_text(encoding="utf-8")


def test_the_blocks_of_the_page_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 6
    registered = default_registry._infos.copy()
    try:
        exec("\n".join(blocks), {})
    finally:
        default_registry._infos.clear()
        default_registry._infos.update(registered)


def test_every_test_that_the_page_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    files = (f for style in ("composer", "timm") for f in HERE.glob(f"test_styles_{style}*.py"))
    have = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text("utf-8"), re.M)}
    assert len(named) > 50 and named - have == set()
    assert all((HERE.parent / path).is_file() for path in re.findall(r"`(tests/\w+\.py)`", PAGE))
