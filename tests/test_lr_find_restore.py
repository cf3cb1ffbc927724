"""What `restored` puts back: each kind of thing, in place."""

import os
import random
import signal
import threading
import time
import warnings
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

import steppers
from steppers.lr_find import lr_find, memento, restored


def pair(model, **hypers):
    return model, torch.optim.SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.9, **hypers})


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()


def test_parameters_keep_their_identity_memory_and_bits():
    model, optimizer = pair(nn.Linear(3, 2))
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
        model.weight.view(torch.int32)[0, 1] = 0x7FC00123  # a NaN with a payload
        model.weight[0, 2] = -0.0
    ids = [(id(p), p.data_ptr()) for p in model.parameters()]
    words = model.weight.detach().view(torch.int32).tolist()
    with restored(model, optimizer):
        step(model, optimizer)
        model.weight.data = torch.zeros(2, 3)  # other memory
        model.bias = nn.Parameter(torch.zeros(2))  # another parameter
    assert [(id(p), p.data_ptr()) for p in model.parameters()] == ids
    assert model.weight.detach().view(torch.int32).tolist() == words


def test_a_dtype_set_by_half_comes_back():
    model, optimizer = pair(nn.Linear(3, 2))
    before = model.weight.tolist()
    with restored(model, optimizer):
        model.half()
    assert model.weight.dtype is torch.float32 and model.weight.tolist() == before


def test_gradients_keep_their_identity_and_numbers():
    model, optimizer = pair(nn.Linear(3, 2))
    model.weight.grad = grad = torch.full((2, 3), 5.0)
    with restored(model, optimizer):
        grad.zero_()
        step(model, optimizer)
        assert model.bias.grad is not None
    assert model.weight.grad is grad and grad.tolist() == [[5.0] * 3] * 2
    assert model.bias.grad is None


def test_requires_grad_and_each_modules_mode_come_back():
    model, optimizer = pair(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout()))
    model[1].eval()
    model[0].bias.requires_grad_(False)
    with restored(model, optimizer):
        model.train()
        model.requires_grad_(True)
        model[0].weight.requires_grad_(False)
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]


def test_buffers_changed_replaced_added_and_expanded():
    model, optimizer = pair(nn.Linear(3, 2))
    model.register_buffer("mask", torch.arange(3.0).expand(4, 3))
    model.register_buffer("count", torch.zeros(()), persistent=False)
    mask, count = model.mask, model.count
    with restored(model, optimizer):
        model.mask[0].add_(1)
        model.count = model.count + 1
        model.register_buffer("new", torch.ones(1))
    assert model.mask is mask and mask.tolist() == [[0.0, 1.0, 2.0]] * 4
    assert model.count is count and count.item() == 0
    assert "new" not in model.state_dict()


def test_attributes_of_modules_come_back():
    model, optimizer = pair(nn.Linear(3, 2))
    model.calls, model.seen, model.recent = 3, [1], deque([1, 2], maxlen=2)
    model.names, model.cache = {"a"}, {"x": [torch.ones(1)]}
    model.draws, model.numbers = random.Random(5), np.random.default_rng(5)
    expected = random.Random(5).random(), np.random.default_rng(5).random()
    with restored(model, optimizer):
        model.calls += 1
        model.seen.append(2)
        model.recent.append(3)
        model.names.add("b")
        model.cache["x"][0].add_(1)
        model.cache["y"] = 2
        model.late = 1
        model.draws.random(), model.numbers.random()
    assert (model.calls, model.seen, list(model.recent), model.names) == (3, [1], [1, 2], {"a"})
    assert model.cache == {"x": [torch.ones(1)]} and not hasattr(model, "late")
    assert (model.draws.random(), model.numbers.random()) == expected


def test_groups_and_options_of_the_optimizer_come_back():
    lr = torch.tensor(0.25)
    model, _ = pair(nn.Linear(3, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, capturable=False, foreach=False)
    with restored(model, optimizer):
        step(model, optimizer)
        lr.fill_(9.0)
        optimizer.param_groups[0]["betas"] = (0.5, 0.5)
        optimizer.param_groups[0]["extra"] = 1
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    (group,) = optimizer.param_groups
    assert group["lr"] is lr and lr.item() == 0.25 and "extra" not in group
    assert group["betas"] == (0.9, 0.999) and not optimizer.state


def test_a_state_that_was_loaded_in_the_block_goes():
    model, optimizer = pair(nn.Linear(3, 2))
    step(model, optimizer)
    buffers = [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]
    numbers = [b.tolist() for b in buffers]
    with restored(model, optimizer):
        step(model, optimizer)
        optimizer.load_state_dict(optimizer.state_dict())
    after = [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]
    assert [a is b for a, b in zip(after, buffers, strict=True)] == [True, True]
    assert [a.tolist() for a in after] == numbers


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, 50),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.ConstantLR(o, 0.5, 2),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, 9),
            ],
            milestones=[2],
        ),
    ],
)
def test_schedulers_that_stepped_come_back(make):
    model, optimizer = pair(nn.Linear(3, 2))
    scheduler = make(optimizer)
    plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    arguments = (1.0,) if plateau else ()
    step(model, optimizer)
    scheduler.step(*arguments)
    before = repr((scheduler.state_dict(), optimizer.param_groups[0]["lr"]))
    with restored(model, optimizer, scheduler):
        for _ in range(4):
            step(model, optimizer)
            scheduler.step(*arguments)
        assert repr((scheduler.state_dict(), optimizer.param_groups[0]["lr"])) != before
    assert repr((scheduler.state_dict(), optimizer.param_groups[0]["lr"])) == before


