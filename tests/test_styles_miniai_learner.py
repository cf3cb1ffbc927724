"""miniai's Learners, and callbacks as users wrote them, on them and on steppers' Learner."""

import math
from functools import partial

import pytest
import torch
from miniai_fits import EVERYWHERE, PASSES, Counted, Log, batches, by_hand, data, make, net, same
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR

import steppers
from steppers.styles.miniai import (
    SGD,
    Callback,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    DataLoaders,
    Learner,
    Momentum,
    MomentumLearner,
    RecorderCB,
    TrainCB,
    TrainLearner,
    run_cbs,
)

# --- the loop -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TrainLearner, Learner])
def test_it_trains_as_a_loop_written_by_hand(kind):
    learn = make(*([TrainCB()] if kind is Learner else []), kind=kind)
    learn.fit(2)
    assert same(learn.model, by_hand())


def test_the_defaults_are_torchs_sgd_at_a_tenth_and_mse():
    learn = TrainLearner(nn.Linear(1, 1), data())
    learn.ready()
    assert type(learn.opt) is torch.optim.SGD and learn.opt.param_groups[0]["lr"] == 0.1
    assert learn.loss_func is F.mse_loss


def logged(at=None, error=None, epochs=1, training=True):
    log = Log(at, error, training)
    make(log, dls=data(1, 1)).fit(epochs)
    return log.seen


def test_an_epoch_is_one_pass():
    assert logged(epochs=2) == ["before_fit", *PASSES, *PASSES, "after_fit", "cleanup_fit"]


def test_a_cancelled_batch_has_no_after_batch():
    one = ["before_batch", "after_predict", "after_loss", "cleanup_batch"]
    rest = ["after_epoch", "cleanup_epoch", *PASSES[10:], "after_fit", "cleanup_fit"]
    assert logged("after_loss", CancelBatchException) == ["before_fit", "before_epoch", *one, *rest]


@pytest.mark.parametrize("training", [True, False])
def test_a_cancelled_epoch_is_the_pass_that_runs(training):
    one = ["before_epoch", "before_batch", "after_predict", "cleanup_batch", "cleanup_epoch"]
    passes = [*one, *PASSES[10:]] if training else [*PASSES[:10], *one]
    found = logged("after_predict", CancelEpochException, training=training)
    assert found == ["before_fit", *passes, "after_fit", "cleanup_fit"]


def test_a_cancelled_fit_has_no_after_event_at_all():
    one = ["before_epoch", "before_batch", "after_predict", "cleanup_batch", "cleanup_epoch"]
    found = logged("after_predict", CancelFitException, epochs=3)
    assert found == ["before_fit", *one, "cleanup_fit"]


def test_each_fit_has_a_new_optimizer_unless_told():
    learn = make(opt_func=Momentum)
    learn.fit(1)
    first = learn.opt
    learn.fit(1)
    assert learn.opt is not first
    second = learn.opt
    learn.fit(1, reset_opt=False)
    assert learn.opt is second and second.i == 10


def test_fit_takes_its_arguments_in_miniais_order():
    log = Log()
    learn = make(dls=data(1, 1))
    learn.fit(1, True, False, [log], 0.5)
    assert log.seen == ["before_fit", *PASSES[:10], "after_fit", "cleanup_fit"]
    assert learn.opt.param_groups[0]["lr"] == 0.5 and log not in learn.cbs


def test_opt_func_gets_parameters_and_rate_by_position():
    given = []

    def opt_func(ps, x):
        given.append((ps, x))
        return torch.optim.SGD(ps, x)

    learn = make(opt_func=opt_func)
    learn.fit(1, lr=0.3)
    (params, rate) = given[0]
    assert [p is q for p, q in zip(params, learn.model.parameters(), strict=True)] == [True] * 4
    assert rate == 0.3 and learn.opt.param_groups[0]["lr"] == 0.3
    assert learn.opt_func is opt_func


def test_callbacks_are_called_by_any_name():
    class Asked(Callback):
        order = 3

        def after_all(self, learn):
            calls.append((self.order, learn))

    class First(Asked):
        order = 1

        def before_fit(self, learn):
            pass

        after_fit = before_fit

    class Second(First):
        order = 2

    calls = []
    learn = make(Second(), First())
    learn.callback("after_all")
    assert calls == [(1, learn), (2, learn)]
    run_cbs([Second(), object()], "after_all", 5)
    assert calls[-1] == (2, 5)


