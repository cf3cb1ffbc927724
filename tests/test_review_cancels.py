"""Every cancel at every event of a fit: it ends its own level, or goes through all of them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from steppers.train import events
from steppers.train.learner import Learner

PASS = ["before_epoch", "before_batch", "after_predict", "after_loss"]
ENDS = ["after_batch", "cleanup_batch", "after_epoch", "cleanup_epoch"]
STEP = ["before_backward", "after_backward", "before_step", "after_step"]
WHOLE = ["before_fit", "before_round", *PASS, *STEP, *ENDS, *PASS, *ENDS,
         "after_round", "cleanup_round", "after_fit", "cleanup_fit"]  # fmt: skip
CLEANED = ("fit", "round", "epoch", "batch")
LEVEL = {"Fit": "fit", "Epoch": "round", "Train": "epoch", "Valid": "epoch", "Batch": "batch",
         "Backward": "backward", "Step": "step"}  # fmt: skip


def opened(place):
    """The levels that are open at an event of WHOLE, from the outermost."""
    levels = []
    for before, event in enumerate(WHOLE[: place + 1]):
        when, level = event.split("_", 1)
        last = "cleanup" if level in CLEANED else "after"  # of a level's events
        if when == "before":
            levels.append(level)
        elif when == last and level == levels[-1] and before < place:
            levels.pop()
    return levels


def expect(place, cancel):
    """The events of a fit in which an event of WHOLE cancels, and whether the cancel gets out."""
    levels, validates = opened(place), place > WHOLE.index("cleanup_epoch")
    level, seen = LEVEL[cancel], WHOLE[: place + 1]
    other_pass = level == "epoch" and (cancel == "Valid") != validates
    if level not in levels or other_pass:
        return [*seen, *(f"cleanup_{each}" for each in reversed(levels) if each in CLEANED)], True
    inside = levels[levels.index(level) + 1 :]
    seen += [f"cleanup_{each}" for each in reversed(inside) if each in CLEANED]
    if WHOLE[place] != f"after_{level}":
        seen += [f"after_cancel_{level}", f"after_{level}"]
    last = f"cleanup_{level}" if level in CLEANED else f"after_{level}"
    end = WHOLE.index(last, place)
    return [*seen, *([last] if level in CLEANED else []), *WHOLE[end + 1 :]], False


def data():
    batch = torch.ones(2, 3), torch.tensor([0, 1])
    return SimpleNamespace(train=[batch], valid=[batch])


class Cancels:
    """Writes down every event, and cancels at one of them, by its number."""

    def __init__(self, place, cancel):
        self.seen, self.place, self.cancel = [], place, cancel
        for event in events.EVENTS:
            setattr(self, event, lambda _, event=event: self.see(event))

    def see(self, event):
        self.seen.append(event)
        if len(self.seen) == self.place + 1:
            raise self.cancel


@pytest.mark.parametrize("cancel", LEVEL)
def test_every_cancel_at_every_event_ends_its_level_and_no_other(cancel):
    for place, event in enumerate(WHOLE):
        if event.startswith("cleanup_"):
            continue
        log = Cancels(place, getattr(events, f"Cancel{cancel}")())
        learn = Learner(nn.Linear(3, 2), data(), cbs=log, default_cbs=False)
        expected, out = expect(place, cancel)
        if out:
            with pytest.raises(events.Cancel):
                learn.fit(1)
        else:
            learn.fit(1)
        assert log.seen == expected, event
        assert learn.running == ()
