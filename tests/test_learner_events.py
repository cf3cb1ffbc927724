"""The order of events, what each cancel ends, and who does the operations of a batch."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from steppers.train import events
from steppers.train.events import (
    CancelBackward,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    CancelStep,
    CancelTrain,
    CancelValid,
)
from steppers.train.learner import Learner


def data(train=1, valid=1):
    made = torch.Generator().manual_seed(0)
    batch = torch.randn(4, 3, generator=made), torch.tensor([0, 1, 0, 1])
    return SimpleNamespace(train=[batch] * train, valid=[batch] * valid if valid else None)


def learner(cbs=(), dls=None, **options):
    torch.manual_seed(0)
    return Learner(nn.Linear(3, 2), dls or data(), cbs=cbs, default_cbs=False, **options)


class Log:
    """Writes down every event, and raises once where it is told to."""

    def __init__(self, at=None, error=None, training=True):
        self.seen, self.at, self.error, self.training = [], at, error, training
        for event in events.EVENTS:
            setattr(self, event, lambda learn, event=event: self.see(event, learn))

    def see(self, event, learn):
        self.seen.append(event)
        outside = event.endswith(("_fit", "_round"))
        if event == self.at and self.error and (outside or learn.training is self.training):
            error, self.error = self.error, None
            raise error


# fmt: off
TRAIN_BATCH = ["before_batch", "after_predict", "after_loss", "before_backward", "after_backward",
               "before_step", "after_step", "after_batch", "cleanup_batch"]
VALID_BATCH = ["before_batch", "after_predict", "after_loss", "after_batch", "cleanup_batch"]
TRAIN = ["before_epoch", *TRAIN_BATCH, "after_epoch", "cleanup_epoch"]
VALID = ["before_epoch", *VALID_BATCH, "after_epoch", "cleanup_epoch"]
ROUND = ["before_round", *TRAIN, *VALID, "after_round", "cleanup_round"]
FIT_END, ROUND_END = ["after_fit", "cleanup_fit"], ["after_round", "cleanup_round"]
EPOCH_END, BATCH_END = ["after_epoch", "cleanup_epoch"], ["after_batch", "cleanup_batch"]
TO_BATCH = ["before_fit", "before_round", "before_epoch", "before_batch"]
TO_LOSS = [*TO_BATCH, "after_predict", "after_loss"]
TO_STEP = [*TO_LOSS, "before_backward", "after_backward", "before_step"]
REST = [*VALID, *ROUND_END, *FIT_END]  # after a training pass
# fmt: on


def test_events_come_in_the_order_of_the_docstring():
    log = Log()
    learner(log).fit(2)
    assert log.seen == ["before_fit", *ROUND, *ROUND, "after_fit", "cleanup_fit"]


# fmt: off
CANCELS = [
    ("before_batch", CancelBatch,
     [*TO_BATCH, "after_cancel_batch", *BATCH_END, *EPOCH_END, *REST]),
    ("after_loss", CancelBatch,
     [*TO_LOSS, "after_cancel_batch", *BATCH_END, *EPOCH_END, *REST]),
    ("before_step", CancelBatch,
     [*TO_STEP, "after_cancel_batch", *BATCH_END, *EPOCH_END, *REST]),
    ("after_batch", CancelBatch,
     [*TO_STEP, "after_step", *BATCH_END, *EPOCH_END, *REST]),
    ("before_backward", CancelBackward,
     [*TO_LOSS, "before_backward", "after_cancel_backward", "after_backward", "before_step",
      "after_step", *BATCH_END, *EPOCH_END, *REST]),
    ("before_step", CancelStep,
     [*TO_STEP, "after_cancel_step", "after_step", *BATCH_END, *EPOCH_END, *REST]),
    ("after_loss", CancelTrain,
     [*TO_LOSS, "cleanup_batch", "after_cancel_epoch", *EPOCH_END, *REST]),
    ("before_epoch", CancelTrain,
     [*TO_BATCH[:3], "after_cancel_epoch", *EPOCH_END, *REST]),
    ("after_epoch", CancelTrain,
     [*TO_STEP, "after_step", *BATCH_END, *EPOCH_END, *REST]),
    ("before_step", CancelEpoch,
     [*TO_STEP, "cleanup_batch", "cleanup_epoch", "after_cancel_round", *ROUND_END, *FIT_END]),
    ("before_round", CancelEpoch,
     [*TO_BATCH[:2], "after_cancel_round", *ROUND_END, *FIT_END]),
    ("after_predict", CancelFit,
     [*TO_BATCH, "after_predict", "cleanup_batch", "cleanup_epoch", "cleanup_round",
      "after_cancel_fit", *FIT_END]),
    ("before_fit", CancelFit,
     ["before_fit", "after_cancel_fit", *FIT_END]),
]
# fmt: on


@pytest.mark.parametrize(
    ("at", "error", "expected"), CANCELS, ids=[f"{row[0]}-{row[1].__name__}" for row in CANCELS]
)
def test_a_cancel_ends_its_own_level(at, error, expected):
    log = Log(at, error())
    learner(log).fit(1)
    assert log.seen == expected


def test_a_validation_is_cancelled_alone():
    log = Log("after_loss", CancelValid(), training=False)
    learner(log).fit(1)
    valid = ["before_epoch", *VALID_BATCH[:3], "cleanup_batch", "after_cancel_epoch", *EPOCH_END]
    assert log.seen == ["before_fit", "before_round", *TRAIN, *valid, *ROUND_END, *FIT_END]


@pytest.mark.parametrize(
    ("at", "error"),
    [("before_fit", CancelBatch), ("before_batch", CancelValid), ("before_epoch", CancelStep),
     ("after_fit", CancelTrain), ("before_round", ValueError), ("after_step", KeyboardInterrupt)],
)  # fmt: skip
def test_what_a_level_does_not_know_goes_through_and_everything_is_cleaned_up(at, error):
    log = Log(at, error())
    with pytest.raises(error):
        learner(log).fit(1)
    opened = [event.removeprefix("before_") for event in log.seen if event.startswith("before_")]
    cleaned = [event.removeprefix("cleanup_") for event in log.seen if event.startswith("cleanup_")]
    assert cleaned == [name for name in reversed(opened) if name in events.LEVELS[:4]]


def test_a_cancelled_step_moves_nothing_and_drops_the_gradients():
    learn = learner(Log("before_step", CancelStep()))
    before = learn.model.weight.detach().clone()
    learn.fit(1)
    assert torch.equal(learn.model.weight, before) and learn.model.weight.grad is None


def test_a_batch_cancelled_before_the_step_keeps_its_gradients():
    learn = learner(Log("before_step", CancelBatch()))
    before = learn.model.weight.detach().clone()
    learn.fit(1)
    assert torch.equal(learn.model.weight, before) and learn.model.weight.grad.norm() > 0


def test_callbacks_run_by_order_and_equal_ones_as_given():
    seen = []

    class Named:
        def __init__(self, name, order=0):
            self.name, self.order = name, order

        def before_fit(self, learn):
            seen.append(self.name)

    learner([Named("c", 5), Named("a"), Named("b"), Named("first", -1)]).fit(0)
    assert seen == ["first", "a", "b", "c"]


def test_callbacks_of_a_fit_are_there_for_that_fit_alone():
    log = Log()
    learn = learner()
    learn.fit(1, cbs=log)
    count = len(log.seen)
    learn.fit(1)
    assert count > 0 and len(log.seen) == count and log not in learn.cbs


def test_an_error_in_a_callback_names_the_callback_and_the_event():
    class Wrong:
        def after_loss(self, learn):
            raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no") as caught:
        learner(Wrong()).fit(1)
    notes = getattr(caught.value, "__notes__", ["in Wrong.after_loss"])  # Python 3.11 and later
    assert notes == ["in Wrong.after_loss"]


def test_the_counts_that_callbacks_read():
    seen = []

    class Counts:
        def before_batch(self, learn):
            if learn.training:
                seen.append((learn.epoch, learn.iter, learn.train_iter, learn.progress))

    learner(Counts(), data(train=2)).fit(2)
    assert seen == [(0, 0, 0, 0.0), (0, 1, 1, 0.25), (1, 0, 2, 0.5), (1, 1, 3, 0.75)]


def test_a_start_epoch_keeps_the_place_in_the_schedule():
    seen = []

    class Counts:
        def before_batch(self, learn):
            if learn.training:
                seen.append(learn.progress)

    learner(Counts(), data(train=2)).fit(2, start_epoch=1)
    assert seen == [0.5, 0.75]


class WritesItsOwn(events.Callback):
    """Operations as a course's callback has them."""

    def __init__(self):
        self.done = []

    def predict(self, learn):
        learn.preds = learn.model(learn.batch[0])
        self.done.append("predict")

    def get_loss(self, learn):
        learn.loss = learn.loss_func(learn.preds, learn.batch[1])

    def backward(self, learn):
        learn.loss.backward()

    def step(self, learn):
        learn.opt.step()

    def zero_grad(self, learn):
        learn.opt.zero_grad()


