"""The finder on compiled, distributed and CUDA models."""

import pytest
import torch
from torch import nn

import steppers
from steppers.lr_find import lr_find, restored


def pair(model):
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()


@pytest.fixture
def process_group():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_compiled_models_go_on():
    def run(find):
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        model, optimizer = pair(torch.compile(plain, backend="eager"))
        batches = [(torch.randn(8, 3), torch.arange(8) % 2)]
        step(model, optimizer)
        if find:
            lr_find(model, optimizer, batches, nn.functional.cross_entropy, num_it=8)
        step(model, optimizer)
        return [value.tolist() for value in model.state_dict().values()]

    assert run(True) == run(False)


def test_distributed_data_parallel_goes_on(process_group):
    def run(find):
        torch.manual_seed(0)
        model, optimizer = pair(nn.parallel.DistributedDataParallel(nn.Linear(3, 2)))
        batches = [(torch.randn(8, 3), torch.arange(8) % 2)]
        step(model, optimizer)
        if find:
            lr_find(model, optimizer, batches, nn.functional.cross_entropy, num_it=8)
        for _ in range(3):
            step(model, optimizer)
        return [p.tolist() for p in model.parameters()]

    assert run(True) == run(False)


def test_distributed_tensors_come_back(process_group):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))
    model = nn.Linear(3, 2, bias=False)
    model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Shard(0)]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    before = model.weight.full_tensor().tolist()
    with restored(model, optimizer):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        assert model.weight.full_tensor().tolist() != before
    assert model.weight.full_tensor().tolist() == before and model.weight.grad is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_all_comes_back():
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 2))
    model = model.cuda()
    optimizer = steppers.AdamW(model.parameters())
    batches = [(torch.randn(16, 3), torch.arange(16) % 2)]
    scaler = torch.amp.GradScaler("cuda")
    before = {name: value.tolist() for name, value in model.state_dict().items()}
    drawn = torch.cuda.get_rng_state().tolist()
    found = lr_find(model, optimizer, batches, nn.functional.cross_entropy, scaler=scaler)
    assert {name: value.tolist() for name, value in model.state_dict().items()} == before
    assert torch.cuda.get_rng_state().tolist() == drawn and len(found.lrs) > 20
    assert not optimizer.state
