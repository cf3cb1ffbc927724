"""The Learner: a short training loop; everything else is a callback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import groups, hypers
from ..lr_find import Found
from ..lr_find.sweep import Watched
from . import fits, loaders, rates, saving
from .callbacks.bars import Kind
from .callbacks.defaults import default_callbacks
from .callbacks.operations import Operations
from .callbacks.outputs import Outputs
from .callbacks.progress import no_bar, no_logging
from .callbacks.recorder import Recorder
from .events import (
    CancelBackward,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    CancelStep,
    CancelTrain,
    CancelValid,
    Events,
    listed,
)
from .layers import Layers, Splitter, bound_rate, made, taken, thawed
from .summary import summary

LossFunction = Callable[..., Tensor]
# From parameter groups and lr= to an optimizer: a class, or a partial of one.
OptimizerFunction = Callable[..., torch.optim.Optimizer]


class Learner(Events):
    """Train a model with any torch optimizer. A callback gets the learner at each event.

    ::

        fit                                                          ends early by
            before_fit
            for each epoch: round
                before_round
                a pass over dls.train (learn.training is True), then one over dls.valid
                    before_epoch
                    for each batch
                        before_batch
                        predict()    preds = model(*inputs)          after_predict
                        get_loss()   loss = loss_func(preds, target) after_loss
                        in the training pass
                            before_backward  backward()  after_backward     CancelBackward
                            before_step      step()      after_step         CancelStep
                            zero_grad()
                        after_batch                                  CancelBatch
                        cleanup_batch
                    after_epoch                                      CancelTrain, CancelValid
                    cleanup_epoch
                after_round                                          CancelEpoch
                cleanup_round
            after_fit                                                CancelFit
            cleanup_fit

    A level that is cancelled calls its after_cancel_ event, then its after_ event as if it were
    done. A cancel of an outer level, or an error, skips the after_ events of the levels inside and
    always calls their cleanup_ events. The validation pass runs without gradients.

    What callbacks find: `model, opt, dls, dl, loss_func, batch, preds, loss` (what is reported)
    and `loss_grad` (what is differentiated), `training`, `epoch` (from 0), `n_epochs`, `iter` (the
    batch in its pass, from 0), `train_iter` (training batches before this one in the fit), and
    `progress`, which is k / N for the k-th of N training batches, from 0.

    Args:
        model: the module to train.
        dls: data with `train` and `valid`, iterables of tuples whose last element is the target;
            `valid` may be None.
        loss_func: from outputs and target to a scalar.
        lr: for every group, one a layer group, or a slice (see `spread`).
        cbs: callbacks beside the default ones; one of a default's class takes its place.
        opt_func: makes the optimizer from parameter groups and `lr=`; or a built optimizer. A
            partial that binds lr makes that the learner's.
        metrics: functions of (preds, target), or objects with reset, update and compute; a
            mapping gives them names.
        splitter: from the model to layer groups, first layers first: lists of parameters or
            modules. Without one there is one group.
        wd: weight decay of every fit, where it is given; given as lr is.
        wd_bn_bias: decay norms and biases too.
        train_bn: norms in frozen layer groups are trained.
        moms: momentum before, at and after the peak of a cycle.
        train_metrics: compute the metrics in training passes too.
        progress: "bar", "lines", "silent", or "auto", which is a bar where there is a terminal.
        default_cbs: False: only the operations and `cbs`.
    """

    def __init__(
        self,
        model: nn.Module,
        dls: Any,
        loss_func: LossFunction = nn.functional.cross_entropy,
        lr: Any = 1e-3,
        cbs: Any = (),
        opt_func: OptimizerFunction | torch.optim.Optimizer | None = None,
        *,
        metrics: Iterable[Any] | Mapping[str, Any] = (),
        splitter: Splitter | None = None,
        wd: Any = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
        train_metrics: bool = False,
        progress: Kind = "auto",
        default_cbs: bool = True,
    ) -> None:
        defaults: list[Any] = [Operations()]
        if default_cbs:
            defaults = default_callbacks(metrics, train_metrics=train_metrics, progress=progress)
        own = listed(cbs)
        kinds = {type(cb) for cb in own}
        super().__init__([*(cb for cb in defaults if type(cb) not in kinds), *own])
        recorders = (cb for cb in self.cbs if isinstance(cb, Recorder))
        self.recorder = next(recorders, Recorder())  # without one, an empty one
        self.model, self.dls, self.loss_func = model, loaders.checked(dls), loss_func
        self.lr = bound_rate(opt_func, lr)
        self.wd, self.moms, self.train_bn = wd, moms, train_bn
        self.splitter, self.wd_bn_bias = splitter, wd_bn_bias
        self.opt_func, self.layers = opt_func, None
        self.training, self.epoch, self.n_epochs, self.epochs = False, 0, 0, range(0)
        self.iter, self.first_iter, self.train_iter = 0, 0, 0
        self.scores: dict[str, dict[str, float]] = {"train": {}, "valid": {}}
        self.dl: Any = None
        self.batch: Any = ()
        self.preds: Any = None
        self.loss, self.loss_grad = torch.tensor(0.0), torch.tensor(0.0)

    # --- the loop --------------------------------------------------------------------------------

    def fit(
        self,
        n_epochs: int = 1,
        lr: Any = None,
        *,
        wd: Any = None,
        cbs: Any = (),
        train: bool = True,
        valid: bool = True,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train `n_epochs` epochs. The optimizer is kept from fit to fit unless `reset_opt`.

        `start_epoch` leaves out the epochs before it and keeps the others' place in schedules.
        """
        self.refuse_within("fit", "fit")
        fits.check(self, n_epochs, start_epoch, train)
        with self.added(cbs):
            self.n_epochs, self.epochs = n_epochs, range(start_epoch, n_epochs)
            self.ready(lr, wd, reset_opt)
            self.opt.zero_grad()  # an earlier fit may have ended before its step
            self.level("fit", partial(self._rounds, train, valid), CancelFit)

    def _rounds(self, train: bool, valid: bool) -> None:
        for self.epoch in self.epochs:  # noqa: B020  # an attribute of it, not itself
            self.level("round", partial(self._round, train, valid), CancelEpoch)

    def _round(self, train: bool, valid: bool) -> None:
        if train:
            self.run_pass(self.dls.train, training=True)
        if valid and self.dls.valid is not None:
            self.run_pass(self.dls.valid, training=False)

    def run_pass(self, dl: Any, *, training: bool) -> None:
        """One pass over a loader, with its events."""
        self.refuse_within("epoch", "fit" if training else "validate")
        self.dl, self.training, self.first_iter = dl, training, 0
        self.set_modes(training)
        with torch.set_grad_enabled(training):
            self.level("epoch", self._batches, CancelTrain if training else CancelValid)

    def _batches(self) -> None:
        for self.iter, self.batch in enumerate(self.dl, self.first_iter):  # noqa: B020
            if self.training:
                self.train_iter = self.epoch * self.n_iter + self.iter
            self.level("batch", self._batch, CancelBatch)

    def _batch(self) -> None:
        self.operate("predict")
        self("after_predict")
        self.operate("get_loss")
        self.loss_grad = self.loss
        self("after_loss")
        if self.training:
            self.level("backward", partial(self.operate, "backward"), CancelBackward)
            self.level("step", partial(self.operate, "step"), CancelStep)
            self.operate("zero_grad")

    # --- fits with a schedule --------------------------------------------------------------------

    def fit_one_cycle(self, n_epochs: int, lr_max: Any = None, **options: Any) -> None:
        """Train with one cycle (Smith 2018, arXiv:1803.09820), in fastai's shape.

        The rate follows a cosine from lr_max / div (25) up to lr_max over pct_start (0.25) of the
        training, then one down to lr_max / div_final (1e5); momentum, or beta1, goes through `moms`
        in the same phases where the optimizer has it. lr_max is what `fit` takes as lr. Options:
        these names, and those of `fit`.
        """
        fits.one_cycle(self, n_epochs, lr_max, **options)

    def fit_flat_cos(self, n_epochs: int, lr: Any = None, **options: Any) -> None:
        """Train at a constant rate, then along a cosine down to lr / div_final (1e5).

        The fall begins after pct_start (0.75) of the training. Options: these names, and `fit`'s.
        """
        fits.flat_cos(self, n_epochs, lr, **options)

    def fit_sgdr(self, n_cycles: int, cycle_len: int, lr_max: Any = None, **options: Any) -> None:
        """Train with warm restarts (Loshchilov & Hutter 2017, arXiv:1608.03983).

        Each cycle is a cosine from lr_max to 0; the first takes cycle_len epochs, each further one
        cycle_mult (2) times as many as the one before. Options: cycle_mult, and `fit`'s.
        """
        fits.sgdr(self, n_cycles, cycle_len, lr_max, **options)

    def fine_tune(self, epochs: int, base_lr: float = 2e-3, **options: Any) -> None:
        """Train the last layer group for freeze_epochs (1), then all for `epochs`.

        The first cycle goes to base_lr; the second to base_lr / 2 in the last layer group, and to
        lr_mult (100) times less in the first. Options: these names, pct_start, div, and `fit`'s.
        """
        fits.fine_tune(self, epochs, base_lr, **options)

    def lr_find(
        self,
        start_lr: Any = 1e-7,
        end_lr: Any = 10.0,
        num_it: int = 100,
        stop_div: bool | float = True,
        watch: Watched = "smoothed",
    ) -> Found:
        """Train at rising rates; then model, optimizer, data order and learner are as before.

        Callbacks that shape the training are in it; those that watch or write (`observes`) are not.
        Rates, ends, suggestions and errors are those of `steppers.lr_find`.
        """
        return rates.lr_find(self, start_lr, end_lr, num_it, stop_div, watch)

    # --- frozen layers ---------------------------------------------------------------------------

    def freeze_to(self, n: int) -> None:
        """Train the layer groups from `n` on, which may be negative; of the others the norms alone.

        With `train_bn=False` not even these. The optimizer's state is dropped: what it knows of
        the gradients is of another loss.
        """
        layers = self.with_opt()
        layers.freeze_to(n, groups.norms(self.model) if self.train_bn else ())
        getattr(layers.opt, "clear_state", layers.opt.state.clear)()  # a style may keep flags

    def freeze(self) -> None:
        """Train the last layer group alone."""
        if self.with_opt().count < 2:
            raise ValueError(
                "freeze: there is only 1 layer group; give the Learner a splitter= that makes two"
            )
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train every layer group."""
        self.freeze_to(0)

    # --- without training ------------------------------------------------------------------------

    def validate(self, dl: Any = None, cbs: Any = ()) -> dict[str, float]:
        """The mean loss and the metrics over a loader, dls.valid unless one is given."""
        if (dl := getattr(self.dls, "valid", None) if dl is None else dl) is None:
            raise ValueError("validate: this Learner has no validation data; give a loader")
        with self.added(cbs):
            self.run_pass(dl, training=False)
        return dict(self.scores["valid"])

    def get_preds(self, dl: Any = None) -> tuple[Tensor, Tensor]:
        """Outputs and targets over a loader, joined on the CPU along the first dimension."""
        kept = Outputs()
        self.validate(dl, cbs=[kept])
        return kept.joined()

    def predict(self, *inputs: Tensor) -> Tensor:
        """The model's outputs for a batch of inputs, in evaluation mode, without gradients."""
        training = self.model.training
        self.set_modes(False)
        try:
            with torch.no_grad():
                return self.model(*inputs)
        finally:
            self.set_modes(training)

    def summary(self, batch: Any = None) -> str:
        """The model's layers with their outputs' shapes and parameters, and what trains them.

        `batch` is one of the training data's unless given.
        """
        shown = loaders.one_of(self.dls.train) if batch is None else batch
        count = self.with_opt().count
        trains = f"{type(self.opt).__name__}, {count} layer group{'s' * (count != 1)}"
        loss = getattr(self.loss_func, "__name__", type(self.loss_func).__name__)
        return f"{summary(self.model, shown)}\n{trains}; loss {loss}"

    # --- what is shown ---------------------------------------------------------------------------

    def no_bar(self) -> AbstractContextManager[None]:
        """Show no bar and no graph while the block runs; the table stays."""
        return no_bar(self)

    def no_logging(self) -> AbstractContextManager[None]:
        """Print no table while the block runs; bars stay."""
        return no_logging(self)

    # --- files -----------------------------------------------------------------------------------

    def save(self, path: str | Path, *, with_opt: bool = True) -> None:
        """Write the model's weights and, unless told not to, the optimizer's state, to a file.

        The file is whole or not there. For a fit that goes on in mid-epoch see `Checkpoint`.
        """
        saving.save(self, Path(path), with_opt)

    def load(self, path: str | Path, *, with_opt: bool = True, strict: bool = True) -> None:
        """Load what `save` wrote. `strict=False` takes the weights whose names the model has.

        Raises ValueError for a damaged file, and for one of another model or optimizer; nothing is
        changed then.
        """
        saving.load(self, Path(path), with_opt, strict)

    # --- what it works on ------------------------------------------------------------------------

    @property
    def n_iter(self) -> int:
        """Training batches of one epoch."""
        return loaders.length(self.dls.train)

    @property
    def progress(self) -> float:
        """The share of the fit's training batches that are done, in [0, 1)."""
        return self.train_iter / (self.n_epochs * self.n_iter)

    @property
    def opt(self) -> torch.optim.Optimizer:
        """The optimizer, made when it is first needed."""
        return self.with_opt().opt

    @opt.setter
    def opt(self, value: torch.optim.Optimizer) -> None:
        """Take another in its place, such as a wrapper of it, with the same parameter groups."""
        self.layers = replace(self.with_opt(), opt=value)

    def with_opt(self) -> Layers:
        """The optimizer with the layer group of each of its parameter groups."""
        if self.layers is None:
            if isinstance(self.opt_func, torch.optim.Optimizer):
                self.layers = taken(self.opt_func, self.model)
            else:
                make = self.opt_func or default_optimizer()
                self.layers = made(self.model, make, self.splitter, self.lr, self.wd_bn_bias)
        return self.layers

    def ready(self, lr: Any = None, wd: Any = None, reset_opt: bool = False) -> None:
        """Have an optimizer with the rate and the decay that are given, else the learner's."""
        if reset_opt:
            with thawed(self.layers):
                self.layers = None
                self.with_opt()
        layers, decay = self.with_opt(), self.wd if wd is None else wd
        values: dict[str, Any] = {"lr": layers.by_group(self.lr if lr is None else lr, "lr")}
        if decay is not None:
            each = zip(layers.by_group(decay, "wd"), layers.decays, strict=True)
            values["wd"] = [value * on for value, on in each]
        hypers.put_all(self.opt, values)

    def set_modes(self, training: bool) -> None:
        """Switch the model, and an optimizer with modes of its own (schedule-free: x and y)."""
        self.model.train(training)
        switch = getattr(self.opt, "train" if training else "eval", None)
        if callable(switch):
            switch()


def default_optimizer() -> OptimizerFunction:
    """steppers.AdamW, which loads when it is needed."""
    from ..catalogue import AdamW

    return AdamW
