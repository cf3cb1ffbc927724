"""Code that users of miniai have: notebooks' cells, own optimizers, Learners and callbacks."""

import copy
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from miniai_fits import EVERYWHERE, Log, batches, by_hand, data, make, net, ours, same
from torch import nn, optim
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from steppers.styles.miniai import (
    SGD,
    ActivationStats,
    Adam,
    BaseSchedCB,
    BatchSchedCB,
    Callback,
    CancelBatchException,
    CancelFitException,
    DataLoaders,
    DeviceCB,
    EpochSchedCB,
    GeneralRelu,
    HooksCallback,
    Learner,
    MetricsCB,
    MixedPrecision,
    Momentum,
    MomentumLearner,
    ProgressCB,
    RecorderCB,
    SingleBatchCB,
    TrainCB,
    TrainLearner,
    append_stats,
    conv,
    get_model,
    init_weights,
    lsuv_init,
    set_seed,
    to_cpu,
)
from steppers.train import GradientAccumulation

# --- optimizers that are no torch optimizers ------------------------------------------------------


class PlainSGD:
    """The notebook's class, before any library: no base, no groups."""

    def __init__(self, params, lr, wd=0.0):
        self.params, self.lr, self.wd, self.i = list(params), lr, wd, 0

    def step(self):
        with torch.no_grad():
            for p in self.params:
                self.reg_step(p)
                self.opt_step(p)
        self.i += 1

    def opt_step(self, p):
        p -= self.lr * p.grad

    def reg_step(self, p):
        if self.wd != 0:
            p *= 1 - self.lr * self.wd

    def zero_grad(self):
        for p in self.params:
            p.grad.data.zero_()


class PlainMomentum(PlainSGD):
    def __init__(self, params, lr, wd=0.0, mom=0.9):
        super().__init__(params, lr=lr, wd=wd)
        self.mom = mom

    def opt_step(self, p):
        if not hasattr(p, "grad_avg"):
            p.grad_avg = torch.zeros_like(p.grad)
        p.grad_avg = p.grad_avg * self.mom + p.grad * (1 - self.mom)
        p -= self.lr * p.grad_avg


def test_an_optimizer_with_no_base_trains():
    learn = make(DeviceCB("cpu"), opt_func=PlainSGD)
    learn.fit(2)
    assert same(learn.model, by_hand()) and learn.opt.i == 10
    learn.fit(1, lr=0.5)
    assert learn.opt.lr == 0.5 and learn.opt.i == 5  # a new one
    learn.fit(1, lr=0.25, reset_opt=False)
    assert learn.opt.lr == 0.25 and learn.opt.i == 10


def test_state_on_parameters_without_a_base_is_that_of_the_style():
    """Two fits: the notebook's class goes on with its averages, as `on_parameter=True` does."""
    plain, style = make(opt_func=PlainMomentum), make(opt_func=partial(Momentum, on_parameter=True))
    for learn in (plain, style):
        learn.fit(1, lr=0.5)
        learn.fit(1, lr=0.5)
    assert same(plain.model, list(style.model.parameters()))
    assert hasattr(style.model[0].weight, "grad_avg")


@pytest.mark.parametrize(("given", "says"), [(object(), "has step"), (None, "has step")])
def test_what_is_no_optimizer_is_refused_before_the_fit(given, says):
    log = Log()
    learn = make(log, opt_func=lambda params, lr: given)
    with pytest.raises(TypeError, match=says):
        learn.fit(1)
    assert log.seen == []
    with pytest.raises(TypeError, match="must make an optimizer of"):
        make(opt_func="sgd")


# --- how optimizers are given ---------------------------------------------------------------------


def test_an_opt_func_may_make_groups_with_rates_of_their_own():
    def slower_body(params, lr):
        params = list(params)
        body, head = {"params": params[:2], "lr": lr / 10}, {"params": params[2:]}
        return optim.SGD([body, head], lr)

    learn = make(opt_func=slower_body)
    learn.fit(1, lr=0.2)
    assert [g["lr"] for g in learn.opt.param_groups] == [0.02, 0.2]


def test_partials_are_opt_funcs():
    learn = make(opt_func=partial(optim.AdamW, betas=(0.8, 0.95), eps=1e-5, weight_decay=0.01))
    learn.fit(1, lr=1e-3)
    group = learn.opt.param_groups[0]
    assert (group["betas"], group["lr"], group["weight_decay"]) == ((0.8, 0.95), 1e-3, 0.01)
    learn = make(opt_func=partial(Adam, beta2=0.95))
    learn.fit(1)
    assert learn.opt.beta2 == 0.95


