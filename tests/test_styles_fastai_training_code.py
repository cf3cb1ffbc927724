"""Callbacks as fastai's users have them in their notebooks, run as they are on our loop."""

import math

import pytest
import torch
from small_fastai import learner as tiny
from small_fastai import quiet
from torch import nn

from steppers.styles.fastai import Adam
from steppers.styles.fastai.training import (
    AvgMetric,
    Callback,
    CancelBatchException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    Learner,
    ParamScheduler,
    Recorder,
    SchedCos,
    SchedLin,
    TrainEvalCallback,
    combine_scheds,
)


def weights(learn):
    return [p.detach().clone() for p in learn.model.parameters()]


class Accumulation(Callback):
    """Steps when `n_acc` items have gone by."""

    order, run_valid = Recorder.order - 4, False

    def __init__(self, n_acc=32):
        self.n_acc = n_acc

    def before_fit(self):
        self.count = 0

    def after_loss(self):
        self.learn.loss_grad /= self.n_acc / len(self.learn.yb[0])

    def before_step(self):
        self.count += len(self.learn.yb[0])
        if self.count < self.n_acc:
            raise CancelBatchException
        self.count = 0


def test_accumulated_batches_are_one_large_batch():
    learn, large = quiet(n_trn=4), quiet(n_trn=4)
    x, y = learn.dls.train_ds.tensors
    learn.dls = type("D", (), {"train": list(zip(x.split(16), y.split(16), strict=True)),
                               "valid": None})()  # fmt: skip
    large.dls = type("D", (), {"train": list(zip(x.split(32), y.split(32), strict=True)),
                               "valid": None})()  # fmt: skip
    large.model.load_state_dict(learn.model.state_dict())
    learn.fit(2, cbs=Accumulation(32))
    large.fit(2)
    for one, other in zip(weights(learn), weights(large), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert len(learn.recorder.losses) == 8


class Scaled(Callback):
    """Mixed precision's order of events: scale, unscale, leave a step out, update."""

    order = 10

    def __init__(self):
        self.steps, self.left_out = 0, 0

    @property
    def param_groups(self):
        return self.opt.param_groups

    def before_fit(self):
        self.learn.scale = 8.0

    def before_backward(self):
        self.learn.loss_grad = self.loss_grad * self.learn.scale

    def before_step(self):
        self.skipped = self.train_iter == 1
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.div_(self.scale)
        if self.skipped:
            raise CancelStepException

    def after_cancel_step(self):
        self.left_out += 1

    def after_step(self):
        self.steps += 1


def test_a_loss_is_scaled_for_the_backward_pass_alone():
    learn, cb = tiny([TrainEvalCallback(), Recorder()]), Scaled()
    plain = tiny([TrainEvalCallback(), Recorder()])
    learn.fit(1, cbs=cb)

    def skip_second(self):
        if self.train_iter == 1:
            raise CancelStepException

    plain.fit(1, cbs=Callback(before_step=skip_second))
    assert (cb.steps, cb.left_out) == (2, 1) and learn.scale == 8.0
    assert torch.allclose(learn.model.weight, plain.model.weight)
    assert learn.recorder.losses == plain.recorder.losses


class Mixes(Callback):
    """Mixup with a loss function that it puts in for the training pass."""

    run_valid = False

    def before_train(self):
        self.old_lf, self.learn.loss_func = self.learn.loss_func, self.lf

    def after_train(self):
        self.learn.loss_func = self.old_lf

    def before_batch(self):
        order = torch.arange(len(self.y)).flip(0)
        self.lam, self.yb1 = 0.75, tuple(y[order] for y in self.yb)
        self.learn.xb = tuple(torch.lerp(x[order], x, self.lam) for x in self.xb)

    def lf(self, pred, *yb):
        return self.lam * self.old_lf(pred, *yb) + (1 - self.lam) * self.old_lf(pred, *self.yb1)


def test_mixup_replaces_the_loss_function_for_the_training_pass():
    learn = tiny()
    function = learn.loss_func
    out = learn.model(torch.ones(2, 3)).detach()
    logs = out.log_softmax(1)[0]
    learn.fit(1, 0.0, cbs=[Mixes(), cb := Keeps()])
    assert learn.loss_func is function
    wanted = -(logs[0] + logs[1]).item() / 2  # both targets of the pair count the same
    assert cb.losses[0] == pytest.approx(wanted, rel=1e-6)


class Keeps(Callback):
    """Everything of each batch, detached."""

    def before_fit(self):
        self.data = []

    def after_batch(self):
        self.data.append(self.learn.to_detach((self.xb, self.yb, self.pred, self.loss)))

    @property
    def losses(self):
        return [row[3].item() for row in self.data]


def test_batches_are_collected_without_their_graph():
    cb = Keeps()
    tiny().fit(1, cbs=cb)
    assert len(cb.data) == 3 and not any(row[2].requires_grad for row in cb.data)
    assert cb.data[0][0][0].shape == (2, 3) and len(cb.losses) == 3


class ShortEpoch(Callback):
    """Each pass is cut at a share of its batches, when the recorder has the last one."""

    order = 60

    def __init__(self, pct=0.5, short_valid=True):
        self.pct, self.short_valid = pct, short_valid

    def after_batch(self):
        if (self.iter + 1) / self.n_iter < self.pct:
            return
        if self.training:
            raise CancelTrainException
        if self.short_valid:
            raise CancelValidException


def test_short_epochs_go_on_where_schedules_are():
    learn = quiet()
    learn.fit_one_cycle(2, 0.1, cbs=ShortEpoch(0.3))
    assert len(learn.recorder.lrs) == 6 and learn.recorder.iters == [3, 6]
    f = combine_scheds([0.25, 0.75], [SchedCos(0.1 / 25, 0.1), SchedCos(0.1, 1e-6)])
    places = [0, 1, 2, 10, 11, 12]
    assert learn.recorder.lrs == pytest.approx([f(k / 20) for k in places], rel=1e-6)


class Recurrent(Callback):
    """A model that gives its states too: the loss is of the first, with a penalty."""

    def after_pred(self):
        self.out = self.pred[1]
        self.learn.pred = self.pred[0]

    def after_loss(self):
        if self.training:
            self.learn.loss_grad = self.loss_grad + 2.0 * self.out.pow(2).mean()


def test_predictions_of_several_parts_and_a_penalty_on_one():
    class Two(nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            return out, out

    learn = tiny([Recorder()], metrics=AvgMetric(lambda pred, y: pred.sum() * 0 + 1))
    learn.model = Two(3, 2)
    learn.fit(1, cbs=Recurrent())
    assert learn.recorder.values[0][2] == 1.0


class Warmup(Callback):
    """The rate in a line up over the first batches, by the optimizer's own method."""

    def __init__(self, batches, peak):
        self.batches, self.peak = batches, peak

    def before_batch(self):
        if self.training and self.train_iter < self.batches:
            self.opt.set_hyper("lr", self.peak * (self.train_iter + 1) / self.batches)


def test_a_callback_sets_hypers_of_the_optimizer():
    learn = quiet(opt_func=Adam, cbs=Warmup(5, 0.1))
    learn.fit(1, 0.1)
    assert learn.recorder.lrs == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, *[0.1] * 5])
    assert learn.opt.hypers[-1]["lr"] == 0.1