def test_a_callbacks_operations_take_the_place_of_the_defaults():
    one, two = learner(), learner(own := WritesItsOwn())
    one.fit(3)
    two.fit(3)
    assert own.done == ["predict"] * 6
    assert torch.equal(one.model.weight, two.model.weight)


def test_two_callbacks_with_one_operation_are_an_error():
    with pytest.raises(TypeError, match=r"WritesItsOwn and WritesItsOwn both have predict\(\)"):
        learner([WritesItsOwn(), WritesItsOwn()])


class NoEvents:
    def after_everything(self, learn):
        pass


@pytest.mark.parametrize(
    ("cb", "words"),
    [(Log, "a callback must be an instance: Log()"),
     (NoEvents(), "NoEvents has no method for any event; there are before_fit"),
     (len, "has no method for any event"),
     (torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD([torch.ones(1)])),
      "ConstantLR has no method for any event")],
    ids=["class", "unknown events", "function", "torch scheduler"],
)  # fmt: skip
def test_what_is_no_callback_is_a_type_error(cb, words):
    with pytest.raises(TypeError) as caught:
        learner([cb])
    assert words in str(caught.value)


def test_every_callback_cleans_up_even_if_another_fails_to():
    cleaned = []

    class Cleans:
        def cleanup_fit(self, learn):
            cleaned.append(True)

    class Fails:
        def cleanup_fit(self, learn):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        learner([Cleans(), Fails(), Cleans()]).fit(1)
    assert cleaned == [True, True]
