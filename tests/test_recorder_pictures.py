"""The recorder's pictures: what is drawn, where, and that pyplot's state stays out of it."""

import sys

import pytest
from tiny_learner import tiny

from steppers.train.callbacks.recorder import Recorder

matplotlib = pytest.importorskip("matplotlib")


class Rate:
    order = 60

    def before_batch(self, learn):
        if learn.training:
            learn.opt.param_groups[0]["lr"] = 0.1 / (1 + learn.train_iter)


@pytest.fixture
def recorder():
    train = [[float(i) for i in range(1, 9)], [2.0] * 8]
    learn = tiny(
        train, [[0.5], [0.25]], cbs=[Rate()], metrics={"m": lambda preds, target: target.mean()}
    )
    learn.fit(2)
    return learn.recorder


def lines(axes):
    return {line.get_label(): [*map(list, line.get_data())] for line in axes.get_lines()}


def test_the_loss_picture_has_raw_smoothed_and_validation(recorder):
    (axes,) = recorder.plot_loss().axes
    drawn = lines(axes)
    assert drawn["each batch"] == [list(range(6, 17)), recorder.losses[5:]]
    assert drawn["training, smoothed"][1] == recorder.smooth[5:]
    assert drawn["validation"] == [[8, 16], [0.5, 0.25]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training batch", "loss")


def test_what_to_skip_and_whether_to_show_validation(recorder):
    (axes,) = recorder.plot_loss(skip_start=0, with_valid=False).axes
    assert set(lines(axes)) == {"each batch", "training, smoothed"}
    assert lines(axes)["each batch"][1] == recorder.losses
    (axes,) = recorder.plot_loss(skip_start=100).axes  # more than there is: nothing is skipped
    assert len(lines(axes)["each batch"][1]) == 16


def test_hypers_that_changed_are_drawn_unless_named(recorder):
    (axes,) = recorder.plot_hypers().axes
    assert axes.get_ylabel() == "lr"
    assert list(axes.get_lines()[0].get_ydata()) == [lr for (lr,) in recorder.hypers["lr"]]
    named = recorder.plot_hypers(["lr", "momentum", "weight_decay"])
    assert [axes.get_ylabel() for axes in named.axes] == ["lr", "momentum", "weight_decay"]


@pytest.mark.parametrize(("count", "labels"), [(3, 3), (9, 2)])
def test_groups_that_differ_have_a_line_each(count, labels):
    recorder = Recorder()
    for step in range(4):
        recorder.hypers.record([{"lr": step * (group + 1.0)} for group in range(count)])
    (axes,) = recorder.plot_hypers().axes
    assert len(axes.get_lines()) == count
    assert len(axes.get_legend().get_texts()) == labels


def test_groups_that_agree_share_a_line():
    recorder = Recorder()
    for step in range(4):
        recorder.hypers.record([{"lr": step * lr} for lr in (1.0, 2.0, 1.0)])
    (axes,) = recorder.plot_hypers().axes
    assert lines(axes) == {
        "groups 0, 2": [[1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0]],
        "group 1": [[1, 2, 3, 4], [0.0, 2.0, 4.0, 6.0]],
    }


def test_metrics_have_a_panel_each(recorder):
    loss, metric = recorder.plot_metrics().axes
    assert lines(loss)["training"] == [[0, 1], [4.5, 2.0]]
    assert lines(loss)["validation"] == [[0, 1], [0.5, 0.25]]
    assert (metric.get_ylabel(), metric.get_xlabel()) == ("m", "epoch")


def test_any_series_can_be_drawn_by_name(recorder):
    assert list(recorder.plot("smooth").axes[0].get_lines()[0].get_ydata()) == recorder.smooth
    assert list(recorder.plot("m").axes[0].get_lines()[0].get_xdata()) == [0, 1]
    assert recorder.plot("time").axes[0].get_ylabel() == "time"
    with pytest.raises(ValueError, match="no 'accuracy'"):
        recorder.plot("accuracy")


def test_nothing_recorded_is_said():
    for draw in (Recorder().plot_loss, Recorder().plot_metrics):
        with pytest.raises(ValueError, match="the recorder holds no"):
            draw()
    with pytest.raises(ValueError, match="the recorder has no 'lr'"):
        Recorder().plot_hypers()


def test_pyplot_is_not_loaded(recorder):
    before = "matplotlib.pyplot" in sys.modules
    recorder.plot_loss(), recorder.plot_hypers(), recorder.plot_metrics()
    assert ("matplotlib.pyplot" in sys.modules) is before


def test_a_missing_matplotlib_is_named(recorder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="needs matplotlib: pip install"):
        recorder.plot_loss()
