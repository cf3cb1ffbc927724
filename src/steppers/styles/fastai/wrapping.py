"""OptimWrapper: any torch optimizer under fastai's names."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch

from ... import names
from ..groups import NOTES, HypersView, as_groups, check_value, set_hypers
from . import flags
from .around import Around, clear_state
from .freezing import Layered

NAMES: Mapping[str, str] = {  # torch's, as `detuplify_pg` spells them, to fastai's
    "momentum": "mom", "weight_decay": "wd", "alpha": "sqr_mom",
    "betas__0": "mom", "betas__1": "sqr_mom",
}  # fmt: skip
_HIDDEN = NOTES - {"differentiable"}


class OptimWrapper(Layered, Around):
    """A torch optimizer with fastai's `hypers`, `param_lists`, `set_hyper` and freezing.

    `opt` is a class or function that makes an optimizer of `params` with the further keywords, or a
    built optimizer, without `params`. Lists of lists become torch's groups, unless
    `convert_groups=False`. `hp_map` gives names in place of `NAMES`; where two of torch's would
    have one name (momentum and betas), the second keeps its own.

    The flags force_train and do_wd are in this object's own `state`, not in the optimizer's. Where
    do_wd is False the step is taken with a weight_decay of 0, which the original ignored.

    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = OptimWrapper([w], torch.optim.SGD, lr=0.1, momentum=0.9)
    >>> optimizer.set_hyper("mom", 0.8)
    >>> optimizer.opt.param_groups[0]["momentum"]
    0.8
    """

    def __init__(
        self,
        params: Any = None,
        opt: Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer | None = None,
        hp_map: Mapping[str, str] | None = None,
        convert_groups: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(_built(params, opt, convert_groups, options))
        self.flags: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        held = detuplify_pg(self.opt.param_groups[0])
        self.fwd_map = _named(held, NAMES if hp_map is None else hp_map)
        self.bwd_map = {self.fwd_map.get(name, name): name for name in held}

    @property
    def state(self) -> defaultdict[Any, dict[str, Any]]:
        """The flags of parameters; the optimizer's state is `opt.state`."""
        return self.flags

    @state.setter
    def state(self, state: Any) -> None:
        self.flags = state

    # --- hyper-parameters -----------------------------------------------------------------------

    @property
    def hypers(self) -> list[WrappedHypers]:
        """One mapping for each group, under fastai's names; writes the group."""
        return [WrappedHypers(self, group) for group in self.param_groups]

    def set_hyper(self, name: str, value: Any) -> None:
        """Set a hyper-parameter, by fastai's name, in all groups (see `spread`).

        Raises KeyError for an unknown name, ValueError for a wrong count or a value out of range;
        then no group has changed.
        """
        set_hypers(type(self).__name__, self.hypers, {name: value})

    def set_hypers(self, **values: Any) -> None:
        """`set_hyper` for each; if one is wrong, none is set."""
        set_hypers(type(self).__name__, self.hypers, values)

    def torch_name(self, name: str) -> str:
        """Torch's name of a hyper-parameter; KeyError, with the names there are."""
        if name not in self.bwd_map:
            raise KeyError(
                f"{type(self.opt).__name__} in an OptimWrapper has no {name!r}; "
                f"it has {', '.join(self.bwd_map)}"
            )
        return self.bwd_map[name]

    # --- steps and state ------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the optimizer; returns the closure's loss."""
        with _without_decay(self.opt, self.flags):
            return super().step(closure)

    def clear_state(self) -> None:
        """Drop the optimizer's state; the flags stay."""
        clear_state(self.opt)
        flags.clear(self.flags, self.param_lists)