def test_without_an_opt_func_the_optimizer_is_the_users():
    learn = make(opt_func=None)
    with pytest.raises(RuntimeError, match=r"set learn\.opt, or give opt_func="):
        learn.fit(1)
    learn.opt = own = optim.Adam(learn.model.parameters(), 0.01)
    learn.fit(1)
    learn.fit(1)
    assert learn.opt is own and own.param_groups[0]["lr"] == 0.01
    assert own.state[learn.model[0].weight]["step"] == 10
    learn.fit(1, lr=0.5)
    assert own.param_groups[0]["lr"] == 0.5


def test_evaluation_needs_no_optimizer():
    log = Log()
    learn = make(DeviceCB("cpu"), MetricsCB(), log, opt_func=None)
    learn.fit(1, train=False)
    learn.validate()
    assert log.seen.count("after_loss") == 4 and not learn.model.training


def test_opt_func_and_data_may_be_changed_later():
    learn = Learner(net(), loss_func=F.cross_entropy, cbs=TrainCB())
    with pytest.raises(ValueError, match="no training data"):
        learn.fit(1)
    learn.dls, learn.opt_func = data(), lambda params, rate: optim.Adagrad(params, rate)
    learn.fit(1)
    assert type(learn.opt) is optim.Adagrad


def test_a_built_optimizer_is_taken_as_it_is():
    model = net()
    opt = Momentum(model.parameters(), 0.1)
    TrainLearner(model, data(), F.cross_entropy, lr=0.3, opt_func=opt).fit(1)
    assert opt.i == 5 and opt.lr == 0.3


@pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
def test_adam_in_torchs_old_spelling_is_the_styles_adam():
    class OldAdam(SGD):
        def __init__(self, params, lr, wd=0.0, beta1=0.9, beta2=0.99, eps=1e-5):
            self.beta1, self.beta2, self.eps = beta1, beta2, eps
            super().__init__(params, lr=lr, wd=wd)

        def opt_step(self, p):
            if not hasattr(p, "avg"):
                p.avg, p.sqr_avg = torch.zeros_like(p.data), torch.zeros_like(p.data)
            p.avg.mul_(self.beta1).add_(1 - self.beta1, p.grad.data)
            p.sqr_avg.mul_(self.beta2).addcmul_(1 - self.beta2, p.grad.data, p.grad.data)
            root = (p.sqr_avg / (1 - self.beta2 ** (self.i + 1)) + self.eps).sqrt()
            p.data.addcdiv_(-self.lr / (1 - self.beta1 ** (self.i + 1)), p.avg, root)

    learns = [make(opt_func=kind, lr=0.02) for kind in (OldAdam, Adam)]
    for learn in learns:
        learn.fit(2)
    assert same(learns[0].model, list(learns[1].model.parameters()))


def test_a_rate_set_before_the_base_does_not_hide_the_groups():
    class Stored(SGD):
        """As with a decorator that stores all arguments."""

        def __init__(self, params, lr, wd=0.0, mom=0.9):
            params = list(params)
            self.params, self.lr, self.wd, self.mom = params, lr, wd, mom
            super().__init__(params, lr, wd)
            self.params = params

    opt = Stored(net().parameters(), 0.1)
    opt.param_groups[0]["lr"] = 0.5
    assert (opt.lr, opt.mom, len(opt.params)) == (0.5, 0.9, 4)


def test_a_step_with_a_closure():
    class Newton(TrainLearner):
        def step(self):
            self.opt.step(self.again)

        def again(self):
            self.opt.zero_grad()
            self.predict()
            self.get_loss()
            self.loss.backward()
            return self.loss

    record = RecorderCB(loss=lambda cb: cb.learn.loss.item())
    learn = make(record, kind=Newton, opt_func=partial(optim.LBFGS, max_iter=3), lr=0.5)
    learn.fit(2)
    assert len(record.recs["loss"]) == 10 and record.recs["loss"][-1] < record.recs["loss"][0]


