"""fastai's callbacks and ours in one list, and the levels of a fit with fastai's cancels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from ....train.events import Cancel, Events
from .bridge import Bridged, has_static
from .callback import Callback
from .events import EVENTS
from .loop import outline
from .seen import Seen, in_list

Self = TypeVar("Self", bound="Hub")


class Hub(Seen, Events):
    """A learner's callbacks: fastai's are its attributes by their names.

    A name that the learner has itself stays the learner's.
    """

    finally_after: bool = False
    _taken: frozenset[str] = frozenset()  # the learner's own attributes

    def set_cbs(self, cbs: Iterable[Any]) -> None:
        """Replace the callbacks, fastai's and ours, in their common order."""
        before, after = list(self.cbs), list(cbs)
        if any(cb is other for i, cb in enumerate(after) for other in after[:i]):
            raise ValueError("a callback is given twice: it would get each event twice")
        super().set_cbs([Bridged(cb) if isinstance(cb, Callback) else cb for cb in after])
        self.cbs = [cb.cb if isinstance(cb, Bridged) else cb for cb in self.cbs]
        for cb in without(before, after):
            self._forget(cb)
        for cb in without(after, before):
            self._know(cb)

    def _know(self, cb: Any) -> None:
        if isinstance(cb, Callback):
            vars(cb)["learn"] = self
            if cb.name not in self._taken and not hasattr(type(self), cb.name):
                vars(self)[cb.name] = cb

    def _forget(self, cb: Any) -> None:
        if isinstance(cb, Callback):
            vars(cb).pop("learn", None)
            if vars(self).get(cb.name) is cb:
                del vars(self)[cb.name]

    def knows(self, name: str) -> bool:
        """Whether there is a name, without computing it; a callback's own does not count."""
        if isinstance(vars(self).get(name), Callback):
            return False
        return has_static(self, name) or hasattr(vars(self).get("model"), name)

    def add_cb(self: Self, cb: Any) -> Self:
        """Add a callback, or a class of them, for good."""
        return self.add_cbs([cb])

    def add_cbs(self: Self, cbs: Any) -> Self:
        """Add callbacks, for good."""
        self.set_cbs([*self.cbs, *in_list(cbs)])
        return self

    def remove_cb(self: Self, cb: Any) -> Self:
        """Take a callback away, or all of a class; one that is not there is no error."""
        kind: Any = cb if isinstance(cb, type) else ()
        self.set_cbs([each for each in self.cbs if each is not cb and not isinstance(each, kind)])
        return self

    def remove_cbs(self: Self, cbs: Any) -> Self:
        """Take callbacks away."""
        for cb in cbs if isinstance(cbs, list | tuple) else [cbs]:
            self.remove_cb(cb)
        return self

    @contextmanager
    def added_cbs(self: Self, cbs: Any) -> Generator[Self, None, None]:
        """Have further callbacks while the block runs."""
        with self.added(in_list(cbs)):
            yield self

    @contextmanager
    def removed_cbs(self: Self, cbs: Any) -> Generator[Self, None, None]:
        """Be without callbacks, or classes of them, while the block runs."""
        before = self.cbs
        self.remove_cbs(cbs)
        try:
            yield self
        finally:
            self.set_cbs([*before, *without(self.cbs, before)])

    def ordered_cbs(self, event: str) -> list[Callback]:
        """fastai's callbacks that have a method for an event, in its order."""
        return [cb for cb in self._fastais() if cb.handler(event) is not None]

    def show_training_loop(self) -> None:
        """Print the levels of a fit, and which of fastai's callbacks act at each event."""
        for line in outline(self):
            print(line)

    def _fastais(self) -> list[Callback]:
        return [cb for cb in self.cbs if isinstance(cb, Callback)]

    # --- events ----------------------------------------------------------------------------------

    def __call__(self, event: str | Iterable[str]) -> None:
        """Call an event, or several, of fastai's callbacks."""
        if event in ("after_predict", "after_loss"):  # what our loop says outside its levels
            return super().__call__(str(event))
        for each in [event] if isinstance(event, str) else event:
            if each not in EVENTS:
                raise ValueError(f"there is no event {each!r}; there are {', '.join(EVENTS)}")
            for cb in self._fastais():
                cb(each)
        return None

    def level(self, name: str, body: Callable[[], None], cancel: type[Cancel]) -> None:
        """Run `body` between the events of a level; `cancel` ends this level and no other."""
        outer, say = self.running, super().__call__
        try:
            self.running = (*outer, name)
            with ExitStack() as whatever_happens:
                if self.finally_after:
                    whatever_happens.callback(say, f"after_{name}")
                try:
                    say(f"before_{name}")
                    body()
                except cancel:
                    say(f"after_cancel_{name}")
            if not self.finally_after:
                say(f"after_{name}")
        finally:
            try:
                self._clean_up(f"cleanup_{name}")
            finally:
                self.running = outer


def without(cbs: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    """The callbacks that are not among others."""
    known = list(others)
    return [cb for cb in cbs if not any(cb is other for other in known)]
