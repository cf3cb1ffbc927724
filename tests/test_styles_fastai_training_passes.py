"""fastai's Learner: its files, validation and predictions, on our loop."""

from types import SimpleNamespace

import pytest
import torch
from small_fastai import learner as tiny
from small_fastai import quiet
from torch import nn

from steppers.styles.fastai.training import Callback, Learner
from steppers.train import Learner as Trainer


def weights(learn):
    return {name: value.clone() for name, value in learn.model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


# --- files --------------------------------------------------------------------------------------


def test_a_model_is_saved_and_loaded_with_and_without_its_optimizer(tmp_path):
    learn = quiet(path=tmp_path, lr=0.1)
    learn.fit(1)
    path = learn.save("both")
    assert path == tmp_path / "models" / "both.pth"
    assert set(torch.load(path, weights_only=True)) == {"model", "opt"}
    other = quiet(path=tmp_path, lr=0.1)
    assert other.load("both") is other and same(weights(other), weights(learn))
    state, theirs = other.opt.state, learn.opt.state
    for p, q in zip(other.model.parameters(), learn.model.parameters(), strict=True):
        assert torch.equal(state[p]["grad_avg"], theirs[q]["grad_avg"])
    learn.save("alone", with_opt=False)
    assert set(torch.load(tmp_path / "models/alone.pth", weights_only=True)) == {"a", "b"}
    fresh = quiet(path=tmp_path)
    fresh.load("alone", with_opt=False)
    assert same(weights(fresh), weights(learn))
    assert not any("grad_avg" in held for held in fresh.opt.state.values())


def test_an_optimizer_that_does_not_fit_only_warns(tmp_path):
    learn = quiet(path=tmp_path)
    learn.fit(1)
    learn.save("one")
    split = quiet(path=tmp_path, splitter=lambda m: [[m.a], [m.b]])
    with pytest.warns(UserWarning, match="does not fit this Optimizer"):
        split.load("one")
    assert same(weights(split), weights(learn)) and len(split.opt.hypers) == 2
    learn.save("weights", with_opt=False)
    with pytest.warns(UserWarning, match="holds no optimizer's state"):
        learn.load("weights")


def test_loading_what_cannot_be_loaded_changes_nothing(tmp_path):
    learn = quiet(path=tmp_path)
    before = weights(learn)
    with pytest.raises(ValueError, match="there is no file"):
        learn.load("nowhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bad.pth").write_bytes(b"no file of torch's")
    with pytest.raises(ValueError, match="is damaged"):
        learn.load("bad")
    torch.save([1], tmp_path / "models" / "list.pth")
    with pytest.raises(ValueError, match="holds no weights"):
        learn.load("list")
    torch.save({"a": torch.ones(1)}, tmp_path / "models" / "part.pth")
    with pytest.raises(ValueError, match="of another model"):
        learn.load("part", with_opt=False)
    assert same(before, weights(learn))
    learn.load("part", with_opt=False, strict=False)
    assert learn.model.a.item() == 1.0
    with pytest.raises(TypeError, match="a name or a path"):
        learn.save(3)


def test_our_learners_files_can_be_loaded(tmp_path):
    learn = quiet(path=tmp_path)
    ours = Trainer(nn.Linear(1, 1), None)
    ours.model = learn.model
    ours.save(tmp_path / "models" / "ours.pth", with_opt=False)
    before = weights(learn)
    nn.init.zeros_(learn.model.a)
    learn.load(tmp_path / "models" / "ours", with_opt=False, device="cpu")
    assert same(before, weights(learn))


# --- passes without training --------------------------------------------------------------------


def test_validate_gives_the_loss_over_all_items_and_leaves_the_record():
    learn = quiet(n_val=3)
    learn.fit(1)
    record = [list(learn.recorder.values), list(learn.recorder.lrs), list(learn.recorder.iters)]
    x, y = learn.dls.valid_ds.tensors
    wanted = nn.functional.mse_loss(learn.model(x), y).item()
    assert learn.validate() == pytest.approx([wanted], rel=1e-5)
    assert learn.final_record == pytest.approx([wanted], rel=1e-5)
    assert [learn.recorder.values, learn.recorder.lrs, learn.recorder.iters] == record
    x, y = learn.dls.train_ds.tensors
    wanted = nn.functional.mse_loss(learn.model(x), y).item()
    assert learn.validate(0) == pytest.approx([wanted], rel=1e-5)
    assert learn.validate(dl=learn.dls[0]) == pytest.approx([wanted], rel=1e-5)


def test_a_validation_has_the_events_of_an_epoch_around_it():
    seen = []

    class Sees(Callback):
        def __call__(self, event_name):
            seen.append(event_name)

    tiny(default_cbs=False).validate(cbs=Sees())
    assert seen == ["before_fit", "before_epoch", "before_validate", "before_batch", "after_pred",
                    "after_loss", "after_batch", "after_validate", "after_epoch",
                    "after_fit"]  # fmt: skip


def test_predictions_inputs_losses_and_decoded_ones_come_in_fastais_order():
    class Loss(nn.CrossEntropyLoss):
        def activation(self, out):
            return out.softmax(-1)

        def decodes(self, out):
            return out.argmax(-1)

    torch.manual_seed(0)
    x, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0])
    dls = SimpleNamespace(train=[(x, y)], valid=[(x[:4], y[:4]), (x[4:], y[4:])])
    learn = Learner(dls, nn.Linear(3, 2), Loss(), default_cbs=False)
    out = learn.model(x).detach()
    inputs, preds, targets, decoded, losses = learn.get_preds(
        with_input=True, with_loss=True, with_decoded=True
    )
    assert torch.equal(inputs, x) and torch.equal(targets, y)
    assert torch.allclose(preds, out.softmax(-1)) and torch.equal(decoded, out.argmax(-1))
    wanted = nn.functional.cross_entropy(out, y, reduction="none")
    assert torch.allclose(losses, wanted) and learn.loss_func.reduction == "mean"
    preds, targets = learn.get_preds(0, act=lambda out: out * 0)
    assert preds.abs().sum() == 0 and len(preds) == 6