def test_schedulers_by_batch_and_by_epoch_work_together():
    record = RecorderCB(lr=lambda cb: cb.pg["lr"])
    by_batch = BatchSchedCB(partial(optim.lr_scheduler.ExponentialLR, gamma=0.9))
    by_epoch = EpochSchedCB(partial(optim.lr_scheduler.StepLR, step_size=1, gamma=0.5))
    make(record, by_batch, by_epoch, opt_func=SGD).fit(2)
    wanted = [0.1 * 0.9**k * (1 if k < 5 else 0.5) for k in range(10)]
    assert record.recs["lr"] == pytest.approx(wanted)


def test_a_recorder_looks_into_the_optimizers_state():
    def size(cb):
        return cb.learn.opt.state[cb.learn.model[0].weight]["grad_avg"].norm()

    record = RecorderCB(size=size)
    make(record, opt_func=Momentum).fit(1)
    assert len(record.recs["size"]) == 5 and all(value > 0 for value in record.recs["size"])


def test_an_optimizer_that_decays_its_own_rate():
    class Decays(SGD):
        def step(self):
            super().step()
            self.lr *= 0.5

    recorder = RecorderCB(lr=lambda cb: cb.pg["lr"])
    make(recorder, opt_func=Decays, lr=0.8).fit(1)
    assert recorder.recs["lr"] == [0.4, 0.2, 0.1, 0.05, 0.025]


# --- Learners and their callbacks -----------------------------------------------------------------


@pytest.mark.parametrize("kind", [TrainLearner, Learner])
def test_one_callback_needs_no_list(kind):
    """One that keeps hooks can be iterated over, and has none before a fit."""
    for stats in (HooksCallback(append_stats), ActivationStats()):
        kind(net(), data(), F.cross_entropy, cbs=stats).fit(1)
        assert [len(hook.stats[0]) for hook in stats] == [5] * len(stats) != []
        learn = make(kind=kind)
        learn.fit(1, cbs=stats)
        assert stats not in learn.cbs and len(stats.hooks[0].stats[0]) == 5


def test_a_list_of_callbacks_may_grow_between_fits():
    learn, log = make(), Log()
    learn.cbs.append(log)
    learn.fit(1)
    assert "after_fit" in log.seen


def test_a_users_callback_method_sees_every_event():
    class Loud(TrainLearner):
        def callback(self, method_nm):
            heard.append(method_nm)
            super().callback(method_nm)

    heard, log = [], Log()
    make(log, kind=Loud, dls=data(1, 1)).fit(1)
    assert [name for name in heard if name in set(log.seen)] == log.seen


def test_methods_may_be_put_on_the_class():
    def twice(self):
        self.fit(1)
        self.fit(1)
        return self

    Learner.twice = twice
    try:
        assert len(make(RecorderCB(n=lambda cb: 1)).twice().cbs[-1].recs["n"]) == 5
    finally:
        del Learner.twice


@EVERYWHERE
def test_gradients_are_clipped_and_watched_between_events(learner):
    class Clip(Callback):
        def before_fit(self, learn):
            self.norms = []

        def after_backward(self, learn):
            nn.utils.clip_grad_norm_(learn.model.parameters(), 1e-2)

        def after_step(self, learn):
            grads = [p.grad for p in learn.model.parameters()]
            self.norms.append(torch.cat([g.flatten() for g in grads]).norm().item())

    clip = Clip()
    learner(clip).fit(1)
    assert clip.norms == pytest.approx([1e-2] * 5, rel=1e-3)


@EVERYWHERE
def test_a_batch_cancelled_after_backward_accumulates(learner):
    class Accumulate(Callback):
        def after_backward(self, learn):
            if learn.iter % 2 == 0:
                raise CancelBatchException()

    model = net()
    opt, seen = optim.SGD(model.parameters(), 0.1), batches(4)
    for first, second in (seen[:2], seen[2:]):
        for x, y in (first, second):
            F.cross_entropy(model(x), y).backward()
        opt.step()
        opt.zero_grad()
    learn = learner(Accumulate(), dls=data(4))
    learn.fit(1)
    assert same(learn.model, list(model.parameters()))


def test_gradients_of_an_interrupted_fit_do_not_reach_the_next():
    class Stop(Callback):
        def after_backward(self, learn):
            raise KeyboardInterrupt

    learn = make()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=[Stop()])
    learn.fit(2)
    assert same(learn.model, by_hand())


