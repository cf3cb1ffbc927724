"""ParamScheduler and torch's schedulers as callbacks."""

import io
import math

import pytest
import torch
from small_fits import At, make, throw
from torch import nn
from torch.optim import lr_scheduler

import steppers
from steppers import schedules
from steppers.train.callbacks.accumulation import GradientAccumulation
from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.callbacks.precision import MixedPrecision
from steppers.train.callbacks.schedule import BatchSched, EpochSched, ParamScheduler
from steppers.train.events import CancelFit, CancelStep


class Seen:
    """The value of a hyper in each group, as each training batch's step finds it."""

    order = 100

    def __init__(self, key="lr"):
        self.key, self.rows = key, []

    def before_batch(self, learn):
        if learn.training:
            self.rows.append([group[self.key] for group in learn.opt.param_groups])

    @property
    def first(self):
        return [row[0] for row in self.rows]


# --- ParamScheduler ------------------------------------------------------------------------------


def test_a_linear_schedule_sets_the_rate_to_k_over_n():
    seen = Seen()
    make(ParamScheduler({"lr": schedules.lin(1e-3, 1e-2)}), seen).fit(2)
    assert seen.first == pytest.approx([1e-3 + 9e-3 * k / 20 for k in range(20)])


def test_a_cycle_follows_combined_cos_in_rate_and_momentum():
    lr, mom = Seen(), Seen("betas")
    plan = {
        "lr": schedules.combined_cos(0.25, 1e-3, 1e-2, 1e-7),
        "mom": schedules.combined_cos(0.25, 0.95, 0.85, 0.95),
    }
    make(ParamScheduler(plan), lr, mom, opt_func=torch.optim.Adam).fit(2)

    def cos(start, end, x):
        return start + (1 + math.cos(math.pi * (1 - x))) * (end - start) / 2

    def cycle(k, low, top, last):
        x = k / 20
        return cos(low, top, x / 0.25) if x < 0.25 else cos(top, last, (x - 0.25) / 0.75)

    assert lr.first == pytest.approx([cycle(k, 1e-3, 1e-2, 1e-7) for k in range(20)])
    betas = [cycle(k, 0.95, 0.85, 0.95) for k in range(20)]
    assert [b[0] for b in mom.first] == pytest.approx(betas)
    assert {b[1] for b in mom.first} == {0.999}


def halves(model):
    return [model[:2], model[2:]]


@pytest.mark.parametrize("listed", [True, False])
def test_each_layer_group_has_its_own_schedule(listed):
    seen = Seen()
    low, high = schedules.lin(0.1, 0.2), schedules.lin(1.0, 2.0)
    plan = [low, high] if listed else lambda x: [low(x), high(x)]
    learn = make(ParamScheduler({"lr": plan}), seen, splitter=halves)
    learn.fit(1)
    assert learn.layers.of_group == (0, 0, 1, 1)  # weights and biases apart
    assert seen.rows[5] == pytest.approx([0.15, 0.15, 1.5, 1.5])


@pytest.mark.parametrize("kind", [torch.tensor, lambda v: torch.tensor(v).numpy(), tuple])
def test_a_schedule_may_give_arrays(kind):
    seen = Seen()
    make(ParamScheduler({"lr": lambda x: kind([0.25, 0.5])}), seen, splitter=halves).fit(1)
    assert seen.rows[3] == [0.25, 0.25, 0.5, 0.5]
    assert all(type(lr) is float for lr in seen.rows[3])


def test_scheduled_decay_leaves_norms_and_biases_at_zero():
    seen = Seen("weight_decay")
    make(ParamScheduler({"wd": schedules.no(0.5)}), seen, opt_func=steppers.AdamW).fit(1)
    assert seen.rows == [[0.5, 0.0]] * 10


def test_a_tensor_rate_is_filled_in_place():
    learn = make(ParamScheduler({"lr": schedules.no(0.5)}))
    held = torch.tensor(0.1)
    learn.opt.param_groups[0]["lr"] = held
    learn.fit(1)
    assert learn.opt.param_groups[0]["lr"] is held
    assert held == 0.5


def test_a_validation_pass_changes_nothing():
    learn = make(ParamScheduler({"lr": schedules.no(0.5)}), valid=2)
    learn.validate()
    assert learn.opt.param_groups[0]["lr"] == 0.1


def test_start_epoch_keeps_the_place_in_the_schedule():
    seen = Seen()
    make(ParamScheduler({"lr": schedules.lin(0, 1)}), seen).fit(3, start_epoch=2)
    assert seen.first == pytest.approx([k / 30 for k in range(20, 30)])


