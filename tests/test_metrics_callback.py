"""Means and metrics of a pass: uneven batches, objects of other libraries, cancels, resuming."""

import math
from functools import partial

import pytest
import torch
from tiny_learner import Stop, tiny
from torch import nn

from steppers.train.callbacks.metrics import Metrics, batch_size, named
from steppers.train.callbacks.series import WAITING, Mean, Series
from steppers.train.events import CancelBatch, CancelFit, CancelTrain, CancelValid
from steppers.train.learner import Learner
from steppers.train.metrics import accuracy, mse, rmse, top_k_accuracy


def target_mean(preds, target):
    return target.mean()


class Total:
    """The interface of torchmetrics and torcheval, on sums."""

    def __init__(self):
        self.resets, self.devices, self.graphs = 0, [], []
        self.reset()

    def reset(self):
        self.resets += 1
        self.total = torch.tensor(0.0)

    def update(self, preds, target):
        self.graphs.append(preds.requires_grad)
        self.total = self.total + target.sum()

    def compute(self):
        return self.total

    def to(self, device):
        self.devices.append(torch.device(device))
        return self


class Several(Total):
    def compute(self):
        return {"sum": self.total, "loss": 2 * self.total}


class Kept(Total):
    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


# --- means -------------------------------------------------------------------------------------


def test_means_are_weighted_by_the_sizes_of_the_batches():
    learn = tiny(train=[[(1.0, 4), (7.0, 1)]], valid=[[(2.0, 3), (4.0, 1)]], metrics=[target_mean])
    learn.fit(1)
    assert learn.scores["train"] == {"loss": pytest.approx((4 * 1 + 7) / 5)}
    wanted = (3 * 2 + 4) / 4
    assert learn.scores["valid"] == {"loss": wanted, "target_mean": wanted}


def test_a_metric_of_a_mean_is_finished_once():
    x, y = torch.zeros(3, 1), torch.tensor([[3.0], [1.0], [2.0]])
    learn = tiny(metrics=[rmse, mse], lr=0.0)
    nn.init.zeros_(learn.model.weight)
    nn.init.zeros_(learn.model.bias)
    scores = learn.validate([(x[:2].expand(2, 3), y[:2]), (x[2:].expand(1, 3), y[2:])])
    assert scores["mse"] == pytest.approx((9 + 1 + 4) / 3)
    assert scores["rmse"] == pytest.approx(math.sqrt(14 / 3))


def test_validate_equals_the_loss_over_all_items_at_once():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(37, 3, generator=generator)
    y = 2 * x.sum(1, keepdim=True) + 3
    model = nn.Linear(3, 1)
    learn = Learner(model, None, nn.functional.mse_loss, metrics=[mse], default_cbs=True)
    scores = learn.validate(list(zip(x.split(16), y.split(16), strict=True)))
    wanted = nn.functional.mse_loss(model(x), y).item()
    assert scores == {"loss": pytest.approx(wanted), "mse": pytest.approx(wanted)}


def test_metrics_of_the_training_pass_come_when_asked_for():
    learn = tiny(metrics=[target_mean, Total()], train_metrics=True)
    learn.fit(1)
    assert learn.scores["train"] == {"loss": 2.0, "target_mean": 2.0, "Total": 12.0}
    assert learn.scores["valid"] == {"loss": 1.0, "target_mean": 1.0, "Total": 4.0}


def test_a_pass_without_batches_has_no_scores():
    learn = tiny(valid=[[]], metrics=[target_mean, Total()])
    learn.fit(1)
    assert learn.scores["valid"] == {}
    assert "valid_loss" not in learn.recorder.rows[0]


def test_scores_do_not_outlive_their_pass():
    learn = tiny(train=[[1.0], [3.0]], valid=[[2.0], []], metrics=[target_mean])
    learn.fit(2)
    assert learn.scores == {"train": {"loss": 3.0}, "valid": {}}


def test_a_batch_cancelled_before_its_loss_does_not_count():
    stop = Stop(CancelBatch(), at=1, event="before_batch")
    learn = tiny(cbs=stop)
    learn.fit(1)
    assert learn.scores["train"]["loss"] == 2.0  # of 1 and 3
    assert learn.recorder.losses == [1.0, 3.0]


def test_the_first_batch_cancelled_before_its_loss_leaves_nothing_of_the_last_pass():
    learn = tiny(cbs=Stop(CancelBatch(), at=0, event="before_batch"))
    learn.fit(2)
    assert learn.scores["train"]["loss"] == 2.5


@pytest.mark.parametrize(("cancel", "training"), [(CancelTrain, True), (CancelValid, False)])
def test_a_pass_that_is_cut_short_has_the_mean_of_what_was_done(cancel, training):
    learn = tiny(valid=[[2.0, 4.0, 9.0]], cbs=Stop(cancel(), at=1, training=training))
    learn.fit(1)
    assert learn.scores["train" if training else "valid"]["loss"] == (1.5 if training else 3.0)


def test_nan_is_shown_as_it_is():
    learn = tiny(train=[[1.0, math.nan]])
    learn.fit(1)
    assert math.isnan(learn.recorder.rows[0]["train_loss"])


def test_metrics_build_no_graph():
    metric = Total()
    tiny(metrics=[metric], train_metrics=True).fit(1)
    assert not any(metric.graphs)


# --- objects -----------------------------------------------------------------------------------


