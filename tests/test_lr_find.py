"""The finder in the middle of a run: weights to the bit as without it, for every optimizer."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import steppers
from steppers.lr_find import Sweep, lr_find, restored

OURS = [name for name in steppers.list_optimizers() if name != "Muon"]
TORCH = ["SGD", "AdamW", "Adagrad", "Adadelta", "Adafactor", "NAdam", "RAdam", "RMSprop", "Rprop",
         "ASGD", "Adamax", "LBFGS"]  # fmt: skip


class Net(nn.Module):
    """Dropout, BatchNorm, a buffer that is replaced, and a plain count."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
        )
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0

    def forward(self, x):
        if self.training:
            self.seen = self.seen + len(x)
            self.calls += 1
        return self.body(x + 0.01 * random.random() + 0.01 * np.random.rand())


def loader(generator=True, **options):
    draws = torch.Generator().manual_seed(7)
    data = TensorDataset(torch.randn(40, 6, generator=draws), torch.arange(40) % 3)
    own = torch.Generator().manual_seed(3) if generator else None
    return DataLoader(data, 8, shuffle=True, generator=own, **options)


def seed():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def epoch(model, optimizer, batches, scheduler=None):
    loss_func = nn.CrossEntropyLoss()
    for x, y in batches:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = loss_func(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    if scheduler is not None:
        scheduler.step()


def bits(thing):
    """Everything in a nested structure, tensors as bytes."""
    if isinstance(thing, torch.Tensor):
        flat = thing.detach().contiguous().flatten()
        return str(thing.dtype), tuple(thing.shape), flat.view(torch.uint8).tolist()
    if isinstance(thing, dict):
        return [(str(k), bits(v)) for k, v in thing.items()]
    return [bits(each) for each in thing] if isinstance(thing, (list, tuple)) else repr(thing)


def whole(model, optimizer):
    return bits([model.state_dict(), [p.grad for p in model.parameters()], optimizer.state_dict(),
                 [m.training for m in model.modules()], model.calls])  # fmt: skip


def train(make, find, generator=True, first=1):
    """Some epochs, perhaps the finder, and one more epoch."""
    seed()
    model, batches = Net(), loader(generator)
    optimizer = make(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for _ in range(first):
        epoch(model, optimizer, batches, scheduler)
    before = whole(model, optimizer)
    if find:
        with torch.no_grad():
            start = [p.clone() for p in model.parameters()]
        moved = []

        def loss_func(output, y):
            moved.append(
                any((p != q).any() for p, q in zip(model.parameters(), start, strict=True))
            )
            return nn.functional.cross_entropy(output, y)

        lr_find(model, optimizer, batches, loss_func, start_lr=1e-4, num_it=8, stop_div=False,
                scheduler=scheduler)  # fmt: skip
        assert moved[-1]  # otherwise this test could not fail
        assert whole(model, optimizer) == before
    epoch(model, optimizer, batches, scheduler)
    return whole(model, optimizer), bits(torch.get_rng_state()), random.random(), np.random.rand()


def both_ways(make, **options):
    assert train(make, True, **options) == train(make, False, **options)


@pytest.mark.parametrize("name", TORCH)
def test_torchs_optimizers_go_on_as_if_nothing_had_been(name):
    both_ways(getattr(torch.optim, name))


@pytest.mark.parametrize("name", OURS)
def test_our_optimizers_go_on_as_if_nothing_had_been(name):
    both_ways(steppers.get_class(name))


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_every_engine_goes_on(engine):
    both_ways(lambda params: steppers.AdamW(params, engine=engine))


@pytest.mark.parametrize("make", [torch.optim.Adam, steppers.Prodigy, steppers.ScheduleFreeAdamW])
def test_before_the_first_step_the_state_stays_empty(make):
    both_ways(make, first=0)


def test_the_global_generator_gives_the_same_order():
    both_ways(steppers.Lion, generator=False)


def test_muon_goes_on():
    def matrices(params):
        params = list(params)
        chains = {"muon": steppers.Muon, "adamw": steppers.AdamW}
        groups = [{"params": [p for p in params if (p.ndim == 2) == two], "chain": chain}
                  for two, chain in ((True, "muon"), (False, "adamw"))]  # fmt: skip
        return steppers.Optimizer(groups, chains=chains, lr=1e-2)

    both_ways(matrices)


def test_low_parts_of_bfloat16_go_on():
    def run(find):
        seed()
        model = nn.Linear(4, 3).bfloat16()
        optimizer = steppers.AdamW(model.parameters(), rounding="kahan", state_dtype=torch.bfloat16)
        batches = [(torch.randn(8, 4).bfloat16(), torch.arange(8) % 3)]
        epoch(model, optimizer, batches * 3)
        if find:
            lr_find(model, optimizer, batches, nn.functional.cross_entropy, num_it=8)
        epoch(model, optimizer, batches * 3)
        return bits([model.state_dict(), optimizer.state_dict()])

    assert "p_low" in str(run(True))
    assert run(True) == run(False)


def test_a_schedule_free_optimizer_stays_in_its_evaluation_view():
    model, batches = Net(), loader()
    optimizer = steppers.ScheduleFreeAdamW(model.parameters())
    epoch(model, optimizer, batches)
    model.eval()
    optimizer.eval()
    before = whole(model, optimizer)
    found = lr_find(model, optimizer, batches, nn.functional.cross_entropy)
    assert whole(model, optimizer) == before and not model.training
    assert len(found.lrs) > 20
    optimizer.train()
    epoch(model, optimizer, batches)


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit, Stop])
@pytest.mark.parametrize("place", ["forward", "backward", "step", "loss"])
def test_after_any_exception_anywhere_all_is_as_it_was(place, error):
    seed()
    model, batches = Net(), loader()
    optimizer = steppers.AdamW(model.parameters())
    epoch(model, optimizer, batches)
    before, drawn = whole(model, optimizer), batches.generator.get_state().tolist()
    count = iter(range(100))

    def fail(*_):
        if next(count) == 4:
            raise error("here")

    hooks = {
        "forward": lambda: model.body[1].register_forward_hook(fail),
        "backward": lambda: model.body[2].register_full_backward_hook(fail),
        "step": lambda: optimizer.register_step_post_hook(fail),
        "loss": lambda: None,
    }
    hook = hooks[place]()
    loss = nn.CrossEntropyLoss()

    def loss_func(output, y):
        if place == "loss":
            fail()
        return loss(output, y)

    with pytest.raises(error, match="here"):
        lr_find(model, optimizer, batches, loss_func)
    assert next(count) == 5
    if hook is not None:
        hook.remove()
    assert whole(model, optimizer) == before
    assert batches.generator.get_state().tolist() == drawn


