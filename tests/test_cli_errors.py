"""Bad usage and bad input: exit code 2 and one line; a failed run: exit code 1 and one line."""

import os
import sys

import pytest
import torch

from steppers.cli import main
from steppers.train.experiments.callbacks import Stated

SMALL = ["--epochs", "1", "--batch-size", "256", "--quiet"]


# fmt: off
BAD_USAGE = [
    ([],                                            "a command is wanted"),
    (["trian"],                                     "no command 'trian'; did you mean 'train'?"),
    (["compare", "--optimizers", "Lio"],            "did you mean"),
    (["compare", "--optimizers", "torch.AdmW"],     "did you mean 'torch.AdamW'?"),
    (["compare", "--optimizers", ""],               "cannot read the optimizer ''"),
    (["compare", "--optimizers", "AdamW(1e-3)"],    "write AdamW(hyper=value, ...)"),
    (["compare", "--optimizers", "AdamW(lrr=1)"],   "no hyper 'lrr'; did you mean 'lr'?"),
    (["compare", "--optimizers", "torch.SGD(x=1)"], "torch.SGD has no hyper 'x'; it has lr, "),
    (["compare", "--optimizers", "torch.LBFGS"],    "torch.LBFGS runs the model in its step"),
    (["compare", "--optimizers", "torch.Muon"],     "torch.Muon: "),
    (["compare", "--lr", "-1"],                     "torch.AdamW: Invalid learning rate: -1"),
    (["compare", "--lr", "nan"],                    "torch.AdamW: Invalid learning rate: nan"),
    (["compare", "--lr", "fast"],                   "--lr"),
    (["compare", "--epoch", "3"],                   "no option 'epoch'; did you mean 'epochs'?"),
    (["compare", "--epochs", "0"],                  "wants a whole number from 1 on, got '0'"),
    (["compare", "--batch-size", "-3"],             "--batch-size"),
    (["compare", "--seed", "1.5"],                  "wants a whole number from 0 on, got '1.5'"),
    (["compare", "--task", "digit"],                "no task 'digit'; did you mean 'digits'?"),
    (["compare", "--task", "letters"],              "no task 'letters'; there is digits, mnist, "),
    (["compare", "--out", "file/x"],                "cannot make the folder file/x"),
    (["train", "--optimizer", "adamww"],            "did you mean"),
    (["train", "--task", "minst"],                  "no task 'minst'; did you mean 'mnist'?"),
    (["train", "--lrr", "3"],                       "AdamW has no hyper 'lrr'; did you mean 'lr'?"),
    (["train", "--epoch", "3"],                     "did you mean 'epochs'?"),
    (["train", "--lr", "-1"],                       "AdamW"),
    (["train", "--betas", "1.5,0.9"],               "AdamW"),
    (["train", "--lr"],                             "--lr wants a value, like 0.001"),
    (["train", "--lr", "fast"],                     "--lr wants a value like 0.001, got 'fast'"),
    (["train", "--amsgrad", "3"],                   "--amsgrad wants true or false, got '3'"),
    (["train", "AdamW"],                            "unexpected argument 'AdamW'"),
    (["train", "--schedule", "cosine"],             "--schedule"),
    (["train", "--save", "."],                      "is a folder"),
    (["train", "--save", "file/a.pt"],              "cannot make the folder file"),
    (["train", "--resume", "none.pt"],              "no checkpoint at none.pt"),
    (["train", "--resume", "file"],                 "file is damaged or no checkpoint"),
    (["train", "--resume", "cut.pt"],               "cut.pt is damaged or no checkpoint"),
    (["train", "--resume", "foreign.pt"],           "foreign.pt is no steppers.fit checkpoint"),
    (["train", "--resume", "learner.pt"],           "was not written by steppers train --save"),
    (["train", "--resume", "task.pt"],              "task.pt: no task 'minst'"),
    (["train", "--resume", "version.pt"],           "version.pt: its settings are of another"),
    (["train", "--resume", "a.pt", "--optimizer", "Lion"], "optimizer AdamW, not Lion"),
    (["train", "--resume", "a.pt", "--lr", "0.5"],         "lr 0.01, not 0.5"),
    (["train", "--resume", "a.pt", "--amsgrad"],           "amsgrad False, not True"),
    (["train", "--resume", "a.pt", "--epochs", "9"],       "epochs 1, not 9"),
    (["train", "--resume", "a.pt", "--seed", "9"],         "seed 0, not 9"),
    (["train", "--resume", "a.pt", "--clip", "1"],         "clip None, not 1.0"),
    (["train", "--resume", "swapped.pt"],                  "swapped.pt: "),
    (["train", "--resume", "model.pt"],                    "the checkpoint is of another model"),
    (["train", "--seeds", "2", "--save", "b.pt"],   "a checkpoint is of one run"),
    (["train", "--every", "2"],                     "--every says how often to --save"),
    (["train", "--seeds", "0"],                     "wants a whole number from 1 on, got '0'"),
    (["train", "--ema", "2"],                       "ema must be a number within 0 and 1, got 2.0"),
    (["train", "--clip", "0"],                      "clip must be a number above 0, got 0.0"),
    (["train", "--clip", "nan"],                    "clip must be a number above 0, got nan"),
    (["train", "--mixup", "-1"],                    "mixup must be a number 0 or more, got -1.0"),
    (["train", "--label-smoothing", "1"],           "label_smoothing must be a number in [0, 1)"),
    (["train", "--precision", "fp8"],               "--precision"),
    (["train", "--out", "file"],                    "cannot make the folder file"),
    (["train", "--device", "gpu"],                  "device 'gpu' is not known to torch"),
    (["train", "--data", "x"],                      "digits come with scikit-learn"),
    (["train", "--task", "text", "--data", "none"], "none"),
    (["train", "--task", "mnist", "--data", "."],   "mnist: no file train-images-idx3-ubyte"),
    (["train", "--task", "mnist", "--other"],       "mnist has no other held-out part"),
    (["compare", "--lrs", "1e-3,fast"],             "wants numbers like 1e-3,1e-2"),
    (["compare", "--lrs", "1e-3,1e-3"],             "wants each rate once"),
    (["compare", "--lrs", "1,2", "--lr", "1"],      "give one"),
    (["compare", "--lrs", "1e-3,-1"],               "torch.AdamW: Invalid learning rate: -1"),
    (["sweep", "--hyper", "beta2"],                 "--values"),
    (["sweep", "--hyper", "beta9", "--values", ".9"], "AdamW has no hyper 'beta9'; did you mean"),
    (["sweep", "--hyper", "beta2", "--values", ".9,2"], "(beta2) must be in [0, 1), got 2"),
    (["sweep", "--hyper", "lr", "--values", "1,x"], "--lr wants a value like 0.001, got 'x'"),
    (["sweep", "--hyper", "lr", "--values", "1,1"], "each value of lr once, got 1, 1"),
    (["sweep", "--hyper", "lr", "--values", "1", "--lrr", "2"], "no hyper 'lrr'"),
    (["find-lr", "--optimizer", "lyon"],            "did you mean"),
    (["find-lr", "--start-lr", "2", "--end-lr", "1"], "lr"),
    (["find-lr", "--num-it", "3"],                  "wants a whole number from 6 on, got '3'"),
    (["find-lr", "--epochs", "3"],                  "no hyper 'epochs'"),
    (["find-lr", "--out", "file"],                  "cannot make the folder file"),
    (["list", "adamwww"],                           "no optimizer matches 'adamwww'; did you mean"),
    (["list", "--all"],                             "list has no option 'all'"),
    (["explain"],                                   "NAME"),
    (["explain", "lyon"],                           "did you mean"),
    (["explain", "torch.SGD"],                      "torch.SGD is torch's own"),
    (["explain", "AdamW", "--lr", "-1"],            "AdamW"),
    (["explain", "AdamW", "Lion"],                  "unexpected argument 'Lion'"),
]
# fmt: on


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """A good checkpoint, and files that are none."""
    folder = tmp_path_factory.mktemp("bad")
    good = folder / "a.pt"
    assert main(["train", "--save", str(good), *SMALL]) == 0
    saved = torch.load(good, weights_only=True)
    stated = saved["callbacks"].pop(Stated.KEY)

    def write(name, **changed):
        callbacks = {**saved["callbacks"], Stated.KEY: {**stated, **changed}}
        torch.save({**saved, "callbacks": callbacks}, folder / name)

    (folder / "file").write_text("text")
    (folder / "cut.pt").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    torch.save({"model": saved["model"]}, folder / "foreign.pt")
    torch.save(saved, folder / "learner.pt")
    write("task.pt", task="minst")
    write("version.pt", new=1)
    write("swapped.pt", optimizer="Lion", hypers={})
    saved["model"].pop("1.bias")
    write("model.pt")
    return folder


