"""Mixed precision, gradient accumulation and clipping, alone and together."""

import math

import pytest
import torch
from small_fits import At, batches, make, throw
from torch import nn

import steppers
from steppers.train.callbacks.accumulation import GradientAccumulation
from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.callbacks.clipping import ClipGradients
from steppers.train.callbacks.precision import MixedPrecision
from steppers.train.events import (
    Callback,
    CancelBackward,
    CancelBatch,
    CancelFit,
    CancelStep,
    CancelTrain,
)


def weights(learn):
    return [p.detach().clone() for p in learn.model.parameters()]


def plain_net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def doubled(found):
    return [(x.double(), y) for x, y in found]


def autocasting():
    return torch.is_autocast_enabled("cpu")


# --- mixed precision -----------------------------------------------------------------------------


class Dtypes(Callback):
    """What the layers and the loss see in each pass."""

    order = 5

    def __init__(self):
        self.layer, self.preds, self.loss, self.inside = set(), set(), set(), set()

    def before_fit(self, learn):
        learn.model[0].register_forward_hook(lambda m, x, out: self.layer.add(out.dtype))

    def after_loss(self, learn):
        self.preds.add(learn.preds.dtype)
        self.loss.add(learn.loss.dtype)
        self.inside.add(autocasting())

    def before_backward(self, learn):
        assert not autocasting()


@pytest.mark.parametrize("name", ["bfloat16", "float16", torch.bfloat16, torch.float16])
def test_layers_run_in_half_and_the_rest_in_float32(name):
    seen = Dtypes()
    learn = make(MixedPrecision(name), seen, valid=2)
    learn.fit(1)
    assert seen.layer == {getattr(torch, name) if isinstance(name, str) else name}
    assert seen.preds == seen.loss == {torch.float32}
    assert seen.inside == {True}
    assert {p.dtype for p in learn.model.parameters()} == {torch.float32}
    assert not autocasting()


