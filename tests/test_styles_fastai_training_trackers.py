"""fastai's callbacks that watch a score, in code as its users write it, on our loop."""

import math
import operator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from steppers.styles.fastai.training import (
    Callback,
    EarlyStoppingCallback,
    Learner,
    Recorder,
    ReduceLROnPlateau,
    SaveModelCallback,
    TerminateOnNaN,
    TerminateOnNaNCallback,
    TrackerCallback,
    TrainEvalCallback,
)


class Epochs:
    """A loader whose one batch has another loss at each pass."""

    def __init__(self, losses):
        self.losses, self.begun = losses, 0

    def __len__(self):
        return 1

    def __iter__(self):
        loss = self.losses[self.begun % len(self.losses)]
        self.begun += 1
        yield torch.ones(1, 1), torch.full((1, 1), float(loss))


def told(losses, cbs, path=".", train=(1.0,), lr=0.1, **options):
    """A learner whose validation has these losses, epoch by epoch; each step adds 1 to w."""

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return -self.w / lr

    dls = SimpleNamespace(train=Epochs(train), valid=Epochs(losses) if losses else None)
    loss = lambda out, y: out.sum() - out.sum().detach() + y.mean()  # noqa: E731
    learn = Learner(dls, Counts(), loss, torch.optim.SGD, lr, path=path, default_cbs=False,
                    cbs=[TrainEvalCallback(), Recorder(), *cbs], **options)  # fmt: skip
    learn.logger = lambda row: None
    return learn


# --- the tracker --------------------------------------------------------------------------------


def test_a_tracker_knows_the_best_and_whether_it_is_new():
    seen = []

    class Sees(TrackerCallback):
        def after_epoch(self):
            super().after_epoch()
            seen.append((self.new_best, self.best))

    told([3.0, 2.0, 2.5, 1.0], [Sees()]).fit(4)
    assert seen == [(True, 3.0), (True, 2.0), (False, 2.0), (True, 1.0)]


@pytest.mark.parametrize(
    ("options", "falls", "delta"),
    [
        ({}, True, -0.1),
        ({"monitor": "error_rate"}, True, -0.1),
        ({"monitor": "accuracy"}, False, 0.1),
        ({"monitor": "accuracy", "comp": np.less}, True, -0.1),
        ({"comp": operator.gt}, False, 0.1),
    ],
)
def test_which_is_better_is_told_by_the_name_or_the_comparison(options, falls, delta):
    cb = TrackerCallback(min_delta=0.1, **options)
    assert (cb.falls, cb.min_delta) == (falls, delta)


def test_a_score_counts_as_better_by_more_than_min_delta():
    cb = TrackerCallback(min_delta=0.5)
    told([3.0, 2.75, 2.25], [cb]).fit(2)
    assert cb.best == 3.0 and not cb.new_best
    told([3.0, 2.75, 2.25], [cb]).fit(3)
    assert cb.best == 2.25


def test_a_fit_begins_anew_unless_told():
    cb = TrackerCallback()
    learn = told([1.0, 5.0], [cb])
    learn.fit(1)
    learn.fit(1)
    assert cb.best == 5.0
    cb = TrackerCallback(reset_on_fit=False)
    learn = told([1.0, 5.0], [cb])
    learn.fit(1)
    learn.fit(1)
    assert cb.best == 1.0


def test_nan_is_never_better():
    cb = TrackerCallback()
    told([math.nan, 2.0, math.nan], [cb]).fit(3)
    assert cb.best == 2.0 and not cb.new_best


def test_an_unknown_score_is_an_error_before_anything_moves():
    learn = told([1.0], [TrackerCallback("accuracy")])
    with pytest.raises(ValueError, match="the recorder has no 'accuracy'; it has train_loss"):
        learn.fit(1)
    learn = told([], [EarlyStoppingCallback()])
    with pytest.raises(ValueError, match="no 'valid_loss'"):
        learn.fit(1)
    assert learn.model.w.item() == 0.0


def test_a_tracker_does_nothing_in_a_validation_and_is_on_again_after_it():
    cb = TrackerCallback()
    learn = told([3.0, 1.0, 2.0], [cb])
    learn.fit(1)
    learn.validate()
    assert cb.best == 3.0 and cb.run
    learn.fit(1)
    assert cb.best == 2.0


# --- stopping -----------------------------------------------------------------------------------


