"""A recipe: what an optimizer class states, and the chain that each choice of options gives."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from torch import Tensor

from .. import names
from ..chain import REQUIRED, Chain, flatten, make_chain, suggest
from ..program import Programs, build
from ..rules.gradients import maximise
from ..tracing import GLOBAL
from .stated import functions, gates, importable, is_number, makes_steps

Key: TypeAlias = tuple[Any, ...]  # one choice of the static options
EVERYWHERE = ("maximize", "skip_nonfinite")  # static options of every chain, off by default
T = TypeVar("T")


def _once(method: Callable[[Recipe, Key], T]) -> Callable[[Recipe, Key], T]:
    """Compute a property of a choice of options once."""

    @functools.wraps(method)
    def found(self: Recipe, key: Key) -> T:
        place = (method.__name__, key)
        if place not in self.memo:
            self.memo[place] = method(self, key)
        return self.memo[place]

    return found


class Recipe:
    """Steps, further chains and defaults of one kind of optimizer; chains are made once a choice.

    Static options are the arguments of `steps`, if it is a function, and those in EVERYWHERE. An
    option that is a hyper-parameter as well (SGD's momentum) only chooses by being zero or not.
    """

    def __init__(
        self,
        name: str,
        steps: Any,
        further: Mapping[str, Any],
        defaults: Mapping[str, Any],
        settled: Iterable[str] = (),
        ranges: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.further = name, dict(further)
        self._given = (steps, dict(defaults), tuple(settled), dict(ranges or {}))
        self.ranges = {**names.RANGES, **(ranges or {})}
        for hyper, text in (ranges or {}).items():
            names.check_range(name, hyper, text)
        self._steps: Callable[..., Any] = steps if makes_steps(steps) else lambda: steps
        self.options: dict[str, Any] = {}
        for arg in inspect.signature(self._steps).parameters.values():
            if arg.default is arg.empty:
                raise TypeError(f"{name}: the option {arg.name} of steps needs a default")
            self.options[arg.name] = defaults.get(arg.name, arg.default)
        self._own = tuple(self.options)
        for option in EVERYWHERE:
            self.options.setdefault(option, False)
        self.defaults = {**defaults, **{o: self.options[o] for o in self._own}}
        self.memo: dict[Any, Any] = {}
        self._programs: dict[tuple[Key, int], Programs] = {}
        self.gates = gates({o: self.options[o] for o in self._own}, self._make)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what was stated; rules go by their import path, so they need one."""
        steps, defaults, settled, ranges = self._given
        for rule in functions([steps, *self.further.values()]):
            importable(rule)
        return Recipe, (self.name, steps, self.further, defaults, settled, ranges)

    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe:
        return self

    # --- chains ---------------------------------------------------------------------------------

    def key(
        self, group: Mapping[str, Any], owner: str = "", held: Mapping[str, Any] | None = None
    ) -> Key:
        """The choice of static options that a group's values make.

        A gate (momentum) that is 0 now stays open if the state `held` has its slots; ValueError
        if it is above 0 now, but the state was made without them.
        """
        key = tuple(
            _is_open(group[o]) if o in self.gates else group[o] if o in group else self.options[o]
            for o in self.options
        )
        for gate in self.gates if held else ():
            opened, needed = self._behind(gate, key)
            if any((held or {}).get(slot) is not None for slot in needed):
                key = opened
            elif group[gate] and needed:
                raise ValueError(
                    f"{owner}: {gate} was 0 when this group's state was made, so it has no "
                    f"{', '.join(sorted(needed))}; make the optimizer with {gate} > 0 (any value) "
                    "and schedule it from there"
                )
        return key

    @_once
    def chain(self, key: Key) -> Chain:
        """The chain for one choice of options."""
        options = dict(zip(self.options, key, strict=True))
        made = self._make({o: options[o] for o in self._own})
        if options["maximize"] and "maximize" not in self._own:
            steps = dict(made.chains)
            steps["steps"] = (*flatten([maximise]), *steps["steps"])
            made = Chain(made.name, tuple(steps.items()))
        return made

    def _make(self, options: Mapping[str, Any]) -> Chain:
        further = {
            which: steps(**{o: options[o] for o in inspect.signature(steps).parameters})
            if makes_steps(steps)
            else steps
            for which, steps in self.further.items()
        }
        return make_chain(self.name, self._steps(**options), further)

    def programs(self, key: Key, ndim: int) -> Programs:
        """The bound and traced chains for parameters of that many dimensions."""
        ndim = 2 if ndim >= 2 else 1
        if (key, ndim) not in self._programs:
            chains = tuple(self.chain(key).at(ndim).items())
            self._programs[key, ndim] = build(self.name, chains, self._settled(), self.skips(key))
        return self._programs[key, ndim]

    def skips(self, key: Key) -> bool:
        """True for a choice of options whose steps change nothing on non-finite gradients."""
        asked = bool(dict(zip(self.options, key, strict=True))["skip_nonfinite"])
        return asked and "skip_nonfinite" not in self._own

    @_once
    def all_programs(self, key: Key) -> list[Programs]:
        """The programs of every class of shapes that the chain takes."""
        return [self.programs(key, ndim) for ndim in self.chain(key).shapes()]

    def verify(self) -> None:
        """Trace the chains of the default options and of each option changed; raise if unsound."""
        default = self._chosen({})
        self.complete(self.name, {}, partial=True)
        hypers = set(self.hypers(default))
        for i, value in enumerate(default):
            if isinstance(value, bool) and i < len(self._own):
                changed = (*default[:i], not value, *default[i + 1 :])
                try:
                    self.chain(changed)
                except ValueError:  # options that do not go together say so when they are chosen
                    continue
                hypers |= self.hypers(changed).keys()
        self._refuse_strangers(hypers)

    def _refuse_strangers(self, hypers: set[str]) -> None:
        """Raise for defaults and ranges of what no choice of options has."""
        tuples = {key for key, members in names.TUPLES.items() if hypers & set(members)}
        known = {*hypers, *self.options, *tuples}
        switches = all(isinstance(v, bool) or o in self.gates for o, v in self.options.items())
        for name in [*self._given[1], *self._given[3]]:
            near = suggest(name, known)
            if name not in known and (near or switches):
                raise TypeError(f"{self.name} states {name!r}, but no rule of it has that{near}")

    def with_defaults(self, defaults: Mapping[str, Any]) -> Recipe:
        """The same recipe with other defaults for the hypers and options that it has."""
        known = self.known({})
        mine = {name: value for name, value in defaults.items() if name in known}
        if not mine:
            return self
        steps, own, settled, ranges = self._given
        key = self.key(self.defaults)
        own = {**own, **names.normalise(self.name, mine, self.places(key), self.fields(key))}
        return Recipe(self.name, steps, self.further, own, settled, ranges)

    @property
    def title(self) -> str:
        """The rules of the default options in order: the name of a chain that has no class."""
        steps = self.chain(self._chosen({})).at(2)["steps"]
        return " > ".join(rule.name for rule in steps)

    def _settled(self) -> frozenset[str]:
        members = (m for k in self.defaults for m in names.TUPLES.get(k, ()))
        return frozenset((*self.defaults, *members, *self._given[2]))

    @_once
    def slots(self, key: Key) -> set[str]:
        """Names of the slots of the chain."""
        return {n for programs in self.all_programs(key) for n in programs.binding.slots}

    @_once
    def host_slots(self, key: Key) -> set[str]:
        """Scalar slots that are fed by host scalars only, and so live on the host."""
        programs = [q for each in self.all_programs(key) for q in each.programs.values()]
        return {name for program in programs for name in program.host_slots}

    @_once
    def untraceable(self, key: Key) -> str:
        """Why the chain runs in the loop engine alone, or ''."""
        return next((p.untraceable for p in self.all_programs(key) if p.untraceable), "")

    def takes_vectors(self) -> bool:
        """False if the chain refuses parameters of fewer than two dimensions."""
        key = self.key(self.defaults)
        try:
            programs = self.programs(key, 1).programs.values()
        except ValueError:
            return False
        return not any(program.needs_matrix for program in programs)

    def _behind(self, gate: str, key: Key) -> tuple[Key, set[str]]:
        """The choice with one gate open, and the slots that exist only then."""
        i = list(self.options).index(gate)
        shut, opened = (*key[:i], False, *key[i + 1 :]), (*key[:i], True, *key[i + 1 :])
        return opened, self._slots_if(opened) - self._slots_if(shut)

    def _slots_if(self, key: Key) -> set[str]:
        """The slots of a choice of options, none where these do not go together."""
        try:
            return self.slots(key)
        except ValueError:
            return set()

    # --- hyper-parameters -----------------------------------------------------------------------

    @_once
    def hypers(self, key: Key) -> dict[str, Any]:
        """All hypers of the chain, gates and kept scalars included, with their rules' defaults."""
        found: dict[str, Any] = {}
        for programs in self.all_programs(key):
            for name, default in programs.binding.hypers.items():
                if found.get(name, REQUIRED) is REQUIRED:
                    found[name] = default
        return {**{gate: self.options[gate] for gate in self.gates}, **found}

    @_once
    def kept(self, key: Key) -> set[str]:
        """Names of the kept scalars of the chain."""
        return {n for programs in self.all_programs(key) for n in programs.binding.kept}

    @_once
    def shared(self, key: Key) -> set[str]:
        """Kept scalars that global reductions feed: tensors, with one value for all groups."""
        programs = [q for each in self.all_programs(key) for q in each.programs.values()]
        return {n for program in programs for n, kind in program.kept.items() if kind == GLOBAL}

    @_once
    def places(self, key: Key) -> dict[str, names.Place]:
        """Where a group stores each hyper."""
        order = list(self.defaults)
        found = names.places(self.hypers(key), self.defaults)
        last = len(order)
        return dict(sorted(found.items(), key=lambda item: order.index(item[1][0])
                           if item[1][0] in order else last))  # fmt: skip

    @_once
    def fields(self, key: Key) -> dict[str, Any]:
        """Group keys and their defaults: the class's in its order, then what rules declare."""
        hypers, found = self.hypers(key), {**self.defaults}
        for hyper, (field, index) in self.places(key).items():
            if field not in found:
                found[field] = () if index is not None else hypers[hyper]
        for field, value in found.items():
            if value == () and field in names.TUPLES:
                members = names.TUPLES[field]
                found[field] = tuple(hypers[m] for m in members if m in hypers)
        return found

    def known(self, given: Mapping[str, Any]) -> set[str]:
        """Every name that the constructor takes, for these options."""
        key = self._chosen(given)
        fields = self.fields(key)
        elements = {m for k in names.TUPLES if isinstance(fields.get(k), tuple)
                    for m in names.TUPLES[k][: len(fields[k])]}  # fmt: skip
        known = {*fields, *self.places(key), *self.options, *elements}
        return known | {short for short in names.SHORT if names.resolve(short, known) != short}

    def _chosen(self, given: Mapping[str, Any]) -> Key:
        said = {names.resolve(name, self.defaults): value for name, value in given.items()}
        options = {o: names.plain(said.get(o, default)) for o, default in self.options.items()}
        return self.key({**self.defaults, **options})

    def complete(
        self,
        owner: str,
        *layers: Mapping[str, Any],
        partial: bool = False,
        mixed: bool = False,
    ) -> dict[str, Any]:
        """Constructor arguments made complete and checked, by group key; later layers override.

        With `partial`, what has no value yet is left out: each group has to bring it. With
        `mixed`, betas may be numbers and tensors.

        Raises TypeError for an unknown or a missing name, ValueError for a value out of range.
        """
        given = {name: value for layer in layers for name, value in layer.items()}
        self._check_switches(owner, given)
        key, known = self._chosen(given), self.known(given)
        where, values = self.places(key), self.fields(key)
        for name in given:
            if name not in known:
                raise TypeError(
                    f"{owner} has no hyper-parameter {name!r}{suggest(name, known)} "
                    f"(it has {', '.join(values)})"
                )
        for layer in layers:
            values = {**values, **names.normalise(owner, layer, where, values)}
        if values.get("initial_lr") is REQUIRED and not partial:  # what lr began at
            lr = values["lr"]
            values["initial_lr"] = lr.clone() if isinstance(lr, Tensor) else lr
        missing = [n for n, v in values.items() if v is REQUIRED or _lacks(v)]
        if partial:
            values = {n: v for n, v in values.items() if n not in missing}
        elif missing:
            raise TypeError(f"{owner} needs a value for {missing[0]}: pass {missing[0]}=…")
        self.check(owner, values, key, mixed)
        return values

    def _check_switches(self, owner: str, given: Mapping[str, Any]) -> None:
        for option, default in self.options.items():
            value = given.get(option, default)
            if isinstance(default, bool) and not isinstance(value, bool):
                raise TypeError(f"{owner}: {option} must be True or False, got {value!r}")

    def values(
        self, owner: str, group: Mapping[str, Any], key: Key, on_gpu: bool = False
    ) -> dict[str, Any]:
        """The present value of every hyper: floats, or tensors as they are in a live group.

        With `on_gpu` tensors on a GPU stay there as well: nothing waits for the device.
        Kept scalars that are tensors are left out: they come from the device, and stay there.
        Raises as `check` does for what is no number.
        """
        live, found = is_live(group), dict[str, Any]()
        try:
            for name, place in self.places(key).items():
                value = names.get(group, place)
                if isinstance(value, Tensor):
                    if name in self.shared(key):
                        continue
                    value = value if live or (on_gpu and value.is_cuda) else value.item()
                elif value is not None or name not in names.OPTIONAL:
                    value = _number(value)
                found[name] = value
        except (TypeError, ValueError, IndexError, KeyError, RuntimeError) as error:
            self.check(owner, group, key)
            raise type(error)(f"{owner}: a group has lost {error}") from None
        return found

    def check(self, owner: str, group: Mapping[str, Any], key: Key, mixed: bool = False) -> None:
        """Raise for the first hyper-parameter of a group that is no number or out of range."""
        where, kept = self.places(key), self.kept(key)
        stated = names.places(self.ranges, self.defaults)
        also = {n: place for n, place in stated.items() if n not in where
                and is_number(self.defaults.get(place[0]))}  # fmt: skip
        ranges = {n: text for n, text in self.ranges.items() if n not in kept}
        names.check(owner, group, {**where, **also}, ranges, mixed)


def is_live(group: Mapping[str, Any]) -> bool:
    """True for capturable and differentiable groups: nothing is read back to the host."""
    return bool(group["capturable"] or group["differentiable"])


def _is_open(gate: Any) -> bool:
    """True for a hyper above 0, and for one that is no one number (under vmap)."""
    try:
        return bool(gate)
    except RuntimeError:
        return True


def _number(value: Any) -> float:
    if not isinstance(value, float | int):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _lacks(value: Any) -> bool:
    return isinstance(value, tuple) and any(v is REQUIRED for v in value)
