"""The fused engine among threads, forks, copies and the garbage collector."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref

import pytest
import torch
from apart import apart, can_fork, forks
from test_memory import peak, resnet50_shapes
from torch import nn
from torch.utils.data import DataLoader, Dataset

import steppers
from steppers import Optimizer
from steppers.engines.fused import cpu
from steppers.engines.fused.tables import Tables
from steppers.ops import zeros

CLASSES = [steppers.AdamW, steppers.LAMB, steppers.Lion, steppers.Adafactor, steppers.Prodigy]
over_classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
pytestmark = forks


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def made(cls=steppers.AdamW, shapes=((70_001,), (3, 5), (200, 301)), seed=0):
    generator = torch.Generator().manual_seed(seed)
    params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)
    return params, cls(params, engine="fused")


def values(params):
    return [p.detach().clone() for p in params]


def expected(cls, steps, seed=0):
    params, optimizer = made(cls, seed=seed)
    for _ in range(steps):
        optimizer.step()
    return values(params)


def assert_equal(params, wanted):
    assert all(torch.equal(p, x) for p, x in zip(params, wanted, strict=True))


# --- threads and processes ---------------------------------------------------------------------


@over_classes
def test_threads_step_two_optimizers_at_once(cls, two_threads):
    wanted = [expected(cls, 6, seed) for seed in range(3)]
    sides = [made(cls, seed=seed) for seed in range(3)]
    barrier = threading.Barrier(3)

    def work(optimizer):
        barrier.wait()
        for _ in range(6):
            optimizer.step()

    threads = [threading.Thread(target=work, args=(optimizer,)) for _, optimizer in sides]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for (params, _), x in zip(sides, wanted, strict=True):
        assert_equal(params, x)


def test_threads_may_build_at_once():
    """Each compiles a chain of its own, and steps it."""

    def rule_of(k):
        def rule(p, g, m=zeros, *, lr):
            return dict(m=m + g, p=p - lr * (m + g) * (k + 1))

        return rule

    params = [nn.Parameter(torch.ones(7)) for _ in range(8)]
    optimizers = [Optimizer([p], steps=[rule_of(k)], engine="fused", lr=0.125)
                  for k, p in enumerate(params)]  # fmt: skip
    for p in params:
        p.grad = torch.ones(7)
    threads = [threading.Thread(target=optimizer.step) for optimizer in optimizers]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [p[0].item() for p in params] == [1 - 0.125 * (k + 1) for k in range(8)]


@over_classes
def test_another_thread_may_take_the_steps(cls, two_threads):
    params, optimizer = made(cls)
    for _ in range(3):
        thread = threading.Thread(target=optimizer.step)
        thread.start()
        thread.join()
    assert_equal(params, expected(cls, 3))


@can_fork
def test_a_fork_after_the_first_step_steps_on(two_threads):
    """With more elements than one thread takes: the parent's threads are not in the fork."""
    wanted = expected(steppers.AdamW, 2)
    params, optimizer = made()
    optimizer.step()

    def run():
        optimizer.step()
        torch.set_num_threads(1)  # torch's own threads do not survive a fork
        assert_equal(params, wanted)

    apart(run)
    optimizer.step()
    assert_equal(params, wanted)


@can_fork
def test_a_fork_compiles_what_its_parent_has_not():
    made()[1].step()

    def run():
        def rule(p, g):
            return dict(p=p - 0.5 * g)

        p = nn.Parameter(torch.ones(5))
        p.grad = torch.ones(5)
        Optimizer([p], steps=[rule], engine="fused").step()
        assert p.tolist() == [0.5] * 5

    apart(run)


class Stepping(Dataset):
    """Items that are a step of an optimizer of the worker's own, and of the parent's."""

    def __init__(self):
        self.params, self.optimizer = made()
        self.optimizer.step()

    def __len__(self):
        return 2

    def __getitem__(self, i):
        self.optimizer.step()
        return os.getpid(), values(self.params)[1]


