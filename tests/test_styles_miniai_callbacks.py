"""miniai's ready-made callbacks, how its networks start, and its data."""

import ast
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from miniai_fits import (
    TRAIN,
    Counted,
    Log,
    batches,
    by_hand,
    data,
    make,
    net,
    ours,
    same,
)
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR

from steppers.styles import miniai
from steppers.styles.miniai import (
    AccelerateCB,
    ActivationStats,
    BaseSchedCB,
    BatchSchedCB,
    BatchTransformCB,
    Callback,
    CancelFitException,
    DataLoaders,
    DeviceCB,
    EpochSchedCB,
    GeneralRelu,
    HasLearnCB,
    Hook,
    Hooks,
    HooksCallback,
    Learner,
    LRFinderCB,
    MetricsCB,
    MixedPrecision,
    ProgressCB,
    RecorderCB,
    SingleBatchCB,
    TrainLearner,
    append_stats,
    collate_dict,
    conv,
    def_device,
    get_dls,
    get_hist,
    get_min,
    get_model,
    init_weights,
    inplace,
    lsuv_init,
    sched_lrs,
    set_seed,
    to_cpu,
    to_device,
)
from steppers.train import accuracy

# --- the ready-made callbacks -------------------------------------------------------------------


def test_batch_and_epoch_schedulers_step_in_training():
    recorder = RecorderCB(lr=lambda cb: cb.pg["lr"])
    learn = make(recorder, BatchSchedCB(partial(CosineAnnealingLR, T_max=10)))
    learn.fit(2)
    # the recorder came first: batch k has used the rate of step k
    wanted = [0.05 * (1 + math.cos(math.pi * k / 10)) for k in range(10)]
    assert recorder.recs["lr"] == pytest.approx(wanted)
    recorder = RecorderCB(lr=lambda cb: cb.pg["lr"])
    make(recorder, EpochSchedCB(partial(ExponentialLR, gamma=0.5))).fit(3)
    assert recorder.recs["lr"] == [0.1] * 5 + [0.05] * 5 + [0.025] * 5
    with pytest.raises(TypeError, match="wants a function from the optimizer"):
        BaseSchedCB(3)
    with pytest.raises(TypeError, match=r"BatchSchedCB: sched must return a scheduler.* got None"):
        make(BatchSchedCB(lambda opt: None)).fit(1)


def test_one_cycle_also_cycles_the_first_beta():
    recorder = RecorderCB(lr=lambda cb: cb.pg["lr"], mom=lambda cb: cb.pg["betas"][0])
    sched = partial(OneCycleLR, max_lr=0.06, total_steps=20)
    learn = make(recorder, BatchSchedCB(sched), opt_func=torch.optim.AdamW)
    learn.fit(4)
    assert max(recorder.recs["lr"]) == pytest.approx(0.06, rel=0.05)
    assert min(recorder.recs["mom"]) == pytest.approx(0.85, abs=0.01)


def test_recorder_functions_see_the_learner_while_it_fits():
    recorder = RecorderCB(loss=lambda cb: cb.learn.loss.item(), many=lambda cb: cb.learn.iter)
    learn = make(recorder)
    learn.fit(1)
    assert recorder.recs["many"] == [0, 1, 2, 3, 4] and recorder.learn is None
    learn.fit(1)
    assert len(recorder.recs["loss"]) == 5
    with pytest.raises(TypeError, match="lr= must be a function of cb"):
        RecorderCB(lr=0.1)


def test_has_learn_lets_go_after_a_cancel_too():
    class Stops(HasLearnCB):
        def after_batch(self, learn):
            assert self.learn is learn
            raise CancelFitException

    cb = Stops()
    make(cb).fit(1)
    assert cb.learn is None


