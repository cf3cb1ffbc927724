"""Tensors as they may lie in memory: the fused engine steps them right, whatever changes."""

import copy

import pytest
import torch
from apart import apart, can_fork, forks
from torch import nn

import steppers
from steppers import Optimizer
from steppers.ops import mean, normal, zeros

pytestmark = [forks, can_fork]
ROWS = {
    "AdamW": lambda ps, **more: steppers.AdamW(ps, lr=1e-2, **more),
    "LAMB": lambda ps, **more: steppers.LAMB(ps, lr=1e-2, **more),
    "Adafactor": lambda ps, **more: steppers.Adafactor(ps, lr=1e-1, **more),
    "random": lambda ps, **more: Optimizer(ps, steps=[shaken], lr=1e-1, **more),
}
over_rows = pytest.mark.parametrize("row", ROWS)


def shaken(p, g, m=zeros, *, lr):
    """What an element gets depends on its place in the tensor, and on its row."""
    m = 0.5 * m + g
    return dict(m=m, p=p - lr * (m - mean(m, over="columns") + 0.1 * normal(p)))


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def every_second(x):
    """The same numbers, an element apart."""
    return torch.stack([x, torch.full_like(x, 7.0)], -1)[..., 0]


def permuted(x):
    """The same numbers, the axes in the opposite order in memory."""
    return x.permute(*reversed(range(x.ndim))).contiguous().permute(*reversed(range(x.ndim)))


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else permuted(x)


def behind(x):
    """The same numbers, one element off any alignment."""
    return torch.cat([torch.zeros(1), x.flatten()])[1:].view(x.shape)


def off_by_a_byte(x):
    buffer = bytearray(4 * x.numel() + 1)
    moved = torch.frombuffer(buffer, dtype=torch.float32, offset=1).view(x.shape)
    return moved.copy_(x)


def negated_lazily(x):
    """The same numbers, of which memory holds the opposite."""
    return torch._neg_view(-x)


def within(x):
    """A piece of a larger matrix: whole rows apart."""
    wide = torch.full((*x.shape[:-1], x.shape[-1] + 3), 7.0)
    wide[..., 1:-2] = x
    return wide[..., 1:-2]


LAID = [torch.clone, every_second, permuted, channels_last, behind, off_by_a_byte, negated_lazily,
        within]  # fmt: skip
over_laid = pytest.mark.parametrize("lay", LAID, ids=lambda lay: lay.__name__)


class Wrapped(torch.Tensor):
    """A tensor that holds another one and has no memory of its own."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        bare = torch.utils._pytree.tree_map_only(cls, lambda x: x.held, (args, kwargs or {}))
        return func(*bare[0], **bare[1])


def expanded(x):
    """The first element everywhere, as the gradient of a sum is."""
    return x.flatten()[0].expand(x.shape)


def leaf(x):
    return x.detach().requires_grad_()


def stepped(row, engine, start, grads, change=lambda p, optimizer, step: None):
    """The numbers of a parameter and its slots after steps on these gradients."""
    p = leaf(start)
    optimizer = ROWS[row]([p], engine=engine)
    for step, g in enumerate(grads):
        change(p, optimizer, step)
        p.grad = None
        p.grad = g(p) if callable(g) else g
        optimizer.step()
    found = {"p": p.detach(), **optimizer.state[p]}
    return {name: x.clone(memory_format=torch.contiguous_format) for name, x in found.items()}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, x in expected.items():
        torch.testing.assert_close(actual[name], x, rtol=1e-5, atol=1e-6, msg=name)


# --- parameters and gradients ------------------------------------------------------------------


@over_rows
@over_laid
def test_a_parameter_may_lie_in_any_way(lay, row):
    start = numbers(6, 5, 2, 3)
    grads = [numbers(6, 5, 2, 3, seed=k) for k in (1, 2, 3)]
    assert_same(
        stepped(row, "fused", lay(start), grads), stepped(row, "loop", start.clone(), grads)
    )


@over_rows
@pytest.mark.parametrize("lay", [*LAID, expanded, Wrapped], ids=lambda lay: lay.__name__)
def test_gradients_may_lie_in_any_way_and_change(lay, row):
    """The first and the last lie as the parameter does."""
    start = numbers(6, 5, 2, 3)
    plain = [numbers(6, 5, 2, 3, seed=k) for k in (1, 2, 3, 4)]
    laid = [plain[0], lay(plain[1]), lay(plain[2]), plain[3]]
    wanted = [plain[0], *(lay(x).clone() for x in plain[1:3]), plain[3]]
    expected = stepped(row, "loop", start.clone(), wanted)
    apart(lambda: assert_same(stepped(row, "fused", start.clone(), laid), expected))


@over_rows
def test_the_first_gradient_may_have_no_memory(row):
    start = numbers(4, 5)
    grads = [Wrapped(numbers(4, 5, seed=1)), numbers(4, 5, seed=2)]
    wanted = [numbers(4, 5, seed=1), numbers(4, 5, seed=2)]
    expected = stepped(row, "loop", start.clone(), wanted)
    apart(lambda: assert_same(stepped(row, "fused", start.clone(), grads), expected))


def test_a_gradient_of_zeros_may_have_no_memory():
    """torch's zero tensors, which forward-mode derivatives make, have a null pointer."""

    def run():
        p = leaf(torch.ones(5))
        optimizer = steppers.SGD([p], lr=0.5, momentum=0.5, engine="fused")
        p.grad = torch.ones(5)
        optimizer.step()
        p.grad = torch._efficientzerotensor(5)
        optimizer.step()
        assert p.tolist() == [0.25] * 5

    apart(run)


