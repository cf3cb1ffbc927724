"""The course's Runner, Learner and callbacks, in code as its readers wrote it, on our loop."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import steppers
from steppers.styles import course
from steppers.styles.course import (
    AvgStatsCallback,
    BatchTransformXCallback,
    Bridge,
    Callback,
    CancelBatchException,
    CancelEpochException,
    CancelTrainException,
    CudaCallback,
    DataBunch,
    DebugCallback,
    Learner,
    LR_Find,
    ParamScheduler,
    ProgressCallback,
    Recorder,
    Runner,
    TrainEvalCallback,
    adam_opt,
    bn_splitter,
    combine_scheds,
    conv_layer,
    cos_1cycle_anneal,
    create_phases,
    get_cnn_model,
    get_learn_run,
    get_learner,
    get_runner,
    init_cnn,
    sched_1cycle,
    sched_cos,
    sched_exp,
    sched_lin,
    sched_no,
    set_grad,
    sgd_mom_opt,
    sgd_opt,
)
from steppers.train import Learner as Trainer
from steppers.train import accuracy


def batches(count, seed=0, size=8):
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, 4, generator=made)
    return [(one, one.sum(1).gt(0).long()) for one in x]


def data(train=5, valid=2):
    return DataBunch(batches(train), batches(valid, 1), c_in=1, c_out=2)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def holder(opt_func=torch.optim.SGD, lr=0.1, **sizes):
    model = net()
    opt = opt_func(model.parameters(), lr=lr)
    return Learner(model, opt, nn.functional.cross_entropy, data(**sizes))


EVENTS = sorted(course.Run.ALL_CBS)


class Log(Callback):
    """Notes every event; raises or returns something at one of them."""

    def __init__(self, at=None, act=None, batch=0):
        self.seen, self.at, self.act, self.batch = [], at, act, batch

    def __call__(self, cb_name):
        self.seen.append(cb_name)
        if cb_name == self.at and (self.in_train or cb_name == "begin_validate"):
            if isinstance(self.act, type):
                raise self.act
            return self.act
        return False


ONE_TRAIN = [
    "begin_batch",
    "after_pred",
    "after_loss",
    "after_backward",
    "after_step",
    "after_batch",
]
ONE_VALID = ["begin_batch", "after_pred", "after_loss", "after_batch"]
EPOCH = ["begin_epoch", *ONE_TRAIN * 2, "begin_validate", *ONE_VALID, "after_epoch"]


def logged(at=None, act=None, epochs=1):
    log = Log(at, act)
    Runner(cbs=log).fit(epochs, holder(train=2, valid=1))
    return log.seen


# --- events and cancels -------------------------------------------------------------------------


def test_events_come_in_the_courses_order():
    assert logged(epochs=2) == ["begin_fit", *EPOCH, *EPOCH, "after_fit"]


def test_a_cancelled_batch_still_has_its_after_batch():
    seen = logged("after_pred", CancelBatchException)
    one = ["begin_batch", "after_pred", "after_cancel_batch", "after_batch"]
    rest = ["begin_validate", *ONE_VALID, "after_epoch", "after_fit"]
    assert seen == ["begin_fit", "begin_epoch", *one, *one, *rest]


def test_a_cancelled_epoch_ends_the_pass_and_the_validation_follows():
    seen = logged("after_loss", CancelEpochException)
    first = ["begin_batch", "after_pred", "after_loss", "after_batch", "after_cancel_epoch"]
    rest = ["begin_validate", *ONE_VALID, "after_epoch", "after_fit"]
    assert seen == ["begin_fit", "begin_epoch", *first, *rest]


def test_a_cancelled_train_ends_the_whole_fit():
    seen = logged("after_step", CancelTrainException, epochs=3)
    one = [*ONE_TRAIN]
    assert seen == ["begin_fit", "begin_epoch", *one, "after_cancel_train", "after_fit"]


def test_cancels_from_after_batch_count_too():
    seen = logged("after_batch", CancelTrainException, epochs=3)
    assert seen == ["begin_fit", "begin_epoch", *ONE_TRAIN, "after_cancel_train", "after_fit"]
    seen = logged("after_batch", CancelEpochException)
    assert seen[:10] == ["begin_fit", "begin_epoch", *ONE_TRAIN, "after_cancel_epoch",
                         "begin_validate"]  # fmt: skip


def test_an_error_still_has_after_batch_and_after_fit():
    log = Log("after_pred", ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        Runner(cbs=log).fit(1, holder())
    assert log.seen == ["begin_fit", "begin_epoch", "begin_batch", "after_pred", "after_batch",
                        "after_fit"]  # fmt: skip


@pytest.mark.parametrize("event", ["begin_epoch", "begin_validate"])
def test_a_true_value_skips_the_pass_whatever_the_other_callbacks_say(event):
    class Quiet(Callback):
        _order = 5

        def begin_epoch(self):
            return False

        def begin_validate(self):
            return None

    log = Log(event, True)
    run = Runner(cbs=[log, Quiet()])
    learn = holder(train=2, valid=1)
    before = learn.model[0].weight.detach().clone()
    run.fit(1, learn)
    passes = {"begin_epoch": ONE_TRAIN * 2, "begin_validate": ONE_VALID}
    wanted = ["begin_fit"]
    for name, batches_ in passes.items():
        wanted += [name, *([] if name == event else batches_)]
    assert log.seen == [*wanted, "after_epoch", "after_fit"]
    assert torch.equal(learn.model[0].weight, before) == (event == "begin_epoch")


def test_no_other_event_takes_a_return_value_for_anything():
    assert logged("after_loss", True) == ["begin_fit", *EPOCH, "after_fit"]


def test_an_unknown_event_is_an_error():
    with pytest.raises(ValueError, match="no event 'begin_fitt'"):
        Runner()("begin_fitt")


# --- the runner ---------------------------------------------------------------------------------


def test_a_runner_trains_as_a_loop_written_by_hand():
    learn = holder(opt_func=sgd_opt)
    Runner().fit(2, learn)
    model, dls = net(), data()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for xb, yb in dls.train_dl:
            nn.functional.cross_entropy(model(xb), yb).backward()
            opt.step()
            opt.zero_grad()
    for ours, hand in zip(learn.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, hand, atol=1e-7)


def test_per_group_rates_are_left_as_they_are():
    model = net()
    opt = sgd_opt([list(model[0].parameters()), list(model[2].parameters())], lr=[0.1, 0.2])
    Runner().fit(1, Learner(model, opt, nn.functional.cross_entropy, data()))
    assert [h["lr"] for h in opt.hypers] == [0.1, 0.2]


def test_classes_and_partials_become_attributes_by_name():
    run = Runner(cb_funcs=[Recorder, partial(AvgStatsCallback, accuracy, table=False), LR_Find])
    assert isinstance(run.recorder, Recorder) and isinstance(run.avg_stats, AvgStatsCallback)
    assert isinstance(run.lr__find, LR_Find) and isinstance(run.train_eval, TrainEvalCallback)


def test_a_callback_does_not_hide_what_the_run_has():
    class LossCallback(Callback):
        def after_loss(self):
            self.run.seen = self.loss.item()

    run = Runner(cb_funcs=LossCallback)
    run.fit(1, holder())
    assert math.isfinite(run.seen) and run.loss.ndim == 0


def test_a_class_given_as_a_callback_says_where_it_belongs():
    with pytest.raises(TypeError, match=r"Recorder\(\), or give it in cb_funcs="):
        Runner(cbs=Recorder)
    with pytest.raises(TypeError, match=r"must be a course\.Callback"):
        Runner(cbs=print)


def test_a_users_own_callback_class_will_do():
    class Own:
        """A callback written from nothing, as in the course's first notebooks."""

        _order = 0
        name = "own"

        def __init__(self):
            self.losses = []

        def set_runner(self, run):
            self.run = run

        def __getattr__(self, k):
            return getattr(self.run, k)

        def after_loss(self):
            if self.in_train:
                self.losses.append(self.loss.item())

        def __call__(self, cb_name):
            f = getattr(self, cb_name, None)
            return bool(f and f())

    run = Runner(cb_funcs=Own)
    run.fit(2, holder())
    assert len(run.own.losses) == 10


