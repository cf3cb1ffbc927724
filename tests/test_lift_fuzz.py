"""Random procedures, with aliases, branches and in-place methods, against what is lifted of them.

A procedure is either refused, by an error that says whose, or its rules do what it does.
"""

import inspect
import linecache
import random
import re

import pytest
import torch
from torch import nn

import steppers
from steppers.styles import lift_all

# the procedures use spellings that torch has deprecated, as people's code does
pytestmark = pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
STEPS, SHAPES = 6, ((3, 2), (4,), ())
SLOTS = ("a", "b")
STARTS = ("torch.zeros_like(p)", "torch.ones_like(p)", "p.data.clone()", "p.grad.clone()")
CHANGES = (
    "{x}.mul_({c})", "{x}.add_({y}, alpha={c})", "{x}.add_({c}, {y})", "{x}.addcmul_({y}, {z})",
    "{x}.addcdiv_({y}, {z}.abs().add(1), value={c})", "{x}.lerp_({y}, 0.3)", "{x}.neg_()",
    "{x}.clamp_(-1.5, 1.5)", "{x}.copy_({y})", "{x}.sub_({y})", "{x}.zero_()", "{x}.add_(n)",
    "torch.mul({y}, {c}, out={x})", "{x}.tanh_()",
)  # fmt: skip
OPERATORS = ("{v} += {y}", "{v} *= {c}", "{v} -= {y} * n", "{v} /= 1.5")
VALUES = (
    "{y}", "{y}.data", "{y}.detach()", "{y}.clone()", "{y} * {z}", "{y} + {c} * {z}",
    "{y}.abs().sqrt()", "torch.where({y} > 0.1, {z}, {w})", "torch.tanh({y})", "1 - {y}",
    "torch.maximum({y}, {z})", "{y}.clone().mul_({c})", "{y}.double()", "torch.zeros_like({y})",
    "({y} > 0.1).to({y}.dtype)", "{y}.contiguous()",
)  # fmt: skip
NUMBERS = (
    "{y}.norm().item()", "min(n, 2.0)", "max(n, {y}.mean().item())", "n / (1 + n * n)", "wd + n",
    "float({y}.abs().max())", "1.0 / step", "n // 0.7", "(step > 2) * 0.5",
    "{y}.pow(2).mean().sqrt()",
    "torch.tensor(0.5) + {y}.sum()", "n if n < 1 else 1.0",
)  # fmt: skip
CONDITIONS = (
    "n > 1", "step % 2 == 0", "step == 1", "step > 3", "wd > 0.05", "wd", "{y}.norm() > 1.2",
    "0.3 < n < 2", "not step < 3", "({y} > 1).any()", "(p.grad < 2).all()", "n > 0.5 and step > 1",
)  # fmt: skip
PLACES = ("p.grad = {y}.clone()", "p.data = {y}.clone()", "p.grad = {y}", "p.data = {y} * {c}")
KEPT = (
    'state["{s}"] = {y}.clone()', 'state["{s}"] = {y} * {c}', 'state["{s}"] = {y}',
    'state["a"], state["b"] = state["b"], state["a"]', 'state["k"] = state.get("k", 0.0) + n',
)  # fmt: skip


