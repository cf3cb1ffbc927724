"""fastai's search for a rate, passes, metrics, trackers and files beside ours; Composer's norms.

`make originals` installs these; elsewhere they are skipped.
"""

import contextlib
import io
import re
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from originals import alone, original
from test_originals_training import Batches, near, ours, split, theirs

from steppers.styles import composer
from steppers.styles.fastai import training

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


def fastais():
    """The names that the tests use, from fastai's modules."""
    modules = "learner", "callback.schedule", "callback.tracker", "callback.core", "callback.all"
    found = {}
    for module in modules:
        found.update(vars(original(f"fastai.{module}")))
    return SimpleNamespace(**found)


def both(run, **options):
    """(what the run gives, the learner) of fastai's and of ours; `run` gets names and learner."""
    out = []
    for home, runner in ((fastais(), theirs), (training, ours)):
        given = []
        with contextlib.redirect_stdout(io.StringIO()):
            own = {k: v(home) if k == "metrics" else v for k, v in options.items()}
            learn = runner(lambda it, h=home, g=given: g.append(run(h, it)), **own)
        out.append((given[0], learn))
    return out


def numbers(values):
    return [None if value is None else float(value) for value in values]


def assert_recorded_alike(there, here):
    """The same rates and losses, and rows where there are columns for them."""
    a, b = there.recorder, here.recorder
    for what in ("losses", "lrs"):
        assert numbers(getattr(b, what)) == pytest.approx(numbers(getattr(a, what)), rel=1e-4), what
    assert list(b.metric_names) == list(a.metric_names)
    for x, y in zip(a.values, b.values, strict=True):
        assert numbers(y) == pytest.approx(numbers(x), rel=1e-4, abs=1e-6, nan_ok=True)


