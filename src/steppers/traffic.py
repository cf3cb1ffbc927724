"""What a step reads and writes, pass by pass, and the bytes that this moves.

Counted is what the generated kernels read and write: p, gradients, slots and low parts, and what
they hand to matrix ops and take from these. What matrix ops move themselves is not in it. The other
engines move this at least, and what they compute in between as well. Of sharded tensors all shards
are counted.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .engines.batch import Batch, compute_dtype
from .engines.fused.exchange import pass_names
from .engines.fused.kernel import DECIDED, Taken, full_slot, kernel, selection
from .engines.fused.running import sorted_by_signature
from .engines.fused.tables import signature_of
from .engines.storage import LOW
from .shell.plans import Plans
from .shell.work import Work


@dataclass
class Walk:
    """One pass over memory: what it reads, stores, and makes for the passes after it."""

    shapes: str  # "matrices" or "others", where a chain tells these apart
    number: int  # from 1
    reads: list[str] = field(default_factory=list[str])
    stores: list[str] = field(default_factory=list[str])
    makes: list[str] = field(default_factory=list[str])
    bytes: int = 0
    parameters: int = 0

    def __str__(self) -> str:
        parts = {"reads": self.reads, "stores": self.stores, "makes": self.makes}
        said = "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts.items() if names)
        place = f"{self.shapes} {self.number}".strip()
        return f"{place}: {said}: {self.bytes / max(1, self.parameters):.4g} bytes a parameter"


def walks(pieces: Iterable[Work], split: bool) -> list[Walk]:
    """The passes of the step that these pieces are ready for, but for those with nothing to do.

    With `split`, matrices and others have passes of their own. Rules that cannot
    be traced have none.
    """
    found: dict[tuple[str, int], Walk] = {}
    for piece in pieces:
        batch = piece.batch
        if batch is None:
            continue
        shapes = ("matrices" if piece.params[0].ndim > 1 else "others") if split else ""
        for number in range(len(batch.program.passes)):
            walk = found.setdefault((shapes, number), Walk(shapes, number + 1))
            for (taken, exact), members in _alike(batch).items():
                _add(walk, batch, taken, exact, members)
                walk.parameters += sum(piece.params[i].numel() for i in members)
    return [walk for _, walk in sorted(found.items()) if walk.reads or walk.stores or walk.makes]


def _alike(batch: Batch) -> dict[tuple[Taken, frozenset[str]], list[int]]:
    """The parameters for which the conditions are decided and slots are stored in the same way."""
    found: dict[tuple[Taken, frozenset[str]], list[int]] = {}
    for i, row in enumerate(batch.rows):
        taken = batch.taken(row)
        if None in taken[:DECIDED]:
            taken = (None,) * len(taken)
        left = (None,) * len(taken[DECIDED:])
        signature = signature_of(batch, i, False)
        exact = frozenset[str]() if isinstance(signature, str) else signature.exact()
        found.setdefault(((*taken[:DECIDED], *left), exact), []).append(i)
    return found


def _add(
    walk: Walk, batch: Batch, taken: Taken, exact: frozenset[str], members: Sequence[int]
) -> None:
    """Add what a pass does for some parameters of a batch."""
    program, number = batch.program, walk.number - 1
    each, chosen = kernel(program, number, taken, exact), selection(program, number, taken)
    small = {n for n in program.slots if not full_slot(program, n)}
    read = {*(name for name, _ in each.reads), *(small & chosen.reads)}
    stored = {*(name for name, _ in each.stores), *(small & chosen.stores.keys())}
    reads, stores = _with_lows(batch, read), _with_lows(batch, stored)
    given = [value.name or value.op for value in each.given]
    makes = [end.name or end.op for end, _ in chosen.ends]
    for names, more in ((walk.reads, reads + given), (walk.stores, stores), (walk.makes, makes)):
        names += [name for name in dict.fromkeys(more) if name not in names]
    walk.bytes += sum(batch.tensors[n][i].nbytes for n in (*reads, *stores) for i in members)
    for i in members:
        p = batch.tensors["p"][i]
        exchanged = len(each.given) + len(each.handed)
        walk.bytes += exchanged * p.numel() * compute_dtype(p, batch.formats).itemsize


def _with_lows(batch: Batch, names: Container[str]) -> list[str]:
    """Those of the tensors that are so called, and their low parts, in the order of the batch."""
    return [
        n
        for n in batch.tensors
        if n in names or (_is_low(batch, n) and n.removesuffix(LOW) in names)
    ]


def _is_low(batch: Batch, name: str) -> bool:
    return name.endswith(LOW) and name not in batch.program.slots


def launches(pieces: Iterable[Work]) -> int:
    """How many kernels the fused engine starts in a step; 0 where it cannot run."""
    count = 0
    for batch in (piece.batch for piece in pieces if piece.batch):
        alike = sorted_by_signature(batch, False)
        if isinstance(alike, str):
            return 0
        numbers = range(len(batch.program.passes))
        kernels = [name for n in numbers for name in pass_names(batch.program, n)]
        count += len(alike) * sum(map(bool, kernels))
    return count


def copies(plans: Plans, group: Mapping[str, Any]) -> dict[str, int]:
    """How many tensors of a name the last steps went through copies of, for their layout."""
    plan, found = plans.kept.get("steps"), dict[str, int]()
    for engine, piece in plan.pieces if plan else ():
        made = piece.batch.memory.get("fused") if piece.batch and engine == "fused" else None
        if made is not None and piece.group is group:
            for name, *_ in (one for tables in made.tables for one in tables.staged):
                found[name] = found.get(name, 0) + 1
    return found
