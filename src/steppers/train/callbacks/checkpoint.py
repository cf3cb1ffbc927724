"""Checkpoints from which a fit goes on, in mid-epoch too, with the bits of one uninterrupted."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ... import rng
from .. import saving
from ..checkpoint import check_place, read, write
from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner

FORMAT = "steppers.fit/1"
PARTS = {
    "model": dict,
    "opt": dict,
    "callbacks": dict,
    "position": dict,
    "rng": dict,
    "grads": dict,
}


class Checkpoint(Callback):
    """Write a checkpoint after every epoch, or also every so many training batches.

    With `resume=True` a fit whose file is there goes on where it was written: the same script run
    again, after a crash or `kill -9`, ends with the bits of a run that nothing stopped. The model,
    the optimizer, all callbacks with state, the generators of random numbers, gradients that are
    still accumulated and the place in the data are in it. The batches of the epoch that are done
    are read again and dropped, so that any loader whose order comes from torch's, Python's or
    NumPy's generators, or from its own, goes on with the batch it would have given; with workers
    too, unless they persist from epoch to epoch.

    A file is whole or not there. Under torch.distributed the first rank writes.

    Args:
        path: the file; its folder is made.
        every: training batches between checkpoints; None: at the end of each epoch alone.
        resume: go on from the file, if there is one.

    Raises, before the fit begins: ValueError for a place where no file can be written, and for a
    file that is damaged, of another model, optimizer, or length of training.
    """

    order = 1000  # after every other callback, whose state it saves
    observes = True

    def __init__(self, path: str | Path, every: int | None = None, *, resume: bool = False) -> None:
        if every is not None and (isinstance(every, bool) or every < 1):
            raise ValueError(
                f"Checkpoint: every must be a number of batches from 1 on, got {every}"
            )
        self.path, self.every, self.resume = Path(path), every, resume
        self.loader: Replay | None = None
        self.taken: dict[str, Any] | None = None  # a checkpoint whose epoch has not begun yet

    def before_fit(self, learn: Learner) -> None:
        check_place(self.path)
        self.loader = self.taken = None
        if self.resume and self.path.exists():
            self._load(learn, read(self.path, FORMAT, PARTS))

    def before_epoch(self, learn: Learner) -> None:
        if learn.training:
            taken, self.taken = self.taken, None
            done = taken["position"]["iter"] if taken else 0
            states = taken["rng"] if taken and done else None
            generators = rng.generators_of(learn.dls.train)
            learn.dl = self.loader = Replay(learn.dl, generators, done, states)
            learn.first_iter = done

    def after_batch(self, learn: Learner) -> None:
        done = learn.epoch * learn.n_iter + learn.iter + 1
        if learn.training and self.every and done % self.every == 0:
            self._save(learn, learn.epoch, learn.iter + 1)

    def after_round(self, learn: Learner) -> None:
        self._save(learn, learn.epoch + 1, 0)

    def _save(self, learn: Learner, epoch: int, done: int) -> None:
        if torch.distributed.is_initialized() and torch.distributed.get_rank():
            return
        start = self.loader.start if self.loader is not None and done else None
        grads = {n: p.grad for n, p in learn.model.named_parameters() if p.grad is not None}
        saved = {
            **saving.weights(learn, with_opt=True),
            "callbacks": saving.callback_states(learn),
            "position": {"epoch": epoch, "iter": done, **_extent(learn)},
            "rng": {"start": start, "now": rng.snapshot(*rng.generators_of(learn.dls.train))},
            "grads": grads,
        }
        write(self.path, FORMAT, saved)

    def _load(self, learn: Learner, saved: dict[str, Any]) -> None:
        try:
            self._check(learn, saved)
            saving.load_weights(learn, saved, with_opt=True, strict=True)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        for key, cb in saving.keyed(learn).items():
            if key in saved["callbacks"]:
                cb.load_state_dict(saved["callbacks"][key])
        for name, p in learn.model.named_parameters():
            grad = saved["grads"].get(name)
            p.grad = None if grad is None else grad.to(p.device)
        learn.epochs = range(saved["position"]["epoch"], learn.n_epochs)
        rng.restore(saved["rng"]["now"], *rng.generators_of(learn.dls.train))
        self.taken = saved

    def _check(self, learn: Learner, saved: dict[str, Any]) -> None:
        saving.check_model(learn.model, saved["model"])
        saving.check_callbacks(learn, saved["callbacks"])
        for name, value in _extent(learn).items():
            if saved["position"][name] != value:
                raise ValueError(
                    f"the checkpoint is of a fit with {name} {saved['position'][name]}, this one "
                    f"has {value}: schedules would not go on; begin a new one"
                )


def _extent(learn: Learner) -> dict[str, int]:
    return {"n_epochs": learn.n_epochs, "n_iter": learn.n_iter}


class Replay:
    """A loader whose pass may begin after some of its batches, with the states they leave behind.

    `start` is the state of all generators just before the pass began.
    """

    def __init__(
        self,
        dl: Any,
        generators: list[torch.Generator],
        done: int = 0,
        states: dict[str, Any] | None = None,
    ) -> None:
        self.dl, self.generators, self.done, self.states = dl, generators, done, states
        self.start: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.dl)

    def __iter__(self) -> Generator[Any, None, None]:
        if self.states is None:
            self.start = rng.snapshot(*self.generators)
            yield from self.dl
            return
        self.start = self.states["start"]
        rng.restore(self.states["start"], *self.generators)
        batches = iter(self.dl)
        for done in range(self.done):
            if next(batches, None) is None:
                raise RuntimeError(f"the loader ended after {done} batches, {self.done} were done")
        rng.restore(self.states["now"], *self.generators)
        yield from batches