class Accuracy:
    """A metric as torcheval has them."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.right, self.all = 0, 0

    def update(self, preds, target):
        self.right += (preds.argmax(1) == target).sum().item()
        self.all += len(target)

    def compute(self):
        return torch.tensor(self.right / self.all)


@pytest.mark.parametrize("learner", [make, ours])
def test_metrics_are_logged_once_a_pass(learner, capsys):
    metrics = MetricsCB(Accuracy(), acc=accuracy)
    learn = learner(metrics)
    learn.fit(2)
    rows = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["epoch"], row["train"]) for row in rows] == [
        (0, "train"), (0, "eval"), (1, "train"), (1, "eval"),
    ]  # fmt: skip
    assert all(row["Accuracy"] == row["acc"] for row in rows)
    x, y = (torch.cat(parts) for parts in zip(*batches(2, 1), strict=True))
    with torch.no_grad():
        wanted = F.cross_entropy(learn.model(x), y).item()
    assert float(rows[-1]["loss"]) == pytest.approx(wanted, abs=6e-4)
    assert learn.metrics is metrics


def test_the_mean_loss_is_weighted_by_sizes():
    uneven = [(torch.zeros(1, 4), torch.zeros(1)), (torch.zeros(3, 4), torch.ones(3))]
    rows = []
    metrics = MetricsCB()
    metrics._log = rows.append

    def loss_func(preds, target):
        return preds.sum() * 0 + target.mean()

    TrainLearner(net(), DataLoaders(uneven, uneven), loss_func, cbs=[metrics]).fit(1)
    assert [row["loss"] for row in rows] == ["0.750", "0.750"]
    with pytest.raises(TypeError, match="must have reset, update and compute"):
        MetricsCB(Accuracy)
    with pytest.raises(ValueError, match="loss is a column of its own"):
        MetricsCB(loss=accuracy)


def test_progress_shows_the_metrics_as_a_table(capsys):
    learn = make(MetricsCB(acc=accuracy), ProgressCB(kind="silent"))
    learn.fit(2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["acc", "loss", "epoch", "train"] and len(lines) == 5
    with pytest.raises(ValueError, match="kind must be one of"):
        ProgressCB(kind="loud")


def test_progress_draws_the_losses():
    pytest.importorskip("matplotlib")
    shown = []
    progress = ProgressCB(plot=True, kind="silent", display=shown.append)
    learn = make(MetricsCB(), progress)
    learn.fit(2)
    assert len(progress.losses) == 10 and [at for at, _ in progress.val_losses] == [5, 10]
    assert shown
    axes = progress.plot_loss().axes[0]
    assert [len(line.get_xdata()) for line in axes.lines] == [10, 2]
    silent = ProgressCB(plot=True, kind="silent")  # outside a notebook nothing is shown
    make(silent).fit(1)
    assert len(silent.losses) == 5
    with pytest.raises(RuntimeError, match="nothing to draw"):
        ProgressCB().plot_loss()


@pytest.mark.parametrize(("train", "valid", "seen"), [(True, True, 7), (True, False, 5),
                                                      (False, True, 2)])  # fmt: skip
def test_batch_transforms(train, valid, seen):
    count = []

    def tfm(batch):
        count.append(1)
        return batch[0] * 0, batch[1]

    learn = make(BatchTransformCB(tfm, on_train=train, on_val=valid), DeviceCB("cpu"))
    learn.fit(1)
    assert len(count) == seen and isinstance(learn.cbs[1], DeviceCB)  # it comes first
    with pytest.raises(TypeError, match="wants a function of a batch"):
        BatchTransformCB(3)
    with pytest.raises(TypeError, match="tfm must return the batch, got None"):
        make(BatchTransformCB(lambda batch: None)).fit(1)


def test_single_batch():
    log = Log()
    make(log, SingleBatchCB()).fit(3)
    assert log.seen == ["before_fit", "before_epoch", *TRAIN, "cleanup_epoch", "cleanup_fit"]


def test_devices():
    assert to_device([torch.ones(1), {"a": torch.ones(1)}], "cpu")[1]["a"].device.type == "cpu"
    assert to_cpu(torch.ones(1, dtype=torch.bfloat16, requires_grad=True)).dtype == torch.float32
    assert isinstance(def_device, str) and torch.ones(1).to(def_device).shape == (1,)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        miniai.nothing  # noqa: B018


@pytest.mark.parametrize("dtype", [torch.float16, "bfloat16"])
def test_mixed_precision_trains(dtype):
    scale = {} if dtype == "bfloat16" else {"init_scale": 2.0**8}
    learn = make(MixedPrecision(dtype=dtype, **scale), kind=Learner, lr=0.5)
    recorder = RecorderCB(loss=lambda cb: cb.learn.loss.item())
    learn.fit(8, cbs=[recorder])
    losses = recorder.recs["loss"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_accelerate_puts_its_parts_in_place(monkeypatch):
    class Accelerator:
        def __init__(self, mixed_precision):
            self.mixed_precision, self.losses = mixed_precision, 0

        def prepare(self, model, opt, train, valid):
            return model, Wrapped(opt), Counted(train), Counted(valid)

        def backward(self, loss):
            self.losses += 1
            loss.backward()

    class Wrapped(torch.optim.Optimizer):
        def __init__(self, inner):
            self.inner, self.steps = inner, 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def step(self, closure=None):
            self.steps += 1
            return self.inner.step(closure)

        def zero_grad(self, set_to_none=True):
            self.inner.zero_grad(set_to_none)

    monkeypatch.setitem(__import__("sys").modules, "accelerate",
                        SimpleNamespace(Accelerator=Accelerator))  # fmt: skip
    cb = AccelerateCB(mixed_precision="no")
    learn = make(cb, kind=Learner)
    learn.fit(2)
    assert learn.opt.steps == 10 and cb.acc.losses == 10 and learn.dls.valid.count == 4
    assert same(learn.model, by_hand())


def test_accelerate_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    with pytest.raises(ImportError, match="pip install accelerate"):
        AccelerateCB()


# --- the rate finder ----------------------------------------------------------------------------


def test_lr_find_multiplies_the_rate_and_leaves_the_weights():
    learn = make(dls=data(60))
    before = learn.model[0].weight.detach().clone()
    found = learn.lr_find(start_lr=1e-3)
    assert found.lrs == pytest.approx([1e-3 * 1.3**k for k in range(len(found.lrs))])
    assert found.losses[-1] > 3 * min(found.losses[:-1])
    assert not torch.equal(learn.model[0].weight, before)


def test_lr_find_can_put_everything_back():
    learn = make(dls=data(60))
    before = learn.model[0].weight.detach().clone()
    learn.lr_find(start_lr=1e-3, restore=True)
    assert torch.equal(learn.model[0].weight, before)


def test_lr_find_goes_over_epochs_without_evaluating():
    log = Log()
    learn = make(log, dls=data(3, 2))
    learn.lr_find(start_lr=1e-9, max_epochs=4)
    assert log.seen.count("after_step") == 12 and log.seen.count("after_predict") == 12


def test_lr_find_stops_at_nan():
    class Nan(Callback):
        def after_loss(self, learn):
            if learn.training and learn.train_iter == 4:
                learn.loss = learn.loss * math.nan

    finder = LRFinderCB()
    make(Nan(), finder).fit(9, lr=1e-9)
    assert len(finder.losses) == 5 and math.isnan(finder.losses[-1])
    with pytest.raises(ValueError, match="gamma and max_mult must be > 1"):
        LRFinderCB(gamma=1.0)


def test_lr_find_stops_at_a_first_loss_that_is_not_finite():
    class Infinite(Callback):
        def after_loss(self, learn):
            learn.loss = learn.loss + math.inf

    finder = LRFinderCB()
    make(Infinite(), finder).fit(9, lr=1e-9)
    assert finder.losses == [math.inf]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_the_picture_of_rates_is_shown_when_the_fit_is_over(error):
    pytest.importorskip("matplotlib")

    class Stop(Callback):
        def after_step(self, learn):
            if error and learn.iter == 3:
                raise error

    shown = []
    finder = LRFinderCB(display=shown.append)
    learn = make(Stop(), finder)
    if error is None:
        learn.fit(1, lr=1e-9)
    else:
        with pytest.raises(error):
            learn.fit(1, lr=1e-9)
    (figure,) = shown
    assert list(figure.axes[0].lines[0].get_xdata()) == finder.lrs != []


def test_no_picture_is_shown_before_a_batch():
    class Stop(Callback):
        def before_epoch(self, learn):
            raise CancelFitException

    make(Stop(), LRFinderCB(display=lambda figure: pytest.fail("shown"))).fit(1)


def test_pictures_of_rates():
    pytest.importorskip("matplotlib")
    found = make(dls=data(60)).lr_find(start_lr=1e-3)
    axes = found.plot().axes[0]
    assert axes.get_xscale() == "log" and len(axes.lines[0].get_xdata()) == len(found.lrs)
    assert repr(found).startswith(f"LRFinderCB({len(found.lrs)} rates, 0.001 to ")
    recorder = RecorderCB(lr=lambda cb: cb.pg["lr"], loss=lambda cb: cb.learn.loss)
    make(recorder).fit(2)
    assert [axes.get_ylabel() for axes in recorder.plot().axes] == ["lr", "loss"]


def test_a_cosine_past_its_minimum_rises_again():
    pytest.importorskip("matplotlib")
    opt = torch.optim.SGD(net().parameters(), lr=1.0)
    sched = CosineAnnealingLR(opt, 100)
    line = sched_lrs(sched, 110).axes[0].lines[0]
    rates = list(line.get_ydata())
    assert len(rates) == 111 and rates[100] == pytest.approx(0, abs=1e-9) and rates[110] > 0.01
    assert opt.param_groups[0]["lr"] == 1.0 and sched.last_epoch == 0


# --- activations --------------------------------------------------------------------------------


def test_hooks_note_what_layers_put_out():
    learn = make()
    with Hooks([learn.model[0], learn.model[2]], append_stats) as hooks:
        learn.fit(1, valid=False)
    assert len(hooks) == 2 and [len(part) for part in hooks[0].stats] == [5, 5, 5]
    assert get_hist(hooks[0]).shape == (40, 5)
    x = batches(5)[0][0]
    out = net()[0](x)
    assert hooks[0].stats[0][0].item() == pytest.approx(out.mean().item(), abs=1e-6)
    counts = out.detach().abs().histc(40, 0, 10)
    assert torch.equal(hooks[0].stats[2][0], counts)
    assert get_min(hooks[0])[0].item() == pytest.approx((counts[0] / counts.sum()).item())
    with Hook(learn.model[0], append_stats):
        pass


def test_statistics_of_known_outputs():
    """Deviations are torch's, over n - 1; what is above 10 is in no bin, so in no share either."""
    values = torch.tensor([0.1, -0.2, 0.3, -9.9, 10.0, 25.0])
    hook, layer = SimpleNamespace(), nn.Identity()
    with Hook(layer, lambda _, *args: append_stats(hook, *args)):
        layer(values)
        layer((torch.tensor([3]), values.half()))  # the first of floating-point numbers
        layer(torch.tensor([3]))
        layer(torch.tensor(0.5))
    means, stds, hists = hook.stats
    exact = values.double()
    assert means[0].item() == pytest.approx(exact.mean().item())
    spread = ((exact - exact.mean()).square().sum() / 5).sqrt()
    assert stds[0].item() == pytest.approx(spread.item())
    assert {i: int(n) for i, n in enumerate(hists[0]) if n} == {0: 2, 1: 1, 39: 2}
    assert get_min(hook)[0].item() == pytest.approx(2 / 5)
    assert get_hist(hook)[39, 0].item() == pytest.approx(math.log(3))
    assert len(means) == 3 and means[1].dtype == torch.float32 and stds[2].item() == 0


