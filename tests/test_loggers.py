"""Files and trackers that a fit is written to: whole, in full, and going on after a crash."""

import json
import math
import os
import signal
import subprocess
import sys

import pytest
import torch
from tiny_learner import Stop, tiny

from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.callbacks.csv_logger import CSVLogger
from steppers.train.callbacks.experiment_logger import ExperimentLogger
from steppers.train.callbacks.jsonl_logger import JSONLLogger
from steppers.train.callbacks.recorder import Recorder
from steppers.train.callbacks.tensorboard import TensorBoardLogger
from steppers.train.events import CancelEpoch

TRAIN, VALID = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[0.5, 1.5], [2.5, 3.5]]
loggers = pytest.mark.parametrize("make", [CSVLogger, JSONLLogger], ids=["csv", "jsonl"])


def fitted(logger, epochs=2, **options):
    learn = tiny(TRAIN, VALID, cbs=logger, **options)
    learn.fit(epochs)
    return learn


def rounds(logger):
    """The epochs that are in a log."""
    return [row["epoch"] for row in logger.read_log() if row.get("event", "round") == "round"]


class Watch:
    """Notes the size of a file at the end of each round."""

    order = 900

    def __init__(self, path):
        self.path, self.sizes = path, []

    def after_round(self, learn):
        self.sizes.append(self.path.stat().st_size)


# --- CSV ---------------------------------------------------------------------------------------


def test_csv_has_the_recorders_rows_in_full(tmp_path):
    logger = CSVLogger(tmp_path / "new" / "history.csv")
    learn = fitted(logger, metrics={"third": lambda preds, target: target.mean() / 3})
    assert logger.read_log() == learn.recorder.rows
    text = (tmp_path / "new" / "history.csv").read_text()
    assert text.splitlines()[0] == "epoch,train_loss,valid_loss,third,time"
    assert text.endswith("\n") and len(text.splitlines()) == 3


def test_each_row_is_on_the_disk_before_the_next_round(tmp_path):
    watch = Watch(tmp_path / "history.csv")
    fitted([CSVLogger(watch.path), watch])
    assert 0 < watch.sizes[0] < watch.sizes[1]


@loggers
def test_a_second_fit_replaces_the_file_or_is_appended(make, tmp_path):
    for append, epochs in ((False, [0]), (True, [0, 1, 0])):
        logger = make(tmp_path / f"{append}.log", append=append)
        fitted(logger).fit(1)
        assert rounds(logger) == epochs


@loggers
def test_appending_goes_on_in_a_file_that_is_there(make, tmp_path):
    fitted(make(tmp_path / "log"))
    logger = make(tmp_path / "log", append=True)
    fitted(logger, 1)
    assert rounds(logger) == [0, 1, 0]


@loggers
def test_appending_after_a_line_that_was_cut_short(make, tmp_path):
    path = tmp_path / "log"
    fitted(make(path))
    whole = path.read_bytes()
    path.write_bytes(whole + b"2,0.1" if make is CSVLogger else whole + b"\n")
    logger = make(path, append=True)
    fitted(logger, 1)
    assert rounds(logger)[-1] == 0 and len(rounds(logger)) in (3, 4)


@loggers
def test_an_old_file_stays_until_there_is_something_to_write(make, tmp_path):
    path = tmp_path / "log"
    path.write_text("something of value\n")
    with pytest.raises(KeyboardInterrupt):
        fitted([make(path), Stop(KeyboardInterrupt(), at=0, event="before_fit", training=False)])
    assert path.read_text() == "something of value\n"


def test_a_column_that_comes_later_gets_its_place(tmp_path):
    class First:
        order = 500

        def after_batch(self, learn):
            if learn.epoch == 0 and learn.training:
                raise CancelEpoch  # no validation in the first round

    logger = CSVLogger(tmp_path / "history.csv")
    learn = fitted([logger, First()])
    first, second = logger.read_log()
    assert list(first) == ["epoch", "train_loss", "valid_loss", "time"]
    assert (first["train_loss"], first["valid_loss"]) == (None, None)
    assert second == learn.recorder.rows[1]
    assert os.listdir(tmp_path) == ["history.csv"]


def test_numbers_that_are_not_finite_come_back(tmp_path):
    logger = CSVLogger(tmp_path / "history.csv")
    learn = tiny([[math.inf]], [[math.nan]], cbs=logger, lr=0.0)
    learn.fit(1)
    (row,) = logger.read_log()
    assert row["train_loss"] == math.inf and math.isnan(row["valid_loss"])


@loggers
def test_a_fit_of_no_epochs_leaves_an_empty_file(make, tmp_path):
    logger = make(tmp_path / "log")
    fitted(logger, 0)
    assert logger.read_log() == []


@loggers
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_leaves_whole_lines(make, error, tmp_path):
    logger = make(tmp_path / "log")

    class Break:
        order = 500

        def after_batch(self, learn):
            if learn.epoch == 1 and not learn.training:
                raise error("stop")

    with pytest.raises(error):
        fitted([logger, Break()])
    assert rounds(logger) == [0]
    assert (tmp_path / "log").read_bytes().endswith(b"\n")
    logger_2 = make(tmp_path / "log")
    fitted(logger_2)
    assert rounds(logger_2) == [0, 1]