def test_counts_of_epochs_and_batches():
    class Counts(Callback):
        _order = 1

        def begin_fit(self):
            self.rows = []

        def begin_batch(self):
            self.rows.append((self.epoch, self.n_iter, self.n_epochs, self.in_train, self.iters))

    run = Runner(cb_funcs=Counts)
    run.fit(2, holder(train=4, valid=1))
    assert run.counts.rows == [
        (0, 0, 0.0, True, 4), (0, 1, 0.25, True, 4), (0, 2, 0.5, True, 4), (0, 3, 0.75, True, 4),
        (0, 4, 1.0, False, 1),
        (1, 4, 1.0, True, 4), (1, 5, 1.25, True, 4), (1, 6, 1.5, True, 4), (1, 7, 1.75, True, 4),
        (1, 8, 2.0, False, 1),
    ]  # fmt: skip


def test_callbacks_change_batch_predictions_and_the_loss_that_is_differentiated():
    class Doubles(Callback):
        def begin_batch(self):
            self.run.xb, self.run.yb = 2 * self.xb, 1 - self.yb

        def after_pred(self):
            self.run.pred = self.pred * 3

        def after_loss(self):
            self.run.loss = self.loss * 0

    learn = holder()
    before = learn.model[0].weight.detach().clone()
    Runner(cb_funcs=Doubles).fit(1, learn)
    assert torch.equal(learn.model[0].weight, before)
    assert learn.model[0].weight.grad is None or not learn.model[0].weight.grad.any()


