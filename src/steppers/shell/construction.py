"""From constructor arguments and class attributes to recipes, values and a signature."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import engines
from . import precision
from .recipe import EVERYWHERE, Key, Recipe

FLAGS: dict[str, Any] = {
    "maximize": False,
    "skip_nonfinite": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    **precision.OPTIONS,
}
"""Arguments that every optimizer takes, torch's and one of ours, and keys of every group."""
EXTRAS = ("params", "param_names", "chain", "seed", "train_mode", "initial_lr", "max_lr", "min_lr")


def recipes_of(
    owner: str,
    steps: Any,
    chains: Mapping[str, Any] | None,
    further: Mapping[str, Any],
    defaults: Mapping[str, Any],
    settled: Iterable[str] = (),
    ranges: Mapping[str, str] | None = None,
) -> dict[str, Recipe]:
    """The recipes of a class or of constructor arguments, by the name that groups pick them by."""
    if steps is not None and chains is not None:
        raise TypeError(f"{owner}: give steps or chains, not both")
    if chains is not None:
        if not isinstance(chains, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"{owner}: chains is a dict of names to rules or classes, got {chains!r}"
            )
        settled = (*settled, *defaults)
        made = {name: recipe_from(owner, name, each, settled) for name, each in chains.items()}
        return {name: recipe.with_defaults(defaults) for name, recipe in made.items()}
    if steps is None:
        return {}
    if isinstance(steps, type):
        raise TypeError(f"{owner}: steps are rules, got the class {steps.__name__}; subclass it")
    recipe = Recipe(owner, steps, further, defaults, settled, ranges)
    return {owner if owner != "Optimizer" else recipe.title: recipe}


def recipe_from(owner: str, name: str, steps: Any, settled: Iterable[str] = ()) -> Recipe:
    """The recipe of an Optimizer class or of rules; TypeError for what is neither."""
    if isinstance(steps, torch.optim.Optimizer):
        raise TypeError(
            f"{owner} takes an optimizer's class or a list of rules, got an optimizer of class "
            f"{type(steps).__name__}; pass the class"
        )
    if not isinstance(steps, type):
        return Recipe(name, steps, {}, {}, settled)
    if not hasattr(steps, "recipes"):
        raise TypeError(
            f"{owner} takes a subclass of steppers.Optimizer or a list of rules, got "
            f"{steps.__module__}.{steps.__name__}; torch.optim's classes state no rules, ours do"
        )
    recipes: dict[str, Recipe] = steps.recipes()  # pyright: ignore[reportAttributeAccessIssue]
    if len(recipes) == 1:
        return next(iter(recipes.values()))
    if recipes:
        raise TypeError(
            f"{owner} takes one chain, but {steps.__name__} has {', '.join(recipes)}; make "
            "one functional form of each"
            if owner == "Functional"
            else f"{owner}: {steps.__name__} has several chains; name each of them"
        )
    raise TypeError(
        f"{owner}: {steps.__name__} states no rules; pass a subclass that states steps, or a list "
        "of rules"
    )