def test_hooks_callback_looks_in_training_alone():
    for on_valid, count in ((False, 5), (True, 7)):
        cb = HooksCallback(append_stats, lambda m: isinstance(m, nn.Linear), on_valid=on_valid)
        learn = make(cb)
        learn.fit(1)
        assert [len(hook.stats[0]) for hook in cb] == [count, count] and len(cb) == 2
        learn.model(batches(1)[0][0])
        assert len(cb.hooks[0].stats[0]) == count  # removed
    with pytest.raises(ValueError, match="leaves no module"):
        make(HooksCallback(append_stats, lambda m: False)).fit(1)
    with pytest.raises(TypeError, match="mod_filter must be a function, got 'relu'"):
        ActivationStats("relu")


def test_hooks_callback_takes_modules_and_lets_go_of_them_however_a_fit_ends():
    learn = make()
    for error in (CancelFitException, KeyboardInterrupt, ValueError):
        cb = HooksCallback(append_stats, mods=[learn.model[0]])
        stop = Log("after_loss", error())
        if error is CancelFitException:
            learn.fit(1, cbs=[cb, stop])
        else:
            with pytest.raises(error):
                learn.fit(1, cbs=[cb, stop])
        assert len(cb) == 1 and len(cb.hooks[0].stats[0]) == 1
        assert not learn.model[0]._forward_hooks


