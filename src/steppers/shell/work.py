"""One run of a chain: gather tensors and numbers, let the engines work, write the scalars back."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .. import engines, slots
from ..chain import Chain, Rule
from ..engines import loop, storage
from ..engines.batch import Batch, compute_dtype, host_values, read
from ..optable import Number
from ..program import Hosts, Program, Programs
from ..tracing import GLOBAL, NUMBER
from . import kept, precision, storing
from .recipe import Key, Recipe, is_live
from .storing import as_real


@dataclass
class Work:
    """The parameters of one group and one class of shapes that a run touches."""

    group: dict[str, Any]
    chain: Chain
    programs: Programs
    hypers: dict[str, Any]
    number: int  # of the group's first parameter, over the whole optimizer
    checked: set[Any] = field(default_factory=set[Any])  # the optimizer's: see _run_opaque
    members: list[int] = field(default_factory=list[int])  # their places in the group
    params: list[Tensor] = field(default_factory=list[Tensor])
    states: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    counts: list[float] = field(default_factory=list[float])
    skipped: Any = False  # after a run: True, or in a live group a 0-dim tensor, if it was skipped
    grads: list[Any] | None = None  # None: read from the parameters
    batch: Batch | None = None  # kept from run to run

    @property
    def traced(self) -> bool:
        """False if its rules use what is not among the words."""
        return bool(self.programs.programs)

    @property
    def skips(self) -> bool:
        """A gradient that is not finite makes the step of this work change nothing."""
        return bool(self.group["skip_nonfinite"])

    @property
    def live(self) -> bool:
        """Hypers and counts stay tensors: nothing is read back to the host."""
        return is_live(self.group)

    def number_of(self, i: int) -> float:
        """What tells the i-th parameter's random numbers from others': its name, else its place."""
        names = self.group.get("param_names")
        if names:
            return float(zlib.crc32(names[self.members[i]].encode()))
        return float(self.number + self.members[i])

    def rules(self, which: str, ndim: int) -> tuple[Rule, ...]:
        """The rules of one of the chains for parameters of that many dimensions."""
        return self.chain.at(ndim)[which]


def by_program(
    recipe: Recipe,
    key: Key,
    group: dict[str, Any],
    values: dict[str, Any],
    members: Iterable[int],
    number: int = 0,
    checked: set[Any] | None = None,
) -> list[Work]:
    """Some of a group's parameters in pieces, one for each program, with the values of its hypers.

    `number` is that of the group's first parameter; `checked` is the optimizer's.
    """
    found: dict[int, Work] = {}
    for i in members:
        p = group["params"][i]
        programs = recipe.programs(key, p.ndim)
        made = Work(group, recipe.chain(key), programs, values, number, checked or set())
        piece = found.setdefault(id(programs), made)
        piece.members.append(i)
        piece.params.append(p)
    return list(found.values())


@contextmanager
def no_autocast() -> Generator[None]:
    """Autocast off: a step computes in the dtypes of its own."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def refuse(owner: str, p: Tensor, programs: Programs, which: str, early: bool = False) -> None:
    """Raise for a parameter, or (unless `early`) a gradient, that the chain cannot take."""
    if not early and p.grad is not None:
        refuse_sparse(owner, p.grad)
    word = programs.programs[which].needs_matrix if which in programs.programs else ""
    if word and p.is_complex():
        raise RuntimeError(f"{owner} does not support complex parameters: it uses {word}")
    if word and p.ndim < 2:
        raise ValueError(
            f"{owner} uses {word}, which needs a matrix, got a parameter of shape "
            f"{tuple(p.shape)}; choose by shape with by_shape(matrices=…, others=…)"
        )


def refuse_sparse(owner: str, grad: Tensor) -> None:
    """Raise for a gradient that is not dense."""
    if grad.layout != torch.strided:
        raise RuntimeError(
            f"{owner} does not support sparse gradients; use torch.optim.SparseAdam, SGD or "
            "Adagrad for this parameter, or an embedding with sparse=False"
        )


