"""fastai's callbacks, in code as its users write it, on our loop."""

import sys
from types import SimpleNamespace

import pytest
import torch
from small_fastai import Log, learner
from torch import nn

from steppers.styles.fastai.training import (
    EVENTS,
    Callback,
    CancelTrainException,
    CastToTensor,
    Learner,
    Recorder,
    TrainEvalCallback,
    before_batch_cb,
    synth_learner,
)

# --- attributes ---------------------------------------------------------------------------------


def test_an_unknown_name_is_the_learners_and_then_the_models():
    class Sees(Callback):
        def before_fit(self):
            self.found = self.n_epoch, self.lr, self.weight.shape

    cb = Sees()
    learn = learner(cb)
    learn.fit(2)
    assert cb.found == (2, 0.1, (2, 3)) and learn.in_features == 3
    with pytest.raises(AttributeError, match="neither Learner nor its Linear has 'nonsense'"):
        cb.nonsense  # noqa: B018


def test_a_callback_without_a_learner_says_so():
    with pytest.raises(AttributeError, match=r"Log has no 'xb', and is in no learner"):
        Log().xb  # noqa: B018
    assert not hasattr(Log(), "model")


class Broken(Callback):
    """Its property fails inside; the learner has a name as the property's, or has not."""

    @property
    def lr(self):
        return self.learn.no_such_thing

    @property
    def mine(self):
        return SimpleNamespace().missing


def test_an_error_inside_a_property_is_not_hidden_by_the_learners_name():
    cb = Broken()
    learn = learner(cb)
    assert learn.lr == 0.1
    with pytest.raises(AttributeError, match="'no_such_thing'"):
        cb.lr  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        cb.mine  # noqa: B018

    class Odd(Learner):
        @property
        def weight(self):  # the model has one too
            return self.layers_that_are_not

    class Model(nn.Linear):
        @property
        def shown(self):
            return self.not_in_the_model

    learn.model = Model(3, 2)
    with pytest.raises(AttributeError, match="'not_in_the_model'"):
        cb.shown  # noqa: B018
    odd = Odd(learn.dls, learn.model, learn.loss_func)
    with pytest.raises(AttributeError, match="'layers_that_are_not'"):
        odd.weight  # noqa: B018


def test_setting_a_name_of_the_learner_warns_and_hides_it():
    class Sets(Callback):
        def before_batch(self):
            self.xb = (torch.zeros(2, 3),)

    cb = Sets()
    learn = learner(cb)
    with pytest.warns(UserWarning, match=r"Sets sets xb, which its learner has.*self\.learn\.xb"):
        learn.fit(1)
    assert cb.xb[0].sum() == 0


def test_setting_names_of_its_own_does_not_warn():
    class Sets(Callback):
        def before_fit(self):
            self.count, self.run_valid, self.order = 0, True, 3

    learner(Sets()).fit(1)  # a warning would be an error


def test_the_batch_the_prediction_and_both_losses_can_be_set():
    class Changes(Callback):
        def before_batch(self):
            self.learn.xb = tuple(2 * x for x in self.xb)
            self.learn.yb = (1 - self.y,)

        def after_pred(self):
            assert torch.equal(self.x, torch.full((2, 3), 2.0))
            self.learn.pred = self.pred * 0

        def after_loss(self):
            if self.training:
                assert self.loss.item() == pytest.approx(0.693147, abs=1e-6)
                self.learn.loss_grad *= 0  # in place: the loss that is reported is another tensor
                assert self.loss.item() == pytest.approx(0.693147, abs=1e-6)
                self.learn.loss = self.loss + 1

    learn = learner([Changes(), Recorder()])
    before = learn.model.weight.detach().clone()
    learn.fit(1)
    assert torch.equal(learn.model.weight, before)
    assert [loss.item() for loss in learn.recorder.losses] == pytest.approx([1.693147] * 2)


def test_what_a_callback_counts_by():
    class Counts(Callback):
        def before_fit(self):
            self.rows = []

        def note(self, where):
            self.rows.append((where, self.epoch, self.iter, self.train_iter, self.pct_train,
                              self.n_iter, self.training))  # fmt: skip

        def before_batch(self):
            self.note("before")

        def after_batch(self):
            self.note("after")

    cb = Counts()
    learner([TrainEvalCallback, cb]).fit(2)
    assert cb.rows == [
        ("before", 0, 0, 0, 0.0, 2, True), ("after", 0, 0, 1, 0.25, 2, True),
        ("before", 0, 1, 1, 0.25, 2, True), ("after", 0, 1, 2, 0.5, 2, True),
        ("before", 0, 0, 2, 0.5, 1, False), ("after", 0, 0, 2, 0.5, 1, False),
        ("before", 1, 0, 2, 0.5, 2, True), ("after", 1, 0, 3, 0.75, 2, True),
        ("before", 1, 1, 3, 0.75, 2, True), ("after", 1, 1, 4, 1.0, 2, True),
        ("before", 1, 0, 4, 1.0, 1, False), ("after", 1, 0, 4, 1.0, 1, False),
    ]  # fmt: skip


def test_pct_train_begins_each_epoch_at_its_place_though_the_last_was_cut_short():
    class Short(Callback):
        def __init__(self):
            self.seen = []

        def before_batch(self):
            self.seen.append(self.pct_train)

        def after_batch(self):
            if self.training:
                raise CancelTrainException

    cb = Short()
    learner([TrainEvalCallback, cb]).fit(2)
    assert cb.seen[::2] == [0.0, 0.5]


