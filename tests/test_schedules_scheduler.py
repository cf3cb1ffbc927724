"""The scheduler: any hyper of any torch optimizer, used and saved as torch's own are."""

import copy
import io
import json
import math
import pickle

import pytest
import torch
from torch.optim import lr_scheduler

import steppers
from steppers.schedules import Scheduler, cos, lin, no, one_cycle, one_cycle_momentum

N = 10
LINE = lin(1e-3, 1e-2)


def parameters(n=1):
    return [torch.nn.Parameter(torch.ones(3)) for _ in range(n)]


def step(optimizer):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.full_like(p, 0.1)
    optimizer.step()


def drive(optimizer, scheduler, steps, read):
    """What `read(group)` gives in each group before each step."""
    found = []
    for _ in range(steps):
        found.append([read(group) for group in optimizer.param_groups])
        step(optimizer)
        scheduler.step()
    return found


def groups(optimizer):
    """Every hyper of every group, copied."""
    kept = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    return copy.deepcopy(kept)


OPTIMIZERS = [
    torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Rprop,
    torch.optim.Adagrad, steppers.SGD, steppers.AdamW, steppers.Lion, steppers.LAMB,
]  # fmt: skip


@pytest.mark.parametrize(
    "kind", OPTIMIZERS, ids=lambda k: f"{k.__module__.split('.')[0]}-{k.__name__}"
)
def test_the_kth_step_has_the_value_at_k_of_n(kind):
    optimizer = kind(parameters(), lr=0.5)
    scheduler = Scheduler(optimizer, {"lr": LINE}, N)
    found = drive(optimizer, scheduler, N + 3, lambda g: g["lr"])
    assert found == [[pytest.approx(1e-3 + 9e-3 * min(k / N, 1))] for k in range(N + 3)]
    assert scheduler.get_last_lr() == [1e-2]


def lr(g):
    return g["lr"]


def test_one_cycle_of_two_epochs_of_ten_batches():
    optimizer = torch.optim.AdamW(parameters())
    plan = {"lr": one_cycle(1e-2), "mom": one_cycle_momentum()}
    found = drive(optimizer, Scheduler(optimizer, plan, 20), 20, lambda g: (g["lr"], g["betas"]))
    for k, [(rate, betas)] in enumerate(found):
        up = k < 5
        share = (1 - math.cos(math.pi * (k / 5 if up else (k - 5) / 15))) / 2
        first, last = (4e-4, 1e-2) if up else (1e-2, 1e-7)
        assert rate == pytest.approx(first + share * (last - first))
        first, last = (0.95, 0.85) if up else (0.85, 0.95)
        assert betas == (pytest.approx(first + share * (last - first)), 0.999)


@pytest.mark.parametrize(
    ("kind", "options", "name", "read"),
    [
        (torch.optim.SGD, {"momentum": 0.9}, "mom", lambda g: g["momentum"]),
        (torch.optim.SGD, {}, "weight_decay", lambda g: g["weight_decay"]),
        (torch.optim.Adam, {}, "beta2", lambda g: g["betas"][1]),
        (torch.optim.Adam, {}, "sqr_mom", lambda g: g["betas"][1]),
        (torch.optim.RMSprop, {}, "sqr_mom", lambda g: g["alpha"]),
        (torch.optim.Rprop, {}, "etaminus", lambda g: g["etas"][0]),
        (steppers.AdamW, {}, "wd", lambda g: g["weight_decay"]),
        (steppers.LAMB, {}, "beta1", lambda g: g["betas"][0]),
    ],
)
def test_any_hyper_can_be_driven_and_lr_stays(kind, options, name, read):
    optimizer = kind(parameters(), lr=0.3, **options)
    scheduler = Scheduler(optimizer, {name: lin(0.5, 0.7)}, N)
    found = drive(optimizer, scheduler, N, lambda g: (read(g), g["lr"]))
    assert found == [[(pytest.approx(0.5 + 0.02 * k), 0.3)] for k in range(N)]


def test_a_value_a_group_and_a_function_a_group():
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters(2)], lr=0.1)
    plan = {"lr": lin([0.1, 0.2], 0), "weight_decay": [no(0.5), lin(0, 1)]}
    found = drive(
        optimizer, Scheduler(optimizer, plan, 4), 4, lambda g: (g["lr"], g["weight_decay"])
    )
    expected = [[(0.1 - 0.025 * k, 0.5), (0.2 - 0.05 * k, k / 4)] for k in range(4)]
    assert [sum(row, ()) for row in found] == [pytest.approx(sum(row, ())) for row in expected]


