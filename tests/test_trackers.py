"""What watches a score: stopping early, best weights, lower rates, losses that are no number."""

import contextlib
import math

import pytest
import torch
from tiny_learner import Passes, Stop, tiny

from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.callbacks.early_stopping import EarlyStopping
from steppers.train.callbacks.metrics import Metrics
from steppers.train.callbacks.progress import Progress
from steppers.train.callbacks.recorder import Recorder
from steppers.train.callbacks.reduce_on_plateau import ReduceLROnPlateau
from steppers.train.callbacks.save_best import SaveBest
from steppers.train.callbacks.terminate_on_nan import TerminateOnNaN
from steppers.train.callbacks.tracker import checked_mode
from steppers.train.events import CancelEpoch, CancelFit


def watching(cb, valid, train=((1.0,),), **options):
    """A learner whose rounds have the given validation losses."""
    return tiny(train, [[loss] for loss in valid], cbs=cb, **options)


def epochs_of(learn):
    return [row["epoch"] for row in learn.recorder.rows]


# --- which way is better -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode"),
    [("valid_loss", "min"), ("error_rate", "min"), ("RootMeanSquaredError", "min"),
     ("perplexity", "min"), ("bits_per_byte", "min"), ("rmse", "min"), ("accuracy", "max"),
     ("MulticlassF1Score", "max"), ("top_k_accuracy", "max"), ("valid_auroc", "max")],
)  # fmt: skip
def test_names_tell_which_way_is_better(name, mode):
    assert checked_mode("x", name, None) == mode
    assert checked_mode("x", name, "max") == "max"


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau])
def test_a_name_that_tells_nothing_needs_a_mode(make):
    with pytest.raises(ValueError, match=rf"{make.__name__}: is less or more of 'bleu' better"):
        make("bleu")
    assert make("bleu", mode="max").mode == "max"
    with pytest.raises(ValueError, match="mode must be 'min', 'max' or None, got 'up'"):
        make("bleu", mode="up")


# --- names that are not there --------------------------------------------------------------------


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, SaveBest])
def test_an_unknown_score_is_named_before_anything_moves(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn = watching(make(monitor="valid_los", mode="min"), [1.0])
    before = learn.model.weight.clone()
    with pytest.raises(ValueError, match="no row has 'valid_los'; did you mean 'valid_loss'"):
        learn.fit(1)
    assert torch.equal(learn.model.weight, before)


def test_without_validation_its_scores_are_unknown():
    learn = tiny(valid=None, cbs=EarlyStopping())
    with pytest.raises(ValueError, match="there is no validation; there are train_loss, time"):
        learn.fit(1)


class Several:
    def reset(self):
        pass

    def update(self, preds, target):
        pass

    def compute(self):
        return {"one": 1.0, "two": 2.0}


def test_what_an_object_computes_is_known_after_the_first_round():
    learn = watching(EarlyStopping("three", mode="max"), [1.0], metrics=[Several()])
    with pytest.raises(ValueError, match=r"no row has 'three'; there are epoch, .*one, two, time"):
        learn.fit(2)
    assert epochs_of(learn) == [0]
    watching(EarlyStopping("two", mode="max", patience=9), [1.0], metrics=[Several()]).fit(2)


def test_a_fit_that_leaves_out_validation_says_what_is_missing_after_a_round():
    learn = watching(EarlyStopping(), [1.0])
    with pytest.raises(ValueError, match="no row has 'valid_loss'"):
        learn.fit(2, valid=False)


def test_a_metric_of_both_passes_is_the_validations():
    metrics = {"m_accuracy": lambda preds, target: target.mean()}
    cb = EarlyStopping("m_accuracy", patience=9)
    watching(cb, [0.5, 0.75], metrics=metrics, train_metrics=True).fit(2)
    assert cb.best == 0.75
    cb = EarlyStopping("train_m_accuracy", patience=9)
    watching(cb, [0.5, 0.75], metrics=metrics, train_metrics=True).fit(2)
    assert cb.best == 1.0


def test_a_tracker_without_a_recorder_asks_for_one():
    learn = watching(EarlyStopping(), [1.0])
    learn.set_cbs([cb for cb in learn.cbs if not isinstance(cb, Recorder)])
    with pytest.raises(ValueError, match="EarlyStopping reads the rows of a Recorder"):
        learn.fit(1)


# --- early stopping ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "delta", "losses", "stopped"),
    [
        (1, 0.0, [3, 2, 1, 1.5, 0], 3),
        (2, 0.0, [3, 2, 2, 2, 0], 3),
        (2, 0.0, [3, 4, 2, 3, 1], None),
        (1, 0.5, [3, 2.6, 0, 0, 0], 1),  # 0.4 better is not enough
        (1, 0.5, [3, 2.4, 1.8, 1.2, 0.6], None),
        (1, 0.0, [3, math.nan, 1, 1, 1], 1),
        (3, 0.0, [math.nan, math.nan, 1, 2, 3, 4, 5], 5),
    ],
)
def test_a_fit_stops_after_patience_rounds(patience, delta, losses, stopped):
    cb = EarlyStopping(min_delta=delta, patience=patience)
    learn = watching(cb, [float(loss) for loss in losses], lr=0.0)
    learn.fit(len(losses))
    assert cb.stopped_epoch == stopped
    assert epochs_of(learn) == list(range(len(losses) if stopped is None else stopped + 1))
    assert learn.scores["valid"]["loss"] is not None


