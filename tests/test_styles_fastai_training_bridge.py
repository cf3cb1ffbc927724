"""fastai's callbacks on our own Learner: what they see, and that they change nothing else."""

from types import SimpleNamespace

import pytest
import torch
from small_fastai import EPOCH, Log
from torch import nn

from steppers.styles.fastai.training import (
    Callback,
    CancelBatchException,
    CSVLogger,
    EarlyStoppingCallback,
    ParamScheduler,
    SaveModelCallback,
    SchedLin,
    bridged,
)
from steppers.train import CancelFit, ClipGradients, Learner, accuracy


def batches(count, seed):
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 8, 3, generator=made)
    return [(each, each.sum(1).gt(0).long()) for each in x]


def ours(*cbs, train=2, valid=1, **options):
    torch.manual_seed(0)
    dls = SimpleNamespace(train=batches(train, 0), valid=batches(valid, 1))
    options = {"opt_func": torch.optim.SGD, "lr": 0.1, "progress": "silent", **options}
    return Learner(nn.Linear(3, 2), dls, cbs=bridged(*cbs), **options)


def test_the_events_are_fastais():
    log = Log()
    ours(log).fit(2)
    assert log.seen == ["after_create", "before_fit", *EPOCH, *EPOCH, "after_fit"]
    log = Log(6, CancelBatchException())
    ours(log).fit(1)
    assert log.seen[6:9] == ["after_loss", "after_cancel_batch", "after_batch"]


def test_it_trains_as_without_them():
    bare, full = ours(), ours(Log(), Callback(after_loss=lambda self: None))
    bare.set_cbs([cb for cb in bare.cbs if cb.__class__.__module__.startswith("steppers.train")])
    bare.fit(3)
    full.fit(3)
    assert torch.equal(bare.model.weight, full.model.weight)
    assert bare.recorder.losses == full.recorder.losses
    assert bare.scores == full.scores


def test_a_callback_reads_fastais_names():
    class Reads(Callback):
        order = 60

        def before_fit(self):
            assert (self.n_epoch, self.lr, self.epoch) == (2, 0.1, 0)
            self.rows = []

        def before_batch(self):
            assert len(self.xb) == len(self.yb) == 1 and self.x.shape == (8, 3)

        def after_batch(self):
            if self.training:
                self.rows.append((self.train_iter, self.pct_train, self.n_iter))
                assert self.recorder.lrs[-1] == 0.1 and self.smooth_loss > 0

        def after_validate(self):
            assert self.learn.model is learn.model and self.in_features == 3

    cb = Reads()
    learn = ours(cb)
    learn.fit(2)
    assert cb.rows == [(1, 0.25, 2), (2, 0.5, 2), (3, 0.75, 2), (4, 1.0, 2)]


def test_a_callback_sets_batch_prediction_and_loss():
    class Changes(Callback):
        def before_batch(self):
            self.learn.xb, self.learn.yb = (self.x * 0,), (self.y * 0,)

        def after_loss(self):
            if self.training:
                self.learn.loss_grad *= 0
                self.learn.marked = self.loss.item()

    learn = ours(Changes())
    before = learn.model.weight.detach().clone()
    learn.fit(1)
    assert torch.equal(learn.model.weight, before) and learn.marked > 0


def test_setting_a_name_of_the_learner_warns():
    class Sets(Callback):
        def before_train(self):
            self.dl = []

    with pytest.warns(UserWarning, match="Sets sets dl"):
        ours(Sets()).fit(1)


def test_an_error_inside_a_property_is_not_hidden():
    class Bad(Callback):
        @property
        def lr(self):
            return self.learn.there_is_no_such

        def before_fit(self):
            self.lr  # noqa: B018

    with pytest.raises(AttributeError, match="there_is_no_such"):
        ours(Bad()).fit(1)


def test_schedules_trackers_and_files_work_on_our_learner(tmp_path):
    class Here(Callback):
        order = -50

        def before_fit(self):
            self.learn.path = tmp_path

    scheduler = ParamScheduler({"lr": SchedLin(0.1, 0.0)})
    save, stop = SaveModelCallback("accuracy"), EarlyStoppingCallback(min_delta=100.0, patience=2)
    learn = ours(Here(), scheduler, save, stop, CSVLogger(), metrics=[accuracy])
    learn.fit(5)
    assert scheduler.hps["lr"][:4] == pytest.approx([0.1, 0.09, 0.08, 0.07])
    assert len(learn.recorder.rows) == 3  # epoch 0 is better than nothing; then two that are not
    assert torch.load(tmp_path / "models" / "model.pth", weights_only=True)
    assert (
        (tmp_path / "history.csv")
        .read_text()
        .splitlines()[0]
        .startswith("epoch,train_loss,valid_loss,accuracy")
    )
    values = save.recorder.values
    assert values[-1][1] == pytest.approx(learn.recorder.rows[-1]["valid_loss"], rel=1e-5)
    assert values[-1][2] == pytest.approx(learn.recorder.rows[-1]["accuracy"])


def test_our_validation_and_our_search_run_them_too():
    log = Log()
    learn = ours(log, train=20)
    learn.validate()
    assert log.seen == ["after_create", "before_validate", "before_batch", "after_pred",
                        "after_loss", "after_batch", "after_validate"]  # fmt: skip
    learn.lr_find(num_it=20, stop_div=False)
    assert log.seen[7] == "before_fit" and log.seen.count("after_step") >= 19


def test_orders_hold_between_ours_and_theirs():
    seen = []

    class Ours:
        order = 5

        def before_step(self, learn):
            seen.append("ours")

    class Theirs(Callback):
        def before_step(self):
            seen.append(self.order)

    first, last = Theirs(), Theirs()
    first.order, last.order = -3, 8
    learn = ours(first, last, train=1)
    learn.fit(1, cbs=[Ours(), ClipGradients(1.0)])
    assert seen == [-3, "ours", 8]


def test_a_fit_that_our_callback_ends_resets_run():
    class Off(Callback):
        def before_fit(self):
            self.run = False

    class Ends:
        def before_round(self, learn):
            raise CancelFit

    cb = Off()
    learn = ours(cb)
    learn.fit(1, cbs=Ends())
    assert cb.run


def test_what_is_no_callback_of_fastais_is_an_error():
    with pytest.raises(TypeError, match="wants callbacks of fastai's style"):
        bridged(ClipGradients(1.0))
    with pytest.raises(AttributeError, match="see nothing before the first fit"):
        bridged(Callback())[1].cb.learn.xb  # noqa: B018
