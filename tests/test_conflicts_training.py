"""Where the systems disagree on training, by numbers: fits whose losses are told beforehand."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from small_params import one
from tiny_learner import Passes, tiny, told
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from steppers import schedules, train
from steppers.styles import course, fastai, miniai
from steppers.styles.fastai import training

RISING = [1.0] * 10 + [2.0**k for k in range(1, 30)]


def smoothed(losses, beta=0.98):
    """Their average as it runs, debiased."""
    found, average = [], 0.0
    for k, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        found.append(average / (1 - beta**k))
    return found


def stops(losses, times):
    """How many batches there are until a loss is so many times the best."""
    return next(k for k in range(1, 40) if losses[k - 1] > times * min(losses[:k]))


def data(*train_passes, valid=(1.0,)):
    return SimpleNamespace(train=Passes(*train_passes), valid=Passes(valid))


def two_rates(model):
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.2}]
    return torch.optim.SGD(groups)


def run(losses, *cb_funcs, epochs=1, opt=two_rates, cbs=None):
    """A fit of the course's Runner; its model too."""
    model = nn.Linear(3, 1)
    runner = course.Runner(cbs=cbs, cb_funcs=list(cb_funcs))
    runner.fit(epochs, course.Learner(model, opt(model), told, data(losses)))
    return runner


# --- 36: the search for a rate --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "losses", "times"),
    [
        ({}, smoothed(RISING), 4),
        (dict(stop_div=3), smoothed(RISING), 3),
        (dict(watch="raw"), RISING, 4),
        (dict(watch="raw", stop_div=10), RISING, 10),
    ],
)
def test_our_search_ends_at_a_number_of_times_the_best(options, losses, times):
    learn = tiny(train=[RISING], valid=())
    before = learn.model.weight.clone()
    found = learn.lr_find(num_it=39, **options)
    assert len(found.losses) == stops(losses, times)
    assert torch.equal(learn.model.weight, before)


def test_our_search_need_not_end():
    assert len(tiny(train=[RISING], valid=()).lr_find(num_it=39, stop_div=False).losses) == 39


@pytest.mark.parametrize("restore", [True, False])
def test_the_courses_search_ends_at_10_times_the_best_raw_loss(restore):
    kept = {}

    class Keep(course.Callback):
        _order = -1

        def begin_fit(self):
            kept.update(model=self.model, before=self.model.weight.clone())

    search = partial(course.LR_Find, max_iter=38, min_lr=1e-3, restore=restore)
    assert len(run(RISING, Keep, search, course.Recorder).recorder.losses) == stops(RISING, 10)
    assert torch.equal(kept["model"].weight, kept["before"]) is restore


@pytest.mark.parametrize("times", [3, 10])
@pytest.mark.parametrize("restore", [True, False])
def test_miniais_search_ends_at_3_times_the_best_raw_loss(times, restore):
    finder = miniai.LRFinderCB(1.01, **({} if times == 3 else {"max_mult": times}), restore=restore)
    learn = miniai.TrainLearner(nn.Linear(3, 1), data(RISING), told, lr=0.01)
    before = learn.model.weight.clone()
    learn.fit(1, cbs=[finder])
    assert len(finder.losses) == stops(RISING, times)
    assert torch.equal(learn.model.weight, before) is restore


# --- 37: what is recorded -------------------------------------------------------------------------

LOSSES = [1.0, 3.0, 5.0, 2.0]


def split(model):
    return [[model.weight], [model.bias]]


def test_ours_has_raw_and_smoothed_losses_and_all_rates():
    learn = tiny(train=[LOSSES], valid=(), splitter=split)
    learn.fit(1, [0.1, 0.2])
    found = learn.recorder
    assert list(map(float, found.losses)) == LOSSES
    assert list(map(float, found.smooth)) == pytest.approx(smoothed(LOSSES))
    assert found.hypers["lr"] == [[0.1, 0.2]] * 4


def test_the_courses_has_raw_losses_and_the_last_rate():
    found = run(LOSSES, course.Recorder).recorder
    assert list(map(float, found.losses)) == LOSSES and found.lrs == [0.2] * 4


