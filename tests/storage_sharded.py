"""What the two processes of test_storage_sharded do: the same steps, sharded and whole."""

import json
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor

import steppers

FORMATS = {
    "nearest": dict(state_dtype="float32"),
    "stochastic": dict(rounding="stochastic", seed=3),
    "kahan": dict(rounding="kahan"),
}


def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)).to(torch.bfloat16)


def feed(params, step):
    """Gradients that are the same bits in whole and sharded parameters."""
    random = torch.Generator().manual_seed(step)
    for p in params:
        g = torch.randn(p.shape, generator=random).to(p.dtype)
        sharded = hasattr(p, "device_mesh")
        p.grad = distribute_tensor(g, p.device_mesh, p.placements) if sharded else g


def whole(x):
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def check(options):
    """Parameters and state, put together, are those of one process, bit for bit."""
    halves, twin = fully_shard(model()), model()
    optimizers = [
        steppers.AdamW(m.parameters(), lr=0.1, engine="loop", **options) for m in (halves, twin)
    ]
    for step in range(3):
        for m, optimizer in zip((halves, twin), optimizers, strict=True):
            feed(list(m.parameters()), step)
            optimizer.step()
    for p, q in zip(halves.parameters(), twin.parameters(), strict=True):
        assert p.to_local().numel() < q.numel()
        assert torch.equal(whole(p), q)
        a, b = (o.state[x] for o, x in zip(optimizers, (p, q), strict=True))
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(whole(a[name]), b[name]), name


def main(rank, world, folder):
    """One process: all checks; rank 0 writes what went wrong."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(Path(folder) / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    found = {}
    for name, options in FORMATS.items():
        try:
            check(options)
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
        dist.barrier()
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()
