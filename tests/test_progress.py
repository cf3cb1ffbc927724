"""Bars, lines, the table and the live graph: what is shown, when, and that all of it is closed."""

import itertools
import sys

import pytest
from tiny_learner import Stop, tiny

from steppers.train.callbacks import bars, progress
from steppers.train.callbacks.growing_table import GrowingTable, shown
from steppers.train.callbacks.live_graph import LiveGraph, notebook_display
from steppers.train.callbacks.progress import Progress, no_bar, no_logging, say
from steppers.train.callbacks.recorder import Recorder
from steppers.train.events import CancelFit


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(Progress, "delay", 0.0)


def metric(preds, target):
    return target.mean()


def with_progress(cb, **options):
    learn = tiny(cbs=cb, metrics={"accuracy": metric}, **options)
    learn.set_cbs([each for each in learn.cbs if not isinstance(each, Progress) or each is cb])
    return learn


class Shown:
    """In the place of a bar: notes what it is told."""

    def __init__(self, kind, title, total, done):
        self.opened, self.updates, self.closed = (kind, title, total, done), [], 0
        self.interval = 0.0

    def update(self, done, text):
        self.updates.append((done, text))

    def close(self):
        self.closed += 1


@pytest.fixture
def opened(monkeypatch):
    """The bars of a test, in their order."""
    found = []
    monkeypatch.setattr(
        bars, "opened", lambda *args: found.append(Shown(*args)) or found[-1], raising=True
    )
    return found


# --- the table ---------------------------------------------------------------------------------


def test_a_fit_prints_a_header_once_and_a_row_a_round(capsys):
    learn = with_progress(Progress("lines"), train=[[1.0], [0.25]], valid=[[2.0], [0.5]])
    learn.fit(2)
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "epoch  train_loss  valid_loss    accuracy     time",
        "    0    1.000000    2.000000    2.000000     0:00",
        "    1    0.250000    0.500000    0.500000     0:00",
    ]
    assert err == ""


def test_the_columns_are_named_again_where_there_are_new_ones():
    table = GrowingTable()
    assert len(table.lines({"epoch": 0, "time": 1.0})) == 2
    assert len(table.lines({"epoch": 1, "valid_loss": 0.5, "time": 1.0})) == 2
    assert table.lines({"epoch": 2, "time": 1.0}) == ["    2                 0:01"]


def test_columns_are_aligned_whatever_their_names():
    row = {"epoch": 3, "a": 0.5, "a_metric_of_a_long_name": -12.25, "time": 3599.9}
    head, line = GrowingTable().lines(row)
    assert len(head) == len(line) and line.endswith("1:00:00")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500000"), (0.0, "0.000000"), (-2e-5, "-2.000e-05"), (3e7, "3.000e+07"),
     (float("nan"), "nan"), (float("inf"), "inf"), (7, "7"), (None, "")],
)  # fmt: skip
def test_numbers_fit_their_cells(value, text):
    assert shown("loss", value) == text


def test_two_fits_have_two_tables(capsys):
    learn = with_progress(Progress("lines"))
    learn.fit(1)
    learn.fit(1)
    assert capsys.readouterr().out.count("epoch") == 2


def test_the_lines_go_where_they_are_sent(capsys):
    lines = []
    with_progress(Progress("lines", write=lines.append)).fit(1)
    assert len(lines) == 2 and capsys.readouterr().out == ""


def test_silent_is_silent(capsys):
    learn = with_progress(Progress("silent"))
    learn.fit(2)
    learn.validate()
    say(learn, "something")
    assert capsys.readouterr() == ("", "")


def test_no_epochs_print_nothing(capsys):
    with_progress(Progress("lines")).fit(0)
    assert capsys.readouterr() == ("", "")


# --- bars --------------------------------------------------------------------------------------


def test_each_pass_has_a_bar_with_the_smoothed_loss(opened):
    with_progress(Progress("lines"), train=[[1.0, 3.0]]).fit(2)
    assert [bar.opened for bar in opened] == [
        ("lines", "epoch 1/2 train", 2, 0),
        ("lines", "epoch 1/2 valid", 2, 0),
        ("lines", "epoch 2/2 train", 2, 0),
        ("lines", "epoch 2/2 valid", 2, 0),
    ]
    second = (0.98 * 1 + 3) / 1.98
    assert opened[0].updates == [(1, "loss 1.0000"), (2, f"loss {second:.4f}")]
    assert opened[1].updates == [(1, ""), (2, "")]
    assert [bar.closed for bar in opened] == [1] * 4