def test_a_fit_stops_after_patience_epochs_that_were_not_better(capsys):
    learn = told([3.0, 2.0, 2.5, 2.5, 1.0], [EarlyStoppingCallback(patience=2)])
    learn.fit(9)
    assert len(learn.recorder.values) == 4
    assert capsys.readouterr().out == "no improvement since epoch 1: stopped early\n"
    with pytest.raises(ValueError, match="patience must be a number of epochs from 1 on, got 0"):
        EarlyStoppingCallback(patience=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_training_loss_that_is_no_number_ends_the_fit(bad):
    learn = told([1.0], [TerminateOnNaNCallback()], train=(1.0, bad))
    learn.fit(5)
    assert len(learn.recorder.values) == 1 and TerminateOnNaN is TerminateOnNaNCallback
    learn = told([bad], [TerminateOnNaN()])
    learn.fit(2)
    assert len(learn.recorder.values) == 2  # a validation's loss stops nothing


# --- saving -------------------------------------------------------------------------------------


def saved(path, name="model"):
    return torch.load(path / "models" / f"{name}.pth", weights_only=True)


def test_the_best_model_is_saved_and_loaded_at_the_end(tmp_path, capsys):
    learn = told([3.0, 1.0, 2.0], [SaveModelCallback()], tmp_path)
    learn.fit(3)
    assert saved(tmp_path)["w"].item() == 2.0 == learn.model.w.item()
    assert "better model found at epoch 1: valid_loss 1.0" in capsys.readouterr().out
    assert learn.save_model.last_saved_path == tmp_path / "models" / "model.pth"


def test_the_best_is_loaded_too_where_the_fit_stops_early(tmp_path):
    cbs = [SaveModelCallback(fname="best", with_opt=True), EarlyStoppingCallback()]
    learn = told([1.0, 2.0, 0.5], cbs, tmp_path)
    learn.fit(3)
    assert learn.model.w.item() == 1.0 and set(saved(tmp_path, "best")) == {"model", "opt"}


def test_each_epoch_or_the_end_is_saved(tmp_path):
    told([1.0], [SaveModelCallback(every_epoch=True)], tmp_path).fit(2)
    assert [saved(tmp_path, f"model_{i}")["w"].item() for i in (0, 1)] == [1.0, 2.0]
    told([1.0], [SaveModelCallback(every_epoch=2, fname="second")], tmp_path).fit(4)
    assert sorted(path.stem for path in (tmp_path / "models").glob("second*")) == [
        "second_0", "second_2"]  # fmt: skip
    learn = told([1.0, 2.0], [SaveModelCallback(at_end=True, fname="last")], tmp_path)
    learn.fit(2)
    assert saved(tmp_path, "last")["w"].item() == 2.0 == learn.model.w.item()
    with pytest.raises(ValueError, match="cannot both be"):
        SaveModelCallback(every_epoch=True, at_end=True)


def test_a_validation_and_a_search_load_and_save_nothing(tmp_path):
    learn = told([1.0, 2.0, 0.1], [SaveModelCallback()], tmp_path)
    learn.fit(2)
    assert learn.model.w.item() == 1.0
    learn.model.w.data.fill_(7.0)
    learn.validate()
    learn.get_preds()
    learn.lr_find(num_it=20, suggest_funcs=None)
    assert learn.model.w.item() == 7.0 and saved(tmp_path)["w"].item() == 1.0


# --- the rate -----------------------------------------------------------------------------------


def test_the_rate_of_every_group_falls_on_a_plateau(capsys):
    class Rates(Callback):
        order = 70

        def after_epoch(self):
            rates.append([group["lr"] for group in self.opt.param_groups])

    rates = []
    cb = ReduceLROnPlateau(patience=2, factor=10.0, min_lr=0.005)
    learn = told([1.0], [cb, Rates()])
    learn.fit(8)
    wanted = [0.1, 0.1, 0.01, 0.01, 0.005, 0.005, 0.005, 0.005]
    assert [row[0] for row in rates] == pytest.approx(wanted)
    assert capsys.readouterr().out.splitlines()[0].startswith("epoch 2: reducing lr to 0.01")
    with pytest.raises(ValueError, match=r"factor must be above 1, got 0\.1"):
        ReduceLROnPlateau(factor=0.1)


def test_a_tracker_of_ones_own_reads_what_fastais_has():
    class Own(TrackerCallback):
        """Stops where the score has been as good as wanted."""

        def __init__(self, wanted, **options):
            super().__init__(**options)
            self.wanted = wanted

        def after_epoch(self):
            super().after_epoch()
            assert self.idx == list(self.recorder.metric_names[1:]).index(self.monitor)
            if self.comp(self.recorder.values[-1][self.idx], self.wanted):
                self.learn.reached = self.epoch

    learn = told([3.0, 2.0, 1.0], [Own(1.5)])
    learn.fit(3)
    assert learn.reached == 2
