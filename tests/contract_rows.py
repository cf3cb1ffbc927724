"""The optimizers that the contract tests run over, and what those tests share.

The contract is the 24 rules C1 to C24 of what a drop-in `torch.optim.Optimizer` must do. Each test
cites the rule that it shows.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

import steppers
from steppers.ops import lerp, sign, zeros
from steppers.rules import cautious, clip_by_global_norm, decay, descend, ema, use_average

ENGINES = ("loop", "foreach", "fused")

# In units of the dtype's eps, of the largest element. Two orders of the same dozen operations
# differ by a few roundings a step, and the tests take at most ten steps.
UNITS = {torch.float64: 64, torch.float32: 64, torch.bfloat16: 4, torch.float16: 4}


def average_sign(g, exp_avg=zeros, *, beta1=0.9):
    """A rule as a user would write it."""
    exp_avg = lerp(exp_avg, g, 1 - beta1)
    return dict(exp_avg=exp_avg, u=sign(exp_avg))


def composed(params, **hypers):
    """An optimizer without a class: library rules around one of the user's, and an average."""
    steps = [clip_by_global_norm, decay, average_sign, cautious, descend, ema]
    return steppers.Optimizer(params, steps=steps, evaluate=use_average, **hypers)


@dataclass(frozen=True)
class Row:
    """One optimizer, with hyper-parameters under which a few steps visibly move a tiny model."""

    build: Callable[..., steppers.Optimizer]
    hypers: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    vectors: bool = True  # it takes biases
    complex: bool = True  # it takes complex parameters
    narrow: str = ""  # why its state needs a wider range than float16 has
    viewed: bool = False  # it has an evaluation view
    coupled: bool = False  # a parameter's step depends on the others, or on steps before it came

    def __call__(self, params, **more):
        return self.build(params, **{**self.hypers, **more})

    @property
    def id(self):
        return self.build.__name__ + self.note

    def model(self, dtype=torch.float32):
        """Two small layers, the same every time."""
        torch.manual_seed(1)
        layers = nn.Linear(4, 3, bias=self.vectors), nn.Tanh(), nn.Linear(3, 2, bias=self.vectors)
        return nn.Sequential(*layers).to(dtype)

    def made(self, dtype=torch.float32, **more):
        """A model and its optimizer."""
        model = self.model(dtype)
        return model, self(model.parameters(), **more)


# fmt: off
ROWS = [
    Row(steppers.AdamW,             dict(lr=1e-2, weight_decay=0.1)),
    Row(steppers.SGD,               dict(lr=1e-1, momentum=0.9), "-momentum"),
    Row(steppers.Lion,              dict(lr=1e-2, weight_decay=0.1)),
    Row(steppers.LAMB,              dict(lr=1e-2, weight_decay=0.1)),
    Row(steppers.Adafactor,         dict(lr=1e-1), complex=False),
    Row(steppers.NAdam,             dict(lr=1e-2)),
    Row(steppers.ScheduleFreeAdamW, dict(lr=1e-2), coupled=True, viewed=True),
    Row(steppers.Prodigy,           dict(lr=1.0, d0=1e-2), coupled=True,
        narrow="squares of gradients times d = 0.01 are under float16's smallest normal number"),
    Row(steppers.Muon,              dict(lr=1e-2), vectors=False, complex=False),
    Row(composed,                   dict(lr=1e-2, weight_decay=0.1, max_norm=1.0), coupled=True,
        viewed=True),
]
EVERY = [
    *ROWS,
    Row(steppers.SGD,               dict(lr=1e-1)),
    Row(steppers.SGD,               dict(lr=1e-1, momentum=0.9, nesterov=True), "-nesterov"),
    Row(steppers.Adam,              dict(lr=1e-2, amsgrad=True)),
    Row(steppers.RAdam,             dict(lr=1e-2, betas=(0.9, 0.99))),
    Row(steppers.Adamax,            dict(lr=1e-2)),
    Row(steppers.Adagrad,           dict(lr=1e-1)),
    Row(steppers.Adadelta,          dict(lr=1.0)),
    Row(steppers.RMSprop,           dict(lr=1e-2, momentum=0.9, centered=True)),
    Row(steppers.ASGD,              dict(lr=1e-1)),
    Row(steppers.Rprop,             dict(lr=1e-2)),
    Row(steppers.AdaBelief,         dict(lr=1e-2)),
    Row(steppers.Sophia,            dict(lr=1e-2, weight_decay=0.1)),
    Row(steppers.SGDW,              dict(lr=1e-1, momentum=0.9, weight_decay=0.1)),
    Row(steppers.LARS,              dict(lr=1.0, trust_coefficient=0.02)),
    Row(steppers.LARC,              dict(lr=1e-1)),
    Row(steppers.QHAdam,            dict(lr=1e-2)),
    Row(steppers.SAdam,             dict(lr=1e-2)),
    Row(steppers.Ranger,            dict(lr=1e-2, k=2)),
    Row(steppers.DecoupledSGDW,     dict(lr=1e-1, momentum=0.9, metrics=True), "-metrics"),
    Row(steppers.DecoupledAdamW,    dict(lr=1e-2, weight_decay=1e-3)),
]
# fmt: on

over_rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
over_every = pytest.mark.parametrize("row", EVERY, ids=lambda row: row.id)
over_engines = pytest.mark.parametrize("engine", ENGINES)


def give_grads(params, seed):
    """The same random gradients for the same seed, whatever the optimizer."""
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.grad = noise.to(p.dtype)


def train(model, optimizer, steps, seed=0):
    """Take steps on given gradients; another seed gives other gradients."""
    for i in range(steps):
        give_grads(model.parameters(), 100 * seed + i)
        optimizer.step()


def bits(x):
    """A tensor's bits as bytes, so that NaN equals itself and -0.0 differs from 0.0."""
    x = torch.view_as_real(x) if x.is_complex() else x
    return x.detach().cpu().contiguous().view(-1).view(torch.uint8).tolist() if x.numel() else []


def _frozen(value):
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), bits(value))
    if isinstance(value, dict):
        return {key: _frozen(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_frozen(v) for v in value]
    return copy.deepcopy(value)


def values(params):
    """The bits of tensors."""
    return [bits(p) for p in params]


def snapshot(optimizer):
    """Everything that a failed call must leave as it was: parameters, gradients, groups, state."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    groups = [{k: _frozen(v) for k, v in g.items() if k != "params"}
              for g in optimizer.param_groups]  # fmt: skip
    return {
        "identity": [[id(p) for p in group["params"]] for group in optimizer.param_groups],
        "params": values(params),
        "grads": [None if p.grad is None else _frozen(p.grad.to_dense()) for p in params],
        "groups": groups,
        "state": [_frozen(dict(optimizer.state.get(p, {}))) for p in params],
        "tracked": len(optimizer.state),
    }


def assert_close(actual, expected):
    """Within UNITS roundings of the largest expected element, for each pair of tensors."""
    for a, b in zip(actual, expected, strict=True):
        eps = torch.finfo(b.dtype).eps
        scale = max(float(b.detach().abs().max()), 1e-2)
        torch.testing.assert_close(a, b, rtol=0, atol=UNITS[b.dtype] * eps * scale)
