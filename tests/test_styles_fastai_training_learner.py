"""fastai's Learner, as a notebook calls it, on our loop: optimizer, freezing, files, passes."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from small_fastai import quiet
from torch import nn

import steppers
from steppers.styles.fastai import SGD, Adam, Optimizer, OptimWrapper, sgd_step
from steppers.styles.fastai.training import (
    AvgMetric,
    Callback,
    CancelFitException,
    CastToTensor,
    DataLoaders,
    Learner,
    ParamScheduler,
    ProgressCallback,
    Recorder,
    SaveModelCallback,
    SkipToEpoch,
    TrackerCallback,
    TrainEvalCallback,
    synth_dbunch,
    synth_learner,
)
from steppers.train import ClipGradients, EarlyStopping, GradientAccumulation, SingleBatch, accuracy
from steppers.train import CSVLogger as OwnCSV
from steppers.train import Learner as Trainer
from steppers.train import ParamScheduler as Setter


def weights(learn):
    return {name: value.clone() for name, value in learn.model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


# --- construction -------------------------------------------------------------------------------


def test_arguments_come_in_fastais_order(tmp_path):
    dls, model = synth_dbunch(), nn.Linear(1, 1)
    cb, groups = TrainEvalCallback(), lambda m: [[m.weight], [m.bias]]
    learn = Learner(dls, model, nn.MSELoss(), SGD, 0.1, groups, cb, [accuracy], tmp_path, "kept",
                    0.5, True, False, (0.9, 0.8, 0.9), False)  # fmt: skip
    assert learn.model is model and learn.dls is dls and learn.lr == 0.1 and learn.wd == 0.5
    assert learn.wd_bn_bias and not learn.train_bn and learn.moms == (0.9, 0.8, 0.9)
    assert learn.path / learn.model_dir == tmp_path / "kept"
    assert learn.train_eval is cb and not hasattr(learn, "recorder")
    assert [metric.name for metric in learn.metrics] == ["accuracy"]
    assert len(learn.opt.param_lists) == 2 and isinstance(learn.opt, Optimizer)


def test_defaults_are_fastais():
    learn = Learner(synth_dbunch(), nn.Linear(1, 1), nn.MSELoss())
    kinds = [type(cb).__name__ for cb in learn.cbs if isinstance(cb, Callback)]
    assert kinds == ["TrainEvalCallback", "CastToTensor", "Recorder", "ProgressCallback"]
    assert learn.lr == 1e-3 and learn.moms == (0.95, 0.85, 0.95) and learn.wd is None
    assert learn.opt.hypers[0]["sqr_mom"] == 0.99  # fastai's Adam
    assert learn.logger is print and str(learn.path) == "." and learn.model_dir == "models"


def test_the_loss_function_may_be_the_datas():
    dls = SimpleNamespace(train=[], valid=None, loss_func=nn.MSELoss(), path="here")
    learn = Learner(dls, nn.Linear(1, 1))
    assert learn.loss_func is dls.loss_func and str(learn.path) == "here"
    with pytest.raises(TypeError, match="loss_func is missing"):
        Learner(synth_dbunch(), nn.Linear(1, 1))


def test_data_that_are_no_data_are_an_error():
    with pytest.raises(TypeError, match="must have train and valid"):
        Learner([1, 2], nn.Linear(1, 1), nn.MSELoss())
    with pytest.raises(ValueError, match="wants a loader of training data"):
        DataLoaders()


# --- the optimizer ------------------------------------------------------------------------------


def test_the_optimizer_is_kept_from_fit_to_fit_unless_reset():
    learn = quiet()
    learn.fit(1)
    opt = learn.opt
    learn.fit(1)
    assert learn.opt is opt
    learn.fit(1, reset_opt=True)
    assert learn.opt is not opt
    opt, learn.opt = learn.opt, None
    assert learn.opt is not opt
    opt = learn.opt
    learn.create_opt()
    assert learn.opt is not opt


def test_a_partial_that_binds_a_rate_makes_it_the_learners():
    learn = quiet(lr=0.5, opt_func=partial(SGD, lr=0.02))
    learn.fit(1)
    assert learn.lr == 0.02 and set(learn.recorder.lrs) == {0.02}
    learn.fit(1, 0.03)
    assert learn.lr == 0.02 and set(learn.recorder.lrs) == {0.03}


@pytest.mark.parametrize("wd", [[0.1, 0.3], slice(0.1, 0.3), 0.3])
def test_decay_may_be_given_for_each_layer_group_as_rates_are(wd):
    two, wanted = lambda m: [[m.weight], [m.bias]], [0.3 if wd == 0.3 else 0.1, 0.3]
    learn = Learner(synth_dbunch(), nn.Linear(1, 1), nn.MSELoss(), SGD, splitter=two, cbs=Recorder,
                    default_cbs=False)  # fmt: skip
    ours = Trainer(nn.Linear(1, 1), learn.dls, nn.MSELoss(), opt_func=torch.optim.SGD,
                   splitter=two, wd_bn_bias=True, progress="silent")  # fmt: skip
    learn.logger = lambda row: None
    learn.fit(1, wd=wd)
    ours.fit(1, wd=wd)
    assert [h["wd"] for h in learn.opt.hypers] == pytest.approx(wanted)
    assert [g["weight_decay"] for g in ours.opt.param_groups] == pytest.approx(wanted)


def test_a_rate_that_a_partial_binds_is_our_learners_too():
    dls = synth_dbunch()
    made = partial(torch.optim.SGD, lr=0.02)
    ours = Trainer(nn.Linear(1, 1), dls, nn.MSELoss(), opt_func=made, progress="silent")
    ours.fit(1)
    assert ours.lr == 0.02 and set(map(tuple, ours.recorder.hypers["lr"])) == {(0.02, 0.02)}


def test_an_optimizer_of_ones_own_gets_lists_of_parameters():
    given = []

    def make(params, lr):
        given.append(params)
        return Optimizer(params, [sgd_step], lr=lr)

    learn = quiet(opt_func=make, splitter=lambda m: [[m.a], [m.b]])
    learn.fit(1)
    assert [[p.shape for p in params] for params in given[0]] == [[(1,)], [(1,)]]


@pytest.mark.parametrize(
    "opt_func",
    [
        torch.optim.SGD,
        partial(torch.optim.AdamW, betas=(0.8, 0.9)),
        partial(OptimWrapper, opt=torch.optim.SGD),
        steppers.Lion,
        Adam,
    ],
)
def test_any_optimizer_trains(opt_func):
    learn = quiet(opt_func=opt_func, lr=0.01)
    before = weights(learn)
    learn.fit(2, wd=0.01)
    assert not same(before, weights(learn)) and set(learn.recorder.lrs) == {0.01}


def test_a_built_wrapper_is_taken_without_its_state():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    wrapper = OptimWrapper(opt=torch.optim.Adam(model.parameters(), lr=0.1))
    model(torch.ones(4, 1)).sum().backward()
    wrapper.step()
    learn = Learner(synth_dbunch(), model, nn.MSELoss(), wrapper)
    assert learn.opt is wrapper and not wrapper.opt.state
    assert wrapper.state[model[0].bias] == {"do_wd": False}
    assert wrapper.state[model[1].weight] == {"do_wd": False, "force_train": True}


def test_an_error_of_the_makers_own_is_seen():
    def make(params, lr):
        raise TypeError("this is mine")

    with pytest.raises(TypeError, match="this is mine"):
        quiet(opt_func=make).fit(1)


def test_the_rate_is_set_at_each_fit_and_the_decay_only_if_given():
    learn = quiet(opt_func=partial(SGD, wd=0.3))
    learn.fit(1, 0.1)
    assert learn.opt.hypers[0]["wd"] == 0.3 and learn.opt.hypers[0]["lr"] == 0.1
    learn.fit(1, wd=0.2)
    assert learn.opt.hypers[0]["wd"] == 0.2 and learn.opt.hypers[0]["lr"] == learn.lr == 1e-3


def test_callbacks_have_orders_as_fastais():
    orders = [cb.order for cb in (TrainEvalCallback, CastToTensor, Recorder, ParamScheduler)]
    assert orders == [-10, 9, 50, 60]
    assert all(cb.order >= 60 for cb in (ProgressCallback, TrackerCallback, SaveModelCallback))


# --- what fastai's own tests of freezing and decay check ----------------------------------------


class Ones(nn.Module):
    """Every parameter's gradient is 1 at each step; fc and bn are two layer groups."""

    def __init__(self):
        super().__init__()
        self.fc, self.bn = nn.Linear(1, 1), nn.BatchNorm1d(1)

    def forward(self, x):
        return sum(p.sum() for p in self.parameters()) + x * 0


