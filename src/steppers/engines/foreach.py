"""The foreach engine: the loop engine's walk over lists of tensors, on any device.

Lists are walked in blocks (large tensors in flat slices where a phase is elementwise) and each
value is freed or overwritten at its last use, so that a step needs little memory beside the state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..passes import Selection, Step, fused
from ..tracing import Value
from . import storage
from .batch import CHOOSING, Batch, call, compute_dtype, numeric, operand, summed
from .storage import Place

# Elements in a block. AdamW on ResNet-50's shapes, 2 cores, float32, took 67 ms with 2**17, 55 with
# 2**18 and 45 with 2**20, where its temporaries are 0.08 of the parameters' bytes; SGD 14, 12
# and 11 ms. On a GPU a block amortises the launches.
BLOCK = {"cpu": 1 << 20}
GPU_BLOCK = 1 << 24

List: TypeAlias = list[Tensor]
Columns: TypeAlias = dict[str, list[Place]]


class Block(NamedTuple):
    """What is walked at once: tensors, or flat slices of them, and how they are stored."""

    places: Columns
    dtype: torch.dtype  # of the arithmetic

    def tensors(self, name: str) -> List:
        """The stored tensors of a name; of a pair the high parts."""
        return [at.high for at in self.places[name]]

    def plain(self, name: str) -> bool:
        """True for a name that is rounded to the nearest."""
        form = self.places[name][0].format
        return form is None or form.rounding == "nearest"


def run(batch: Batch, phase: int) -> dict[Value, List]:
    """Run one phase for all tensors; returns the partial sums of the totals that it computes."""
    partial: dict[Value, List] = {}
    for (row, *_), members in _alike(batch).items():
        selection = batch.selection(phase, row)
        names = [n for n in batch.tensors if n in selection.reads | set(selection.stores) | {"p"}]
        dtype = compute_dtype(batch.tensors["p"][members[0]], batch.formats)
        scalars = batch.scalars(selection, row, dtype)
        for places in _blocks(batch, members, names, selection.whole):
            block = Block(places, dtype)
            env, home = _evaluate(batch, selection, dict(scalars), block)
            for total, arg in selection.totals:
                pairs = zip(*_lists(env, arg, block.tensors("p")), strict=True)
                partial.setdefault(total, []).extend(summed(x, p) for x, p in pairs)
            _store(selection, env, block, home)
    return partial


def _alike(batch: Batch) -> dict[tuple[Any, ...], list[int]]:
    """Members by their row of host values, the parameter's device, and the dtype of each column."""
    columns = list(batch.tensors.values())
    found: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(batch.rows):
        device = batch.tensors["p"][i].device
        found.setdefault((row, device, *(c[i].dtype for c in columns)), []).append(i)
    return found


def _blocks(batch: Batch, members: list[int], names: list[str], whole: bool) -> Iterator[Columns]:
    """Lists of at most a block's elements."""
    limit = BLOCK.get(batch.tensors["p"][members[0]].device.type, GPU_BLOCK)
    block: Columns = {name: [] for name in names}
    filled = 0
    for i in members:
        places = {name: storage.place(batch, name, i) for name in names}
        for piece in _pieces(places, limit, whole):
            size = piece["p"].high.numel()
            if filled and filled + size > limit:
                yield block
                block, filled = {name: [] for name in names}, 0
            for name, at in piece.items():
                block[name].append(at)
            filled += max(size, 1)
    if filled:
        yield block


def _pieces(places: dict[str, Place], limit: int, whole: bool) -> Iterator[dict[str, Place]]:
    """The tensors of one parameter, in flat slices if they are large, dense and laid out alike."""
    size = places["p"].high.numel()
    if whole or size <= limit or not _flat(places.values()):
        yield places
        return
    flat = {name: storage.laid_flat(at) for name, at in places.items()}
    for start in range(0, size, limit):
        yield {name: storage.sliced(at, start, limit) for name, at in flat.items()}