class WrappedHypers(HypersView):
    """The hyper-parameters of a wrapped group under fastai's names: reads and writes the group."""

    def __init__(self, wrapper: OptimWrapper, group: dict[str, Any]) -> None:
        self._wrapper, self._group = wrapper, group

    def __getitem__(self, name: str) -> Any:
        return detuplify_pg(self._group)[self._wrapper.torch_name(name)]

    def __setitem__(self, name: str, value: Any) -> None:
        self.check(name, value)
        set_item_pg(self._group, self._wrapper.torch_name(name), value)

    def check(self, name: str, value: object) -> None:
        """Raise KeyError for a name that the optimizer does not have, ValueError for a value."""
        torchs, _, i = self._wrapper.torch_name(name).partition("__")
        meaning = names.TUPLES[torchs][int(i)] if i and torchs in names.TUPLES else torchs
        single = isinstance(self[name], int | float)
        check_value(type(self._wrapper).__name__, name, value, meaning, single=single)

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"a hyper-parameter of a torch optimizer cannot be deleted, got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._wrapper.bwd_map if name not in _HIDDEN)


def detuplify_pg(pg: Mapping[str, Any]) -> dict[str, Any]:
    """A group without its parameters, tuples and lists spread out.

    >>> detuplify_pg({"params": [], "lr": 0.1, "betas": (0.9, 0.99)})
    {'lr': 0.1, 'betas__0': 0.9, 'betas__1': 0.99}
    """
    found: dict[str, Any] = {}
    for key, value in pg.items():
        if key in ("params", "param_names"):
            continue
        if isinstance(value, tuple | list):
            members = cast("Sequence[Any]", value)
            found.update({f"{key}__{i}": each for i, each in enumerate(members)})
        else:
            found[key] = value
    return found


def set_item_pg(pg: dict[str, Any], k: str, v: Any) -> dict[str, Any]:
    """Set a key of a group, or with 'name__i' an element of its tuple, which is a new one then.

    Raises IndexError for an element beyond the tuple.

    >>> set_item_pg({"betas": (0.9, 0.99)}, "betas__0", 0.8)
    {'betas': (0.8, 0.99)}
    """
    name, _, i = k.partition("__")
    if i.isdecimal():
        members = list(pg[name])
        members[int(i)] = v
        pg[name] = tuple(members)
    else:
        pg[k] = v
    return pg


def _named(held: Mapping[str, Any], mapped: Mapping[str, str]) -> dict[str, str]:
    """What torch's names are called here; of two that would be called the same, the first is."""
    if not isinstance(mapped, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
        raise TypeError(f"OptimWrapper: hp_map must be a dict of names, got {mapped!r}")
    found: dict[str, str] = {}
    taken = set(held) - set(mapped)
    for torchs, own in mapped.items():
        if torchs in held and own not in taken:
            found[torchs] = own
            taken.add(own)
    return found


def _built(
    params: Any, opt: Any, convert_groups: bool, options: dict[str, Any]
) -> torch.optim.Optimizer:
    """The optimizer to wrap."""
    owner = "OptimWrapper"
    if isinstance(opt, torch.optim.Optimizer):
        if params is not None or options:
            given = "params" if params is not None else next(iter(options))
            raise ValueError(f"{owner}: a built {type(opt).__name__} takes no {given}")
        return opt
    if opt is None or params is None:
        missing = "opt, a class or a built optimizer" if opt is None else "params for opt"
        raise ValueError(f"{owner}: wants {missing}")
    if not callable(opt):
        raise TypeError(f"{owner}: opt must be a class or a built optimizer, got {opt!r}")
    return cast("Any", opt)(as_groups(owner, params) if convert_groups else params, **options)


@contextmanager
def _without_decay(
    opt: torch.optim.Optimizer, flags: Mapping[Any, Mapping[str, Any]]
) -> Generator[None]:
    """For the length of a step, parameters flagged do_wd=False in groups without decay.

    The optimizer's groups are the same objects before and after.
    """
    plain = {p for p, held in flags.items() if not held.get("do_wd", True)}
    groups, lists = opt.param_groups, [group["params"] for group in opt.param_groups]
    further: list[dict[str, Any]] = []
    for group, params in zip(groups, lists, strict=True) if plain else ():
        apart = [p for p in params if p in plain] if group.get("weight_decay") else []
        if apart:
            further.append(copy.copy(group))  # of the group's own class
            further[-1].update(params=apart, weight_decay=0.0)
            group["params"] = [p for p in params if p not in plain]
    if further:
        opt.param_groups = [*groups, *further]
    try:
        yield
    finally:
        for group, params in zip(groups, lists, strict=True):
            group["params"] = params
        opt.param_groups = groups