def of_ones(**options):
    data = SimpleNamespace(train=[(torch.ones(1, 1), torch.ones(1, 1))] * 5, valid=None)
    options = {"opt_func": partial(SGD, wd=1.0), "lr": 1e-2, **options}
    two = lambda m: [list(m.fc.parameters()), list(m.bn.parameters())]  # noqa: E731
    return Learner(data, Ones(), lambda out, y: out.mean(), splitter=two,
                   cbs=[TrainEvalCallback], default_cbs=False, **options)  # fmt: skip


def moved(learn, n=1):
    before = weights(learn)
    learn.fit(n)
    return {name: (value - before[name]).item() for name, value in weights(learn).items()}


def test_biases_and_norms_move_by_the_gradient_alone():
    by = moved(of_ones())
    for name in ("fc.bias", "bn.weight", "bn.bias"):
        assert by[name] == pytest.approx(-0.05, abs=1e-6)
    assert by["fc.weight"] != pytest.approx(-0.05, abs=1e-4)
    by = moved(of_ones(wd_bn_bias=True))
    assert all(by[n] != pytest.approx(-0.05, abs=1e-4) for n in ("bn.weight", "fc.weight"))


@pytest.mark.parametrize("train_bn", [True, False])
def test_frozen_layers_stay_and_norms_move_unless_told(train_bn):
    learn = of_ones(train_bn=train_bn, opt_func=SGD)
    learn.splitter = lambda m: [list(m.bn.parameters()), list(m.fc.parameters())]
    learn.freeze()
    by = moved(learn)
    assert by["fc.weight"] == pytest.approx(-0.05, abs=1e-6)
    assert by["bn.weight"] == pytest.approx(-0.05 if train_bn else 0.0, abs=1e-6)
    learn.unfreeze()
    learn.opt.clear_state()
    by = moved(learn)
    assert [by["bn.weight"], by["fc.weight"]] == pytest.approx([-0.05, -0.05], abs=1e-6)
    learn.freeze_to(1)
    assert learn.opt.frozen_idx == 1


