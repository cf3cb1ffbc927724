"""What fastai's callbacks see of a Learner of ours: batch, counts and files, by fastai's names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ....train.callbacks.device import mapped
from . import saving


class Seen:
    """fastai's names of what a Learner of ours, the `trainer`, has by others.

    `xb` and `yb` are tuples: of a batch the first `dls.n_inp`, else all but the last of several,
    are inputs. `x` and `y` are they without their tuple where it has one member.
    """

    path: Path = Path()
    model_dir: str | Path = "models"
    create_mbar: bool = True
    _pct: float | None = None
    split: int | None = None  # how many members of the batch are inputs, where that was changed

    @property
    def trainer(self) -> Any:
        """Our Learner."""
        raise NotImplementedError  # of those who mix this in: their own, or the callback's learner

    # --- the batch -------------------------------------------------------------------------------

    @property
    def xb(self) -> tuple[Any, ...]:
        """The inputs."""
        return tuple(self.trainer.batch[: self._inputs()])

    @xb.setter
    def xb(self, value: Any) -> None:
        self._write(listed(value), self.yb)

    @property
    def yb(self) -> tuple[Any, ...]:
        """The targets; there may be none."""
        return tuple(self.trainer.batch[self._inputs() :])

    @yb.setter
    def yb(self, value: Any) -> None:
        self._write(self.xb, listed(value))

    @property
    def x(self) -> Any:
        """The input, or the tuple of several."""
        return single(self.xb)

    @property
    def y(self) -> Any:
        """The target, or the tuple of several."""
        return single(self.yb)

    def _inputs(self) -> int:
        batch: object = self.trainer.batch
        if not isinstance(batch, tuple | list):
            raise TypeError(
                "a batch must be a tuple of inputs and, at its end, targets, got a "
                f"{type(batch).__name__}; set learn.batch in before_batch to make one of it"
            )
        if self.split is not None:
            return self.split
        count: int | None = getattr(self.trainer.dls, "n_inp", None)
        return max(1, len(self.trainer.batch) - 1) if count is None else count

    def _write(self, xb: tuple[Any, ...], yb: tuple[Any, ...]) -> None:
        self.trainer.batch, self.split = (*xb, *yb), len(xb)

    @property
    def pred(self) -> Any:
        """What the model put out."""
        return self.trainer.preds

    @pred.setter
    def pred(self, value: Any) -> None:
        self.trainer.preds = value

    # --- counts ----------------------------------------------------------------------------------

    @property
    def n_epoch(self) -> int:
        """Epochs of the fit."""
        return self.trainer.n_epochs

    @n_epoch.setter
    def n_epoch(self, value: int) -> None:
        self.trainer.n_epochs = value

    @property
    def n_iter(self) -> int:
        """Batches of the pass that runs; outside one, of the training data."""
        return self._length(running=True)

    @property
    def pct_train(self) -> float:
        """The share of the fit's training batches that are done: k / N, unless a callback set it.

        Set to None it is k / N again.
        """
        if self._pct is not None:
            return self._pct
        total = self.trainer.n_epochs * self._length(running=self.trainer.training)
        return self.trainer.train_iter / total if total else 0.0

    @pct_train.setter
    def pct_train(self, value: float | None) -> None:
        self._pct = value

    def _length(self, running: bool) -> int:
        inside = running and "epoch" in self.trainer.running
        return len(self.trainer.dl if inside else self.trainer.dls.train)

    def to_detach(self, b: Any, cpu: bool = True, gather: bool = True) -> Any:
        """A nest of tensors without their graph, on the CPU unless told; there is one process."""
        return mapped(lambda x: x.detach().cpu() if cpu else x.detach(), b)

    def report(self, part: str, scores: dict[str, Any]) -> None:
        """Take the scores of a pass from fastai's Recorder; our Learner has its own."""

    # --- files -----------------------------------------------------------------------------------

    def save(self, file: Any, with_opt: bool = True, pickle_protocol: int = 2) -> Path:
        """Write the model's weights and the optimizer's state to path/model_dir/file.pth.

        In fastai's format: {'model', 'opt'}, or without the optimizer the weights alone. The file
        is whole or not there. `pickle_protocol` has no effect: torch's own is written.
        """
        return saving.save(self, file, with_opt)

    def load(
        self, file: Any, with_opt: bool = True, device: Any = None, strict: bool = True
    ) -> Any:
        """Load what `save` wrote, or fastai, or our Learner; returns the learner.

        Where the file has no state for this optimizer, that warns and the weights are loaded.
        Raises ValueError for no such file, a damaged one and, if `strict`, another model's.
        """
        saving.load(self, file, with_opt, device, strict)
        return self


def listed(value: Any) -> tuple[Any, ...]:
    """Members of a batch as a tuple; a tensor by itself is one."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def single(members: tuple[Any, ...]) -> Any:
    """The only member, else all."""
    return members[0] if len(members) == 1 else members


def in_list(cbs: Any) -> list[Any]:
    """Callbacks in a list: None, one, or several; classes are made."""
    found = [] if cbs is None else list(cbs) if isinstance(cbs, Iterable) else [cbs]
    return [cb() if isinstance(cb, type) else cb for cb in found]