def test_activation_stats_and_their_pictures():
    pytest.importorskip("matplotlib")
    stats = ActivationStats(lambda m: isinstance(m, nn.ReLU))
    with pytest.raises(RuntimeError, match="nothing to draw"):
        stats.color_dim()
    make(stats).fit(2)
    (layer,) = stats
    means, stds, hists = layer.stats
    assert len(stats) == 1 and len(means) == len(stds) == len(hists) == 10
    assert hists[0].shape == (40,) and hists[0].sum() == 64
    images, dead, curves = stats.color_dim((4, 3)), stats.dead_chart(), stats.plot_stats()
    assert torch.equal(torch.tensor(images.axes[0].images[0].get_array().data), get_hist(layer))
    assert list(images.get_size_inches()) == [4, 3]
    assert list(dead.axes[0].lines[0].get_ydata()) == get_min(layer).tolist()
    for axes, values in zip(curves.axes, (means, stds), strict=True):
        assert list(axes.lines[0].get_ydata()) == [value.item() for value in values]


# --- how networks start, and data ---------------------------------------------------------------


def test_general_relu_does_only_what_it_is_given():
    x = torch.tensor([-1.0, 0.0, 5.0])
    assert GeneralRelu()(x).tolist() == [0, 0, 5]
    out = GeneralRelu(0.1, 0.4, 3.0)(x)
    assert torch.allclose(out, torch.tensor([-0.5, -0.4, 3.0]))


