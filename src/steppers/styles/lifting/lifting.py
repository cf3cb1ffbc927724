"""lift: somebody's optimizer code as steppers' rules, or what prevents it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from ...chain import REQUIRED
from .arguments import Asked, Procedure
from .chains import lifted_chain
from .derived import refuse_derived
from .forms import parts, procedures, with_hypers
from .worlds import Held, Known


def lift(
    what: Any,
    *,
    method: str | None = None,
    slots: Iterable[str] = (),
    hypers: Iterable[str] = (),
    constants: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    **options: Any,
) -> Any:
    """Somebody's step function, stat or optimizer class as steppers' rules.

    A function or a stat object gives one rule, a class or an optimizer a tuple of them, for
    `steppers.Optimizer(params, steps=…)`. The code is run on stand-ins for p, its gradient, its
    state and its hyper-parameters, both sides of every `if`, and what it did is written as a pure
    function in the words of `steppers.ops`: `inspect.getsource(rule)` shows it.

    `method` names another method of a class to lift. `slots` and `hypers` say what names without a
    default are, where the code does not tell; `constants` are numbers that stay as they are;
    `rename` gives hypers and slots other names. `options` are bound as by functools.partial, or go
    to the class.

    Raises TypeError, with the line, for what no rule can do, and says what to write instead.

    >>> def sgd_step(p, lr, **kwargs):
    ...     p.data.add_(-lr, p.grad.data)
    >>> import inspect
    >>> print(inspect.getsource(lift(sgd_step)).split('lifted.\"\"\"')[1].strip())
    return dict(p=p - lr * g)
    """
    said = Asked(frozenset(hypers), frozenset(constants))
    held = Held({name: Known() for name in slots})
    rules = _lifted(what, method, held, said, rename or {}, options)
    if isinstance(what, type):
        again = partial(_lifted, what, method, held, said, rename or {})
        refuse_derived(what, options, rules, again)
    several = method is None and (isinstance(what, type) or _is_optimizer(what))
    return rules if several else rules[0]


def _lifted(
    what: Any,
    method: str | None,
    held: Held,
    said: Asked,
    rename: Mapping[str, str],
    options: Mapping[str, Any],
) -> tuple[Callable[..., Any], ...]:
    """The rules of one function, object, class or optimizer."""
    listed = parts(what) if method is None else None
    if listed is not None:
        said = replace(said, guess=False)
        found = [one for each in listed for one in procedures(each, None, said, options)]
        found = with_hypers(found, what)
    else:
        found = procedures(what, method, said, options)
    whole = method is None and (isinstance(what, type) or _is_optimizer(what))
    lifted = lifted_chain(found, held, said, rename, whole)
    return tuple(rule for update, rule in lifted if update.outputs or not whole)


def lift_all(
    callbacks: Iterable[Any],
    *,
    constants: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
) -> tuple[Callable[..., Any], ...]:
    """A list of callbacks, or of stats and steppers in the order they run, as a chain's rules.

    What an earlier one keeps in the state, a later one reads; every other name is a hyper. Those
    with `_order` are put in that order. A default on which two differ has to be given.
    """
    if not isinstance(callbacks, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"lift_all: it takes a list of callbacks, got {callbacks!r}; lift one")
    listed = sorted(callbacks, key=lambda each: getattr(each, "_order", 0))
    said = Asked(frozenset(), frozenset(constants), guess=False)
    found = [one for each in listed for one in procedures(each, None, said, {})]
    found = _without_conflicts(found)
    lifted = lifted_chain(found, Held(), said, rename or {}, whole=True)
    return tuple(rule for update, rule in lifted if update.outputs)


def _is_optimizer(what: Any) -> bool:
    return isinstance(what, torch.optim.Optimizer) or hasattr(what, "opt_step")


def _without_conflicts(found: list[Procedure]) -> list[Procedure]:
    """Defaults on which two procedures differ are none: the optimizer asks for a value."""
    seen: dict[str, set[float]] = {}
    for each in found:
        for name, value in each.defaults.items():
            seen.setdefault(name, set()).add(value)
    unclear = {name: REQUIRED for name, values in seen.items() if len(values) > 1}
    return [
        replace(each, hypers={n: unclear.get(n, d) for n, d in each.hypers.items()})
        for each in found
    ]
