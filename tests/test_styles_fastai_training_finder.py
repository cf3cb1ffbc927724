"""fastai's search for a rate, and the ends that ours may have, on our loop."""

import math
from functools import partial

import pytest
import torch
from small_fastai import quiet
from torch import nn

from steppers.lr_find import Sweep, lr_find, suggest
from steppers.styles.fastai.training import (
    Callback,
    Learner,
    LRFinder,
    finder,
    minimum,
    slide,
    steep,
    valley,
)
from steppers.train import Learner as Trainer

# --- the search for a rate ----------------------------------------------------------------------


def state_of(learn):
    weights = {name: p.clone() for name, p in learn.model.state_dict().items()}
    return weights, learn.opt.state_dict()


def test_the_finder_stops_restores_and_leaves_no_state():
    class Validates(Callback):
        def after_pred(self):
            assert self.training

    learn = quiet(lr=0.01, cbs=Validates)
    before = state_of(learn)
    learn.fit(20, cbs=LRFinder(end_lr=1e3))
    lrs, losses = learn.recorder.lrs, [float(loss) for loss in learn.recorder.losses]
    count = len(lrs)
    assert 10 < count < 100 and losses[-1] > 4 * min(losses)
    assert all(loss <= 4 * min(losses[: i + 1]) for i, loss in enumerate(losses[:-1]))
    assert lrs == pytest.approx([1e-7 * 1e10 ** (k / 100) for k in range(count)])
    after = state_of(learn)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert learn.opt.state_dict()["state"] == before[1]["state"]


def test_the_finder_takes_at_most_num_it_batches_and_at_least_six():
    learn = quiet()
    learn.fit(1, cbs=LRFinder(1e-5, 1e-4, 3))
    assert len(learn.recorder.lrs) == 6


@pytest.mark.parametrize("whole", [True, False])
def test_a_single_rate_is_every_groups_and_lists_have_one_for_each(whole):
    class Rates(Callback):
        order = 70

        def after_pred(self):
            seen.append([h["lr"] for h in self.opt.hypers])

    seen = []
    learn = quiet(splitter=lambda m: [[m.a], [m.b]], lr=slice(1e-4, 1e-2), cbs=Rates)
    given = (1e-6, 1e-2) if whole else ([1e-6, 1e-5], [1e-2, 1e-1])
    learn.fit(2, cbs=LRFinder(*given, 20, False))
    learn.lr_find(*given, 20, False)
    rates = [1e-6 * 1e4 ** (k / 20) for k in range(20)]
    for k, row in enumerate(rates * 2):
        assert seen[k] == pytest.approx([row, row if whole else 10 * row])


def test_the_weights_come_back_also_after_an_error():
    learn = quiet()
    before = state_of(learn)[0]

    class Late(Callback):
        def after_step(self):
            if self.train_iter == 5:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        learn.fit(1, cbs=[LRFinder(1e-2, 1.0), Late()])
    assert all(torch.equal(before[name], p) for name, p in state_of(learn)[0].items())


def test_lr_find_has_a_field_for_each_function_and_the_recorder_has_the_curve():
    learn = quiet()
    found = learn.lr_find(suggest_funcs=(minimum, steep, valley, slide))
    assert found._fields == ("minimum", "steep", "valley", "slide")
    lrs, losses = learn.recorder.lrs[10:-5], [float(x) for x in learn.recorder.losses][10:-5]
    assert found.valley == pytest.approx(suggest.valley(lrs, losses), rel=1e-6)
    assert found.minimum == pytest.approx(lrs[losses.index(min(losses))] / 10, rel=1e-6)
    assert quiet().lr_find().valley == pytest.approx(found.valley)
    assert quiet().lr_find(suggest_funcs=None) is None


def test_the_older_call_gives_a_tenth_of_the_rate_at_the_minimum_and_the_steepest():
    found = quiet().lr_find(suggestions=True)
    newer = quiet().lr_find(suggest_funcs=[minimum, steep])
    assert found._fields == ("lr_min", "lr_steep") and tuple(found) == tuple(newer)


