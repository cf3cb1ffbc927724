"""Optimizers by name: creating them for models and parameters, listing and adding them."""

import inspect
import warnings

import pytest
import torch
from states import advance, copies, feed, parameters, params_of
from torch import nn

import steppers
from steppers import registry, rules

CATALOGUE = (
    "AdaBelief", "Adadelta", "Adafactor", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD",
    "DecoupledAdamW", "DecoupledSGDW", "LAMB", "LARC", "LARS", "Lion", "Muon", "NAdam", "Prodigy",
    "QHAdam", "RAdam", "Ranger", "RMSprop", "Rprop", "SAdam", "ScheduleFreeAdamW", "SGD", "SGDW",
    "Sophia",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


class Net(nn.Module):
    """An embedding, a hidden layer with a norm, and a head; its token does not decay."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.ones(1, 4))
        self.embed = nn.Embedding(5, 4)
        self.hidden = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, i):
        return self.head(self.norm(self.hidden(self.embed(i) + self.cls_token)))

    def no_weight_decay(self):
        return {"cls_token"}


UNDECAYED = {"cls_token", "hidden.bias", "norm.weight", "norm.bias", "head.bias"}
DECAYED = {"embed.weight", "hidden.weight", "head.weight"}


def names_by(optimizer, key):
    """Parameter names by the value that their group has."""
    found = {}
    for group in optimizer.param_groups:
        found.setdefault(group[key], set()).update(group["param_names"])
    return found


# --- names -------------------------------------------------------------------------------------


def test_the_catalogue_is_listed():
    assert steppers.list_optimizers() == list(CATALOGUE)


# fmt: off
PATTERNS = (
    ("*adam*", ["Adam", "Adamax", "AdamW", "DecoupledAdamW", "NAdam", "QHAdam", "RAdam",
                "SAdam", "ScheduleFreeAdamW"]),
    ("*Adam", ["Adam", "NAdam", "QHAdam", "RAdam", "SAdam"]),
    ("lion", ["Lion"]), ("LAMB", ["LAMB"]),
    ("?gd", ["SGD"]), ("nothing*", []), ("[ln]*", ["LAMB", "LARC", "LARS", "Lion", "NAdam"]),
)
SPELLINGS = (
    ("adamw", "AdamW"), ("ADAMW", "AdamW"), ("AdamW", "AdamW"), ("adam_w", "AdamW"),
    ("adam-w", "AdamW"), ("lamb", "LAMB"), ("rmsprop", "RMSprop"), ("sgd", "SGD"),
    ("schedule_free_adamw", "ScheduleFreeAdamW"), ("schedule-free-adamw", "ScheduleFreeAdamW"),
    ("adamw_torch", "AdamW"), ("adamw_hf", "AdamW"), ("adamw_torch_fused", "AdamW"),
    ("nadamw", "NAdam"), ("sfadamw", "ScheduleFreeAdamW"), ("momentum", "SGD"),
    ("adamw_schedule_free", "ScheduleFreeAdamW"),
)
# fmt: on


@pytest.mark.parametrize(("pattern", "names"), PATTERNS)
def test_patterns_list_case_blind(pattern, names):
    assert steppers.list_optimizers(pattern) == names


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS)
def test_a_name_is_found_in_any_spelling(spelling, name):
    assert steppers.get_class(spelling) is getattr(steppers, name)


# fmt: off
PRESET = (  # timm's names, with what they say there
    ("nadamw", {}, dict(decoupled_weight_decay=True)),
    ("RAdamW", {}, dict(decoupled_weight_decay=True)),
    ("momentum", {}, dict(momentum=0.9, nesterov=False)),
    ("momentum", dict(momentum=0.5), dict(momentum=0.5)),
    ("nadam", {}, dict(decoupled_weight_decay=False)),
)
# fmt: on


@pytest.mark.parametrize(("name", "given", "wanted"), PRESET)
@pytest.mark.parametrize("what", ["parameters", "module"])
def test_a_name_of_timms_brings_its_settings(name, given, wanted, what):
    source = Net() if what == "module" else parameters([(3, 2)])
    for group in steppers.create(name, source, lr=0.1, **given).param_groups:
        assert {key: group[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_listed_name_creates_its_class(name):
    optimizer = steppers.create(name, parameters([(3, 2)]))
    assert type(optimizer) is getattr(steppers, name)
    advance(optimizer, 1)


# fmt: off
UNKNOWN = (("adamx", "Adam"), ("lyon", "Lion"), ("schedulefree", "ScheduleFreeAdamW"),
           ("muonn", "Muon"), ("rms", "RMSprop"))
# fmt: on


@pytest.mark.parametrize(("name", "near"), UNKNOWN)
def test_an_unknown_name_suggests_the_nearest(name, near):
    text = rf"no optimizer is called '{name}'; did you mean .*{near}.*list_optimizers"
    with pytest.raises(ValueError, match=text):
        steppers.create(name, parameters())


def test_a_name_like_none_says_where_to_look():
    with pytest.raises(ValueError, match=r"no optimizer is called 'zzz' \(see .*list_optimizers"):
        steppers.create("zzz", parameters())


@pytest.mark.parametrize("name", [None, 3, steppers.AdamW], ids=repr)
def test_a_name_is_a_string(name):
    with pytest.raises(TypeError, match="name"):
        steppers.create(name, parameters())


# --- parameters --------------------------------------------------------------------------------


def test_parameters_and_hypers_go_to_the_class():
    params = parameters()
    optimizer = steppers.create("lion", params, lr=0.5, betas=(0.8, 0.9))
    assert params_of(optimizer) == params
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def test_groups_are_taken_as_they_are():
    first, *others = parameters()
    optimizer = steppers.create("adamw", [{"params": first, "lr": 0.5}, {"params": others}], lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]


def test_an_unknown_hyper_is_an_error_here_too():
    with pytest.raises(TypeError, match="AdamW has no hyper-parameter 'momentum'"):
        steppers.create("adamw", Net(), momentum=0.9)


def test_flags_and_engine_go_through():
    optimizer = steppers.create("adamw", Net(), maximize=True, engine="loop")
    assert all(group["maximize"] for group in optimizer.param_groups)
    assert optimizer.engine.name == "loop"


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adamw", "lamb", "sgd", "lion", "prodigy", "adafactor"])
def test_biases_norms_and_what_the_model_says_do_not_decay(name):
    optimizer = steppers.create(name, Net(), weight_decay=0.3)
    assert names_by(optimizer, "weight_decay") == {0.3: DECAYED, 0.0: UNDECAYED}


def test_without_a_decay_given_the_classes_default_is_used():
    optimizer = steppers.create("adamw", Net())
    assert names_by(optimizer, "weight_decay") == {0.01: DECAYED, 0.0: UNDECAYED}


def test_the_short_name_of_decay_works_too():
    optimizer = steppers.create("adamw", Net(), wd=0.3)
    assert names_by(optimizer, "weight_decay") == {0.3: DECAYED, 0.0: UNDECAYED}


def test_an_optimizer_without_decay_has_one_named_group():
    optimizer = steppers.create("rprop", Net())
    (group,) = optimizer.param_groups
    assert set(group["param_names"]) == DECAYED | UNDECAYED


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_parameter_is_in_one_group(name):
    net = Net()
    optimizer = steppers.create(name, net)
    assert sorted(map(id, params_of(optimizer))) == sorted(map(id, net.parameters()))
    names = {n: p for n, p in net.named_parameters()}
    for group in optimizer.param_groups:
        pairs = zip(group["param_names"], group["params"], strict=True)
        assert all(names[n] is p for n, p in pairs)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_created_optimizer_trains_a_model(name):
    net = Net()
    optimizer = steppers.create(name, net)
    before = [p.detach().clone() for p in net.parameters()]
    net(torch.tensor([0, 1, 2])).square().mean().backward()
    optimizer.step()
    assert not all(map(torch.equal, net.parameters(), before))


def test_frozen_parameters_are_left_out():
    net = Net()
    net.embed.requires_grad_(False)
    optimizer = steppers.create("adamw", net)
    assert all(p is not net.embed.weight for p in params_of(optimizer))


def test_a_tied_weight_is_taken_once():
    net = Net()
    net.out = nn.Linear(4, 5, bias=False)
    net.out.weight = net.embed.weight
    optimizer = steppers.create("adamw", net)
    assert len(params_of(optimizer)) == len({id(p) for p in params_of(optimizer)})


def test_a_created_optimizer_of_a_model_loads_by_name():
    net = Net()
    old = steppers.create("adamw", net)
    net(torch.tensor([0, 1])).sum().backward()
    old.step()
    new = steppers.AdamW(list(reversed(list(Net().named_parameters()))))
    state = old.state_dict()
    for group in state["param_groups"]:
        group["weight_decay"] = 0.1
    new.load_state_dict(state)
    held = dict(zip(new.param_groups[0]["param_names"], params_of(new), strict=True))
    assert torch.equal(
        new.state[held["embed.weight"]]["exp_avg"], old.state[net.embed.weight]["exp_avg"]
    )


# --- matrix optimizers -------------------------------------------------------------------------


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest():
    optimizer = steppers.create("muon", Net(), lr=0.02)
    assert names_by(optimizer, "chain") == {
        "muon": {"hidden.weight"},
        "adamw": (DECAYED | UNDECAYED) - {"hidden.weight"},
    }


def test_hypers_go_to_muon_and_those_in_adamw_to_the_rest():
    optimizer = steppers.create("muon", Net(), lr=0.02, momentum=0.8, adamw=dict(lr=3e-4))
    assert names_by(optimizer, "lr").keys() == {0.02, 3e-4}
    (muon,) = [g for g in optimizer.param_groups if g["chain"] == "muon"]
    assert muon["momentum"] == 0.8


def test_muon_and_adamw_in_one_step_equal_each_alone():
    net = Net()
    both = steppers.create("muon", net, lr=0.02)
    names = dict(net.named_parameters())
    hidden = names.pop("hidden.weight")
    (alone,), rest = copies([hidden]), copies(names.values())
    muon, adamw = steppers.Muon([alone], lr=0.02), steppers.AdamW(rest, weight_decay=0.0)
    for step in range(3):
        feed([hidden, *names.values()], step)
        for p, q in zip([hidden, *names.values()], [alone, *rest], strict=True):
            q.grad = p.grad.clone()
        for optimizer in (both, muon, adamw):
            optimizer.step()
    assert torch.equal(hidden, alone)
    assert all(map(torch.equal, names.values(), rest))


def test_the_rest_does_not_decay_unless_told_to():
    optimizer = steppers.create("muon", Net(), weight_decay=0.2)
    (rest,) = [g for g in optimizer.param_groups if g["chain"] == "adamw"]
    assert rest["weight_decay"] == 0.0
    optimizer = steppers.create("muon", Net(), adamw=dict(weight_decay=0.3))
    assert {g["weight_decay"] for g in optimizer.param_groups if g["chain"] == "adamw"} >= {0.3}


class Gated(nn.Module):
    """A matrix that must not decay."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Parameter(torch.ones(3, 4))
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def no_weight_decay(self):
        return {"gates"}


def test_a_hidden_matrix_that_must_not_decay_does_not_decay_in_muon_either():
    optimizer = steppers.create("muon", Gated(), weight_decay=0.2)
    assert "gates" in names_by(optimizer, "weight_decay")[0.0]
    assert "inner.weight" in names_by(optimizer, "weight_decay")[0.2]


@pytest.mark.parametrize("where", ["muon", "adamw"])
def test_an_unknown_hyper_beside_a_model_is_an_error(where):
    given = {"foo": 0.1} if where == "muon" else {"adamw": {"foo": 0.1}}
    with pytest.raises(TypeError, match="has no hyper-parameter 'foo'"):
        steppers.create("muon", Net(), **given)


def test_flags_and_engine_reach_both_chains():
    optimizer = steppers.create("muon", Net(), maximize=True, engine="loop")
    assert [group["maximize"] for group in optimizer.param_groups] == [True, True]
    assert optimizer.engine.name == "loop"


def test_the_callers_hypers_are_not_changed():
    adamw = dict(lr=1e-3)
    steppers.create("muon", Net(), adamw=adamw)
    assert adamw == dict(lr=1e-3)


def test_vectors_without_a_model_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"Muon only takes matrices .*groups\.by_ndim"):
        steppers.create("muon", parameters([(3,)]))