def test_validation_runs_without_gradients_and_in_evaluation_mode():
    class Sees(Callback):
        def begin_fit(self):
            self.seen = set()

        def after_pred(self):
            self.seen.add((self.in_train, self.model.training, torch.is_grad_enabled()))

    run = Runner(cb_funcs=Sees)
    run.fit(1, holder())
    assert run.sees.seen == {(True, True, True), (False, False, False)}


# --- the later Learner --------------------------------------------------------------------------


def test_the_later_learner_keeps_its_optimizer_unless_told():
    learn = Learner(net(), data(), nn.functional.cross_entropy, adam_opt(), lr=0.01)
    assert learn.opt is None
    learn.fit(1)
    opt = learn.opt
    learn.fit(1)
    assert learn.opt is opt and opt.state[opt.param_lists[0][0]]["step"] == 10
    learn.fit(1, reset_opt=True)
    assert learn.opt is not opt


def test_its_default_optimizer_is_sgd_at_a_hundredth():
    learn = Learner(net(), data(), nn.functional.cross_entropy)
    learn.fit(1)
    assert [s.__name__ for s in learn.opt.steppers] == ["weight_decay", "sgd_step"]
    assert learn.opt.hypers[0]["lr"] == 0.01


def test_callbacks_of_one_fit_go_and_their_attributes_stay():
    learn = Learner(net(), data(), nn.functional.cross_entropy, lr=0.1)
    first, second = Recorder(), Recorder()
    learn.fit(1, cbs=first)
    learn.fit(2, cbs=[second])
    assert learn.recorder is second and len(first.losses) == 5 and len(second.losses) == 10
    assert [type(cb) for cb in learn.cbs] == [TrainEvalCallback]


def test_the_logger_can_be_replaced():
    rows = []
    learn = Learner(net(), data(), nn.functional.cross_entropy, lr=0.1,
                    cb_funcs=partial(AvgStatsCallback, accuracy))  # fmt: skip
    learn.logger = rows.append
    learn.fit(2)
    assert rows[0] == ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy",
                       "time"]  # fmt: skip
    assert [row[0] for row in rows[1:]] == ["0", "1"] and all(len(row[1]) == 8 for row in rows[1:])


