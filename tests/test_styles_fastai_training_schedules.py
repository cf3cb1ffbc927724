"""fastai's annealers and scheduled fits: the figures that it states."""

import math
import pickle

import numpy as np
import pytest
import torch
from small_fastai import quiet
from torch import nn

from steppers.styles.fastai import SGD
from steppers.styles.fastai.training import (
    Callback,
    ParamScheduler,
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    annealer,
    combine_scheds,
    combined_cos,
)


def cos_between(start, end, pos):
    return start + (1 + math.cos(math.pi * (1 - pos))) * (end - start) / 2


def cycle(start, middle, end, k, total, pct=0.25):
    pos = k / total
    if pos < pct:
        return cos_between(start, middle, pos / pct)
    return cos_between(middle, end, (pos - pct) / (1 - pct))


# --- annealers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sched", "values"),
    [
        (SchedLin(0, 2), [0, 0.5, 1, 1.5, 2]),
        (SchedCos(0, 2), [0, 0.29289, 1, 1.70711, 2]),
        (SchedNo(0, 2), [0, 0, 0, 0, 0]),
        (SchedExp(1, 2), [1, 1.18921, 1.41421, 1.68179, 2]),
        (SchedPoly(0, 2, 2), [0, 0.125, 0.5, 1.125, 2]),
    ],
)
def test_annealers_have_the_values_that_fastai_states(sched, values):
    assert [sched(k / 4) for k in range(5)] == pytest.approx(values, abs=1e-5)
    assert pickle.loads(pickle.dumps(sched))(0.25) == sched(0.25)


def test_a_combination_and_two_cosines_have_the_values_that_fastai_states():
    f = combine_scheds([0.3, 0.2, 0.5], [SchedLin(0.0, 1.0), SchedNo(1.0, 1.0), SchedCos(1.0, 0.0)])
    at = [0.0, 0.15, 0.3, 0.4, 0.5, 0.7, 1.0]
    assert [f(pos) for pos in at] == pytest.approx([0, 0.5, 1, 1, 1, 0.65451, 0], abs=1e-5)
    f = combined_cos(0.25, 0.5, 1.0, 0.0)
    at = [0.0, 0.1, 0.25, 0.5, 1.0]
    assert [f(pos) for pos in at] == pytest.approx([0.5, 0.67275, 1, 0.75, 0], abs=1e-5)
    both = combined_cos(0.25, np.array([0.25, 0.5]), np.array([0.5, 1.0]), np.array([0.0, 0.0]))
    assert both(0.5) == pytest.approx([0.375, 0.75])


def test_the_decorator_makes_an_annealer_of_a_function():
    @annealer
    def half(start, end, pos):
        return start if pos < 0.5 else end

    assert half(1, 2)(0.4) == 1 and half(1, 2)(0.5) == 2


def test_ten_tenths_are_a_whole():
    assert combine_scheds([0.1] * 10, [SchedNo(float(i), 0) for i in range(10)])(1.0) == 9.0


# --- scheduled fits -----------------------------------------------------------------------------


def test_a_linear_rate_is_recorded_as_it_was_set():
    learn = quiet()
    learn.fit(1, cbs=ParamScheduler({"lr": SchedLin(1e-3, 1e-2)}))
    wanted = [1e-3 + 9e-3 * k / 10 for k in range(10)]
    assert learn.recorder.hps["lr"] == pytest.approx(wanted)
    assert learn.recorder.lrs == pytest.approx(wanted)


def test_one_cycle_of_two_epochs_follows_combined_cos_and_learns():
    learn = quiet(lr=1e-2)
    x, y = learn.dls.valid_ds.tensors
    before = nn.functional.mse_loss(learn.model(x), y).item()
    learn.fit_one_cycle(2)
    assert nn.functional.mse_loss(learn.model(x), y).item() < before
    lr = [cycle(1e-2 / 25, 1e-2, 1e-7, k, 20) for k in range(20)]
    mom = [cycle(0.95, 0.85, 0.95, k, 20) for k in range(20)]
    assert learn.recorder.hps["lr"] == pytest.approx(lr, rel=1e-9)
    assert learn.recorder.hps["mom"] == pytest.approx(mom, rel=1e-9)