def test_more_is_better_for_accuracy():
    cb = EarlyStopping("accuracy")
    metrics = {"accuracy": lambda preds, target: target.mean()}
    watching(cb, [1.0, 2.0, 3.0, 2.0, 5.0], metrics=metrics).fit(5)
    assert (cb.stopped_epoch, cb.best, cb.best_epoch) == (3, 3.0, 2)


def test_the_scores_of_the_last_round_are_there_after_stopping():
    learn = watching(EarlyStopping(), [1.0, 2.0, 3.0])
    learn.fit(3)
    assert learn.scores == {"train": {"loss": 1.0}, "valid": {"loss": 2.0}}


def test_a_second_fit_begins_anew():
    cb = EarlyStopping()
    learn = watching(cb, [1.0, 2.0, 3.0, 2.5])
    learn.fit(3)
    learn.fit(2)
    assert epochs_of(learn) == [0, 1] and cb.best == 2.5


def test_what_stopped_it_is_said(capsys):
    learn = watching(EarlyStopping(), [1.0, 2.0, 3.0], shown="lines")
    learn.fit(3)
    words = "stopped after epoch 1: valid_loss was best in epoch 0, 1.000000"
    assert capsys.readouterr().out.splitlines()[-1] == words
    learn.fit(2)  # in the last round there is nothing to stop
    assert "stopped" not in capsys.readouterr().out.splitlines()[-1]


def test_a_cancelled_round_does_not_count():
    class Cut:
        order = 10

        def after_batch(self, learn):
            if learn.epoch == 0 and learn.training:
                raise CancelEpoch

    cb = EarlyStopping()
    learn = watching(cb, [1.0, 0.5, 2.0])
    learn.fit(3, cbs=[Cut()])
    assert epochs_of(learn) == [0, 1, 2] and cb.best == 0.5


@pytest.mark.parametrize("options", [{"patience": 0}, {"min_delta": -1.0}, {"min_delta": math.nan}])
def test_odd_numbers_are_refused(options):
    with pytest.raises(ValueError, match=r"EarlyStopping: (patience|min_delta) must be"):
        EarlyStopping(**options)


def test_a_stopped_fit_is_saved_whole_and_stays_stopped_when_resumed(tmp_path):
    def run(resume):
        cb = EarlyStopping(patience=2)
        saver = Checkpoint(tmp_path / "fit.pt", resume=resume)
        learn = watching([cb, saver], [1.0, 2.0, 3.0, 0.0])
        learn.fit(4)
        return learn, cb

    run(False)
    learn, cb = run(True)
    assert cb.stopped_epoch == 2 and learn.dls.train.begun == 0
    assert epochs_of(learn) == [0, 1, 2]


# --- the best weights ----------------------------------------------------------------------------


class Weights:
    """Sets all weights to the epoch's number before it is judged."""

    def after_epoch(self, learn):
        if learn.training:
            with torch.no_grad():
                learn.model.weight.fill_(float(learn.epoch))


def test_the_best_rounds_weights_are_in_the_file(tmp_path):
    cb = SaveBest(tmp_path / "new" / "best.pt")
    learn = watching([cb, Weights()], [3.0, 1.0, 2.0])
    learn.fit(3)
    assert (cb.best, cb.best_epoch) == (1.0, 1)
    assert learn.model.weight.eq(2).all()
    learn.load(cb.path, with_opt=False)
    assert learn.model.weight.eq(1).all()


