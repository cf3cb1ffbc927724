"""fastai's callbacks: methods named as events, and every name of the learner as their own."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from types import MethodType
from typing import Any

from ....train.events import Cancel
from .events import EVENTS, INNER


class Callback:
    """Methods without arguments, named as fastai's events; see `events.EVENTS`.

    What a callback has not got itself it reads from its learner: `self.model` is the learner's, and
    `self.learn.xb = ...` writes it. Setting a name here that the learner has warns, since it would
    hide the learner's from then on.

    `order` sorts the callbacks of an event, the least first. `run` turns a callback off until the
    end of the fit, `run_train` and `run_valid` its events of the batch loop in one of the passes.
    `name` is the attribute of the learner that it becomes: the class in snake case, without
    "Callback".

    A callback may be made of functions, which get it as their argument:
    `Callback(before_fit=lambda self: print(self.lr))`. A method `cleanup_fit`, which fastai has
    not, is called at the end of every fit, whatever ended it.
    """

    order: float = 0
    learn: Any = None
    run: bool = True
    run_train: bool = True
    run_valid: bool = True
    observes: bool = False  # watches or writes, so that a search for the rate leaves it out
    _stateattrs: tuple[str, ...] = ()  # attributes that a checkpoint of training keeps

    def __init__(self, **events: Callable[..., Any]) -> None:
        for event, function in events.items():
            if event not in EVENTS:
                raise TypeError(
                    f"{type(self).__name__}: there is no event {event!r}; there are "
                    f"{', '.join(EVENTS)}"
                )
            if not callable(function):
                raise TypeError(
                    f"{type(self).__name__}: {event} wants a function of the callback, got "
                    f"{function!r}"
                )
            vars(self)[event] = MethodType(function, self)

    @property
    def name(self) -> str:
        """The class in snake case, without "Callback"."""
        return snake(re.sub(r"Callback$", "", type(self).__name__) or "callback")

    def __repr__(self) -> str:
        return type(self).__name__

    def __getattr__(self, name: str) -> Any:
        refuse_own(self, name)
        learn = vars(self).get("learn")
        if learn is None or name.startswith("__"):
            raise AttributeError(
                f"{type(self).__name__} has no {name!r}, and is in no learner that could have it"
            )
        return getattr(learn, name)

    def __setattr__(self, name: str, value: Any) -> None:
        learn, new = vars(self).get("learn"), name not in vars(self)
        if learn is not None and new and not hasattr(Callback, name) and has(learn, name):
            warnings.warn(
                f"{type(self).__name__} sets {name}, which its learner has too and which is hidden "
                f"from now on: to change the learner's set self.learn.{name}",
                stacklevel=2,
            )
        super().__setattr__(name, value)

    def handler(self, event: str) -> Callable[[], Any] | None:
        """The method of an event, of the class or of the object; not the learner's."""
        if event in vars(self):
            return vars(self)[event]
        return getattr(self, event) if hasattr(type(self), event) else None

    def __call__(self, event_name: str) -> Any:
        """Call the method of an event, if there is one and the flags let it."""
        found, result = self.handler(event_name), None
        if found is not None and self.run and (event_name not in INNER or self._in_pass()):
            try:
                result = found()
            except Cancel:
                raise
            except Exception as error:
                told(error, type(self).__name__, event_name)
                raise
        if event_name == "after_fit":
            self.run = True
        return result

    def _in_pass(self) -> bool:
        training = getattr(self.learn, "training", True)
        return self.run_train if training else self.run_valid

    def state_dict(self) -> dict[str, Any]:
        """The attributes named in `_stateattrs`."""
        return {name: getattr(self, name) for name in self._stateattrs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        vars(self).update(state)


def before_batch_cb(f: Callable[..., Any]) -> Callback:
    """A callback that replaces each batch by `f(callback, xb, yb)`, which returns both.

    >>> @before_batch_cb
    ... def negated(self, xb, yb):
    ...     return (-xb[0],), yb
    >>> negated
    Callback
    """

    def before_batch(self: Callback) -> None:
        self.learn.xb, self.learn.yb = f(self, self.xb, self.yb)

    return Callback(before_batch=before_batch)


def snake(name: str) -> str:
    """A class's name as an attribute's.

    >>> snake("SaveModel"), snake("CSVLogger"), snake("ReduceLROnPlateau")
    ('save_model', 'csv_logger', 'reduce_lr_on_plateau')
    """
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


def told(error: Exception, owner: str, event: str) -> None:
    """Put the callback and the event before an exception's text, once; its type stays."""
    note = f"in {owner} at {event}"
    if getattr(error, "_told", False):
        return
    if len(error.args) <= 1 and not isinstance(error, OSError | UnicodeError):
        error.args = (f"{note}: {error.args[0]}" if error.args else note,)
    elif (add := getattr(error, "add_note", None)) is not None:  # Python 3.11 and later
        add(note)
    vars(error)["_told"] = True


def refuse_own(thing: Any, name: str) -> None:
    """Raise again what a property of a class raised, if the name is one.

    Python turns to __getattr__ when a property raises AttributeError, and forgets why. Were the
    name then looked up elsewhere, the error would be hidden, or another object's value given.
    """
    for cls in type(thing).__mro__:
        if name in vars(cls):
            found = vars(cls)[name]
            if hasattr(type(found), "__get__"):
                found.__get__(thing, type(thing))
            raise AttributeError(f"{type(thing).__name__} could not give its {name!r}")


def of_model(learn: str, model: Any, name: str) -> Any:
    """A model's attribute; where it has not got it, what a property raised, or that none has it."""
    try:
        return getattr(model, name)
    except AttributeError:
        refuse_own(model, name)
        kind = type(model).__name__
        raise AttributeError(f"neither {learn} nor its {kind} has {name!r}") from None


def has(learn: Any, name: str) -> bool:
    """Whether a learner has a name; no property of its own is computed to find out."""
    knows: Callable[[str], bool] | None = getattr(learn, "knows", None)
    return hasattr(learn, name) if knows is None else knows(name)