def test_after_a_fit_the_batch_is_let_go():
    learn = learner()
    learn.fit(1)
    assert (learn.dl, learn.xb, learn.yb, learn.pred, learn.loss) == (None, (None,), (None,),
                                                                      None, None)  # fmt: skip


# --- flags, names, functions --------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "passes"), [("run_train", {False}), ("run_valid", {True})])
def test_flags_turn_the_batch_events_of_a_pass_off_and_no_others(flag, passes):
    class Sees(Callback):
        def __init__(self):
            self.batches, self.others = set(), []

        def after_loss(self):
            self.batches.add(self.training)

        def before_train(self):
            self.others.append("train")

        def before_validate(self):
            self.others.append("validate")

    cb = Sees()
    setattr(cb, flag, False)
    learner(cb).fit(1)
    assert cb.batches == passes and cb.others == ["train", "validate"]


def test_run_is_true_again_after_each_fit_however_it_ended():
    class Once(Callback):
        def before_fit(self):
            self.run = False

        def before_epoch(self):
            raise AssertionError("it does not run")

    cb = Once()
    learn = learner(cb)
    learn.fit(1)
    assert cb.run
    with pytest.raises(ZeroDivisionError):
        learn.fit(1, cbs=Callback(before_train=lambda self: 1 / 0))
    assert cb.run


def test_events_come_by_order_ours_among_theirs():
    seen = []

    class Mine:
        order = 5

        def after_loss(self, learn):
            seen.append("ours 5")

    class Early(Callback):
        order = -20

    class Late(Callback):
        order = 55

    early, late = Early(after_loss=lambda self: seen.append("early")), Late()
    late.after_loss = lambda: seen.append("late")
    learner([late, Mine(), early]).validate()
    assert seen == ["early", "ours 5", "late"]


def test_a_callback_is_an_attribute_by_its_name_while_it_is_there():
    class SomeThingCallback(Callback):
        pass

    cb = SomeThingCallback()
    learn = learner()
    learn.add_cb(cb)
    assert learn.some_thing is cb and cb.learn is learn and cb.name == "some_thing"
    learn.remove_cb(SomeThingCallback)
    assert not hasattr(learn, "some_thing") and cb.learn is None


def test_a_callback_named_as_something_of_the_learner_does_not_replace_it():
    class ModelCallback(Callback):
        pass

    class Fit(Callback):
        pass

    learn = learner([ModelCallback, Fit])
    assert isinstance(learn.model, nn.Linear)
    learn.fit(1)


def test_functions_make_a_callback():
    lrs = []
    learner(Callback(before_fit=lambda self: lrs.append(self.lr))).fit(1)
    assert lrs == [0.1]
    with pytest.raises(TypeError, match="there is no event 'begin_fit'"):
        Callback(begin_fit=print)
    with pytest.raises(TypeError, match="before_fit wants a function"):
        Callback(before_fit=3)


def test_before_batch_cb_replaces_batches():
    @before_batch_cb
    def shifted(self, xb, yb):
        assert self.training in (True, False)
        return tuple(x + 1000 for x in xb), tuple(y * 0 for y in yb)

    class Sees(Callback):
        order = 1

        def after_pred(self):
            self.seen = self.x.min().item(), self.y.max().item()

    cb = Sees()
    learner([shifted, cb]).fit(1)
    assert cb.seen == (1001.0, 0)


def test_an_error_names_the_callback_and_the_event():
    class Bad(Callback):
        def after_pred(self):
            raise ValueError("three is not four")

    with pytest.raises(ValueError, match=r"in Bad at after_pred: three is not four"):
        learner(Bad()).fit(1)
    with pytest.raises(ZeroDivisionError, match="in Callback at before_fit: division by zero"):
        learner(Callback(before_fit=lambda self: 1 / 0)).fit(1)


@pytest.mark.parametrize("error", [KeyError(), OSError(2, "gone"), KeyboardInterrupt()])
def test_an_error_of_any_kind_stays_what_it_is(error):
    def fails(self):
        raise error

    with pytest.raises(type(error)) as caught:
        learner(Callback(after_loss=fails)).fit(1)
    assert caught.value is error
    if isinstance(error, OSError) and sys.version_info >= (3, 11):
        assert "in Callback at after_loss" in error.__notes__


def test_events_can_be_called_by_hand_and_unknown_ones_are_errors():
    log = Log()
    learn = learner(log)
    learn("before_fit")
    learn(["before_epoch", "after_loss"])
    assert log.seen == ["after_create", "before_fit", "before_epoch", "after_loss"]
    with pytest.raises(ValueError, match="no event 'begin_fit'"):
        learn("begin_fit")


def test_cast_to_tensor_takes_the_class_from_tensors():
    class Image(torch.Tensor):
        pass

    class Sees(Callback):
        order = 10

        def before_batch(self):
            self.kinds = {type(part) for part in (*self.xb, *self.yb)}

    cb = Sees()
    batch = (torch.ones(2, 3).as_subclass(Image), torch.tensor([0, 1]))
    learn = learner([CastToTensor(), cb])
    learn.dls = SimpleNamespace(train=[batch], valid=None)
    learn.fit(1)
    assert cb.kinds == {torch.Tensor}


def test_the_outline_of_a_fit_names_who_acts_where(capsys):
    synth_learner().show_training_loop()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Start Fit" and lines[-1].strip().startswith("- after_fit")
    assert any("before_train" in x and "[TrainEvalCallback, Recorder" in x for x in lines)
    said = [x.split("-")[1].split(":")[0].strip() for x in lines if " - " in x and ":" in x]
    assert said == [event for event in EVENTS if event != "after_create"]
