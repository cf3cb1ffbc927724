"""The functional form: chains as pure functions of parameters, gradients, state and hypers.

No optimizer and no mutation, through the loop engine, so that torch.func, meta-learning and
differentiation through steps work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from . import engines, slots
from .engines.batch import Batch, host_values
from .program import Hosts, Program, Programs
from .shell.construction import recipe_from
from .shell.recipe import Key
from .shell.work import as_real, refuse, refuse_sparse, wide
from .tracing import GLOBAL, NUMBER

State: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """One parameter with a gradient, its state, and its place among all parameters."""

    name: Any
    place: int
    p: Tensor
    g: Tensor
    state: Mapping[str, Any]


class Functional:
    """The functional form of an Optimizer class or of a list of rules: `init` and `update`.

    Keyword arguments choose static options and set defaults of hypers. Parameters are a dict of
    names to tensors (`dict(model.named_parameters())`), a list, or one tensor; gradients and state
    have the same form. Hypers may be floats or 0-dim tensors, which gradients flow through.

    Raises TypeError for rules that do not fit together or cannot be traced, and for unknown
    hypers; ValueError for values out of range.

    >>> import torch, steppers
    >>> adam = steppers.Functional(steppers.Adam, lr=0.1)
    >>> w = torch.ones(2)
    >>> new, state = adam.update(w, torch.ones(2), adam.init(w))
    >>> new
    tensor([0.9000, 0.9000])
    """

    def __init__(self, steps: Any, **options: Any) -> None:
        self._recipe = recipe_from("Functional", "Functional", steps)
        self._owner = self._recipe.name
        self.defaults = options
        self._key: Key = self._recipe.key(self._complete({}))
        why = self._recipe.untraceable(self._key)
        if why:
            raise TypeError(f"the functional form needs rules that can be traced: {why}")

    def init(self, params: Any, **hypers: Any) -> State:
        """The state of a chain that has taken no step: one dict for each parameter, and `kept`.

        It shares no memory with the parameters; gradients flow back to them from their copies.
        """
        named, values = _by_name(params), self._hypers(hypers)
        each = {name: self._init_one(p, values) for name, p in named.items()}
        kept = {n: values[n] for n in self._recipe.kept(self._key)}
        return {"state": _like(params, each), "kept": kept}

    def update(
        self, params: Any, grads: Any, state: State, hypers: Mapping[str, Any] | None = None
    ) -> tuple[Any, State]:
        """One step: (new parameters, new state). Hypers not given are the defaults.

        A parameter whose gradient is None, or missing from a dict, stays as it is. A step at lr 0
        leaves `kept` alone, as the optimizer's does. Raises ValueError where names, numbers or
        shapes do not fit together, for a state of another chain, and for an option that differs;
        RuntimeError for sparse gradients.
        """
        named, values = _by_name(params), self._hypers(hypers or {})
        gradients = _check_gradients(self._owner, named, _grads_by_name(self._owner, grads, params))
        states = self._states(params, named, state)
        values.update({name: _wide(value) for name, value in state["kept"].items()})
        pieces = self._pieces(named, gradients, states)
        batches = [_batch(program, members, values) for program, members in pieces]
        engines.drive([("loop", batch) for batch in batches])
        for (_, members), batch in zip(pieces, batches, strict=True):
            for i, member in enumerate(members):
                named[member.name], states[member.name] = _result(batch, i, member)
        kept = _kept(dict(state["kept"]), batches, values.get("lr", 1.0))
        return _like(params, named), {"state": _like(params, states), "kept": kept}

    # --- hyper-parameters -----------------------------------------------------------------------

    def _complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return self._recipe.complete(self._owner, self.defaults, given, mixed=True)

    def _hypers(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The value of every hyper of the chain; tensors in double precision."""
        full = self._complete(given)
        self._check_options(full)
        full = {**self._recipe.fields(self._key), **full}
        return {name: _wide(full[field] if index is None else full[field][index])
                for name, (field, index) in self._recipe.places(self._key).items()}  # fmt: skip

    def _check_options(self, full: Mapping[str, Any]) -> None:
        """Raise for a static option that is not what the chain was made with."""
        recipe, key = self._recipe, self._key
        for i, (option, made, now) in enumerate(
            zip(recipe.options, key, recipe.key(full), strict=True)
        ):
            if made == now or (option in recipe.gates and made):  # open: 0 is a value too
                continue
            if option in recipe.gates:
                if recipe.chain((*key[:i], now, *key[i + 1 :])) == recipe.chain(key):
                    continue
                raise ValueError(
                    f"{self._owner}: {option} was 0 when this functional form was made, so its "
                    f"chain has no {option}, got {option}={full[option]!r}; give Functional "
                    f"{option} > 0 (any value) and change it from there"
                )
            raise ValueError(
                f"{self._owner}: {option} chooses the rules when the functional form is made, "
                f"which was with {made!r}, got {option}={now!r}; give it to Functional instead"
            )

    # --- state ----------------------------------------------------------------------------------

    def _programs(self, p: Tensor) -> Programs:
        programs = self._recipe.programs(self._key, p.ndim)
        refuse(self._owner, p, programs, "steps", early=True)
        return programs

    def _init_one(self, p: Tensor, values: Mapping[str, Any]) -> dict[str, Any]:
        binding = self._programs(p).binding
        made = {n: slots.make(s, p, values, host=False) for n, s in binding.slots.items()}
        return {"step": torch.zeros(()), **made}

    def _states(self, params: Any, named: Mapping[Any, Tensor], state: Any) -> dict[Any, Any]:
        """The state of each parameter by name; raises ValueError for one of another chain."""
        kept = self._recipe.kept(self._key)
        again = "make one with init(params)"
        if not (isinstance(state, Mapping) and {"state", "kept"} <= state.keys()):
            raise ValueError(
                f"{self._owner}: state must be what init or update returned, a dict of 'state' and "
                f"'kept', got {_kind(state)}; {again}"
            )
        if state["kept"].keys() != kept:
            raise ValueError(
                f"{self._owner}: this state is another chain's: it keeps "
                f"{_listed(state['kept'])}, and this chain {_listed(kept)}; {again}"
            )
        states = _in_form("state['state']", state["state"], params)
        for name in named.keys() ^ states.keys():
            has, lacks = ("params", "the state") if name in named else ("the state", "params")
            raise ValueError(f"{self._owner}: {has} has {name!r}, but {lacks} has not; {again}")
        for name, p in named.items():
            self._check_state(name, p, states[name])
        return states

    def _check_state(self, name: Any, p: Tensor, state: Any) -> None:
        wanted = self._programs(p).binding.slots
        held = state.keys() if isinstance(state, Mapping) else set[str]()
        for slot in sorted(held ^ {"step", *wanted}):
            what = "has" if slot in held else "lacks"
            raise ValueError(
                f"{self._owner}: the state of {name!r} {what} {slot}, so it is another chain's; "
                "make one with init(params)"
            )
        for slot, initialiser in wanted.items():
            shape = slots.shape_of(initialiser, p)
            if tuple(state[slot].shape) != shape:
                raise ValueError(
                    f"{self._owner}: {slot} of {name!r} must have shape {shape}, got "
                    f"{tuple(state[slot].shape)}; make the state with init(params)"
                )

    def _pieces(
        self, params: Mapping[Any, Tensor], grads: Mapping[Any, Any], states: Mapping[Any, Any]
    ) -> list[tuple[Program, list[Member]]]:
        """The parameters that have gradients, by the program that they run."""
        found: dict[int, tuple[Program, list[Member]]] = {}
        for place, (name, p) in enumerate(params.items()):
            grad = grads.get(name)
            if grad is not None:
                program = self._programs(p).programs["steps"]
                members = found.setdefault(id(program), (program, []))[1]
                members.append(Member(name, place, p, grad, states[name]))
        return list(found.values())


