"""Hypers of any torch optimizer by name, and the generators' states."""

import random

import pytest
import torch

import steppers
from steppers import hypers, rng


def weights(n=2):
    return [torch.nn.Parameter(torch.ones(2)) for _ in range(n)]


def groups(cls=torch.optim.AdamW, **options):
    return cls([{"params": [p]} for p in weights()], lr=0.1, **options)


@pytest.mark.parametrize("cls", [torch.optim.AdamW, steppers.AdamW])
def test_a_value_a_group_a_tuples_element_and_a_short_name(cls):
    opt = groups(cls)
    hypers.put(opt, "lr", [0.2, 0.3])
    hypers.put(opt, "beta2", 0.9)
    hypers.put(opt, "mom", [0.5, 0.6])
    hypers.put(opt, "wd", slice(1e-3, 1e-1))
    assert [g["lr"] for g in opt.param_groups] == [0.2, 0.3]
    assert [g["betas"] for g in opt.param_groups] == [(0.5, 0.9), (0.6, 0.9)]
    assert (
        hypers.get(opt, "weight_decay") == [1e-3, 1e-1] and hypers.get(opt, "sqr_mom") == [0.9] * 2
    )
    hypers.put(opt, "betas", (0.1, 0.2))
    assert hypers.get(opt, "betas") == [(0.1, 0.2)] * 2


def test_momentum_and_alpha_have_fastais_names():
    opt = groups(torch.optim.RMSprop, momentum=0.9)
    hypers.put(opt, "mom", 0.8)
    hypers.put(opt, "sqr_mom", 0.95)
    assert opt.param_groups[1]["momentum"] == 0.8 and opt.param_groups[1]["alpha"] == 0.95


def test_a_tensor_is_filled_in_place():
    lr = torch.tensor(0.1)
    opt = torch.optim.AdamW(weights(), lr=lr, capturable=False, foreach=False)
    hypers.put(opt, "lr", 0.25)
    assert opt.param_groups[0]["lr"] is lr and lr.item() == 0.25


def test_only_groups_with_the_hyper_are_written():
    opt = groups(torch.optim.SGD)
    opt.param_groups[1]["extra"] = 1.0
    hypers.put(opt, "extra", 2.0)
    assert "extra" not in opt.param_groups[0] and hypers.get(opt, "extra") == [2.0]


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [("lrr", 1.0, KeyError, "no hyper-parameter 'lrr'; did you mean 'lr'"),
     ("mom", 1.5, ValueError, r"betas\[0\] \(beta1\) must be in \[0, 1\), got 1.5"),
     ("lr", [0.1, -1.0], ValueError, "lr must be >= 0, got -1.0"),
     ("lr", float("nan"), ValueError, "got nan"), ("lr", "x", TypeError, "a number, got 'x'"),
     ("lr", [1, 2, 3], ValueError, "got 3 values for 2 groups")],
)  # fmt: skip
def test_a_bad_value_is_an_error_and_changes_nothing(name, value, error, words):
    opt = groups()
    before = [{k: v for k, v in g.items() if k != "params"} for g in opt.param_groups]
    with pytest.raises(error, match=words):
        hypers.put(opt, name, value)
    assert [{k: v for k, v in g.items() if k != "params"} for g in opt.param_groups] == before


def draws(generator):
    import numpy

    return (random.random(), random.gauss(0, 1), torch.rand(3).tolist(),
            numpy.random.rand(), torch.rand(2, generator=generator).tolist())  # fmt: skip


def test_a_snapshot_brings_back_every_generator(tmp_path):
    own = torch.Generator().manual_seed(1)
    random.gauss(0, 1)  # leaves a second number behind
    states = rng.snapshot(own)
    first = draws(own)
    assert draws(own) != first
    torch.save(states, tmp_path / "rng.pt")
    rng.restore(torch.load(tmp_path / "rng.pt", weights_only=True), own)
    assert draws(own) == first


def test_the_number_of_generators_is_checked_before_anything_changes():
    states = rng.snapshot()
    before = rng.snapshot()["torch"]
    with pytest.raises(ValueError, match="has 0 generators, 1 are to be restored"):
        rng.restore(states, torch.Generator())
    assert torch.equal(rng.snapshot()["torch"], before)


def test_seeding_makes_runs_equal_and_knows_its_range():
    rng.seed_all(5)
    first = random.random(), torch.rand(1).item()
    rng.seed_all(5)
    assert (random.random(), torch.rand(1).item()) == first
    with pytest.raises(ValueError, match="seed must be a whole number"):
        rng.seed_all(-1)


def test_a_loaders_generators_are_found_once():
    own = torch.Generator()
    loader = torch.utils.data.DataLoader(list(range(4)), shuffle=True, generator=own)
    assert rng.generators_of(loader) == [own] and rng.generators_of([1]) == []
