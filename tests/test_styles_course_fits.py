"""Callbacks, Runners and Learners as readers of the course have them, and what breaks them."""

import copy
import re
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from steppers.styles.course import (
    AvgStatsCallback,
    Bridge,
    Callback,
    CancelBatchException,
    CancelTrainException,
    CudaCallback,
    DataBunch,
    DebugCallback,
    Learner,
    LR_Find,
    Optimizer,
    ParamScheduler,
    ProgressCallback,
    Recorder,
    Runner,
    Stat,
    StatefulOptimizer,
    adam_opt,
    annealer,
    bn_splitter,
    sched_1cycle,
    sched_lin,
    sched_no,
    sgd_mom_opt,
    sgd_opt,
    sgd_step,
)
from steppers.train import Checkpoint
from steppers.train import Learner as Trainer

LOSS = nn.functional.cross_entropy


def batches(count, seed=0, size=8):
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, 4, generator=made)
    return [(one, one.sum(1).gt(0).long()) for one in x]


def data(train=5, valid=2):
    return DataBunch(batches(train), batches(valid, 1), c_in=1, c_out=2)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def holder(opt_func=sgd_opt, lr=0.1, bunch=None, model=None, **sizes):
    model = model or net()
    return Learner(model, opt_func(model.parameters(), lr=lr), LOSS, bunch or data(**sizes))


def equal(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# --- callbacks that people have -----------------------------------------------------------------


def test_a_runner_stops_at_ten_iterations():
    class TestCallback(Callback):
        _order = 1

        def begin_fit(self):
            self.seen = []

        def after_step(self):
            self.seen.append(self.n_iter)
            if self.n_iter >= 10:
                raise CancelTrainException()

    run = Runner(cb_funcs=TestCallback)
    run.fit(3, holder(train=8))
    assert run.test.seen == [*range(11)]


def test_gradients_add_up_where_the_batch_is_cancelled_after_its_backward():
    class Accumulates(Callback):
        def after_backward(self):
            if self.iter % 2 == 0:
                raise CancelBatchException

    learn = holder(train=4)
    Runner(cb_funcs=Accumulates).fit(1, learn)
    model = net()
    for first, second in zip(batches(4)[::2], batches(4)[1::2], strict=True):
        loss = LOSS(model(first[0]), first[1]) + LOSS(model(second[0]), second[1])
        grads = torch.autograd.grad(loss, [*model.parameters()])
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads, strict=True):
                p -= 0.1 * g
    for ours, hand in zip(learn.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, hand, atol=1e-6)


def test_a_clip_and_a_mixed_target_in_callbacks():
    class Clips(Callback):
        def after_backward(self):
            nn.utils.clip_grad_norm_(self.model.parameters(), 0.01)

        def after_step(self):
            norms = [p.grad.norm() for p in self.model.parameters()]
            self.run.norm = torch.stack(norms).norm().item()

    class Mixes(Callback):
        _order = 90

        def begin_fit(self):
            self.old_loss_func, self.learn.loss_func = self.learn.loss_func, self.loss

        def begin_batch(self):
            self.other = self.yb.flip(0)
            self.run.xb = 0.5 * (self.xb + self.xb.flip(0))

        def after_fit(self):
            self.learn.loss_func = self.old_loss_func

        def loss(self, pred, yb):
            return 0.5 * (self.old_loss_func(pred, yb) + self.old_loss_func(pred, self.other))

    learn = holder()
    run = Runner(cbs=[Clips(), Mixes()])
    run.fit(1, learn)
    assert run.norm == pytest.approx(0.01, rel=1e-3) and learn.loss_func is LOSS


def test_a_scheduler_of_ones_own_annealer_for_the_hyper_of_ones_own_stat():
    @annealer
    def sched_poly(start, end, pos):
        return start + (end - start) * pos**2

    class Keeps(Stat):
        _defaults = dict(keep=0.5)

        def init_state(self, p):
            return {"seen": []}

        def update(self, p, state, keep, **kwargs):
            state["seen"].append(keep)
            return state

    opt_func = partial(StatefulOptimizer, steppers=sgd_step, stats=Keeps())
    learn = holder(opt_func)
    Runner(cb_funcs=partial(ParamScheduler, "keep", sched_poly(0.0, 1.0))).fit(1, learn)
    first = learn.opt.param_lists[0][0]
    assert learn.opt.state[first]["seen"] == pytest.approx([0.0, 0.04, 0.16, 0.36, 0.64])