def test_a_loss_function_without_reduction_is_asked_for_it():
    learn = tiny()
    assert learn.get_preds(with_loss=True)[2].shape == (2,)
    assert learn.loss_func is nn.functional.cross_entropy


def test_batches_without_targets_are_predicted_and_not_trained_on():
    learn = tiny()
    learn.dls = SimpleNamespace(train=[(torch.ones(2, 3),)], valid=None, n_inp=1)
    preds, targets = learn.get_preds(0)
    assert preds.shape == (2, 2) and targets is None
    with pytest.raises(ValueError, match=r"has no target left: dls\.n_inp is 1"):
        learn.fit(1)


@pytest.mark.parametrize("batch", [torch.ones(2, 3), {"x": torch.ones(2, 3)}])
def test_a_batch_that_is_no_tuple_is_told(batch):
    learn = tiny()
    learn.dls = SimpleNamespace(train=[batch], valid=None)
    with pytest.raises(TypeError, match="a batch must be a tuple of inputs and, at its end, targ"):
        learn.fit(1)


def test_several_inputs_and_targets_are_told_by_n_inp():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 1)

        def forward(self, a, b):
            return self.fc(a + b)

    seen = []

    def loss(out, y, weight):
        seen.append((y.shape, weight.shape))
        return ((out[:, 0] - y) ** 2 * weight).mean()

    batch = [torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), torch.ones(2)]
    dls = SimpleNamespace(train=[batch], valid=[batch], n_inp=2)
    Learner(dls, Two(), loss, default_cbs=False).fit(1)
    assert seen == [((2,), (2,))] * 2
