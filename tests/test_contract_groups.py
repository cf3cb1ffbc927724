"""The contract: parameters and groups as torch takes them, and what is refused."""

import pytest
import torch
from contract_rows import (
    ROWS,
    give_grads,
    over_every,
    over_rows,
    snapshot,
    train,
    values,
)
from torch import nn

import steppers
from steppers.rules import descend

ADAMW, SGD = ROWS[0], ROWS[1]


def weight(*shape):
    return torch.ones(*(shape or (2, 2)), requires_grad=True)


# --- what is taken -----------------------------------------------------------------------------


@pytest.mark.parametrize("row", [ROWS[0], ROWS[-1]], ids=lambda row: row.id)
@pytest.mark.parametrize(
    "form",
    [
        lambda m: m.parameters(),
        lambda m: list(m.parameters()),
        lambda m: tuple(m.parameters()),
        lambda m: m.named_parameters(),
        lambda m: [{"params": list(m.parameters())}],
        lambda m: ({"params": m.parameters()} for _ in range(1)),
        lambda m: [{"params": p} for p in m.parameters()],
        lambda m: [{"params": m.named_parameters()}],
        lambda m: dict.fromkeys(m.parameters()).keys(),
    ],
    ids=["generator", "list", "tuple", "named", "groups", "generator of groups",
         "bare tensors in groups", "named in a group", "keys of a dict"],
)  # fmt: skip
def test_parameters_come_in_every_form_that_torch_takes(row, form):  # C21
    model, twin = row.model(), row.model()
    optimizer, plain = row(form(model)), row(twin.parameters())
    train(model, optimizer, 2)
    train(twin, plain, 2)
    assert values(model.parameters()) == values(twin.parameters())


@over_rows
def test_names_are_kept_in_the_group_and_the_state_dict(row):  # C21
    model = row.model()
    optimizer = row(model.named_parameters())
    names = [name for name, _ in model.named_parameters()]
    assert optimizer.param_groups[0]["param_names"] == names
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == names


def test_param_names_beside_params_are_taken():  # C21
    p = weight()
    optimizer = steppers.AdamW([{"params": [p], "param_names": ["w"], "lr": 0.5}])
    assert optimizer.param_groups[0]["param_names"] == ["w"]
    give_grads([p], 0)
    optimizer.step()


@over_rows
def test_leaf_tensors_that_are_no_parameters_are_trained(row):  # C19
    p = torch.ones(2, 2, requires_grad=True)
    optimizer = row([p])
    give_grads([p], 0)
    optimizer.step()
    assert not bool((p == 1).all())


@over_rows
def test_groups_carry_their_own_hypers(row):  # C4, C21
    """As the Transformers Trainer builds them: decay on some, none on the others."""
    groups = [{"params": [weight()], "weight_decay": 0.25}, {"params": [weight()], "lr": 0.5}]
    optimizer = row(groups)
    assert optimizer.param_groups[0]["weight_decay"] == 0.25
    assert [g["lr"] for g in optimizer.param_groups] == [row.hypers["lr"], 0.5]
    for group in optimizer.param_groups:
        give_grads(group["params"], 0)
    optimizer.step()


@over_rows
def test_a_group_of_lr_1e_28_does_not_move(row):  # C4
    still, moving = weight(), weight()
    optimizer = row([{"params": [still], "lr": 1e-28}, {"params": [moving]}])
    for i in range(3):
        give_grads([still, moving], i)
        optimizer.step()
    assert still.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert moving.tolist() != [[1.0, 1.0], [1.0, 1.0]]


@over_every
def test_splitting_into_groups_changes_nothing(row):  # C15
    model, twin = row.model(), row.model()
    optimizer = row([{"params": [p]} for p in model.parameters()])
    plain = row(twin.parameters())
    train(model, optimizer, 3)
    train(twin, plain, 3)
    assert values(model.parameters()) == values(twin.parameters())