# --- places that cannot be written ---------------------------------------------------------------


@loggers
@pytest.mark.parametrize("place", ["a folder", "below a file"])
def test_a_place_that_cannot_be_written_is_said_before_anything_moves(make, place, tmp_path):
    (tmp_path / "file").write_text("x")
    path = tmp_path if place == "a folder" else tmp_path / "file" / "log"
    learn = tiny(TRAIN, VALID, cbs=make(path))
    before = learn.model.weight.clone()
    with pytest.raises(ValueError, match=r"a file is wanted|cannot make the folder"):
        learn.fit(1)
    assert torch.equal(learn.model.weight, before) and learn.train_iter == 0
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("make", [CSVLogger, JSONLLogger, ExperimentLogger])
def test_a_logger_without_a_recorder_asks_for_one(make, tmp_path):
    logger = make(Tracker() if make is ExperimentLogger else tmp_path / "log")
    learn = tiny(cbs=logger)
    learn.set_cbs([cb for cb in learn.cbs if not isinstance(cb, Recorder)])
    with pytest.raises(ValueError, match=rf"{make.__name__} reads the rows of a Recorder"):
        learn.fit(1)


@pytest.mark.parametrize("every", [0, -1, True])
def test_every_is_a_number_of_batches(every, tmp_path):
    with pytest.raises(ValueError, match="JSONLLogger: every must be a number of batches"):
        JSONLLogger(tmp_path / "log", every=every)


# --- JSON lines --------------------------------------------------------------------------------


def test_json_lines_are_rounds_and_batches(tmp_path):
    logger = JSONLLogger(tmp_path / "log.jsonl", every=2)
    learn = fitted(logger)
    lines = logger.read_log()
    assert [(line["event"], line["step"]) for line in lines] == [
        ("batch", 2), ("round", 3), ("batch", 4), ("batch", 6), ("round", 6),
    ]  # fmt: skip
    assert lines[0] == {"event": "batch", "step": 2, "loss": 2.0, "lr": 0.1, "momentum": 0,
                        "dampening": 0, "weight_decay": 0}  # fmt: skip
    assert lines[-1] == {"event": "round", "step": 6, **learn.recorder.rows[-1]}


def test_groups_that_differ_have_a_name_each(tmp_path):
    logger = JSONLLogger(tmp_path / "log", every=1)
    learn = tiny(TRAIN, None, cbs=logger, splitter=lambda m: [[m.weight], [m.bias]])
    learn.fit(1, lr=[0.1, 0.2])
    line = logger.read_log()[0]
    assert (line["lr/group_0"], line["lr/group_1"]) == (0.1, 0.2) and "lr" not in line


def test_json_lines_are_strict(tmp_path):
    logger = JSONLLogger(tmp_path / "log", every=1)
    tiny([[math.nan, math.inf]], None, cbs=logger, lr=0.0).fit(1)
    strict = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (tmp_path / "log").read_text().splitlines()
    ]
    assert [line.get("loss", line.get("train_loss")) for line in strict] == [None] * 3


# --- TensorBoard and trackers --------------------------------------------------------------------


class Writer:
    def __init__(self):
        self.scalars, self.flushed, self.closed = [], 0, 0

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))

    def flush(self):
        self.flushed += 1

    def close(self):
        self.closed += 1


def test_a_writer_gets_scalars_and_stays_open():
    writer = Writer()
    learn = fitted(TensorBoardLogger(writer, every=3))
    assert ("batch/loss", 3.0, 3) in writer.scalars and ("batch/lr", 0.1, 6) in writer.scalars
    assert ("round/valid_loss", 3.0, 6) in writer.scalars
    assert (writer.flushed, writer.closed) == (2, 0)
    learn.fit(1)
    assert writer.scalars[-1][2] == 9  # the steps go on


def test_a_folder_needs_tensorboard(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match="needs tensorboard: pip install tensorboard"):
        TensorBoardLogger(tmp_path)


def test_what_is_no_writer_is_refused():
    with pytest.raises(TypeError, match="give a folder or a writer with add_scalar"):
        TensorBoardLogger(3)


class FolderWriter(Writer):
    made = []

    def __init__(self, folder, purge_step=None):
        super().__init__()
        self.folder, self.purge_step = folder, purge_step
        FolderWriter.made.append(self)


@pytest.fixture
def folder_writer(monkeypatch):
    import types

    module = types.ModuleType("torch.utils.tensorboard.writer")
    module.SummaryWriter = FolderWriter
    package = types.ModuleType("torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", module)
    FolderWriter.made = []


def test_a_folders_writer_is_closed_however_the_fit_ends(tmp_path, folder_writer):
    learn = fitted(TensorBoardLogger(tmp_path / "runs"))
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=[Stop(KeyboardInterrupt())])
    assert [(w.closed, w.purge_step) for w in FolderWriter.made] == [(1, None)] * 2