def test_discriminative_rates_and_freezing():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
    model = nn.Sequential(body, nn.Linear(8, 2))
    early, late = bn_splitter(model)
    assert len(early) == 2 and len(late) == 4  # the norm goes with the head
    assert len(early) + len(late) == len(list(model.parameters()))
    model[0].apply(partial(set_grad, b=False))
    learn = Learner(model, data(), nn.functional.cross_entropy, adam_opt(), 0.01, bn_splitter)
    learn.fit(1, cbs=sched_1cycle([1e-3, 1e-2]))
    assert body[0].weight.requires_grad and body[1].weight.requires_grad  # linear layers, norms
    ends = [h["lr"] for h in learn.opt.hypers]
    assert ends[1] == pytest.approx(10 * ends[0])


def test_set_grad_freezes_convolutions():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    model.apply(partial(set_grad, b=False))
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]


def test_learner_errors():
    with pytest.raises(TypeError, match="loss_func is missing"):
        Learner(net(), data())
    with pytest.raises(TypeError, match="data must have train_dl and valid_dl"):
        Learner(net(), 3, nn.functional.cross_entropy).fit(1)


# --- callbacks ----------------------------------------------------------------------------------


def test_the_recorder_has_the_rate_of_the_last_group_and_raw_losses():
    model = net()
    opt = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.1},
                           {"params": model[2].parameters(), "lr": 0.2}])  # fmt: skip
    run = Runner(cb_funcs=Recorder)
    run.fit(2, Learner(model, opt, nn.functional.cross_entropy, data()))
    assert run.recorder.lrs == [0.2] * 10 and run.recorder.lrs_of_groups[0] == [0.1] * 10
    assert len(run.recorder.losses) == 10
    fresh = net()
    x, y = batches(1)[0]
    first = nn.functional.cross_entropy(fresh(x), y)
    assert run.recorder.losses[0].item() == pytest.approx(first.item())


@pytest.mark.parametrize("opt_func", [sgd_mom_opt, partial(torch.optim.SGD, momentum=0.5),
                                      torch.optim.Adam, steppers.AdamW])  # fmt: skip
def test_param_scheduler_sets_rate_and_momentum_of_any_optimizer(opt_func):
    learn = holder(opt_func=opt_func, lr=0.1)
    lr = partial(ParamScheduler, "lr", sched_lin(0.1, 0.2))
    mom = partial(ParamScheduler, "mom", sched_lin(0.9, 0.7))
    run = Runner(cb_funcs=[lr, mom, Recorder])
    run.fit(2, learn)
    assert run.recorder.lrs == pytest.approx([0.1 + 0.1 * k / 10 for k in range(10)])
    assert steppers.hypers.get(learn.opt, "mom")[0] == pytest.approx(0.9 - 0.2 * 0.9)


def test_param_scheduler_takes_a_function_for_each_group():
    model = net()
    opt = sgd_opt([list(model[0].parameters()), list(model[2].parameters())], lr=0.1)
    sched = ParamScheduler("lr", [sched_no(0.1, 0.1), sched_lin(0.0, 1.0)])
    run = Runner(cbs=[sched, Recorder()])
    run.fit(1, Learner(model, opt, nn.functional.cross_entropy, data()))
    assert run.recorder.lrs_of_groups == [[0.1] * 5, pytest.approx([0, 0.2, 0.4, 0.6, 0.8])]
    wrong = ParamScheduler("lr", [sched_no(1, 1)] * 3)
    with pytest.raises(ValueError, match="3 functions for the lr of 2 groups"):
        Runner(cbs=wrong).fit(1, Learner(model, opt, nn.functional.cross_entropy, data()))
    with pytest.raises(TypeError, match="wants functions of the position"):
        ParamScheduler("lr", 0.1)


def test_a_users_scheduler_that_writes_hypers_or_groups():
    class Rates(Callback):
        _order = 1

        def begin_batch(self):
            for h in self.opt.hypers:
                h["lr"] = 0.5

    class Wd(Callback):
        def begin_batch(self):
            for pg in self.opt.param_groups:
                pg["wd"] = 0.25

    learn = holder(opt_func=sgd_opt)
    Runner(cb_funcs=[Rates, Wd]).fit(1, learn)
    assert dict(learn.opt.hypers[0]) == {"lr": 0.5, "wd": 0.25}


