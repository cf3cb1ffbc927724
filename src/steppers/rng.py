"""The states of all random number generators, taken and put back together."""

from __future__ import annotations

import random
import sys
from typing import Any

import torch


def seed_all(seed: int) -> None:
    """Seed Python, torch on every device, and NumPy if it is loaded.

    Raises ValueError for a seed outside [0, 2^32), which NumPy does not take.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number in [0, 2^32), got {seed}")
    random.seed(seed)
    torch.manual_seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed)


def snapshot(*generators: torch.Generator) -> dict[str, Any]:
    """The states of Python's, torch's and NumPy's generators, and of the generators given.

    Plain values and tensors, which `torch.load(weights_only=True)` reads. NumPy is there if it is
    loaded, CUDA if it has been used.
    """
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        "python": (version, torch.tensor(words, dtype=torch.int64), gauss),
        "torch": torch.get_rng_state(),
        "generators": [generator.get_state() for generator in generators],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if (numpy := sys.modules.get("numpy")) is not None:
        kind, keys, *rest = numpy.random.get_state()
        states["numpy"] = (kind, torch.tensor(keys.astype("int64")), *rest)
    return states


def restore(states: dict[str, Any], *generators: torch.Generator) -> None:
    """Put back what `snapshot` took, the given generators in the same order.

    Raises ValueError where their number differs, before anything changes.
    """
    if len(states["generators"]) != len(generators):
        found, wanted = len(states["generators"]), len(generators)
        raise ValueError(f"the snapshot has {found} generators, {wanted} are to be restored")
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    torch.set_rng_state(states["torch"])
    for generator, state in zip(generators, states["generators"], strict=True):
        generator.set_state(state)
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    if "numpy" in states and (numpy := sys.modules.get("numpy")) is not None:
        kind, keys, *rest = states["numpy"]
        numpy.random.set_state((kind, keys.numpy().astype("uint32"), *rest))


def generators_of(loader: object) -> list[torch.Generator]:
    """The generators that decide a data loader's order: its own and its samplers', each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    owners = (loader, getattr(loader, "sampler", None), batch_sampler)
    owners += (getattr(batch_sampler, "sampler", None),)
    found = (getattr(owner, "generator", None) for owner in owners)
    kept = {id(g): g for g in found if isinstance(g, torch.Generator)}
    return list(kept.values())