def test_the_courses_network_has_its_parameters():
    act = partial(GeneralRelu, leak=0.1, sub=0.4)
    model = get_model(act, norm=nn.BatchNorm2d)
    assert sum(p.numel() for p in model.parameters()) == 30_394
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert conv(1, 2, norm=nn.BatchNorm2d, bias=False)[0].bias is None


def test_init_weights_is_for_apply():
    set_seed(42)
    model = nn.Sequential(nn.Conv2d(8, 64, 3), nn.Linear(4, 4))
    linear = model[1].weight.detach().clone()
    model.apply(partial(init_weights, leaky=0.1))
    assert model[0].weight.std().item() == pytest.approx(math.sqrt(2 / (1.01 * 72)), rel=0.05)
    assert torch.equal(model[1].weight, linear)


def test_lsuv_fits_each_layer_to_the_batch():
    set_seed(42)
    model = get_model(partial(GeneralRelu, leak=0.1, sub=0.4), nfs=[1, 8, 16])
    xb = torch.randn(64, 1, 28, 28)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)][:2]
    relus = [m for m in model.modules() if isinstance(m, GeneralRelu)]
    for relu, layer in zip(relus, convs, strict=True):
        lsuv_init(model, relu, layer, xb)
    with Hooks(relus, append_stats) as hooks, torch.no_grad():
        model(xb)
    assert all(abs(h.stats[0][0].item()) < 2e-3 for h in hooks)
    assert all(abs(h.stats[1][0].item() - 1) < 2e-3 for h in hooks)