# --- operations ---------------------------------------------------------------------------------


def test_a_users_learner_overrides_its_operations():
    class Own(TrainLearner):
        def predict(self):
            self.preds = self.model(self.batch[0]) * 0 + 1

        def get_loss(self):
            self.loss = F.mse_loss(self.preds[:, 0], self.batch[1].float() * 0)

        def zero_grad(self):
            self.zeroed = True
            super().zero_grad()

    learn = make(kind=Own)
    learn.fit(1)
    assert learn.loss.item() == 1.0 and learn.zeroed


def test_a_callbacks_own_loss_is_differentiated():
    class Halve(Callback):
        def after_loss(self, learn):
            learn.loss = learn.loss * 0.5

    for cbs, kind in (([Halve()], TrainLearner), ([Halve(), TrainCB()], Learner)):
        learn = make(*cbs, kind=kind)
        learn.fit(2, lr=0.2)
        assert same(learn.model, by_hand(lr=0.1))


def test_steppers_own_callbacks_change_what_is_differentiated_too():
    class Halve(Callback):
        def after_loss(self, learn):
            learn.loss_grad = learn.loss_grad * 0.5

    learn = make(Halve())
    learn.fit(2, lr=0.2)
    assert same(learn.model, by_hand(lr=0.1))


@EVERYWHERE
def test_a_users_trainer_callback_and_its_heirs(learner):
    class OwnTrainCB(Callback):
        def __init__(self, n_inp=1):
            self.n_inp = n_inp

        def predict(self, learn):
            learn.preds = learn.model(*learn.batch[: self.n_inp])

        def get_loss(self, learn):
            learn.loss = learn.loss_func(learn.preds, *learn.batch[self.n_inp :])

        def backward(self, learn):
            learn.loss.backward()

        def step(self, learn):
            learn.opt.step()

        def zero_grad(self, learn):
            learn.opt.zero_grad()

    class Half(OwnTrainCB):
        """Mixed precision as the course has it."""

        order = 10

        def before_fit(self, learn):
            self.steps = 0

        def before_batch(self, learn):
            self.autocast = torch.autocast("cpu", dtype=torch.bfloat16)
            self.autocast.__enter__()

        def after_loss(self, learn):
            self.autocast.__exit__(None, None, None)

        def step(self, learn):
            self.steps += 1
            learn.opt.step()

    if learner is make:
        with pytest.raises(TypeError, match=r"predict\(\) of OwnTrainCB would not be called"):
            learner(OwnTrainCB())
        return
    learn = learner(OwnTrainCB())
    learn.fit(2)
    assert same(learn.model, by_hand())
    half = Half()
    learn = learner(half)
    learn.fit(2)
    assert half.steps == 10 and learn.preds.dtype == torch.bfloat16


def test_two_owners_of_the_operations_are_refused():
    class Own(TrainCB):
        pass

    with pytest.raises(TypeError, match="both have"):
        make(TrainCB(), Own(), kind=Learner)


def test_several_inputs():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, a, b):
            return self.net(a + b)

    pairs = [(x, x, y) for x, y in batches(2)]
    learn = Learner(Adds(), DataLoaders(pairs, pairs), F.cross_entropy, cbs=[TrainCB(n_inp=2)])
    learn.fit(1)
    assert math.isfinite(learn.loss.item())


def test_predict_with_inputs_is_the_models():
    learn = make()
    x = batches(1)[0][0]
    assert torch.equal(learn.predict(x), learn.model(x))


def test_momentum_by_keeping_gradients():
    def keep(opt):
        for group in opt.param_groups:
            for p in group["params"]:
                p.grad *= 0.85

    learn = make(kind=MomentumLearner)
    learn.fit(2)
    assert same(learn.model, by_hand(zero=keep))
    assert make(kind=MomentumLearner, mom=0.5).mom == 0.5
    with pytest.raises(ValueError, match="mom must be >= 0"):
        make(kind=MomentumLearner, mom=-1)


# --- callbacks as users wrote them --------------------------------------------------------------


class Device(Callback):
    def before_fit(self, learn):
        learn.model.to("cpu")

    def before_batch(self, learn):
        learn.batch = [part.to("cpu") for part in learn.batch]


