"""The command line: what it prints, what it writes, how it ends."""

import json
import re
import subprocess
import sys
import time

import pytest
import torch

import steppers
from steppers.registry import list_optimizers
from steppers.train.experiments.callbacks import Report
from steppers.train.experiments.optimizers import find, maker
from steppers.train.experiments.settings import Setup, enter
from steppers.train.tasks import TASKS

DATA = "digits: scikit-learn's handwritten digits, 1,437 train / 360 held out"
SMALL = ["--epochs", "1", "--batch-size", "256", "--quiet"]


# --- compare ----------------------------------------------------------------------------------


def test_compare_prints_a_table_and_draws_a_picture(run, tmp_path):
    code, out, err = run("compare", *SMALL)
    assert (code, err) == (0, "")
    for name in ("torch.AdamW", "AdamW", "Lion", "LAMB"):
        assert re.search(
            rf"^{name} +\d+\.\d\d% +\d\.\d+ +[\d.]+ +[\d,]+ +[48]\.0\d +\w+", out, re.M
        )
    assert DATA in out.splitlines()[-1]
    picture = re.search("picture: (.+)", out)[1]
    assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_compare_as_json(run, tmp_path):
    code, out, err = run(
        "compare", "--optimizers", "torch.sgd,adamw(lr=1e-3),AdamW", "--json", "--out", "x", *SMALL
    )
    report = json.loads(out)
    assert (code, err) == (0, "") and report["data"].startswith(DATA)
    names = [row["optimizer"] for row in report["optimizers"]]
    assert names == ["torch.SGD", "AdamW(lr=0.001)", "AdamW"]
    assert all(row["step_ms"] > 0 and row["error"] is None for row in report["optimizers"])
    curves = json.loads((tmp_path / "x" / "report.json").read_text())["curves"]
    assert [len(curve["losses"]) for curve in curves] == [6, 6, 6]


def test_our_adamw_trains_as_torchs_does(run):
    _, out, _ = run("compare", "--optimizers", "torch.AdamW,AdamW", "--json", *SMALL)
    torchs, ours = json.loads(out)["optimizers"]
    assert ours["hypers"] == torchs["hypers"]
    assert ours["loss"] == pytest.approx(torchs["loss"], rel=1e-3)
    assert ours["state_bytes"] == torchs["state_bytes"]


def test_the_same_seed_gives_the_same_numbers(run):
    def numbers(seed):
        _, out, _ = run("compare", "--optimizers", "Lion,LAMB", "--json", "--seed", seed, *SMALL)
        return [(row["accuracy"], row["loss"]) for row in json.loads(out)["optimizers"]]

    assert numbers(3) == numbers(3) != numbers(4)


def test_one_lr_and_one_schedule_for_all(run):
    _, out, _ = run(
        "compare", "--optimizers", "AdamW,Lion(lr=0.5)", "--lr", "0.25", "--schedule", "none",
        "--json", *SMALL,
    )  # fmt: skip
    rows = json.loads(out)["optimizers"]
    assert [row["hypers"]["lr"] for row in rows] == [0.25, 0.5]
    assert [row["schedule"] for row in rows] == ["none", "none"]


def test_a_diverged_optimizer_is_in_the_table_and_the_exit_code(run):
    argv = ["compare", "--optimizers", "torch.SGD(lr=1e30),AdamW", *SMALL]
    code, out, _ = run(*argv)
    assert code == 1 and "torch.SGD(lr=1e+30) diverged: the loss is nan" in out
    assert re.search(r"^AdamW +\d+\.\d\d%", out, re.M)
    code, out, _ = run(*argv, "--json")
    bad, good = json.loads(out)["optimizers"]
    assert code == 1 and bad["accuracy"] is None and "diverged" in bad["error"]
    assert good["error"] is None