@can_fork
def test_the_workers_of_a_data_loader_step_on(two_threads):
    items = Stepping()
    loader = DataLoader(items, batch_size=1, num_workers=2, multiprocessing_context="fork",
                        timeout=60)  # fmt: skip
    wanted = expected(steppers.AdamW, 2)[1]
    found = list(loader)
    assert len({int(pid) for pid, _ in found} | {os.getpid()}) == 3
    for _, x in found:
        assert torch.equal(x[0], wanted)


EXIT = """
import atexit, torch, steppers
torch.set_num_threads(2)
p = torch.nn.Parameter(torch.ones(200_000)); p.grad = torch.ones(200_000)
optimizer = steppers.AdamW([p], engine="fused")
optimizer.step()
print("stepped")
"""


def test_a_process_whose_threads_have_stepped_ends():
    done = subprocess.run([sys.executable, "-W", "error", "-c", EXIT], capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "stepped\n", "")


# --- copies ------------------------------------------------------------------------------------


@over_classes
@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
                         ids=["deepcopy", "pickle"])  # fmt: skip
def test_a_copy_steps_its_own_tensors(cls, how):
    params, optimizer = made(cls)
    optimizer.step()
    after_one = values(params)
    params_and_optimizer = how((params, optimizer))
    copied, other = params_and_optimizer
    for p, q in zip(params, copied, strict=True):
        q.grad = p.grad.clone()
    other.step()
    assert_equal(params, after_one)
    assert_equal(copied, expected(cls, 2))
    optimizer.step()
    assert_equal(params, expected(cls, 2))


def test_a_second_optimizer_may_step_the_same_parameters():
    p = nn.Parameter(torch.ones(5))
    p.grad = torch.ones(5)
    both = [steppers.SGD([p], lr=lr, momentum=0.5, engine="fused") for lr in (0.5, 0.25)]
    for optimizer in both * 2:
        optimizer.step()
    assert p.tolist() == [1 - 0.5 - 0.25 - 0.75 - 0.375] * 5


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cls", [steppers.AdamW, steppers.Lion, steppers.SGD, steppers.NAdam], ids=lambda c: c.__name__
)
def test_an_elementwise_step_takes_at_most_a_hundredth_of_the_parameters(cls):
    params = [nn.Parameter(torch.full(shape, 0.1)) for shape in resnet50_shapes()]
    optimizer = cls(params, engine="fused")
    for p in params:
        p.grad = torch.full_like(p, 0.01)
    optimizer.step()

    def run():
        torch.zeros(1)  # so that the account is never empty
        optimizer.step()

    assert peak(run) <= 0.01 * sum(p.numel() * p.element_size() for p in params)


@over_classes
def test_nothing_keeps_gradients_after_zero_grad(cls):
    params, optimizer = made(cls)
    for _ in range(2):  # tables that are made, and tables that are kept
        for p in params:
            p.grad = torch.ones_like(p)
        held = [weakref.ref(p.grad) for p in params]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert [each() for each in held] == [None] * len(params)


@over_classes
def test_a_gradient_laid_out_otherwise_is_not_kept_either(cls):
    p = nn.Parameter(torch.ones(6, 5))
    optimizer = cls([p], engine="fused")
    for _ in range(2):
        p.grad = torch.ones(5, 6).t()
        held = weakref.ref(p.grad)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        assert held() is None


@over_classes
def test_an_optimizer_that_is_dropped_is_freed_with_its_tables(cls, monkeypatch):
    tables = []
    init = Tables.__init__

    def noted(self, *args):
        init(self, *args)
        tables.append(weakref.ref(self))

    monkeypatch.setattr(Tables, "__init__", noted)
    params, optimizer = made(cls)
    optimizer.step()
    optimizer.step()
    held = [weakref.ref(x) for x in (optimizer, *params)]
    held += [weakref.ref(x) for x in optimizer.state[params[0]].values()]
    assert tables
    del params, optimizer
    gc.collect()
    assert [each() for each in (*held, *tables)] == [None] * len(held + tables)


def test_many_optimizers_leave_no_kernel_behind():
    """One chain is compiled once, however many optimizers of it come and go."""
    made()[1].step()
    before = cpu.compiled.cache_info().currsize
    for seed in range(20):
        made(seed=seed)[1].step()
    assert cpu.compiled.cache_info().currsize == before
