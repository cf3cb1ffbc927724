"""The contract of steppers.Optimizer: what it is to torch, and a single step."""

import inspect
import re
from pathlib import Path

import pytest
import torch
from contract_rows import (
    ENGINES,
    EVERY,
    ROWS,
    assert_close,
    give_grads,
    over_engines,
    over_every,
    over_rows,
    snapshot,
    train,
    values,
)

import steppers
from steppers import catalogue

CLASSES = [getattr(steppers, name) for name in catalogue.__all__]
over_classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def test_the_rows_cover_the_catalogue():
    assert {row.build for row in EVERY} >= set(CLASSES)


# --- what it is to torch -----------------------------------------------------------------------


@over_rows
def test_it_is_a_torch_optimizer(row):  # C1
    _, optimizer = row.made()
    assert isinstance(optimizer, torch.optim.Optimizer)


@over_classes
def test_hypers_are_checked_before_params_are_touched(cls):  # C1
    with pytest.raises(ValueError, match=f"^{cls.__name__}: lr must be >= 0, got -1$"):
        cls(None, lr=-1)


def test_params_are_needed():  # C1
    with pytest.raises(TypeError, match=r"params|iterable"):
        steppers.AdamW(None)


@over_classes
def test_lr_has_a_default(cls):  # C1
    assert inspect.signature(cls).parameters["lr"].default > 0


@over_classes
def test_foreach_and_fused_none_are_taken(cls):  # C4
    matrix = torch.ones(2, 2, requires_grad=True)
    optimizer = cls([{"params": [matrix], "foreach": None, "fused": None}], foreach=None)
    assert optimizer.param_groups[0]["foreach"] is None


@pytest.mark.needs("llvmlite")
def test_fused_true_names_the_engine():  # C4
    optimizer = steppers.AdamW([torch.ones(2, requires_grad=True)], fused=True)
    assert (optimizer.engine.name, optimizer.engine.why) == ("fused", "asked for")


def test_fused_false_rules_it_out():  # C4
    optimizer = steppers.AdamW([torch.ones(2, requires_grad=True)], fused=False)
    assert str(optimizer.engine) == "foreach: fused=False"


def test_fused_true_is_refused_where_no_kernel_can_run():  # C4
    w = torch.ones(2, requires_grad=True, device="meta")
    text = r"fused engine cannot run: .*on the CPU or on one CUDA.*use engine='foreach'"
    with pytest.raises(RuntimeError, match=text):
        steppers.AdamW([w], fused=True)


@over_rows
def test_step_is_a_bound_method_that_takes_a_closure_alone(row):  # C2, C3
    _, optimizer = row.made()
    assert optimizer.step.__func__ is type(optimizer).step
    assert list(inspect.signature(optimizer.step).parameters) == ["closure"]
    assert inspect.signature(optimizer.step).parameters["closure"].default is None


@over_classes
def test_the_class_is_an_ordinary_one(cls):  # C3
    assert type(cls) is type
    assert not any("__slots__" in vars(base) for base in cls.__mro__)
    assert "__call__" not in dir(cls)
    assert cls.__eq__ is object.__eq__


@over_rows
def test_step_can_be_replaced_on_the_instance(row):  # C3
    model, optimizer = row.made()
    calls = []
    optimizer.step = lambda closure=None: calls.append(closure)
    optimizer.step()
    del optimizer.step
    train(model, optimizer, 1)
    assert calls == [None]
    assert optimizer.state