def test_progress_is_a_line_a_run_without_a_terminal_and_a_bar_by_force(run):
    argv = ["compare", "--optimizers", "AdamW", "--epochs", "2", "--batch-size", "256"]
    _, _, err = run(*argv)
    assert re.fullmatch(r"1/1 AdamW, seed 0: [\d.]+%\n", err)
    _, _, err = run(*argv, "--bar")
    assert "12/12" in err and "epoch=" in err and "loss=" in err


# --- train ------------------------------------------------------------------------------------


def test_train_prints_a_row_an_epoch_and_names_the_data_last(run):
    code, out, err = run("train", "--optimizer", "lion", "--epochs", "2", "--lr", "1e-3")
    lines = out.splitlines()
    assert (code, err) == (0, "") and lines[0].split()[:2] == ["epoch", "step"]
    assert [line.split()[:2] for line in lines[1:3]] == [["1", "23"], ["2", "46"]]
    assert "Lion(lr=0.001" in out and lines[-1].startswith(DATA)


def test_train_takes_every_hyper_as_a_flag(run):
    code, out, _ = run(
        "train", "--optimizer", "AdamW", "--lr", "3e-4", "--weight-decay", "0.1", "--betas",
        "0.9,0.95", "--amsgrad", "--eps=1e-7", "--json", *SMALL,
    )  # fmt: skip
    expected = dict(lr=3e-4, weight_decay=0.1, betas=[0.9, 0.95], amsgrad=True, eps=1e-7)
    assert code == 0 and json.loads(out)["hypers"] == expected


def test_train_as_json_tells_its_progress_on_stderr(run):
    code, out, err = run("train", "--epochs", "2", "--batch-size", "256", "--json")
    report = json.loads(out)
    assert code == 0 and report["data"].startswith(DATA)
    assert [row["epoch"] for row in report["history"]] == [1, 2]
    assert re.fullmatch(r"epoch 1/2: [\d.]+%\nepoch 2/2: [\d.]+%\n", err)


@pytest.mark.parametrize("optimizer", ["AdamW", "LAMB", "torch.SGD", "schedulefreeadamw"])
def test_a_resumed_run_ends_as_the_whole_one(run, tmp_path, optimizer):
    def end(*argv):
        code, out, err = run("train", *argv, "--json", "--quiet")
        assert (code, err) == (0, "")
        return json.loads(out), torch.load(tmp_path / "a.pt", weights_only=True)

    argv = ["--optimizer", optimizer, "--epochs", "3", "--batch-size", "256", "--save", "a.pt"]
    whole, expected = end(*argv)
    interrupt_after_epoch(1, lambda: run("train", *argv))
    assert torch.load(tmp_path / "a.pt", weights_only=True)["position"]["epoch"] == 1
    resumed, actual = end("--resume", "a.pt", "--save", "a.pt")
    assert (resumed["loss"], resumed["accuracy"]) == (whole["loss"], whole["accuracy"])
    assert_same(actual, expected)


def interrupt_after_epoch(epoch, action):
    """Run an action in which Ctrl-C comes after so many epochs, in the middle of the next."""
    with pytest.MonkeyPatch.context() as patch:
        after_batch = Report.after_batch

        def interrupted(self, learn):
            after_batch(self, learn)
            if learn.epoch == epoch and learn.iter == 2:
                raise KeyboardInterrupt

        patch.setattr(Report, "after_batch", interrupted)
        code, _, err = action()
    assert code == 130 and err.startswith("steppers: interrupted") and err.count("\n") == 1


def assert_same(actual, expected, name=""):
    """Equal to the bit, all the way down, but for times."""
    assert type(actual) is type(expected), name
    if isinstance(actual, dict):
        assert actual.keys() == expected.keys(), name
        for key in actual.keys() - {"seconds", "time", "elapsed"}:
            assert_same(actual[key], expected[key], f"{name}.{key}")
    elif isinstance(actual, (list, tuple)):
        assert len(actual) == len(expected), name
        for index, pair in enumerate(zip(actual, expected, strict=True)):
            assert_same(*pair, f"{name}[{index}]")
    elif isinstance(actual, torch.Tensor):
        assert torch.equal(actual, expected), name
    else:
        assert actual == expected, name


