"""Seeds, GeneralRelu, weights from a distribution and weights fitted to a batch."""

import math
import random
import subprocess
import sys

import numpy
import pytest
import torch
from torch import nn

from steppers.train.init import GeneralRelu, init_weights, lsuv_init, set_seed

# --- seeds ---------------------------------------------------------------------------------------


def draws():
    return random.random(), float(numpy.random.rand()), torch.rand(1).item()


def test_a_seed_sets_python_numpy_and_torch():
    set_seed(42)
    first = draws()
    set_seed(42)
    assert draws() == first
    set_seed(43)
    assert draws() != first


DETERMINISTIC = """
import torch
from steppers.train.init import set_seed

on = torch.are_deterministic_algorithms_enabled
torch.backends.cudnn.benchmark = True
set_seed(1)
assert not on() and torch.backends.cudnn.benchmark
set_seed(1, deterministic=True)
assert on() and not torch.backends.cudnn.benchmark
set_seed(1)  # what was asked for stays
assert on()
"""


def test_deterministic_algorithms_only_where_they_are_wanted():
    # in a process of its own: torch's own test tools forbid these flags wherever they are loaded
    ran = subprocess.run([sys.executable, "-c", DETERMINISTIC], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_seed_that_cannot_be():
    with pytest.raises(ValueError, match="seed must be a whole number"):
        set_seed(-1)


# --- GeneralRelu ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [-0.6, -0.4, 0.6, 2.6]),
        ({"leak": None, "sub": None}, [0.0, 0.0, 1.0, 3.0]),
        ({"leak": 0.0, "sub": 0.5}, [-0.5, -0.5, 0.5, 2.5]),
        ({"leak": 0.5, "sub": 0.0, "maxv": 2.0}, [-1.0, 0.0, 1.0, 2.0]),
        ({"leak": 0.1, "sub": 0.4, "maxv": 0.0}, [-0.6, -0.4, 0.0, 0.0]),
    ],
)
def test_general_relu_is_leaky_moved_and_cut_off(options, wanted):
    x = torch.tensor([-2.0, 0.0, 1.0, 3.0])
    kept = x.clone()
    torch.testing.assert_close(GeneralRelu(**options)(x), torch.tensor(wanted))
    assert torch.equal(x, kept)


def test_general_relu_says_what_it_is():
    assert repr(GeneralRelu()) == "GeneralRelu(leak=0.1, sub=0.4)"
    assert repr(GeneralRelu(maxv=6.0)) == "GeneralRelu(leak=0.1, sub=0.4, maxv=6.0)"


# --- weights from a distribution -----------------------------------------------------------------


@pytest.mark.parametrize("leak", [0.0, 0.1, 1.0])
def test_weights_have_the_deviation_of_the_paper_and_biases_are_zero(leak):
    model = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Sequential(nn.Linear(400, 100)))
    init_weights(model, leak)
    for layer, fan_in in ((model[0], 16 * 9), (model[1][0], 400)):
        wanted = math.sqrt(2 / ((1 + leak**2) * fan_in))
        error = wanted / math.sqrt(2 * layer.weight.numel())  # of a deviation from n draws
        assert abs(layer.weight.std().item() - wanted) < 5 * error
        assert not layer.bias.any()


def test_other_modules_are_left_alone():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Embedding(3, 4), nn.ConvTranspose1d(4, 4, 3))
    before = [p.clone() for p in model.parameters()]
    init_weights(model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_layers_without_a_bias_and_half_precision_are_initialised_too():
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Conv1d(2, 2, 3)).bfloat16()
    init_weights(model)
    assert model[0].weight.dtype == torch.bfloat16
    assert all(p.requires_grad and p.grad_fn is None for p in model.parameters())


# --- weights fitted to a batch -------------------------------------------------------------------


def signals(model, modules, x):
    """Mean and deviation after each module, dropout off, BatchNorm by the batch."""
    found = {}
    handles = [
        m.register_forward_hook(
            lambda m, i, o: found.__setitem__(m, (o.mean(), o.std(correction=0)))
        )
        for m in modules
    ]
    model.eval()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.train()
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return [tuple(v.item() for v in found[m]) for m in modules]


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), GeneralRelu(), nn.Conv2d(8, 16, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16 * 16, 32), nn.Tanh(), nn.Linear(32, 10)),
    )


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_every_signal_gets_mean_zero_and_deviation_one():
    model, x = conv_net(), 3 + 5 * torch.randn(64, 1, 8, 8)
    reached = lsuv_init(model, x)
    assert list(reached) == ["0", "2", "6", "8"]
    measured = [model[1], model[2], model[6], model[8]]  # the GeneralRelu, then the layers
    for (mean, std), found in zip(signals(model, measured, x), reached.values(), strict=True):
        assert abs(mean) < 1e-3
        assert abs(std - 1) < 1e-3
        assert found == pytest.approx((mean, std), abs=1e-5)