class Author:
    """Somebody who writes procedures by dice."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.seed, self.locals = seed, []

    def tensor(self):
        held = ["p.data", "p.grad", *(f'state["{s}"]' for s in SLOTS), *self.locals]
        return self.dice.choice([*held, *self.locals])

    def filled(self, text):
        return text.format(
            x=self.tensor(), y=self.tensor(), z=self.tensor(), w=self.tensor(),
            s=self.dice.choice(SLOTS), c=self.dice.choice((0.5, -0.3, 0.9, "lr", "n")),
            v=self.dice.choice(self.locals or ["n"]),
        )  # fmt: skip

    def line(self):
        """One line, which may bind a further local."""
        kind = self.dice.choices(
            (CHANGES, VALUES, NUMBERS, OPERATORS, PLACES, KEPT), (8, 6, 3, 2, 1, 2)
        )[0]
        if kind is OPERATORS and not self.locals:
            kind = CHANGES
        text = self.filled(self.dice.choice(kind))
        if kind is NUMBERS:
            return f"n = {text}"
        if kind is VALUES:
            name = self.dice.choice(("u", "v", "w"))
            self.locals = [*dict.fromkeys([*self.locals, name])]
            return f"{name} = {text}"
        return text

    def block(self, size, depth, indent):
        lines = []
        for _ in range(size):
            if depth and self.dice.random() < 0.25:
                known = list(self.locals)
                lines.append(f"{indent}if {self.filled(self.dice.choice(CONDITIONS))}:")
                lines += self.block(self.dice.randint(1, 2), depth - 1, indent + "    ")
                self.locals = list(known)
                if self.dice.random() < 0.5:
                    lines.append(f"{indent}else:")
                    lines += self.block(self.dice.randint(1, 2), depth - 1, indent + "    ")
                    self.locals = list(known)
            else:
                lines.append(indent + self.line())
        return lines

    def procedure(self, name, starts, named):
        """A function of p, its state, lr and wd; one that starts makes the state.

        The state is a dict, or it is `named`: arguments that a returned dict changes.
        """
        self.locals = []
        given = "step=0, k=0.0, a=None, b=None" if starts else "step, k, a, b"
        lines = [f"def {name}({f'p, lr, wd, {given}' if named else 'state, p, lr, wd'}, **kwargs):"]
        if starts:
            lines.append(f"    if {'a is None' if named else 'STEP not in state'}:")
            lines.append('        state["step"] = 0')
            lines += [f'        state["{s}"] = {self.dice.choice(STARTS)}' for s in SLOTS]
            lines.append('    state["step"] += 1')
        lines.append('    step, n = state["step"], lr')
        lines += self.block(self.dice.randint(2, 6), 2, "    ")
        lines += [f'    state["{s}"].clamp_(-3, 3)' for s in SLOTS]
        lines.append("    p.data.sub_(p.grad.clamp(-2, 2), alpha=lr).clamp_(-3, 3)")
        source = "\n".join(lines) + "\n"
        if named:
            returned = ("step", "k", *SLOTS) if starts else self.dice.sample(("k", *SLOTS), 2)
            source = source.replace('state.get("k", 0.0)', "k")
            source = re.sub(r'state\["(\w+)"\]', r"\1", source)
            source += f"    return dict({', '.join(f'{n}={n}' for n in returned)})\n"
        file = f"<procedure {self.seed} {name}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        space = {"torch": torch, "STEP": "step"}
        exec(compile(source, file, "exec"), space)
        return space[name], source


def weights(dtype):
    generator = torch.Generator().manual_seed(5)
    return [
        nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))
        for shape in SHAPES
    ]


def give(params, step):
    generator = torch.Generator().manual_seed(step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def plainly(procedures, hypers, dtype, steps):
    """The parameters after each step of the procedures as they are."""
    params, states, found = weights(dtype), {}, []
    with torch.no_grad():
        for step in range(steps):
            give(params, step)
            for i, p in enumerate(params):
                state = states.setdefault(i, {})
                for fn in procedures:
                    if "state" in inspect.signature(fn).parameters:
                        fn(state, p, **hypers)
                    else:
                        state.update(fn(p, **{**state, **hypers}))
            found.append([p.detach().clone() for p in params])
    return found


def check(seed, engine="loop", dtype=torch.float64, steps=STEPS):
    """True if the procedures of this seed were lifted and agree; False if they were refused."""
    author = Author(seed)
    count, named = 1 + (author.dice.random() < 0.3), author.dice.random() < 0.4
    written = [author.procedure(f"step{i}", i == 0, named) for i in range(count)]
    procedures, sources = zip(*written, strict=True)
    hypers = dict(lr=0.1, wd=author.dice.choice((0.0, 0.1)))
    try:
        rules = lift_all(procedures)
    except TypeError as error:
        assert str(error).startswith("lift: step"), error
        return False
    try:
        theirs = plainly(procedures, hypers, dtype, steps)
    except RuntimeError as error:  # a cast to float64 that float32 does not mix with
        assert "dtype" in str(error)
        return False
    ours = weights(dtype)
    named = {name for rule in rules for name in inspect.signature(rule).parameters}
    used = {name: value for name, value in hypers.items() if name in named}
    try:
        optimizer = steppers.Optimizer(ours, steps=rules, engine=engine, **used)
    except TypeError as error:  # p depends on nothing, or a later rule reduces a filled tensor
        told = ("nothing uses it", "nothing reads it", "reduces a tensor, got a")
        assert any(text in str(error) for text in told), error
        return False
    close = dict(rtol=1e-9, atol=1e-10) if dtype == torch.float64 else dict(rtol=1e-3, atol=1e-4)
    for step, wanted in enumerate(theirs):
        give(ours, step)
        optimizer.step()
        for mine, their in zip(ours, wanted, strict=True):
            text = "\n".join(sources)
            torch.testing.assert_close(
                mine.detach(), their, equal_nan=True, **close,
                msg=lambda m: f"seed {seed}, step {step}: {m}\n{text}",  # noqa: B023
            )  # fmt: skip
    return True


@pytest.mark.parametrize("engine", ["loop", "foreach"])
def test_random_procedures_are_refused_or_lifted_as_they_are(engine):
    lifted = sum(check(seed, engine) for seed in range(0, 96, 1 if engine == "loop" else 4))
    assert lifted > (48 if engine == "loop" else 12)  # most of them: refusing all is no lifting


@pytest.mark.needs("llvmlite")
def test_random_procedures_in_the_fused_engine():
    assert sum(check(seed, "fused", torch.float32, steps=2) for seed in range(300, 320)) > 5