def test_a_table_of_ones_own_in_a_subclass():
    class Rows(AvgStatsCallback):
        def after_epoch(self):
            self.logger((self.epoch, round(self.valid_stats.avg_stats[0], 3)))

    rows = []
    learn = Learner(net(), data(), LOSS, sgd_opt, 0.1, cb_funcs=partial(Rows, []))
    learn.logger = rows.append
    learn.fit(2)
    assert [row[0] for row in rows[1:]] == [0, 1] and rows[2][1] < rows[1][1]


def test_looking_at_one_batch_and_leaving():
    shapes = []

    def look(run):
        shapes.append(tuple(run.pred.shape))
        raise CancelTrainException

    learn = Learner(net(), data(), LOSS, sgd_opt)
    learn.fit(5, cbs=DebugCallback("after_pred", look))
    assert shapes == [(8, 2)] and not learn.cbs[1:]


def test_frozen_layers_stay_and_a_new_optimizer_trains_them_again():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
    learn = Learner(nn.Sequential(body, nn.Linear(8, 2)), data(), LOSS, adam_opt(wd=0.1), 0.01,
                    bn_splitter)  # fmt: skip
    before = copy.deepcopy(body[0])
    body[0].requires_grad_(False)
    learn.fit(1, cbs=sched_1cycle([1e-3, 1e-2], 0.3))
    assert equal(body[0], before) and not torch.equal(body[1].weight, torch.ones(8))
    old = learn.opt
    body[0].requires_grad_(True)
    learn.fit(1, cbs=sched_1cycle([1e-3, 1e-2], 0.3), reset_opt=True)
    assert learn.opt is not old and not equal(body[0], before)


def test_a_wrong_return_value_means_something_where_passes_begin_alone():
    class Odd(Callback):
        seen = 0

        def begin_validate(self):
            return 1

        def begin_batch(self):
            self.seen += 1
            return "yes"

        after_epoch = begin_fit = begin_batch

    run = Runner(cb_funcs=[Odd, Recorder])
    run.fit(2, holder())
    assert len(run.recorder.losses) == 10 and run.odd.seen == 13  # 10, and 3 where others call it


# --- batches of other forms ---------------------------------------------------------------------


class Sum(nn.Module):
    """Takes its two inputs as one tuple, or as two."""

    def __init__(self, several):
        super().__init__()
        self.net, self.several = net(), several

    def forward(self, *inputs):
        a, b = inputs if self.several else inputs[0]
        return self.net(a + b)


@pytest.mark.parametrize("several", [False, True])
def test_inputs_in_a_tuple_and_in_columns_come_back_as_they_were_set(several):
    class Halves(Callback):
        def begin_batch(self):
            self.run.xb = tuple(x / 2 for x in self.xb)

    rows = [(x, x, y) if several else ((x, x), y) for x, y in batches(3)]
    learn = holder(model=Sum(several), bunch=DataBunch(rows, rows))
    cbfs = [Halves, partial(CudaCallback, "cpu"), partial(AvgStatsCallback, None, table=False)]
    run = Runner(cb_funcs=cbfs)
    run.logger = lambda row: None
    run.fit(1, learn)
    plain = holder(train=3)
    Runner().fit(1, plain)
    assert equal(learn.model.net, plain.model) and run.avg_stats.train_stats.count == 24


# --- resumed fits, optimizers of other kinds -----------------------------------------------------


def test_a_fit_that_is_resumed_in_mid_epoch_has_the_bits_of_one_that_ran_through(tmp_path):
    class Dies:
        def __init__(self, at):
            self.at = at

        def after_batch(self, learn):
            if learn.training and learn.train_iter == self.at:
                raise ZeroDivisionError

    def learner(name, at=None):
        bridge = Bridge(cb_funcs=[partial(ParamScheduler, "lr", sched_lin(0.1, 0.5)), Recorder])
        dls = SimpleNamespace(train=batches(5), valid=None)
        cbs = [bridge, Dies(at), Checkpoint(tmp_path / name, every=2, resume=True)]
        return Trainer(net(), dls, cbs=cbs, opt_func=sgd_mom_opt, progress="silent"), bridge.run

    whole, run = learner("whole")
    whole.fit(3)
    first, _ = learner("parts", at=7)
    with pytest.raises(ZeroDivisionError):
        first.fit(3)
    second, resumed = learner("parts")
    second.fit(3)
    assert resumed.recorder.lrs == run.recorder.lrs[6:] and resumed.n_iter == run.n_iter == 15
    assert equal(whole.model, second.model)


