"""After `restored`, loaders give the batches that they would have given."""

import random

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, TensorDataset

from steppers.lr_find import memento, restored


def pair(model):
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


class OwnSampler(Sampler):
    """Shuffles one list in place, epoch after epoch."""

    def __init__(self, data):
        self.data_source, self.order, self.draws = data, list(range(len(data))), random.Random(1)

    def __iter__(self):
        self.draws.shuffle(self.order)
        return iter(self.order)

    def __len__(self):
        return len(self.order)


class OwnLoader:
    """A loader with an epoch number."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        yield from torch.randperm(6, generator=torch.Generator().manual_seed(self.epoch)).split(2)


def shuffled(data):
    return RandomSampler(data, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "make",
    [
        lambda data: DataLoader(data, 2, sampler=OwnSampler(data)),
        lambda data: DataLoader(data, batch_sampler=BatchSampler(shuffled(data), 2, False)),
        lambda data: DataLoader(data, 2, shuffle=True, num_workers=1, persistent_workers=True),
        lambda data: OwnLoader(),
    ],
    ids=["own sampler", "batch sampler", "workers", "own loader"],
)
def test_loaders_give_the_batches_that_they_would_have_given(make):
    data = TensorDataset(torch.arange(6))
    model, optimizer = pair(nn.Linear(3, 2))
    runs = []
    for looks in (True, False):
        torch.manual_seed(0)
        loader = make(data)
        with restored(model, optimizer, loaders=[loader]):
            for _ in range(2 * looks):
                next(iter(loader))
        runs.append([[str(batch) for batch in loader] for _ in range(2)])
    assert runs[0] == runs[1]


def test_a_loaders_data_is_not_copied():
    held = [(torch.zeros(1000), 0) for _ in range(10)]
    model, optimizer = pair(nn.Linear(3, 2))
    kept = memento.Memento()
    kept.add(model, optimizer)
    kept.add_loader(DataLoader(held, 2, shuffle=True))
    sizes = [h.numbers.numel() for h in kept.held if isinstance(h, memento.TensorHeld)]
    assert sum(sizes) == 8  # the layer's numbers, once