@pytest.mark.parametrize(
    ("plan", "error", "says"),
    [
        ({}, TypeError, "wants a hyper's name"),
        (schedules.lin(0, 1), TypeError, "wants a hyper's name"),
        ({"lr": 0.1}, TypeError, "lr wants a function of the position, got 0.1"),
        ({"lr": [schedules.no(1), 2]}, TypeError, "got 2"),
    ],
)
def test_what_is_no_schedule_is_an_error_at_construction(plan, error, says):
    with pytest.raises(error, match=says):
        ParamScheduler(plan)


@pytest.mark.parametrize(
    ("plan", "error", "says"),
    [
        ({"lrr": schedules.no(1)}, KeyError, "did you mean 'lr'"),
        ({"wd": schedules.no(1), "weight_decay": schedules.no(1)}, ValueError, "are one hyper"),
        ({"momentum": schedules.no(0.5), "lr": lambda x: -1.0}, ValueError, "lr must be >= 0"),
        ({"momentum": schedules.no(0.5), "lr": lambda x: math.nan}, ValueError, "got nan"),
        ({"lr": lambda x: "much"}, TypeError, "must be a number, got 'much'"),
        ({"lr": lambda x: [0.1, 0.2, 0.3]}, ValueError, "got 3 values for 1 group"),
    ],
)
def test_a_schedule_that_does_not_fit_changes_nothing(plan, error, says):
    learn = make(ParamScheduler(plan))
    before = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    with pytest.raises(error, match=says):
        learn.fit(1)
    after = [{k: v for k, v in g.items() if k != "params"} for g in learn.opt.param_groups]
    assert after == before


# --- torch's schedulers --------------------------------------------------------------------------

TORCHS = {
    "cosine": lambda opt: lr_scheduler.CosineAnnealingLR(opt, 20),
    "one cycle": lambda opt: lr_scheduler.OneCycleLR(opt, max_lr=0.5, total_steps=30),
    "multi-step": lambda opt: lr_scheduler.MultiStepLR(opt, [4, 4, 9], 0.5),
    "sequence": lambda opt: lr_scheduler.SequentialLR(
        opt,
        [lr_scheduler.LinearLR(opt, 0.1, 1.0, 5), lr_scheduler.ExponentialLR(opt, 0.9)],
        milestones=[5],
    ),
    "ours": lambda opt: schedules.Scheduler(opt, {"lr": schedules.cos(0.3, 0.01)}, 20),
}


def expected(make_scheduler, steps, lr=0.1):
    """The rates that torch's own loop gives."""
    opt = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=lr, momentum=0.9)
    scheduler, rates = make_scheduler(opt), []
    for _ in range(steps):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    return rates


def sgd(params, lr):
    return torch.optim.SGD(params, lr=lr, momentum=0.9)


@pytest.mark.parametrize("name", TORCHS)
def test_batch_sched_gives_the_rates_of_a_loop_by_hand(name):
    seen = Seen()
    make(BatchSched(TORCHS[name]), seen, opt_func=sgd).fit(2)
    assert seen.first == expected(TORCHS[name], 20)


def test_epoch_sched_steps_once_a_training_pass():
    seen = Seen()
    make(EpochSched(TORCHS["cosine"]), seen, train=2, valid=2).fit(3)
    rates = expected(TORCHS["cosine"], 3)
    assert seen.first == [rate for rate in rates for _ in range(2)]


def test_a_second_fit_begins_anew_from_its_own_rate():
    first, second = Seen(), Seen()
    learn = make(BatchSched(TORCHS["cosine"]), opt_func=sgd)
    learn.fit(1, cbs=first)
    learn.fit(1, lr=0.7, cbs=second)
    assert first.first == expected(TORCHS["cosine"], 10)
    assert second.first == expected(TORCHS["cosine"], 10, lr=0.7)


def test_an_initial_rate_that_something_else_left_is_not_taken():
    def harmonic(opt):  # begins from the group's initial_lr where there is one
        return lr_scheduler.LambdaLR(opt, lambda k: 1 / (k + 1))

    seen = Seen()
    learn = make(BatchSched(harmonic), seen, opt_func=sgd)
    learn.opt.param_groups[0]["initial_lr"] = 3.0
    learn.fit(1)
    assert seen.first == pytest.approx([0.1 / (k + 1) for k in range(10)])


def test_start_epoch_begins_at_that_place_of_the_scheduler():
    seen = Seen()
    make(BatchSched(TORCHS["cosine"]), seen, opt_func=sgd).fit(2, start_epoch=1)
    assert seen.first == expected(TORCHS["cosine"], 20)[10:]


def test_accumulated_batches_do_not_count():
    seen = Seen()
    make(BatchSched(TORCHS["cosine"]), GradientAccumulation(2), seen, opt_func=sgd).fit(1)
    rates = expected(TORCHS["cosine"], 5)
    assert seen.first == [rate for rate in rates for _ in range(2)]


