"""Callbacks that change batches and losses: devices, transforms, mixtures, one batch alone."""

from collections import OrderedDict, namedtuple

import pytest
import torch
from small_fits import At, make, throw
from torch import nn

from steppers.train.callbacks.batch_transform import BatchTransform, TransformInputs
from steppers.train.callbacks.device import Device, best_device, mapped, tensors_in, to_device
from steppers.train.callbacks.mixup import MixUp
from steppers.train.callbacks.single_batch import SingleBatch
from steppers.train.losses import LabelSmoothing

Pair = namedtuple("Pair", "x y")


# --- device --------------------------------------------------------------------------------------


class Own:
    def __init__(self):
        self.device = None

    def to(self, device):
        self.device = device
        return self


def test_every_nest_keeps_its_kind_on_another_device():
    nest = (
        torch.ones(2),
        [torch.ones(1), "text", None, 3],
        {"a": torch.ones(1), "b": OrderedDict(c=torch.ones(1))},
        Pair(torch.ones(1), 5),
    )
    moved = to_device(nest, torch.device("meta"))
    assert {x.device.type for x in tensors_in(moved)} == {"meta"}
    assert len(list(tensors_in(moved))) == 5
    assert [type(each) for each in moved] == [torch.Tensor, list, dict, Pair]
    assert moved[1][1:] == ["text", None, 3]
    assert type(moved[2]["b"]) is OrderedDict
    assert moved[3].y == 5
    assert {x.device.type for x in tensors_in(nest)} == {"cpu"}  # as it was


def test_whatever_has_a_method_to_is_moved():
    own = Own()
    to_device([own], torch.device("meta"))
    assert own.device == torch.device("meta")


def test_a_mapping_with_attributes_keeps_them():
    class Output(dict):
        def __setitem__(self, key, value):
            super().__setitem__(key, value)

        extra = 7

    found = mapped(torch.neg, Output(a=torch.ones(1)))
    assert type(found) is Output
    assert found.extra == 7
    assert found["a"] == -1


def test_without_a_device_it_is_the_best_there_is():
    wanted = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    assert Device().device == best_device() == torch.device(wanted)


