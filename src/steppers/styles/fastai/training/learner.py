"""fastai's Learner on our loop: its arguments, its fits, its files."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ....lr_find.sweep import Watched
from ....train import fits
from ....train.callbacks.recorder import Recorder as OwnRecorder
from ....train.callbacks.schedule import ParamScheduler as Setter
from ....train.layers import Layers
from ....train.learner import Learner as Trainer
from .. import Adam
from . import finder
from .bridge import Separate
from .callback import of_model, refuse_own
from .counting import CastToTensor, TrainEvalCallback
from .gather import GatherPredsCallback, loss_not_reduced
from .hub import Hub
from .making import layers_of
from .metrics import Metric, as_metrics
from .progress import ProgressCallback, silent
from .recorder import Recorder
from .schedule import ParamScheduler
from .seen import in_list

DEFAULTS = (TrainEvalCallback, Recorder, CastToTensor, ProgressCallback)
Moms = tuple[float, float, float]


class Learner(Hub, Trainer):  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's files
    """Our Learner with fastai's arguments, events and cancels; its callbacks and ours go together.

    A name that it has not got is looked up on the model. Events are those of fastai 2.8: a cancel
    ends its level, whose after_cancel_ and after_ events come; the after_ events of levels inside
    do not. `finally_after=True`: every after_ event of a level that was begun comes, whatever ends
    it, as in fastai of 2020. A cancel out of a level's own after_ event goes on outwards.

    Args:
        dls: data with `train` and `valid`; where it has them, `n_inp` (how many members of a batch
            are inputs), `device`, `path` and loaders by index are used.
        model: the module to train.
        loss_func: of outputs and targets; None: the data's, `dls.loss_func`.
        opt_func: gets the splitter's lists of parameters and `lr=`. A partial that binds lr makes
            that the learner's.
        lr, splitter, cbs, metrics, path, model_dir, wd, wd_bn_bias, train_bn, moms, default_cbs:
            as fastai's. Callbacks may be classes; without default_cbs there are but those given.
    """

    def __init__(
        self,
        dls: Any,
        model: nn.Module,
        loss_func: Callable[..., Any] | None = None,
        opt_func: Any = Adam,
        lr: Any = 1e-3,
        splitter: Callable[[nn.Module], Any] | None = None,
        cbs: Any = None,
        metrics: Any = None,
        path: str | Path | None = None,
        model_dir: str | Path = "models",
        wd: Any = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        moms: Moms = (0.95, 0.85, 0.95),
        default_cbs: bool = True,
        *,
        finally_after: bool = False,
    ) -> None:
        found = loss_func or getattr(dls, "loss_func", None)
        if found is None:
            raise TypeError("Learner: loss_func is missing, and the data have none")
        super().__init__(
            model, dls, found, lr, [Separate(), OwnRecorder()], opt_func, splitter=splitter,
            wd=wd, wd_bn_bias=wd_bn_bias, train_bn=train_bn, moms=moms, default_cbs=False,
        )  # fmt: skip
        self.path = Path(path if path is not None else getattr(dls, "path", "."))
        self.model_dir, self.finally_after = model_dir, finally_after
        self.logger: Callable[..., Any] = print
        self.metrics = metrics
        self.final_record: list[Any] | None = None
        self._taken = frozenset(vars(self))
        defaults = [cls() for cls in DEFAULTS] if default_cbs else []
        self.set_cbs([*defaults, *self.cbs, *in_list(cbs)])
        self("after_create")

    # --- names -----------------------------------------------------------------------------------

    @property
    def trainer(self) -> Any:
        """Our Learner: this one."""
        return self

    def __getattr__(self, name: str) -> Any:
        refuse_own(self, name)
        if name.startswith("__") or "model" not in vars(self):
            raise AttributeError(f"Learner has no {name!r}")
        return of_model("Learner", self.model, name)

    @property
    def metrics(self) -> list[Metric]:
        """fastai's metrics; functions that are set become means."""
        return self._metrics

    @metrics.setter
    def metrics(self, value: Any) -> None:
        self._metrics = as_metrics(value)

    @property
    def recorder(self) -> Any:
        """The Recorder among the callbacks. Raises AttributeError where there is none."""
        for cb in self.cbs:
            if isinstance(cb, Recorder):
                return cb
        raise AttributeError("there is no Recorder among the learner's callbacks")

    @recorder.setter
    def recorder(self, value: OwnRecorder) -> None:
        self.own_recorder = value

    @property
    def progress(self) -> float:
        """What `pct_train` is, for our callbacks."""
        return self.pct_train

    def report(self, part: str, scores: dict[str, Any]) -> None:
        """Take a pass's scores, for our recorder's rows."""
        self.scores[part] = scores

    # --- the optimizer ---------------------------------------------------------------------------

    @property
    def opt(self) -> Any:
        """The optimizer, made when it is first needed; set to None it is made anew."""
        return self.with_opt().opt

    @opt.setter
    def opt(self, value: Any) -> None:
        if value is None:
            self.layers = None
        else:
            Trainer.opt.fset(self, value)  # pyright: ignore[reportOptionalCall]  # it has one

    def create_opt(self) -> None:
        """Make the optimizer anew."""
        self.layers = None
        self.with_opt()

    def with_opt(self) -> Layers:
        """The optimizer with its layer groups."""
        if self.layers is None:
            self.layers = layers_of(self)
        return self.layers

    @property
    def by_lists(self) -> bool:
        """Whether the optimizer is of fastai's kind, a layer group in each of its lists."""
        layers = self.with_opt()
        return hasattr(layers.opt, "all_params") and layers.count == len(layers.of_group)

    def freeze_to(self, n: int) -> None:
        """Train the layer groups from `n` on; of the others, with `train_bn`, the norms alone."""
        if self.by_lists:
            self.opt.freeze_to(n)
            self.opt.clear_state()
        else:
            super().freeze_to(n)

    def freeze(self) -> None:
        """Train the last layer group alone; where there is one group, that is all."""
        self.freeze_to(-1)

    # --- fits ------------------------------------------------------------------------------------

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self,
        n_epoch: int = 1,
        lr: Any = None,
        wd: Any = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        *,
        train: bool = True,
        valid: bool = True,
    ) -> None:
        """Train `n_epoch` epochs, with further callbacks for this fit."""
        # fastai's scheduler in place of ours, for it keeps what it set
        added = [ParamScheduler(cb.schedules) if type(cb) is Setter else cb for cb in in_list(cbs)]
        super().fit(n_epoch, lr, wd=wd, cbs=added, train=train, valid=valid, reset_opt=reset_opt,
                    start_epoch=start_epoch)  # fmt: skip
        self.dl, self.batch, self.preds = None, (None, None), None
        self.loss: Any = None

    def fit_one_cycle(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self,
        n_epoch: int,
        lr_max: Any = None,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: Any = None,
        moms: Moms | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train with one cycle of rate and momentum, for every optimizer with a `mom`."""
        if moms is None and "mom" in getattr(self.with_opt().opt, "hypers", [{}])[-1]:
            moms = self.moms
        fits.one_cycle(self, n_epoch, lr_max, div=div, div_final=div_final, pct_start=pct_start,
                       moms=moms, wd=wd, cbs=in_list(cbs), reset_opt=reset_opt,
                       start_epoch=start_epoch)  # fmt: skip

    def fit_flat_cos(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self,
        n_epoch: int,
        lr: Any = None,
        div_final: float = 1e5,
        pct_start: float = 0.75,
        wd: Any = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train at a constant rate, then along a cosine."""
        fits.flat_cos(self, n_epoch, lr, div_final=div_final, pct_start=pct_start, wd=wd,
                      cbs=in_list(cbs), reset_opt=reset_opt, start_epoch=start_epoch)  # fmt: skip

    def fit_sgdr(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self,
        n_cycles: int,
        cycle_len: int,
        lr_max: Any = None,
        cycle_mult: int = 2,
        cbs: Any = None,
        reset_opt: bool = False,
        wd: Any = None,
        start_epoch: int = 0,
    ) -> None:
        """Train with warm restarts."""
        fits.sgdr(self, n_cycles, cycle_len, lr_max, cycle_mult=cycle_mult, wd=wd,
                  cbs=in_list(cbs), reset_opt=reset_opt, start_epoch=start_epoch)  # fmt: skip

    def fine_tune(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        lr_mult: float = 100.0,
        pct_start: float = 0.3,
        div: float = 5.0,
        **cycle: Any,
    ) -> None:
        """Train the last layer group for `freeze_epochs`, then all for `epochs`."""
        fits.fine_tune(self, epochs, base_lr, freeze_epochs=freeze_epochs, lr_mult=lr_mult,
                       pct_start=pct_start, div=div, **cycle)  # fmt: skip

    def lr_find(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self,
        start_lr: Any = 1e-7,
        end_lr: Any = 10.0,
        num_it: int = 100,
        stop_div: bool | float = True,
        show_plot: bool = True,
        suggest_funcs: Any = finder.valley,
        watch: Watched = "smoothed",
        suggestions: bool = False,
    ) -> Any:
        """Train at rising rates, put all back, and give what functions suggest, by their names.

        A rate is every group's; lists have one for each.

        The recorder has the curve then, in `lrs` and `losses`. While it runs there is an attribute
        `lr_finder`. The picture is shown in a notebook; anywhere it is `recorder.plot_lr_find()`.
        `suggestions=True`, of older versions, gives `lr_min` and `lr_steep`.
        """
        vars(self)["lr_finder"] = True
        try:
            with self.no_logging(), self.no_mbar():
                first, last = (finder.in_all(self.opt, lr) for lr in (start_lr, end_lr))
                found = Trainer.lr_find(self, first, last, num_it, stop_div, watch)
        finally:
            del vars(self)["lr_finder"]
        self.recorder.take_found(found)
        functions = finder.OLDER if suggestions else finder.by_name(suggest_funcs or ())
        if show_plot:
            finder.show(found, functions)
        return finder.suggested(found, functions) if functions else None

    # --- without training ------------------------------------------------------------------------

    def validate(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self, ds_idx: int = 1, dl: Any = None, cbs: Any = None
    ) -> list[Any] | None:
        """The mean loss and the metrics over a loader; the recorder's record of the fit stays."""
        with self.no_logging(), self.no_mbar():
            self._evaluate(ds_idx, dl, cbs)
        return self.final_record

    def _evaluate(self, ds_idx: int, dl: Any, cbs: Any, inner: bool = False) -> None:
        dl = self._loader(ds_idx) if dl is None else dl
        if dl is None:
            raise ValueError("validate: there are no validation data; give dl=")
        around = self._aside() if inner or self.running else self._as_epoch()
        with self.added_cbs(cbs), around:
            self.run_pass(dl, training=False)

    def _aside(self) -> AbstractContextManager[None]:
        """Within a fit its own events go on."""
        recorder = getattr(self, "recorder", None)
        return nullcontext() if recorder is None else recorder.aside()

    @contextmanager
    def _as_epoch(self) -> Generator[None, None, None]:
        self(("before_fit", "before_epoch"))
        try:
            yield
        finally:
            self(("after_epoch", "after_fit"))

    def _loader(self, ds_idx: int) -> Any:
        names = {0: "train", 1: "valid"}
        return getattr(self.dls, names[ds_idx]) if ds_idx in names else self.dls[ds_idx]

    def get_preds(  # pyright: ignore[reportIncompatibleMethodOverride]  # fastai's arguments
        self,
        ds_idx: int = 1,
        dl: Any = None,
        with_input: bool = False,
        with_decoded: bool = False,
        with_loss: bool = False,
        act: Callable[[Tensor], Any] | None = None,
        inner: bool = False,
        reorder: bool = True,
        cbs: Any = None,
        **gathering: Any,
    ) -> tuple[Any, ...]:
        """Outputs and targets over a loader, in its order, on the CPU; None for no targets.

        Inputs come before them, decoded outputs and each item's loss after them, if asked for.
        Outputs go through `act`, else through the loss function's `activation` if it has one.
        `reorder` has no effect: our loaders do not sort. Further options are GatherPredsCallback's.
        """
        gather = GatherPredsCallback(with_input, with_loss, **gathering)
        unreduced = loss_not_reduced(self) if with_loss else nullcontext()
        with self.no_logging(), self.no_mbar(), unreduced:
            self._evaluate(ds_idx, dl, [gather, *in_list(cbs)], inner)
        parts, at = gather.all_tensors(), int(with_input)
        act = act or getattr(self.loss_func, "activation", None)
        if parts[at] is not None and act is not None:
            parts[at] = act(parts[at])
        if with_decoded and parts[at] is not None:
            decodes = getattr(self.loss_func, "decodes", None)
            parts.insert(at + 2, parts[at] if decodes is None else decodes(parts[at]))
        return tuple(parts)

    # --- what is shown ---------------------------------------------------------------------------

    def no_logging(self) -> Any:
        """Log no row while the block runs."""
        return self._having("logger", silent)

    def no_mbar(self) -> Any:
        """Show no bar while the block runs; rows are logged."""
        return self._having("create_mbar", False)

    def no_bar(self) -> Any:
        """Be without the ProgressCallback while the block runs: rows are printed as lists."""
        return self.removed_cbs(ProgressCallback)

    @contextmanager
    def _having(self, name: str, value: Any) -> Generator[Learner, None, None]:
        before = getattr(self, name)
        setattr(self, name, value)
        try:
            yield self
        finally:
            setattr(self, name, before)