def test_the_best_round_is_restored_at_the_end_also_of_a_fit_that_stops_early(tmp_path):
    cb = SaveBest(tmp_path / "best.pt", restore=True)
    learn = watching([cb, Weights(), EarlyStopping(patience=2)], [3.0, 1.0, 2.0, 2.0, 2.0])
    learn.fit(5)
    assert epochs_of(learn) == [0, 1, 2, 3] and learn.model.weight.eq(1).all()


def test_the_optimizer_goes_with_it_when_asked(tmp_path):
    cb = SaveBest(tmp_path / "best.pt", with_opt=True, restore=True)
    learn = watching(cb, [1.0, 2.0], opt_func=torch.optim.AdamW)
    learn.fit(2)
    assert {int(s["step"]) for s in learn.opt.state.values()} == {1}


def test_a_second_fit_does_not_replace_the_best_by_a_worse(tmp_path):
    cb = SaveBest(tmp_path / "best.pt")
    learn = watching([cb, Weights()], [1.0, 5.0, 5.0])
    learn.fit(1)
    learn.fit(2)
    learn.load(cb.path, with_opt=False)
    assert cb.best == 1.0 and learn.model.weight.eq(0).all()


def test_nothing_is_restored_where_nothing_was_better(tmp_path):
    cb = SaveBest(tmp_path / "best.pt", restore=True)
    watching(cb, [math.nan], lr=0.0).fit(1)
    assert not cb.path.exists()
    watching(cb, [1.0]).fit(0)
    assert not cb.path.exists()


def test_the_weights_are_those_that_were_judged(tmp_path):
    """As an EMA does: other weights stand in the model during the validation pass."""

    class Average:
        order = 30

        def before_epoch(self, learn):
            if not learn.training:
                learn.model.weight.fill_(7.0)

        def cleanup_epoch(self, learn):
            with torch.no_grad():
                learn.model.weight.fill_(3.0)

    for monitor, kept in (("valid_loss", 7.0), ("train_loss", 3.0)):
        cb = SaveBest(tmp_path / "best.pt", monitor)
        watching([cb, Average()], [1.0]).fit(1)
        assert torch.load(cb.path, weights_only=True)["model"]["weight"].eq(kept).all()


def test_an_interrupted_fit_leaves_the_best_file_whole(tmp_path):
    cb = SaveBest(tmp_path / "best.pt")
    learn = watching([cb, Weights()], [1.0, 2.0])
    learn.fit(1)
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=[Stop(KeyboardInterrupt(), at=0)])
    learn.load(cb.path, with_opt=False)
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_a_place_that_cannot_be_written_is_said_before_anything_moves(tmp_path):
    learn = watching(SaveBest(tmp_path), [1.0])
    with pytest.raises(ValueError, match="is a folder, a file is wanted"):
        learn.fit(1)
    assert learn.train_iter == 0


def test_a_resumed_fit_knows_the_best_so_far(tmp_path):
    def run(valid, epochs, resume, stop=()):
        cb = SaveBest(tmp_path / "best.pt")
        learn = watching([cb, Weights(), Checkpoint(tmp_path / "fit.pt", resume=resume)], valid)
        learn.fit(epochs, cbs=stop)
        return cb

    with pytest.raises(KeyboardInterrupt):

        class Break:
            order = 2000

            def after_round(self, learn):
                raise KeyboardInterrupt

        run([1.0, 2.0], 2, False, [Break()])
    cb = run([2.0], 2, True)
    assert (cb.best, cb.best_epoch) == (1.0, 0)
    assert torch.load(cb.path, weights_only=True)["model"]["weight"].eq(0).all()


# --- lower rates ---------------------------------------------------------------------------------


def rates(learn):
    return [group["lr"] for group in learn.opt.param_groups]


def test_the_rate_of_every_group_falls_after_patience_rounds():
    cb = ReduceLROnPlateau(factor=0.5, patience=2)
    learn = watching(
        cb, [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0], splitter=lambda m: [[m.weight], [m.bias]]
    )
    learn.fit(7, lr=[0.8, 0.4])
    # rounds 2 and 3 are no better, 4 and 5 neither
    assert rates(learn) == [pytest.approx(0.2), pytest.approx(0.1)]
    series = [lr for lr, _ in learn.recorder.hypers["lr"]]
    assert series == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2])


def test_no_rate_falls_below_the_least_or_is_raised_to_it():
    cb = ReduceLROnPlateau(min_lr=0.05)
    learn = watching(cb, [1.0] * 4, splitter=lambda m: [[m.weight], [m.bias]])
    learn.fit(4, lr=[0.4, 0.01])
    assert rates(learn) == [0.05, 0.01]