def test_a_group_without_the_hyper_is_left_alone():
    with_momentum, without = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([{"params": [with_momentum]}, {"params": [without]}], lr=0.1)
    del optimizer.param_groups[1]["momentum"]
    scheduler = Scheduler(optimizer, {"momentum": lin(0.5, 1)}, 2)
    assert groups(optimizer)[0]["momentum"] == 0.5 and "momentum" not in groups(optimizer)[1]
    scheduler.step()
    assert groups(optimizer)[0]["momentum"] == 0.75 and "momentum" not in groups(optimizer)[1]


def test_a_hyper_of_one_chain_of_two():
    def plain(p, g, *, lr):
        return dict(p=p - lr * g)

    def damped(p, g, *, lr, damping=1.0):
        return dict(p=p - lr * damping * g)

    a, b = parameters(2)
    chains = {"plain": (plain,), "damped": (damped,)}
    optimizer = steppers.Optimizer(
        [{"params": [a], "chain": "plain"}, {"params": [b], "chain": "damped"}],
        chains=chains, lr=0.1,
    )  # fmt: skip
    scheduler = Scheduler(optimizer, {"lr": lin(1, 0), "damping": lin(0.5, 0)}, 2)
    drive(optimizer, scheduler, 2, lr)
    # gradients .1: lr 1 then .5; damping .5 then .25
    assert a.tolist() == pytest.approx([0.85] * 3)
    assert b.tolist() == pytest.approx([1 - 0.05 - 0.0125] * 3)


@pytest.mark.parametrize("kind", [torch.optim.Adam, steppers.AdamW])
def test_a_tensor_lr_is_written_in_place(kind):
    rate = torch.tensor(0.1, dtype=torch.float64)
    optimizer = kind(parameters(), lr=rate)
    scheduler = Scheduler(optimizer, {"lr": LINE}, N)
    found = drive(optimizer, scheduler, N, lambda g: float(g["lr"]))
    assert found == [[pytest.approx(1e-3 + 9e-3 * k / N)] for k in range(N)]
    assert optimizer.param_groups[0]["lr"] is rate
    last = scheduler.get_last_lr()[0]
    assert last is not rate and float(last) == pytest.approx(1e-2)
    assert json.dumps(scheduler.state_dict())


def test_a_group_added_later_is_driven_from_the_next_step():
    first, second = parameters(2)
    optimizer = torch.optim.SGD([first], lr=0.1)
    scheduler = Scheduler(optimizer, {"lr": lin(1, 0)}, 4)
    optimizer.add_param_group({"params": [second], "lr": 9.0})
    step(optimizer)
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.75, 0.75]
    assert scheduler.get_last_lr() == [0.75, 0.75]


def test_a_group_too_many_for_the_values_is_an_error_that_changes_nothing():
    one, two, three = parameters(3)
    optimizer = torch.optim.SGD([{"params": [one]}, {"params": [two]}], lr=0.1)
    scheduler = Scheduler(optimizer, {"weight_decay": no(0.1), "lr": lin([1, 2], 0)}, 4)
    optimizer.add_param_group({"params": [three]})
    before, where = groups(optimizer), scheduler.state_dict()
    with pytest.raises(ValueError, match=r"lr at position 0\.25: got 2 values for 3 groups"):
        scheduler.step()
    assert groups(optimizer) == before and scheduler.state_dict() == where


def bad_at_half(value):
    return lambda pos: value if pos >= 0.5 else 0.1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("lr", math.nan, "SGD: lr at position 0.5 must be finite, got nan"),
        ("lr", math.inf, "SGD: lr at position 0.5 must be finite, got inf"),
        ("lr", -0.5, "SGD: lr must be >= 0, got -0.5 at position 0.5"),
        ("momentum", -1, "SGD: momentum must be >= 0, got -1.0 at position 0.5"),
        ("lr", torch.tensor(-1.0), "SGD: lr must be >= 0, got -1.0 at position 0.5"),
    ],
)
def test_a_bad_value_is_named_before_anything_changes(name, value, text):
    optimizer = torch.optim.SGD(parameters(), lr=0.1, momentum=0.9)
    plan = {"weight_decay": lin(0, 1), name: bad_at_half(value)}
    scheduler = Scheduler(optimizer, plan, 2)
    before, where = groups(optimizer), scheduler.state_dict()
    step(optimizer)
    with pytest.raises(ValueError, match=text):
        scheduler.step()
    assert groups(optimizer) == before and scheduler.state_dict() == where


@pytest.mark.parametrize("value", ["a", None, True, [[0.1]]])
def test_a_value_that_is_no_number_is_a_type_error(value):
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    with pytest.raises(TypeError, match="lr at position 0 must be a number"):
        Scheduler(optimizer, {"lr": lambda pos: value}, 2)


