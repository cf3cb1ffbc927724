"""The fused engine on a device: its results, its launches, and that nothing waits for it."""

import pytest
import torch
from rows import ROWS
from trials import draw, fits, gradients, numpy

import steppers
from steppers import rules
from steppers.engines.fused import gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHAPES = ((), (7, 5), (0, 3), (2, 3, 4), (5000, 3), (4096,))
EVERY = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
# Results differ by fused multiplications and additions, and by the order of sums: at each step a
# few units of the arithmetic's eps of the largest element; a 16-bit number by one of its own.
NEAR = {torch.float32: 2e-5, torch.float64: 1e-13, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}


def composed(params, **more):
    """Clipping by the global norm, AdamW, and an average of the weights."""
    steps = [rules.clip_by_global_norm, rules.decay, rules.average_grad, rules.average_square,
             rules.adam, rules.descend, rules.ema]  # fmt: skip
    return steppers.Optimizer(params, steps=steps, evaluate=rules.use_average, max_norm=1.0,
                              betas=(0.9, 0.99), eps=1e-8, ema_decay=0.9, **more)  # fmt: skip


# What to build, and the most launches of a step: at most two a pass.
LAUNCHES = {
    "adamw": (steppers.AdamW, 1),
    "lion": (steppers.Lion, 1),
    "sgd": (steppers.SGD, 1),
    "lamb": (steppers.LAMB, 4),
    "clipped": (composed, 4),
}


def stepped(make, engine, dtype, steps=3, shapes=SHAPES):
    """Parameters and slots after some steps, on the device."""
    params = [torch.nn.Parameter(torch.tensor(x, dtype=dtype, device="cuda"))
              for x in draw(shapes, seed=1)]  # fmt: skip
    optimizer = make(params, engine=engine)
    for step in range(steps):
        for p, g in zip(params, gradients(shapes, step), strict=True):
            p.grad = torch.tensor(g, dtype=dtype, device="cuda")
        optimizer.step()
    return params, optimizer


def everything(params, optimizer):
    return [*params, *(x for p in params for x in optimizer.state[p].values())]


@EVERY
@pytest.mark.parametrize("dtype", NEAR, ids=str)
def test_the_device_computes_what_the_loop_does(row, dtype):
    shapes = fits(row, SHAPES)
    found = everything(*stepped(row.build, "fused", dtype, shapes=shapes))
    wanted = everything(*stepped(row.build, "loop", dtype, shapes=shapes))
    for a, b in zip(found, wanted, strict=True):
        scale = max(1.0, abs(numpy(b)).max(initial=0.0))
        assert abs(numpy(a) - numpy(b)).max(initial=0.0) <= row.loose * NEAR[dtype] * scale


@pytest.mark.parametrize("name", LAUNCHES)
def test_it_is_chosen_for_parameters_on_a_device(name):
    _, optimizer = stepped(LAUNCHES[name][0], "auto", torch.float32, steps=1)
    assert str(optimizer.engine) == "fused: generated Triton kernels"


@pytest.mark.parametrize("name", LAUNCHES)
def test_two_runs_give_the_same_bits(name):
    runs = [everything(*stepped(LAUNCHES[name][0], "fused", torch.float32)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_step_waits_for_nothing(name):
    params, optimizer = stepped(LAUNCHES[name][0], "fused", torch.float32)
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.param_groups[0]["lr"] /= 2
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_pass_is_one_launch_and_one_more_where_it_sums(name):
    make, most = LAUNCHES[name]
    _, optimizer = stepped(make, "fused", torch.float32)
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        optimizer.step()
        torch.cuda.synchronize()
    on_device = [
        e.name for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA
    ]
    launched = [each for each in on_device if not each.startswith(("Memcpy", "Memset"))]
    assert 0 < len(launched) <= most, launched


def test_new_numbers_sizes_and_gradients_compile_nothing():
    params, optimizer = stepped(steppers.AdamW, "fused", torch.float32)
    text, count = gpu.build.cache_info().misses, compiled()
    optimizer.param_groups[0]["lr"] = 0.5
    params[-1].grad = None
    optimizer.step()
    stepped(steppers.AdamW, "fused", torch.float32, shapes=((3,), (8192,), (2047,)))
    assert (gpu.build.cache_info().misses, compiled()) == (text, count)


def test_tensors_that_do_not_begin_at_16_bytes_are_read_narrowly():
    """Wider accesses there are errors on a device."""
    base = torch.randn(3, 8193, device="cuda")
    params = [torch.nn.Parameter(x[1:]) for x in base.clone()]
    aligned = [torch.nn.Parameter(x[1:].clone()) for x in base]
    for some in (params, aligned):
        optimizer = steppers.AdamW(some, lr=0.1, engine="fused")
        for p in some:
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(params, aligned, strict=True))


def compiled():
    """How many kernels of AdamW were compiled for the present device."""
    import gc

    import triton

    kernels = [x for x in gc.get_objects() if isinstance(x, triton.JITFunction)]
    device = torch.cuda.current_device()
    return sum(len(x.device_caches[device][0]) for x in kernels if x.__name__ == "pass0")


def test_a_step_runs_on_the_stream_of_its_caller():
    params, optimizer = stepped(steppers.AdamW, "fused", torch.float32)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    before = [p.detach().clone() for p in params]
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
        after = [p.detach().clone() for p in params]
    torch.cuda.current_stream().wait_stream(stream)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True) if a.numel())