def test_a_pass_outside_a_fit_has_a_bar_and_no_row(opened, capsys):
    learn = with_progress(Progress("lines"))
    learn.validate()
    learn.fit(1)
    learn.validate([next(iter(learn.dls.valid))])
    titles = [bar.opened[1] for bar in opened]
    assert titles == ["validation", "epoch 1/1 train", "epoch 1/1 valid", "validation"]
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, CancelFit])
@pytest.mark.parametrize("event", ["before_batch", "after_loss", "after_batch"])
def test_bars_are_closed_however_a_pass_ends(opened, error, event):
    learn = with_progress(Progress("lines"))
    if error is CancelFit:
        learn.fit(1, cbs=[Stop(error(), event=event)])
    else:
        with pytest.raises(error):
            learn.fit(1, cbs=[Stop(error("stop"), event=event)])
    assert [bar.closed for bar in opened] == [1]
    learn.fit(1)
    assert [bar.closed for bar in opened] == [1, 1, 1]


def test_a_resumed_pass_begins_where_it_goes_on(opened):
    class Resume:
        order = 1000

        def before_epoch(self, learn):
            if learn.training:
                learn.first_iter = 2

    learn = with_progress(Progress("lines"), train=[[1.0] * 5])
    learn.fit(1, cbs=[Resume()])
    assert opened[0].opened == ("lines", "epoch 1/1 train", 5, 2)
    assert opened[0].updates[0][0] == 3


def test_a_loader_without_a_length_has_a_bar_without_an_end(opened):
    learn = with_progress(Progress("lines"))
    learn.validate(iter([next(iter(learn.dls.valid))]))
    assert opened[0].opened == ("lines", "validation", None, 0)


def test_updates_keep_their_interval(monkeypatch):
    clock, found = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])

    def make(*args):
        found.append(Shown(*args))
        found[-1].interval = 1.0
        return found[-1]

    monkeypatch.setattr(bars, "opened", make)

    class Tick:
        def before_batch(self, learn):
            clock[0] += 0.3

    learn = with_progress(Progress("lines"), train=[[1.0] * 20])
    learn.fit(1, cbs=[Tick()])
    done = [each for each, _ in found[0].updates]
    assert len(done) in (4, 5) and all(b - a == 4 for a, b in itertools.pairwise(done))


def test_a_bar_of_tqdm_shows_its_pass_and_goes(capsys):
    pytest.importorskip("tqdm")
    bar = bars.opened("bar", "epoch 1/1 train", 10, 4)
    bar.update(7, "loss 0.2500")
    text = capsys.readouterr().err
    assert "epoch 1/1 train" in text and "7/10" in text and "loss 0.2500" in text
    bar.close()
    assert capsys.readouterr().err.endswith("\r")  # the line is cleared


def test_a_whole_fit_with_bars(capsys):
    pytest.importorskip("tqdm")
    with_progress(Progress("bar")).fit(2)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err.count("epoch 1/2 train") and err.count("epoch 2/2 valid")


def test_lines_say_where_a_pass_is(capsys):
    line = bars.Lines("epoch 1/5 train", 937)
    line.update(120, "loss 0.5000")
    assert capsys.readouterr() == ("", "epoch 1/5 train: batch 120/937, loss 0.5000\n")