# --- adding ------------------------------------------------------------------------------------


def tilt(p, u, *, lr):
    return dict(p=p - lr * u)


class Tilt(steppers.Optimizer):
    """A step of plain descent."""

    steps = (tilt,)
    defaults = dict(lr=0.1)


def test_a_class_registers_under_its_own_name():
    assert steppers.register(Tilt) is Tilt
    assert steppers.get_class("tilt") is Tilt
    assert "Tilt" in steppers.list_optimizers()


def test_a_class_registers_under_another_name():
    assert steppers.register("my-tilt")(Tilt) is Tilt
    assert type(steppers.create("My_Tilt", parameters())) is Tilt


@pytest.mark.parametrize("name", [None, "my-tilt", "Another"])
def test_every_listed_name_can_be_created(name):
    steppers.register(Tilt) if name is None else steppers.register(name)(Tilt)
    for listed in steppers.list_optimizers():
        steppers.get_class(listed)


def test_two_names_of_a_class_are_listed_once_each():
    steppers.register(Tilt)
    steppers.register("my-tilt")(Tilt)
    listed = steppers.list_optimizers()
    assert len(listed) == len(set(listed))


def test_registering_twice_is_fine():
    steppers.register(Tilt)
    assert steppers.register(Tilt) is Tilt


@pytest.mark.parametrize("name", ["AdamW", "adam_w", "LION", "momentum", "adamw_torch"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ValueError, match=f"an optimizer called '{name}' exists"):
        steppers.register(name)(Tilt)
    assert steppers.get_class(name) is not Tilt


def test_another_class_of_a_registered_name_is_refused():
    steppers.register(Tilt)
    other = type("Tilt", (steppers.Optimizer,), {"steps": (rules.descend,), "defaults": {"lr": 1}})
    with pytest.raises(ValueError, match="an optimizer called 'Tilt' exists"):
        steppers.register(other)


@pytest.mark.parametrize("entry", [torch.optim.SGD, tilt, 3, None, Tilt.__mro__[-1]])
def test_only_our_classes_register(entry):
    with pytest.raises(TypeError, match=r"register takes a subclass of steppers.Optimizer, got"):
        steppers.register(entry)


@pytest.mark.parametrize("name", ["", "-", "_"])
def test_a_name_has_letters(name):
    with pytest.raises(ValueError, match="name"):
        steppers.register(name)(Tilt)


def test_a_class_without_rules_does_not_register():
    with pytest.raises(TypeError, match="rules"):
        steppers.register(steppers.Optimizer)


def test_a_registered_class_has_a_signature():
    assert list(inspect.signature(Tilt).parameters)[:2] == ["params", "lr"]


def test_creating_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steppers.create("adamw", Net())