def _flat(places: Collection[Place]) -> bool:
    """True for tensors of one layout that fills its memory; row-major where elements count."""
    tensors = [x for at in places for x in (at.high, at.low) if x is not None]
    p = tensors[0]
    counted = any(at.format and at.format.rounding == "stochastic" for at in places)
    dense = p.is_contiguous() or p.is_contiguous(memory_format=torch.channels_last)
    alike = all(x.shape == p.shape and x.stride() == p.stride() for x in tensors)
    return alike and (p.is_contiguous() if counted else dense)


# --- evaluation --------------------------------------------------------------------------------


def _evaluate(
    batch: Batch, selection: Selection, env: dict[Value, Any], block: Block
) -> tuple[dict[Value, Any], dict[Value, str]]:
    """All values of a phase for a block, and whose memory each lives in, where not its own.

    `env` holds the scalars, and is filled. The memory of p or a slot may be overwritten once its
    old value is dead, if the phase stores to it anyway.
    """
    dtype = block.dtype
    home: dict[Value, str] = {}
    free: set[Value] = set()  # lists that may be overwritten at their last use
    for name in selection.reads & block.places.keys():
        value = batch.program.inputs[name]
        env[value] = [storage.full(at, dtype) for at in block.places[name]]
        if env[value][0] is block.places[name][0].high:
            home[value] = name
        if value not in home or name in selection.stores:
            free.add(value)
    for step in fused(selection):
        args = _list_first(env, step)
        first = args[0]
        reuse = first in free and first in step.dead and sum(a is first for a in args) == 1
        result = _apply(step, [operand(env, arg) for arg in args], reuse, dtype)
        if reuse and result is env[first] and first in home:
            home[step.value] = home[first]
        env[step.value] = result
        free.add(step.value)
        for gone in step.dead:
            env.pop(gone)
    return env, home


def _list_first(env: dict[Value, Any], step: Step) -> tuple[Any, ...]:
    """The operands, 2 * x turned to x * 2: the memory of the first may take the result."""
    turn = step.value.op in COMMUTING and not isinstance(operand(env, step.args[0]), list)
    return step.args[::-1] if turn else step.args


def _lists(env: dict[Value, Any], arg: Any, like: List) -> tuple[Sequence[Any], List]:
    x = operand(env, arg)
    return (x if isinstance(x, list) else [x] * len(like)), like


def _store(
    selection: Selection, env: dict[Value, Any], block: Block, home: dict[Value, str]
) -> None:
    new: dict[str, Any] = {}
    for name, value in selection.stores.items():
        at = home.get(value) if isinstance(value, Value) else None
        if at != name:
            found = operand(env, value)
            new[name] = [x.clone() for x in found] if at else found
    for name, values in new.items():
        old = block.tensors(name)
        if block.plain(name) and _same(old, values):
            _named("copy", [old, values], True)
        else:
            each = values if isinstance(values, list) else [values] * len(old)
            for at, value in zip(block.places[name], each, strict=True):
                storage.write(at, value, block.dtype)


# --- ops on lists ------------------------------------------------------------------------------


def _apply(step: Step, args: list[Any], reuse: bool, dtype: torch.dtype) -> Any:
    """One op on lists; with `reuse` the first argument's memory may take the result."""
    value = step.value
    if value.kind != "compare" and value.op not in CHOOSING:
        args = [_numbers(a, dtype) for a in args]
    if step.scaled:
        return _named("add", args[:2], reuse, alpha=step.scaled * args[2])
    if not any(isinstance(a, list) for a in args):
        return call(value, args, dtype)
    if value.op in UNARY and isinstance(args[0], list):
        return _named(value.op, args, reuse)
    if value.op in BINARY:
        result = BINARY[value.op](args[0], args[1], reuse)
        if result is not None:
            return result
    if value.op == "square":
        return _named("mul", [args[0], args[0]], reuse)
    if value.op == "lerp" and _same(args[0], args[1]) and isinstance(args[2], float | int):
        return _named("lerp", args, reuse)
    if value.kind == "matrix":
        return batched(value, args)
    return [call(value, each, dtype) for each in _each(args)]