def test_a_cancelled_step_does_not_count():
    seen = Seen()
    cancel = At("before_step", 3, throw(CancelStep()))
    make(BatchSched(TORCHS["cosine"]), cancel, seen, opt_func=sgd).fit(1)
    rates = expected(TORCHS["cosine"], 9)
    assert seen.first == [*rates[:4], *rates[3:]]


@pytest.mark.parametrize("opt_func", [sgd, steppers.AdamW])
def test_a_step_that_a_scaler_left_out_does_not_count(opt_func):
    def overflow(learn):
        learn.model[0].weight.grad[0, 0] = math.inf

    seen = Seen()
    scaled = MixedPrecision("float16", init_scale=256.0)
    cbs = [BatchSched(TORCHS["cosine"]), scaled, At("after_backward", 3, overflow), seen]
    make(*cbs, opt_func=opt_func).fit(1)
    rates = expected(TORCHS["cosine"], 9)
    assert seen.first == pytest.approx([*rates[:4], *rates[3:]])
    assert scaled.scaler.get_scale() == 128


def test_a_plateau_lowers_the_rate_by_a_validation_score():
    class Worse:
        order = -5

        def after_epoch(self, learn):
            if not learn.training:
                learn.scores["valid"] = {"loss": 1.0 + learn.epoch}

    seen = Seen()
    plateau = EpochSched(
        lambda opt: lr_scheduler.ReduceLROnPlateau(opt, patience=0, factor=0.5), monitor="loss"
    )
    make(plateau, Worse(), seen, train=1, valid=1).fit(4)
    assert seen.first == [0.1, 0.1, 0.05, 0.025]


def left(learn):
    group = {k: v for k, v in learn.opt.param_groups[0].items() if k != "params"}
    hooks = learn.opt._optimizer_step_post_hooks
    return set(group), "step" in vars(learn.opt), len(hooks)


@pytest.mark.parametrize("error", [CancelFit(), ValueError("x"), KeyboardInterrupt(), None])
def test_nothing_of_a_scheduler_stays_in_the_optimizer(error):
    learn = make(BatchSched(TORCHS["one cycle"]), opt_func=sgd)
    learn.opt.param_groups[0]["initial_lr"] = 3.0
    before = left(learn)
    cbs = [At("after_loss", 4, throw(error))] if error else []
    if error is None or isinstance(error, CancelFit):
        learn.fit(1, cbs=cbs)
    else:
        with pytest.raises(type(error)):
            learn.fit(1, cbs=cbs)
    assert left(learn) == before
    assert learn.opt.param_groups[0]["initial_lr"] == 3.0


@pytest.mark.parametrize(
    ("make_callback", "says"),
    [
        (lambda: BatchSched(3), "wants a function from the optimizer"),
        (lambda: BatchSched(lambda opt: None), "must return a scheduler, got None"),
        (lambda: BatchSched(lr_scheduler.ReduceLROnPlateau), "monitor='loss'"),
        (lambda: EpochSched(lr_scheduler.ReduceLROnPlateau), "monitor='loss'"),
        (lambda: EpochSched(TORCHS["cosine"], monitor="loss"), "takes no metric"),
    ],
)
def test_what_cannot_be_stepped_is_an_error(make_callback, says):
    with pytest.raises(TypeError, match=says):
        learn = make(make_callback(), opt_func=sgd)
        before = left(learn)
        try:
            learn.fit(1)
        finally:
            assert left(learn) == before


def test_a_score_that_is_not_there_is_an_error():
    plateau = EpochSched(lr_scheduler.ReduceLROnPlateau, monitor="acc")
    with pytest.raises(KeyError, match="no validation score 'acc'"):
        make(plateau).fit(1)


@pytest.mark.parametrize("name", TORCHS)
def test_a_resumed_fit_goes_on_with_the_same_rates(name, tmp_path):
    whole, before, after = Seen(), Seen(), Seen()
    make(BatchSched(TORCHS[name]), whole, opt_func=sgd).fit(2)
    path = tmp_path / "fit.pt"
    stop = At("before_batch", 13, throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        cbs = [BatchSched(TORCHS[name]), before, stop, Checkpoint(path, 1)]
        make(*cbs, opt_func=sgd).fit(2)
    cbs = [BatchSched(TORCHS[name]), after, Checkpoint(path, resume=True)]
    make(*cbs, opt_func=sgd).fit(2)
    assert whole.first[13:] == after.first


def test_a_state_loads_without_pickled_code():
    callback = BatchSched(TORCHS["multi-step"])
    make(callback, opt_func=sgd).fit(1)
    buffer = io.BytesIO()
    torch.save(callback.state_dict(), buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=True)
    assert loaded["scheduler"]["last_epoch"] == 10
    with pytest.raises(RuntimeError, match="a fit must have begun"):
        BatchSched(TORCHS["multi-step"]).load_state_dict(loaded)
