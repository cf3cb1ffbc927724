"""What an optimizer does: its update as formulas, its numbers, its bytes, its engine and why."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from . import bandwidth, traffic
from .engines import Choice
from .formulas import count_text, formula_lines, number_text
from .preview import pieces, trained
from .shell import precision
from .shell.plans import Plans
from .shell.protocol import Shell
from .shell.recipe import Key, Recipe
from .slots import Initialiser, dtype_of, shape_of
from .traffic import Walk


@dataclass(frozen=True)
class GroupExplained:
    """One group: its chain as formulas by chain name, its options, its hypers, its state, its step.

    `walks` are the passes of the next step: what each reads, stores and makes of it. Their bytes
    are what generated kernels move; other engines move these at least (`at_least`), and what they
    compute in between as well. None stands for what is not known: for rules that cannot be traced,
    and for the bandwidth of a device that was not measured.
    """

    chain: str
    rules: list[str]
    formulas: dict[str, list[str]]
    options: dict[str, Any]
    hypers: dict[str, Any]
    slots: dict[str, str]
    parameters: int
    state_bytes_per_parameter: float
    engine: str
    why: str
    passes: int
    walks: list[Walk]
    bytes_per_step: int | None
    bytes_per_parameter: float | None
    at_least: bool
    bandwidth: float | None  # bytes a second that x.add_(y) moves
    seconds: float | None  # what the bytes of a step take at that
    launches: int | None  # kernels that the fused engine starts in a step
    copies: dict[str, int]  # tensors that every step copies for their layout, by name


@dataclass(frozen=True)
class Explanation:
    """What `optimizer.explain()` found; print it, or take `as_dict()`."""

    name: str
    groups: list[GroupExplained]

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, tuples, strings and finite numbers, the caller's own: strict JSON.

        Infinite numbers and NaN are strings ("inf"), for which JSON has no number.
        """
        return {"name": self.name, "groups": [_jsonable(asdict(group)) for group in self.groups]}

    def __str__(self) -> str:
        lines = [self.name]
        for i, group in enumerate(self.groups):
            if len(self.groups) > 1:
                lines += ["", f"group {i}: {group.parameters:,} parameters, chain {group.chain}"]
            lines += _group_lines(group)
        return "\n".join(lines)

    __repr__ = __str__


def _jsonable(value: Any) -> Any:
    """A copy of plain data, as JSON can hold it."""
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        return {name: _jsonable(each) for name, each in held.items()}
    if isinstance(value, list | tuple):
        row = cast("list[Any] | tuple[Any, ...]", value)
        return type(row)(_jsonable(each) for each in row)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _group_lines(group: GroupExplained) -> list[str]:
    lines: list[str] = []
    for which, formulas in group.formulas.items():
        lines += ["", f"  {which}"] + [f"    {line}" for line in formulas]
    for title, values in (("options", group.options), ("hyper-parameters", group.hypers)):
        if values:
            lines += ["", f"  {title}"]
            lines += [f"    {name} = {number_text(value)}" for name, value in values.items()]
    lines += ["", f"  state: {group.state_bytes_per_parameter:.4g} bytes a parameter"]
    lines += [f"    {name}: {text}" for name, text in group.slots.items()]
    return [*lines, "", *_step_lines(group)]


def _step_lines(group: GroupExplained) -> list[str]:
    """What a step does to memory, and who does it."""
    lines = [f"  passes over memory: {group.passes}"] if group.passes else []
    for walk in group.walks:
        lines += textwrap.wrap(str(walk), 96, initial_indent="    ", subsequent_indent=" " * 6)
    if group.bytes_per_step is not None:
        size = f"{'at least ' * group.at_least}{group.bytes_per_parameter:.4g} a parameter"
        lines.append(f"  bytes a step: {size}, {group.bytes_per_step:,} in all")
    if group.seconds is not None and group.bandwidth is not None:
        speed = f"{group.bandwidth / 1e9:.3g} GB/s"
        lines.append(f"    that takes {_time(group.seconds)} at {speed} (x.add_(y) here)")
    for name, count in group.copies.items():
        lines.append(
            f"    copied in each step, for its layout: {name} ({count_text(count, 'tensor')})"
        )
    started = "" if group.launches is None else f", {count_text(group.launches, 'kernel')} a step"
    return [*lines, f"  engine: {group.engine} ({group.why}){started}"]


