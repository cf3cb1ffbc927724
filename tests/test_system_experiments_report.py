"""What reruns show beside the printed figures, and what is kept of a campaign that is stopped."""

import json
import math
import sys

import pytest

from steppers.cli import experiment as command
from steppers.train.experiments.systems import (
    EXPERIMENTS,
    How,
    Rerun,
    Reruns,
    Source,
    campaign,
    epochs,
    run_experiments,
)
from steppers.train.experiments.systems.bands import Band, end_band
from steppers.train.experiments.systems.training import Run

DIGITS = Source(stand_in="digits")


def run_of(accuracies, losses=None, seed=0):
    """A run that ended with these held-out accuracies after its epochs."""
    rows = [
        {"epoch": number, "train_loss": 2 * loss, "valid_loss": loss, "time": 1.0,
         "train_accuracy": accuracy / 2, "valid_accuracy": accuracy}
        for number, (accuracy, loss) in enumerate(
            zip(accuracies, losses or [1.0] * len(accuracies), strict=True), 1)
    ]  # fmt: skip
    return Run(seed, "some data", 64, 10, rows, [1.0], [0.1], 1.0)


def reruns(ends, source=None, how=None):
    """A result in which each run kept its accuracy in all its epochs."""
    found = [
        Rerun(EXPERIMENTS[name], [run_of([end] * EXPERIMENTS[name].epochs)])
        for name, end in ends.items()
    ]
    return Reruns([*ends], [*ends], source or Source(), how or How(), 0, 1, found)


# --- bands -----------------------------------------------------------------------------------


def test_a_band_is_two_standard_errors_of_a_share():
    band = Band.of(0.5, 100)
    assert band.half == pytest.approx(1.96 * 0.05)
    assert [band.side(value) for value in (0.39, 0.41, 0.59, 0.61)] == [-1, 0, 0, 1]
    assert str(Band.of(0.672, 500)) == "67.2% ± 4.1%"


def test_bands_are_of_the_originals_held_out_images():
    band = end_band(EXPERIMENTS["imagenette-adam"])
    assert band.half == pytest.approx(1.96 * math.sqrt(0.672 * 0.328 / 500))
    assert end_band(EXPERIMENTS["fashion-adam"]).half == pytest.approx(
        1.96 * math.sqrt(0.871 * 0.129 / 10_000)
    )
    assert end_band(EXPERIMENTS["mnist-adam"]) is None


def test_runs_on_the_originals_data_are_held_against_the_bands():
    ends = {"imagenette-adam": 0.70, "fashion-sgd": 0.80, "fashion-momentum": 0.95}
    said = reruns(ends).sentences()
    assert said[0] == (
        "against the printed bands: within imagenette-adam; below fashion-sgd; "
        "above fashion-momentum"
    )
    for other in (reruns(ends, DIGITS), reruns(ends, how=How(epochs=3))):
        assert not any("bands" in sentence for sentence in other.sentences())


# --- epochs ----------------------------------------------------------------------------------


def test_every_printed_figure_stands_beside_ours():
    runs = [run_of([0.5, 0.6, 0.7], [1.5, 1.2, 1.0], seed) for seed in (0, 1)]
    table = epochs.table([Rerun(EXPERIMENTS["imagenette-adam"], runs)], "title")
    assert table.header[2:4] == ("accuracy", "printed")
    assert table.rows[1] == [
        "imagenette-adam", "2", "60.0% ± 0.0%", "62.6% ± 4.2%", "1.200 ± 0.000", "1.113",
        "30.0% ± 0.0%", "58.7%", "2.400 ± 0.000", "1.246",
    ]  # fmt: skip


def test_the_figures_of_all_originals_are_in_the_table():
    everything = [Rerun(one, [run_of([0.5] * one.epochs)]) for one in EXPERIMENTS.values()]
    rows = epochs.table(everything, "").rows
    assert len(rows) == sum(one.epochs for one in EXPERIMENTS.values())
    shown = sum(cell != "-" for row in rows for cell in (row[3], row[5], row[7], row[9]))
    printed = [page for one in EXPERIMENTS.values() for page in one.printed]
    keys = ("accuracy", "loss", "train_accuracy", "train_loss")
    assert shown == sum(getattr(page, key) is not None for page in printed for key in keys)