@pytest.fixture
def swapped():
    """torch keeps Parameters as they are, also when they move to meta."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


def test_model_state_loss_and_batches_move_together(swapped):
    weight = torch.ones(2)
    learn = make(opt_func=torch.optim.AdamW, loss_func=nn.CrossEntropyLoss(weight))
    learn.fit(1)
    seen = []
    look = At("after_loss", 0, lambda learn: seen.extend(tensors_in(learn.batch)))
    learn.fit(1, cbs=[Device("meta"), look])
    assert {x.device.type for x in seen} == {"meta"}
    assert {p.device.type for p in learn.model.parameters()} == {"meta"}
    assert learn.loss_func.weight.device.type == "meta"
    states = [s for state in learn.opt.state.values() for k, s in state.items() if k != "step"]
    assert len(states) == 2 * len(list(learn.model.parameters()))
    assert {s.device.type for s in states} == {"meta"}


def test_parameters_that_would_be_replaced_are_an_error():
    with pytest.raises(RuntimeError, match="the optimizer does not know"):
        make(Device("meta")).fit(1)


def test_validate_moves_model_and_batches_too(swapped):
    learn = make(Device("meta"), valid=1)
    learn.validate()
    assert learn.loss.device.type == "meta"


# --- one batch -----------------------------------------------------------------------------------


def test_a_fit_of_a_single_batch_makes_one_step():
    steps = []
    learn = make(SingleBatch(), At("after_step", 0, steps.append), valid=2)
    ends = []
    learn.fit(3, cbs=At("after_batch", 0, ends.append, order=1000))
    assert learn.train_iter == 0
    assert len(steps) == len(ends) == 1


@pytest.mark.parametrize("fit_before", [True, False])
def test_a_single_batch_of_validation(fit_before):
    learn = make(SingleBatch(), valid=2)
    if fit_before:
        learn.fit(1)
    preds, _ = learn.get_preds()
    assert len(preds) == 8


# --- transforms ----------------------------------------------------------------------------------


class Inputs:
    """The inputs that the model is given, by pass."""

    order = 100

    def __init__(self):
        self.seen = {True: [], False: []}

    def before_batch(self, learn):
        self.seen[learn.training].append(learn.batch)


@pytest.mark.parametrize(
    "callback",
    [TransformInputs(lambda x: 2 * x), BatchTransform(lambda batch: [2 * batch[0], batch[1]])],
)
def test_a_transform_changes_both_passes(callback):
    seen = Inputs()
    learn = make(callback, seen, valid=2)
    learn.fit(1)
    for training, given in ((True, learn.dls.train), (False, learn.dls.valid)):
        for (x, y), (x0, y0) in zip(seen.seen[training], given, strict=True):
            assert torch.equal(x, 2 * x0)
            assert torch.equal(y, y0)


@pytest.mark.parametrize("passes", [{"train": False}, {"valid": False}])
@pytest.mark.parametrize("kind", [BatchTransform, TransformInputs])
def test_a_transform_may_be_for_one_pass_alone(kind, passes):
    seen, calls = Inputs(), []

    def note(*args):
        calls.append(args)
        return args[0]

    learn = make(kind(note, **passes), seen, train=3, valid=2)
    learn.fit(1)
    assert len(calls) == (2 if "train" in passes else 3)


def test_several_inputs_are_transformed_together():
    class Sum(nn.Linear):
        def forward(self, a, b):
            return super().forward(a + b)

    learn = make(TransformInputs(lambda x: (x, -x)))
    learn.model = Sum(4, 2)
    learn.fit(1)
    assert torch.equal(learn.preds, learn.preds[:1].expand(8, 2))  # a + b is 0: the bias alone


@pytest.mark.parametrize("kind", [BatchTransform, TransformInputs])
def test_what_is_no_function_is_an_error(kind):
    with pytest.raises(TypeError, match="wants a function, got 3"):
        kind(3)


def test_a_transform_that_loses_the_batch_is_an_error():
    def lost(batch):
        return batch[0]

    with pytest.raises(TypeError, match="lost must return the batch as a tuple, got Tensor"):
        make(BatchTransform(lost)).fit(1)


# --- mixtures ------------------------------------------------------------------------------------


class Mixed:
    """What MixUp makes of each training batch."""

    order = 50

    def __init__(self):
        self.rows = []

    def after_loss(self, learn):
        if learn.training:
            mix = next(cb for cb in learn.cbs if isinstance(cb, MixUp))
            other = None if mix._other is None else mix._other.clone()
            self.rows.append((learn.batch, mix.lam, other, learn.loss.item(), learn.preds))


def test_inputs_and_losses_are_mixed_with_one_share():
    seen = Mixed()
    learn = make(MixUp(1.0), seen, valid=2)
    learn.fit(1)
    assert len(seen.rows) == 10
    for (x0, y0), ((x, y), lam, other, loss, preds) in zip(learn.dls.train, seen.rows, strict=True):
        assert 0.5 <= lam <= 1
        assert torch.equal(y, y0)
        # which sample was mixed in, found from the inputs alone
        order = ((x - lam * x0)[:, None] - (1 - lam) * x0[None]).norm(dim=2).argmin(1)
        assert sorted(order.tolist()) == list(range(8))
        torch.testing.assert_close(x, lam * x0 + (1 - lam) * x0[order])
        assert torch.equal(other, y0[order])
        logs = torch.log_softmax(preds, 1)
        parts = lam * logs[range(8), y0] + (1 - lam) * logs[range(8), other]
        assert loss == pytest.approx(-parts.mean().item(), rel=1e-5)


def test_the_shares_are_those_of_a_beta_distribution():
    """The mean of max(lam, 1 - lam) for Beta(1, 1), the uniform distribution, is 3/4."""
    seen = Mixed()
    make(MixUp(1.0), seen, train=300).fit(1)
    shares = torch.tensor([lam for _, lam, *_ in seen.rows])
    assert shares.mean().item() == pytest.approx(0.75, abs=4 * (1 / 48 / 300) ** 0.5)


def test_floating_targets_are_mixed_themselves():
    seen = Mixed()
    learn = make(MixUp(), seen, loss_func=nn.functional.mse_loss)
    learn.dls.train = [(x, x[:, :2] * 3) for x, _ in learn.dls.train]
    learn.fit(1)
    for (x, y), _, other, *_ in seen.rows:
        torch.testing.assert_close(y, x[:, :2] * 3)  # a linear target stays linear
        assert other is None


def test_validation_batches_are_not_mixed():
    learn = make(MixUp(), valid=2)
    learn.fit(1)
    plain = [nn.functional.cross_entropy(learn.model(x), y).item() for x, y in learn.dls.valid]
    assert learn.loss.item() == pytest.approx(plain[-1], rel=1e-6)


def test_draws_repeat_with_the_seed_and_differ_from_batch_to_batch():
    def shares():
        seen = Mixed()
        learn = make(MixUp(), seen)
        torch.manual_seed(7)
        learn.fit(1)
        return [lam for _, lam, *_ in seen.rows]

    assert shares() == shares()
    assert len(set(shares())) == 10


def test_a_cancelled_mixture_does_not_reach_the_validation():
    learn = make(MixUp(), At("after_predict", 3, throw(ValueError())), valid=1)
    with pytest.raises(ValueError):
        learn.fit(1)
    learn.validate()
    x, y = learn.dls.valid[0]
    assert learn.loss.item() == pytest.approx(
        nn.functional.cross_entropy(learn.model(x), y).item(), rel=1e-6
    )


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
def test_an_alpha_that_cannot_be(alpha):
    with pytest.raises(ValueError, match="alpha must be > 0"):
        MixUp(alpha)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ((torch.ones(4, 2, dtype=torch.long), torch.ones(4)), "got torch.int64"),
        (({"ids": torch.ones(4)}, torch.ones(4)), "got dict"),
        ((torch.ones(4, 2), [1, 2, 3, 4]), "the target must be a tensor, got list"),
    ],
)
def test_batches_that_cannot_be_mixed(batch, says):
    learn = make(MixUp())
    learn.dls.train = [batch]
    with pytest.raises(TypeError, match=says):
        learn.fit(1)


# --- label smoothing -----------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_smoothed_cross_entropy_is_that_of_smoothed_targets(eps):
    preds, y = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0])
    targets = torch.full((6, 5), eps / 5, dtype=torch.float64)
    targets[range(6), y] += 1 - eps
    wanted = -(targets * torch.log_softmax(preds, 1)).sum(1).mean()
    torch.testing.assert_close(LabelSmoothing(eps)(preds, y), wanted)


def test_smoothing_goes_with_mixtures():
    seen = Mixed()
    make(MixUp(), seen, loss_func=LabelSmoothing(0.2)).fit(1)
    for (_, y), lam, other, loss, preds in seen.rows:
        targets = torch.full_like(preds, 0.1)
        targets[range(8), y] += 0.8 * lam
        targets[range(8), other] += 0.8 * (1 - lam)
        wanted = -(targets * torch.log_softmax(preds, 1)).sum(1).mean()
        assert loss == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("eps", [-0.1, 1.1, float("nan")])
def test_an_eps_that_cannot_be(eps):
    with pytest.raises(ValueError, match="eps must be in"):
        LabelSmoothing(eps)