def test_momentum_in_the_gradients_goes_on_in_the_next_fit():
    """As in the notebook's 3 + 2 epochs: what a fit ends with, .85 of its last, is kept."""
    once, twice = make(kind=MomentumLearner), make(kind=MomentumLearner)
    once.fit(2)
    twice.fit(1)
    twice.fit(1)
    assert same(once.model, list(twice.model.parameters()))


def test_training_stops_early_by_the_metrics():
    class Stops(Callback):
        order = 1

        def __init__(self):
            self.losses = []

        def after_epoch(self, learn):
            if learn.training:
                return
            self.losses.append(learn.metrics.all_metrics["loss"].compute())
            if len(self.losses) == 2:
                raise CancelFitException

    stops = Stops()
    learn = make(MetricsCB(), ProgressCB(kind="silent"), stops)
    learn.fit(5)
    x, y = (torch.cat(parts) for parts in zip(*batches(2, 1), strict=True))
    with torch.no_grad():
        assert stops.losses[-1] == pytest.approx(F.cross_entropy(learn.model(x), y).item())
    assert learn.epoch == 1


def test_a_scheduler_of_ones_own_steps_by_the_metrics():
    class Plateau(BaseSchedCB):
        order = 1

        def after_epoch(self, learn):
            if not learn.training:
                self.schedo.step(learn.metrics.all_metrics["loss"].compute())

    plateau = Plateau(partial(ReduceLROnPlateau, patience=0, mode="max", factor=0.5))
    learn = make(MetricsCB(), plateau, opt_func=Momentum, lr=0.4)
    learn.fit(3)
    assert learn.opt.lr in (0.1, 0.2)  # a falling loss does not rise: two or one of 3 are no better


def test_the_best_weights_are_kept_by_a_callback():
    class Best(Callback):
        order = 2

        def before_fit(self, learn):
            self.best = math.inf

        def after_epoch(self, learn):
            loss = learn.metrics.all_metrics["loss"].compute()
            if not learn.training and loss < self.best:
                self.best, self.weights = loss, copy.deepcopy(to_cpu(learn.model.state_dict()))

        def after_fit(self, learn):
            learn.model.load_state_dict(self.weights)

    best = Best()
    learn = make(MetricsCB(), best)
    learn.fit(3)
    found = learn.model.state_dict()
    assert all(torch.equal(found[name], kept) for name, kept in best.weights.items())


@EVERYWHERE
def test_outputs_are_captured_in_a_fit_without_training(learner):
    class Capture(Callback):
        def before_fit(self, learn):
            self.all = []

        def after_batch(self, learn):
            self.all.append((to_cpu(learn.preds), to_cpu(learn.batch[1])))

        def after_fit(self, learn):
            self.preds, self.targets = (torch.cat(part) for part in zip(*self.all, strict=True))

    capture, learn = Capture(), learner()
    learn.fit(1, train=False, cbs=[capture])
    x, y = (torch.cat(parts) for parts in zip(*batches(2, 1), strict=True))
    assert torch.equal(capture.targets, y)
    assert torch.allclose(capture.preds, net()(x)) and not capture.preds.requires_grad


def test_a_fit_inside_a_fit_is_refused():
    class Again(Callback):
        def after_epoch(self, learn):
            learn.fit(1, train=False)

    with pytest.raises(RuntimeError, match="one cannot run inside another"):
        make(Again()).fit(1)


def test_a_rate_in_the_place_of_train_is_refused():
    learn = make()
    with pytest.raises(TypeError, match=r"train must be True or False, got 0\.1; lr= is a rate"):
        learn.fit(1, 0.1)


def test_steppers_accumulation_works_with_an_heir_of_the_trainer():
    class Smooth(TrainCB):
        def get_loss(self, learn):
            learn.loss = F.cross_entropy(learn.preds, learn.batch[1])

    heirs, plain = make(Smooth(), kind=Learner), make()
    for learn in (heirs, plain):
        learn.fit(1, cbs=[GradientAccumulation(2)])
    assert same(heirs.model, list(plain.model.parameters()))
    assert not same(heirs.model, by_hand(1))


# --- batches of other forms -----------------------------------------------------------------------


class Noisy(TrainCB):
    """A diffusion model's trainer: noise goes into the inputs, and is what is to be found."""

    order = DeviceCB.order + 1

    def before_batch(self, learn):
        x = learn.batch[0]
        noise, t = torch.full_like(x, 0.5), torch.zeros(len(x))
        learn.batch = ((x + noise, t), noise)

    def predict(self, learn):
        learn.preds = learn.model(*learn.batch[0])


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x, t):
        return self.layer(torch.cat([x, t[:, None]], 1))