def test_the_last_element_of_a_batch_is_its_target():
    one, two, x = conv_net(), conv_net(), torch.randn(64, 1, 8, 8)
    assert lsuv_init(one, x) == lsuv_init(two, (x, torch.zeros(64)))


def test_pairs_say_where_to_measure():
    model, x = conv_net(), torch.randn(64, 1, 8, 8)
    model[3] = GeneralRelu(0.2, 0.3)
    lsuv_init(model, x, [(model[2], model[3])])
    ((mean, std),) = signals(model, [model[3]], x)
    assert abs(mean) < 1e-3
    assert abs(std - 1) < 1e-3


def test_layers_are_fitted_in_the_order_in_which_they_run():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(6, 3), nn.Linear(4, 6)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    model, x = Backwards(), torch.randn(64, 4)
    assert list(lsuv_init(model, x)) == ["first", "last"]
    for mean, std in signals(model, [model.first, model.last], x):
        assert abs(mean) < 1e-3
        assert abs(std - 1) < 1e-3


def test_a_layer_without_a_bias_keeps_its_mean():
    model, x = nn.Sequential(nn.Linear(4, 32, bias=False)), 2 + torch.randn(64, 4)
    before = model[0].weight.clone()
    ((mean, std),) = lsuv_init(model, x).values()
    assert abs(std - 1) < 1e-3
    assert abs(mean) > 1e-3
    ratio = model[0].weight / before
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))


def test_norms_between_a_layer_and_its_activation_leave_the_layer_itself():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), GeneralRelu(), nn.Linear(8, 2))
    x = torch.randn(64, 4)
    model.train()
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    lsuv_init(model, x)
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(buffers[name], b) for name, b in model.named_buffers())
    for mean, std in signals(model, [model[0], model[3]], x):
        assert abs(mean) < 1e-3
        assert abs(std - 1) < 1e-3


def constant(model):
    nn.init.zeros_(model[2].weight)


def not_finite(model):
    with torch.no_grad():
        model[2].weight[0] = math.nan


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(constant, "the signal after '2' is constant"), (not_finite, "after '2' is not finite")],
)
def test_a_layer_that_cannot_be_fitted_is_an_error_and_changes_nothing(spoil, says):
    model = conv_net()
    spoil(model)
    before = state(model)
    with pytest.raises(RuntimeError, match=says):
        lsuv_init(model, torch.randn(16, 1, 8, 8))
    after = state(model)
    assert all(torch.equal(before[n].nan_to_num(), after[n].nan_to_num()) for n in before)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_behind_a_relu_it_raises_and_changes_nothing():
    model = conv_net()
    before = state(model)
    with pytest.raises(RuntimeError, match="'2'"):
        lsuv_init(model, torch.randn(16, 1, 8, 8), [(model[2], model[3])])
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())


def test_an_interrupt_changes_nothing():
    class Stop(nn.Module):
        calls = 0

        def forward(self, x):
            Stop.calls += 1
            if Stop.calls == 4:
                raise KeyboardInterrupt
            return x

    model = nn.Sequential(nn.Linear(4, 4), Stop(), nn.Linear(4, 2))
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        lsuv_init(model, torch.randn(16, 4))
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("layers", "error", "says"),
    [
        (lambda m: [(nn.Linear(1, 1), m[1])], ValueError, "is not in this Sequential"),
        (lambda m: [(m[1], m[1])], TypeError, "GeneralRelu '1' is no convolution"),
    ],
)
def test_pairs_that_do_not_fit_are_errors(layers, error, says):
    model = conv_net()
    with pytest.raises(error, match=says):
        lsuv_init(model, torch.randn(4, 1, 8, 8), layers(model))


def test_a_model_without_layers_is_an_error():
    with pytest.raises(RuntimeError, match="reaches no layer of ReLU"):
        lsuv_init(nn.ReLU(), torch.randn(4, 2))
