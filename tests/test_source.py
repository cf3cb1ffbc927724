"""source(): what it prints is what runs, and nothing that a rule is called gets into it."""

import json
import re
import types

import pytest
import torch
from rows import ROWS
from states import advance, parameters

import steppers
from steppers import ops

cpu = pytest.importorskip("steppers.engines.fused.cpu")
pytest.importorskip("llvmlite", reason="the CPU's sources are compiled by llvmlite")

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def shapes(row):
    return [(4, 3), (2, 2, 3)] if row.matrices else [(4, 3), (5,)]


@pytest.fixture
def built(monkeypatch):
    """The sources that are compiled."""
    texts, build = [], cpu.build
    monkeypatch.setattr(cpu, "build", lambda text: texts.append(text) or build(text))
    cpu.compiled.cache_clear()
    return texts


def lines_of(text):
    """A source without its comments."""
    return [line for line in text.splitlines() if not line.lstrip().startswith(";")]


def now(text):
    """The line of present values."""
    return next(line for line in text.splitlines() if line.startswith(("; now ", "# now ")))


# --- it is what runs ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_row
def test_what_the_first_step_compiles_was_said_before_it(row, dtype, built):
    optimizer = row.build(parameters(shapes(row), dtype))
    said = optimizer.source()
    assert not optimizer.state
    advance(optimizer, 1)
    assert built and all(text in said for text in built)
    assert sum(map(len, built)) > 0.9 * len(said)
    assert row.build(parameters(shapes(row), dtype)).source() == said


# fmt: off
STORED = {  # options of storage, and how each tensor is stored then
    "wide state": (dict(state_dtype=torch.float32), torch.bfloat16,
        "p bf16, g bf16, exp_avg f32, exp_avg_sq f32; computed in float"),
    "stochastic": (dict(rounding="stochastic"), torch.float16,
        "p f16 stochastic, g f16, exp_avg f16 stochastic, exp_avg_sq f16 stochastic; computed in "
        "float"),
    "kahan": (dict(rounding={"p": "kahan"}), torch.float32,
        "p f32 kahan, g f32, exp_avg f32, exp_avg_sq f32; computed in double"),
    "complex": (dict(), torch.complex128,
        "p f64, g f64, exp_avg f64, exp_avg_sq f64; computed in double"),
}
# fmt: on


@pytest.mark.parametrize(("options", "dtype", "stored"), STORED.values(), ids=STORED)
def test_the_source_says_how_tensors_are_stored(options, dtype, stored, built):
    optimizer = steppers.AdamW(parameters(dtype=dtype), **options)
    said = optimizer.source()
    advance(optimizer, 1)
    assert len(built) == 1
    assert built[0] in said
    assert f"; stored as {stored}\n" in said


def test_parameters_stored_differently_have_sources_of_their_own(built):
    optimizer = steppers.AdamW([*parameters(), *parameters(dtype=torch.float64)])
    said = optimizer.source()
    advance(optimizer, 1)
    assert len(built) == 2
    assert all(text in said for text in built)
    assert said.count("; AdamW, group 0: 3 tensors of 29 parameters on cpu\n") == 2


def test_state_of_another_dtype_is_taken_as_it_is(built):
    optimizer = steppers.Lion(parameters(dtype=torch.bfloat16))
    optimizer.init_state()
    for state in optimizer.state.values():
        state["exp_avg"] = state["exp_avg"].float()
    said = optimizer.source()
    advance(optimizer, 1)
    assert "exp_avg f32" in said
    assert built[0] in said


def test_further_chains_have_a_source(built):
    optimizer = advance(steppers.ScheduleFreeAdamW(parameters()), 1)
    said = optimizer.source("evaluate")
    del built[:]
    optimizer.eval()
    assert built and built[0] in said
    assert said != optimizer.source()


def test_each_group_has_its_source():
    matrix, vector = parameters([(4, 3), (5,)])
    optimizer = steppers.Optimizer(
        [{"params": matrix, "chain": "muon", "lr": 0.02}, {"params": vector, "chain": "adamw"}],
        chains={"muon": steppers.Muon, "adamw": steppers.AdamW},
    )
    assert "orthogonal" in optimizer.source(group=0)
    assert "group 1: 1 tensor of 5 parameters" in optimizer.source(group=1)
    assert "average_square" in optimizer.source(group=1)


# --- what it says ------------------------------------------------------------------------------


def test_the_header_has_rules_formulas_and_present_values():
    optimizer = steppers.AdamW(parameters(), lr=0.25)
    head = optimizer.source().partition("define")[0]
    assert "; chain steps: decay, average_grad, average_square, adam, descend\n" in head
    assert "lr = 0.25, beta1 = 0.9, beta2 = 0.999, eps = 1e-08, weight_decay = 0.01" in head
    for line in optimizer.explain().groups[0].formulas["steps"]:
        assert f";   {line}\n" in head


def test_names_of_rules_slots_and_values_are_kept():
    body = "\n".join(steppers.AdamW(parameters()).source().split("define ")[1:])
    for name in ("%p.", "%exp_avg.", "%exp_avg_sq.", "%mean.", "%u.", "; average_square\n"):
        assert name in body


def test_only_the_present_values_depend_on_hypers():
    first = dict(lr=0.125, betas=(0.5, 0.75), eps=0.0625, weight_decay=0.375)
    second = dict(lr=0.3125, betas=(0.875, 0.9375), eps=0.1875, weight_decay=0.625)
    said = [steppers.AdamW(parameters(), **hypers).source() for hypers in (first, second)]
    same = [text.replace(now(text), "") for text in said]
    assert said[0] != said[1]
    assert same[0] == same[1]
    for number in ("0.125", "0.75", "0.0625", "0.375"):
        assert number not in same[0]


