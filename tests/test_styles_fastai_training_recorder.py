"""fastai's Recorder, metrics, loggers and progress, in code as its users write it."""

import csv
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from small_fastai import learner as tiny
from torch import nn

from steppers.styles.fastai.training import (
    AvgLoss,
    AvgMetric,
    AvgSmoothLoss,
    Callback,
    CancelTrainException,
    CSVLogger,
    Learner,
    Metric,
    ProgressCallback,
    Recorder,
    ShowGraphCallback,
    TrainEvalCallback,
    ValueMetric,
    mk_metric,
    synth_learner,
)
from steppers.train import Checkpoint, accuracy, rmse

LOSSES = [3.0, 1.0, 2.0, 5.0]


def told(cbs=(), valid=((1.0, 2), (4.0, 6)), metrics=None, **options):
    """A learner whose batches have the losses that their targets say."""
    train = [(torch.ones(2, 1), torch.full((2, 1), loss)) for loss in LOSSES]
    valid = [(torch.ones(size, 1), torch.full((size, 1), loss)) for loss, size in valid]
    dls = SimpleNamespace(train=train, valid=valid or None)
    loss = lambda out, y: (out - out.detach() + y).mean()  # noqa: E731
    options = {"cbs": [TrainEvalCallback(), Recorder(), *cbs], "default_cbs": False, **options}
    learn = Learner(dls, nn.Linear(1, 1), loss, torch.optim.SGD, metrics=metrics, **options)
    learn.logged = []
    learn.logger = learn.logged.append
    return learn


def smoothed(losses, beta=0.98):
    mean, rows = 0.0, []
    for k, loss in enumerate(losses, 1):
        mean = beta * mean + (1 - beta) * loss
        rows.append(mean / (1 - beta**k))
    return rows


def mean_target(pred, y):
    return y.mean()


# --- metrics ------------------------------------------------------------------------------------


def batch(loss, size, y=None):
    y = torch.full((size,), float(loss)) if y is None else y
    return SimpleNamespace(loss=torch.tensor(float(loss)), yb=(y,), pred=y * 0)


def test_means_are_weighted_by_the_sizes_of_batches():
    metric, loss = AvgMetric(lambda pred, y: (pred - y).abs().mean()), AvgLoss()
    for value, size in ((1.0, 2), (4.0, 6), (10.0, 1)):
        for each in (metric, loss):
            each.accumulate(batch(value, size))
    assert metric.value.item() == loss.value.item() == pytest.approx((2 + 24 + 10) / 9)
    metric.reset()
    assert metric.value is None and metric.count == 0


def test_the_smooth_loss_is_the_debiased_recurrence():
    metric = AvgSmoothLoss(beta=0.9)
    for loss, wanted in zip(LOSSES, smoothed(LOSSES, 0.9), strict=True):
        metric.accumulate(batch(loss, 2))
        assert metric.value.item() == pytest.approx(wanted, rel=1e-6)
    metric.reset()
    assert metric.count == 0
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\), got 1"):
        AvgSmoothLoss(1)


def test_names_of_metrics_are_the_functions_and_the_classes():
    class MyThingMetric(Metric):
        value = 3

    assert mk_metric(partial(accuracy, dim=-1)).name == "accuracy"
    assert MyThingMetric().name == "my_thing" and AvgLoss().name == AvgSmoothLoss().name == "loss"
    assert ValueMetric(lambda: 4, "four").name == "four"
    assert ValueMetric(accuracy).name == "accuracy"
    with pytest.raises(TypeError, match="must be an instance"):
        mk_metric(AvgLoss)
    with pytest.raises(TypeError, match="function of"):
        mk_metric(3)


def test_metrics_of_every_kind_are_columns():
    class Largest(Metric):
        """As a user writes one: it gathers from the learner."""

        def reset(self):
            self.most = 0.0

        def accumulate(self, learn):
            self.most = max(self.most, learn.to_detach(learn.y).max().item())

        @property
        def value(self):
            return self.most

    class Objects:
        """As torchmetrics has them."""

        def reset(self):
            self.sizes = []

        def update(self, pred, y):
            self.sizes.append(len(y))

        def compute(self):
            return torch.tensor(sum(self.sizes))

    learn = told(metrics=[mean_target, Largest(), Objects(), ValueMetric(lambda: 7, "seven"), rmse])
    learn.fit(1)
    names = learn.recorder.metric_names
    assert names == ["epoch", "train_loss", "valid_loss", "mean_target", "largest", "Objects",
                     "seven", "rmse", "time"]  # fmt: skip
    bias = learn.model(torch.ones(1, 1)).item()
    root = ((2 * (1 - bias) ** 2 + 6 * (4 - bias) ** 2) / 8) ** 0.5
    assert learn.validate() == pytest.approx([3.25, 3.25, 4.0, 8, 7, root], rel=1e-5)