@pytest.mark.parametrize(
    "opt_func",
    [
        SGD,
        torch.optim.SGD,
        partial(OptimWrapper, opt=torch.optim.SGD),
        partial(OptimWrapper, opt=torch.optim.SGD, convert_groups=False),
    ],
)
def test_frozen_linear_layers_do_not_move(opt_func):
    learn = of_ones(opt_func=opt_func, lr=slice(1e-3, 1e-2))
    learn.freeze()
    by = moved(learn)
    assert by["fc.weight"] == by["fc.bias"] == 0.0


# --- contexts, and our callbacks beside fastai's ------------------------------------------------


def test_callbacks_are_added_and_removed_for_a_while():
    learn, cb = quiet(), SkipToEpoch(1)
    with learn.added_cbs(cb) as same_learner:
        assert same_learner is learn and learn.skip_to_epoch is cb
        learn.fit(2)
    assert len(learn.recorder.lrs) == 10 and not hasattr(learn, "skip_to_epoch")
    with learn.removed_cbs(Recorder):
        assert not hasattr(learn, "recorder")
        learn.fit(1)
    assert isinstance(learn.recorder, Recorder) and learn.recorder.learn is learn
    with pytest.raises(ValueError, match="given twice"):
        learn.add_cbs([cb, cb])