# fmt: off
ERRORS = [
    ({"momentom": LINE}, N, KeyError, "SGD has no .* 'momentom'; did you mean 'momentum'"),
    ({"lr": 0.1}, N, TypeError, "lr wants a function of the position, got 0.1; steppers"),
    ({"lr": [LINE, LINE]}, N, ValueError, "lr has 2 schedules for 1 groups with lr"),
    ({"lr": []}, N, ValueError, "lr has 0 schedules for 1 groups"),
    ({}, N, ValueError, "schedules is empty"),
    ({3: LINE}, N, TypeError, "a hyper is given by its name, a string, got 3"),
    ({"foreach": LINE}, N, TypeError, "foreach is None; only numbers can be scheduled"),
    (LINE, N, TypeError, "schedules must map hypers to functions, .* got Anneal"),
    ({"nesterov": LINE}, N, TypeError, "nesterov is False; only numbers can be scheduled"),
    ({"mom": LINE, "momentum": LINE}, N, ValueError, "Scheduler: mom and momentum are one hyper"),
    ({"lr": LINE}, 0, ValueError, "Scheduler: total_steps must be >= 1, got 0"),
    ({"lr": LINE}, 10.0, TypeError, r"total_steps must be an int, got 10.0 \(float\)"),
    ({"lr": lin(-1, 1)}, N, ValueError, "SGD: lr must be >= 0, got -1.0 at position 0"),
]
# fmt: on


@pytest.mark.parametrize(
    ("plan", "total", "error", "text"), ERRORS, ids=[r[3][:40] for r in ERRORS]
)
def test_errors_at_construction_change_nothing(plan, total, error, text):
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    before, attributes = groups(optimizer), set(vars(optimizer))
    with pytest.raises(error, match=text):
        Scheduler(optimizer, plan, total)
    assert groups(optimizer) == before and set(vars(optimizer)) == attributes


def test_a_tuple_is_scheduled_by_its_elements():
    with pytest.raises(TypeError, match=r"betas is \(0.9, 0.999\); schedule its elements"):
        Scheduler(torch.optim.Adam(parameters()), {"betas": LINE}, N)


def test_what_is_no_optimizer_or_has_no_lr_is_refused():
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer, got list"):
        Scheduler(parameters(), {"lr": LINE}, N)

    def fixed(p, g, *, rate=0.1):
        return dict(p=p - rate * g)

    with pytest.raises(KeyError, match="group 0 of Optimizer has no lr"):
        Scheduler(steppers.Optimizer(parameters(), steps=[fixed]), {"rate": LINE}, N)


PLAN = {"lr": one_cycle([0.1, 0.2]), "beta1": one_cycle_momentum(), "wd": [no(0.1), lin(0, 0.1)]}


def pair(kind=torch.optim.AdamW, **options):
    optimizer = kind([{"params": [p]} for p in parameters(2)])
    return optimizer, Scheduler(optimizer, PLAN, N, **options)


def everything(g):
    return g["lr"], g["betas"], g["weight_decay"]


@pytest.mark.parametrize("kind", [torch.optim.AdamW, steppers.AdamW])
@pytest.mark.parametrize("stop", [0, 1, 4, N, N + 2])
def test_a_run_resumed_at_any_step_goes_on_identically(kind, stop):
    optimizer, scheduler = pair(kind)
    whole = drive(optimizer, scheduler, N + 4, everything)
    optimizer, scheduler = pair(kind)
    drive(optimizer, scheduler, stop, everything)
    file = io.BytesIO()
    torch.save({"opt": optimizer.state_dict(), "sched": scheduler.state_dict()}, file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    assert json.loads(json.dumps(saved["sched"])) == saved["sched"]
    for first, second in (("sched", "opt"), ("opt", "sched")):  # in either order
        optimizer, scheduler = pair(kind)
        parts = {"opt": optimizer, "sched": scheduler}
        for name in (first, second):
            parts[name].load_state_dict(saved[name])
        assert scheduler.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
        assert drive(optimizer, scheduler, N + 4 - stop, everything) == whole[stop:]


def test_a_state_is_not_shared_with_the_scheduler():
    optimizer, scheduler = pair()
    saved = scheduler.state_dict()
    kept = copy.deepcopy(saved)
    _, other = pair()
    other.load_state_dict(saved)
    drive(optimizer, scheduler, 3, everything)
    other.step()
    other.get_last_lr()[0] = 7.0
    assert saved == kept


def test_a_state_of_another_run_is_refused_and_nothing_changes():
    optimizer, scheduler = pair()
    drive(optimizer, scheduler, 3, everything)
    saved = scheduler.state_dict()
    longer = Scheduler(optimizer, PLAN, 2 * N)
    before = longer.state_dict()
    with pytest.raises(
        ValueError, match=r"run of 10 steps, this one has 20; .* last_epoch=2 to go"
    ):
        longer.load_state_dict(saved)
    with pytest.raises(KeyError, match="it lacks total_steps"):
        longer.load_state_dict({"last_epoch": 3, "_step_count": 4, "_last_lr": [0.1]})
    assert longer.state_dict() == before
    drive(optimizer, longer, 3, everything)
    values = [everything(g) for g in optimizer.param_groups]
    Scheduler(optimizer, PLAN, 2 * N, last_epoch=2)  # as the message says
    assert [everything(g) for g in optimizer.param_groups] == values


def test_last_epoch_starts_after_that_step():
    optimizer, scheduler = pair()
    whole = drive(optimizer, scheduler, N, everything)
    optimizer, scheduler = pair(last_epoch=3)
    assert drive(optimizer, scheduler, N - 4, everything) == whole[4:]


def test_step_goes_to_a_given_step():
    optimizer, scheduler = pair()
    whole = drive(optimizer, scheduler, N, everything)
    scheduler.step(2)
    assert [everything(g) for g in optimizer.param_groups] == whole[2]
    for bad, error in ((-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match=r"Scheduler\.step: epoch must be"):
            scheduler.step(bad)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, steppers.AdamW])
