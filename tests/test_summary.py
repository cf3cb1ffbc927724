"""The table of a model's layers."""

import pytest
import torch
from torch import nn

from steppers.train import nets
from steppers.train.summary import summary


def rows(text):
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()[2:-2]}


def test_a_convolutional_net_layer_by_layer():
    text = summary(nets.small_conv_net(), torch.ones(5, 1, 8, 8))
    found = rows(text)
    assert found["0"] == ["Conv2d", "5x16x8x8", "144", "144"]
    assert found["1"] == ["BatchNorm2d", "5x16x8x8", "32", "32"]
    assert found["3"] == ["Conv2d", "5x32x4x4", "4,608", "4,608"]
    assert found["11"] == ["Linear", "5x10", "650", "650"]
    # counted by hand: 9 * (16 + 16 * 32 + 32 * 64), norms 2 * 112, and 64 * 10 + 10
    assert "24,058 parameters, 24,058 trainable, 227 in buffers" in text


def test_frozen_parameters_are_not_trainable():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    text = summary(model)
    assert rows(text) == {"0": ["Linear", "9", "0"], "1": ["Linear", "4", "4"]}
    assert text.endswith("13 parameters, 4 trainable, 0 in buffers; 52 bytes")


def test_a_shared_layer_counts_once_and_shows_its_calls():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.same = nn.Linear(4, 4), None
            self.tied, self.idle = nn.Linear(4, 4), nn.ReLU()
            self.tied.weight = self.layer.weight

        def forward(self, x):
            return self.layer(self.layer(x)) + self.tied(x)

    text = summary(Shared(), torch.ones(2, 4))
    assert "2x4 (2 times)" in text
    assert "not run" in text
    assert "24 parameters, 24 trainable" in text  # 16 weights and two biases


def test_own_parameters_of_outer_modules_have_a_row():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.layer = nn.Parameter(torch.ones(3)), nn.Linear(2, 3)

        def forward(self, x):
            return {"out": self.scale * self.layer(x), "sum": x.sum()}

    found = summary(Outer(), (torch.ones(5, 2), torch.zeros(5)))  # inputs and a target
    assert found.splitlines()[2].split() == ["(model)", "Outer", "5x3,", "scalar", "3", "3"]
    assert "12 parameters" in found


def full(model):
    return [
        *(p.clone() for p in model.parameters()),
        *(b.clone() for b in model.buffers()),
    ]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_as_it_was(training):
    class Counts(nn.Module):
        """Changes a buffer, replaces another, and draws, in any mode."""

        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("last", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            self.last = torch.rand(())
            return x

    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), Counts(), nn.Dropout())
    model.train(training)
    model[1].eval()
    before, buffers = full(model), list(model.buffers())
    modes = [m.training for m in model.modules()]
    generator = torch.get_rng_state()
    summary(model, 5 + torch.ones(4, 2))
    assert all(torch.equal(a, b) for a, b in zip(before, full(model), strict=True))
    assert all(a is b for a, b in zip(buffers, model.buffers(), strict=True))
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_model_is_as_it_was_after_an_error(error):
    class Fails(nn.Module):
        def forward(self, x):
            raise error

    model = nn.Sequential(nn.Linear(2, 3), Fails())
    with pytest.raises(error):
        summary(model, torch.ones(1, 2))
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())


def test_a_lazy_layer_is_an_error_that_says_how_to_give_it_shapes():
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"0 is lazy.*run one batch"):
        summary(model, torch.ones(1, 2))
    model(torch.ones(1, 2))
    assert "9 parameters" in summary(model)


@pytest.mark.parametrize(
    ("count", "size"), [(1, "4 bytes"), (2**10, "4.0 KiB"), (2**20, "4.0 MiB"), (2**19, "2.0 MiB")]
)
def test_sizes_are_in_readable_units(count, size):
    assert summary(nn.Linear(count, 1, bias=False)).endswith(size)


def test_a_model_of_one_layer_and_one_without_parameters():
    assert "(model)  Linear" in summary(nn.Linear(2, 2))
    assert summary(nn.ReLU()).endswith("0 parameters, 0 trainable, 0 in buffers; 0 bytes")