def test_objects_are_reset_for_each_pass_and_moved_to_the_device():
    metric = Total()
    learn = tiny(metrics=[metric])
    learn.fit(2)
    assert learn.scores["valid"]["Total"] == 4.0  # two batches of two items: 0.5 and 1.5
    assert set(metric.devices) == {torch.device("cpu")}
    assert metric.resets >= 2


def test_an_object_may_give_several_numbers():
    learn = tiny(metrics=[Several()])
    learn.fit(1)
    assert learn.scores["valid"] == {"loss": 1.0, "sum": 4.0, "Several_loss": 8.0}


def test_torchmetrics_objects_work():
    torchmetrics = pytest.importorskip("torchmetrics")
    learn = tiny(metrics=[torchmetrics.MeanSquaredError()], lr=0.0)
    learn.fit(1)
    assert math.isfinite(learn.scores["valid"]["MeanSquaredError"])


# --- names -------------------------------------------------------------------------------------


def test_names_are_the_functions_classes_and_partials_own():
    metrics = [accuracy, rmse, Total(), partial(top_k_accuracy, k=3)]
    assert list(named(metrics)) == ["accuracy", "rmse", "Total", "top_k_accuracy"]


def test_a_mapping_names_its_metrics():
    top = {f"top{k}": partial(top_k_accuracy, k=k) for k in (1, 3)}
    assert list(Metrics(top).metrics) == ["top1", "top3"]


@pytest.mark.parametrize(
    ("metrics", "error", "words"),
    [
        ([accuracy, accuracy], ValueError, "'accuracy' is taken; give a dict"),
        ({"loss": accuracy}, ValueError, "'loss' is taken"),
        ([Total], TypeError, "'Total' must be a function of"),
        ([3], TypeError, "got 3"),
    ],
)
def test_what_is_no_metric_is_refused_at_construction(metrics, error, words):
    with pytest.raises(error, match=words):
        Metrics(metrics)


@pytest.mark.parametrize("value", [torch.ones(2), "high", None])
def test_a_metric_that_gives_no_number_is_named(value):
    learn = tiny(metrics={"odd": lambda preds, target: value})
    with pytest.raises(TypeError, match="the metric odd must give one number"):
        learn.fit(1)


# --- sizes, series, resuming -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        ((torch.ones(5, 2), torch.ones(4)), 4),
        ((torch.ones(5, 2), torch.tensor(1.0)), 5),
        (({"ids": torch.ones(3, 7)}, {"labels": torch.ones(3)}), 3),
        ((torch.ones(6), ["a", "b"]), 6),
        ((torch.tensor(1.0),), 1),
        ((torch.ones(2), (torch.ones(0, 4), torch.ones(9))), 0),
    ],
)
def test_the_size_of_a_batch(batch, size):
    assert batch_size(batch) == size


def test_an_empty_batch_does_not_count():
    mean = Mean()
    mean.add(torch.tensor(math.nan), 0)
    mean.add(2.0, 3)
    assert mean.value == 2.0


def test_a_mean_of_many_batches_is_exact():
    mean, count = Mean(), 3 * WAITING + 5
    for i in range(count):
        mean.add(torch.tensor(float(i)), 2)
    assert mean.value == (count - 1) / 2
    assert mean.parts == (count * (count - 1), 2 * count)


class Remote(torch.Tensor):
    """A CPU tensor that says that it is none, and counts how often it is read."""

    reads = 0
    is_cpu = property(lambda self: False)

    def item(self):
        Remote.reads += 1
        return super().item()

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def remote(value):
    return torch.tensor(value).as_subclass(Remote)


def test_numbers_on_a_device_are_read_together_and_late():
    Remote.reads, series, last = 0, Series(), remote(0.0)
    for i in range(100):
        series.append(last.fill_(float(i)))  # in place: the series must keep its own
    assert len(series) == 100 and len(series._waiting) == 100
    assert series.numbers == [float(i) for i in range(100)]
    assert Remote.reads == 0


def test_numbers_on_a_device_do_not_pile_up():
    series = Series()
    for i in range(WAITING + 1):
        series.append(remote(float(i)))
    assert len(series._waiting) == 1
    series.append(0.25)
    assert series.numbers[-3:] == [WAITING - 1.0, float(WAITING), 0.25]


def test_a_resumed_pass_goes_on_with_its_sums():
    """As Checkpoint does it: the state loaded before the fit, first_iter set in before_epoch."""
    whole = tiny(metrics=[target_mean, Kept()], train_metrics=True)
    whole.fit(1)
    cut = tiny(metrics=[target_mean, Kept()], train_metrics=True, cbs=Stop(CancelFit(), at=1))
    cut.fit(1)
    state = next(cb for cb in cut.cbs if isinstance(cb, Metrics)).state_dict()

    class Resume:
        order = 1000

        def before_fit(self, learn):
            next(cb for cb in learn.cbs if isinstance(cb, Metrics)).load_state_dict(state)

        def before_epoch(self, learn):
            if learn.training:
                learn.first_iter, learn.dl = 2, list(learn.dl)[2:]

    rest = tiny(metrics=[target_mean, Kept()], train_metrics=True, cbs=Resume())
    rest.fit(1)
    assert rest.scores == whole.scores


def test_a_fit_after_an_interrupted_one_begins_with_nothing():
    learn = tiny(metrics=[Total()], train_metrics=True)
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=[Stop(KeyboardInterrupt())])
    learn.fit(1)
    assert learn.scores["train"] == {"loss": 2.0, "Total": 12.0}