class Rates(Callback):
    """A recorder that keeps the group, as in the notebook."""

    def before_fit(self, learn):
        self.lrs, self.pg = [], learn.opt.param_groups[0]

    def after_batch(self, learn):
        if not learn.training:
            return
        self.lrs.append(self.pg["lr"])


class Batchwise(Callback):
    def __init__(self, sched):
        self.sched = sched

    def before_fit(self, learn):
        self.schedo = self.sched(learn.opt)

    def after_batch(self, learn):
        if learn.training:
            self.schedo.step()


class Bars(Callback):
    """Wraps the epochs and the loader, as progress bars do."""

    order = 1

    def before_fit(self, learn):
        learn.epochs = self.outer = Counted(learn.epochs)
        self.inner = 0

    def before_epoch(self, learn):
        learn.dl = Counted(learn.dl)

    def after_epoch(self, learn):
        self.inner += learn.dl.count


class Finder(Callback):
    """The search for a rate as the course wrote it."""

    def before_fit(self, learn):
        self.sched = ExponentialLR(learn.opt, 1.3)
        self.lrs, self.losses, self.min = [], [], math.inf

    def after_batch(self, learn):
        if not learn.training:
            raise CancelEpochException()
        self.lrs.append(learn.opt.param_groups[0]["lr"])
        loss = learn.loss.item()
        self.losses.append(loss)
        if loss < self.min:
            self.min = loss
        if math.isnan(loss) or loss > self.min * 3:
            raise CancelFitException()
        self.sched.step()


@EVERYWHERE
def test_users_callbacks_run_as_they_are(learner):
    rates, bars = Rates(), Bars()
    sched = Batchwise(partial(CosineAnnealingLR, T_max=10))
    learn = learner(Device(), bars, rates, sched)
    learn.fit(2)
    cosine = [0.05 * (1 + math.cos(math.pi * k / 10)) for k in range(1, 10)]
    assert rates.lrs == pytest.approx([0.1, *cosine])
    assert bars.outer.count == 2 and bars.inner == 2 * (5 + 2)


@EVERYWHERE
def test_a_users_rate_finder_ends_the_fit(learner):
    finder = Finder()
    learn = learner(finder, dls=data(60))
    learn.fit(3, lr=1e-3)
    assert 3 < len(finder.lrs) < 180 and finder.lrs[1] == pytest.approx(1.3e-3)
    assert finder.losses[-1] > 3 * finder.min


@EVERYWHERE
def test_a_users_single_batch_ends_the_fit(learner):
    class One(Callback):
        order = 1

        def after_batch(self, learn):
            self.count = getattr(self, "count", 0) + 1
            raise CancelFitException()

    one = One()
    learner(one).fit(3)
    assert one.count == 1


# --- optimizers in both Learners ----------------------------------------------------------------


@EVERYWHERE
@pytest.mark.parametrize("opt_func", [SGD, Momentum, steppers.Lion, torch.optim.AdamW])
def test_any_optimizer_lowers_the_loss(learner, opt_func):
    recorder = RecorderCB(loss=lambda cb: cb.learn.loss.item())
    learn = learner(recorder, opt_func=opt_func, lr=0.3 if opt_func in (SGD, Momentum) else 0.01)
    learn.fit(6)
    losses = recorder.recs["loss"]
    assert len(losses) == 30 and sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize(
    ("fit", "epochs"), [("fit_one_cycle", (2,)), ("fit_flat_cos", (2,)), ("fit_sgdr", (2, 1, 0.1))]
)
def test_fits_with_a_schedule_train_on_miniais_learner_too(fit, epochs):
    seen = RecorderCB(lr=lambda cb: cb.pg["lr"])
    learn = make(seen)
    getattr(learn, fit)(*epochs)
    passes = 3 if fit == "fit_sgdr" else 2  # cycles of 1 and 2 epochs
    assert len(seen.recs["lr"]) == 5 * passes
    assert len(set(seen.recs["lr"])) > 2


def test_a_collection_of_hooks_alone_is_one_callback():
    class Hooks(list, steppers.train.Callback):
        seen = 0

        def after_batch(self, learn):
            self.seen += 1

    hooks = Hooks([1, 2, 3])
    learn = steppers.train.Learner(net(), data(), F.cross_entropy, progress="silent")
    learn.fit(1, cbs=hooks)
    assert hooks.seen > 0