def test_a_short_loader_is_begun_anew_and_batches_keep_their_order():
    batches, twin = loader(), loader()
    model = Net()
    found = lr_find(model, torch.optim.SGD(model.parameters(), lr=0.1), batches,
                    nn.functional.cross_entropy, num_it=23, end_lr=1e-3)  # fmt: skip
    assert len(found.lrs) == 23 > len(batches)
    assert bits(list(batches)) == bits(list(twin))


def test_a_found_rate_trains():
    torch.manual_seed(0)
    x = torch.randn(256, 6)
    y = (x @ torch.randn(6, 3)).argmax(1)
    model, batches = Net(), list(zip(x.split(32), y.split(32), strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=123.0)
    found = lr_find(model, optimizer, batches, nn.functional.cross_entropy)
    assert 1e-3 < found.valley < 1 and found.losses[0] == pytest.approx(np.log(3), rel=0.3)
    optimizer.param_groups[0]["lr"] = found.valley
    for _ in range(20):
        epoch(model, optimizer, batches)
    assert nn.functional.cross_entropy(model.eval()(x), y) < 0.6 * found.losses[0]


def test_a_loss_with_parameters_of_its_own_is_restored():
    class Centres(nn.Module):
        def __init__(self):
            super().__init__()
            self.centre = nn.Parameter(torch.zeros(3))

        def forward(self, output, y):
            return nn.functional.cross_entropy(output + self.centre, y)

    model, loss = Net(), Centres()
    optimizer = torch.optim.SGD([*model.parameters(), loss.centre], lr=0.1)
    lr_find(model, optimizer, loader(), loss, start_lr=1e-3, num_it=10)
    assert loss.centre.tolist() == [0.0] * 3 and loss.centre.grad is None


def test_a_scaler_scales_and_is_restored():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100, growth_interval=2)
    before = copy.deepcopy(scaler.state_dict())
    scales = []

    def loss_func(output, y):
        scales.append(scaler.get_scale())
        return nn.functional.cross_entropy(output, y)

    lr_find(model, optimizer, loader(), loss_func, scaler=scaler, stop_div=False)
    assert len(set(scales)) > 2  # steps were skipped, the scale went down, then up
    assert scaler.state_dict() == before and scaler._scale is None


def test_several_inputs_come_before_the_target():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, a, b):
            return self.linear(a + b)

    model = Sum()
    batches = [[torch.ones(4, 2), torch.ones(4, 2), torch.ones(4, 1)]]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert lr_find(model, optimizer, batches, nn.functional.mse_loss).valley


def test_an_own_loop_with_sweep_and_restored():
    seed()
    model, batches = Net(), loader()
    optimizer = steppers.Adam(model.parameters())
    before = whole(model, optimizer)
    sweep = Sweep(optimizer, num_it=10)
    with restored(model, optimizer, loaders=[batches]):
        for _ in sweep:
            x, y = next(iter(batches))
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            sweep.record(loss)
    assert whole(model, optimizer) == before and len(sweep.found().lrs) == 10


def test_divergence_at_once_is_an_error_and_all_is_as_it_was():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = whole(model, optimizer)
    with pytest.raises(FloatingPointError, match=r"start lower, say with start_lr=1e\+05"):
        lr_find(model, optimizer, loader(), nn.functional.cross_entropy, start_lr=1e8, end_lr=1e9)
    assert whole(model, optimizer) == before


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (dict(batches=[]), ValueError, "there are no batches"),
        (dict(batches=iter([1])), TypeError, "batches is an iterator"),
        (dict(batches=3), TypeError, "batches must be a loader, got int"),
        (dict(batches=[{"x": 1}]), TypeError, r"a tuple \(inputs, target\), got dict"),
        (dict(batches=[torch.ones(3)]), TypeError, r"a tuple \(inputs, target\), got Tensor"),
        (dict(loss_func=None), TypeError, "loss_func must be callable, got NoneType"),
        (dict(model=len), TypeError, "model must be a torch.nn.Module, got builtin"),
        (dict(optimizer=3), TypeError, "optimizer must be a torch optimizer, got int"),
        (dict(scheduler=3), TypeError, "int has no attributes that could be put back"),
        (dict(start_lr=20.0), ValueError, "end_lr must be above start_lr"),
        (dict(loss_func=lambda output, y: output), ValueError, "one number"),
    ],
)
def test_wrong_arguments_change_nothing(change, error, text):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = whole(model, optimizer)
    given = dict(model=model, optimizer=optimizer, batches=loader(),
                 loss_func=nn.functional.cross_entropy) | change  # fmt: skip
    positional = [given.pop(name) for name in ("model", "optimizer", "batches", "loss_func")]
    with pytest.raises(error, match=text):
        lr_find(*positional, **given)
    assert whole(model, optimizer) == before