@pytest.mark.parametrize("learner", [Learner, None])
def test_a_diffusion_models_trainer(learner):
    rows, metrics = [], MetricsCB(mse=F.mse_loss)
    metrics._log = rows.append
    if learner is None:
        learn = ours(Noisy(), metrics)
        learn.model, learn.loss_func = Denoiser(), F.mse_loss
    else:
        learn = learner(Denoiser(), data(), F.mse_loss, cbs=[Noisy(), metrics])
    learn.fit(2)
    assert rows[-1]["loss"] == rows[-1]["mse"] and float(rows[-1]["mse"]) < float(rows[0]["mse"])


def test_half_precision_with_an_heir_of_its_callback():
    class HalfNoisy(MixedPrecision):
        def before_batch(self, learn):
            super().before_batch(learn)
            Noisy.before_batch(self, learn)

        def predict(self, learn):
            learn.preds = learn.model(*learn.batch[0])
            dtypes.add(learn.preds.dtype)

        def step(self, learn):
            self.scaler.unscale_(learn.opt)
            norms.append(nn.utils.clip_grad_norm_(learn.model.parameters(), 0.1).item())
            super().step(learn)

    dtypes, norms = set(), []
    cb = HalfNoisy(init_scale=2.0**8)
    learn = Learner(Denoiser(), data(), F.mse_loss, cbs=[cb])
    learn.fit(1)
    assert dtypes == {torch.float16} and len(norms) == 5 and max(norms) < 100
    assert cb.scaler.get_scale() == 256.0 and not torch.is_autocast_enabled("cpu")


def test_autocast_ends_with_a_cancelled_batch():
    class Skip(Callback):
        order = 20

        def after_predict(self, learn):
            raise CancelBatchException

    learn = make(MixedPrecision(), Skip(), kind=Learner)
    learn.fit(1)
    assert not torch.is_autocast_enabled("cpu") and same(learn.model, list(net().parameters()))
    with pytest.raises(ValueError, match="dtype must be float16 or bfloat16, got 'int8'"):
        MixedPrecision(dtype="int8")
    with pytest.raises(ValueError, match=r"init_scale must be > 0 and .* got 0\.0 and 2000"):
        MixedPrecision(init_scale=0.0)


def test_half_precision_computes_what_torchs_scaler_does():
    model, scaler = net(), torch.amp.GradScaler("cpu", init_scale=2.0**8)
    opt = optim.SGD(model.parameters(), 0.1)
    for x, y in batches(5):
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
    learn = make(MixedPrecision(init_scale=2.0**8), kind=Learner)
    learn.fit(1)
    assert all(map(torch.equal, learn.model.parameters(), model.parameters()))


def test_an_image_is_optimised_by_itself():
    class Image(nn.Module):
        def __init__(self):
            super().__init__()
            self.pixels = nn.Parameter(torch.zeros(3, 4))

        def forward(self):
            return self.pixels

    class Optimise(TrainCB):
        def predict(self, learn):
            learn.preds = learn.model()

        def get_loss(self, learn):
            learn.loss = learn.loss_func(learn.preds)

    dls = DataLoaders([0] * 20, [0])
    learn = Learner(Image(), dls, lambda x: (x - 1).square().mean(), 1.0, Optimise(), Adam)
    learn.fit(1, valid=False)
    assert learn.loss.item() < 0.5 and learn.opt.i == 20


def test_data_need_no_length():
    class Stream:
        def __init__(self, seed):
            self.seed = seed

        def __iter__(self):
            yield from batches(5, self.seed)

    record = RecorderCB(at=lambda cb: cb.learn.train_iter)
    progress = ProgressCB(kind="lines", plot=True)
    learn = make(record, progress, dls=SimpleNamespace(train=Stream(0), valid=Stream(1)))
    learn.fit(2)
    assert same(learn.model, by_hand()) and record.recs["at"] == list(range(10))
    assert len(progress.losses) == 10
    with pytest.raises(ValueError, match="no training batches"):
        make(dls=DataLoaders([], [])).fit(1)