def test_a_name_that_the_optimizer_has_not_is_an_error_unless_it_is_not_strict():
    with pytest.raises(KeyError, match="no hyper-parameter 'mom'"):
        Runner(cbs=sched_1cycle(0.1)).fit(1, holder())
    learn = holder(partial(sgd_opt, strict=False))
    Runner(cbs=[*sched_1cycle(0.1), ParamScheduler("mom_sqr", sched_no(0.5, 0.5))]).fit(1, learn)
    assert learn.opt.hypers[0]["mom_sqr"] == 0.5 and 0.85 <= learn.opt.hypers[0]["mom"] <= 0.95


def test_optimizers_of_other_kinds_say_what_is_wanted():
    class Plain:
        def __init__(self, params, lr):
            self.params = list(params)

        def step(self):
            pass

        def zero_grad(self):
            pass

    with pytest.raises(TypeError, match=r"Plain is no torch\.optim\.Optimizer: derive it from"):
        holder(Plain)
    with pytest.raises(TypeError, match=r"whose opt is .*Plain.*; it must be a torch\.optim"):
        Learner(net(), data(), LOSS, Plain).fit(1)

    def rated(p, rate, **kwargs):
        return p

    rated._defaults = dict(rate=0.1)
    model = net()
    learn = Learner(model, Optimizer(model.parameters(), rated), LOSS, data())
    with pytest.raises(TypeError, match="Optimizer has no hyper-parameter lr; name its rate so"):
        Runner().fit(1, learn)


# --- callbacks that are wrong --------------------------------------------------------------------


def test_callbacks_are_added_all_or_none():
    learn = Learner(net(), data(), LOSS)
    one = Recorder()
    for wrong, error, message in (
        ([one, Recorder], TypeError, r"Recorder\(\), or give it in cb_funcs="),
        ([one, 3], TypeError, r"must be a course\.Callback, got 3"),
        ([one, one], ValueError, "this Recorder is given twice"),
    ):
        with pytest.raises(error, match=message):
            learn.fit(1, cbs=wrong)
        assert len(learn.cbs) == 1 and not hasattr(learn, "recorder") and learn.opt is None
    learn.add_cb(one)
    with pytest.raises(ValueError, match="given twice"):
        learn.fit(1, cbs=one)
    learn.remove_cbs(one)
    learn.fit(1, cbs=one)
    assert len(one.losses) == 5


def test_a_bridge_takes_callbacks_as_a_runner_does():
    recorder = Recorder()
    dls = SimpleNamespace(train=batches(3), valid=None)
    Trainer(net(), dls, cbs=Bridge(recorder), progress="silent").fit(1)
    assert len(recorder.losses) == 3
    with pytest.raises(TypeError, match=r"must be a course\.Callback, got <.*Runner"):
        Bridge(Runner())


def test_the_logger_stays_where_a_fit_ends_before_it_begins():
    class Breaks(Callback):
        _order = -5

        def begin_fit(self):
            raise ZeroDivisionError

    run = Runner(cbs=[Breaks(), ProgressCallback("silent")])
    with pytest.raises(ZeroDivisionError):
        run.fit(1, holder())
    assert run.logger is print


def test_an_error_in_a_callback_passes_and_the_next_fit_is_whole():
    class Breaks(Callback):
        broken = False

        def after_loss(self):
            if self.n_iter == 2 and not self.broken:
                self.broken = True
                raise ZeroDivisionError

    run = Runner(cb_funcs=[Breaks, Recorder, partial(LR_Find, min_lr=1e-9, max_lr=1e-8)])
    learn = holder()
    with pytest.raises(ZeroDivisionError):
        run.fit(1, learn)
    run.fit(1, learn)
    assert len(run.recorder.losses) == 5 and run.n_iter == 5


def test_fewer_losses_than_are_to_be_left_out_are_no_picture_of_others():
    pytest.importorskip("matplotlib")
    run = Runner(cb_funcs=Recorder)
    run.fit(1, holder())
    assert [*run.recorder.plot_loss(skip_last=7).axes[0].lines[0].get_ydata()] == []


def test_a_fit_of_no_epochs_begins_and_ends():
    run = Runner(cb_funcs=Recorder)
    run.fit(0, holder())
    assert run.recorder.losses == []


def test_every_event_is_named_where_one_is_unknown():
    with pytest.raises(ValueError, match=re.escape("'begin_fitt'; there are after_backward, ")):
        Runner()("begin_fitt")