def test_other_objects_come_back():
    class Average:
        def __init__(self, model):
            self.shadow = [p.detach().clone() for p in model.parameters()]
            self.updates = 0

    model, optimizer = pair(nn.Linear(3, 2))
    average, draws = Average(model), torch.Generator().manual_seed(1)
    wrapped = torch.optim.swa_utils.AveragedModel(model)
    expected = torch.rand(2, generator=torch.Generator().manual_seed(1)).tolist()
    numbers = [s.tolist() for s in average.shadow]
    others = [average, draws, wrapped]
    with restored(model, optimizer, others=others):
        step(model, optimizer)
        wrapped.update_parameters(model)
        torch.rand(3, generator=draws)
        average.shadow[0].zero_()
        average.updates += 1
    assert [s.tolist() for s in average.shadow] == numbers and average.updates == 0
    assert torch.rand(2, generator=draws).tolist() == expected
    assert wrapped.n_averaged.item() == 0


def test_random_numbers_come_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    model, optimizer = pair(nn.Linear(3, 2))
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = draw()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])
    with restored(model, optimizer):
        draw()
    assert draw() == expected


def test_each_tensor_is_copied_once():
    first = nn.Linear(4, 4)
    second = nn.Linear(4, 4)
    second.weight = first.weight  # tied
    model = nn.Sequential(first, second)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    kept = memento.Memento()
    kept.add(model, optimizer)
    sizes = [h.numbers.numel() for h in kept.held if isinstance(h, memento.TensorHeld)]
    assert sum(sizes) == 4 * (16 + 4 + 4) + 3  # weights, gradients, two moments; step counts


def test_sparse_gradients_come_back():
    model = nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.tensor([1, 1, 3])).sum().backward()
    before = model.weight.grad.to_dense().tolist()
    with restored(model, optimizer):
        model(torch.tensor([0])).sum().backward()
    assert model.weight.grad.to_dense().tolist() == before


def test_scripted_models_come_back():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about TorchScript
        model = torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.eval()
    before = {name: value.tolist() for name, value in model.state_dict().items()}
    with restored(model, optimizer):
        model.train()
        step(model, optimizer)
    assert {name: value.tolist() for name, value in model.state_dict().items()} == before
    assert not any(m.training for m in model.modules())


def test_lstm_weights_stay_where_the_kernel_looks():
    model = nn.LSTM(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model(torch.ones(2, 1, 3))[0].tolist()
    with restored(model, optimizer):
        model(torch.ones(2, 1, 3))[0].sum().backward()
        optimizer.step()
        model.double()
    assert model(torch.ones(2, 1, 3))[0].tolist() == before


def test_weight_norm_comes_back():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    model, optimizer = pair(model)
    before = model.weight.tolist()
    with restored(model, optimizer):
        step(model, optimizer)
        assert model.weight.tolist() != before
    assert model.weight.tolist() == before


def test_what_cannot_be_put_back_is_said_when_the_rest_is_back():
    model, optimizer = pair(nn.Linear(3, 2))
    model.draws = random.Random(1)
    before = model.weight.tolist()

    def refuse(state):
        raise OSError("no such state")

    with pytest.raises(RuntimeError, match="could be put back: no such state"):
        model.draws.setstate = refuse
        with restored(model, optimizer):
            step(model, optimizer)
    assert model.weight.tolist() == before and not optimizer.state


def test_lazy_models_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: lazy modules are new
        model = nn.LazyLinear(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="weight has no shape yet"), restored(model, optimizer):
        pass


def test_two_nested_blocks_each_put_back_their_own():
    model, optimizer = pair(nn.Linear(3, 2))
    outer = model.weight.tolist()
    with restored(model, optimizer):
        step(model, optimizer)
        inner = model.weight.tolist()
        with restored(model, optimizer):
            step(model, optimizer)
        assert model.weight.tolist() == inner != outer
    assert model.weight.tolist() == outer


def test_ctrl_c_while_putting_back_is_heard_after_it(monkeypatch):
    model, optimizer = pair(nn.Linear(3, 2))
    before = [p.tolist() for p in model.parameters()]
    put_back, calls = memento.TensorHeld.put_back, []

    def interrupted(held):
        calls.append(1)
        if len(calls) in (2, 3):
            raise KeyboardInterrupt
        put_back(held)

    monkeypatch.setattr(memento.TensorHeld, "put_back", interrupted)
    with pytest.raises(KeyboardInterrupt), restored(model, optimizer):
        step(model, optimizer)
    assert [p.tolist() for p in model.parameters()] == before and len(calls) > 3
    assert not optimizer.state


@pytest.mark.skipif(os.name != "posix", reason="signals to a process are POSIX's")
@pytest.mark.parametrize("delay", [0.005, 0.02, 0.05])
def test_a_signal_at_any_time_leaves_all_as_it_was(delay):
    model = nn.Sequential(nn.Linear(3, 64), nn.BatchNorm1d(64), nn.Linear(64, 2))
    optimizer = steppers.AdamW(model.parameters())
    batches = [(torch.randn(16, 3), torch.arange(16) % 2)]
    before = {name: value.tolist() for name, value in model.state_dict().items()}
    started = threading.Event()

    def interrupt():
        started.wait()
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()

    def loss_func(output, y):
        started.set()
        return nn.functional.cross_entropy(output, y)

    with pytest.raises(KeyboardInterrupt):
        lr_find(model, optimizer, batches, loss_func, num_it=10**6, end_lr=1e-6)
    thread.join()
    assert {name: value.tolist() for name, value in model.state_dict().items()} == before
    assert optimizer.param_groups[0]["lr"] == 1e-3 and not optimizer.state
