"""A loop over elements that calls one function of the fused engine's prelude, compiled."""

import ctypes
import functools
import re

import llvmlite.binding as llvm
import torch

from steppers.engines.fused import prelude

DTYPES = {
    "float": torch.float32,
    "double": torch.float64,
    "i16": torch.int16,
    "i32": torch.int32,
    "i1": torch.uint8,
}
HEAD = re.compile(r"define internal (\S+) @\S+\((.*?)\) ")


class Loop:
    """Calls the compiled function `name` on tensors; `source` is the loop as LLVM left it."""

    def __init__(self, name, target):
        self.result, arguments = HEAD.match(prelude.FUNCTIONS[name].text).groups()
        self.arguments = [argument.split()[0] for argument in arguments.split(", ")]
        module, machine = parsed(loop_text(name, self.result, self.arguments), target)
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = True
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        self.source = str(module)
        self.engine = llvm.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()
        pointers = [ctypes.c_void_p] * (1 + len(self.arguments))
        prototype = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)
        self.call = prototype(self.engine.get_function_address("loop"))

    def __call__(self, *tensors):
        tensors = [x.contiguous() for x in tensors]
        assert [x.dtype for x in tensors] == [DTYPES[kind] for kind in self.arguments]
        assert len({x.shape for x in tensors}) == 1
        out = torch.empty_like(tensors[0], dtype=DTYPES[self.result])
        self.call(out.data_ptr(), *(x.data_ptr() for x in tensors), out.numel())
        return out


@functools.cache
def loop(name, target="host"):
    """`target` is "host" or "generic": the plainest processor of this family (no FMA on x86)."""
    return Loop(name, target)


def parsed(text, target):
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = "", ""
    if target == "host":
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    triple = llvm.Target.from_default_triple()
    machine = triple.create_target_machine(cpu=cpu, features=features, opt=3)
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    return module, machine


def loop_text(name, result, arguments):
    kept = "i8" if result == "i1" else result
    pointers = "".join(f", ptr noalias %a{i}" for i in range(len(arguments)))
    loads = "".join(
        f"  %p{i} = getelementptr {kind}, ptr %a{i}, i64 %k\n  %v{i} = load {kind}, ptr %p{i}\n"
        for i, kind in enumerate(arguments)
    )
    passed = ", ".join(f"{kind} %v{i}" for i, kind in enumerate(arguments))
    widened = "zext i1 %r to i8" if result == "i1" else f"bitcast {result} %r to {result}"
    return f"""{prelude.text([name])}
define void @loop(ptr noalias %out{pointers}, i64 %n) {{
entry:
  br label %go
go:
  %k = phi i64 [0, %entry], [%next, %go]
{loads}  %r = call {result} @{name}({passed})
  %kept = {widened}
  %q = getelementptr {kept}, ptr %out, i64 %k
  store {kept} %kept, ptr %q
  %next = add i64 %k, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %go, label %end
end:
  ret void
}}
"""