def test_miniais_has_functions_of_the_first_group():
    found = miniai.RecorderCB(lr=lambda cb: cb.pg["lr"], loss=lambda cb: cb.learn.loss.item())
    model = nn.Linear(3, 1)
    opt_func = lambda params, lr: two_rates(model)  # noqa: E731
    learn = miniai.TrainLearner(model, data(LOSSES), told, cbs=[found], opt_func=opt_func)
    learn.fit(1, valid=False)
    assert found.recs == {"lr": [0.1] * 4, "loss": LOSSES}


def test_fastais_has_smoothed_losses_and_the_last_rate():
    learn = training.Learner(
        data(LOSSES), nn.Linear(3, 1), told, opt_func=fastai.SGD, splitter=split
    )
    with learn.no_logging(), learn.no_bar():
        learn.fit(1, slice(0.1, 0.2))
    assert learn.recorder.lrs == pytest.approx([0.2] * 4)
    assert list(map(float, learn.recorder.losses)) == pytest.approx(smoothed(LOSSES))


# --- 33 and 35: schedules -------------------------------------------------------------------------

FOUR = [1.0] * 4
EIGHTHS = pytest.approx([k / 8 for k in range(8)])


class Rates:
    """The rate before each training batch, after whatever sets it."""

    order = 70

    def __init__(self):
        self.seen = []

    def before_batch(self, learn):
        if learn.training:
            self.seen.append(learn.opt.param_groups[0]["lr"])


def rise(optimizer):
    return LambdaLR(optimizer, lambda k: k / 8)


def by_scheduler():
    optimizer, seen = torch.optim.SGD([one(1.0, 1.0)], lr=0.5), []
    scheduler = schedules.Scheduler(optimizer, {"lr": schedules.lin(0.0, 1.0)}, 8)
    for _ in range(8):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def by_ours(callback):
    rates = Rates()
    tiny(train=[FOUR], cbs=[rates, callback], lr=1.0).fit(2)
    return rates.seen


def by_miniai():
    rates, scheduler = Rates(), miniai.BatchSchedCB(rise)
    model = nn.Linear(3, 1)
    miniai.TrainLearner(model, data(FOUR), told, lr=1.0, cbs=[rates, scheduler]).fit(2)
    return rates.seen


def test_batch_k_of_n_is_at_k_over_n_everywhere():
    linear = partial(course.ParamScheduler, "lr", course.sched_lin(0.0, 1.0))
    assert run(FOUR, course.Recorder, linear, epochs=2).recorder.lrs == EIGHTHS
    assert by_ours(train.ParamScheduler({"lr": schedules.lin(0.0, 1.0)})) == EIGHTHS
    assert by_ours(train.BatchSched(rise)) == EIGHTHS
    assert by_miniai() == EIGHTHS
    assert by_scheduler() == EIGHTHS


def test_one_cycle_has_each_systems_shape():
    ours, courses = schedules.one_cycle(1.0), course.sched_1cycle([1.0])[0].sched_funcs[0]
    assert [ours(at) for at in (0, 0.25, 1)] == pytest.approx([1 / 25, 1, 1e-5])
    assert [courses(at) for at in (0, 0.3, 1)] == pytest.approx([1 / 10, 1, 1e-5])
    assert schedules.one_cycle(1.0, div=10)(0) == pytest.approx(1 / 10)


def test_torchs_one_cycle_is_ours_with_its_numbers():
    ours = schedules.one_cycle(1.0, div_final=25e4, pct_start=0.3)
    optimizer = torch.optim.SGD([one(1.0)], lr=1.0)
    scheduler = OneCycleLR(optimizer, 1.0, total_steps=1001, cycle_momentum=False)
    for k in range(1001):
        assert ours(k / 1000) == pytest.approx(scheduler.get_last_lr()[0], rel=2e-2, abs=4e-3)
        optimizer.step()
        if k < 1000:
            scheduler.step()
    assert ours(1.0) == pytest.approx(scheduler.get_last_lr()[0]) == pytest.approx(1 / 25e4)


# --- 30: from fit to fit --------------------------------------------------------------------------


def test_the_optimizer_is_kept_from_fit_to_fit_or_is_new():
    ours, theirs = tiny(), miniai.TrainLearner(nn.Linear(3, 1), data(FOUR), told)
    for learn, kept in ((ours, True), (theirs, False)):
        learn.fit(1)
        first = learn.opt
        learn.fit(1)
        assert (learn.opt is first) is kept
        second = learn.opt
        learn.fit(1, reset_opt=kept)
        assert (learn.opt is second) is not kept
