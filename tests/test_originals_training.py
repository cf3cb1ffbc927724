"""fastai's Learner itself beside ours: the same losses, rates and weights, and the same events.

`make originals` installs fastai; elsewhere these are skipped.
"""

import contextlib
import copy
import io

import pytest
import torch
from originals import original
from torch import nn

from steppers.styles import fastai
from steppers.styles.fastai import training

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


class Batches(list):
    """What fastai's DataLoaders ask of a loader."""

    device = torch.device("cpu")

    def to(self, device):
        return self


def drawn():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(160, 4, generator=generator)
    y = x @ torch.randn(4, 1, generator=generator)
    y = y + 0.1 * torch.randn(160, 1, generator=generator)
    pairs = Batches(zip(x.split(16), y.split(16), strict=True))
    return Batches(pairs[:8]), Batches(pairs[8:])


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def theirs(run, **options):
    """fastai's learner after a run, in silence."""
    learner, optimizer = original("fastai.learner"), original("fastai.optimizer")
    original("fastai.callback.all")
    original("fastai.torch_core").default_device(False)
    dls = original("fastai.data.core").DataLoaders(*drawn())
    dls.device = torch.device("cpu")
    learn = learner.Learner(dls, net(), nn.MSELoss(), opt_func=optimizer.Adam, **options)
    bars = [cb for cb in learn.cbs if type(cb).__name__ == "ProgressCallback"]
    learn.remove_cbs(bars)
    with learn.no_logging():
        run(learn)
    return learn


def ours(run, **options):
    dls = training.DataLoaders(*drawn())
    learn = training.Learner(dls, net(), nn.MSELoss(), opt_func=fastai.Adam, **options)
    with learn.no_logging(), learn.no_bar():
        run(learn)
    return learn


def split(model):
    return [[*model[0].parameters(), *model[1].parameters()], [*model[3].parameters()]]


def near(pred, y):
    return ((pred - y).abs() < 0.5).float().mean()


def by_hand(learn):
    learn.freeze()
    learn.fit(1, 1e-2)
    learn.unfreeze()
    learn.fit_one_cycle(2, slice(1e-4, 1e-2))


# fmt: off
RUNS = {
    "fit": (lambda learn: learn.fit(2, 1e-2), {}),
    "one cycle": (lambda learn: learn.fit_one_cycle(3, 1e-2), {}),
    "one cycle, decay": (lambda learn: learn.fit_one_cycle(3, slice(1e-3, 1e-2), wd=0.1), {}),
    "flat, then cosine": (lambda learn: learn.fit_flat_cos(3, 1e-2), {}),
    "restarts": (lambda learn: learn.fit_sgdr(2, 1, 1e-2), {}),
    "metrics": (lambda learn: learn.fit_one_cycle(2, 1e-2), dict(metrics=near)),
    "fine-tuning": (lambda learn: learn.fine_tune(2, 1e-2), dict(splitter=split)),
    "freezing": (by_hand, dict(splitter=split)),
    "frozen norms": (lambda learn: learn.fine_tune(2, 1e-2),
                     dict(splitter=split, train_bn=False)),
    "decay everywhere": (lambda learn: learn.fit(2, 1e-2, wd=0.5), dict(wd_bn_bias=True)),
    "moms": (lambda learn: learn.fit_one_cycle(2, 1e-2), dict(moms=(0.9, 0.8, 0.9))),
    "from epoch 1": (lambda learn: learn.fit(3, 1e-2, start_epoch=1), {}),
}
# fmt: on


@pytest.mark.parametrize("name", RUNS)
def test_a_fit_is_fastais(name):
    run, options = RUNS[name]
    there, here = theirs(run, **options), ours(run, **options)
    for what in ("losses", "lrs"):
        a, b = ([float(x) for x in getattr(each.recorder, what)] for each in (there, here))
        assert b == pytest.approx(a, rel=1e-5), what
    assert list(here.recorder.metric_names) == list(there.recorder.metric_names)
    rows = [row for row in there.recorder.values if row]  # theirs has one for a skipped epoch
    for a, b in zip(rows, here.recorder.values, strict=True):
        assert [float(x) for x in b] == pytest.approx([float(x) for x in a], rel=1e-4)
    there.model.eval(), here.model.eval()
    x = torch.randn(32, 4)
    assert torch.allclose(there.model(x), here.model(x), atol=1e-3)


# --- events ------------------------------------------------------------------------------------

CANCELS = ("Batch", "Train", "Valid", "Epoch", "Fit", "Step", "Backward")
ERRORS = (*(f"Cancel{level}Exception" for level in CANCELS), "ValueError")


def seen(base, names, runner, at, error, when):
    """The events of a fit in whose event `at` something rises, and how it ends."""
    log = []

    def method(name):
        def call(self):
            log.append(name)
            if name == at and when in (None, self.training):
                raise error("boom")

        return call

    tracer = type("Trace", (base,), {name: method(name) for name in names})
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runner(lambda learn: learn.fit(2, 1e-2), cbs=[tracer()])
        return log, "ended"
    except Exception as found:
        return log, type(found).__name__.replace("Exception", "")


@pytest.mark.parametrize("error", ERRORS)
def test_the_events_and_cancels_are_fastais(error):
    core = original("fastai.callback.core")
    names = [name for name in vars(core.event) if name.startswith(("before_", "after_"))]
    assert sorted(names) == sorted(training.EVENTS)
    there = getattr(core, error, ValueError)
    here = getattr(training, error, ValueError)
    compared = 0
    for at in names[1:]:  # after_create comes before any fit
        for when in (None, True, False):
            expected = seen(core.Callback, names, theirs, at, there, when)
            if expected[1] == "AttributeError":  # an epoch cancelled at once breaks its Recorder
                continue
            compared += 1
            assert seen(training.Callback, names, ours, at, here, when) == expected, (at, when)
    assert compared >= 67


def test_what_is_drawn_is_the_same_for_both():
    a, b = drawn(), copy.deepcopy(drawn())
    assert all(torch.equal(x[0], y[0]) for x, y in zip(a[0], b[0], strict=True))