def test_a_suggestion_of_ones_own():
    def middle(lrs, losses, num_it):
        assert isinstance(losses, torch.Tensor) and num_it == 50
        return lrs[len(lrs) // 2].item(), (lrs[0], losses[0])

    found = quiet().lr_find(num_it=50, suggest_funcs=[middle, partial(slide, lr_diff=5)])
    assert found._fields == ("middle", "slide") and found.middle > 0


def test_suggestions_by_hand_give_the_rate_and_its_point():
    lrs = [10.0 ** (k - 4) for k in range(7)]
    losses = [9.0, 8.0, 7.0, 5.0, 4.0, 2.0, 3.0]
    # L 6 ends at 5: start -1, third 2: index -1 + 2 + 1
    assert valley(lrs, losses, 100) == (lrs[2], (lrs[2], 7.0))
    assert minimum(lrs, losses, 100) == (lrs[5] / 10, (pytest.approx(lrs[4]), 4.0))
    assert steep(lrs, losses, 100)[0] == lrs[2]
    assert slide(lrs, losses, 100, lr_diff=1)[0] == suggest.slide(lrs, losses, lr_diff=1)
    assert valley(lrs, [1.0] * 7) == (None, None)


def test_callbacks_see_that_a_search_runs_and_watching_ones_are_left_out():
    seen = []

    class Shapes(Callback):
        def before_fit(self):
            seen.append(hasattr(self, "lr_finder"))

    class Watches(Callback):
        observes = True

        def before_fit(self):
            raise AssertionError("it should not be there")

    learn = quiet(cbs=[Shapes, Watches])
    learn.lr_find()
    assert seen == [True] and not hasattr(learn, "lr_finder")
    assert learn.watches.learn is learn


def test_the_curve_can_be_drawn_and_is_shown_in_a_notebook(monkeypatch):
    pytest.importorskip("matplotlib")
    shown = []
    monkeypatch.setattr(finder, "in_notebook", lambda: True)
    monkeypatch.setattr(finder, "notebook_display", lambda: shown.append)
    quiet().lr_find(suggest_funcs=(valley, lambda *_: 1e-3))
    quiet().lr_find(show_plot=False)
    assert len(shown) == 1
    learn = quiet()
    with pytest.raises(ValueError, match="no search"):
        learn.recorder.plot_lr_find()
    learn.lr_find()
    assert len(learn.recorder.plot_lr_find("valley").axes) == 1


# --- where a search stops -----------------------------------------------------------------------

LOSSES = [4.0, 2.0, 1.0, 2.5, 3.5, 9.0, 11.0, 50.0]


def stopped(**options):
    """How many losses a sweep takes."""
    sweep = Sweep(torch.optim.SGD([nn.Parameter(torch.ones(()))], lr=0.1), num_it=50, **options)
    for loss in LOSSES:
        if sweep.record(loss):
            break
    return len(sweep.losses)


def smoothed():
    mean, rows = 0.0, []
    for k, loss in enumerate(LOSSES, 1):
        mean = 0.98 * mean + 0.02 * loss
        rows.append(mean / (1 - 0.98**k))
    return rows


@pytest.mark.parametrize("times", [1.5, 2, 3.0])
def test_a_number_of_times_the_best_smoothed_loss_stops_a_search(times):
    rows = smoothed()
    wanted = next(k for k in range(1, 9) if rows[k - 1] > times * min(rows[:k]))
    assert stopped(stop_div=times) == wanted


@pytest.mark.parametrize(("times", "count"), [(3, 5), (10.0, 7), (True, 6), (False, 8)])
def test_a_number_of_times_the_best_loss_of_a_batch_stops_a_search(times, count):
    assert stopped(stop_div=times, watch="raw") == count


@pytest.mark.parametrize("times", [1, 0, -3, math.inf, math.nan])
def test_a_multiple_that_is_none_is_an_error(times):
    with pytest.raises(ValueError, match="stop_div must be above 1"):
        stopped(stop_div=times)
    with pytest.raises(TypeError, match="stop_div must be True"):
        stopped(stop_div="4")
    with pytest.raises(ValueError, match="watch must be 'smoothed' or 'raw'"):
        stopped(watch="both")


@pytest.mark.parametrize("kind", ["plain", "ours", "fastai"])
def test_every_form_of_the_finder_takes_the_multiple(kind):
    torch.manual_seed(0)
    x = torch.randn(64, 1)
    model, batches = nn.Linear(1, 1), [(x, 2 * x)]
    options = dict(start_lr=1e-4, end_lr=1e4, num_it=60)

    def steps(stop_div, watch):
        more = {**options, "stop_div": stop_div, "watch": watch}
        loss = nn.functional.mse_loss
        if kind == "plain":
            sgd = torch.optim.SGD(model.parameters(), lr=0.1)
            return len(lr_find(model, sgd, batches, loss, **more).lrs)
        dls = type("Data", (), {"train": batches * 10, "valid": None})()
        if kind == "ours":
            made = Trainer(model, dls, loss, opt_func=torch.optim.SGD, progress="silent")
            return len(made.lr_find(**more).lrs)
        learn = Learner(dls, model, loss, torch.optim.SGD)
        learn.lr_find(**more)
        return len(learn.recorder.lrs)

    raw, early, usual = steps(3, "raw"), steps(3, "smoothed"), steps(True, "smoothed")
    assert raw < early <= usual < 60