@pytest.mark.parametrize("taken", [0, 1, 3])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_with_its_optimizer_goes_on_alone(kind, taken, way):
    optimizer, scheduler = pair(kind)
    whole = drive(*pair(kind), N, everything)
    drive(optimizer, scheduler, taken, everything)
    before = groups(optimizer)
    twin, theirs = way((optimizer, scheduler))
    assert theirs.optimizer is twin
    assert drive(twin, theirs, N - taken, everything) == whole[taken:]
    assert groups(optimizer) == before


def test_a_first_step_that_was_skipped_is_no_mistake():  # as GradScaler does on infinite gradients
    _, scheduler = pair()
    scheduler.step()
    assert scheduler.last_epoch == 1


def test_it_is_one_of_torchs_schedulers():
    optimizer, scheduler = pair()
    assert isinstance(scheduler, lr_scheduler.LRScheduler)
    assert scheduler.last_epoch == 0 and scheduler._step_count == 1
    assert [g["initial_lr"] for g in optimizer.param_groups] == [1e-3, 1e-3]


def test_in_a_sequence_with_torchs():
    optimizer = torch.optim.SGD(parameters(), lr=1.0, momentum=0.9)
    warm = lr_scheduler.LinearLR(optimizer, 0.25, total_iters=3)
    ours = Scheduler(optimizer, {"lr": lin(1, 0), "momentum": lin(0.5, 1)}, 4)
    optimizer.param_groups[0]["momentum"] = 0.9
    sequence = lr_scheduler.SequentialLR(optimizer, [warm, ours], milestones=[3])
    found = drive(optimizer, sequence, 8, lambda g: (g["lr"], g["momentum"]))
    rates = [0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
    momenta = [0.9, 0.9, 0.9, 0.5, 0.625, 0.75, 0.875, 1]
    assert [row[0] for row in found] == [
        pytest.approx(pair) for pair in zip(rates, momenta, strict=True)
    ]
    json.dumps(sequence.state_dict())


def test_first_in_a_sequence():
    optimizer = torch.optim.SGD(parameters(), lr=1.0)
    ours = [Scheduler(optimizer, {"lr": s}, 2) for s in (lin(0, 1), cos(1, 0))]
    sequence = lr_scheduler.SequentialLR(optimizer, ours, milestones=[2])
    found = drive(optimizer, sequence, 5, lr)
    assert found == [[0], [0.5], [1], [pytest.approx(0.5)], [0]]


def test_in_a_chain_with_torchs():
    optimizer = torch.optim.SGD(parameters(), lr=1.0, momentum=0.9)
    chain = lr_scheduler.ChainedScheduler(
        [lr_scheduler.ExponentialLR(optimizer, 0.5),
         Scheduler(optimizer, {"momentum": lin(0.5, 1)}, 4)],
    )  # fmt: skip
    found = drive(optimizer, chain, 3, lambda g: (g["lr"], g["momentum"]))
    assert found == [[(1, 0.5)], [(0.5, 0.625)], [(0.25, 0.75)]]


def test_under_a_real_grad_scaler():
    optimizer, scheduler = pair(steppers.AdamW)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for k in range(3):
        scaler.scale(torch.tensor(1.0))
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.full_like(p, math.inf if k == 0 else 0.1)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
    assert scheduler.last_epoch == 3