@over_rows
def test_zero_grad_keeps_torchs_signature(row):  # C20
    model, optimizer = row.made()
    assert list(inspect.signature(optimizer.zero_grad).parameters) == ["set_to_none"]
    give_grads(model.parameters(), 0)
    optimizer.zero_grad(set_to_none=False)
    assert all(bool((p.grad == 0).all()) for p in model.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@over_rows
def test_train_and_eval_can_be_called_on_everything(row):  # C23
    model, optimizer = row.made()
    optimizer.eval()
    optimizer.train()
    train(model, optimizer, 2)
    before = values(model.parameters())
    optimizer.eval()
    optimizer.train()
    assert values(model.parameters()) == before


@over_rows
def test_the_mode_is_a_group_key(row):  # C23
    model, optimizer = row.made()
    train(model, optimizer, 1)
    public = {name for name in vars(optimizer) if not name.startswith("_")}
    optimizer.eval()
    assert {name for name in vars(optimizer) if not name.startswith("_")} == public
    assert optimizer.param_groups[0].get("train_mode") in (None, False)


@pytest.mark.parametrize("row", [r for r in ROWS if r.viewed], ids=lambda row: row.id)
def test_a_step_in_the_evaluation_view_says_to_call_train(row):  # C23
    model, optimizer = row.made()
    train(model, optimizer, 2)
    optimizer.eval()
    give_grads(model.parameters(), 7)
    before = snapshot(optimizer)
    with pytest.raises(RuntimeError, match=r"evaluation view; call optimizer\.train\(\) before"):
        optimizer.step()
    assert snapshot(optimizer) == before


@over_classes
def test_it_does_not_claim_to_scale_gradients_itself(cls):  # C22
    assert not hasattr(cls, "_step_supports_amp_scaling")


@over_rows
def test_repr_shows_the_groups_hypers(row):
    _, optimizer = row.made()
    text = repr(optimizer)
    assert text.startswith(f"{type(optimizer).__name__} (\nParameter Group 0\n")
    assert f"    lr: {row.hypers['lr']}\n" in text


# --- a step ------------------------------------------------------------------------------------


@over_every
@pytest.mark.parametrize("engine", ENGINES[1:])
def test_the_engines_agree(row, engine):
    made = [row.made(engine=each) for each in ("loop", engine)]
    for model, optimizer in made:
        train(model, optimizer, 5)
    (loop, _), (other, _) = made
    assert_close(other.parameters(), loop.parameters())


@over_rows
def test_the_rows_move_the_model(row):
    model, optimizer = row.made()
    start = [p.detach().clone() for p in model.parameters()]
    train(model, optimizer, 3)
    for before, p in zip(start, model.parameters(), strict=True):
        assert float((p.detach() - before).abs().max()) > 1e-4


@over_rows
@over_engines
def test_a_backward_through_weights_that_moved_raises(row, engine):
    model, optimizer = row.made(engine=engine)
    loss = model(torch.ones(5, 4, requires_grad=True)).square().sum()
    give_grads(model.parameters(), 0)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@over_rows
def test_parameters_stay_the_leaves_that_they_were(row):
    model, optimizer = row.made()
    before = [(id(p), p.data_ptr(), p.dtype) for p in model.parameters()]
    train(model, optimizer, 2)
    assert [(id(p), p.data_ptr(), p.dtype) for p in model.parameters()] == before
    assert all(p.is_leaf and p.requires_grad for p in model.parameters())


@over_rows
def test_a_step_without_any_gradient_does_nothing(row):
    _, optimizer = row.made()
    before = snapshot(optimizer)
    assert optimizer.step() is None
    assert snapshot(optimizer) == before


@over_rows
def test_the_grad_mode_outside_a_step_is_left_as_it_was(row):
    model, optimizer = row.made()
    give_grads(model.parameters(), 0)
    with torch.no_grad():
        optimizer.step()
        assert not torch.is_grad_enabled()
    optimizer.step()
    assert torch.is_grad_enabled()


@over_rows
def test_maximize_is_the_step_on_the_negated_gradient(row):  # C4
    up, climbing = row.made(maximize=True)
    down, descending = row.made()
    for i in range(3):
        give_grads(up.parameters(), i)
        for p, q in zip(up.parameters(), down.parameters(), strict=True):
            q.grad = -p.grad
        climbing.step()
        descending.step()
    assert values(up.parameters()) == values(down.parameters())


# --- the contract itself -----------------------------------------------------------------------


def test_each_rule_of_the_contract_has_a_test():
    here = Path(__file__).parent
    text = "\n".join(path.read_text(encoding="utf-8") for path in here.glob("test_contract*.py"))
    cited = set(re.findall(r"C\d+", " ".join(re.findall(r"# (C\d+(?:, C\d+)*)", text))))
    assert cited == {f"C{i}" for i in range(1, 25)}
