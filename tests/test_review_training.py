"""Fits in company and in trouble: interrupted, nested, without data, with callbacks at odds."""

import copy
import struct
from types import SimpleNamespace

import crash
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR
from torch.optim.lr_scheduler import ReduceLROnPlateau as TorchPlateau

import steppers
from steppers.train.callbacks.ema import EMA
from steppers.train.callbacks.precision import MixedPrecision
from steppers.train.callbacks.schedule import BatchSched, EpochSched
from steppers.train.data import load_data
from steppers.train.events import Callback
from steppers.train.learner import Learner


def batches(count=4, size=8):
    made = torch.Generator().manual_seed(0)
    x = torch.randn(count * size, 4, generator=made)
    return list(zip(x.split(size), x.sum(1).gt(0).long().split(size), strict=True))


def layers(model):
    return [model[:1], model[1:]]


def make(train=None, valid=None, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    train = batches() if train is None else train
    dls = SimpleNamespace(train=train, valid=batches(1) if valid is None else valid)
    options = {"lr": 0.1, "opt_func": torch.optim.SGD, "splitter": layers, **options}
    return Learner(model, dls, progress="silent", **options)


def weights(learn):
    return {name: value.clone() for name, value in learn.model.state_dict().items()}


class At(Callback):
    """Does something once, at an event."""

    order = 500

    def __init__(self, event, action):
        self.action, self.done = action, False
        setattr(self, event, self.act)

    def act(self, learn):
        if not self.done:
            self.done = True
            self.action(learn)


def interrupt(_):
    raise KeyboardInterrupt


# --- gradients that an interrupted fit leaves -----------------------------------------------------


def test_gradients_of_an_interrupted_batch_are_in_no_later_step():
    learn, clean = make(), make()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=At("after_backward", interrupt))
    assert crash.same(weights(learn), weights(clean))
    assert learn.model[0].weight.grad is not None  # there, to be looked at
    learn.fit(1)
    clean.fit(1)
    assert crash.same(weights(learn), weights(clean))


def test_layers_that_are_frozen_after_an_interrupt_do_not_move():
    learn = make()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=At("after_backward", interrupt))
    learn.freeze()
    first, last = learn.model[0].weight.clone(), learn.model[2].weight.clone()
    learn.fit(1)
    assert torch.equal(learn.model[0].weight, first)
    assert not torch.equal(learn.model[2].weight, last)


# --- a fit in a fit -------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["before_fit", "after_round", "after_batch", "after_fit"])
def test_a_callback_cannot_begin_a_fit_in_a_fit(event):
    learn = make()
    with pytest.raises(RuntimeError, match="fit: a fit of this Learner is running"):
        learn.fit(3, cbs=At(event, lambda learn: learn.fit(2, lr=7.0)))
    assert learn.n_epochs == 3 and learn.opt.param_groups[0]["lr"] == 0.1
    learn.fit(2)  # nothing is left of it
    assert len(learn.recorder.rows) == 2


def test_a_pass_cannot_begin_within_a_pass():
    learn = make()
    with pytest.raises(RuntimeError, match="validate: a pass over the data of this Learner"):
        learn.fit(1, cbs=At("after_batch", lambda learn: learn.validate()))
    assert learn.training
    learn.fit(1)


def test_a_validation_between_rounds_changes_no_training():
    learn, plain, found = make(), make(), []
    again = At("after_round", lambda learn: found.append(learn.validate(batches(2))))
    learn.fit(2, cbs=again)
    plain.fit(2)
    assert found[0].keys() == {"loss"}
    assert crash.same(weights(learn), weights(plain))
    assert learn.recorder.losses == plain.recorder.losses


@pytest.mark.parametrize("event", ["after_batch", "after_round"])
def test_a_search_for_the_rate_within_a_fit_changes_nothing(event):
    learn, plain, found = make(), make(), []
    search = At(event, lambda learn: found.append(learn.lr_find(num_it=10)))
    learn.fit(3, cbs=search)
    plain.fit(3)
    assert found[0].lrs
    assert crash.same(weights(learn), weights(plain))
    assert learn.recorder.losses == plain.recorder.losses and len(learn.recorder.rows) == 3


def test_a_callback_is_given_once():
    once = At("before_fit", lambda learn: None)
    learn = make(cbs=once)
    with pytest.raises(ValueError, match="this At is given twice"):
        learn.fit(1, cbs=once)
    assert not once.done and learn.cbs.count(once) == 1


def test_the_finder_validates_nothing_and_takes_the_steps_it_is_told():
    seen = []

    class Watch:
        def after_loss(self, learn):
            seen.append((learn.training, learn.opt.param_groups[0]["lr"]))

    # SYSTEMS 8: at most 100 steps, the k-th at exp(k / 100) of the way, no validation
    make(cbs=Watch()).lr_find(1e-7, 10.0, num_it=100, stop_div=False)
    assert {training for training, _ in seen} == {True}
    expected = [1e-7 * (10.0 / 1e-7) ** (k / 100) for k in range(100)]
    assert [lr for _, lr in seen] == pytest.approx(expected)


