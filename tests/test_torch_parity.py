"""Our classes against torch.optim's, over the rows that torch tests its own with.

torch's plain loop is the oracle. It keeps NAdam's and ASGD's scalars in the default dtype, so that
is float64 for the float64 rows.
"""

import inspect
from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close
from torch.testing._internal.common_optimizers import optim_db

import steppers

OURS = {name: getattr(steppers, name) for name in steppers.__all__}
SHARED = [info for info in optim_db if info.optim_cls.__name__ in OURS]
EXACT = [info for info in SHARED if info.optim_cls.__name__ != "Muon"]  # iterates in bfloat16
ENGINES = ("loop", "foreach", "fused")


def rows(infos):
    """(class of ours, class of torch's, keyword arguments) for every row that torch has."""
    return [
        pytest.param(OURS[info.optim_cls.__name__], info.optim_cls, row.kwargs,
                     id=f"{info.optim_cls.__name__} {row.desc}")
        for info in infos for row in info.optim_inputs_func(device="cpu")
    ]  # fmt: skip


EVERY = pytest.mark.parametrize(("ours", "theirs", "given"), rows(EXACT))
COMPLEX = [info for info in EXACT if info.supports_complex]
DEFAULTS = [row for row in rows(EXACT) if row.id.endswith(" default")]
ENGINE = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def default_dtype():
    """Sets torch's default dtype for one test."""
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


def parameters(dtype):
    """A matrix (to be frozen), a vector, a scalar, more dimensions, and a matrix of odd strides."""
    make = torch.Generator().manual_seed(0)
    shapes = [(10, 5), (10,), (), (3, 4, 2), (6, 4), (1, 1)]
    values = [torch.randn(shape, dtype=dtype, generator=make) for shape in shapes]
    values[4] = values[4].t()
    return [torch.nn.Parameter(x) for x in values]


def feed(step, *sides):
    """The same gradients on every side; none at step 2, and none for the first at steps 3 to 5."""
    make = torch.Generator().manual_seed(100 + step)
    for params in zip(*sides, strict=True):
        g = torch.randn(params[0].shape, dtype=params[0].dtype, generator=make)
        for p in params:
            p.grad = None if step == 2 else g.clone()
    for params in sides:
        params[0].requires_grad_(not 3 <= step <= 5)
        if 3 <= step <= 5:
            params[0].grad = None


def run(ours, theirs, mine, oracle, steps=7):
    for step in range(steps):
        feed(step, mine, oracle)
        theirs.step()
        ours.step()


def plain(optimizer, p):
    """State without the keys that stand for nothing."""
    return {name: x for name, x in optimizer.state[p].items() if x is not None}


def assert_state_equal(ours, theirs, mine, oracle):
    for p, q in zip(mine, oracle, strict=True):
        assert_close(p, q)
        state, wanted = plain(ours, p), plain(theirs, q)
        assert set(state) - {"step"} == set(wanted) - {"step"}
        for name, x in wanted.items():
            assert_close(state[name], x, check_dtype=name != "step")


@EVERY
@ENGINE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_seven_steps_leave_the_parameters_and_state_of_torch(
    ours, theirs, given, engine, dtype, default_dtype
):
    default_dtype(dtype)
    mine, oracle = parameters(dtype), parameters(dtype)
    a, b = ours(mine, engine=engine, **deepcopy(given)), theirs(oracle, foreach=False, **given)
    run(a, b, mine, oracle)
    assert_state_equal(a, b, mine, oracle)


@pytest.mark.parametrize(("ours", "theirs", "given"), rows(COMPLEX))
@ENGINE
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_parameters_equal_torch(ours, theirs, given, engine, dtype, default_dtype):
    default_dtype(torch.float64 if dtype == torch.complex128 else torch.float32)
    mine, oracle = parameters(dtype), parameters(dtype)
    a, b = ours(mine, engine=engine, **deepcopy(given)), theirs(oracle, foreach=False, **given)
    run(a, b, mine, oracle)
    assert_state_equal(a, b, mine, oracle)


@pytest.mark.parametrize(("ours", "theirs", "given"), DEFAULTS)
@ENGINE
def test_maximize_equals_torch(ours, theirs, given, engine):
    given = {**given, "maximize": True}
    mine, oracle = parameters(torch.float32), parameters(torch.float32)
    a, b = ours(mine, engine=engine, **deepcopy(given)), theirs(oracle, foreach=False, **given)
    run(a, b, mine, oracle, steps=2)
    assert_state_equal(a, b, mine, oracle)


@EVERY
def test_groups_with_their_own_rate_and_decay_equal_torch(ours, theirs, given):
    mine, oracle = parameters(torch.float32), parameters(torch.float32)
    own = {"lr": 0.05} if theirs is torch.optim.Rprop else {"lr": 0.05, "weight_decay": 0.2}

    def groups(params):
        return [{"params": params[:2]}, {"params": params[2:], **own}]

    a = ours(groups(mine), **deepcopy(given))
    b = theirs(groups(oracle), foreach=False, **given)
    run(a, b, mine, oracle, steps=3)
    assert_state_equal(a, b, mine, oracle)


