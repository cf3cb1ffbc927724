"""Dry runs and pictures of schedules: what will be set, with nothing of the user's changed."""

import copy
import sys
import warnings

import pytest
import torch
from test_contract_schedulers import SCHEDULERS
from torch.optim import lr_scheduler

import steppers
from steppers import hypers
from steppers.schedules import (
    Scheduler,
    annealer,
    cos,
    dry_run,
    lin,
    no,
    one_cycle,
    one_cycle_momentum,
    plot,
)  # fmt: skip

WRITTEN = {name: make for name, make in SCHEDULERS.items() if name != "ReduceLROnPlateau"}
STEPS = 9


def adamw(kind=torch.optim.AdamW, **options):
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    return kind(
        [{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.02}], lr=0.01, **options
    )


def snapshot(optimizer, scheduler):
    state = {k: v for k, v in vars(scheduler).items() if k not in ("optimizer", "_schedulers")}
    inner = [dict(vars(s)) for s in getattr(scheduler, "_schedulers", ())]
    inner = [{k: v for k, v in s.items() if k != "optimizer"} for s in inner]
    kept = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    return copy.deepcopy((kept, repr(state), repr(inner)))


def real(optimizer, scheduler, names, steps=STEPS):
    rows = {name: [] for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(steps):
            for name, row in rows.items():
                row.append([float(v) for v in hypers.get(optimizer, name)])
            optimizer.step()
            scheduler.step()
    return rows


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("kind", [torch.optim.AdamW, steppers.AdamW])
@pytest.mark.parametrize("taken", [0, 2])
def test_a_dry_run_of_torchs_shows_what_then_happens(name, kind, taken):
    optimizer = adamw(kind)
    scheduler = WRITTEN[name](optimizer)
    real(optimizer, scheduler, [], taken)
    before = snapshot(optimizer, scheduler)
    found = dry_run(scheduler, STEPS)
    assert snapshot(optimizer, scheduler) == before
    assert found == real(optimizer, scheduler, found)
    assert set(found) == {"lr", "beta1"} if name in ("OneCycleLR", "CyclicLR") else {"lr"}


def plan():
    return {"lr": one_cycle([0.01, 0.02]), "mom": one_cycle_momentum(), "wd": no(0.1)}


@pytest.mark.parametrize("taken", [0, 2])
@pytest.mark.parametrize("rate", [float, torch.tensor])
def test_a_dry_run_of_ours_shows_what_then_happens(taken, rate):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=rate(0.01))
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate(0.02)})
    scheduler = Scheduler(optimizer, plan(), 8)
    real(optimizer, scheduler, [], taken)
    before = snapshot(optimizer, scheduler)
    found = dry_run(scheduler, STEPS)
    assert snapshot(optimizer, scheduler) == before
    assert list(found) == ["lr", "mom", "wd"]
    assert found == real(optimizer, scheduler, found)


def test_a_cosine_climbs_past_its_end_and_the_dry_run_shows_it():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    rates = [row[0] for row in dry_run(lr_scheduler.CosineAnnealingLR(optimizer, 100), 110)["lr"]]
    assert len(rates) == 110 and rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[100] < rates[105] < rates[109]


def test_a_maker_gets_a_stand_in():
    optimizer = adamw()
    before, seen = copy.deepcopy(optimizer.state_dict()), []

    def make(standin):
        seen.append(standin)
        return lr_scheduler.LinearLR(standin, 0.5, total_iters=2)

    found = dry_run(make, 3, optimizer=optimizer)
    assert torch.tensor(found["lr"]).tolist() == [
        pytest.approx(row) for row in ([0.005, 0.01], [0.0075, 0.015], [0.01, 0.02])
    ]
    assert seen[0] is not optimizer and type(seen[0]).__name__ == "AdamW"
    assert optimizer.state_dict() == before and "initial_lr" not in optimizer.param_groups[0]


def test_chosen_hypers_are_shown_though_they_stay():
    optimizer = adamw()
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    assert dry_run(scheduler, 2, hypers=["beta2"]) == {"beta2": [[0.999] * 2] * 2}
    with pytest.raises(KeyError, match="AdamW has no hyper-parameter 'beta9'"):
        dry_run(scheduler, 2, hypers=["beta9"])


def test_what_waits_for_a_loss_or_is_no_scheduler_is_refused():
    optimizer = adamw()
    with pytest.raises(TypeError, match="ReduceLROnPlateau sets lr by the losses of a real run"):
        dry_run(lr_scheduler.ReduceLROnPlateau(optimizer), 3)
    with pytest.raises(TypeError, match="ReduceLROnPlateau sets lr by the losses of a real run"):
        dry_run(lr_scheduler.ReduceLROnPlateau, 3, optimizer=optimizer)
    with pytest.raises(TypeError, match="also needs optimizer="):
        dry_run(lambda o: None, 3)
    with pytest.raises(TypeError, match="the function must return a scheduler, got NoneType"):
        dry_run(lambda o: None, 3, optimizer=optimizer)
    with pytest.raises(TypeError, match="wants a scheduler of torch's kind or a function, got int"):
        dry_run(3, 3)
    with pytest.raises(ValueError, match="dry_run: steps must be >= 1, got 0"):
        dry_run(lr_scheduler.ConstantLR(optimizer), 0)