# --- data -----------------------------------------------------------------------------------------


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([(torch.ones(4), 0)] * 4)


@pytest.mark.parametrize(
    ("train", "error", "words"),
    [
        ([], ValueError, "there are no training batches"),
        (torch.utils.data.DataLoader(Stream(), 2), TypeError, "have no length"),
        ([{"x": torch.ones(2, 4)}], TypeError, "a batch must be a tuple of inputs .* got a dict"),
        ([torch.ones(2, 4)], TypeError, "a batch must be a tuple of inputs .* got a Tensor"),
    ],
    ids=["empty", "without length", "dict", "tensor"],
)
def test_training_data_that_cannot_be_trained_on_are_told(train, error, words):
    learn = make(train)
    before = weights(learn)
    with pytest.raises(error, match=words):
        learn.fit(1)
    assert crash.same(weights(learn), before)


def test_the_finder_wants_to_know_how_many_batches_there_are():
    with pytest.raises(TypeError, match="have no length"):
        make(torch.utils.data.DataLoader(Stream(), 2)).lr_find()


@pytest.mark.parametrize("dls", [batches(), (batches(), batches()), SimpleNamespace(train=[])])
def test_data_of_another_kind_are_told_when_the_learner_is_built(dls):
    with pytest.raises(TypeError, match="dls must have train and valid"):
        Learner(nn.Linear(4, 2), dls)


def test_items_in_place_of_batches_are_told():
    with pytest.raises(TypeError, match=r"got digits as items: give data.loaders\(64\)"):
        Learner(nn.Linear(4, 2), load_data("digits"))


def test_a_learner_without_data_predicts_and_says_what_it_cannot_do():
    learn = Learner(nn.Linear(4, 2), None, progress="silent")
    assert learn.predict(torch.ones(3, 4)).shape == (3, 2)
    with pytest.raises(ValueError, match="no training data"):
        learn.fit(1)
    with pytest.raises(ValueError, match="no validation data"):
        learn.validate()


def test_outputs_that_cannot_be_joined_are_told():
    with pytest.raises(ValueError, match="get_preds: the loader has no batches"):
        make().get_preds([])
    learn = make(loss_func=lambda preds, target: preds["a"].mean())
    learn.model.register_forward_hook(lambda *found: {"a": found[-1]})
    with pytest.raises(TypeError, match="get_preds: joins outputs that are tensors, got a dict"):
        learn.get_preds()


def test_images_of_another_size_are_told_with_their_file(tmp_path):
    for part, count in (("train", 3), ("t10k", 2)):
        pixels, labels = bytes(count * 20 * 22), bytes(count)
        header = struct.pack(">4B3I", 0, 0, 8, 3, count, 20, 22)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(header + pixels)
        header = struct.pack(">4BI", 0, 0, 8, 1, count)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(header + labels)
    words = "train-images-idx3-ubyte: holds images of 20 x 22 pixels, those of mnist have 28 x 28"
    with pytest.raises(ValueError, match=words):
        load_data("mnist", tmp_path)


# --- what is given to a fit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (dict(n_epochs=-1), ValueError, "n_epochs must be 0 or more, got -1"),
        (dict(n_epochs=2.5), TypeError, "n_epochs must be a whole number, got 2.5"),
        (dict(n_epochs=True), TypeError, "n_epochs must be a whole number, got True"),
        (dict(n_epochs=3, start_epoch=5), ValueError, "start_epoch is 5, but there are 3 epochs"),
        (dict(n_epochs=3, start_epoch=-1), ValueError, "start_epoch must be 0 or more, got -1"),
    ],
)
def test_epochs_that_there_are_not_are_told(given, error, words):
    with pytest.raises(error, match=words):
        make().fit(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(div=0), "fit_one_cycle: div must be > 0, got 0"),
        (dict(div_final=-1.0), "fit_one_cycle: div_final must be > 0, got -1"),
        (dict(moms=(0.9, 0.8)), "moms must be momentum before, at and after the peak"),
    ],
)
def test_a_cycle_without_sense_is_told(given, words):
    with pytest.raises(ValueError, match=words):
        make().fit_one_cycle(1, **given)


# --- optimizers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(opt_func="adam"), "opt_func must make an optimizer .*, got 'adam'"),
        (dict(opt_func=lambda groups, lr: None), "opt_func must return an optimizer, got None"),
        (dict(model=torch.relu), "model must be a torch.nn.Module, got <built-in"),
    ],
)
def test_what_makes_no_optimizer_is_told(given, words):
    dls = SimpleNamespace(train=batches(), valid=None)
    learn = Learner(**{"model": nn.Linear(4, 2), "dls": dls, "progress": "silent", **given})
    with pytest.raises(TypeError, match=words):
        learn.fit(1)


