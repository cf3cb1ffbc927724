"""All the callbacks in one fit: with the default ones, resumed, and on a GPU."""

import pytest
import torch
from small_fits import At, make, throw

import steppers
from steppers.train.callbacks.accumulation import GradientAccumulation
from steppers.train.callbacks.activations import ActivationStats
from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.callbacks.clipping import ClipGradients
from steppers.train.callbacks.device import Device
from steppers.train.callbacks.ema import EMA
from steppers.train.callbacks.mixup import MixUp
from steppers.train.callbacks.precision import MixedPrecision
from steppers.train.callbacks.updates import UpdateStats
from steppers.train.losses import LabelSmoothing


def everything(device):
    return [
        *(UpdateStats(2), EMA(0.9), ClipGradients(1.0), GradientAccumulation(3), ActivationStats()),
        *(MixedPrecision("float16", init_scale=256.0, growth_interval=2), MixUp(), Device(device)),
    ]


def fit(*cbs, device="cpu", epochs=2):
    cbs = [*everything(device), *cbs]
    learn = make(*cbs, opt_func=steppers.AdamW, lr=1e-2, valid=2, loss_func=LabelSmoothing())
    torch.manual_seed(3)
    learn.fit_one_cycle(epochs)
    return learn


def state(learn):
    found = {name: value.cpu() for name, value in learn.model.state_dict().items()}
    ema = next(cb for cb in learn.cbs if isinstance(cb, EMA))
    return {**found, **{f"average of {name}": v.cpu() for name, v in ema.average.items()}}


@pytest.mark.parametrize("at", [4, 8, 10, 15])
def test_a_resumed_fit_ends_with_the_bits_of_one_uninterrupted(at, tmp_path):
    whole, path = fit(), tmp_path / "fit.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(path, 1), At("before_batch", at, throw(KeyboardInterrupt())))
    resumed = fit(Checkpoint(path, resume=True))
    one, two = state(whole), state(resumed)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_they_learn_together():
    learn = fit(epochs=8)
    preds, targets = learn.get_preds()
    assert (preds.argmax(1) == targets).float().mean() > 0.8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_they_run_on_a_gpu():
    learn = fit(device="cuda")
    assert all(p.is_cuda and p.isfinite().all() for p in learn.model.parameters())
    stats = next(cb for cb in learn.cbs if isinstance(cb, ActivationStats))
    assert {len(row) for row in stats.means.values()} == {20}
    assert learn.grad_norm.is_cuda
