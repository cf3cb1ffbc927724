"""Reading what a class states as its steps: a list of rules, or a function that chooses one."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..chain import ByShape, Chain, Rule


def makes_steps(steps: Any) -> bool:
    """A function of static options, as against one rule: it is called steps, or all its arguments
    have plain defaults.
    """
    if not inspect.isfunction(steps):
        return False
    if steps.__name__ == "steps":
        return True
    args = inspect.signature(steps).parameters.values()
    return not any(a.default is a.empty or hasattr(a.default, "hyper") for a in args)


def gates(
    options: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Chain]
) -> tuple[str, ...]:
    """The options that are hyper-parameters too: numbers that a rule reads once they are not 0.

    That rule may stand behind another gate, as dampening's behind momentum; so all are tried open
    together as well, where they go together.
    """
    numbers = {o: 1 for o, value in options.items() if is_number(value)}
    read = {option: _hypers(make({**options, option: 1})) for option in numbers}
    together = set[str]()
    if len(numbers) > 1:
        with suppress(TypeError, ValueError):
            together = _hypers(make({**options, **numbers}))
    return tuple(option for option in numbers if option in read[option] | together)


def is_number(value: Any) -> bool:
    """True for an int or a float, a bool not counted."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hypers(chain: Chain) -> set[str]:
    """What the rules of a step have as keywords."""
    rules = [rule for ndim in chain.shapes() for rule in chain.at(ndim)["steps"]]
    return {name for rule in rules for name, _ in rule.keywords}


def functions(steps: Any) -> list[Any]:
    """All functions in what was stated as steps: lists, choices by shape, partials."""
    if isinstance(steps, list | tuple):
        return [fn for step in steps for fn in functions(step)]
    if isinstance(steps, ByShape):
        rules = (*(steps.matrices or ()), *(steps.others or ()))
        return [rule.fn for rule in rules]
    return [steps.fn if isinstance(steps, Rule) else getattr(steps, "func", steps)]


def importable(fn: Any) -> None:
    """Raise pickle.PicklingError for a function that cannot be imported by its name."""
    name, module = getattr(fn, "__qualname__", "?"), getattr(fn, "__module__", "?")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not fn:
        raise pickle.PicklingError(
            f"the rule {name} of module {module} cannot be pickled, because it cannot be imported "
            "by that name; define it at the top of a module, or save optimizer.state_dict()"
        )