def test_lr_find_rises_to_its_end_and_leaves_the_weights():
    learn = holder(lr=1.0, train=50)
    before = learn.model[0].weight.detach().clone()
    run = Runner(cb_funcs=[partial(LR_Find, max_iter=20, min_lr=1e-5, max_lr=1e-2), Recorder])
    run.fit(3, learn)
    wanted = [1e-5 * 1e3 ** (k / 20) for k in range(21)]
    assert run.recorder.lrs == pytest.approx(wanted)
    assert not torch.equal(learn.model[0].weight, before)


def test_lr_find_can_put_everything_back():
    learn = holder(train=50)
    before = learn.model[0].weight.detach().clone()
    Runner(cbs=LR_Find(max_iter=20, restore=True)).fit(3, learn)
    assert torch.equal(learn.model[0].weight, before) and learn.opt.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("worse", [float("nan"), 1e3])
def test_lr_find_stops_where_the_loss_is_far_from_its_best(worse):
    class Worse(Callback):
        def after_loss(self):
            if self.n_iter == 3:
                self.run.loss = self.loss * worse

    run = Runner(cb_funcs=[Worse, partial(LR_Find, min_lr=1e-9, max_lr=1e-8), Recorder])
    run.fit(9, holder())
    assert len(run.recorder.losses) == 4
    with pytest.raises(ValueError, match="0 < min_lr < max_lr"):
        LR_Find(min_lr=1, max_lr=1)


def test_avg_stats_weigh_by_the_size_of_a_batch(capsys):
    sizes = [(torch.zeros(1, 4), torch.zeros(1)), (torch.zeros(3, 4), torch.ones(3))]
    dls = DataBunch(sizes, sizes[:1])

    def loss_func(pred, target):
        return pred.sum() * 0 + target.mean()

    model = net()
    learn = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_func, dls)
    run = Runner(cb_funcs=partial(AvgStatsCallback, lambda p, y: y.mean() + 1, table=False))
    run.fit(1, learn)
    assert run.avg_stats.train_stats.avg_stats == pytest.approx([0.75, 1.75])
    assert run.avg_stats.valid_stats.avg_stats == pytest.approx([0.0, 1.0])
    assert capsys.readouterr().out == "train: [0.75, 1.75]\nvalid: [0.0, 1.0]\n"


def test_the_transform_comes_after_the_device():
    seen = []
    debug = DebugCallback("after_pred", lambda run: seen.append(run.xb.abs().sum().item()))
    cbfs = [partial(BatchTransformXCallback, lambda x: x * 0), partial(CudaCallback, "cpu")]
    run = Runner(cbs=debug, cb_funcs=cbfs)
    run.fit(1, holder())
    assert seen == [0.0] * 7 and run.cuda.device.type == "cpu"
    with pytest.raises(TypeError, match="wants a function"):
        BatchTransformXCallback(3)


def test_progress_writes_the_table_in_columns_and_gives_the_logger_back(capsys):
    learn = Learner(net(), data(), nn.functional.cross_entropy, lr=0.1,
                    cb_funcs=[partial(ProgressCallback, "silent"), AvgStatsCallback])  # fmt: skip
    learn.fit(2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "time"] and len(lines) == 3
    assert learn.logger is print
    with pytest.raises(ValueError, match="kind must be one of"):
        ProgressCallback("loud")


def test_debug_callback_stops_in_the_debugger(monkeypatch):
    stops = []
    monkeypatch.setattr("sys.breakpointhook", lambda: stops.append(1))
    Runner(cbs=DebugCallback("after_fit")).fit(1, holder())
    assert stops == [1]