# fmt: off
SEARCHES = [
    dict(), dict(num_it=30), dict(num_it=40, stop_div=False),
    dict(start_lr=1e-5, end_lr=1.0, num_it=25), dict(num_it=60, end_lr=1e4),
]
# fmt: on


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_a_search_for_a_rate_is_fastais(options):
    def search(home, learn):
        suggest = home.minimum, home.steep, home.valley, home.slide
        found = learn.lr_find(show_plot=False, suggest_funcs=suggest, **options)
        learn_again = numbers(learn.recorder.lrs), numbers(learn.recorder.losses)
        learn.fit(1, 1e-2)  # from where it was
        return found._fields, numbers(found), *learn_again

    (a, there), (b, here) = both(search)
    assert b[0] == a[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        assert y == pytest.approx(x, rel=1e-4, nan_ok=True)
    assert_recorded_alike(there, here)


def metrics(home):
    """Of every kind: functions, a partial, classes, a value, and a name that a column has."""

    def distance(pred, y):
        return (pred - y).abs().mean()

    class Count(home.Metric):
        def reset(self):
            self.count = 0

        def accumulate(self, learn):
            self.count += len(learn.y)

        @property
        def value(self):
            return self.count

    return [
        near, partial(distance), home.AvgMetric(distance), Count(), home.mk_metric(near),
        home.ValueMetric(lambda: 3.5, "three"), home.AvgLoss(),
    ]  # fmt: skip


@pytest.mark.parametrize("options", [{}, dict(train_metrics=True), dict(add_time=False)], ids=str)
def test_metrics_have_fastais_columns_and_values(options):
    def run(home, learn):
        vars(learn.recorder).update(options)
        learn.fit(2, 1e-2)

    (_, there), (_, here) = both(run, metrics=metrics)
    assert_recorded_alike(there, here)
    assert len(here.recorder.metric_names) == len(here.recorder.values[0]) + 2 - (
        "add_time" in options
    )


def test_validations_give_what_fastais_do():
    def run(home, learn):
        learn.fit(1, 1e-2)
        passes = learn.validate(), learn.validate(0), learn.validate(dl=learn.dls.train)
        return [x for each in passes for x in numbers(each)]

    (a, _), (b, _) = both(run, metrics=metrics)
    assert b == pytest.approx(a, rel=1e-4)


# fmt: off
PREDICTIONS = [
    {}, dict(ds_idx=0), dict(with_input=True, with_loss=True), dict(act=torch.sigmoid),
    dict(with_decoded=True), dict(with_preds=False), dict(with_targs=False, with_loss=True),
]
# fmt: on


@pytest.mark.parametrize("options", PREDICTIONS, ids=lambda given: " ".join(given) or "plain")
def test_predictions_are_fastais(options, monkeypatch):
    monkeypatch.setattr(Batches, "new", lambda self, **_: self, raising=False)
    monkeypatch.setattr(Batches, "drop_last", False, raising=False)

    def run(home, learn):
        learn.fit(1, 1e-2)
        return learn.get_preds(**options)

    (a, _), (b, _) = both(run)
    assert [x is None for x in b] == [x is None for x in a]
    for x, y in zip(a, b, strict=True):
        if x is not None:
            torch.testing.assert_close(y, x, rtol=1e-4, atol=1e-5)


# fmt: off
WATCHED = [
    {}, dict(patience=2), dict(min_delta=0.1), dict(min_delta=-0.1), dict(monitor="near"),
    dict(monitor="train_loss", patience=2), dict(monitor="near", min_delta=-0.05),
    dict(reset_on_fit=False),
]
# fmt: on


@pytest.mark.parametrize("options", WATCHED, ids=str)
@pytest.mark.parametrize("name", ["EarlyStoppingCallback", "ReduceLROnPlateau"])
def test_trackers_act_when_fastais_do(name, options):
    def run(home, learn):
        tracker = getattr(home, name)(**options)
        for _ in range(2):
            learn.fit(6, 0.3, cbs=[tracker])
        return float(tracker.best), numbers(h["lr"] for h in learn.opt.hypers)

    (a, there), (b, here) = both(run, metrics=lambda home: near, splitter=split)
    assert (b[0], b[1]) == (pytest.approx(a[0], rel=1e-4), pytest.approx(a[1], rel=1e-6))
    assert_recorded_alike(there, here)


@pytest.mark.parametrize("options", [{}, dict(every_epoch=2), dict(at_end=True)], ids=str)
def test_the_files_of_a_fit_are_fastais(options, tmp_path):
    def run(home, learn):
        learn.path = tmp_path / ("ours" if home is training else "theirs")
        learn.path.mkdir()
        learn.fit(5, 0.3, cbs=[home.SaveModelCallback(**options), home.CSVLogger()])
        files = sorted(str(p.relative_to(learn.path)) for p in learn.path.rglob("*.*"))
        text = (learn.path / "history.csv").read_text()
        return files, re.sub(r"\d+:\d\d\n", "time\n", text)  # 0:00, theirs 00:00

    (a, _), (b, _) = both(run, metrics=lambda home: near)
    assert b[0] == a[0]
    for x, y in zip(a[1].splitlines(), b[1].splitlines(), strict=True):
        x, y = x.split(","), y.split(",")
        assert (y[0], y[-1]) == (x[0], x[-1])
        if x[0] != "epoch":
            assert numbers(y[1:-1]) == pytest.approx(numbers(x[1:-1]), rel=1e-4)


@pytest.mark.parametrize("rate", [1e-2, 1e6, 1e20])
def test_a_loss_that_is_no_number_ends_both(rate):
    run = lambda home, learn: learn.fit(3, rate, cbs=[home.TerminateOnNaNCallback()])  # noqa: E731
    (_, there), (_, here) = both(run)
    assert len(here.recorder.losses) == len(there.recorder.losses) > 0


def test_schedules_are_recorded_as_fastais():
    def run(home, learn):
        wanted = dict(mom=home.SchedLin(0.9, 0.8), wd=home.SchedPoly(0.1, 0.0, 2))
        rate = home.ParamScheduler({"lr": home.combined_cos(0.3, 1e-3, 1e-2, 1e-4)})
        learn.fit(2, cbs=[rate])
        first = {name: numbers(values) for name, values in learn.recorder.hps.items()}
        learn.fit(2, cbs=[home.ParamScheduler(wanted)])
        return {**first, **{name: numbers(v) for name, v in learn.recorder.hps.items()}}

    (a, there), (b, here) = both(run, splitter=split)
    assert set(a) == set(b) == {"lr", "mom", "wd"}
    for name, values in a.items():
        assert b[name] == pytest.approx(values, rel=1e-6), name
    assert_recorded_alike(there, here)


# --- Composer's norms ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_composers_norms_are_composers(seed, monkeypatch):
    """Of updates where nothing decays: theirs has the step less the decay, ours what p moved by."""
    module = "composer.optim.decoupled_weight_decay"
    there = alone(monkeypatch, module, "composer.utils").DecoupledAdamW
    torch.manual_seed(seed)
    params = [[torch.randn(4, 2, dtype=torch.float64), torch.randn(3, dtype=torch.float64)]] * 2
    params = [[p.clone().requires_grad_() for p in each] for each in params]
    decay = 0.0 if seed % 2 else 1e-4
    made = [c(p, lr=0.1, weight_decay=decay) for c, p in zip(
        (there, composer.DecoupledAdamW), params, strict=True)]  # fmt: skip
    for step in range(6):
        for i, (x, y) in enumerate(zip(*params, strict=True)):
            x.grad = torch.randn_like(x) if (step + i + seed) % 3 else None
            y.grad = None if x.grad is None else x.grad.clone()
        found = []
        for optimizer, own in zip(made, params, strict=True):
            optimizer.step()
            row = {}
            for i, p in enumerate(own):
                if p.grad is not None:
                    row = optimizer.report_per_parameter_metrics(p, f"p{i}", row)
            found.append((dict(row), optimizer.pre_reduce_metrics(dict(row))))
        for a, b in zip(*found, strict=True):
            assert list(b) == list(a)
            kept = [name for name in a if not decay or "update" not in name]
            assert [float(b[n]) for n in kept] == pytest.approx([float(a[n]) for n in kept])