def init_state(
    state: dict[str, Any],
    p: Tensor,
    programs: Programs,
    hypers: Mapping[str, Any],
    group: Mapping[str, Any],
) -> None:
    """Make the slots that a parameter lacks, and the low parts of what is stored as pairs.

    Host scalars are on the device in a live group.
    """
    host = host_slots(programs) if not is_live(group) else frozenset[str]()
    kept = programs.binding.slots
    fresh = [name for name in kept if state.get(name) is None]
    for name in fresh:
        dtype = precision.slot_dtype(group, name)
        state[name] = slots.make(kept[name], p, hypers, host=name in host, dtype=dtype)
    if group.get("rounding") is not None or len(state) > 1 + len(kept):
        precision.keep_lows(group, p, state, kept, fresh, hypers)


def check_state(owner: str, state: dict[str, Any], p: Tensor, programs: Programs) -> None:
    """Raise RuntimeError for a slot whose shape is not the one that its parameter asks for."""
    for name, slot in programs.binding.slots.items():
        wanted = slots.shape_of(slot, p)
        if tuple(state[name].shape) != wanted:
            raise RuntimeError(
                f"{owner}: {name} of a parameter of shape {tuple(p.shape)} must have shape "
                f"{wanted}, got {tuple(state[name].shape)}; load matching state, or clear "
                "optimizer.state of this parameter"
            )


def host_slots(programs: Programs) -> frozenset[str]:
    """Scalar slots that are fed by host scalars only, and so live on the host."""
    return programs.programs["steps"].host_slots if programs.programs else frozenset()


# --- batches -----------------------------------------------------------------------------------


def to_batch(work: Work, which: str) -> Batch:
    """The tensors of a piece of work as columns; gradients and numbers are filled in by `fill`."""
    program = work.programs.programs[which]
    columns: dict[str, list[Tensor]] = {"p": [as_real(p) for p in work.params]}
    if "g" in program.inputs:
        columns["g"] = []
    for name in program.slots:
        if name not in program.host_slots and (name in program.inputs or name in program.outputs):
            columns[name] = [as_real(state[name]) for state in work.states]
    formats = precision.formats(work.group, which, storing.stored(work, 0))
    columns.update(storing.lows(work, formats, columns))
    replace = frozenset(program.slots) if work.group["differentiable"] else frozenset[str]()
    numbers = [work.number_of(i) for i in range(len(work.params))]
    return Batch(program, columns, [], [], {}, replace, formats=formats, numbers=numbers)


def fill(work: Work, batch: Batch, counting: bool, numbered: bool) -> None:
    """What is new at each run: gradients, host values, kept scalars, random draws."""
    if "g" in batch.tensors:
        grads = work.grads  # of a plan that lasts: none is missing, none is complex
        batch.tensors["g"] = grads or _real_gradients(work.params)
    batch.rows, batch.hosts = _rows(work, batch.program, counting, numbered)
    batch.kept = {n: work.group[n] for n, kind in batch.program.kept.items() if kind == GLOBAL}
    batch.draws = storing.draws(work, batch.formats, counting)
    batch.totals = {}


def _real_gradients(params: Sequence[Tensor]) -> list[Tensor]:
    """The gradients there are, complex ones as pairs, conjugated if that is pending."""
    return [as_real(p.grad.resolve_conj()) for p in params if p.grad is not None]