def test_the_recorders_pictures():
    pytest.importorskip("matplotlib")
    run = Runner(cb_funcs=Recorder)
    run.fit(2, holder())
    for figure in (run.recorder.plot_lr(), run.recorder.plot_loss(), run.recorder.plot(2)):
        (axes,) = figure.axes
        assert axes.get_xlabel() and axes.get_ylabel() and len(axes.lines) == 1
    assert len(run.recorder.plot(skip_last=2).axes[0].lines[0].get_xdata()) == 8
    assert run.recorder.plot().axes[0].get_xscale() == "log"


# --- schedules ----------------------------------------------------------------------------------


def test_annealers():
    at = (0, 0.25, 0.5, 0.75, 1)
    assert [sched_lin(0, 2)(p) for p in at] == [0, 0.5, 1, 1.5, 2]
    assert [sched_cos(0, 2)(p) for p in at] == pytest.approx([0, 0.29289, 1, 1.70711, 2], abs=1e-5)
    wanted = [1, 1.18921, 1.41421, 1.68179, 2]
    assert [sched_exp(1, 2)(p) for p in at] == pytest.approx(wanted, abs=1e-5)
    assert [sched_no(3, 9)(p) for p in at] == [3] * 5


def test_combined_schedules_hold_their_end():
    sched = combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)])
    assert [sched(p) for p in (0, 0.3, 1.0)] == pytest.approx([0.3, 0.6, 0.2])
    three = combine_scheds([0.3, 0.2, 0.5], [sched_lin(0, 1), sched_no(1, 1), sched_cos(1, 0)])
    wanted = [0, 0.5, 1, 1, 1, 0.65451, 0]
    assert [three(p) for p in (0, 0.15, 0.3, 0.4, 0.5, 0.7, 1)] == pytest.approx(wanted, abs=1e-5)
    cycle = combine_scheds(create_phases(0.25), cos_1cycle_anneal(0.5, 1, 0))
    wanted = [0.5, 0.67275, 1, 0.75, 0]
    assert [cycle(p) for p in (0, 0.1, 0.25, 0.5, 1)] == pytest.approx(wanted, abs=1e-5)
    assert combine_scheds([0.1] * 10, [sched_no(k, k) for k in range(10)])(1.0) == 9
    assert combine_scheds(torch.tensor([0.5, 0.5]), [sched_no(1, 1), sched_no(2, 2)])(0.5) == 2


def test_phases_end_with_the_rest():
    assert create_phases(0.3) == pytest.approx([0.3, 0.7])
    assert create_phases([0.1, 0.2]) == pytest.approx([0.1, 0.2, 0.7])
    with pytest.raises(ValueError, match="at most 1"):
        create_phases([0.8, 0.4])
    up, down = cos_1cycle_anneal(0.1, 1.0, 0.0)
    assert (up(0), up(1), down(0), down(1)) == (0.1, 1.0, 1.0, 0.0)


def test_one_cycle_for_each_group():
    lr, mom = sched_1cycle([1e-2, 1e-1], pct_start=0.5)
    assert [f(0) for f in lr.sched_funcs] == pytest.approx([1e-3, 1e-2])
    assert [f(0.5) for f in lr.sched_funcs] == pytest.approx([1e-2, 1e-1])
    assert [f(1) for f in lr.sched_funcs] == pytest.approx([1e-7, 1e-6])
    assert [mom.sched_funcs(p) for p in (0, 0.5, 1)] == pytest.approx([0.95, 0.85, 0.95])


# --- network, and our Learner -------------------------------------------------------------------


def test_the_courses_network_has_its_parameters():
    sizes = SimpleNamespace(c_in=3, c_out=10)
    model = get_cnn_model(sizes, [32, 64, 128, 256], conv_layer)
    assert sum(p.numel() for p in model.parameters()) == 432_730
    assert model(torch.zeros(2, 3, 128, 128)).shape == (2, 10)
    assert [m.stride for m in model.modules() if isinstance(m, nn.Conv2d)] == [(1, 1)] + [
        (2, 2)
    ] * 6
    init_cnn(model)
    weight, deviation = model[3][0].weight, math.sqrt(2 / (1.01 * 64 * 9))
    assert weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert weight.abs().max() > 3 * deviation
    init_cnn(model, uniform=True)
    assert weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert weight.abs().max() <= math.sqrt(3) * deviation