def test_a_conjugated_gradient_is_taken_as_what_it_means():
    start = torch.complex(numbers(5), numbers(5, seed=1))
    grad = torch.complex(numbers(5, seed=2), numbers(5, seed=3))
    found = []
    for engine, g in (("fused", grad.conj()), ("loop", grad.conj().resolve_conj())):
        p = leaf(start.clone())
        p.grad = g
        steppers.SGD([p], lr=0.1, engine=engine).step()
        found.append(p.detach())
    torch.testing.assert_close(*found)


@over_rows
@over_laid
def test_gradients_are_never_modified(lay, row):
    start, g = numbers(4, 3, 2, 3), lay(numbers(4, 3, 2, 3, seed=1))
    before = copy.deepcopy(g) if not g.is_neg() else g.clone()
    stepped(row, "fused", start.clone(), [g, g])
    assert torch.equal(g, before)
    assert g.stride() == before.stride() or g.is_neg() or not g.is_contiguous()


def test_memory_between_the_elements_of_a_parameter_is_left_alone():
    whole = torch.stack([numbers(9, 7), torch.full((9, 7), 7.0)], -1)
    p = leaf(whole[..., 0])
    p.grad = numbers(9, 7)
    steppers.AdamW([p], engine="fused").step()
    assert whole[..., 1].eq(7.0).all()
    assert torch.equal(whole[..., 0], p)


# --- what is replaced between steps ------------------------------------------------------------


def twice(p, optimizer, step):
    if step == 1:
        p.data = p.data * 2


def transposed_in_place(p, optimizer, step):
    """The same address, other strides."""
    if step == 1:
        p.data = p.data.t()


def other_layout(p, optimizer, step):
    if step == 1:
        p.data = p.data.t().contiguous().t()


def other_slot(p, optimizer, step):
    if step == 1:
        for name, x in optimizer.state[p].items():
            optimizer.state[p][name] = x.clone() if name == "step" else x * 2


def other_slot_layout(p, optimizer, step):
    if step == 1:
        for name, x in optimizer.state[p].items():
            optimizer.state[p][name] = x.clone() if x.ndim < 2 else x.t().contiguous().t()


def other_slot_memory(p, optimizer, step):
    """As the loops that move an optimizer's state by `x.data = x.data.to(device)`."""
    if step == 1:
        for name, x in optimizer.state[p].items():
            if name != "step":
                x.data = x.data * 2
    if step == 2:
        optimizer.state[p]["again"] = [torch.ones(100, 100) for _ in range(9)]
        del optimizer.state[p]["again"]


def shared_slot(p, optimizer, step):
    """As optimizers do whose state several processes share."""
    if step == 1:
        for x in optimizer.state[p].values():
            x.share_memory_()


def shared_parameter(p, optimizer, step):
    if step == 1:
        p.share_memory_()


def reloaded(p, optimizer, step):
    if step == 1:
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


CHANGES = [twice, transposed_in_place, other_layout, other_slot, other_slot_layout, shared_slot,
           other_slot_memory, shared_parameter, reloaded]  # fmt: skip


@over_rows
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_replaced_between_steps_is_taken_up(change, row):
    start = numbers(100, 100)
    grads = [numbers(100, 100, seed=k) for k in (1, 2, 3, 4)]
    expected = stepped(row, "loop", start.clone(), grads, change)
    apart(lambda: assert_same(stepped(row, "fused", start.clone(), grads, change), expected))


def test_a_parameter_that_shrinks_within_its_memory_is_refused():
    p = leaf(torch.ones(10))
    optimizer = steppers.AdamW([p], engine="fused")
    p.grad = torch.ones(10)
    optimizer.step()
    before = p.detach().clone()
    p.grad = None
    p.data = p.data[:4]
    p.grad = torch.ones(4)
    with pytest.raises((RuntimeError, ValueError)):
        optimizer.step()
    assert torch.equal(p, before[:4])


@pytest.mark.parametrize(
    "move",
    [lambda m: m.to(torch.float64), lambda m: m.to(torch.bfloat16), lambda m: m.half().float(),
     lambda m: m.to(memory_format=torch.channels_last), lambda m: m.share_memory()],
    ids=["float64", "bfloat16", "there and back", "channels_last", "shared"],
)  # fmt: skip
@pytest.mark.parametrize("row", ["AdamW", "LAMB"])
def test_a_model_may_move_when_it_has_state(row, move):
    sides = []
    for engine in ("fused", "loop"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 9, 4))
        optimizer = ROWS[row](model.parameters(), engine=engine)
        for step in range(4):
            if step == 2:
                optimizer.zero_grad()
                move(model)
            for i, p in enumerate(model.parameters()):
                p.grad = torch.empty_like(p).copy_(numbers(*p.shape, seed=step + 10 * i))
            optimizer.step()
        sides.append(list(model.parameters()))
    for found, wanted in zip(*sides, strict=True):
        assert found.dtype == wanted.dtype
        tight = found.dtype == torch.bfloat16
        torch.testing.assert_close(found, wanted, rtol=2**-7 if tight else 1e-5, atol=1e-5)
