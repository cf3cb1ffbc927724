"""A step reads the old values of p and slots, in whatever order the new ones are stored.

Engines write in place, so a rule that hands one stored tensor on as another is where they may read
what they have just written. The numbers are worked out by hand.
"""

import pytest
import torch

from steppers import Optimizer
from steppers.engines import foreach
from steppers.ops import copy_of_p, lerp, ones, square, sum, total, where, zeros


def swap_with_p(p, g, a=copy_of_p, *, lr):
    return dict(p=a, a=p - lr * g)


def swap_slots(p, g, a=zeros, b=ones, *, lr):
    return dict(p=p + lr * a, a=b, b=a)


def rotate(p, a=zeros, b=ones):
    return dict(p=a, a=b, b=p)


def remember(p, before=copy_of_p):
    return dict(before=p, old=before)


def roll_on(p, g, old, *, lr):
    return dict(p=p - lr * g + 0.5 * (p - old))


def keep_gradient(p, g, last=zeros, *, lr):
    return dict(p=p - lr * (g + last), last=g)


def keep_twice(p, g, a=zeros, b=zeros, *, lr):
    new = p - lr * g
    return dict(p=new + a + b, a=new, b=new)


def keep_p_and_its_sum(p, g, a=zeros, *, lr):
    return dict(p=p - lr * (g + a), a=p + 0 * sum(p))


def average_of_old(p, g, a=copy_of_p, *, lr):
    return dict(p=p - lr * (g + a), a=lerp(a, p, 0.5))


def hold_or_take(p, g, a=copy_of_p, *, t, lr):
    return dict(p=where(t % 2 == 0, a, p - lr * g), a=where(t % 2 == 0, p, a))


def after_a_total(p, g, a=zeros, *, lr):
    size = total(square(g)) - total(square(g))
    return dict(p=a + size, a=p - lr * g)


# Rules, p after each of two steps from 3 with gradients 1 and 2 at rate 1, and slots at the end
# fmt: off
ROWS = (
    ((swap_with_p,),      (3.0, 2.0),   dict(a=1.0)),
    ((swap_slots,),       (3.0, 4.0),   dict(a=0.0, b=1.0)),
    ((rotate,),           (0.0, 1.0),   dict(a=3.0, b=0.0)),
    ((remember, roll_on), (2.0, -0.5),  dict(before=2.0)),
    ((keep_gradient,),    (2.0, -1.0),  dict(last=2.0)),
    ((keep_twice,),       (2.0, 4.0),   dict(a=0.0, b=0.0)),
    ((keep_p_and_its_sum,), (2.0, -3.0), dict(a=2.0)),
    ((average_of_old,),   (-1.0, -6.0), dict(a=1.0)),
    ((hold_or_take,),     (2.0, 3.0),   dict(a=2.0)),
    ((after_a_total,),    (0.0, 2.0),   dict(a=-2.0)),
)
# fmt: on


@pytest.mark.parametrize(("steps", "path", "slots"), ROWS, ids=lambda x: getattr(
    x[0], "__name__", "") if isinstance(x, tuple) else "")  # fmt: skip
@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("block", [1 << 17, 2])
def test_stores_do_not_overwrite_what_is_still_read(
    steps, path, slots, engine, dtype, block, monkeypatch
):
    monkeypatch.setitem(foreach.BLOCK, "cpu", block)
    p = torch.nn.Parameter(torch.full((3,), 3.0, dtype=dtype))
    lr = {"lr": 1.0} if steps[0] is not rotate else {}
    optimizer = Optimizer([p], steps=steps, engine=engine, **lr)
    for step, wanted in enumerate(path):
        p.grad = torch.full_like(p, step + 1.0)
        optimizer.step()
        assert p.tolist() == [wanted] * 3
        assert p.grad.tolist() == [step + 1.0] * 3
    assert {name: x.tolist() for name, x in optimizer.state[p].items() if name != "step"} == {
        name: [x] * 3 for name, x in slots.items()
    }