def _rows(
    work: Work, program: Program, counting: bool, numbered: bool
) -> tuple[list[int], list[Hosts]]:
    """One row of host values for each distinct combination; most often one for the group.

    Unless `numbered`, an engine tells the parameters' numbers apart itself.
    """
    shaped = program.host_words - {"t", NUMBER}
    host_slots = [s for s in program.host_slots if s in program.inputs]
    seed = {"seed": work.group.get("seed", 0)}
    by_dtype = any(v is None for v in work.hypers.values())
    live, numbered = work.live, numbered and NUMBER in program.inputs
    apart = live or numbered or shaped or host_slots or by_dtype
    if not apart and work.counts.count(work.counts[0]) == len(work.counts):
        common = {**work.hypers, **seed, "t": work.counts[0], NUMBER: 0.0}
        return [0] * len(work.params), [host_values(program, common, work.params[0])]
    found: dict[Any, int] = {}
    rows: list[int] = []
    hosts: list[Hosts] = []
    for i, (p, state, count) in enumerate(zip(work.params, work.states, work.counts, strict=True)):
        own: dict[str, Any] = {"t": wide(state["step"]) + counting if live else count}
        own[NUMBER] = work.number_of(i) if numbered else 0.0
        own.update({s: wide(state[s]) if live else state[s].item() for s in host_slots})
        key = (
            i if live else None,
            count,
            own[NUMBER],
            tuple(own[s] for s in host_slots) if not live else (),
            tuple(p.shape) if shaped else None,
            p.dtype if by_dtype else None,
        )
        if key not in found:
            found[key] = len(hosts)
            hosts.append(host_values(program, {**work.hypers, **seed, **own}, p))
        rows.append(found[key])
    return rows, hosts


def wide(x: Tensor) -> Tensor:
    """A host scalar on the device, in double precision where the device has it."""
    return x if x.device.type == "mps" else x.to(torch.float64)


# --- a run -------------------------------------------------------------------------------------


def run(works: Sequence[tuple[str, Work]], which: str, counting: bool) -> dict[str, Any]:
    """Run one chain on all pieces of work, then write back what the engines do not store.

    `counting`: this is a step, so that t is one more than the count and the counts advance.
    Those that a global reduction feeds are returned, to be the same in all groups. Raises
    engines.Unfit, before anything is changed, if an engine cannot run a piece after all.
    """
    for _, work in works:
        if counting:
            work.counts = _next(work.counts)
    batches = [_batch(engine, work, which, counting) for engine, work in works if work.traced]
    engines.prepare([(engine, batch) for engine, _, batch in batches])
    opaque = [work for _, work in works if not work.traced]
    if which != "evaluate" and any(work.skips for work in opaque):
        _skip_ahead([work for _, work in works if work.skips])
    _run_opaque([work for work in opaque if work.skipped is False], which, counting)
    batches = [each for each in batches if each[1].skipped is False]
    engines.drive([(engine, batch) for engine, _, batch in batches])
    _read_skipped([(work, batch) for _, work, batch in batches])
    for _, work, batch in batches:
        _write_host_scalars(work, batch)
        if batch.replace:
            _write_replaced(work, batch)
    common = kept.keep([(work.group, work.hypers, b, work.skipped) for _, work, b in batches])
    for _, work, batch in batches:
        _forget_gradients(work, batch)
    return common


def _next(counts: list[float]) -> list[float]:
    """Counts one step on; most often they are all the same."""
    if counts and counts.count(counts[0]) == len(counts):
        return [counts[0] + 1] * len(counts)
    return [count + 1 for count in counts]


def _batch(engine: str, work: Work, which: str, counting: bool) -> tuple[str, Work, Batch]:
    """The batch of a piece of work, made once and filled for this run."""
    work.skipped = False
    work.batch = work.batch or to_batch(work, which)
    fill(work, work.batch, counting, numbered=engine != "fused")
    return engine, work, work.batch


def _forget_gradients(work: Work, batch: Batch) -> None:
    """Let go of the gradients, so that zero_grad() frees them."""
    work.grads = None
    if "g" in batch.tensors:
        batch.tensors["g"] = []


def _skip_ahead(works: Sequence[Work]) -> None:
    """Where rules cannot be traced, no program counts: look at the gradients before anything."""
    grads = [as_real(p.grad) for work in works for p in work.params if p.grad is not None]
    if not all(bool(torch.isfinite(g).all()) for g in grads):
        for work in works:
            work.skipped = True