def positional(
    owner: str, defaults: Mapping[str, Any], args: tuple[Any, ...], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Positional arguments by the names of the class's defaults, in their order."""
    order = list(defaults)
    if len(args) > len(order):
        raise TypeError(f"{owner} takes at most {len(order)} positional arguments after params")
    named = dict(zip(order, args, strict=False))
    twice = named.keys() & given.keys()
    if twice:
        raise TypeError(f"{owner} got two values for {sorted(twice)[0]}")
    return named


def refuse_foreach_tensors(owner: str, values: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """As torch: foreach=True takes hypers from the host, so a tensor there is a mistake."""
    if not flags["foreach"] or flags["capturable"]:
        return
    for name, value in values.items():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Tensor):
                raise ValueError(
                    f"{owner}: {name} as a Tensor is not supported for capturable=False and "
                    "foreach=True; leave foreach out, or pass a float"
                )


def common_defaults(
    owner: str, recipes: Mapping[str, Recipe], given: Mapping[str, Any], flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Defaults of all chains, the first chain's before the others'; all checked."""
    said = {**given, **flags}
    known = set[str]().union(*(recipe.known(said) for recipe in recipes.values()))
    defaults: dict[str, Any] = {}
    for recipe in recipes.values():
        mine = {n: v for n, v in given.items() if n in recipe.known(said) or n not in known}
        full = recipe.complete(owner, {**mine, **options_in(flags)}, partial=True)
        refuse_foreach_tensors(owner, full, flags)
        defaults = {**full, **defaults}
    for option in precision.OPTIONS:
        precision.check_names(owner, option, flags[option], list(recipes.values()))
    return {name: value for name, value in defaults.items() if name not in EVERYWHERE}


def options_in(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the flags that choose rules."""
    return {option: flags[option] for option in EVERYWHERE}


def group_values(
    owner: str,
    recipe: Recipe,
    group: Mapping[str, Any],
    defaults: Mapping[str, Any],
    given: Mapping[str, Any],
    engine: str,
) -> dict[str, Any]:
    """The hypers and options of a new group: its own before the constructor's, all checked.

    Keys that the chain does not know are left to whoever put them there, unless they are nearly
    a name that it knows: TypeError.
    """
    flags = {f: group.get(f, defaults.get(f, d)) for f, d in FLAGS.items()}
    check_flags(owner, flags, group)
    engines.asked(owner, engine, flags)
    own = {n: v for n, v in group.items() if n not in EXTRAS and n not in FLAGS}
    own.update(options_in(flags))
    known = recipe.known({**given, **own})
    own |= {
        n: group[n] for n in EXTRAS if n in group and n in known
    }  # initial_lr, if rules read it
    for name in own.keys() - known:
        near = difflib.get_close_matches(name, known, 1, 0.85)
        if near:
            raise TypeError(f"{owner}: a group has {name!r}; did you mean {near[0]!r}?")
    layers = [{n: v for n, v in layer.items() if n in known} for layer in (given, own)]
    values = recipe.complete(owner, *layers)
    refuse_foreach_tensors(owner, values, flags)
    return values | storage_values(owner, recipe, group, defaults, flags)


def storage_values(
    owner: str,
    recipe: Recipe,
    group: Mapping[str, Any],
    defaults: Mapping[str, Any],
    flags: Mapping[str, Any],
) -> dict[str, Any]:
    """How a new group stores p and its slots; with random rounding it has a seed."""
    values = {name: precision.plain(owner, name, flags[name]) for name in precision.OPTIONS}
    for option in values.keys() & group.keys():
        precision.check_names(owner, option, values[option], [recipe])
    precision.refuse_live(owner, values["rounding"], flags)
    if precision.draws(values["rounding"]) and "seed" not in {**defaults, **group}:
        values["seed"] = torch.initial_seed() % 2**32
    return values


def check_flags(owner: str, flags: Mapping[str, Any], seed: Mapping[str, Any]) -> None:
    """Switches are True or False (foreach and fused None as well), a seed is a whole number.

    Raises for what is no dtype and no rounding as well.
    """
    for flag, value in flags.items():
        if flag in precision.OPTIONS:
            precision.plain(owner, flag, value)
        elif not isinstance(value, bool) and not (value is None and FLAGS[flag] is None):
            wanted = "True, False or None" if FLAGS[flag] is None else "True or False"
            raise TypeError(f"{owner}: {flag} must be {wanted}, got {value!r}")
    if not isinstance(seed.get("seed", 0), int):
        raise TypeError(f"{owner}: seed must be a whole number, got {seed['seed']!r}")


def signature(defaults: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> inspect.Signature:
    """(params, hypers with defaults in the class's order, *, other options, torch's flags)."""
    param, kinds = inspect.Parameter, inspect.Parameter
    args = [param("params", kinds.POSITIONAL_OR_KEYWORD)]
    args += [param(n, kinds.POSITIONAL_OR_KEYWORD, default=v) for n, v in defaults.items()]
    options = next(iter(recipes.values())).options if len(recipes) == 1 else {}
    named = {**options, **FLAGS, "engine": "auto"}
    args += [param(n, kinds.KEYWORD_ONLY, default=v) for n, v in named.items() if n not in defaults]
    if not recipes:
        args.append(param("hypers", kinds.VAR_KEYWORD))
    return inspect.Signature(args)


def refuse_waiting(owner: str, groups: Iterable[tuple[Recipe, Key]]) -> None:
    """Raise for chains that wait for each other's totals."""
    each = [programs for recipe, key in groups for programs in recipe.all_programs(key)]
    steps = dict.fromkeys(p.programs["steps"] for p in each if p.programs)
    engines.schedule(owner, tuple((each, "loop") for each in steps))
