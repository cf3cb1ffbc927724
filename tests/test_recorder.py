"""What the recorder keeps: losses, hypers of every group, functions, rows; over a resume too."""

import math
import time

import pytest
import torch
from tiny_learner import Passes, Stop, tiny
from torch import nn

import steppers
from steppers.train.callbacks.defaults import default_callbacks
from steppers.train.callbacks.metrics import Metrics
from steppers.train.callbacks.recorder import Recorder, recorder_of
from steppers.train.events import CancelBatch, CancelEpoch, CancelStep
from steppers.train.learner import Learner

TRAIN = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
VALID = [[0.5, 1.5], [2.5, 3.5]]


def smoothed(losses, beta):
    average, found = 0.0, []
    for count, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        found.append(average / (1 - beta**count))
    return found


class SetRate:
    """Before each training batch, lr = base * (1 + batch) in group 0, and 1 in the others."""

    order = 60

    def before_batch(self, learn):
        if learn.training:
            learn.opt.param_groups[0]["lr"] = 0.1 * (1 + learn.train_iter)


# --- losses ------------------------------------------------------------------------------------


def test_losses_are_kept_raw_and_smoothed_over_epochs():
    learn = tiny(TRAIN, VALID)
    learn.fit(2)
    assert learn.recorder.losses == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert learn.recorder.smooth == pytest.approx(smoothed([1, 2, 3, 4, 5, 6], 0.98), rel=1e-12)


def test_the_first_smoothed_losses_by_hand():
    learn = tiny(TRAIN, None)
    learn.fit(1)
    assert learn.recorder.smooth[0] == pytest.approx(1.0)
    assert learn.recorder.smooth[1] == pytest.approx((0.98 * 1 + 2) / 1.98)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_beta_is_how_much_stays(beta):
    recorder = Recorder(beta)
    learn = tiny(TRAIN, None, cbs=recorder)
    learn.fit(2)
    assert recorder.smooth == pytest.approx(smoothed([1, 2, 3, 4, 5, 6], beta))


@pytest.mark.parametrize("beta", [-0.1, 1.0, math.nan])
def test_a_beta_out_of_its_range_is_refused(beta):
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\)"):
        Recorder(beta)


def test_validation_losses_are_not_among_them():
    learn = tiny(TRAIN, VALID)
    learn.fit(1)
    learn.validate()
    assert learn.recorder.losses == [1.0, 2.0, 3.0]


def test_a_loss_that_is_changed_afterwards_stays_as_it_was():
    class Scale:
        order = 90

        def after_loss(self, learn):
            learn.loss_grad = learn.loss_grad.mul_(1000.0) if learn.training else learn.loss_grad

    learn = tiny(TRAIN, VALID, cbs=Scale())
    learn.fit(1)
    assert learn.recorder.losses == [1.0, 2.0, 3.0]


# --- rows --------------------------------------------------------------------------------------


def test_rows_have_a_column_for_each_score():
    learn = tiny(TRAIN, VALID, metrics={"double": lambda preds, target: 2 * target.mean()})
    learn.fit(2)
    rows = learn.recorder.rows
    assert [list(row) for row in rows] == [
        ["epoch", "train_loss", "valid_loss", "double", "time"]
    ] * 2
    assert [[*row.values()][:-1] for row in rows] == [[0, 2.0, 1.0, 2.0], [1, 5.0, 3.0, 6.0]]
    assert learn.recorder.iters == [3, 6]


def test_metrics_of_both_passes_have_names_of_their_own():
    learn = tiny(metrics={"m": lambda preds, target: target.mean()}, train_metrics=True)
    learn.fit(1)
    names = ["epoch", "train_loss", "train_m", "valid_loss", "valid_m", "time"]
    assert list(learn.recorder.rows[0]) == names


def test_without_validation_there_are_no_columns_of_it():
    for learn, options in ((tiny(valid=None), {}), (tiny(), {"valid": False})):
        learn.fit(1, **options)
        assert list(learn.recorder.rows[0]) == ["epoch", "train_loss", "time"]


