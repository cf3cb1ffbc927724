"""The base of the styles: a torch optimizer that runs a procedure parameter by parameter."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from small_styles import Momentum, Torchs, weights

from steppers.styles.base import PerParameter, hypers_of

# --- parameters and groups ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "sizes"),
    [
        (lambda a, b, c: [a, b, c], [3]),
        (lambda a, b, c: (a, b, c), [3]),
        (lambda a, b, c: iter([a, b, c]), [3]),
        (lambda a, b, c: a, [1]),
        (lambda a, b, c: [[a, b], [c]], [2, 1]),
        (lambda a, b, c: [(a, b), (c,)], [2, 1]),
        (lambda a, b, c: ((x for x in part) for part in ([a, b], [c])), [2, 1]),
        (lambda a, b, c: [torch.nn.ParameterList([a, b]), [c]], [2, 1]),
        (lambda a, b, c: [{"params": [a, b]}, {"params": c}], [2, 1]),
        (lambda a, b, c: [("a", a), ("b", b)], [2]),
    ],
)
def test_parameters_come_in_any_form(form, sizes):
    optimizer = Momentum(form(*weights(1, 2, 3)))
    assert [len(params) for params in optimizer.param_lists] == sizes
    assert [len(group["params"]) for group in optimizer.param_groups] == sizes


def test_names_are_kept_where_they_are_given():
    (a, b) = weights(1, 2)
    assert Momentum([("a", a), ("b", b)]).param_groups[0]["param_names"] == ["a", "b"]


@pytest.mark.parametrize(
    ("params", "kind", "says"),
    [
        (lambda a, b: [1, 2], TypeError, "element 0 is a int: 1"),
        (lambda a, b: [a, [b]], TypeError, "element 0 is a tensor and another is a list"),
        (lambda a, b: [{"params": [a]}, b], TypeError, "element 0 is a dict and another"),
        (lambda a, b: {"params": [a]}, TypeError, "got dict"),
        (lambda a, b: {a, b}, TypeError, "got set"),
        (lambda a, b: [{a}, {b}], TypeError, "element 0 is a set"),
        (lambda a, b: 3, TypeError, "got int"),
        (lambda a, b: torch.nn.Linear(1, 1), TypeError, r"pass model.parameters\(\)"),
        (lambda a, b: [torch.nn.Linear(1, 1)], TypeError, "is a Linear: pass its .parameters"),
        (lambda a, b: [], ValueError, "empty parameter list"),
        (lambda a, b: [[a], [a]], ValueError, "more than one parameter group"),
        (lambda a, b: [a * 2], ValueError, "non-leaf"),
    ],
)
def test_other_parameters_are_errors(params, kind, says):
    with pytest.raises(kind, match=says):
        Momentum(params(*weights(1, 2)))


def test_groups_are_real_dicts_and_the_callers_are_left_alone():
    a, b = weights(1, 2)
    given = [{"params": [a], "lr": 0.5}, {"params": [b]}]
    optimizer = Momentum(given, lr=0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]
    assert given == [{"params": [a], "lr": 0.5}, {"params": [b]}]
    optimizer.param_groups[1]["lr"] = 1.0
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([1 - 0.05, 2 - 0.1], abs=1e-12)


def test_lists_and_slices_at_construction_give_each_group_its_value():
    a, b, c = weights(1, 2, 3)
    optimizer = Momentum([[a], [b], [c]], lr=slice(1e-4, 1e-2), mom=[0.1, 0.2, 0.3])
    assert [h["lr"] for h in optimizer.hypers] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert [h["mom"] for h in optimizer.hypers] == [0.1, 0.2, 0.3]
    optimizer.add_param_group({"params": weights(4)})
    assert optimizer.hypers[3] == {"lr": 1e-2, "mom": 0.3}


def test_a_groups_own_value_wins_over_a_list_under_either_name():
    a, b = weights(1, 2)
    groups = [{"params": [a], "momentum": 0.5}, {"params": [b], "lr": 3.0}]
    optimizer = Momentum(groups, lr=[1.0, 2.0], mom=[0.1, 0.2])
    assert list(optimizer.hypers) == [{"lr": 1.0, "mom": 0.5}, {"lr": 3.0, "mom": 0.2}]


# --- hyper-parameters ---------------------------------------------------------------------------


def test_hypers_read_and_write_the_groups_without_their_parameters():
    optimizer = Momentum([[p] for p in weights(1, 2)])
    assert optimizer.hypers == [{"lr": 0.1, "mom": 0.9}] * 2
    optimizer.hypers[1]["lr"] = 0.5
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    optimizer.hypers[0].update(lr=0.2, mom=0.3)
    assert hypers_of(optimizer.param_groups[0]) == {"lr": 0.2, "mom": 0.3}


def test_set_hyper_takes_one_value_one_a_group_and_slices():
    optimizer = Momentum([[p] for p in weights(1, 2, 3)])
    optimizer.set_hyper("lr", slice(1e-2))
    assert [h["lr"] for h in optimizer.hypers] == pytest.approx([1e-3, 1e-3, 1e-2])
    optimizer.set_hypers(lr=[1.0, 2.0, 3.0], mom=0.5)
    assert optimizer.hypers == [{"lr": float(i), "mom": 0.5} for i in (1, 2, 3)]


def test_a_tuple_of_a_hyper_that_is_a_tuple_is_one_value():
    optimizer = Torchs([[p] for p in weights(1, 2)])
    optimizer.set_hyper("betas", (0.8, 0.9))
    assert [h["betas"] for h in optimizer.hypers] == [(0.8, 0.9)] * 2


@pytest.mark.parametrize(
    ("name", "value", "kind", "says"),
    [
        ("mon", 0.9, TypeError, "Momentum has no hyper-parameter 'mon'; did you mean 'mom'"),
        ("lr", [1.0, 2.0, 3.0], ValueError, "got 3 values for 2 groups"),
        ("lr", [0.5, -1.0], ValueError, "lr must be >= 0, got -1.0"),
        ("params", [[], []], (TypeError, KeyError), "params"),
    ],
)
def test_a_wrong_hyper_is_an_error_and_changes_no_group(name, value, kind, says):
    optimizer = Momentum([[p] for p in weights(1, 2)])
    with pytest.raises(kind, match=says):
        optimizer.set_hyper(name, value)
    assert optimizer.hypers == [{"lr": 0.1, "mom": 0.9}] * 2
    assert all(len(params) == 1 for params in optimizer.param_lists)


def test_of_several_hypers_none_is_set_if_one_is_wrong():
    optimizer = Momentum([[p] for p in weights(1, 2)])
    for wrong in ({"mon": 1.0}, {"mom": -1.0}, {"mom": [0.1] * 3}, {"mom": None}):
        with pytest.raises((TypeError, ValueError)):
            optimizer.set_hypers(lr=0.5, **wrong)
    assert optimizer.hypers == [{"lr": 0.1, "mom": 0.9}] * 2


def test_hypers_are_copied_and_joined_as_dicts():
    view = Momentum(weights(1)).hypers[0]
    kept = view.copy()
    view["lr"] = 0.5
    assert kept == {"lr": 0.1, "mom": 0.9}
    assert view | {"mom": 0.0} == {"lr": 0.5, "mom": 0.0}
    assert {"mom": 0.0, "x": 1} | view == {"mom": 0.9, "x": 1, "lr": 0.5}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_copies_and_pickles_of_hypers_are_dicts_without_parameters(copied):
    optimizer = Momentum([[p] for p in weights(1, 2)])
    kept = copied(optimizer.hypers)
    optimizer.set_hyper("lr", 0.5)
    assert [type(each) for each in kept] == [dict, dict]
    assert kept == [{"lr": 0.1, "mom": 0.9}] * 2


@pytest.mark.parametrize("value", [None, True, 1j, "a", {}, [0.1], torch.ones(2), object()])
def test_a_rate_that_is_no_number_is_an_error_in_a_group_too(value):
    with pytest.raises((TypeError, ValueError), match="Torchs: lr must be"):
        Torchs([{"params": weights(1), "lr": value}])
    optimizer = Torchs(weights(1))
    with pytest.raises((TypeError, ValueError), match="Torchs: lr must be"):
        optimizer.hypers[0]["lr"] = value
    assert optimizer.hypers[0]["lr"] == 0.1


@pytest.mark.parametrize("value", [torch.tensor(0.5), np.float32(0.5), np.float64(0.5), 1])
def test_numbers_of_other_kinds_are_rates(value):
    (p,) = weights(1)
    optimizer = Torchs([p], lr=value)
    optimizer.step()
    assert p.item() == pytest.approx(1 - 0.1 * float(value))


def test_assigned_groups_are_taken_over_with_what_they_lack():
    a, b, c = weights(1, 2, 3)
    optimizer = Momentum([[a], [b]], lr=[0.1, 0.2])
    before = optimizer.param_groups
    optimizer.param_groups = [{"params": c, "momentum": 0.5}, {"lr": 1.0}, {"params": [a]}]
    assert optimizer.param_lists == [[c], [b], [a]]
    assert optimizer.hypers == [
        {"lr": 0.1, "mom": 0.5}, {"lr": 1.0, "mom": 0.9}, {"lr": 0.2, "mom": 0.9}
    ]  # fmt: skip
    assert before[1]["lr"] == 0.2
    optimizer.param_groups = before
    assert optimizer.param_groups is before
    optimizer.param_groups = tuple(before)
    optimizer.add_param_group({"params": weights(4)})
    assert len(optimizer.param_groups) == 3


@pytest.mark.parametrize(
    ("groups", "kind", "says"),
    [
        ([{"lr": -1.0}], ValueError, "lr must be >= 0"),
        ([{"momentun": 0.5}], TypeError, "a group has 'momentun'; did you mean 'momentum'"),
        ([{}, {"lr": 1.0}], ValueError, "a new parameter group lacks 'params'"),
        ([3], TypeError, "a parameter group is a dict, got 3"),
    ],
)
def test_assigned_groups_that_are_wrong_change_nothing(groups, kind, says):
    optimizer = Momentum(weights(1))
    before = optimizer.param_groups
    with pytest.raises(kind, match=says):
        optimizer.param_groups = groups
    assert optimizer.param_groups is before
    assert optimizer.hypers == [{"lr": 0.1, "mom": 0.9}]


def test_a_group_with_nearly_a_hyper_is_an_error_and_other_keys_are_kept():
    (a,) = weights(1)
    with pytest.raises(TypeError, match="a group has 'weight_decai'; did you mean 'weight_decay'"):
        Torchs([{"params": [a], "weight_decai": 0.1}])
    assert Torchs([{"params": [a], "colour": "red"}]).param_groups[0]["colour"] == "red"


def test_without_strictness_anything_goes():
    optimizer = Momentum(weights(1), lr=-1.0, strict=False)
    optimizer.set_hyper("mon", 0.5)
    assert optimizer.hypers == [{"lr": -1.0, "mom": 0.9, "mon": 0.5}]


def test_a_value_out_of_range_is_an_error_at_construction():
    with pytest.raises(ValueError, match=r"Torchs: lr must be >= 0, got -1.0"):
        Torchs(weights(1), lr=-1.0)
    with pytest.raises(ValueError, match=r"lr must be >= 0, got nan"):
        Torchs([{"params": weights(1), "lr": float("nan")}])


# --- steps --------------------------------------------------------------------------------------


def test_two_steps_of_momentum_are_those_of_the_formula():
    (p,) = weights(1)
    optimizer = Momentum([p])
    optimizer.step()
    optimizer.step()
    assert p.item() == pytest.approx(1 - 0.1 * (0.1 + 0.19), abs=1e-12)
    assert optimizer.state[p]["count"] == 2
    assert type(optimizer.state[p]) is dict
    assert optimizer.steps == 2


def test_parameters_without_a_gradient_are_left_alone():
    a, b = weights(1, 2)
    b.grad = None
    optimizer = Momentum([a, b])
    assert not optimizer.state
    optimizer.step()
    assert (b.item(), b in optimizer.state) == (2.0, False)


def test_a_closure_runs_under_enable_grad_and_its_loss_is_returned():
    (p,) = weights(1)
    optimizer = Momentum([p])

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert (loss.item(), p.item()) == (1.0, pytest.approx(0.8))


def test_sparse_gradients_are_refused_before_anything_moves():
    (a,) = weights(1)
    table = torch.nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="Momentum does not support sparse gradients"):
        Momentum([a, table.weight]).step()
    assert a.item() == 1.0


def test_zero_grad_sets_to_none_or_zeroes():
    (p,) = weights(1)
    optimizer, grad = Momentum([p]), p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad
    assert grad.item() == 0.0
    optimizer.zero_grad()
    assert p.grad is None


def test_deprecated_spellings_on_data_run():
    class Old(PerParameter):
        def update_parameter(self, p, state, group):
            p.data.add_(-group["lr"], p.grad.data)

    (p,) = weights(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This overload of add_ is deprecated")
        Old([p], dict(lr=0.5)).step()
    assert p.item() == pytest.approx(0.95)


def test_hooks_run_around_a_step():
    optimizer, seen = Momentum(weights(1)), []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.step()
    assert seen == ["before", "after"]


def test_a_class_without_a_procedure_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        PerParameter(weights(1), {})