# --- the recorder -------------------------------------------------------------------------------


def test_rates_smoothed_losses_and_rows_are_recorded():
    learn = told(metrics=mean_target)
    learn.fit(2, 0.5)
    rec = learn.recorder
    wanted = smoothed(LOSSES * 2)
    assert [loss.item() for loss in rec.losses] == pytest.approx(wanted, rel=1e-5)
    assert learn.smooth_loss.item() == pytest.approx(wanted[-1], rel=1e-5)
    assert rec.lrs == [0.5] * 8 and rec.iters == [4, 8]
    assert rec.values[0] == pytest.approx([wanted[3], 3.25, 3.25], rel=1e-5)
    assert rec.values[1] == pytest.approx([wanted[7], 3.25, 3.25], rel=1e-5)
    assert learn.final_record == rec.values[1]
    assert [row[0] for row in learn.logged] == [0, 1] and learn.logged[1][1:4] == rec.values[1]
    assert learn.logged[0][4] == "00:00"


def test_a_new_fit_begins_empty():
    learn = told()
    learn.fit(1)
    first = list(learn.recorder.values)
    learn.fit(1)
    assert learn.recorder.values == first and len(learn.recorder.losses) == 4


@pytest.mark.parametrize(
    ("options", "valid", "names"),
    [
        ({}, True, ["train_loss", "valid_loss", "mean_target", "time"]),
        ({"add_time": False}, True, ["train_loss", "valid_loss", "mean_target"]),
        ({"train_metrics": True}, True, ["train_loss", "train_mean_target", "valid_loss",
                                         "valid_mean_target", "time"]),
        ({"valid_metrics": False}, True, ["train_loss", "time"]),
        ({"valid_metrics": False, "train_metrics": True}, True, ["train_loss", "mean_target",
                                                                 "time"]),
        ({}, False, ["train_loss", "time"]),
    ],
)  # fmt: skip
def test_columns_are_named_by_what_is_measured_and_rows_fit(options, valid, names):
    cbs = [TrainEvalCallback(), Recorder(**options)]
    learn = told(cbs=[], valid=((1.0, 2),) if valid else (), metrics=[mean_target])
    learn.set_cbs([cb for cb in learn.cbs if not isinstance(cb, Callback)])
    learn.add_cbs(cbs)
    learn.fit(1)
    assert learn.recorder.metric_names == ["epoch", *names]
    assert len(learn.logged[0]) == 1 + len(names)


def test_metrics_of_the_training_pass_are_of_it():
    learn = told(metrics=[mean_target])
    learn.recorder.train_metrics = True
    learn.fit(1)
    assert learn.recorder.values[0][1] == pytest.approx(sum(LOSSES) / 4)


def test_the_rate_is_that_of_the_last_group():
    learn = tiny(Recorder(), splitter=lambda m: [[m.weight], [m.bias]], lr=slice(0.01, 0.1))
    learn.fit(1)
    assert learn.recorder.lrs == pytest.approx([0.1, 0.1])


def test_a_pass_that_was_cut_short_keeps_the_columns():
    class Short(Callback):
        def after_batch(self):
            if self.training:
                raise CancelTrainException

    learn = told([Short()])
    learn.fit(1)
    assert learn.recorder.values == [[None, 3.25]] and learn.logged[0][:3] == [0, None, 3.25]


def test_a_validation_within_a_fit_leaves_the_row_alone():
    class Validates(Callback):
        order = 40  # before the Recorder's own after_epoch

        def after_epoch(self):
            self.found = self.learn.validate(0)

    cb = Validates()
    learn = told([cb])
    learn.fit(1)
    assert cb.found == pytest.approx([sum(LOSSES) / 4])
    assert learn.recorder.values == [pytest.approx([smoothed(LOSSES)[-1], 3.25], rel=1e-5)]


def test_losses_can_be_drawn():
    pytest.importorskip("matplotlib")
    learn = told()
    learn.fit(2)
    assert len(learn.recorder.plot_loss(skip_start=1).axes) == 1
    assert len(learn.recorder.plot_loss(with_valid=False).axes[0].lines) == 2


def test_a_resumed_fit_has_the_record_of_one_uninterrupted(tmp_path):
    class Fails(Callback):
        order = 99

        def after_batch(self):
            if self.training and self.train_iter == 7:
                raise ZeroDivisionError

    whole, broken, resumed = told(), told(), told()
    whole.fit(2)
    with pytest.raises(ZeroDivisionError):
        broken.fit(2, cbs=[Checkpoint(tmp_path / "a.pt", every=6), Fails()])
    resumed.fit(2, cbs=Checkpoint(tmp_path / "a.pt", every=6, resume=True))
    for name in ("lrs", "losses", "values", "iters"):
        assert getattr(resumed.recorder, name) == getattr(whole.recorder, name)