class OwnCounts(Callback):
    """Takes the place of TrainEvalCallback: counts by itself, at half the speed."""

    order = -10
    run_valid = False

    def before_fit(self):
        self.learn.pct_train = 0.0

    def before_train(self):
        self.model.train()
        self.learn.training = True

    def after_batch(self):
        self.learn.pct_train += 0.5 / (self.n_iter * self.n_epoch)


def test_a_callback_may_count_the_share_of_a_fit_itself():
    learn = quiet(cbs=OwnCounts)
    learn.remove_cb(TrainEvalCallback)
    learn.fit(1, cbs=ParamScheduler({"lr": SchedLin(0.0, 1.0)}))
    assert learn.recorder.lrs == pytest.approx([k / 20 for k in range(10)])


class Clip(Callback):
    """Gradients of at most a norm; it reads the model's method through the learner."""

    order = 11

    def before_step(self):
        self.norms.append(float(nn.utils.clip_grad_norm_(self.parameters(), 1e-3)))

    def before_fit(self):
        self.norms = []


def test_a_callback_calls_a_method_of_the_model():
    learn, cb = quiet(opt_func=torch.optim.SGD), Clip()
    before = weights(learn)
    learn.fit(1, 1.0, cbs=cb)
    moved = sum((a - b).pow(2).sum() for a, b in zip(before, weights(learn), strict=True))
    assert len(cb.norms) == 10 and 0 < math.sqrt(moved) <= 10e-3 * 1.001


class StopsAt(Callback):
    """Ends the fit at a loss, in the middle of an epoch."""

    order = Recorder.order + 1
    run_valid = False

    def after_batch(self):
        if self.recorder.losses[-1] < self.learn.target:
            self.learn.stopped = len(self.recorder.lrs)
            raise CancelFitException


def test_a_fit_is_ended_by_what_the_recorder_says():
    learn = quiet(cbs=StopsAt)
    learn.target = 5.0
    learn.fit(50, 0.05)
    assert learn.stopped == len(learn.recorder.losses) < 500
    assert learn.recorder.losses[-1] < 5.0 <= min(learn.recorder.losses[:-1])


def test_two_hypers_by_schedules_in_one_fit_and_two_learners_beside_each_other():
    one, two = quiet(lr=0.1), quiet(lr=0.1)
    scheds = {"lr": SchedLin(0.1, 0.0), "mom": [SchedLin(0.9, 0.8)]}
    one.fit(1, cbs=ParamScheduler(scheds))
    two.fit(1)
    assert [*one.recorder.hps] == ["lr", "mom"] and two.recorder.hps == {}
    assert one.recorder.hps["mom"] == pytest.approx([0.9 - 0.01 * k for k in range(10)])
    assert not torch.equal(one.model.a, two.model.a)


def test_a_learner_of_ones_own_overrides_a_fit():
    class Twice(Learner):
        def fit(self, n_epoch, *args, **options):
            super().fit(2 * n_epoch, *args, **options)

    learn = quiet()
    own = Twice(learn.dls, learn.model, learn.loss_func, cbs=[], default_cbs=False)
    own.add_cbs([TrainEvalCallback, Recorder])
    own.logger = lambda row: None
    own.fit(1)
    assert len(own.recorder.values) == 2
