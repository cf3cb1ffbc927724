"""Triton sources of programs, and their machine code for a GPU that need not be there."""

import re

import torch

import steppers
from steppers import engines
from steppers.engines.fused import exchange, tables, triton_build, triton_chunk, triton_text


class Looked(Exception):
    """A step was stopped before it ran."""


def seen(make, shape=(4, 4), dtype=torch.float32, **more):
    """The program of an optimizer's step and the signature of its first parameter."""
    p = torch.nn.Parameter(torch.zeros(shape, dtype=dtype))
    p.grad = torch.zeros_like(p)
    optimizer = make([p], engine="loop", **more)
    found = []

    def look(batches):
        found.extend((b.program, tables.signature_of(b, 0, False)) for _, b in batches)
        raise Looked

    before, engines.prepare = engines.prepare, look
    try:
        optimizer.step()
    except Looked:
        return found[0]
    finally:
        engines.prepare = before
    raise AssertionError("no step was taken")


def composed(*steps, **hypers):
    """What makes an optimizer of these rules."""
    return lambda params, **more: steppers.Optimizer(params, steps=[*steps], **hypers, **more)


def source(make, **more):
    """The Triton source of an optimizer's step."""
    return triton_text.render(*seen(make, **more))


def machine_code(make, block=triton_chunk.BLOCK, **more):
    """The PTX of each kernel of an optimizer's step for compute capability 9.0, by name.

    A smaller block is compiled faster.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    program, signature = seen(make, **more)
    text = triton_text.render(program, signature)
    functions = triton_build.build(
        text.replace(
            f"BLOCK = tl.constexpr({triton_chunk.BLOCK})", f"BLOCK = tl.constexpr({block})"
        )
    )
    found = {}
    for number in range(len(program.passes)):
        for name in filter(None, exchange.pass_names(program, number)):
            arguments = functions[name].arg_names
            kinds = dict.fromkeys(arguments, "*fp64")
            kinds |= {k: "*i64" for k in ("records", "chunks", "tensors") if k in kinds}
            made = ASTSource(fn=functions[name], signature=kinds)
            target = GPUTarget("cuda", 90, 32)
            code = triton.compile(made, target=target, options=triton_build.options())
            found[name] = code.asm["ptx"]
    return found


def accesses(ptx, masked):
    """The loads and stores of device memory: those under a predicate, or the others."""
    predicate = r"@%p\d+ " if masked else ""
    return re.findall(rf"^\s*{predicate}((?:ld|st)\.global[.\w]*)", ptx, re.MULTILINE)
