"""The sweep: its rates, when it stops, what it has found."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import steppers
from steppers.lr_find import Found, Sweep

NAN, INF = float("nan"), float("inf")


def sgd(*rates, cls=torch.optim.SGD):
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": lr} for lr in rates or (0.1,)]
    return cls(groups, lr=0.1)


def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def run(sweep, losses):
    seen = []
    for lr, loss in zip(sweep, losses, strict=False):
        seen.append(lr)
        if sweep.record(loss):
            break
    return seen


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.AdamW, steppers.SGD, steppers.Lion])
def test_rates_rise_geometrically(cls):
    optimizer = sgd(cls=cls)
    expected = [1e-7 * 1e8 ** (k / 100) for k in range(100)]
    set_ = []
    sweep = Sweep(optimizer)
    for _ in sweep:
        set_ += rates(optimizer)
        sweep.record(1.0)
    assert set_ == pytest.approx(expected, rel=1e-12)
    assert sweep.lrs == set_ and sweep.why == "all steps are taken"


def test_few_steps_count_as_six():
    assert len(run(Sweep(sgd(), num_it=1), [1.0] * 100)) == 6


def test_groups_keep_their_ratios():
    optimizer = sgd(1e-3, 0.0, 1e-1)
    sweep = Sweep(optimizer, 1e-4, 1.0, 8)
    assert sweep.set_lr() == 1e-4
    assert rates(optimizer) == pytest.approx([1e-6, 0.0, 1e-4], rel=1e-12)
    for _ in range(4):
        sweep.record(1.0)
    assert sweep.set_lr() == pytest.approx(1e-2)
    assert rates(optimizer) == pytest.approx([1e-4, 0.0, 1e-2], rel=1e-12)


def test_ratios_are_those_from_before_a_warm_up():
    optimizer = sgd(1e-3, 1e-1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)
    assert rates(optimizer) == [0.0, 0.0]
    Sweep(optimizer, 1e-4, 1.0).set_lr()
    assert rates(optimizer) == pytest.approx([1e-6, 1e-4], rel=1e-12)


@pytest.mark.parametrize(
    ("start", "end", "first", "middle"),
    [
        ([1e-6, 1e-4], [1e-2, 1e-2], [1e-6, 1e-4], [1e-4, 1e-3]),
        ([1e-6, 1e-4], 1.0, [1e-6, 1e-4], [1e-3, 1e-2]),
        (slice(1e-6, 1e-4), slice(1e-2, 1.0), [1e-6, 1e-4], [1e-4, 1e-2]),
        (torch.tensor([0.25, 0.5], dtype=torch.float64), [1.0, 2.0], [0.25, 0.5], [0.5, 1.0]),
    ],
)
def test_lists_and_slices_give_each_group_its_own(start, end, first, middle):
    sweep = Sweep(sgd(1.0, 2.0), start, end, 10)
    assert sweep.rates(0) == pytest.approx(first, rel=1e-12)
    assert sweep.rates(5) == pytest.approx(middle, rel=1e-12)


def test_a_tensor_lr_is_filled_in_place():
    lr = torch.tensor(0.1, dtype=torch.float64)
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))], lr=lr, capturable=True)
    Sweep(optimizer, 0.25).set_lr()
    assert optimizer.param_groups[0]["lr"] is lr and lr.item() == 0.25


def test_smoothing_and_the_stop_at_four_times_the_best():
    losses = [4.0, 2.0, 1.0, 30.0, 60.0, 400.0, 1.0]
    mean, smoothed = 0.0, []
    for k, loss in enumerate(losses, 1):
        mean = 0.98 * mean + 0.02 * loss
        smoothed.append(mean / (1 - 0.98**k))
    last = next(k for k, s in enumerate(smoothed) if s > 4 * np.min(smoothed[: k + 1]))
    sweep = Sweep(sgd())
    run(sweep, losses)
    assert 0 < last == len(sweep.losses) - 1 < len(losses) - 1
    assert sweep.smoothed == pytest.approx(smoothed[: last + 1], rel=1e-12)
    assert "far above its best" in sweep.why


def test_no_stop_without_stop_div():
    assert len(run(Sweep(sgd(), num_it=10, stop_div=False), [1.0] * 5 + [1e9] * 5)) == 10


def test_losses_below_zero_do_not_stop_it():
    assert len(run(Sweep(sgd(), num_it=10), [-1.0] * 5 + [-0.9] * 5)) == 10
    assert len(run(Sweep(sgd(), num_it=10), [-1.0] * 5 + [1000.0] * 5)) == 6


@pytest.mark.parametrize("stop_div", [True, False])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_loss_that_is_not_finite_stops_it(bad, stop_div):
    sweep = Sweep(sgd(), stop_div=stop_div)
    assert len(run(sweep, [1.0] * 30 + [bad] * 9)) == 31
    found = sweep.found()
    assert found.curve == (found.lrs[10:-5], found.smoothed[10:-5])
    assert found.why == f"the loss is {bad}"


def test_found_reads_the_curve_without_its_ends_up_to_nan():
    lrs = tuple(10.0 ** (k / 10) for k in range(60))
    losses = tuple(10.0 - k / 10 for k in range(40)) + (NAN,) + (5.0,) * 19
    found = Found(lrs, losses, losses, 50, "")
    assert found.curve == (lrs[5:40], losses[5:40])
    assert found.valley == lrs[5 - 1 + 11 + 5]  # 35 falling losses: -1 + int(11.7) + int(5.8)
    assert found.minimum == lrs[39] / 10


def test_a_short_curve_suggests_nothing():
    sweep = Sweep(sgd(), num_it=6)
    run(sweep, [3.0, 2.5, 2.0, 1.5, 1.0, 0.5])
    found = sweep.found()
    assert found.suggestions == dict(valley=None, slide=None, minimum=None, steep=None)
    assert "6 of 6 steps" in repr(found)


def test_divergence_at_the_start_says_where_to_start():
    sweep = Sweep(sgd(), start_lr=0.1)
    run(sweep, [1.0, 1.1, INF])
    with pytest.raises(FloatingPointError, match=r"step 3 of 100, at lr 0.11.*start_lr=0.0001"):
        sweep.found()


def test_a_loss_that_is_never_finite_is_not_the_rates_fault():
    sweep = Sweep(sgd())
    run(sweep, [NAN])
    with pytest.raises(FloatingPointError, match=r"first loss is nan.*no learning rate helps"):
        sweep.found()


def test_by_group_gives_the_rates_of_the_same_step():
    sweep = Sweep(sgd(1.0, 2.0), [1e-6, 1e-4], [1e-2, 1e-2], 100)
    run(sweep, [1.0] * 100)
    found = sweep.found()
    assert found.by_group(found.lrs[37]) == pytest.approx(sweep.rates(37), rel=1e-9)
    with pytest.raises(ValueError, match="by_group: lr must be a number above 0, got None"):
        found.by_group(found.valley)


@pytest.mark.parametrize(
    ("rates", "arguments", "error", "text"),
    [
        ((0.1,), dict(num_it=0), ValueError, "num_it must be a whole number .* got 0"),
        ((0.1,), dict(num_it=2.5), ValueError, "num_it must be a whole number .* got 2.5"),
        ((0.1,), dict(start_lr=0.0), ValueError, "start_lr must be a number above 0, got 0.0"),
        ((0.1,), dict(start_lr=NAN), ValueError, "start_lr must be a number above 0, got nan"),
        ((0.1,), dict(end_lr=INF), ValueError, "end_lr must be a number above 0, got inf"),
        ((0.1,), dict(start_lr="low"), TypeError, "start_lr must be a number, got 'low'"),
        ((0.1,), dict(start_lr=1.0, end_lr=0.1), ValueError, "end_lr must be above start_lr"),
        ((0.1, 0.2), dict(start_lr=[1e-3] * 3), ValueError, "start_lr: got 3 values for 2 groups"),
        ((0.1, 0.0), {}, ValueError, "no ratios to the last"),
        ((0.1,), dict(beta=1.0), ValueError, "beta must be in"),
    ],
)
def test_wrong_arguments_change_nothing(rates, arguments, error, text):
    optimizer = sgd(*rates)
    with pytest.raises(error, match=text):
        Sweep(optimizer, **arguments)
    assert [group["lr"] for group in optimizer.param_groups] == list(rates)


def test_an_optimizer_without_lr_is_refused():
    class Odd(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"rate": 1.0})

    with pytest.raises(KeyError, match="Odd has no hyper-parameter 'lr'"):
        Sweep(Odd([nn.Parameter(torch.ones(1))]))


def test_each_step_needs_one_loss():
    sweep = Sweep(sgd())
    with pytest.raises(RuntimeError, match=r"one sweep\.record\(loss\)"):
        for _ in sweep:
            pass
    with pytest.raises(RuntimeError, match="no losses yet"):
        Sweep(sgd()).found()


def test_a_finished_sweep_takes_no_more():
    sweep = Sweep(sgd(), num_it=6)
    run(sweep, [1.0] * 6)
    for call in (sweep.set_lr, lambda: sweep.record(1.0)):
        with pytest.raises(RuntimeError, match="the sweep is over: all steps are taken"):
            call()


def test_a_loss_is_one_number():
    sweep = Sweep(sgd())
    with pytest.raises(ValueError, match=r"one number, got a tensor of shape \(3,\)"):
        sweep.record(torch.ones(3))
    sweep.record(torch.ones(1, 1, requires_grad=True))
    assert sweep.losses == [1.0]


def test_the_picture_marks_the_suggestions():
    pytest.importorskip("matplotlib")
    sweep = Sweep(sgd())
    run(sweep, [3.0 - 0.02 * k for k in range(80)] + [2.0 + 3 * k for k in range(30)])
    found = sweep.found()
    axes = found.plot().axes[0]
    shown = axes.get_legend_handles_labels()[1]
    expected = [f"{name}  {lr:.2e}" for name, lr in found.suggestions.items() if lr]
    assert shown == ["each batch", "smoothed", *expected] and len(expected) == 4
    assert axes.get_xscale() == "log" and all(map(math.isfinite, axes.get_ylim()))
    assert found._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"
    assert found.plot("valley").axes[0].get_legend_handles_labels()[1][2:] == expected[:1]
    assert found.plot(ax=axes) is axes.figure


def test_the_picture_of_a_curve_with_nan_and_of_a_flat_one():
    pytest.importorskip("matplotlib")
    for losses in ([1.0] * 30 + [NAN], [1.0] * 100):
        sweep = Sweep(sgd())
        run(sweep, losses)
        assert sweep.found()._repr_png_()


def test_an_unknown_suggestion_is_refused():
    with pytest.raises(ValueError, match="no suggestion is called 'steepest'; there are valley,"):
        Found((1.0,), (1.0,), (1.0,), 6, "").plot("steepest")


def test_without_matplotlib_the_line_stands(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = Found((1.0,), (1.0,), (1.0,), 6, "")
    assert found._repr_png_() is None
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'steppers\[train\]'"):
        found.plot()


PROCESS = """
import json, sys, torch
import torch.distributed as dist
from steppers.lr_find import Sweep
rank, path = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
sweep = Sweep(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))
for k, lr in enumerate(sweep):
    sweep.record(1.0 if k < 30 else [1.0, 1e6][rank])
print(json.dumps([len(sweep.losses), sweep.losses[-1], sweep.why]))
dist.destroy_process_group()
"""


def test_processes_stop_together(tmp_path):
    command = [sys.executable, "-c", PROCESS]
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    first, second = (json.loads(each.communicate(timeout=60)[0]) for each in both)
    assert first == second and first[:2] == [31, 500000.5]