def test_without_training_there_are_none_of_that():
    learn = tiny()
    learn.fit(1, train=False)
    assert list(learn.recorder.rows[0]) == ["epoch", "valid_loss", "time"]
    assert learn.recorder.losses == []


def test_the_time_is_in_seconds():
    class Slow:
        def before_batch(self, learn):
            time.sleep(0.02)

    learn = tiny(cbs=Slow())
    learn.fit(1)
    assert 0.1 <= learn.recorder.rows[0]["time"] < 5


def test_a_cancelled_round_has_a_row_of_what_was_done():
    learn = tiny(TRAIN, VALID, cbs=Stop(CancelEpoch(), at=1))
    learn.fit(2)
    assert [list(row) for row in learn.recorder.rows] == [["epoch", "time"]] * 2
    assert learn.recorder.iters == [2, 4]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_round_has_no_row_but_its_losses(error):
    learn = tiny(TRAIN, VALID)
    learn.fit(1)
    with pytest.raises(error):
        learn.fit(2, cbs=[Stop(error("stop"), at=1)])
    assert learn.recorder.rows == []
    assert len(learn.recorder.losses) == 2


def test_a_new_fit_begins_empty_and_start_epoch_keeps_its_numbers():
    learn = tiny(TRAIN, VALID)
    learn.fit(2)
    learn.fit(3, start_epoch=2)
    assert [row["epoch"] for row in learn.recorder.rows] == [2]
    assert learn.recorder.iters == [3]


def test_a_fit_of_no_epochs_leaves_an_empty_recorder():
    learn = tiny()
    learn.fit(1)
    learn.fit(0)
    assert (learn.recorder.rows, learn.recorder.losses, dict(learn.recorder.hypers)) == ([], [], {})


# --- hypers ------------------------------------------------------------------------------------


def two_groups(opt_func=torch.optim.SGD, **hypers):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    groups = [{"params": part.parameters()} for part in model]
    return model, opt_func(groups, lr=1.0, **hypers)


def fitted(model, opt, cbs=(), lr=1.0):
    dls = type("Data", (), {"train": Passes([1.0, 2.0, 3.0]), "valid": None})
    cbs = [Metrics(), Recorder(), *cbs]
    learn = Learner(model, dls, nn.functional.mse_loss, lr, cbs, opt, default_cbs=False)
    learn.fit(1)
    return learn.recorder.hypers


def test_every_hyper_of_every_group_is_there_for_every_batch():
    hypers = fitted(*two_groups(momentum=0.9, weight_decay=0.01), cbs=[SetRate()])
    wanted = [[0.1, 1.0], [0.2, 1.0], [pytest.approx(0.3), 1.0]]
    assert hypers["lr"] == wanted
    assert hypers["momentum"] == [[0.9, 0.9]] * 3
    assert hypers["weight_decay"] == [[0.01, 0.01]] * 3
    assert hypers.changed() == ["lr"]
    assert not {"nesterov", "foreach", "params"} & set(hypers)  # flags are no numbers


@pytest.mark.parametrize("opt_func", [torch.optim.AdamW, steppers.AdamW])
def test_betas_are_two_hypers(opt_func):
    class Momentum:
        def before_batch(self, learn):
            for group in learn.opt.param_groups:
                group["betas"] = (0.9 - 0.1 * learn.iter, 0.99)

    hypers = fitted(*two_groups(opt_func), cbs=[Momentum()])
    assert hypers["beta1"] == [[0.9, 0.9], [0.8, 0.8], [pytest.approx(0.7)] * 2]
    assert hypers["beta2"] == [[0.99, 0.99]] * 3


def test_a_rate_in_a_tensor_is_recorded_by_value():
    class Halve:
        order = 90

        def after_batch(self, learn):
            for group in learn.opt.param_groups:
                group["lr"].mul_(0.5)

    model = nn.Linear(3, 1)
    opt = torch.optim.AdamW(model.parameters(), lr=torch.tensor(1.0), foreach=False)
    assert fitted(model, opt, cbs=[Halve()])["lr"] == [[1.0], [0.5], [0.25]]