@pytest.mark.parametrize("row", [r for r in ROWS if not r.coupled], ids=lambda row: row.id)
def test_a_group_added_in_mid_run_trains_as_if_alone(row):  # C21
    model, optimizer = row.made()
    train(model, optimizer, 2)
    late, twin = weight(3, 2), weight(3, 2)
    optimizer.add_param_group({"params": late})
    alone = row([twin])
    for i in range(3):
        give_grads([late, twin], i)
        twin.grad = late.grad.clone()
        optimizer.step()
        alone.step()
    assert values([late]) == values([twin])
    assert optimizer.state[late]["step"].item() == 3


@over_rows
def test_unknown_keys_of_a_group_are_kept_and_ignored(row):  # C6
    extra = {"lr_scale": 0.5, "name": "body", "tag": None, "ids": [1, 2], "callback": "x"}
    p, q = weight(), weight()
    optimizer, plain = row([{"params": [p], **extra}]), row([q])
    for i in range(2):
        give_grads([p], i)
        q.grad = p.grad
        optimizer.step()
        plain.step()
    assert extra.items() <= optimizer.param_groups[0].items()
    assert values([p]) == values([q])


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"wd": 0.5}, "weight_decay", 0.5),
        ({"mom": 0.8}, "betas", (0.8, 0.999)),
        ({"sqr_mom": 0.8}, "betas", (0.9, 0.8)),
        ({"beta1": 0.8}, "betas", (0.8, 0.999)),
    ],
)
def test_short_names_in_a_group_become_torchs(given, field, value):  # C4
    (group,) = steppers.AdamW([{"params": [weight()], **given}]).param_groups
    assert group[field] == value
    assert not given.keys() & group.keys()


def test_the_groups_of_a_torch_optimizer_are_taken():
    theirs = torch.optim.AdamW([weight()], lr=0.25, betas=(0.5, 0.75))
    ours = steppers.AdamW(theirs.param_groups)
    assert ours.param_groups[0]["lr"] == 0.25
    assert ours.param_groups[0]["betas"] == (0.5, 0.75)


def test_the_users_list_of_groups_can_be_used_for_another_optimizer():
    groups = [{"params": [weight()], "weight_decay": 0.5}]
    steppers.AdamW(groups)
    other = steppers.Lion(groups)
    assert other.param_groups[0]["weight_decay"] == 0.5
    assert other.param_groups[0]["betas"] == (0.9, 0.99)


def test_every_group_may_bring_the_hypers_that_have_no_default():
    optimizer = steppers.Optimizer([{"params": [weight()], "lr": 0.5}], steps=[descend])
    assert optimizer.param_groups[0]["lr"] == 0.5


# --- what is refused ---------------------------------------------------------------------------


class Odd(nn.Module):
    pass


# fmt: off
BAD_PARAMS = [
    ("bare tensor", lambda: weight(), TypeError, "should be an iterable of Tensors or dicts"),
    ("empty", lambda: [], ValueError, "empty parameter list"),
    ("empty generator", lambda: (x for x in ()), ValueError, "empty parameter list"),
    ("set", lambda: {weight()}, None, None),
    ("set in a group", lambda: [{"params": {weight()}}], TypeError, "ordered collections"),
    ("number", lambda: [1.0], TypeError, "can only optimize Tensors"),
    ("name", lambda: ["weight"], TypeError, "can only optimize Tensors"),
    ("module", lambda: Odd(), TypeError, None),
    ("a number among tensors", lambda: [weight(), 3], TypeError, "can only optimize Tensors"),
    ("non-leaf", lambda: [weight() * 2], ValueError, "non-leaf Tensor"),
    ("non-leaf in a group", lambda: [{"params": weight() * 2}], ValueError, "non-leaf Tensor"),
    ("no params in a group", lambda: [{"lr": 0.1}], KeyError, "params"),
    ("half named", lambda: [("a", weight()), weight()], ValueError, "with/without names"),
    ("same name twice", lambda: [("a", weight()), ("a", weight())], None, None),
    ("one group named", lambda: [{"params": [weight()]}, {"params": [("a", weight())]}],
     ValueError, "with/without names"),
    ("one group unnamed", lambda: [{"params": [("a", weight())]}, {"params": [weight()]}],
     ValueError, "with/without names"),
    ("a tuple of three", lambda: [("a", weight(), 1)], None, None),
    ("a dict of tensors", lambda: {"a": weight()}, TypeError, None),
]
# fmt: on