@EVERY
def test_a_scheduled_rate_equals_torch(ours, theirs, given):
    mine, oracle = parameters(torch.float32), parameters(torch.float32)
    a, b = ours(mine, **deepcopy(given)), theirs(oracle, foreach=False, **deepcopy(given))
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(each, 0.5) for each in (a, b)]
    for step in range(4):
        feed(step, mine, oracle)
        for each in (a, b, *schedulers):
            each.step()
    assert_state_equal(a, b, mine, oracle)


# torch takes the larger of 1 and NaN to be 1 there, so that a NaN does not reach the whole tensor
SPREADS = {"Adafactor": "its norm of the update is NaN, and in ours a NaN wins"}


@pytest.mark.parametrize(("ours", "theirs", "given"), DEFAULTS)
@ENGINE
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1e-30, 1e30], ids=str)
def test_extreme_gradients_equal_torch(ours, theirs, given, engine, value):
    mine, oracle = parameters(torch.float32), parameters(torch.float32)
    a, b = ours(mine, engine=engine, **given), theirs(oracle, foreach=False, **given)
    for step in range(2):
        feed(step, mine, oracle)
        for p, q in zip(mine, oracle, strict=True):
            p.grad.view(-1)[:3] = q.grad.view(-1)[:3] = value
        a.step()
        b.step()
    for p, q in zip(mine, oracle, strict=True):
        if ours.__name__ in SPREADS and not p.isfinite().all():
            continue
        assert p.isfinite().tolist() == q.isfinite().tolist()
        assert_close(p[p.isfinite()], q[q.isfinite()])


# --- Muon --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs", "given"),
                         rows([info for info in SHARED if info not in EXACT]))  # fmt: skip
@ENGINE
def test_matrix_optimizers_equal_torch_at_bfloat16(ours, theirs, given, engine):
    """torch iterates in bfloat16 and we in float32; an update differs by some of its eps."""
    start = [p.detach().clone() for p in parameters(torch.float32) if p.ndim == 2]
    mine, oracle = ([torch.nn.Parameter(x.clone()) for x in start] for _ in range(2))
    a, b = ours(mine, engine=engine, **deepcopy(given)), theirs(oracle, **given)
    run(a, b, mine, oracle)
    eps = torch.finfo(torch.bfloat16).eps
    for p, q, x in zip(mine, oracle, start, strict=True):
        moved = (q - x).abs().max().item()
        assert_close(p, q, rtol=0, atol=8 * eps * moved)
        assert_close(a.state[p]["momentum_buffer"], b.state[q]["momentum_buffer"])


# --- arguments ---------------------------------------------------------------------------------

# Of torch's arguments, in its order, those that ours takes by position too. Where a class of
# torch's puts a flag (maximize, foreach) before a hyper-parameter, the prefix ends there.
FLAGS = ("maximize", "foreach", "capturable", "differentiable", "fused")


def arguments(cls):
    return list(inspect.signature(cls).parameters.values())


@pytest.mark.parametrize("info", SHARED, ids=lambda info: info.optim_cls.__name__)
def test_positional_arguments_come_in_the_order_of_torch(info):
    theirs = [a.name for a in arguments(info.optim_cls) if a.kind is a.POSITIONAL_OR_KEYWORD]
    theirs = theirs[: next((i for i, n in enumerate(theirs) if n in FLAGS), None)]
    ours = [a.name for a in arguments(OURS[info.optim_cls.__name__])]
    assert ours[: len(theirs)] == theirs


@pytest.mark.parametrize("info", SHARED, ids=lambda info: info.optim_cls.__name__)
def test_every_argument_of_torch_is_known_with_its_default(info):
    mine = {a.name: a.default for a in arguments(OURS[info.optim_cls.__name__])}
    theirs = {a.name: a.default for a in arguments(info.optim_cls)}
    assert {n: mine.get(n, "unknown") for n in theirs} == theirs


@pytest.mark.parametrize("info", SHARED, ids=lambda info: info.optim_cls.__name__)
def test_positional_values_land_where_torch_puts_them(info):
    cls = OURS[info.optim_cls.__name__]
    values = [a.default for a in arguments(info.optim_cls)[1:] if a.kind is a.POSITIONAL_OR_KEYWORD]
    names = [a.name for a in arguments(info.optim_cls)[1:]]
    count = next((i for i, n in enumerate(names) if n in FLAGS), len(values))
    group = cls([torch.nn.Parameter(torch.ones(2, 2))], *values[:count]).param_groups[0]
    assert [group[n] for n in names[:count]] == values[:count]