# --- numbers -----------------------------------------------------------------------------------


def _wide(value: Any) -> Any:
    """Tensors in double precision, anything else as it is."""
    return wide(value) if isinstance(value, Tensor) else value


def _decided(x: Any) -> Any:
    """A tensor's number, so that it is exact and conditions on it choose one side.

    Under vmap, and on the meta device, there is no one number; then the tensor, as `_wide`.
    """
    try:
        return x.item() if isinstance(x, Tensor) else x
    except RuntimeError:
        return wide(x) if x.is_floating_point() else x


# --- a step ------------------------------------------------------------------------------------


def _batch(program: Program, members: list[Member], values: Mapping[str, Any]) -> Batch:
    columns = {"p": [as_real(m.p) for m in members], "g": [as_real(m.g) for m in members]}
    for slot in program.slots.keys() - program.host_slots:
        columns[slot] = [as_real(m.state[slot]) for m in members]
    hosts = [_host_row(program, member, values) for member in members]
    kept = {n: values[n] for n, kind in program.kept.items() if kind == GLOBAL}
    replace = frozenset({"p", *program.slots})
    return Batch(program, columns, list(range(len(members))), hosts, kept, replace)


def _host_row(program: Program, member: Member, values: Mapping[str, Any]) -> Hosts:
    """The host values of one parameter; its host conditions are decided where they can be."""
    own = {name: _wide(member.state[name]) for name in program.host_slots}
    t = _decided(member.state["step"]) + 1
    own.update({"t": t, NUMBER: float(member.place), "seed": 0})
    row = host_values(program, {**values, **own}, member.p)
    row.update({condition: _decided(row[condition]) for condition in program.conditions})
    return row