def raised(make):
    """The type of what it raises, or None."""
    try:
        make()
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize(
    ("params", "error", "text"), [r[1:] for r in BAD_PARAMS], ids=[r[0] for r in BAD_PARAMS]
)
def test_bad_parameters_are_refused_as_torch_refuses_them(params, error, text):  # C21
    theirs = raised(lambda: torch.optim.AdamW(params()))
    assert error in (None, theirs)
    if theirs is None:
        steppers.AdamW(params())
        return
    with pytest.raises(theirs, match=text):
        steppers.AdamW(params())


@over_rows
@pytest.mark.parametrize("how", ["construction", "add_param_group"])
def test_duplicates_in_one_group_warn_as_in_torch(row, how):  # C21
    p = weight()
    text = "a parameter group with duplicate parameters"
    if how == "construction":
        with pytest.warns(UserWarning, match=text):
            row([p, p])
        return
    optimizer = row([weight()])
    with pytest.warns(UserWarning, match=text):
        optimizer.add_param_group({"params": [p, p]})


def test_a_duplicate_that_was_warned_about_steps_as_torchs_does():
    p, q = weight(), weight()
    with pytest.warns(UserWarning, match="duplicate"):
        ours = steppers.SGD([p, p], lr=0.1, foreach=False)
    with pytest.warns(UserWarning, match="duplicate"):
        theirs = torch.optim.SGD([q, q], lr=0.1, foreach=False)
    p.grad, q.grad = torch.ones(2, 2), torch.ones(2, 2)
    ours.step()
    theirs.step()
    torch.testing.assert_close(p, q)


# fmt: off
BAD_GROUPS = [  # a group that cannot be added to AdamW([first]), the error, its text
    (lambda first: [], TypeError, "param_group must be a dict, got list"),
    (lambda first: None, TypeError, "param_group must be a dict, got NoneType"),
    (lambda first: {"params": [first]}, ValueError, "more than one parameter group"),
    (lambda first: {"params": [weight(), first]}, ValueError, "more than one parameter group"),
    (lambda first: {"params": {weight()}}, TypeError, "ordered collections"),
    (lambda first: {"params": [weight() * 2]}, ValueError, "non-leaf"),
    (lambda first: {"params": [1.0]}, TypeError, "can only optimize Tensors"),
    (lambda first: {"params": [("a", weight())]}, ValueError, "with/without names"),
    (lambda first: {"params": [weight()], "lr": -1.0}, ValueError, "AdamW: lr must be >= 0, got"),
    (lambda first: {"params": [weight()], "lr": float("nan")}, ValueError, "lr must be >= 0, got"),
    (lambda first: {"params": [weight()], "lr": "fast"}, TypeError, "lr must be a number, got"),
    (lambda first: {"params": [weight()], "lr": None}, TypeError, "lr must be a number, got None"),
    (lambda first: {"params": [weight()], "betas": (0.9,)}, ValueError, "betas must be 2 numbers"),
    (lambda first: {"params": [weight()], "betas": (0.9, 1.0)}, ValueError, r"betas\[1\] \("),
    (lambda first: {"params": [weight()], "betas": 0.9}, ValueError, "betas must be 2 numbers"),
    (lambda first: {"params": [weight()], "weight_dacay": 0.1}, TypeError, "'weight_decay'"),
    (lambda first: {"params": [weight()], "chain": "Adam"}, ValueError, "no chain 'Adam'; did you"),
    (lambda first: {"params": [weight()], "fused": True, "differentiable": True}, RuntimeError,
     "the fused engine does not support differentiable=True; use engine='loop'"),
    (lambda first: {"params": [torch.nn.Parameter(torch.ones(2, device="meta"))], "fused": True},
     RuntimeError, "fused engine cannot run: .*parameters are on meta; use engine='foreach'"),
    (lambda first: {"params": [weight()], "foreach": True, "capturable": True}, RuntimeError,
     "the foreach engine does not support capturable=True; use engine='loop'"),
    (lambda first: {"lr": 0.1}, KeyError, "params"),
]
# fmt: on


