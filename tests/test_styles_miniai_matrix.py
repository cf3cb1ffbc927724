"""Every event of a fit in miniai's style, and every cancel raised at each of them."""

import pytest
from miniai_fits import Log, data, make

from steppers.styles.miniai import (
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    Learner,
    TrainCB,
    TrainLearner,
)

CANCELS = {
    "fit": CancelFitException,
    "epoch": CancelEpochException,
    "batch": CancelBatchException,
}
EVENTS = [f"{when}_{level}" for when in ("before", "after", "cleanup") for level in CANCELS]
EVENTS += ["after_predict", "after_loss", "after_backward", "after_step"]


class Described:
    """The loop as it is described: before_X, body, after_X unless X is cancelled, cleanup_X."""

    def __init__(self, log):
        self.log, self.training = log, False

    def level(self, name, body):
        try:
            self.log.note(f"before_{name}", self)
            body()
            self.log.note(f"after_{name}", self)
        except CANCELS[name]:
            pass
        finally:
            self.log.note(f"cleanup_{name}", self)

    def batch(self):
        passed = ("predict", "loss", "backward", "step") if self.training else ("predict", "loss")
        for each in passed:
            self.log.note(f"after_{each}", self)

    def batches(self):
        for _ in range(2):
            self.level("batch", self.batch)

    def passes(self):
        for _ in range(2):
            for training in (True, False):
                self.training = training
                self.level("epoch", self.batches)

    def fit(self):
        self.level("fit", self.passes)


def outcome(fit, log):
    """What was seen, and what came out of the fit."""
    try:
        fit()
    except Exception as error:
        return log.seen, type(error)
    return log.seen, None


@pytest.mark.parametrize("kind", [TrainLearner, Learner])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("error", [*CANCELS.values(), ValueError])
@pytest.mark.parametrize("event", EVENTS)
def test_each_cancel_at_each_event_ends_what_is_described(event, error, training, kind):
    wanted = Log(event, error, training)
    described = outcome(Described(wanted).fit, wanted)
    log = Log(event, error, training)
    own = [TrainCB()] if kind is Learner else []
    assert outcome(lambda: make(*own, log, kind=kind, dls=data(2, 2)).fit(2), log) == described


@pytest.mark.parametrize("event", EVENTS)
def test_a_fit_after_an_error_is_as_the_first(event):
    log = Log(event, ValueError, training=True)
    learn = make(log, dls=data(2, 2))
    outcome(lambda: learn.fit(1), log)
    log.at, log.seen = None, []
    learn.fit(1)
    wanted = Log()
    make(wanted, dls=data(2, 2)).fit(1)
    assert log.seen == wanted.seen and learn.running == ()
