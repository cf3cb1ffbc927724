"""fastai's optimizers in steppers' own Learner."""

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from steppers import schedules
from steppers.styles import fastai
from steppers.styles.fastai import OptimWrapper
from steppers.train.callbacks.schedule import BatchSched, ParamScheduler
from steppers.train.learner import Learner

SGD = partial(OptimWrapper, opt=torch.optim.SGD)


def learner(opt_func, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = torch.randn(64, 3)
    batches = list(zip(x.split(8), x.sum(1, keepdim=True).split(8), strict=True))
    dls = SimpleNamespace(train=batches, valid=batches[:2])
    options = {"lr": 1e-2, "progress": "silent", **options}
    return Learner(model, dls, nn.functional.mse_loss, opt_func=opt_func, **options)


FUNCTIONS = {
    "Adam": partial(fastai.Adam, mom=0.9),
    "RAdam": fastai.RAdam,
    "Lamb": fastai.Lamb,
    "ranger": fastai.ranger,
    "wrapped": partial(SGD, momentum=0.9),
    "list": partial(fastai.Optimizer, cbs=[fastai.weight_decay, fastai.sgd_step]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_learner_trains_with_it(name):
    learn = learner(FUNCTIONS[name], wd=0.01, lr=3e-2)
    before = learn.validate()["loss"]
    learn.fit(6)
    assert learn.validate()["loss"] < 0.7 * before
    assert learn.opt.hypers[0]["wd"] == 0.01


def test_a_built_wrapper_is_taken_by_the_learner():
    def built(model):
        return OptimWrapper(model.parameters(), torch.optim.Adam, lr=1e-3)

    learn = learner(fastai.Adam)
    optimizer = built(learn.model)
    dls, loss = learn.dls, learn.loss_func
    learn = Learner(learn.model, dls, loss, opt_func=optimizer, progress="silent")
    learn.fit(1, lr=0.1)
    assert learn.opt is optimizer
    assert optimizer.hypers[0]["lr"] == 0.1
    assert all(state["step"] == 8 for state in optimizer.opt.state.values())
    optimizer.clear_state()
    assert not optimizer.opt.state


def test_the_learners_groups_without_decay_have_none():
    learn = learner(partial(fastai.SGD, wd=1.0))
    learn.fit(1)
    decays = {
        name: group["wd"] for group in learn.opt.param_groups for name in group["param_names"]
    }
    assert decays == {
        "0.weight": 1.0, "2.weight": 1.0, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0,
        "2.bias": 0.0,
    }  # fmt: skip


def constant(learn):
    """Give every trained parameter a gradient of 1."""
    for p in learn.model.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None


class Ones:
    order = 0

    def after_backward(self, learn):
        constant(learn)


@pytest.mark.parametrize("train_bn", [True, False])
def test_frozen_layers_stay_and_norms_move_with_train_bn(train_bn):
    def split(model):
        return [nn.ModuleList([model[0], model[1]]), model[2]]

    learn = learner(fastai.SGD, splitter=split, train_bn=train_bn, cbs=[Ones()])
    learn.dls.train = learn.dls.train[:5]
    before = {name: p.detach().clone() for name, p in learn.model.named_parameters()}
    learn.freeze()
    learn.fit(1)
    moved = {n: (p.detach() - before[n]) for n, p in learn.model.named_parameters()}
    for name, change in moved.items():
        still = name.startswith("0") or (name.startswith("1") and not train_bn)
        assert torch.allclose(change, torch.full_like(change, 0.0 if still else -0.05), atol=1e-6)
    learn.unfreeze()
    learn.fit(1)
    assert all(not torch.equal(p, before[n]) for n, p in learn.model.named_parameters())


def test_the_learners_cycle_and_torchs_cycle_reach_the_momentum():
    seen = []

    class Look:
        order = 70

        def after_batch(self, learn):
            if learn.training:
                seen.append(learn.opt.hypers[-1]["mom"])

    learner(fastai.Adam, cbs=[Look()]).fit_one_cycle(2)
    assert (max(seen), min(seen)) == (pytest.approx(0.95), pytest.approx(0.85, abs=1e-3))
    seen.clear()
    sched = BatchSched(lambda opt: OneCycleLR(opt, 0.1, total_steps=16))
    learner(fastai.Adam, cbs=[Look(), sched]).fit(2)
    assert min(seen) == pytest.approx(0.85, abs=5e-3)
    plan = ParamScheduler({"mom": schedules.lin(0.9, 0.5), "wd": schedules.lin(0.1, 0.0)})
    learner(fastai.Adam, cbs=[Look(), plan]).fit(1)
    assert seen[-1] == pytest.approx(0.9 - 0.4 * 7 / 8)


def test_a_saved_learner_goes_on(tmp_path):
    learn = learner(partial(fastai.Adam, mom=0.8))
    learn.fit(1)
    learn.save(tmp_path / "learn.pt")
    other = learner(fastai.Adam)
    other.load(tmp_path / "learn.pt")
    assert other.opt.hypers[0]["mom"] == 0.8
    state = [opt.state[p] for opt, p in [
        (learn.opt, learn.opt.param_lists[0][0]), (other.opt, other.opt.param_lists[0][0])
    ]]  # fmt: skip
    assert torch.equal(state[0]["grad_avg"], state[1]["grad_avg"])
    assert state[0]["step"] == state[1]["step"] == 8


@pytest.mark.parametrize("name", ["Adam", "ranger", "wrapped"])
def test_a_search_for_the_rate_leaves_the_optimizer_as_it_was(name):
    learn = learner(FUNCTIONS[name])
    learn.fit(1)
    before = copy.deepcopy(learn.opt.state_dict())
    learn.lr_find(num_it=10)
    assert repr(learn.opt.state_dict()) == repr(before)