def test_bfloat16_is_a_loop_under_autocast():
    learn = make(MixedPrecision())
    learn.fit(1)
    other = make()
    for x, y in other.dls.train:
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(other.model(x).float(), y)
        loss.backward()
        other.opt.step()
        other.opt.zero_grad()
    for one, two in zip(weights(learn), weights(other), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("opt_func", [torch.optim.SGD, steppers.AdamW])
def test_float16_is_a_loop_with_a_grad_scaler(opt_func):
    mixed = MixedPrecision("float16", init_scale=512.0, growth_interval=3)
    learn = make(mixed, opt_func=opt_func)
    learn.fit(1)
    other = make(opt_func=opt_func)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0, growth_interval=3)
    for x, y in other.dls.train:
        with torch.autocast("cpu", torch.float16):
            loss = nn.functional.cross_entropy(other.model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.step(other.opt)
        scaler.update()
        other.opt.zero_grad()
    for one, two in zip(weights(learn), weights(other), strict=True):
        assert torch.equal(one, two)
    assert mixed.scaler.get_scale() == scaler.get_scale() == 512 * 2**3
    assert learn.loss.item() < 3  # what is reported is not scaled


def test_an_overflow_leaves_the_step_out_and_halves_the_scale():
    def overflow(learn):
        learn.model[0].weight.grad.fill_(math.inf)

    seen = []
    mixed = MixedPrecision("float16", init_scale=512.0)
    keep = At("before_batch", 3, lambda learn: seen.append(weights(learn)))
    keep_after = At("after_step", 3, lambda learn: seen.append(weights(learn)))
    learn = make(mixed, At("after_backward", 3, overflow), keep, keep_after)
    learn.fit(1)
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    assert mixed.scaler.get_scale() == 256


CANCELS = ["after_predict", "after_loss", "before_backward", "before_step", "after_step"]


@pytest.mark.parametrize("event", ["before_batch", *CANCELS])
@pytest.mark.parametrize("error", [CancelBatch, CancelFit, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("order", [0, 50])
def test_autocast_is_closed_however_a_batch_ends(event, error, order):
    mixed = MixedPrecision("float16", init_scale=512.0)
    learn, cut = make(mixed), At(event, 2, throw(error()), order)
    if issubclass(error, CancelBatch | CancelFit):
        learn.fit(1, cbs=cut)
    else:
        with pytest.raises(error):
            learn.fit(1, cbs=cut)
    assert not autocasting()
    learn.fit(1)  # the scaler is ready for the next step
    assert all(torch.isfinite(w).all() for w in weights(learn))


def test_a_cancelled_step_keeps_the_scaler_going():
    mixed = MixedPrecision("float16", init_scale=512.0, growth_interval=1000)
    learn = make(mixed, ClipGradients(1.0), At("before_step", 2, throw(CancelStep()), 50))
    learn.fit(1)
    assert mixed.scaler.get_scale() == 512


@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_gradients_kept_by_a_late_cancel_have_the_scale_of_those_to_come(scale):
    """A batch cancelled after unscaling adds its gradient to the next one's."""
    cbs = [At("before_step", 0, throw(CancelBatch()), 50)]
    learn = make(
        MixedPrecision("float16", init_scale=scale), *cbs, train=2, opt_func=torch.optim.SGD
    )
    other = make(MixedPrecision("bfloat16"), *cbs, train=2, opt_func=torch.optim.SGD)
    learn.fit(1)
    other.fit(1)
    for one, two in zip(weights(learn), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=2e-2, atol=2e-3)


def test_a_batch_without_gradients_makes_a_plain_step():
    learn = make(MixedPrecision("float16"), At("before_backward", 0, throw(CancelBackward())))
    learn.fit(1)
    assert all(torch.isfinite(w).all() for w in weights(learn))


def test_validate_and_get_preds_work_before_any_fit():
    learn = make(MixedPrecision("float16"), valid=2)
    preds, _ = learn.get_preds()
    assert preds.dtype == torch.float32


def test_nested_outputs_come_in_float32_too():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return {"logits": self.layer(x), "rest": [self.layer(x), 3]}

    learn = make(MixedPrecision(), loss_func=lambda p, y: p["logits"].mean())
    learn.model, learn.layers = Two(), None
    learn.fit(1)
    assert learn.preds["logits"].dtype == learn.preds["rest"][0].dtype == torch.float32
    assert learn.preds["rest"][1] == 3


class OtherStep(Callback):
    def step(self, learn):
        learn.opt.step()


def test_bfloat16_leaves_the_step_to_another_callback():
    make(MixedPrecision("bfloat16"), OtherStep()).fit(1)
    with pytest.raises(TypeError, match="both have step"):
        make(MixedPrecision("float16"), OtherStep())


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"dtype": "float32"}, ValueError, "got 'float32'"),
        ({"dtype": torch.float64}, ValueError, "got torch.float64"),
        ({"init_scale": 0.0}, ValueError, "init_scale must be > 0"),
        ({"growth_interval": 0}, ValueError, "growth_interval >= 1"),
        ({"device": "meta"}, RuntimeError, "no autocast for device 'meta'"),
    ],
)
def test_options_of_mixed_precision_that_cannot_be(options, error, says):
    with pytest.raises(error, match=says):
        MixedPrecision(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_an_error():
    with pytest.raises(RuntimeError, match="no autocast for device 'cuda'"):
        MixedPrecision(device="cuda")


# --- accumulation --------------------------------------------------------------------------------


def by_hand(found, opt, model, n):
    """A step for every n batches, as one batch."""
    for start in range(0, len(found), n):
        x = torch.cat([x for x, _ in found[start : start + n]])
        y = torch.cat([y for _, y in found[start : start + n]])
        nn.functional.cross_entropy(model(x), y).backward()
        opt.step()
        opt.zero_grad()


SIZES = {
    "even": [8, 8, 8, 8, 8, 8],
    "a group of two at the end": [8, 8, 8, 8, 8],
    "a smaller last batch": [8, 8, 8, 8, 8, 3],
    "all sizes": [5, 8, 1, 2, 9, 4, 7],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("n", [1, 3])
def test_n_batches_are_one_of_all_their_samples(sizes, n):
    whole = batches(1, sum(sizes))[0]
    found = doubled(zip(whole[0].split(sizes), whole[1].split(sizes), strict=True))
    learn = make(GradientAccumulation(n))
    learn.model, learn.dls.train = plain_net(), found
    learn.fit(2)
    model = plain_net()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        by_hand(found, opt, model, n)
    for one, two in zip(weights(learn), model.parameters(), strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=1e-12, atol=1e-14)


class Steps:
    def __init__(self):
        self.at = []

    def after_step(self, learn):
        self.at.append(learn.train_iter)


def test_steps_come_every_n_batches_and_at_the_end_of_a_pass():
    steps = Steps()
    make(GradientAccumulation(4), steps).fit(2)
    assert steps.at == [3, 7, 9, 13, 17, 19]


def test_a_loader_cut_short_by_a_callback_ends_with_a_step():
    class Cut:
        def before_epoch(self, learn):
            learn.dl = list(learn.dl)[:6]

    steps = Steps()
    make(GradientAccumulation(4), Cut(), steps).fit(1)
    assert steps.at == [3, 5]


@pytest.mark.parametrize("error", [CancelTrain, CancelFit, ValueError, KeyboardInterrupt])
def test_a_pass_cut_off_in_a_group_drops_its_gradients(error):
    learn, cut = make(GradientAccumulation(4)), At("after_loss", 5, throw(error()))
    if issubclass(error, CancelTrain | CancelFit):
        learn.fit(1, cbs=cut)
    else:
        with pytest.raises(error):
            learn.fit(1, cbs=cut)
    assert all(p.grad is None for p in learn.model.parameters())
    steps = Steps()
    learn.fit(1, cbs=steps)
    assert steps.at == [3, 7, 9]


def test_a_batch_whose_backward_is_cancelled_does_not_count():
    steps = Steps()
    cancel = At("before_backward", 1, throw(CancelBackward()))
    make(GradientAccumulation(2), cancel, steps).fit(1)
    assert steps.at == [2, 4, 6, 8, 9]


def test_a_resumed_fit_has_the_gradients_of_the_group(tmp_path):
    def fit(*cbs):
        learn = make(GradientAccumulation(4), *cbs, opt_func=steppers.AdamW)
        learn.fit(2)
        return learn

    whole, path = fit(), tmp_path / "fit.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(path, 1), At("before_batch", 6, throw(KeyboardInterrupt())))
    resumed = fit(Checkpoint(path, resume=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


@pytest.mark.parametrize("error", [0, -1, 2.0, "2", True])
def test_a_number_of_batches_that_cannot_be(error):
    with pytest.raises((TypeError, ValueError), match="GradientAccumulation: n must be"):
        GradientAccumulation(error)


# --- clipping ------------------------------------------------------------------------------------


def set_gradients(learn):
    for p in learn.model.parameters():
        p.grad = torch.full_like(p, 0.0)
    learn.model[0].bias.grad[:2] = torch.tensor([3.0, -4.0])


def clipped(*cbs):
    found = []

    class Look:
        order = 30

        def before_step(self, learn):
            found.append(learn.model[0].bias.grad[:2].tolist())

    learn = make(*cbs, At("after_backward", 0, set_gradients), Look(), train=1)
    learn.fit(1)
    return found[0], learn


@pytest.mark.parametrize(
    ("options", "wanted", "norm"),
    [
        ({"max_norm": 1.0}, [0.6, -0.8], 5.0),
        ({"max_norm": 10.0}, [3.0, -4.0], 5.0),
        ({"max_value": 2.0}, [2.0, -2.0], 8**0.5),
        ({"max_norm": math.inf}, [3.0, -4.0], 5.0),
        ({"max_norm": 1.0, "max_value": 3.0}, [0.5**0.5, -(0.5**0.5)], 18**0.5),
        ({"max_norm": 1.0, "norm_type": math.inf}, [0.75, -1.0], 4.0),
    ],
)
def test_gradients_are_clipped_by_value_then_by_norm(options, wanted, norm):
    found, learn = clipped(ClipGradients(**options))
    assert found == pytest.approx(wanted, abs=1e-5)
    assert isinstance(learn.grad_norm, torch.Tensor)
    assert learn.grad_norm.item() == pytest.approx(norm)


def test_scaled_gradients_are_clipped_after_unscaling():
    clip, free = ClipGradients(1e-2), ClipGradients(1e-2)
    learn = make(clip, MixedPrecision("float16", init_scale=1024.0), train=1)
    other = make(free, MixedPrecision("bfloat16"), train=1)
    learn.fit(1)
    other.fit(1)
    assert clip.norm.item() == pytest.approx(free.norm.item(), rel=2e-2)
    assert clip.norm.item() > 1e-2


def test_accumulated_gradients_are_clipped_as_those_of_the_group():
    clip, whole = ClipGradients(1e-3), ClipGradients(1e-3)
    learn = make(clip, GradientAccumulation(10))
    learn.model = plain_net()
    learn.dls.train = doubled(learn.dls.train)
    learn.fit(1)
    other = make(whole)
    other.model = plain_net()
    found = doubled(other.dls.train)
    other.dls.train = [(torch.cat([x for x, _ in found]), torch.cat([y for _, y in found]))]
    other.fit(1)
    assert clip.norm.item() == pytest.approx(whole.norm.item(), rel=1e-12)
    for one, two in zip(weights(learn), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_missing_gradients_have_the_norm_zero():
    clip = ClipGradients(1.0)
    make(clip, At("before_backward", 0, throw(CancelBackward())), train=1).fit(1)
    assert clip.norm.item() == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"max_norm": 0.0}, {"max_norm": -1.0}, {"max_value": math.nan}, {"max_value": 0}],
)
def test_limits_that_cannot_be(options):
    with pytest.raises(ValueError, match="ClipGradients"):
        ClipGradients(**options)


def test_half_precision_accumulation_and_clipping_go_together():
    """As one big batch, up to the rounding of float16."""
    cbs = [MixedPrecision("float16", init_scale=256.0), ClipGradients(0.05)]
    learn = make(GradientAccumulation(5), *cbs)
    learn.model = plain_net().float()
    learn.fit(2)
    other = make(ClipGradients(0.05))
    other.model = plain_net().float()
    other.dls.train = [
        (torch.cat([x for x, _ in part]), torch.cat([y for _, y in part]))
        for part in (other.dls.train[:5], other.dls.train[5:])
    ]
    other.fit(2)
    for one, two in zip(weights(learn), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=3e-5)