@pytest.mark.parametrize("kind", [list, tuple])
def test_values_that_are_written_over_in_a_list_or_a_tuple_are_seen(kind):
    recorder, first = Recorder(), torch.tensor(0.5, dtype=torch.float64)
    group = {"betas": kind([first, 0.99])}
    recorder.hypers.record([group])
    first.fill_(0.25)
    recorder.hypers.record([group])
    if kind is list:
        group["betas"][1] = 0.9
    recorder.hypers.record([group])
    assert recorder.hypers["beta1"] == [[0.5], [0.25], [0.25]]
    assert recorder.hypers["beta2"] == [[0.99], [0.99], [0.9 if kind is list else 0.99]]


def test_a_group_without_the_hyper_has_none():
    model, opt = two_groups()
    opt.param_groups[1]["own"] = 3.0
    assert fitted(model, opt)["own"] == [[None, 3.0]] * 3


def test_a_group_that_is_added_in_the_middle_is_recorded_from_there_on():
    model, extra = nn.Linear(3, 1), nn.Parameter(torch.ones(1))

    class Add:
        def before_batch(self, learn):
            if learn.iter == 1:
                learn.opt.add_param_group({"params": [extra], "lr": 5.0})

    hypers = fitted(model, torch.optim.SGD(model.parameters(), lr=1.0), cbs=[Add()])
    assert hypers["lr"] == [[1.0], [1.0, 5.0], [1.0, 5.0]]


def test_many_batches_at_one_rate_are_kept_in_a_few_numbers():
    learn = tiny(train=[[1.0] * 500], valid=None)
    learn.fit(1)
    state = learn.recorder.hypers.state_dict()
    assert len(learn.recorder.hypers["lr"]) == 500
    assert [len(at) for at, _ in state["changes"].values()] == [1] * len(state["changes"])


# --- functions ---------------------------------------------------------------------------------


def test_functions_are_called_once_a_training_batch_while_gradients_are_there():
    recorder = Recorder(
        norm=lambda learn: learn.model.weight.grad.norm(),
        rates=lambda learn: [group["lr"] for group in learn.opt.param_groups],
        iter=lambda learn: learn.iter,
    )
    learn = tiny(TRAIN, VALID, cbs=recorder)
    learn.fit(2)
    # d told / d weight is the mean of the inputs, which are ones
    assert recorder.values["norm"] == pytest.approx([math.sqrt(3)] * 6)
    assert recorder.values["rates"] == [[0.1]] * 6
    assert recorder.values["iter"] == [0, 1, 2, 0, 1, 2]
    assert learn.recorder is recorder  # the last one: the user's


@pytest.mark.parametrize(
    ("cancel", "event"), [(CancelStep, "before_step"), (CancelBatch, "before_step")]
)
def test_functions_are_called_where_the_step_is_left_out(cancel, event):
    recorder = Recorder(loss=lambda learn: learn.loss)
    learn = tiny(TRAIN, None, cbs=[recorder, Stop(cancel(), at=1, event=event)])
    learn.fit(1)
    assert recorder.values["loss"] == recorder.losses == [1.0, 2.0, 3.0]


def test_a_value_that_changes_in_place_is_recorded_as_it_was():
    recorder = Recorder(bias=lambda learn: learn.model.bias)
    learn = tiny([[1.0] * 3], None, cbs=recorder, lr=1.0)
    learn.fit(1)
    first, second, third = recorder.values["bias"]
    assert (second - first, third - second) == (pytest.approx(-1.0), pytest.approx(-1.0))


def test_what_cannot_be_called_or_gives_no_number_is_refused_by_name():
    with pytest.raises(TypeError, match=r"Recorder: norm= must be a function of learn, got 3"):
        Recorder(norm=3)
    learn = tiny(cbs=Recorder(odd=lambda learn: "high"))
    with pytest.raises(TypeError, match=r"Recorder: odd must give a number.*'high'"):
        learn.fit(1)


def test_the_recorder_is_found_or_asked_for():
    assert isinstance(recorder_of(tiny(), "Someone"), Recorder)
    bare = Learner(nn.Linear(3, 1), None, default_cbs=False)
    with pytest.raises(ValueError, match=r"Someone reads the rows of a Recorder: add Recorder\(\)"):
        recorder_of(bare, "Someone")