def test_get_learn_run_trains_images():
    made = torch.Generator().manual_seed(0)
    one = (torch.randn(4, 1, 32, 32, generator=made), torch.tensor([0, 1, 0, 1]))
    bunch = DataBunch([one] * 2, [one], c_in=1, c_out=2)
    cbs = [Recorder, partial(AvgStatsCallback, accuracy, table=False)]
    learn, run = get_learn_run([16], bunch, 0.05, conv_layer, cbs=cbs, opt_func=sgd_mom_opt)
    run.logger = lambda row: None
    run.fit(4, learn)
    assert run.recorder.losses[-1] < run.recorder.losses[0]
    learn, run = get_learn_run([16], bunch, 0.05, conv_layer)
    assert type(learn.opt) is torch.optim.SGD and learn.opt.param_groups[0]["lr"] == 0.05
    learn, _ = get_runner(net(), bunch)
    assert learn.opt.param_groups[0]["lr"] == 0.6
    learn = get_learner([16], bunch, 0.05, conv_layer, cb_funcs=Recorder)
    learn.fit(4)
    assert learn.recorder.losses[-1] < learn.recorder.losses[0]
    assert [s.__name__ for s in learn.opt.steppers] == ["weight_decay", "sgd_step"]


def test_course_callbacks_on_our_learner():
    class Stops(Callback):
        def after_step(self):
            if self.n_iter == 6:
                raise CancelTrainException

    bridge = Bridge(cb_funcs=[partial(ParamScheduler, "lr", sched_lin(0.1, 0.2)), Recorder, Stops])
    dls = SimpleNamespace(train=batches(5), valid=batches(2, 1))
    learn = Trainer(net(), dls, lr=0.1, cbs=bridge, progress="silent")
    learn.fit(2)
    assert bridge.run.recorder.lrs == pytest.approx([0.1 + 0.1 * k / 10 for k in range(7)])
    assert len(learn.recorder.losses) == 7
    learn.validate()  # a pass outside a fit: the course has none
    assert len(bridge.run.recorder.losses) == 7


def test_our_optimizers_and_torchs_train_in_the_courses_learner():
    for opt_func in (steppers.Lion, steppers.LAMB, torch.optim.AdamW):
        learn = Learner(net(), data(), nn.functional.cross_entropy, opt_func, lr=0.01)
        learn.fit(6, cbs=Recorder())
        losses = [loss.item() for loss in learn.recorder.losses]
        assert sum(losses[-5:]) < sum(losses[:5])


def test_ctrl_c_in_a_search_puts_everything_back():
    class Interrupts(Callback):
        def after_backward(self):
            if self.n_iter == 3:
                raise KeyboardInterrupt

    learn = holder(train=50)
    before = learn.model[0].weight.detach().clone()
    run = Runner(cbs=[Interrupts(), LR_Find(restore=True), ProgressCallback("silent")])
    with pytest.raises(KeyboardInterrupt):
        run.fit(1, learn)
    assert torch.equal(learn.model[0].weight, before) and run.logger is print


def test_a_bridge_serves_one_learner_after_another():
    bridge = Bridge(cbs=Recorder())
    for _ in range(2):
        dls = SimpleNamespace(train=batches(3), valid=None)
        learn = Trainer(net(), dls, lr=0.1, cbs=bridge, progress="silent")
        learn.fit(1)
        assert bridge.run.learn is learn and bridge.run.model is learn.model
        assert bridge.run.data is dls and len(bridge.run.recorder.losses) == 3


def test_what_there_is_only_in_a_fit_says_so():
    with pytest.raises(AttributeError, match="before its first fit"):
        Runner().xb  # noqa: B018
    with pytest.raises(AttributeError, match="it is in no run yet"):
        Callback().model  # noqa: B018
    with pytest.raises(TypeError, match="a Learner with an optimizer, got None, whose opt is"):
        Runner().fit(1, None)
