"""Events of training: what callbacks are, in which order they are called, and how they stop it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

LEVELS = ("fit", "round", "epoch", "batch", "backward", "step")
EVENTS = (
    *(f"{when}_{level}" for level in LEVELS for when in ("before", "after_cancel", "after")),
    *(f"cleanup_{level}" for level in LEVELS[:4]),
    "after_predict",
    "after_loss",
)
# What one batch does. A callback with a method of the name takes the Learner's place.
OPERATIONS = ("predict", "get_loss", "backward", "step", "zero_grad")


class Cancel(Exception):
    """Ends a level of the loop early; a callback raises one of the classes below."""


class CancelFit(Cancel):
    """Ends the fit."""


class CancelEpoch(Cancel):
    """Ends the round: the pass that runs, and the validation that would follow."""


class CancelTrain(Cancel):
    """Ends the training pass; the validation follows."""


class CancelValid(Cancel):
    """Ends the validation pass."""


class CancelBatch(Cancel):
    """Ends the batch: what is left of it is not done, gradients are kept."""


class CancelBackward(Cancel):
    """Leaves out the backward pass."""


class CancelStep(Cancel):
    """Leaves out the optimizer's step; the gradients are dropped as after a step."""


class Callback:
    """A part of training beside the loop: methods named as events, each called with the learner.

    `order` sorts the callbacks of an event, the least first; equal ones keep the order in which
    they were given. A callback with state of its own gives it to checkpoints by `state_dict` and
    takes it back by `load_state_dict`. One that `observes` watches or writes and shapes nothing, so
    that a search for the rate leaves it out. Any object with methods of these names will do.
    """

    order: float = 0
    observes: bool = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: numbers, strings, tensors, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""


class Events:
    """Callbacks in their order, and the levels of a loop that call them."""

    def __init__(self, cbs: Any) -> None:
        self.cbs: list[Any] = []
        self.running: tuple[str, ...] = ()  # the levels that are open, from the outermost
        self._methods: dict[str, list[tuple[Any, Callable[..., None]]]] = {}
        self._operations: dict[str, Callable[..., None]] = {}
        self.set_cbs(listed(cbs))

    def set_cbs(self, cbs: Sequence[Any]) -> None:
        """Replace the callbacks.

        Raises TypeError for a class in place of an instance, for one without any event, and where
        two of them replace the same operation, ValueError for one that is there twice; nothing
        changes then.
        """
        for index, cb in enumerate(cbs):
            _check(cb)
            if any(cb is other for other in cbs[:index]):
                raise ValueError(
                    f"this {type(cb).__name__} is given twice: it would get each event twice"
                )
        ordered = sorted(cbs, key=lambda cb: getattr(cb, "order", 0))
        self._operations = {name: _operation(name, ordered) for name in OPERATIONS}
        self._methods = {name: _methods(name, ordered) for name in EVENTS}
        self.cbs = list(ordered)

    @contextmanager
    def added(self, cbs: Any) -> Generator[None, None, None]:
        """Have further callbacks while the block runs."""
        before = self.cbs
        self.set_cbs([*before, *listed(cbs)])
        try:
            yield
        finally:
            self.set_cbs([cb for cb in self.cbs if any(cb is old for old in before)])

    def __call__(self, event: str) -> None:
        """Call every callback that has a method for an event."""
        for cb, method in self._methods[event]:
            try:
                method(self)
            except Cancel:
                raise
            except Exception as error:
                _note(error, f"in {type(cb).__name__}.{event}")
                raise

    def _clean_up(self, event: str) -> None:
        """Call a cleanup_ event: every callback's, whatever one of them raises, even Ctrl-C."""
        raised: BaseException | None = None
        for cb, method in self._methods.get(event, ()):
            try:
                method(self)
            except BaseException as error:
                if isinstance(error, Exception):
                    _note(error, f"in {type(cb).__name__}.{event}")
                raised = raised or error
        if raised is not None:
            raise raised

    def operate(self, name: str) -> None:
        """Do a part of a batch: by a callback's method of that name."""
        self._operations[name](self)

    def level(self, name: str, body: Callable[[], None], cancel: type[Cancel]) -> None:
        """Run `body` between the events of a level; `cancel` ends this level and no other."""
        outer = self.running
        try:
            self.running = (*outer, name)
            try:
                self(f"before_{name}")
                body()
            except cancel:
                self(f"after_cancel_{name}")
            self(f"after_{name}")
        except cancel:
            pass  # raised by an after_ event: this level is over anyway
        finally:
            try:
                self._clean_up(f"cleanup_{name}")
            finally:
                self.running = outer

    def refuse_within(self, name: str, what: str) -> None:
        """Raise RuntimeError inside a level whose counters and modes `what` would write over."""
        if name in self.running:
            place = {"fit": "a fit", "epoch": "a pass over the data"}[name]
            raise RuntimeError(
                f"{what}: {place} of this Learner is running, and one cannot run inside another; "
                "begin it when that is over, or take a second Learner for the model"
            )


def listed(cbs: Any) -> list[Any]:
    """Callbacks as a list, also when one is given alone (which may be a collection of hooks)."""
    alone = isinstance(cbs, Callback) or not isinstance(cbs, Iterable)
    return [cbs] if alone else list(cast("Iterable[Any]", cbs))


def _check(cb: Any) -> None:
    if isinstance(cb, type):
        raise TypeError(f"a callback must be an instance: {cb.__name__}(), got the class")
    if not _operates(cb) and not any(callable(getattr(cb, name, None)) for name in EVENTS):
        raise TypeError(
            f"{type(cb).__name__} has no method for any event; there are {', '.join(EVENTS)}"
        )


def _operates(cb: Any) -> bool:
    """Tell a callback with operations from an object that happens to have, say, a step()."""
    own = isinstance(cb, Callback) and any(hasattr(cb, name) for name in OPERATIONS)
    return own or callable(getattr(cb, "predict", None))


def _methods(event: str, cbs: Sequence[Any]) -> list[tuple[Any, Callable[..., None]]]:
    found: list[tuple[Any, Any]] = [(cb, getattr(cb, event, None)) for cb in cbs]
    return [(cb, method) for cb, method in found if method is not None]


def _operation(name: str, cbs: Sequence[Any]) -> Callable[..., None]:
    """The method that does an operation: a callback's own, else the default's."""
    having = [cb for cb in cbs if _operates(cb) and callable(getattr(cb, name, None))]
    own = [cb for cb in having if not getattr(cb, "replaceable", False)]
    if len(own) > 1:
        both = " and ".join(type(cb).__name__ for cb in own[:2])
        raise TypeError(f"{both} both have {name}(): one of them can do it")
    return getattr((own or having)[0], name) if having else partial(_nobody, name)


def _nobody(name: str, _: Any) -> None:
    raise RuntimeError(f"no callback has {name}(): add one, or keep the default callbacks")


def _note(error: Exception, note: str) -> None:
    """Say where an error came from, below its traceback (Python 3.11 and later)."""
    add: Callable[[str], None] | None = getattr(error, "add_note", None)
    if add is not None and note not in getattr(error, "__notes__", ()):
        add(note)
