"""The base of the styles with torch's tools, its checkpoints and its copies."""

import copy
import io
import pickle

import pytest
import torch
from small_styles import Momentum, Torchs, weights

from steppers import schedules

# --- torch's tools ------------------------------------------------------------------------------


def test_momentum_and_decay_are_found_under_torchs_names():
    (p,) = weights(1)
    group = Momentum([p]).param_groups[0]
    assert ("momentum" in group, group["momentum"], group.get("momentum")) == (True, 0.9, 0.9)
    group["momentum"] = 0.5
    assert group["mom"] == 0.5
    assert "betas" not in group
    assert set(group) == {"params", "lr", "mom"}


def test_one_cycle_cycles_the_momentum():
    optimizer = Momentum(weights(1))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10)
    assert optimizer.hypers[0] == {"lr": pytest.approx(0.04), "mom": pytest.approx(0.95)}
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    assert optimizer.hypers[0] == {"lr": pytest.approx(1.0), "mom": pytest.approx(0.85)}


@pytest.mark.parametrize("kind", [Momentum, Torchs])
def test_torchs_schedulers_drive_the_rate(kind):
    optimizer = kind(weights(1), lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    rates = []
    for _ in range(4):
        rates.append(optimizer.hypers[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])


def test_steppers_schedules_drive_any_hyper():
    optimizer = Momentum(weights(1))
    curves = {"lr": schedules.lin(0.0, 1.0), "mom": schedules.lin(0.8, 0.9)}
    schedules.Scheduler(optimizer, curves, total_steps=2).step()
    assert optimizer.hypers[0] == {"lr": 0.5, "mom": pytest.approx(0.85)}


def test_a_grad_scaler_skips_steps_with_gradients_that_are_not_finite():
    p = torch.ones(2, requires_grad=True)
    optimizer, scaler = Momentum([p]), torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((p * float("inf")).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [1.0, 1.0]
    optimizer.zero_grad()
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    assert p.tolist() == pytest.approx([0.9, 0.9])


# --- checkpoints and copies ---------------------------------------------------------------------


def advanced():
    p = torch.tensor([1.0, 2.0], requires_grad=True)
    p.grad = torch.tensor([0.1, 0.2])
    optimizer = Momentum([p], lr=0.5)
    optimizer.step()
    return p, optimizer


def test_state_dicts_have_torchs_format_and_are_safe_to_load():
    _, optimizer = advanced()
    saved = optimizer.state_dict()
    assert saved["param_groups"] == [{"lr": 0.5, "mom": 0.9, "params": [0]}]
    assert set(saved["state"][0]) == {"average", "count"}
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["state"][0]["count"] == 1


def test_a_loaded_state_is_a_copy_and_training_goes_on_alike():
    p, optimizer = advanced()
    q = p.detach().clone().requires_grad_()
    q.grad = p.grad.clone()
    other = Momentum([q])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[q]["average"] is not optimizer.state[p]["average"]
    assert other.hypers == [{"lr": 0.5, "mom": 0.9}]
    for each in (optimizer, other, other):
        each.step()
    optimizer.step()
    assert torch.equal(p, q)


def test_loading_keeps_dtypes_texts_and_nests_and_fills_in_what_is_missing():
    p = torch.zeros(2, dtype=torch.float16, requires_grad=True)
    state = {
        "copy": torch.ones(2), "step": torch.tensor(3.0), "text": "as it is",
        "pair": (torch.ones(1), 2), "nest": {"deep": torch.ones(1)},
    }  # fmt: skip
    saved = {"state": {0: state}, "param_groups": [{"params": [0], "momentum": 0.5}]}
    optimizer = Momentum([p], lr=0.25)
    optimizer.load_state_dict(saved)
    held = optimizer.state[p]
    assert held["copy"].dtype == torch.float32
    assert held["copy"] is not state["copy"]
    assert (held["text"], held["pair"][1], held["step"]) == ("as it is", 2, torch.tensor(3.0))
    assert held["nest"]["deep"] is not state["nest"]["deep"]
    assert optimizer.hypers == [{"lr": 0.25, "mom": 0.5}]


def test_a_checkpoint_of_other_groups_is_an_error_and_changes_nothing():
    p, optimizer = advanced()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict(Momentum([[w] for w in weights(1, 2)]).state_dict())
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict(Momentum(weights(1, 2)).state_dict())
    with pytest.raises(TypeError, match="a state dict must be a dict, got list"):
        optimizer.load_state_dict([1])
    with pytest.raises(ValueError, match="and 'param_groups', got one that holds 'a'"):
        optimizer.load_state_dict({"a": 1})
    assert optimizer.state[p]["count"] == 1


def test_load_hooks_see_plain_states():
    p, optimizer = advanced()
    seen = []
    optimizer.register_load_state_dict_pre_hook(lambda _, saved: seen.append(saved["state"][0]))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append(o.state[p]))
    optimizer.load_state_dict(optimizer.state_dict())
    assert [type(each) for each in seen] == [dict, dict]
    assert seen[1]["count"] == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_keep_state_hypers_and_a_subclasss_own_attributes(copied):
    p, optimizer = advanced()
    torch.optim.lr_scheduler.StepLR(optimizer, 3)  # it patches step
    other = copied(optimizer)
    (q,) = other.param_lists[0]
    assert q is not p
    assert torch.equal(other.state[q]["average"], optimizer.state[p]["average"])
    assert (other.steps, other.strict) == (1, True)
    other.param_groups[0]["momentum"] = 0.1
    assert other.hypers == [{"lr": 0.5, "mom": 0.1}]
    q.grad = torch.ones(2)
    other.step()
    assert (other.steps, optimizer.steps) == (2, 1)


def test_param_lists_can_be_replaced():
    a, b = weights(1, 2)
    optimizer = Momentum([[a], [b]])
    optimizer.param_lists = [[b], [a]]
    assert optimizer.param_groups[0]["params"][0] is b
    assert optimizer.param_groups[1]["params"][0] is a
    with pytest.raises(ValueError, match="got 1 lists of parameters for 2 groups"):
        optimizer.param_lists = [[a]]


def test_state_leaves_with_parameters_that_are_replaced():
    a, b, c = weights(1, 2, 3)
    optimizer = Momentum([a, b])
    optimizer.step()
    optimizer.param_lists = [[c, b]]
    assert list(optimizer.state) == [b]
    assert set(optimizer.state_dict()["state"]) == {1}
