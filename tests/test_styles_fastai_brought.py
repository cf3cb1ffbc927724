"""Code that users of fastai bring along, as they wrote it, run against formulas in float64."""

import io
import math
from functools import partial

import pytest
import torch
from small_params import close, four, numbers, one, vector
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from steppers.styles import fastai
from steppers.styles.fastai import (
    SGD,
    Adam,
    Lookahead,
    Optimizer,
    OptimWrapper,
    average_grad,
    average_sqr_grad,
    mark,
    sgd_step,
    step_stat,
    weight_decay,
)

OLD = pytest.mark.filterwarnings("ignore:This overload of addc?:UserWarning")


def stepped(optimizer, params, steps, grad=None):
    for _ in range(steps):
        for p in params:
            p.grad = torch.full_like(p, grad) if grad is not None else p.grad
        optimizer.step()


# --- callbacks of one's own ---------------------------------------------------------------------


def average_surprise(p, sqr_mom, grad_avg, surprise_avg=None, **kwargs):
    if surprise_avg is None:
        surprise_avg = torch.zeros_like(p.grad.data)
    diff = p.grad.data - grad_avg
    surprise_avg.mul_(sqr_mom).addcmul_(1 - sqr_mom, diff, diff)
    return {"surprise_avg": surprise_avg}


average_surprise.defaults = dict(sqr_mom=0.99)


def belief_step(p, lr, mom, step, sqr_mom, grad_avg, surprise_avg, eps, **kwargs):
    mean = grad_avg / (1 - mom**step)
    root = (surprise_avg / (1 - sqr_mom**step)).sqrt() + eps
    p.data.addcdiv_(-lr, mean, root)
    return p


belief_step._defaults = dict(eps=1e-5)


@OLD
def test_an_algorithm_of_ones_own_between_statistics_of_ours():
    cbs = [weight_decay, partial(average_grad, dampening=True), average_surprise, step_stat]
    p, grads = one(1), (0.5, -0.2, 0.1)
    optimizer = Optimizer([p], [*cbs, belief_step], lr=0.1, wd=0.1)
    value = mean = surprise = 0.0
    value = 1.0
    for t, grad in enumerate(grads, 1):
        p.grad = torch.tensor([grad], dtype=torch.float64)
        optimizer.step()
        value *= 1 - 0.1 * 0.1
        mean = 0.9 * mean + 0.1 * grad
        surprise = 0.99 * surprise + 0.01 * (grad - mean) ** 2
        root = math.sqrt(surprise / (1 - 0.99**t)) + 1e-5
        value -= 0.1 * mean / (1 - 0.9**t) / root
    assert p.item() == pytest.approx(value, rel=1e-12)


class Clip:
    """A callback that is an object with a setting, a count and defaults of its own."""

    defaults = dict(ceiling=0.5)

    def __init__(self):
        self.calls = 0

    def __call__(self, p, ceiling, **kwargs):
        self.calls += 1
        p.grad.data.clamp_(-ceiling, ceiling)


def test_an_object_is_a_callback_and_its_hyper_is_set_by_group():
    clip, (a, b) = Clip(), (one(1, 3), one(2, 3))
    optimizer = Optimizer([[a], [b]], [clip, sgd_step], lr=1.0)
    optimizer.set_hyper("ceiling", [0.25, 2.0])
    optimizer.step()
    assert numbers([a, b]) == [0.75, 0.0]
    assert clip.calls == 2


def centralize(p, **kwargs):
    grad = p.grad.data
    if grad.dim() > 1:
        grad.add_(-grad.mean(dim=tuple(range(1, grad.dim())), keepdim=True))


def test_a_callback_without_a_result_changes_the_gradient_for_the_next():
    w = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    w.grad = torch.tensor([[1.0, 3.0], [2.0, 6.0]], dtype=torch.float64)
    Optimizer([w], [centralize, sgd_step], lr=1.0).step()
    assert w.tolist() == [[1.0, -1.0], [2.0, -2.0]]
    assert w.grad.tolist() == [[-1.0, 1.0], [-2.0, 2.0]]  # it said so itself


def shadow(p, ema=None, ema_decay=0.5, **kwargs):
    p = p.data
    return {"ema": p.clone() if ema is None else ema.mul_(ema_decay).add_(p, alpha=1 - ema_decay)}


def test_a_callback_after_the_step_sees_the_parameter_moved():
    p = one(1, 0.5)
    optimizer = Optimizer(p, [sgd_step, shadow], lr=1.0)
    stepped(optimizer, [p], 2)
    assert optimizer.state[p]["ema"].item() == 0.5 * 0.5 + 0.5 * 0.0