def test_a_changed_hyper_shows():
    optimizer = steppers.Lion(parameters(), lr=0.5)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.25)
    assert now(optimizer.source()).startswith("; now lr = 0.25,")


@pytest.mark.parametrize("engine", ["loop", "foreach"])
def test_engines_that_generate_nothing_show_their_program(engine):
    text = steppers.AdamW(parameters(), engine=engine).source()
    assert f"# engine {engine}: asked for; it generates no source" in text
    assert "\nprogram steps\npass 0: reads " in text
    assert ": (n, m) = lerp exp_avg, g," in text


def flipped(p, u, *, lr):
    return dict(p=p - lr * torch.flip(u, [0]))


def test_rules_that_cannot_be_traced_say_so():
    with pytest.warns(UserWarning, match=r"flipped uses torch\.flip"):
        optimizer = steppers.Optimizer(parameters(), steps=[flipped], lr=0.1)
    assert "flipped uses torch.flip" in optimizer.source()
    assert "has no program" in optimizer.source()


def test_the_source_of_what_was_unfit_is_the_program_that_ran():
    (p,) = parameters([(4, 3)])
    optimizer = steppers.Lion([p])
    optimizer.init_state()
    optimizer.state[p]["exp_avg"] = optimizer.state[p]["exp_avg"].bool()
    assert "# engine foreach: exp_avg is torch.bool" in optimizer.source()


def test_groups_that_are_frozen_have_a_source_too():
    optimizer = steppers.AdamW(parameters())
    optimizer.param_groups[0]["params"] = [p.requires_grad_(False) for p in parameters()]
    assert "define " in optimizer.source()


def test_the_command_prints_it(run):
    code, text, _ = run("explain", "lion", "--lr", "0.25", "--source")
    assert (code, now(text)[:15]) == (0, "; now lr = 0.25")
    assert "define void @pass0(" in text
    code, data, _ = run("explain", "lion", "--lr", "0.25", "--source", "--json")
    assert (code, json.loads(data)) == (0, {"name": "Lion", "source": text.rstrip()})


def test_asking_changes_nothing():
    optimizer = steppers.Prodigy(parameters(dtype=torch.bfloat16), rounding="kahan")
    before = optimizer.state_dict()
    optimizer.source()
    assert not optimizer.state
    assert str(optimizer.state_dict()) == str(before)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(chain="step"), r"AdamW has no chain 'step'; did you mean 'steps'\? \(it has steps\)"),
        (dict(group=1), r"AdamW has no group 1 \(it has 1, counted from 0\)"),
        (dict(group=-1), "AdamW has no group -1"),
    ],
)
def test_what_there_is_not(asked, message):
    with pytest.raises(ValueError, match=message):
        steppers.AdamW(parameters()).source(**asked)


def test_a_group_without_parameters_has_none():
    optimizer = steppers.AdamW(parameters())
    optimizer.param_groups[0]["params"] = []
    assert optimizer.source() == "# AdamW, group 0: no parameters\n"


# --- on a GPU ----------------------------------------------------------------------------------


def test_on_a_gpu_it_is_triton(monkeypatch):
    monkeypatch.setattr("steppers.source._on_gpu", lambda batch: True)
    optimizer = steppers.AdamW(parameters(), lr=0.25)
    text = optimizer.source()
    head, code = text[: text.index("import triton")], text[text.index("import triton") :]
    assert all(line.startswith("# ") for line in head.strip().splitlines())
    assert "lr = 0.25" in head
    for line in optimizer.explain(measure=False).groups[0].formulas["steps"]:
        assert f"#   {line}\n" in head
    assert "@triton.jit" in code
    compile(text, "source", "exec")


@pytest.mark.gpu
def test_on_a_gpu_it_is_what_is_compiled(monkeypatch):
    pytest.importorskip("triton")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    from steppers.engines.fused import gpu

    texts, build = [], gpu.build
    monkeypatch.setattr(gpu, "build", lambda text: texts.append(text) or build(text))
    gpu.compiled.cache_clear()
    optimizer = steppers.LAMB([torch.nn.Parameter(p.detach().cuda()) for p in parameters()])
    said = optimizer.source()
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert texts and texts[0] in said


# --- names are only names ----------------------------------------------------------------------

EVIL = '\n}\ndefine void @evil() {\n  ret void ; "!LANES @VARIANT %s\r\x00\u2028\u202e\x0b\ud800'


def average(g, held=ops.zeros, *, rate):
    norm = ops.norm(g)
    return {"held": held + rate * (g - held), "u": g / norm}


def move(p, u, held, *, lr):
    return dict(p=p - lr * (u + held))


def called(rule, name):
    """The same rule under another name."""
    made = types.FunctionType(rule.__code__, globals(), name, rule.__defaults__, rule.__closure__)
    made.__kwdefaults__ = rule.__kwdefaults__
    made.__name__ = made.__qualname__ = name
    return made


@pytest.mark.parametrize("name", [EVIL, "x" * 10_000, "define", "", "ñandú β"])
def test_a_rule_may_have_any_name(name, built):
    plain = steppers.Optimizer(parameters(), steps=[average, move], rate=0.5, lr=0.1)
    odd = steppers.Optimizer(parameters(), steps=[called(average, name), move], rate=0.5, lr=0.1)
    assert lines_of(odd.source()) == lines_of(plain.source())
    assert max(map(len, odd.source().splitlines())) < 1000
    advance(odd, 1)
    assert built[0] in odd.source()


def test_the_program_that_is_shown_has_no_line_of_a_name():
    make = [called(average, EVIL), move]
    odd = steppers.Optimizer(parameters(), steps=make, rate=0.5, lr=0.1, engine="loop")
    assert not re.search(r"^\s*(define|\})", odd.source(), re.MULTILINE)