def _read_skipped(ran: Sequence[tuple[Work, Batch]]) -> None:
    """Note which work was skipped; all that asked share one total, which is read once."""
    asked = [(work, batch) for work, batch in ran if batch.program.finite is not None]
    if asked:
        shared = asked[0][1].program.skipped(asked[0][1].totals)
        known = None if all(work.live for work, _ in asked) else bool(shared)
        for work, _ in asked:
            work.skipped = shared if work.live else known


def _write_host_scalars(work: Work, batch: Batch) -> None:
    for name in batch.program.host_slots & set(batch.program.outputs):
        output = batch.program.outputs[name]
        for state, row in zip(work.states, batch.rows, strict=True):
            value = kept.unless(work.skipped, batch.hosts[row][output], state[name])
            if batch.replace and isinstance(value, Tensor):
                state[name] = value
            elif isinstance(value, Tensor):
                state[name].copy_(value)
            else:
                state[name].fill_(value)


def _write_replaced(work: Work, batch: Batch) -> None:
    for name, column in batch.tensors.items():
        for state, p, x in zip(work.states, work.params, column, strict=True):
            if name in batch.program.slots:
                state[name] = torch.view_as_complex(x) if p.is_complex() and x.ndim > p.ndim else x


# --- rules that cannot be traced ---------------------------------------------------------------


def _run_opaque(works: Sequence[Work], which: str, counting: bool) -> None:
    """Run rules that could not be traced, one parameter at a time.

    The first run of a chain is guarded: its rules get copies, and nothing is stored until all of
    them, for all parameters, were seen to leave these alone.
    """
    checks = [(id(work.programs), which) for work in works]
    guarded = [check not in work.checked for work, check in zip(works, checks, strict=True)]
    runs = [_opaque(work, which, counting, guard)
            for work, guard in zip(works, guarded, strict=True)]  # fmt: skip
    runs = [list(run) if guard else run for run, guard in zip(runs, guarded, strict=True)]
    for work, check, run in zip(works, checks, runs, strict=True):
        work.checked.add(check)
        kept_new: dict[str, Any] = {}
        for stored, new, dtype in run:
            highs = {name: at.high for name, at in stored.items()}
            for name, value in loop.apart(new, highs).items():
                if name not in stored:
                    kept_new[name] = value
                else:
                    storage.write(stored[name], value, dtype)
        if not kept.is_zero(work.hypers.get("lr", 1.0)):
            work.group.update({n: _plain(x, work.live) for n, x in kept_new.items()})


def _opaque(
    work: Work, which: str, counting: bool, guard: bool
) -> Iterator[tuple[dict[str, storage.Place], dict[str, Any], torch.dtype]]:
    """For each parameter where may be stored to, the new values, and their dtype."""
    slot_names = work.programs.binding.slots
    formats = precision.formats(work.group, which, storing.stored(work, 0))
    draws = storing.draws(work, formats, counting)
    for i, (p, state, count) in enumerate(zip(work.params, work.states, work.counts, strict=True)):
        t = wide(state["step"]) + counting if work.live else count
        dtype = compute_dtype(as_real(p), formats)
        tensors = {"p": p, **state}
        stored = {name: storing.place(tensors, name, formats, draws[i] if draws else (0, 0, 0))
                  for name in ("p", *slot_names)}  # fmt: skip
        full = {name: storage.full(at, dtype) for name, at in stored.items()}
        values: dict[str, Any] = {**work.hypers, "t": t, **full}
        if p.grad is not None:
            values["g"] = as_real(p.grad)
        values = {name: _operand(value, p, dtype) for name, value in values.items()}
        new = loop.run_rules(work.rules(which, p.ndim), slot_names, values, guard)
        yield stored, new, dtype


def _operand(value: Any, p: Tensor, dtype: torch.dtype) -> Any:
    """A tensor in the dtype of the arithmetic, a number that follows IEEE; None is p's eps."""
    if isinstance(value, Tensor):
        return read(value, dtype)
    return Number(torch.finfo(p.dtype).eps if value is None else value)


def _plain(value: Any, live: bool) -> Any:
    """A kept scalar as its group holds it."""
    return value if live and isinstance(value, Tensor) else float(value)