@pytest.mark.parametrize(("argv", "words"), BAD_USAGE, ids=[" ".join(row[0]) for row in BAD_USAGE])
def test_bad_usage_is_exit_2_and_one_line(run, bad_files, monkeypatch, argv, words):
    monkeypatch.chdir(bad_files)
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("steppers: ") and err.count("\n") == 1 and words in err


def test_bad_input_leaves_no_file(run, tmp_path):
    run("train", "--lr", "-1", "--save", "a.pt")
    run("compare", "--lr", "-1", "--out", ".")
    run("sweep", "--hyper", "beta2", "--values", ".9,2", "--out", ".")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("argv", [["--optimizer", "torch.SparseAdam"], ["--lr", "1e30"]])
def test_a_run_that_fails_is_exit_1_and_one_line(run, argv):
    code, _, err = run("train", *argv, *SMALL)
    assert code == 1 and err.startswith("steppers: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("package", "argv"),
    [
        ("sklearn", ["train"]),
        ("tqdm", ["train", "--bar"]),
        ("matplotlib", ["compare"]),
    ],
)
def test_a_missing_package_is_one_line_with_the_command(run, monkeypatch, package, argv):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Refuse(package), *sys.meta_path])
    code, _, err = run(*argv)
    assert code == 1 and err.count("\n") == 1 and "pip install 'steppers[train]'" in err


class Refuse:
    """An importer that has one package missing."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(name)