def _numbers(x: Any, dtype: torch.dtype) -> Any:
    """A list of bool tensors as numbers; any other is the list itself, whose memory is known."""
    masks = isinstance(x, list) and any(each.dtype == torch.bool for each in x)
    return [numeric(each, dtype) for each in x] if masks else x


def _each(args: list[Any]) -> Iterator[list[Any]]:
    length = max(len(a) for a in args if isinstance(a, list))
    for i in range(length):
        yield [a[i] if isinstance(a, list) else a for a in args]


def _named(name: str, args: list[Any], reuse: bool, **more: Any) -> List:
    """Call torch._foreach_NAME, or its in-place form into the first list."""
    if reuse:
        getattr(torch, f"_foreach_{name}_")(*args, **more)
        return args[0]
    return list(getattr(torch, f"_foreach_{name}")(*args, **more))


def _same(a: Any, b: Any) -> bool:
    """Both lists, of equal shapes pairwise."""
    lists = isinstance(a, list) and isinstance(b, list)
    return lists and all(x.shape == y.shape for x, y in zip(a, b, strict=True))


def _number(x: Any) -> bool:
    return isinstance(x, float | int)


def _commuting(name: str) -> Callable[[Any, Any, bool], List | None]:
    def run(a: Any, b: Any, reuse: bool) -> List | None:
        if _same(a, b) or (isinstance(a, list) and _number(b)):
            return _named(name, [a, b], reuse)
        return _named(name, [b, a], False) if _number(a) else None

    return run


def _sub(a: Any, b: Any, reuse: bool) -> List | None:
    if _same(a, b) or (isinstance(a, list) and _number(b)):
        return _named("sub", [a, b], reuse)
    if _number(a):
        return _named("add", [_named("neg", [b], False), a], True)
    return None


def _div(a: Any, b: Any, reuse: bool) -> List | None:
    if _same(a, b) or (isinstance(a, list) and _number(b)):
        return _named("div", [a, b], reuse)
    return None


def _pow(a: Any, b: Any, reuse: bool) -> List | None:
    return _named("pow", [a, b], reuse) if isinstance(a, list) and _number(b) else None


def _bound(scalar: str, pair: str) -> Callable[[Any, Any, bool], List | None]:
    def run(a: Any, b: Any, reuse: bool) -> List | None:
        if _same(a, b):
            return _named(pair, [a, b], reuse)
        if _number(b):
            return _named(scalar, [a, b], reuse)
        return _named(scalar, [b, a], False) if _number(a) else None

    return run


COMMUTING = ("add", "mul", "minimum", "maximum")
UNARY = frozenset("sqrt rsqrt abs sign exp log tanh sigmoid floor cos neg".split())  # noqa: SIM905
BINARY: dict[str, Callable[[Any, Any, bool], List | None]] = {
    "add": _commuting("add"),
    "mul": _commuting("mul"),
    "sub": _sub,
    "div": _div,
    "pow": _pow,
    "minimum": _bound("clamp_max", "minimum"),
    "maximum": _bound("clamp_min", "maximum"),
}


def batched(value: Value, args: list[Any]) -> List:
    """A matrix op as one torch call for all matrices of a shape, stacked."""
    rows = list(_each(args))
    result: List = [row[0] for row in rows]
    shapes: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        shapes.setdefault(tuple(x.shape for x in row), []).append(i)
    for members in shapes.values():
        if len(members) == 1:
            result[members[0]] = call(value, rows[members[0]])
            continue
        stacked = [torch.stack([rows[i][k] for i in members]) for k in range(len(args))]
        for i, x in zip(members, call(value, stacked).unbind(), strict=True):
            result[i] = x
    return result