def test_the_arguments_of_fits_come_in_fastais_order():
    learn = quiet()
    learn.fit_one_cycle(1, 0.1, 10.0, 100.0, 0.5, None, (0.9, 0.8, 0.7))
    lr = [cycle(1e-2, 0.1, 1e-3, k, 10, 0.5) for k in range(10)]
    mom = [cycle(0.9, 0.8, 0.7, k, 10, 0.5) for k in range(10)]
    assert learn.recorder.hps["lr"] == pytest.approx(lr, rel=1e-9)
    assert learn.recorder.hps["mom"] == pytest.approx(mom, rel=1e-9)
    learn.fit_flat_cos(1, 0.1, 10.0, 0.5)
    flat = [0.1] * 5 + [cos_between(0.1, 0.01, k / 5) for k in range(5)]
    assert learn.recorder.hps["lr"] == pytest.approx(flat, rel=1e-9)
    assert [*learn.recorder.hps] == ["lr"]


def test_momentum_is_scheduled_also_where_it_is_nought_and_left_out_where_there_is_none():
    learn = quiet(opt_func=SGD)
    learn.fit_one_cycle(1)
    assert [*learn.recorder.hps] == ["lr", "mom"] and learn.recorder.hps["mom"][0] == 0.95
    learn = quiet(opt_func=torch.optim.Adagrad)
    learn.fit_one_cycle(1)
    assert [*learn.recorder.hps] == ["lr"]


def test_restarts_take_seven_epochs_with_cosines_inside():
    learn = quiet(lr=0.1)
    learn.fit_sgdr(3, 1)
    assert len(learn.recorder.values) == 7
    cosines = [cos_between(0.1, 0.0, k / n) for n in (10, 20, 40) for k in range(n)]
    assert learn.recorder.hps["lr"] == pytest.approx(cosines, abs=1e-9)


def test_restarts_of_equal_cycles_work():
    learn = quiet(lr=0.1)
    learn.fit_sgdr(2, 1, cycle_mult=1)
    assert len(learn.recorder.values) == 2


@pytest.mark.parametrize("name", ["fit", "fit_one_cycle", "fit_flat_cos"])
def test_start_epoch_keeps_the_place_in_the_schedule_of_every_fit(name):
    whole, part = quiet(lr=0.1), quiet(lr=0.1)
    getattr(whole, name)(3)
    getattr(part, name)(3, start_epoch=2)
    assert part.recorder.lrs == pytest.approx(whole.recorder.lrs[20:])
    assert [len(learn.recorder.values) for learn in (whole, part)] == [3, 1]


def test_discriminative_rates_go_to_layer_groups():
    learn = quiet(splitter=lambda m: [[m.a], [m.b]])
    learn.fit_one_cycle(1, slice(1e-3, 1e-1))
    rates = [row[-1] for row in zip(*learn.own_recorder.hypers["lr"], strict=True)]
    assert rates[1] / rates[0] == pytest.approx(100)


def test_fine_tune_freezes_then_trains_all_at_half_the_rate():
    seen = []

    class Rates(Callback):
        def before_fit(self):
            seen.append((self.n_epoch, self.a.requires_grad))

        def after_fit(self):
            lrs = [[row[group] for row in self.own_recorder.hypers["lr"]] for group in (0, 1)]
            seen.append([max(row) for row in lrs])

    learn = quiet(splitter=lambda m: [[m.a], [m.b]], cbs=Rates)
    learn.fine_tune(2, 0.1, 1, 10.0)
    assert seen[0] == (1, False) and seen[2] == (2, True)
    assert seen[1] == pytest.approx([0.01, 0.1], rel=0.02)  # slice(0.1); the peak is at .99
    assert seen[3] == pytest.approx([0.005, 0.05], rel=0.02)


def test_fine_tune_works_with_one_layer_group_as_fastais_does():
    learn = quiet()
    learn.fine_tune(1)
    assert learn.model.a.requires_grad


def test_the_schedule_of_a_fit_can_be_drawn():
    pytest.importorskip("matplotlib")
    learn = quiet()
    with pytest.raises(ValueError, match="nothing was scheduled"):
        learn.recorder.plot_sched()
    learn.fit_one_cycle(1)
    assert len(learn.recorder.plot_sched().axes) == 2
    assert len(learn.recorder.plot_sched("lr").axes) == 1
    with pytest.raises(ValueError, match="no schedule of 'wd'"):
        learn.recorder.plot_sched(["wd"])