def test_lambdas_and_methods_are_callbacks():
    class Noise:
        def __init__(self, size):
            self.size = size

        def add(self, p, **kwargs):
            p.data += self.size

    p = one(1, 1)
    cbs = [Noise(0.25).add, lambda p, lr, **_: p.data.sub_(p.grad, alpha=lr)]
    Optimizer([p], cbs, lr=0.5).step()
    assert p.item() == 0.75


def test_a_list_of_callbacks_can_be_changed_later():
    p = one(1, 4)
    optimizer = SGD([p], lr=1.0)
    optimizer.cbs.insert(0, lambda p, **_: p.grad.data.div_(8))
    optimizer.step()
    assert p.item() == 0.5


class Scaled(Optimizer):
    """A class of one's own that fixes the callbacks."""

    def __init__(self, params, lr, scale=2.0, **kwargs):
        super().__init__(params, cbs=[weight_decay, self.move], lr=lr, scale=scale, **kwargs)

    @staticmethod
    def move(p, lr, scale, **kwargs):
        p.data.add_(p.grad.data, alpha=-lr * scale)


def test_a_subclass_with_its_own_signature():
    params = four()
    optimizer = Scaled([params[:2], params[2:]], lr=slice(0.1), scale=1.0)
    optimizer.set_hypers(scale=[1.0, 2.0], wd=0.0)
    optimizer.step()
    assert numbers(params) == close(0, 1 - 0.001, 2 - 0.04, 3 - 0.06)


def my_opt(params, **kwargs):
    return Lookahead(fastai.Lamb(params, **kwargs), k=2)


def test_a_function_that_makes_an_optimizer_of_optimizers():
    p, q = vector(), vector()
    start = p.detach().clone()
    inner = fastai.Lamb([q], lr=0.1)
    stepped(my_opt([p], lr=0.1), [p], 2)
    stepped(inner, [q], 2)
    assert torch.allclose(p, (start + q) / 2, rtol=1e-14)


# --- loops as in a notebook -----------------------------------------------------------------------


def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)).double()


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 3, dtype=torch.float64, generator=generator)
    return x, x.sum(1, keepdim=True)