@pytest.mark.parametrize("kind", [TrainLearner, Learner])
def test_passes_without_a_fit(kind):
    cbs = [DeviceCB("cpu"), MetricsCB(), ProgressCB(kind="silent"), ActivationStats(),
           RecorderCB(one=lambda cb: 1)]  # fmt: skip
    learn = make(*cbs, *([MixedPrecision()] if kind is Learner else []), kind=kind)
    learn.validate()
    assert learn.get_preds()[0].shape == (16, 2) and not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(("cbs", "kind"), [([], TrainLearner), ([TrainCB()], Learner)])
def test_metrics_look_at_what_follows_the_inputs(cbs, kind):
    """A third element of a batch is the loss function's, or nobody's: the target is the second."""

    def right(preds, target):
        assert target.max() <= 1
        return (preds.argmax(1) == target).float().mean()

    def loss_func(preds, target, *numbers):
        return F.cross_entropy(preds, target)

    rows, metrics = [], MetricsCB(right=right)
    metrics._log = rows.append
    numbered = [(x, y, torch.full_like(y, 7)) for x, y in batches(3)]
    kind(net(), DataLoaders(numbered, numbered), loss_func, cbs=[*cbs, metrics]).fit(1)
    assert len(rows) == 2


def test_metrics_of_a_model_with_two_inputs():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, a, b):
            return self.net(a + b)

    seen = []
    metrics = MetricsCB(share=lambda preds, y: seen.append(y.dtype) or 0.0)
    metrics._log = seen.append
    pairs = [(x, x, y) for x, y in batches(2)]
    cbs = [TrainCB(n_inp=2), metrics]
    Learner(Adds(), DataLoaders(pairs, pairs), F.cross_entropy, cbs=cbs).fit(1)
    assert {kind for kind in seen if isinstance(kind, torch.dtype)} == {torch.int64}


# --- a notebook from its first cell to its last ---------------------------------------------------


def test_the_notebook_of_the_initialised_network():
    set_seed(42)
    x = torch.randn(6, 16, 1, 28, 28)
    labels = torch.arange(16) % 10
    dls = DataLoaders([(each, labels) for each in x[:4]], [(each, labels) for each in x[4:]])
    act = partial(GeneralRelu, leak=0.1, sub=0.4)
    model = get_model(act, norm=nn.BatchNorm2d).apply(partial(init_weights, leaky=0.1))
    relus = [m for m in model.modules() if isinstance(m, GeneralRelu)]
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    plain = get_model(act, nfs=[1, 8, 16])
    pairs = zip(*([m for m in plain.modules() if isinstance(m, kind)]
                  for kind in (GeneralRelu, nn.Conv2d)), strict=False)  # fmt: skip
    for pair in pairs:
        lsuv_init(plain, *pair, x[0])
    assert len(relus) == 4 and len(convs) == 5

    stats = ActivationStats(lambda m: isinstance(m, GeneralRelu))
    sched = partial(optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=3 * len(dls.train))
    record = RecorderCB(lr=lambda cb: cb.pg["lr"], mom=lambda cb: cb.pg["betas"][0])
    progress = ProgressCB(plot=True, kind="silent")
    cbs = [DeviceCB(), MetricsCB(), progress, stats, record]
    learn = TrainLearner(model, dls, F.cross_entropy, lr=0.01,
                         cbs=[*cbs, BatchSchedCB(sched)], opt_func=optim.AdamW)  # fmt: skip
    learn.fit(1, train=True, cbs=[SingleBatchCB()])
    learn.fit(3)
    assert len(record.recs["mom"]) == 12 and len(stats) == 4
    assert len(progress.losses) == 12 and progress.losses[-1] < progress.losses[0]


def test_conv_takes_the_bias_in_every_form():
    assert conv(1, 2, norm=nn.BatchNorm2d)[0].bias is not None
    assert conv(1, 2, bias=None)[0].bias is not None
    assert conv(1, 2, bias=True)[0].bias is not None
    assert conv(1, 2, bias=False)[0].bias is None


def test_callbacks_need_no_base():
    class Bare:
        order = 3

        def after_batch(self, learn):
            self.count = getattr(self, "count", 0) + 1

    bare = Bare()
    make(bare).fit(1)
    assert bare.count == 7


def test_everything_comes_with_a_star():
    names = {}
    exec("from steppers.styles.miniai import *", names)
    assert isinstance(names["def_device"], str) and names["SGD"] is SGD
    assert SimpleNamespace(**names).TrainLearner is TrainLearner