def test_series_by_name_and_near_misses():
    learn = tiny(TRAIN, VALID)
    learn.fit(2)
    recorder = learn.recorder
    assert recorder.series("loss") == recorder.losses
    assert recorder.series("lr") == [[0.1]] * 6
    assert recorder.series("valid_loss") == [1.0, 3.0]
    with pytest.raises(ValueError, match="no 'valid_los'; did you mean 'valid_loss'"):
        recorder.series("valid_los")


def test_to_dict_holds_plain_numbers():
    import json

    learn = tiny(TRAIN, VALID)
    learn.fit(2)
    read = json.loads(json.dumps(learn.recorder.to_dict(), allow_nan=False))
    assert read["losses"] == [1, 2, 3, 4, 5, 6] and read["iters"] == [3, 6]
    assert read["hypers"]["lr"] == [[0.1]] * 6 and len(read["rows"]) == 2


def test_the_default_callbacks_are_the_four():
    names = [type(cb).__name__ for cb in default_callbacks([])]
    assert names == ["Operations", "Metrics", "Recorder", "Progress"]


# --- state -------------------------------------------------------------------------------------


def through_file(state, path):
    torch.save(state, path)
    return torch.load(path, weights_only=True)


def recording(cbs=()):
    made = {"odd": lambda learn: [learn.iter, 2.0], "even": lambda learn: learn.loss}
    return tiny(TRAIN, VALID, cbs=[Recorder(**made), SetRate(), *cbs])


def without_time(recorder):
    found = recorder.to_dict()
    for row in found["rows"]:
        assert row.pop("time") >= 0
    return found


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_resumed_fit_ends_with_the_record_of_an_uninterrupted_one(batch, tmp_path):
    whole = recording()
    whole.fit(2)
    kept = {}

    class Save:
        order = 1000

        def after_batch(self, learn):
            if learn.training and (learn.epoch, learn.iter) == (1, batch):
                kept["recorder"] = learn.recorder.state_dict()
                means = next(cb for cb in learn.cbs if isinstance(cb, Metrics))
                kept["metrics"] = means.state_dict()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recording([Save()]).fit(2)
    kept = through_file(kept, tmp_path / "state.pt")

    class Resume:
        order = 1000

        def before_fit(self, learn):
            learn.recorder.load_state_dict(kept["recorder"])
            next(cb for cb in learn.cbs if isinstance(cb, Metrics)).load_state_dict(kept["metrics"])
            learn.dls.train.begun = learn.dls.valid.begun = 1
            learn.epochs = range(1, 2)

        def before_epoch(self, learn):
            if learn.training:
                learn.first_iter = batch + 1
                learn.dl = list(learn.dl)[batch + 1 :]

    rest = recording([Resume()])
    rest.fit(2)
    assert without_time(rest.recorder) == without_time(whole.recorder)
    rest.dls.train.begun = 0
    rest.set_cbs([cb for cb in rest.cbs if not isinstance(cb, Resume)])
    rest.fit(1)
    assert rest.recorder.losses == [1.0, 2.0, 3.0]  # the next fit is a new one


def test_the_time_of_a_resumed_round_includes_what_was_done_before():
    learn = tiny()
    learn.fit(1)
    state = {**learn.recorder.state_dict(), "rows": [], "elapsed": 100.0}
    learn.recorder.load_state_dict(state)
    learn.fit(2)
    first, second = (row["time"] for row in learn.recorder.rows)
    assert 100 <= first < 105 and second < 5


def test_groups_without_a_hyper_and_added_groups_survive_a_file(tmp_path):
    recorder = Recorder()
    for groups in ([{"lr": 1.0}], [{"lr": 1.0}, {"lr": 2.0, "own": 3}], [{"lr": 4.0}, {"lr": 2.0}]):
        recorder.hypers.record(groups)
    state = through_file(recorder.state_dict(), tmp_path / "state.pt")
    other = Recorder()
    other.load_state_dict(state)
    assert dict(other.hypers) == dict(recorder.hypers)
    assert other.hypers["lr"] == [[1.0], [1.0, 2.0], [4.0, 2.0]]
    assert other.hypers["own"] == [[None, None], [None, 3], [None, None]]