def _time(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _present(value: Any) -> Any:
    """A value as it is now: the number that a tensor holds."""
    if isinstance(value, tuple):
        return tuple(_present(each) for each in cast("tuple[Any, ...]", value))
    return value.item() if isinstance(value, Tensor) else value


def explain(optimizer: Shell, plans: Plans, measure: bool = True) -> Explanation:
    """Read an optimizer's groups, chains, programs and engine into an Explanation."""
    groups = [_explain_group(optimizer, plans, group, measure) for group in optimizer.param_groups]
    return Explanation(type(optimizer).__name__, groups)


def _explain_group(
    optimizer: Shell, plans: Plans, group: dict[str, Any], measure: bool
) -> GroupExplained:
    recipe, key, choice = optimizer.reading(group)
    formulas: dict[str, list[str]] = {}
    slots: dict[str, str] = {}
    held = [_held(optimizer, group, recipe, key, p) for p in group["params"]]
    passes = 0
    shapes = recipe.chain(key).shapes()
    for ndim in shapes:
        programs = recipe.programs(key, ndim)
        label = (" (matrices)" if ndim == 2 else " (others)") if len(shapes) > 1 else ""
        for which, program in programs.programs.items():
            formulas[which + label] = formula_lines(program)
            passes = max(passes, len(program.passes) if which == "steps" else 0)
        if programs.untraceable:
            rules = recipe.chain(key).at(ndim)["steps"]
            formulas["steps" + label] = [f"{rule.name}(…)" for rule in rules]
        slots.update({n: _slot_text(n, slot, held) for n, slot in programs.binding.slots.items()})
    slots.update(_low_texts(group, held))
    shown = {*(field for field, _ in recipe.places(key).values()), *recipe.gates}
    return GroupExplained(
        chain=group["chain"],
        rules=[rule.name for rule in recipe.chain(key).at(next(iter(shapes)))["steps"]],
        formulas=formulas,
        options=_options(recipe, group),
        hypers={f: _present(group[f]) for f in recipe.fields(key) if f in shown},
        slots=slots,
        parameters=sum(p.numel() for p in group["params"]),
        state_bytes_per_parameter=_bytes(group, held),
        engine=choice.name,
        why=choice.why,
        passes=passes,
        **_step(optimizer, plans, group, choice, len(shapes) > 1, measure),
    )


def _step(
    optimizer: Shell,
    plans: Plans,
    group: dict[str, Any],
    choice: Choice,
    split: bool,
    measure: bool,
) -> dict[str, Any]:
    """What the next step of a group moves, and how long that takes."""
    found = pieces(optimizer, group, "steps", trained)
    walks = traffic.walks(found, split)
    known = all(piece.traced for piece in found)
    moved = sum(walk.bytes for walk in walks) if known else None
    size = sum(p.numel() for piece in found for p in piece.params)
    fast = bandwidth.measured(group["params"][0].device) if measure and moved else None
    fused = choice.name == "fused"
    return dict(
        walks=walks,
        bytes_per_step=moved,
        bytes_per_parameter=None if moved is None else moved / max(1, size),
        at_least=not fused,
        bandwidth=fast,
        seconds=moved / fast if moved and fast else None,
        launches=traffic.launches(found) if fused else None,
        copies=traffic.copies(plans, group),
    )


def _options(recipe: Recipe, group: Mapping[str, Any]) -> dict[str, Any]:
    """The static options that `steps` states, and those of every optimizer that are on."""
    present = {o: _present(group.get(o, default)) for o, default in recipe.options.items()}
    stated = {o: v for o, v in present.items() if o not in recipe.gates}
    stored = {o: group[o] for o in precision.OPTIONS if group.get(o) is not None}
    return {o: v for o, v in stated.items() if o in recipe.defaults or v} | stored


# --- state -------------------------------------------------------------------------------------


Held: TypeAlias = dict[str, tuple[int, torch.dtype]]  # elements and dtype, by name


def _held(optimizer: Shell, group: Mapping[str, Any], recipe: Recipe, key: Key, p: Tensor) -> Held:
    """p and its slots, as they are or will be after the first step."""
    state = optimizer.state.get(p) or {}
    found = {"p": (p.numel(), p.dtype)}
    for name, slot in recipe.programs(key, p.ndim).binding.slots.items():
        x = state.get(name)
        if isinstance(x, Tensor):
            found[name] = (x.numel(), x.dtype)
        else:
            dtype = dtype_of(slot, p, precision.slot_dtype(group, name))
            found[name] = (torch.Size(shape_of(slot, p)).numel(), dtype)
    return found


def _bytes(group: Mapping[str, Any], held: list[Held]) -> float:
    """Bytes of all slots and low parts over the parameters' number; the count is not in it."""
    size = 0
    for each in held:
        for name, (numel, dtype) in each.items():
            pair = precision.rounding_of(group, name, dtype) == "kahan"
            size += numel * dtype.itemsize * (pair + (name != "p"))
    return size / max(1, sum(each["p"][0] for each in held))


def _slot_text(name: str, slot: Initialiser, held: list[Held]) -> str:
    """A slot's initialiser, and its dtype where that is not the parameter's."""
    dtypes = [(each[name][1], each["p"][1]) for each in held if name in each]
    other = dict.fromkeys(str(own).removeprefix("torch.") for own, p in dtypes if own != p)
    return f"{slot!r} ({', '.join(other)})" if other and slot.shape != "scalar" else repr(slot)


def _low_texts(group: Mapping[str, Any], held: list[Held]) -> dict[str, str]:
    """The low parts of what is stored as pairs."""
    return {
        name + precision.LOW: f"what rounding {name} lost"
        for each in held
        for name, (_, dtype) in each.items()
        if precision.rounding_of(group, name, dtype) == "kahan"
    }


__all__ = ["Explanation", "GroupExplained", "explain"]