def test_a_rate_in_a_tensor_stays_one():
    learn = watching(ReduceLROnPlateau(), [1.0, 1.0])
    rate = torch.tensor(0.5)
    learn.opt_func = torch.optim.AdamW(learn.model.parameters(), lr=rate, foreach=False)
    learn.fit(2)
    (lr,) = rates(learn)
    assert lr is rate and rate.item() == pytest.approx(0.01)


def test_a_new_rate_is_said_once(capsys):
    watching(ReduceLROnPlateau(min_lr=0.01), [1.0] * 4, shown="lines").fit(4)
    said = [line for line in capsys.readouterr().out.splitlines() if "lr to" in line]
    assert said == ["epoch 1: valid_loss no better, lr to 0.01"]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"factor": 10}, r"factor must be in \(0, 1\), got 10"), ({"factor": 0}, "factor"),
     ({"patience": 0}, "patience must be 1 or more"), ({"min_lr": -1}, "min_lr must be >= 0")],
)  # fmt: skip
def test_odd_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ReduceLROnPlateau(**options)


def test_a_resumed_fit_goes_on_waiting():
    cb = ReduceLROnPlateau(patience=3)
    cb.load_state_dict({"best": 0.5, "best_epoch": 0, "wait": 2})
    learn = watching(cb, [1.0])
    learn.fit(1)
    assert rates(learn) == [pytest.approx(0.01)]
    learn.fit(1)
    assert cb.best == 1.0 and cb.wait == 0  # a new fit


# --- losses that are no number -------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_the_fit_before_its_step(value, capsys):
    cb, kept = TerminateOnNaN(), []

    class Keep:
        order = 100

        def after_step(self, learn):
            kept.append(learn.model.weight.detach().clone())

    learn = tiny([[1.0, 2.0], [3.0, value, 4.0]], [[1.0]], cbs=[cb, Keep()], shown="lines")
    learn.fit(3)
    assert cb.stopped_at == 3 and len(kept) == 3
    assert torch.equal(learn.model.weight, kept[-1])
    assert len(learn.recorder.losses) == 4 and epochs_of(learn) == [0]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"stopped: the loss of training batch 3 is {value}"


def test_a_validation_loss_that_is_no_number_stops_nothing():
    cb = TerminateOnNaN()
    learn = watching(cb, [math.nan, 1.0], lr=0.0)
    learn.fit(2)
    assert cb.stopped_at is None and epochs_of(learn) == [0, 1]


def test_the_next_fit_forgets_where_the_last_one_stopped():
    cb = TerminateOnNaN()
    learn = tiny([[math.nan], [1.0]], None, cbs=cb)
    learn.fit(1)
    assert cb.stopped_at == 0
    learn.fit(1)
    assert cb.stopped_at is None and learn.recorder.losses == [1.0]


# --- all together --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, CancelFit])
@pytest.mark.parametrize("event", ["before_epoch", "after_loss", "after_batch", "after_epoch"])
@pytest.mark.parametrize("training", [True, False])
def test_whatever_ends_a_fit_the_next_one_is_whole(error, event, training, tmp_path):
    cbs = [EarlyStopping(patience=9), SaveBest(tmp_path / "b.pt"), ReduceLROnPlateau(patience=9),
           TerminateOnNaN()]  # fmt: skip
    learn = tiny([[1.0, 2.0]], [[2.0, 4.0]], cbs=cbs)
    learn.dls.valid = Passes([2.0, 4.0])
    stop = Stop(error("stop"), at=1, event=event, training=training)
    with contextlib.suppress(KeyboardInterrupt, RuntimeError):
        learn.fit(2, cbs=[stop])
    learn.fit(2)
    assert [(r["epoch"], r["train_loss"], r["valid_loss"]) for r in learn.recorder.rows] == [
        (0, 1.5, 3.0), (1, 1.5, 3.0),
    ]  # fmt: skip
    assert learn.recorder.losses == [1.0, 2.0, 1.0, 2.0]


def test_states_load_with_weights_only(tmp_path):
    cbs = [EarlyStopping(), SaveBest(tmp_path / "b.pt"), ReduceLROnPlateau(), TerminateOnNaN()]
    learn = tiny(cbs=cbs, metrics=[Several()])
    learn.fit(2)
    for cb in learn.cbs:
        torch.save(cb.state_dict(), tmp_path / "state.pt")
        cb.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert {type(cb) for cb in learn.cbs} >= {Metrics, Recorder, Progress}
