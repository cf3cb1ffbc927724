"""fastai's events in their order, and every cancel at every event, on our loop."""

import contextlib

import pytest
import torch
from small_fastai import BATCH_T, EPOCH, VALID, Log, learner

from steppers import train
from steppers.styles.fastai import training
from steppers.styles.fastai.training import (
    EVENTS,
    Callback,
    CancelBatchException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)

CANCELS = {
    "batch": "CancelBatchException",
    "train": "CancelTrainException",
    "validate": "CancelValidException",
    "epoch": "CancelEpochException",
    "fit": "CancelFitException",
    "step": "CancelStepException",
    "backward": "CancelBackwardException",
}


def test_there_are_24_events():
    assert len(set(EVENTS)) == len(EVENTS) == 24


@pytest.mark.parametrize("default_cbs", [False, True])
def test_events_come_in_fastais_order(default_cbs, capsys):
    log = Log()
    learner(default_cbs=default_cbs).fit(2, cbs=log)
    assert log.seen == ["before_fit", *EPOCH, *EPOCH, "after_fit"]


def test_after_create_comes_once_when_the_learner_is_made():
    log = Log()
    learn = learner(cbs=log)
    assert log.seen == ["after_create"]
    learn.fit(1)
    assert log.seen == ["after_create", "before_fit", *EPOCH, "after_fit"]


class Reference:
    """The events of a fit of one epoch by the words of fastai's documentation."""

    def __init__(self, place, cancel, finally_after):
        self.seen, self.place, self.cancel = [], place, cancel
        self.finally_after = finally_after

    def say(self, event):
        self.seen.append(event)
        if len(self.seen) == self.place + 1:
            raise self.cancel

    def level(self, name, body):
        """A level between its events; its own cancel ends it."""
        done = False
        try:
            try:
                self.say(f"before_{name}")
                body()
            except getattr(training, CANCELS[name]):
                self.say(f"after_cancel_{name}")
            done = True
        finally:
            if done or self.finally_after:
                self.say(f"after_{name}")

    def batch(self, training):
        def body():
            self.say("after_pred")
            self.say("after_loss")
            if training:
                self.level("backward", lambda: None)
                self.level("step", lambda: None)

        self.level("batch", body)

    def epoch(self):
        self.level("train", lambda: [self.batch(True), self.batch(True)])
        self.level("validate", lambda: self.batch(False))

    def fit(self):
        with contextlib.suppress(type(self.cancel)):
            self.level("fit", lambda: self.level("epoch", self.epoch))
            return self.seen, False
        return self.seen, True


@pytest.mark.parametrize("finally_after", [False, True])
@pytest.mark.parametrize("name", CANCELS.values())
def test_every_cancel_at_every_event(name, finally_after):
    learn = learner(finally_after=finally_after)
    for place in range(2 + len(EPOCH)):
        cancel = getattr(training, name)()
        expected, escapes = Reference(place, cancel, finally_after).fit()
        log = Log(place, cancel)
        outcome = pytest.raises(type(cancel)) if escapes else contextlib.nullcontext()
        with outcome:
            learn.fit(1, cbs=log)
        assert log.seen == expected, log.seen[place]
        assert learn.running == ()


def test_a_cancelled_batch_and_a_cancelled_step_have_their_two_events():
    log = Log(4, CancelBatchException())  # at after_pred of the first batch
    learner().fit(1, cbs=[log, Callback(before_step=no_step)])
    first = ["before_batch", "after_pred", "after_cancel_batch", "after_batch"]
    second = [*BATCH_T[:6], "after_cancel_step", "after_step", "after_batch"]
    assert log.seen == ["before_fit", "before_epoch", "before_train", *first, *second,
                        "after_train", *VALID, "after_epoch", "after_fit"]  # fmt: skip


def no_step(self):
    raise CancelStepException


def test_an_outer_cancel_passes_the_after_events_of_the_levels_inside():
    log = Log(5, CancelFitException())  # at after_loss of the first batch
    learner().fit(3, cbs=log)
    assert log.seen == ["before_fit", "before_epoch", "before_train", "before_batch", "after_pred",
                        "after_loss", "after_cancel_fit", "after_fit"]  # fmt: skip


def test_in_fastai_of_2020_the_levels_inside_still_ended():
    log = Log(5, CancelFitException())
    learner(finally_after=True).fit(3, cbs=log)
    assert log.seen[6:] == ["after_batch", "after_train", "after_epoch", "after_cancel_fit",
                            "after_fit"]  # fmt: skip


def test_a_cancelled_step_keeps_the_weights_and_drops_the_gradients():
    learn = learner(Callback(before_step=no_step))
    before = learn.model.weight.detach().clone()
    learn.fit(1)
    assert torch.equal(learn.model.weight, before) and learn.model.weight.grad is None


def test_our_cancels_are_theirs():
    assert CancelTrainException is train.CancelTrain
    assert CancelValidException is train.CancelValid
