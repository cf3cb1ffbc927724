"""The source that runs a chain: LLVM IR on a CPU, Triton on a GPU, else the typed program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .chain import suggest
from .engines import Choice
from .engines.batch import Batch
from .engines.fused import llvm_build, llvm_text, triton_text
from .engines.fused.running import sorted_by_signature
from .formulas import comment_text, count_text, formula_lines, number_text
from .preview import pieces, trained
from .program import Program
from .shell.protocol import Shell
from .shell.work import Work


def source(optimizer: Shell, chain: str, group: int) -> str:
    """One text for each way in which the group's parameters are stored; most often one.

    Raises ValueError for a chain or a group that there is not.
    """
    owner, groups = type(optimizer).__name__, optimizer.param_groups
    if not 0 <= group < len(groups):
        raise ValueError(f"{owner} has no group {group} (it has {len(groups)}, counted from 0)")
    recipe, key, choice = optimizer.reading(groups[group])
    known = dict(recipe.chain(key).chains)
    if chain not in known:
        hint = suggest(chain, known)
        raise ValueError(f"{owner} has no chain {chain!r}{hint} (it has {', '.join(known)})")
    some = any(map(trained, groups[group]["params"]))
    found = pieces(optimizer, groups[group], chain, trained if some else lambda _: True)
    title = f"{owner}, group {group}"
    texts = [text for piece in found for text in _texts(title, piece, chain, choice)]
    return "\n\n".join(texts) or f"# {title}: no parameters\n"


def _texts(title: str, piece: Work, chain: str, choice: Choice) -> list[str]:
    batch, engine = piece.batch, str(choice)
    if batch is None:
        engine += "; what cannot be traced has no program"
        return [_header(title, piece, chain, "# ", engine, range(len(piece.params)))]
    if choice.name == "fused":
        alike = sorted_by_signature(batch, not _on_gpu(batch) and llvm_build.converts_halves())
        if not isinstance(alike, str):
            return [_kernels(title, piece, batch, chain, engine, *one) for one in alike.items()]
        engine = f"foreach: {alike}"
    engine += "; it generates no source, this is the program that it runs"
    head = _header(title, piece, chain, "# ", engine, range(len(piece.params)))
    formulas = "".join(f"#   {comment_text(line)}\n" for line in formula_lines(batch.program))
    return [f"{head}{formulas}{_program_text(batch.program)}\n"]


def _program_text(program: Program) -> str:
    """The typed program; a rule's name stays within its comment."""
    text = str(program)
    for rule in dict.fromkeys(value.rule for value in program.values):
        text = text.replace(rule, comment_text(rule)) if comment_text(rule) != rule else text
    return text


def _on_gpu(batch: Batch) -> bool:
    return batch.tensors["p"][0].is_cuda


def _kernels(
    title: str,
    piece: Work,
    batch: Batch,
    chain: str,
    engine: str,
    signature: llvm_text.Signature,
    members: Sequence[int],
) -> str:
    """The generated source for the parameters of one signature."""
    if _on_gpu(batch):
        head = _header(title, piece, chain, "# ", engine, members)
        stored = llvm_text.header(batch.program, signature, "# ")
        return head + stored + triton_text.render(batch.program, signature)
    head = _header(title, piece, chain, "; ", engine, members)
    return head + llvm_text.render(batch.program, signature)


def _header(
    title: str, piece: Work, chain: str, mark: str, engine: str, members: Sequence[int]
) -> str:
    """What differs between optimizers of one source: names, sizes and present values."""
    params = [piece.params[i] for i in members]
    devices = ", ".join(dict.fromkeys(str(p.device) for p in params))
    size = sum(p.numel() for p in params)
    rules = ", ".join(rule.name for rule in piece.rules(chain, params[0].ndim))
    lines = [
        f"{title}: {count_text(len(params), 'tensor')} of {size:,} parameters on {devices}",
        f"engine {engine}",
        f"chain {chain}: {rules}",
        f"now {_present(piece.hypers)}",
    ]
    return "".join(f"{mark}{comment_text(line)}".rstrip() + "\n" for line in lines)


def _present(hypers: Mapping[str, Any]) -> str:
    values = {n: getattr(x, "item", lambda x=x: x)() for n, x in hypers.items()}
    return ", ".join(f"{name} = {number_text(value)}" for name, value in values.items())