def test_our_callbacks_go_with_fastais(tmp_path):
    own = OwnCSV(tmp_path / "log.csv")
    learn = quiet(cbs=[own, ClipGradients(1e-9)], metrics=AvgMetric(accuracy_of_one))
    before = weights(learn)
    learn.fit(2)
    assert all((value - before[n]).abs() < 1e-8 for n, value in weights(learn).items())
    rows = own.read_log()
    assert [*rows[0]] == ["epoch", "train_loss", "valid_loss", "accuracy_of_one", "time"]
    assert rows[1]["valid_loss"] == pytest.approx(learn.recorder.values[1][1])


def accuracy_of_one(pred, y):
    return torch.tensor(1.0)


def test_our_accumulation_schedule_stopping_and_single_batch_work():
    learn = quiet()
    learn.fit(1, cbs=GradientAccumulation(5))
    learn.fit(2, cbs=Setter({"lr": lambda k: 0.1 * (1 - k)}))
    assert learn.recorder.hps["lr"] == pytest.approx([0.1 * (1 - k / 20) for k in range(20)])
    learn.fit(5, 0.0, cbs=EarlyStopping(patience=2))
    assert len(learn.recorder.values) == 3
    learn.fit(5, cbs=SingleBatch())
    assert len(learn.recorder.lrs) == 1


def test_a_cancelled_fit_can_be_followed_by_another():
    learn = quiet()

    def stop(self):
        raise CancelFitException

    learn.fit(3, cbs=Callback(after_loss=stop))
    assert learn.recorder.lrs == [] and learn.running == ()
    learn.fit(1)
    assert len(learn.recorder.lrs) == 10


# --- the learner of a line ----------------------------------------------------------------------


def test_the_learner_of_a_line_is_the_one_that_fastai_tests_with():
    learn = synth_learner()
    assert len(learn.dls.train) == 10 and len(learn.dls.valid) == 2 == len(learn.dls)
    x, y = learn.dls.train_ds.tensors
    assert x.shape == (160, 1) and (y - 2 * x - 3).abs().max() < 0.6
    assert (y - 2 * x - 3).std().item() == pytest.approx(0.1, rel=0.3)
    assert learn.opt.hypers == [{**learn.opt.hypers[0], "mom": 0.9, "lr": 1e-3}]
    assert isinstance(learn.loss_func, nn.MSELoss) and learn.dls[1] is learn.dls.valid
    assert {p.shape for p in learn.model.parameters()} == {(1,)}


def test_the_model_goes_to_the_datas_device_and_forgets_its_state():
    class Moves(nn.Linear):
        def to(self, device):
            self.went = device
            return self

        def reset(self):
            self.was_reset = True

    dls = DataLoaders([(torch.ones(2, 1), torch.ones(2, 1))], device="cpu")
    learn = Learner(dls, Moves(1, 1), nn.MSELoss(), cbs=TrainEvalCallback, default_cbs=False)
    learn.fit(1)
    assert learn.model.went == torch.device("cpu") and learn.model.was_reset


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_trains_on_a_gpu():
    learn = quiet(cuda=True, metrics=AvgMetric(accuracy_of_one))
    learn.fit_one_cycle(1)
    assert learn.model.a.is_cuda and learn.recorder.losses[0].is_cuda
    assert learn.get_preds()[0].device.type == "cpu" and learn.lr_find().valley > 0