# --- what is shown ------------------------------------------------------------------------------


def test_the_table_has_six_decimals_and_bars_say_the_smooth_loss(capsys):
    learn = told([ProgressCallback("lines")])
    learn.fit(2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "time"]
    cells = lines[1].split()
    assert [len(cell.split(".")[1]) for cell in cells[1:3]] == [6, 6]
    assert [float(cells[1]), cells[2]] == [
        pytest.approx(smoothed(LOSSES)[-1], rel=1e-5),
        "3.250000",
    ]
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    assert learn.logger == learn.logged.append


def test_a_bar_moves_with_the_loss_beside_it(monkeypatch):
    seen = []

    class Bar:
        interval = 0.0

        def __init__(self, kind, title, total, done):
            seen.append((title, total))

        def update(self, done, text):
            seen.append((done, text))

        def close(self):
            seen.append("closed")

    monkeypatch.setattr("steppers.train.callbacks.bars.opened", Bar)
    learn = told([ProgressCallback("silent")])
    learn.fit(1)
    texts = [f"{loss:.4f}" for loss in smoothed(LOSSES)]
    train = [("epoch 1/1 train", 4), *enumerate(texts, 1), "closed"]
    assert seen == [*train, ("epoch 1/1 valid", 2), (1, ""), (2, ""), "closed"]
    seen.clear()
    with learn.no_mbar():
        learn.fit(1)
    assert seen == []


def test_no_bar_and_no_logging(capsys):
    torch.manual_seed(0)
    learn = synth_learner()
    with learn.no_logging():
        learn.fit(1)
        learn.validate()
    assert capsys.readouterr().out == ""
    with learn.no_bar() as same:
        assert same is learn
        learn.fit(1)
    assert capsys.readouterr().out.startswith("[0, ")  # rows as lists, by print
    learn.fit(1)
    assert "train_loss" in capsys.readouterr().out


def test_the_logger_comes_back_after_an_error():
    def fails(self):
        raise ZeroDivisionError

    learn = told([ProgressCallback("silent"), Callback(after_train=fails)])
    logger = learn.logger
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    assert learn.logger is logger


def test_the_graph_of_the_losses_is_drawn_while_the_fit_runs():
    pytest.importorskip("matplotlib")
    shown = []
    learn = told([ShowGraphCallback(shown.append)])
    learn.fit(2)
    assert len(shown) == 2 and shown[-1].axes
    with pytest.raises(RuntimeError, match="shown in notebooks"):
        learn.fit(1, cbs=ShowGraphCallback)


# --- the file of the rows -----------------------------------------------------------------------


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_rows_go_to_a_file_and_to_the_logger_each_on_the_disk_at_once(tmp_path):
    seen = []

    class Looks(Callback):
        order = 70

        def after_epoch(self):
            seen.append(len(rows_of(tmp_path / "history.csv")))

    learn = told([CSVLogger(), Looks()], path=tmp_path, metrics=[mean_target])
    logger = learn.logger
    learn.fit(2)
    rows = rows_of(tmp_path / "history.csv")
    assert rows[0] == learn.recorder.metric_names and seen == [2, 3]
    for row, logged, values in zip(rows[1:], learn.logged, learn.recorder.values, strict=True):
        assert [float(cell) for cell in row[1:4]] == values and row[4] == "00:00"
        assert [row[0], row[4]] == [str(logged[0]), logged[4]]
    assert learn.logger is logger
    log = learn.csv_logger.read_log()
    assert len(log) == 2 and ("pandas" in sys.modules or log[1]["valid_loss"] == 3.25)


def test_a_second_fit_writes_the_file_anew_or_goes_on_in_it(tmp_path):
    learn = told([CSVLogger("a.csv")], path=tmp_path)
    learn.fit(2)
    learn.fit(1)
    assert len(rows_of(tmp_path / "a.csv")) == 2
    learn.remove_cb(CSVLogger)
    learn.fit(1, cbs=CSVLogger("a.csv", append=True))
    rows = rows_of(tmp_path / "a.csv")
    assert len(rows) == 4 and rows[2] == rows[0]


def test_a_validation_and_a_search_leave_the_file_alone(tmp_path):
    torch.manual_seed(0)
    learn = synth_learner(cbs=CSVLogger(), path=tmp_path)
    with learn.no_logging():
        learn.fit(2)
        before = (tmp_path / "history.csv").read_bytes()
        learn.validate()
        learn.get_preds()
        learn.lr_find()
    assert (tmp_path / "history.csv").read_bytes() == before


def test_a_place_that_cannot_be_written_is_an_error_before_the_fit(tmp_path):
    (tmp_path / "history.csv").mkdir()
    learn = told([CSVLogger()], path=tmp_path)
    with pytest.raises(ValueError, match="is a folder"):
        learn.fit(1)
    assert learn.recorder.losses == []