def _result(batch: Batch, i: int, member: Member) -> tuple[Tensor, dict[str, Any]]:
    """The new parameter and the new state of the i-th member."""
    program, p, skipped = batch.program, member.p, batch.program.skipped(batch.totals)
    count = member.state["step"]
    new: dict[str, Any] = {**member.state, "step": _unless(skipped, count + 1, count)}
    for name in program.host_slots & program.outputs.keys():
        value, old = batch.hosts[i][program.outputs[name]], member.state[name]
        number = isinstance(value, Tensor)
        value = value.to(old.dtype) if number else torch.full_like(old, value)
        new[name] = _unless(skipped, value, old)
    for name in program.stores:
        old, x = p if name == "p" else member.state[name], batch.tensors[name][i]
        new[name] = torch.view_as_complex(x.contiguous()) if old.is_complex() else x
    return new.pop("p", p), new


def _kept(old: dict[str, Any], batches: list[Batch], lr: Any) -> dict[str, Any]:
    """The kept scalars after a step; those of before where lr is 0."""
    new = dict(old)
    for batch in batches:
        skipped = batch.program.skipped(batch.totals)
        made = engines.kept_values(batch)
        new.update({name: _unless(skipped, x, old[name]) for name, x in made.items()})
    decided = _decided(lr)
    if not isinstance(decided, Tensor):
        return new if decided != 0 else old
    moves = decided != 0  # one lr for each member of a vmap
    return {n: torch.where(moves, _as(decided, x), _as(decided, old[n])) for n, x in new.items()}


def _unless(skipped: Any, new: Any, old: Any) -> Any:
    """The new value of a step count or scalar, unless the step was skipped."""
    if skipped is False:
        return new
    like = next((x for x in (new, old) if isinstance(x, Tensor)), skipped.new_zeros(()).double())
    return torch.where(skipped.to(like.device), _as(like, old), _as(like, new))


def _as(like: Tensor, x: Any) -> Tensor:
    return torch.as_tensor(x, dtype=like.dtype, device=like.device)


# --- forms: a dict, a list or one tensor -------------------------------------------------------


def _by_name(params: Any) -> dict[Any, Tensor]:
    """Parameters by name, or by place."""
    if isinstance(params, Tensor):
        return {0: params}
    if not isinstance(params, Mapping | list | tuple):
        raise TypeError(
            "Functional: params must be a dict of names to tensors, a list of tensors or one "
            f"tensor, got {_kind(params)}; write dict(model.named_parameters())"
        )
    named: dict[Any, Any] = dict(params if isinstance(params, Mapping) else enumerate(params))
    for name, p in named.items():
        if not isinstance(p, Tensor):
            raise TypeError(f"Functional: parameter {name!r} must be a tensor, got {_kind(p)}")
    return named


def _in_form(what: str, tree: Any, params: Any) -> dict[Any, Any]:
    """What has the form of the parameters, by their names."""
    if isinstance(params, Tensor):
        return {0: tree}
    if isinstance(params, Mapping):
        if isinstance(tree, Mapping):
            return dict(tree)
    elif isinstance(tree, list | tuple):
        return dict(enumerate(tree))
    raise TypeError(
        f"Functional: {what} must have the form of params, {_kind(params)}, got {_kind(tree)}"
    )


def _grads_by_name(owner: str, grads: Any, params: Any) -> dict[Any, Any]:
    named = _in_form("grads", grads, params)
    if isinstance(params, list | tuple) and len(named) != len(params):
        count = f"{len(named)} gradient{'s' * (len(named) != 1)}"
        raise ValueError(
            f"{owner}: got {count} for {len(params)} parameters; give None for one that has none"
        )
    return named


def _check_gradients(
    owner: str, params: Mapping[Any, Tensor], grads: dict[Any, Any]
) -> dict[Any, Any]:
    """The gradients, if each is one of a parameter and fits it."""
    for name, g in grads.items():
        if name not in params:
            raise ValueError(
                f"{owner}: got a gradient for {name!r}, which is no parameter; they are "
                f"{_listed(params)}"
            )
        if g is None:
            continue
        if not isinstance(g, Tensor):
            raise TypeError(
                f"{owner}: the gradient of {name!r} must be a tensor or None, got {_kind(g)}"
            )
        refuse_sparse(owner, g)
        p = params[name]
        if g.shape != p.shape or g.is_complex() != p.is_complex():
            raise ValueError(
                f"{owner}: the gradient of {name!r} must be like the parameter, "
                f"{_described(p)}, got {_described(g)}"
            )
    return grads


def _like(params: Any, values: Mapping[Any, Any]) -> Any:
    """Values by name in the form of the parameters."""
    if isinstance(params, Tensor):
        return values[0]
    if isinstance(params, Mapping):
        return {name: values[name] for name in params}
    kind, row = type(params), [values[i] for i in range(len(params))]
    return kind(*row) if hasattr(kind, "_fields") else kind(row)  # a namedtuple takes each alone


def _kind(x: object) -> str:
    return f"a {type(x).__name__}"


def _described(x: Tensor) -> str:
    return f"{'complex' if x.is_complex() else 'real'} of shape {tuple(x.shape)}"


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"