def test_an_error_of_the_schedule_reaches_the_dry_run():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    scheduler = Scheduler(optimizer, {"lr": lambda pos: 1 - 2 * pos}, 4)
    with pytest.raises(ValueError, match=r"SGD: lr must be >= 0, got -0\.5 at position 0\.75"):
        dry_run(scheduler, 5)


@pytest.fixture
def needs_matplotlib():
    pytest.importorskip("matplotlib", reason="draws")


drawing = pytest.mark.usefixtures("needs_matplotlib")


def drawn(figure):
    """Panel by panel: the label of y, and by the line's label its points."""
    return {
        ax.get_ylabel(): {
            line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
            for line in ax.get_lines()
        }
        for ax in figure.axes
    }


@drawing
def test_a_bare_schedule_is_drawn_over_positions_or_steps():
    figure = plot(lin(0, 1))
    x, y = drawn(figure)["value"]["lin(0, 1)"]
    assert x == y and x[0] == 0 and x[-1] == 1
    assert figure.axes[0].get_xlabel() == "position in the run"
    figure = plot(lin(0, 1), 4)
    assert drawn(figure) == {"value": {"lin(0, 1)": ([0, 1, 2, 3, 4], [0, 0.25, 0.5, 0.75, 1])}}
    assert figure.axes[0].get_xlabel() == "optimizer step"


@drawing
def test_hypers_have_panels_and_groups_have_lines():
    found = drawn(plot({"lr": lin([0, 1], 2), "wd": no([1, 1])}, 2))
    assert found == {
        "lr": {"lin([0, 1], 2), group 0": ([0, 1, 2], [0, 1, 2]),
               "lin([0, 1], 2), group 1": ([0, 1, 2], [1, 1.5, 2])},
        "wd": {"no([1, 1], [1, 1]), all 2 groups": ([0, 1, 2], [1, 1, 1])},
    }  # fmt: skip


@drawing
def test_a_scheduler_is_drawn_to_its_end_from_where_it_is():
    optimizer = adamw()
    optimizer.param_groups[0]["name"] = "body"
    scheduler = Scheduler(optimizer, plan(), 8)
    real(optimizer, scheduler, [], 3)
    found = drawn(plot(scheduler))
    assert list(found) == ["lr", "mom", "wd"]
    assert list(found["lr"]) == ["Scheduler, body", "Scheduler, group 1"]
    x, y = found["lr"]["Scheduler, group 1"]
    assert x == list(range(3, 9)) and y == pytest.approx([one_cycle(0.02)(k / 8) for k in x])
    assert list(drawn(plot(scheduler, hypers=["mom"]))) == ["mom"]


@drawing
def test_several_are_compared_in_one_panel():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    torchs = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    found = drawn(plot([{"lr": cos(0.1, 0)}, torchs, torchs], 12))
    assert list(found["lr"]) == ["cos(0.1, 0)", "CosineAnnealingLR", "CosineAnnealingLR (2)"]
    assert found["lr"]["CosineAnnealingLR"][0] == list(range(13))


@drawing
def test_a_plot_goes_into_given_axes():
    first = plot(lin(0, 1))
    again = plot(lin(1, 0), ax=first.axes[0])
    assert again is first and list(drawn(first)["value"]) == ["lin(0, 1)", "lin(1, 0)"]
    colours = [line.get_color() for line in first.axes[0].get_lines()]
    assert len(set(colours)) == 2
    with pytest.raises(ValueError, match="ax has room for one of lr, wd; choose with hypers="):
        plot({"lr": no(1), "wd": no(1)}, ax=first.axes[0])


@drawing
def test_functions_without_a_form_are_named():
    @annealer
    def late(start, end, pos):
        return end

    assert list(drawn(plot([late(0, 1), lambda pos: pos]))["value"]) == ["late(0, 1)", "<lambda>"]


@drawing
@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda o: plot(3),
            TypeError,
            "wants a schedule, a mapping of them or a scheduler, got int",
        ),
        (lambda o: plot([]), ValueError, "empty list"),
        (lambda o: plot({"lr": 0.1}), TypeError, r"lr wants a function of the position, got 0\.1"),
        (
            lambda o: plot({"lr": no(1)}, hypers=["wd"]),
            KeyError,
            "no schedule for 'wd'; there is lr",
        ),
        (lambda o: plot(lr_scheduler.ConstantLR(o)), TypeError, "ConstantLR has no end"),
        (lambda o: plot(lr_scheduler.ReduceLROnPlateau(o), 5), TypeError, "losses of a real run"),
        (lambda o: plot([no(1), Scheduler(o, plan(), 4)]), ValueError, "give steps= to draw"),
        (lambda o: plot(no(1), 0), ValueError, "plot: steps must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_drawn(make, error, text):
    with pytest.raises(error, match=text):
        make(adamw())


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'steppers\[train\]'"):
        plot(lin(0, 1))