def epoch(model, optimizer, before=lambda i: None, n=8):
    x, y = data()
    for i, (xb, yb) in enumerate(zip(x.split(n), y.split(n), strict=True)):
        before(i)
        loss = (model(xb) - yb).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def test_fine_tuning_by_hand():
    model = net()
    body, head = list(model[:3].parameters()), list(model[3:].parameters())
    optimizer = Adam([body, head], lr=1e-2)
    mark(optimizer, model)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.freeze()
    epoch(model, optimizer)
    moved = [not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)]
    assert moved == [False, False, True, True, True, True]  # the norm moves too
    optimizer.clear_state()
    optimizer.unfreeze()
    optimizer.set_hyper("lr", slice(1e-3, 1e-2))
    first = epoch(model, optimizer)
    for _ in range(10):
        last = epoch(model, optimizer)
    assert all(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert last < first
    assert [optimizer.state[p]["step"] for p in body] == [88] * 4


def test_a_schedule_by_hand_sets_rate_and_momentum_of_each_batch():
    model, seen = net(), []
    optimizer = Adam([model[:2].parameters(), model[2:].parameters()], lr=slice(1e-3, 1e-1))

    def before(i):
        pos = i / 8
        optimizer.set_hypers(lr=[1e-3 * (1 - pos), 1e-2 * (1 - pos)], mom=0.95 - 0.1 * pos)
        seen.append([h["lr"] for h in optimizer.hypers] + [optimizer.hypers[-1]["mom"]])

    epoch(model, optimizer, before)
    assert seen[4] == pytest.approx([5e-4, 5e-3, 0.9])


def test_statistics_are_looked_into_between_steps():
    model = net()
    optimizer = SGD(model.parameters(), lr=0.01, mom=0.9)
    epoch(model, optimizer)
    for p, group, state, hyper in optimizer.all_params():
        assert state["grad_avg"].shape == p.shape
        assert any(p is q for q in group)
        assert hyper["mom"] == 0.9
        state["grad_avg"].zero_()
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_parameters_are_left_out_of_decay_by_hand():
    a, b = one(1, 0.0), one(1, 0.0)
    optimizer = SGD([[a], [b]], lr=0.1, wd=1.0)
    for p in optimizer.param_lists[0]:
        optimizer.state[p]["do_wd"] = False
    optimizer.step()
    assert numbers([a, b]) == [1.0, 0.9]


@pytest.mark.parametrize("make", [Adam, fastai.ranger, partial(OptimWrapper, opt=torch.optim.Adam)])
def test_model_and_optimizer_in_one_file_go_on_alike(make):
    def goes(model, optimizer):
        return [epoch(model, optimizer) for _ in range(2)]

    model = net()
    optimizer = make(model.parameters(), lr=1e-2)
    epoch(model, optimizer)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "opt": optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    other = net()
    other.load_state_dict(loaded["model"])
    again = make(other.parameters(), lr=1.0)
    again.load_state_dict(loaded["opt"])
    assert goes(model, optimizer) == goes(other, again)


def test_a_plateau_lowers_the_rate_of_any_of_them():
    for made in (Adam([one(1)], lr=1.0), fastai.ranger([one(1)], lr=1.0)):
        plateau = ReduceLROnPlateau(made, factor=0.1, patience=0)
        for loss in (1.0, 2.0):
            plateau.step(loss)
        assert made.hypers[0]["lr"] == pytest.approx(0.1)


def test_gradients_are_accumulated_and_clipped_as_with_torchs():
    model, other = net(), net()
    ours = Adam(model.parameters(), lr=1e-2, wd=0.0, eps=1e-8)
    theirs = torch.optim.Adam(other.parameters(), lr=1e-2, betas=(0.9, 0.99))
    x, y = data()
    for net_, optimizer in ((model, ours), (other, theirs)):
        for _ in range(3):
            for xb, yb in zip(x.split(16), y.split(16), strict=True):
                ((net_(xb) - yb).square().mean() / 4).backward()
            nn.utils.clip_grad_norm_(net_.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-10, atol=1e-14)


def test_a_closure_is_called_as_torch_calls_it():
    model, other = net(), net()
    x, y = data()

    def closure(net_, optimizer):
        optimizer.zero_grad()
        loss = (net_(x) - y).square().mean()
        loss.backward()
        return loss

    ours = SGD(model.parameters(), lr=0.1, mom=0.9)
    theirs = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        pair = [opt.step(partial(closure, n, opt)) for n, opt in ((model, ours), (other, theirs))]
    assert pair[0].item() == pytest.approx(pair[1].item(), rel=1e-12)


def test_two_optimizers_share_a_model():
    model = net()
    first = SGD(model[3].parameters(), lr=0.1)
    second = Adam(model.parameters(), lr=0.0, wd=0.0)
    before = [p.detach().clone() for p in model.parameters()]
    x, y = data()
    (model(x) - y).square().mean().backward()
    second.step()
    first.step()
    moved = [not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)]
    assert moved == [False, False, False, False, True, True]
    assert [set(state) for state in second.state.values()] == [{"grad_avg", "sqr_avg", "step"}] * 6
    assert not any(first.state.values())


def test_hypers_are_logged_and_compared_as_dicts():
    optimizer = Adam([[one(1)], [one(2)]], lr=[0.1, 0.2])
    rows = [{"group": i, **h} for i, h in enumerate(optimizer.hypers)]
    assert rows[1] == dict(group=1, lr=0.2, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.01)
    kept = [h.copy() for h in optimizer.hypers]
    optimizer.set_hyper("lr", 0.5)
    assert [h["lr"] for h in kept] == [0.1, 0.2]
    assert optimizer.hypers[0] | {"lr": 0.3} == kept[0] | {"lr": 0.3}
    assert {"x": 1} | optimizer.hypers[0] == {"x": 1, **kept[0], "lr": 0.5}


def test_a_wrapped_optimizer_is_walked_through_as_a_native_one():
    a, b = one(1, 0.1), one(2)
    wrapped = OptimWrapper([[a], [b]], torch.optim.SGD, lr=0.1, momentum=0.9)
    wrapped.all_params()[0][2]["do_wd"] = False
    assert wrapped.state[a] == {"do_wd": False}
    assert [p for p, *_ in wrapped.all_params(slice(1, None))] == [b]
    assert [p for p, *_ in wrapped.all_params(with_grad=True)] == [a]
    assert [(p, h["mom"]) for p, h in wrapped.grad_params()] == [(a, 0.9)]


def test_average_sqr_grad_alone_scales_rates_by_hand():
    def scaled(p, lr, sqr_avg, step, sqr_mom, **kwargs):
        p.data.addcdiv_(p.grad, (sqr_avg / (1 - sqr_mom**step)).sqrt(), value=-lr)

    p = one(1, 0.25)
    stepped(Optimizer([p], [average_sqr_grad, step_stat, scaled], lr=0.125), [p], 3)
    assert p.item() == pytest.approx(1 - 3 * 0.125)