def test_a_run_of_another_length_has_no_printed_figures_beside_its_epochs():
    rerun = Rerun(EXPERIMENTS["imagenette-adam"], [run_of([0.5, 0.6])])
    assert [row[3] for row in epochs.rows(rerun)] == ["-", "-"]
    assert epochs.rows(Rerun(EXPERIMENTS["imagenette-adam"], [])) == []


def test_pictures_are_of_the_ends_and_of_the_epochs():
    short = reruns({"imagenette-learner": 0.4})
    assert set(short.pictures()) == {"accuracies"}
    long = reruns({"imagenette-learner": 0.4, "imagenette-adam": 0.6, "mnist-adam": 0.9})
    drawn = long.pictures()
    assert set(drawn) == {"accuracies", "epochs"}
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())


def test_json_has_every_epoch_and_the_band():
    found = reruns({"imagenette-adam": 0.6}).as_dict()["experiments"][0]
    assert len(found["epochs"]) == 3 and found["printed_on"] == 500
    assert found["epochs"][0] == {
        "valid_accuracy": 0.6, "valid_loss": 1.0, "train_accuracy": 0.3, "train_loss": 2.0
    }  # fmt: skip
    assert found["printed_band"]["accuracy"] == 0.672


# --- a campaign that is stopped --------------------------------------------------------------


def test_results_come_one_by_one(monkeypatch):
    seen = []
    result = run_experiments(
        ["fashion-mlp*", "amsgrad-counterexample"], DIGITS, steps=101, on_result=seen.append
    )
    assert [len(part.reruns) for part in seen] == [1, 2, 2]
    assert seen[0].not_run() == ["stopped before: fashion-mlp-momentum, amsgrad-counterexample"]
    assert seen[-1] == result and result.not_run() == []


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("7.JPEG: is damaged or no image"), 2, "7.JPEG: is damaged"),
        (OSError("no space left"), 1, "no space left"),
    ],
)
def test_what_was_done_before_a_stop_is_reported(monkeypatch, run, tmp_path, error, code, words):
    whole = campaign.train_one

    def stopping(experiment, *args):
        if experiment.name == "fashion-mlp-momentum":
            raise error
        return whole(experiment, *args)

    monkeypatch.setattr(campaign, "train_one", stopping)
    found, out, err = run("experiment", "fashion-mlp*", "--stand-in", "digits", "--quiet")
    assert (found, out) == (code, "")
    assert "what was done until then: runs/experiment/index.html" in err and words in err
    report = json.loads((tmp_path / "runs" / "experiment" / "report.json").read_text())
    assert [one["experiment"] for one in report["experiments"]] == ["fashion-mlp"]
    page = (tmp_path / "runs" / "experiment" / "index.html").read_text()
    assert "stopped before: fashion-mlp-momentum" in page


# --- the command -----------------------------------------------------------------------------


def test_list_lists(run):
    bare, said = run("experiment"), run("experiment", "list")
    assert bare == said and said[0] == 0
    assert json.loads(run("experiment", "list", "--json")[1])["command"] == "experiment"


def test_a_folder_that_cannot_be_written_is_said_before_training(run, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "run_experiments", lambda *_args, **_more: pytest.fail("ran"))
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        code, out, err = run("experiment", "fashion-mlp", "--stand-in", "digits", "--out", place)
        assert (code, out) == (2, "") and f"cannot make the folder {place}" in err


def test_without_matplotlib_nothing_is_trained(run, monkeypatch):
    monkeypatch.setattr(command, "run_experiments", lambda *_args, **_more: pytest.fail("ran"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out, err = run("experiment", "fashion-mlp", "--stand-in", "digits")
    assert (code, out) == (1, "") and "pip install 'steppers[train]'" in err