@pytest.mark.parametrize(("group", "error", "text"), BAD_GROUPS, ids=range(len(BAD_GROUPS)))
def test_a_bad_group_is_refused_and_nothing_is_lost(group, error, text):  # C21
    first = weight()
    optimizer = steppers.AdamW([first], lr=0.1)
    give_grads([first], 0)
    optimizer.step()
    before = snapshot(optimizer)
    given = group(first)
    kept = dict(given) if isinstance(given, dict) else given
    with pytest.raises(error, match=text):
        optimizer.add_param_group(given)
    assert snapshot(optimizer) == before
    if isinstance(given, dict):  # the user's own dict can be mended and used again
        assert given.keys() == kept.keys()
    optimizer.step()


def test_a_matrix_optimizer_refuses_a_vector_by_its_shape_and_keeps_its_groups():
    first = weight()
    optimizer = steppers.Muon([first])
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match=r"Muon only takes matrices.*1 dimension"):
        optimizer.add_param_group({"params": [weight(3)]})
    assert snapshot(optimizer) == before


# fmt: off
BAD_ARGUMENTS = [
    (dict(lr=-0.1), ValueError, r"^AdamW: lr must be >= 0, got -0\.1$"),
    (dict(lr=float("nan")), ValueError, r"^AdamW: lr must be >= 0, got nan$"),
    (dict(lr=True), TypeError, r"^AdamW: lr must be a number, got True \(bool\)$"),
    (dict(betas=(0.9, 1.0)), ValueError, r"^AdamW: betas\[1\] \(beta2\) must be in \[0, 1\),"),
    (dict(betas=(0.9, 0.99, 0.999)), ValueError, r"^AdamW: betas must be 2 numbers \(beta1, beta2"),
    (dict(learning_rate=0.1), TypeError, r"^AdamW has no hyper-parameter 'learning_rate'"),
    (dict(weight_dacay=0.1), TypeError, "did you mean 'weight_decay'"),
    (dict(engine="fast"), ValueError, "engine must be one of auto, loop, foreach, fused, got"),
    (dict(foreach=True, fused=True), RuntimeError, "`fused` and `foreach` cannot be `True` toge"),
    (dict(foreach=True, differentiable=True), RuntimeError, "does not support differentiable=True"),
    (dict(engine="foreach", capturable=True), RuntimeError, "does not support capturable=True"),
    (dict(lr=torch.tensor(0.1), foreach=True), ValueError, "lr as a Tensor is not supported"),
]
# fmt: on


@pytest.mark.parametrize(("hypers", "error", "text"), BAD_ARGUMENTS, ids=range(len(BAD_ARGUMENTS)))
def test_bad_arguments_are_refused_and_the_parameters_are_left(hypers, error, text):  # C1
    p = weight()
    p.grad = torch.ones(2, 2)
    with pytest.raises(error, match=text):
        steppers.AdamW([p], **hypers)
    assert values([p, p.grad]) == values([torch.ones(2, 2)] * 2)
    with pytest.raises(error, match=text):  # C1: before params is touched
        steppers.AdamW(None, **hypers)


# fmt: off
BAD_CONSTANTS = [dict(ns_steps=2.5), dict(ns_steps=-1), dict(ns_coefficients=(1.0, 2.0)),
                 dict(ns_coefficients="abc"), dict(adjust_lr_fn="arbitrary")]
# fmt: on


@pytest.mark.parametrize("wrong", BAD_CONSTANTS, ids=str)
def test_bad_constants_of_a_rule_are_refused_by_name_at_construction(wrong):  # C1
    (name,) = wrong
    with pytest.raises((TypeError, ValueError), match=f"Muon: .*{name}"):
        steppers.Muon([weight()], **wrong)


@pytest.mark.parametrize(("key", "value"), [("chain", "Adam"), ("lr", None)], ids=str)
def test_a_group_that_lost_a_key_says_which_optimizer_and_which_key(key, value):
    p = weight()
    optimizer = steppers.AdamW([p])
    give_grads([p], 0)
    if value:
        optimizer.param_groups[0][key] = value
    else:
        del optimizer.param_groups[0][key]
    before = snapshot(optimizer)
    with pytest.raises((KeyError, TypeError, ValueError), match=f"AdamW.*{value or key}"):
        optimizer.step()
    assert snapshot(optimizer) == before
