"""Callbacks around the model and its weights: averages, compilation, sizes of updates."""

import io
import math
import shutil

import pytest
import torch
from small_fits import At, make, throw
from torch import nn

import steppers
from steppers import rules
from steppers.train.callbacks.accumulation import GradientAccumulation
from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.callbacks.clipping import ClipGradients
from steppers.train.callbacks.compiled import Compile
from steppers.train.callbacks.ema import EMA
from steppers.train.callbacks.updates import UpdateStats
from steppers.train.events import CancelFit, CancelStep, CancelValid
from steppers.train.learner import Learner


def snapshot(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- averaged weights ----------------------------------------------------------------------------


class Weights:
    """The model's state after each step and within each validation pass."""

    order = 500

    def __init__(self):
        self.trained, self.validated = [], []

    def before_fit(self, learn):
        self.start = snapshot(learn.model)

    def after_step(self, learn):
        self.trained.append(snapshot(learn.model))

    def before_batch(self, learn):
        if not learn.training:
            self.validated.append(snapshot(learn.model))


def averaged(start, states, decay):
    """The average by its definition, in float64."""
    average = {name: value.double() for name, value in start.items()}
    for state in states:
        for name, value in state.items():
            average[name] = decay * average[name] + (1 - decay) * value.double()
    return average


@pytest.mark.parametrize("opt_func", [torch.optim.SGD, steppers.AdamW])
def test_validation_sees_the_average_and_training_does_not(opt_func):
    seen, ema = Weights(), EMA(0.8)
    learn = make(ema, seen, valid=1, opt_func=opt_func)
    learn.fit(2)
    assert same(snapshot(learn.model), seen.trained[-1])
    for validated, steps in zip(seen.validated, (10, 20), strict=True):
        wanted = averaged(seen.start, seen.trained[:steps], 0.8)
        for name, value in validated.items():
            if value.is_floating_point():  # BatchNorm's statistics too
                torch.testing.assert_close(value.double(), wanted[name], rtol=1e-5, atol=1e-7)
            else:
                assert value == seen.trained[steps - 1][name]


def test_it_trains_as_without_an_average():
    learn, other = make(EMA(), valid=1), make(valid=1)
    learn.fit(2)
    other.fit(2)
    assert same(snapshot(learn.model), snapshot(other.model))


def test_the_average_is_that_of_the_rule_ema():
    class Averaged(steppers.Optimizer):
        """SGD that keeps an average."""

        steps = rules.descend, rules.ema
        evaluate = (rules.use_average,)
        defaults = dict(lr=0.1, ema_decay=0.9)

    ema = EMA(0.9)
    learn = make(ema, opt_func=Averaged)
    learn.fit(1)
    for name, p in learn.model.named_parameters():
        torch.testing.assert_close(ema.average[name], learn.opt.state[p]["average"])


def test_steps_left_out_do_not_move_the_average():
    seen, ema = Weights(), EMA(0.8)
    cbs = [GradientAccumulation(2), At("before_step", 3, throw(CancelStep()), 50)]
    make(ema, seen, *cbs).fit(1)
    # after_step comes for the cancelled step too, with the weights of the one before
    assert len(seen.trained) == 5
    wanted = averaged(seen.start, [seen.trained[i] for i in (0, 2, 3, 4)], 0.8)
    for name, value in ema.average.items():
        torch.testing.assert_close(value.double(), wanted[name], rtol=1e-5, atol=1e-7)


class ValidAt(At):
    def call(self, learn):
        if not learn.training:
            self.act(learn)


@pytest.mark.parametrize("event", ["before_epoch", "before_batch", "after_loss", "after_epoch"])
@pytest.mark.parametrize("error", [CancelValid, CancelFit, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("order", [0, 50])
def test_the_weights_come_back_however_a_validation_ends(event, error, order):
    seen = Weights()
    learn = make(EMA(0.8), seen, ValidAt(event, 0, throw(error()), order), valid=1)
    if issubclass(error, CancelValid | CancelFit):
        learn.fit(1)
    else:
        with pytest.raises(error):
            learn.fit(1)
    assert same(snapshot(learn.model), seen.trained[-1])
    assert not learn.opt._optimizer_step_post_hooks


def test_an_interrupt_while_the_average_goes_in_leaves_the_weights(monkeypatch):
    from steppers.train.callbacks import ema as file

    ema = EMA(0.8)
    learn = make(ema, valid=1)
    learn.fit(1, valid=False)
    before, put = snapshot(learn.model), file._put

    def half(model, values):
        monkeypatch.setattr(file, "_put", put)
        first = next(iter(values))
        put(model, {first: values[first]})
        raise KeyboardInterrupt

    monkeypatch.setattr(file, "_put", half)
    with pytest.raises(KeyboardInterrupt):
        learn.validate()
    assert same(snapshot(learn.model), before)


def test_validate_and_get_preds_use_the_average():
    ema = EMA(0.5)
    learn = make(ema, valid=1)
    learn.fit(1)
    preds, _ = learn.get_preds()
    copy = make().model
    ema.copy_to(copy)
    wanted = copy.eval()(learn.dls.valid[0][0])
    torch.testing.assert_close(preds, wanted)


def test_half_precision_weights_are_averaged_in_float32():
    ema = EMA(0.999)
    learn = make(ema, lr=1e-2)
    learn.model.bfloat16()
    learn.dls.train = [(x.bfloat16(), y) for x, y in learn.dls.train]
    learn.fit(1)
    assert {value.dtype for value in ema.average.values()} == {torch.float32}


def test_a_resumed_fit_has_the_average_of_one_uninterrupted(tmp_path):
    def fit(*cbs):
        ema = EMA(0.9)
        make(ema, *cbs, valid=1).fit(2)
        return ema.average

    whole, path = fit(), tmp_path / "fit.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(path, 1), At("before_batch", 13, throw(KeyboardInterrupt())))
    assert same(fit(Checkpoint(path, resume=True)), whole)


def test_a_second_model_has_an_average_of_its_own():
    ema = EMA(0.5)
    make(ema).fit(1)
    other = Learner(nn.Linear(4, 2), make().dls, cbs=[ema], default_cbs=False)
    other.fit(1)
    assert set(ema.average) == {"weight", "bias"}


def test_averages_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="decay must be in"):
        EMA(1.0)
    with pytest.raises(ValueError, match="no average before the first fit"):
        EMA().copy_to(nn.Linear(1, 1))
    ema = EMA()
    make(ema).fit(1)
    with pytest.raises(ValueError, match="not of this Linear's weights"):
        ema.copy_to(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="of another model"):
        ema.load_state_dict({"average": {"weight": torch.ones(1)}})


# --- compilation ---------------------------------------------------------------------------------


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_a_compiled_fit_trains_as_an_eager_one(dynamo):
    calls = []

    def backend(graph, inputs):
        calls.append(len(inputs))
        return graph.forward

    learn, other = make(Compile(backend=backend), valid=1), make(valid=1)
    keys = list(learn.model.state_dict())
    learn.fit(1)
    assert calls
    before = len(calls)
    learn.fit(1)
    assert len(calls) == before  # nothing is compiled twice
    other.fit(2)
    assert list(learn.model.state_dict()) == keys
    for name, value in snapshot(learn.model).items():
        torch.testing.assert_close(value, snapshot(other.model)[name])


@pytest.mark.parametrize("error", [CancelFit, ValueError, KeyboardInterrupt, None])
@pytest.mark.parametrize("before", [None, lambda *x: None])
def test_the_model_is_given_back_as_it_was(error, before):
    learn, seen = make(Compile(backend="eager")), []
    learn.model._compiled_call_impl = before

    def act(learn):
        seen.append(learn.model._compiled_call_impl)
        if error:
            raise error

    cbs = [At("before_batch", 0, act), At("before_batch", 0, throw(CancelFit()), 1)]
    if error in (CancelFit, None):
        learn.fit(1, cbs=cbs)
    else:
        with pytest.raises(error):
            learn.fit(1, cbs=cbs)
    assert callable(seen[0])
    assert seen[0] is not before
    assert learn.model._compiled_call_impl is before


def test_a_missing_compiler_is_an_error_before_the_fit(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    learn = make(Compile())
    with pytest.raises(RuntimeError, match=r"finds no no-such-compiler.*backend='aot_eager'"):
        learn.fit(1)
    assert learn.model._compiled_call_impl is None
    assert shutil.which("no-such-compiler") is None


def test_a_python_that_torch_does_not_compile_is_an_error(monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("torch.compile is not supported on Python 9.9+")

    monkeypatch.setattr(torch, "compile", refuse)
    learn = make(Compile(backend="eager"))
    with pytest.raises(RuntimeError, match=r"Compile: .*not supported on Python 9.9"):
        learn.fit(1)
    assert learn.model._compiled_call_impl is None


# --- sizes of updates ----------------------------------------------------------------------------


def test_update_sizes_are_those_of_the_weights_by_hand():
    stats, seen = UpdateStats(every=3), Weights()
    learn = make(stats, seen)
    learn.fit(1)
    assert stats.batches == [0, 3, 6, 9]
    assert stats.names == [name for name, _ in learn.model.named_parameters()]
    states = [seen.start, *seen.trained]
    for row, k in enumerate(stats.batches):
        for column, name in enumerate(stats.names):
            before, after = states[k][name].double(), states[k + 1][name].double()
            norm = before.norm().item()
            assert stats.weight_norms[row, column].item() == pytest.approx(norm, rel=1e-5)
            moved = (after - before).norm().item()
            gradient = stats.grad_norms[row, column].item()
            assert gradient == pytest.approx(moved / 0.1, rel=1e-3, abs=1e-6)
            ratio = stats.ratios[row, column].item()
            if norm:
                assert ratio == pytest.approx(moved / norm, rel=1e-3)
            else:
                assert math.isnan(ratio)


def test_gradients_are_noted_as_the_optimizer_gets_them():
    stats = UpdateStats(every=1)
    make(stats, ClipGradients(1e-3), GradientAccumulation(4)).fit(1)
    assert stats.batches == [3, 7, 9]
    norms = stats.grad_norms.double().square().sum(1).sqrt()
    torch.testing.assert_close(norms, torch.full_like(norms, 1e-3), rtol=1e-2, atol=0)


def test_parameters_without_a_gradient_and_cancelled_steps_are_no_updates():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.used(x)

    stats = UpdateStats(every=1)
    cut = At("before_step", 2, throw(CancelStep()), 50)
    learn = Learner(Part(), make(train=4).dls, cbs=[stats, cut], default_cbs=False)
    learn.fit(1)
    assert stats.batches == [0, 1, 3]
    assert stats.ratios.isnan().tolist() == [[False, False, True, True]] * 3


def test_update_stats_go_on_in_a_resumed_fit(tmp_path):
    def fit(*cbs):
        stats = UpdateStats(every=4)
        make(stats, *cbs).fit(2)
        return stats

    whole, path = fit(), tmp_path / "fit.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(path, 1), At("before_batch", 13, throw(KeyboardInterrupt())))
    resumed = fit(Checkpoint(path, resume=True))
    assert resumed.batches == whole.batches == [0, 4, 8, 12, 16]
    torch.testing.assert_close(resumed.ratios, whole.ratios, rtol=0, atol=0, equal_nan=True)


@pytest.mark.needs("matplotlib")
def test_update_sizes_can_be_drawn():
    stats = UpdateStats(every=2)
    with pytest.raises(RuntimeError, match="nothing to draw before a step"):
        stats.plot()
    make(stats).fit(1)
    figure = stats.plot()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == stats.names
    buffer = io.BytesIO()
    figure.savefig(buffer)
    assert buffer.getvalue()[:4] == b"\x89PNG"


@pytest.mark.parametrize("every", [0, -1, 1.0, True, "2"])
def test_an_every_that_cannot_be(every):
    with pytest.raises((TypeError, ValueError), match="UpdateStats: every must be"):
        UpdateStats(every)