def test_a_finished_run_that_is_resumed_ends_at_once(run):
    run("train", "--save", "a.pt", *SMALL)
    code, out, _ = run("train", "--resume", "a.pt", "--json")
    assert code == 0 and len(json.loads(out)["history"]) == 1


def test_a_run_without_schedule_may_be_lengthened(run):
    both = ["--optimizer", "torch.AdamW", "--schedule", "none", "--json"]
    _, whole, _ = run("train", *both, "--epochs", "2", "--batch-size", "256")
    run("train", *both, *SMALL, "--save", "a.pt")
    code, longer, _ = run("train", "--resume", "a.pt", "--epochs", "2", "--json")
    assert code == 0 and json.loads(longer)["loss"] == json.loads(whole)["loss"]


@pytest.mark.needs("llvmlite")  # the command itself has it, and engines differ in the last bits
def test_killed_in_training_a_run_resumes_to_the_same_end(run, tmp_path):
    argv = ["train", "--epochs", "40", "--batch-size", "256", "--save", "a.pt", "--quiet"]
    command = [sys.executable, "-m", "steppers", *argv]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not (tmp_path / "a.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    _, resumed, _ = run("train", "--resume", "a.pt", "--json", "--quiet")
    _, whole, _ = run(*argv, "--json")
    assert json.loads(resumed)["loss"] == json.loads(whole)["loss"]


# --- list and explain -------------------------------------------------------------------------


def test_list_has_every_optimizer_in_a_line(run):
    code, out, err = run("list")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 2 + len(list_optimizers())
    assert re.search(r"^adamw +0\.001 +exp_avg, exp_avg_sq +AdamW", out, re.M | re.I)


def test_list_by_pattern_as_json(run):
    code, out, _ = run("list", "*lion*", "--json")
    (row, *_) = json.loads(out)["optimizers"]
    assert code == 0 and row["lr"] == 1e-4 and row["slots"] == ["exp_avg"]
    assert row["description"].startswith("Lion: ")


@pytest.mark.parametrize("name", list_optimizers())
def test_explain_knows_every_optimizer(run, name):
    code, out, err = run("explain", name)
    assert (code, err) == (0, "") and "lr" in out
    code, out, _ = run("explain", name, "--json")
    assert code == 0 and isinstance(json.loads(out), dict)


def test_explain_takes_hypers(run):
    _, plain, _ = run("explain", "AdamW")
    code, amsgrad, _ = run("explain", "AdamW", "--amsgrad")
    assert code == 0 and "max_exp_avg_sq" in amsgrad and "max_exp_avg_sq" not in plain
    assert run("explain", "adamw(amsgrad=True)")[1] == amsgrad


# --- the program ------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["compare", "--help"]])
def test_help_is_exit_0(run, argv):
    code, out, err = run(*argv)
    assert (code, err) == (0, "") and "usage: steppers" in out


def test_version(run):
    assert run("--version") == (0, f"steppers {steppers.__version__}\n", "")


def test_as_a_module_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, "-m", "steppers"]
    done = subprocess.run([*command, "list", "--json"], capture_output=True, cwd=tmp_path)
    assert done.returncode == 0 and len(json.loads(done.stdout)["optimizers"]) > 3
    done = subprocess.run([*command, "lisst"], capture_output=True, cwd=tmp_path, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "steppers: no command 'lisst'; did you mean 'list'?\n"


# --- the tuned hypers -------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_tuned_hypers_are_of_optimizers_that_exist(task):
    model = TASKS[task].model()
    for name, tuned in TASKS[task].tuned.items():
        assert tuned.hypers.keys() <= find(name).defaults.keys()
        contender = enter(name, Setup(task))
        optimizer = maker(contender.found, contender.hypers)(model)
        assert isinstance(optimizer, steppers.Optimizer)