def test_the_same_seed_gives_the_same_numbers():
    set_seed(7)
    first = torch.rand(3)
    set_seed(7)
    assert torch.equal(first, torch.rand(3))


class Table:
    """A split as Hugging Face datasets has it: columns, rows by a list of places, a transform."""

    features = {"image": None, "label": None}

    def __init__(self, count, transform=lambda rows: rows):
        self.count, self.transform = count, transform

    def __len__(self):
        return self.count

    def __getitem__(self, places):
        rows = {"image": [torch.full((2,), float(i)) for i in places],
                "label": [i % 2 for i in places]}  # fmt: skip
        return self.transform(rows)

    def with_transform(self, transform):
        return Table(self.count, transform)


def test_loaders_from_a_dict_of_splits():
    @inplace
    def halve(b):
        b["image"] = [x / 2 for x in b["image"]]

    dd = {"train": Table(10).with_transform(halve), "test": Table(9).with_transform(halve)}
    dls = DataLoaders.from_dd(dd, 4)
    assert len(dls.train) == 3 and len(dls.valid) == 2
    x, y = next(iter(dls.valid))
    assert x.shape == (8, 2) and x[3].tolist() == [1.5, 1.5] and y[:3].tolist() == [0, 1, 0]
    seen = torch.cat([x[:, 0] for x, _ in dls.train])
    assert sorted(seen.tolist()) == [i / 2 for i in range(10)] != seen.tolist()
    batch = next(iter(DataLoaders.from_dd(dd, 4, as_tuple=False).valid))
    assert sorted(batch) == ["image", "label"]
    one = DataLoaders.from_dd(dd, 4, columns=["label", "image"], drop_last=True)
    assert len(one.train) == 2 and next(iter(one.train))[0].shape == (4,)
    with pytest.raises(TypeError, match="a loader to train on and one to evaluate, got 1"):
        DataLoaders([])


def test_fashion_mnists_numbers_of_batches():
    dls = DataLoaders.from_dd({"train": Table(60_000), "test": Table(10_000)}, 1024)
    assert len(dls.train) == 59 and len(dls.valid) == 5  # 2,048 each


def test_transforms_run_on_the_batches_that_are_asked_for():
    seen = []

    @inplace
    def note(b):
        seen.append(len(b["label"]))

    dls = DataLoaders.from_dd({"train": Table(10), "test": Table(9).with_transform(note)}, 4)
    seen.clear()
    for _ in dls.train:
        pass
    next(iter(dls.valid))
    assert seen == [8]


def test_set_seed_decides_the_order_of_the_training_data():
    dls = DataLoaders.from_dd({"train": Table(50), "test": Table(9)}, 8)

    def order(seed):
        set_seed(seed)
        return [torch.cat([x[:, 0] for x, _ in dls.train]).tolist() for _ in range(2)]

    first, again, other = order(42), order(42), order(7)
    assert first == again != other and first[0] != first[1]


def test_get_dls_and_collate_dict():
    items = [{"label": i, "image": torch.zeros(2)} for i in range(6)]
    collate = collate_dict(SimpleNamespace(features=["image", "label"]))
    train, valid = get_dls(items, items, 2, collate_fn=collate)
    x, y = next(iter(valid))
    assert len(train) == 3 and len(valid) == 2 and x.shape == (4, 2) and y.tolist() == [0, 1, 2, 3]