def test_without_a_terminal_there_are_lines(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert bars.chosen() == "lines"
    monkeypatch.setattr(sys, "stderr", None)
    assert bars.chosen() == "lines"


def test_on_a_terminal_there_is_a_bar_where_tqdm_is(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    pytest.importorskip("tqdm")
    assert bars.chosen() == "bar"
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert bars.chosen() == "lines"
    with pytest.raises(ImportError, match="needs tqdm: pip install"):
        Progress("bar")


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be one of auto, bar, lines, silent, got 'x'"):
        Progress("x")


# --- contexts ----------------------------------------------------------------------------------


def test_no_bar_leaves_the_table_and_comes_back(opened, capsys):
    learn = with_progress(Progress("lines"))
    with no_bar(learn):
        learn.fit(1)
    assert {bar.opened[0] for bar in opened} == {"silent"}
    assert len(capsys.readouterr().out.splitlines()) == 2
    learn.fit(1)
    assert opened[-1].opened[0] == "lines"


def test_no_logging_leaves_the_bars_and_comes_back(opened, capsys):
    learn = with_progress(Progress("lines"))
    with pytest.raises(KeyboardInterrupt), no_logging(learn):
        learn.fit(2, cbs=[Stop(KeyboardInterrupt(), training=False)])
    with no_logging(learn):
        learn.fit(1)
        say(learn, "something")
    assert capsys.readouterr().out == ""
    assert {bar.opened[0] for bar in opened} == {"lines"}
    learn.fit(1)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_both_together_print_nothing(capsys):
    learn = with_progress(Progress("lines"))
    with no_bar(learn), no_logging(learn):
        learn.fit(2)
    assert capsys.readouterr() == ("", "")


# --- the live graph ----------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def graph(cost=0.0):
    clock, drawn, recorder = Clock(), [], Recorder()

    def display(figure):
        drawn.append((clock.now, len(figure.axes[0].get_lines()[0].get_xdata())))
        clock.now += cost

    return clock, drawn, recorder, LiveGraph(recorder, display, clock=clock)


def test_the_graph_is_drawn_twice_a_second_at_most():
    clock, drawn, recorder, live = graph()
    for i in range(100):
        clock.now = i * 0.1
        recorder._losses.append(1.0)
        live.update()
    assert len(drawn) == 19
    assert min(b - a for (a, _), (b, _) in itertools.pairwise(drawn)) >= 0.499


def test_a_slow_graph_takes_a_twentieth_of_the_time():
    clock, drawn, recorder, live = graph(cost=0.2)
    while clock.now < 50:
        recorder._losses.append(1.0)
        live.update()
        clock.now += 0.1
    assert 10 <= len(drawn) <= 13


def test_nothing_new_is_not_drawn_again():
    _, drawn, recorder, live = graph()
    live.draw()
    recorder._losses.append(1.0)
    live.draw()
    live.draw()
    assert len(drawn) == 1


def test_a_fit_draws_its_losses_and_validation_at_the_end():
    figures = []
    learn = with_progress(Progress("silent", display=figures.append))
    learn.fit(1)
    assert figures == []  # silent
    learn = with_progress(Progress("lines", display=figures.append, write=lambda line: None))
    learn.fit(2)
    labels = [line.get_label() for line in figures[-1].axes[0].get_lines()]
    assert "validation" in labels
    with no_bar(learn):
        learn.fit(1)
    assert len(figures) == 1


def test_a_plot_that_nothing_shows_is_refused():
    with pytest.raises(RuntimeError, match="shown in notebooks; elsewhere give display="):
        Progress(plot=True)
    with pytest.raises(RuntimeError, match="shown in notebooks"):
        notebook_display()


def test_a_plot_without_a_recorder_is_refused():
    learn = with_progress(Progress("lines", plot=True, display=print))
    learn.set_cbs([cb for cb in learn.cbs if not isinstance(cb, Recorder)])
    with pytest.raises(ValueError, match=r"add Recorder\(\)"):
        learn.fit(1)


def test_without_a_recorder_there_are_bars_alone(opened, capsys):
    learn = with_progress(Progress("lines"))
    learn.set_cbs([cb for cb in learn.cbs if not isinstance(cb, Recorder)])
    learn.fit(1)
    assert len(opened) == 2 and capsys.readouterr().out == ""


def test_in_a_notebook_the_picture_is_shown_in_place(monkeypatch):
    """With stand-ins for IPython: a kernel, a display with a handle, an image of PNG bytes."""
    import types

    seen = []

    class Handle:
        def update(self, image):
            seen.append(("update", image.data[:4]))

    class Image:
        def __init__(self, data):
            self.data = data

    def display(image, display_id):
        seen.append(("display", image.data[:4]))
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.version_info = (9, 0)
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    inner = types.ModuleType("IPython.display")
    inner.Image, inner.display = Image, display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    assert bars.in_notebook()
    show, learn = notebook_display(), tiny()
    learn.fit(1)
    show(learn.recorder.plot_loss())
    show(learn.recorder.plot_loss())
    assert seen == [("display", b"\x89PNG"), ("update", b"\x89PNG")]
    learn = with_progress(Progress("lines", write=lambda line: None))
    learn.fit(1)
    assert seen[2:] == [("display", b"\x89PNG")]


def test_a_pass_that_is_over_at_once_gets_no_bar(capsys, monkeypatch):
    monkeypatch.setattr(Progress, "delay", 60.0)
    opened = []
    monkeypatch.setattr(bars, "opened", lambda *args: opened.append(args))
    tiny(shown="bar").fit(1)
    assert opened == [] and "train_loss" in capsys.readouterr().out