def test_a_new_optimizer_made_while_layers_are_frozen_knows_them_all():
    learn = make()
    learn.freeze()
    first = learn.model[0].weight.clone()
    learn.fit(1, reset_opt=True)
    assert torch.equal(learn.model[0].weight, first)
    assert not learn.model[0].weight.requires_grad
    learn.unfreeze()
    learn.fit(1)
    assert not torch.equal(learn.model[0].weight, first)


def test_resetting_an_optimizer_of_the_user_drops_its_state():
    model = nn.Linear(4, 2)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dls = SimpleNamespace(train=batches(), valid=None)
    learn = Learner(model, dls, opt_func=opt, progress="silent")
    learn.fit(1)
    assert opt.state
    learn.ready(reset_opt=True)
    assert learn.opt is opt and not opt.state


def test_weights_of_another_shape_change_nothing_also_where_names_may_differ(tmp_path):
    learn = make(opt_func=steppers.AdamW)
    learn.fit(1)
    learn.save(tmp_path / "a.pt")
    other = make(opt_func=steppers.AdamW)
    other.model[0] = nn.Linear(5, 8)
    before = copy.deepcopy((other.model.state_dict(), other.opt.state_dict()))
    with pytest.raises(ValueError, match=r"a.pt: .* 0.weight is \(8, 4\) there and \(8, 5\)"):
        other.load(tmp_path / "a.pt", strict=False)
    assert crash.same((other.model.state_dict(), other.opt.state_dict()), before)


def test_two_torch_schedulers_drive_one_fit_and_leave_no_trace():
    learn = make()
    learn.fit(1)
    before = [sorted(group) for group in learn.opt.param_groups]
    warm = BatchSched(lambda opt: LinearLR(opt, 0.25, 1.0, 4))
    # No loss is ever better by so much, so that the rate falls to a tenth after each round.
    fall = EpochSched(lambda opt: TorchPlateau(opt, patience=0, threshold=1e9), monitor="loss")
    learn.fit(3, 0.8, cbs=[warm, fall])
    rates = [row[0] for row in learn.recorder.hypers["lr"]]
    assert rates == pytest.approx([0.2, 0.35, 0.5, 0.65, *[0.08] * 4, *[0.008] * 4])
    assert [sorted(group) for group in learn.opt.param_groups] == before
    assert "step" not in vars(learn.opt)


# --- averaged weights -----------------------------------------------------------------------------


class Interrupts:
    """Raises KeyboardInterrupt in the place of a function's calls, by their numbers, or after."""

    def __init__(self, function, calls, after=False):
        self.function, self.calls, self.after, self.count = function, set(calls), after, -1

    def __call__(self, *given):
        self.count += 1
        interrupts = self.count in self.calls
        given = self.function(*given) if self.after or not interrupts else None
        if interrupts:
            raise KeyboardInterrupt
        return given


@pytest.mark.parametrize("calls", [[0], [1], [1, 2], [0, 1]])
def test_the_weights_come_back_however_often_a_validation_is_interrupted(monkeypatch, calls):
    from steppers.train.callbacks import ema

    learn = make(cbs=EMA(0.9))
    learn.fit(2)
    before = weights(learn)
    monkeypatch.setattr(ema, "_put", Interrupts(ema._put, calls))
    with pytest.raises(KeyboardInterrupt):
        learn.validate()
    assert crash.same(weights(learn), before)


@pytest.mark.parametrize("loaded", [False, True])
def test_an_average_that_was_left_in_the_model_goes_before_the_next_pass(loaded):
    average = EMA(0.9)
    learn, other = make(cbs=average), make(lr=0.5)
    learn.fit(2)
    other.fit(2)
    before = weights(learn)
    average.before_epoch(learn)  # the process is interrupted before cleanup_epoch begins
    assert not crash.same(weights(learn), before)
    if loaded:  # what the user put in since then is not written over
        learn.model.load_state_dict(other.model.state_dict())
        before = weights(other)
    learn.validate()
    assert crash.same(weights(learn), before)


# --- mixed precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["fit", "validate"])
@pytest.mark.parametrize(
    "name",
    ["autocast_increment_nesting", "autocast_decrement_nesting", "clear_autocast_cache",
     "set_autocast_enabled", "set_autocast_dtype", "set_autocast_cache_enabled"],
)  # fmt: skip
def test_autocast_is_off_wherever_it_is_interrupted(monkeypatch, name, what):
    learn = make(cbs=MixedPrecision("bfloat16"))
    learn.fit(1)
    for call in range(4):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(torch, name, Interrupts(getattr(torch, name), [call], after=True))
            getattr(learn, what)()
            raise KeyboardInterrupt  # it made fewer calls
        assert not torch.is_autocast_enabled("cpu") and torch.is_autocast_cache_enabled()
        torch.autocast_increment_nesting()
        assert torch.autocast_decrement_nesting() == 0