def test_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path, folder_writer):
    logger = TensorBoardLogger(tmp_path / "runs")
    learn = tiny(TRAIN, VALID, cbs=logger)
    logger.load_state_dict({"steps": 3})
    learn.fit(1)
    assert FolderWriter.made[0].purge_step == 4
    assert FolderWriter.made[0].scalars[-1][2] == 6


def test_a_folder_that_cannot_be_made_is_said_before_anything_moves(tmp_path, folder_writer):
    (tmp_path / "file").write_text("x")
    learn = tiny(cbs=TensorBoardLogger(tmp_path / "file" / "runs"))
    with pytest.raises(ValueError, match="cannot make the folder"):
        learn.fit(1)
    assert learn.train_iter == 0 and FolderWriter.made == []


class Tracker:
    """As wandb's run: log and config."""

    def __init__(self):
        self.logged, self.known, self.config = [], [], self

    def update(self, values):
        self.known.append(values)

    def log(self, numbers, step):
        self.logged.append((step, numbers))


class Flow:
    """As the mlflow module."""

    def __init__(self):
        self.logged, self.known = [], []

    def log_params(self, values):
        self.known.append(values)

    def log_metrics(self, numbers, step):
        self.logged.append((step, numbers))


@pytest.mark.parametrize("kind", [Tracker, Flow])
def test_a_tracker_gets_settings_once_and_numbers_at_rising_steps(kind):
    run = kind()
    learn = fitted(ExperimentLogger(run, every=2))
    learn.fit(1)
    (known,) = run.known
    assert known["model"] == "Linear" and known["optimizer"] == "SGD" and known["lr"] == 0.1
    assert known["parameters"] == 4 and known["epochs"] == 2
    steps = [step for step, _ in run.logged]
    assert steps == [2, 3, 4, 6, 6, 8, 9] and steps == sorted(steps)
    assert run.logged[0][1]["batch/loss"] == 2.0
    assert run.logged[1][1] == {**run.logged[1][1], "epoch": 0, "train_loss": 2.0}


def test_rounds_alone_unless_asked():
    run = Tracker()
    fitted(ExperimentLogger(run, every=None))
    assert [step for step, _ in run.logged] == [3, 6]


def test_what_is_no_tracker_is_refused():
    with pytest.raises(TypeError, match=r"must have log\(dict, step=\) or log_metrics"):
        ExperimentLogger(object())


# --- resuming ------------------------------------------------------------------------------------


def log_of(logger):
    return [{k: v for k, v in row.items() if k != "time"} for row in logger.read_log()]


@loggers
@pytest.mark.parametrize("stop", [(0, 2), (1, 0), (1, 2)])
@pytest.mark.parametrize("append", [False, True])
def test_a_resumed_fit_writes_the_lines_of_an_uninterrupted_one(make, stop, append, tmp_path):
    def logger(name):
        path = tmp_path / name / "log"
        if append and not path.exists():
            fitted(make(path), 1)
        extra = {"every": 1} if make is JSONLLogger else {}
        return make(path, append=append, **extra)

    whole = logger("whole")
    fitted(whole, 3)

    class Break:
        order = 2000

        def after_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == stop:
                raise KeyboardInterrupt

    saved = tmp_path / "fit.pt"
    with pytest.raises(KeyboardInterrupt):
        fitted([logger("cut"), Checkpoint(saved, every=2), Break()], 3)
    rest = logger("cut")
    learn = tiny(TRAIN, VALID, cbs=[rest, Checkpoint(saved, every=2, resume=True)])
    learn.dls.train.begun = learn.dls.valid.begun = stop[0]
    learn.fit(3)
    assert log_of(rest) == log_of(whole)


def test_a_resumed_csv_that_is_gone_is_written_anew(tmp_path):
    path, saved = tmp_path / "log.csv", tmp_path / "fit.pt"
    tiny(TRAIN, VALID, cbs=[CSVLogger(path), Checkpoint(saved)]).fit(2)
    kept = path.read_text()
    path.unlink()
    tiny(TRAIN, VALID, cbs=[CSVLogger(path), Checkpoint(saved, resume=True)]).fit(2)
    assert path.read_text() == kept


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from tiny_learner import tiny
from steppers.train.callbacks.csv_logger import CSVLogger
from steppers.train.callbacks.jsonl_logger import JSONLLogger
class Kill:
    order = 900
    def after_batch(self, learn):
        if learn.epoch == 2 and learn.training:
            os.kill(os.getpid(), signal.SIGKILL)
cbs = [CSVLogger("log.csv"), JSONLLogger("log.jsonl", every=1), Kill()]
tiny([[1.0, 2.0]], None, cbs=cbs).fit(5)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_process_leaves_every_row_that_was_done(tmp_path):
    code = KILLED.format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    assert rounds(CSVLogger(tmp_path / "log.csv")) == [0, 1]
    assert rounds(JSONLLogger(tmp_path / "log.jsonl")) == [0, 1]
    assert JSONLLogger(tmp_path / "log.jsonl").read_log()[-1] == {
        **JSONLLogger(tmp_path / "log.jsonl").read_log()[-1], "event": "batch", "step": 5
    }  # fmt: skip
