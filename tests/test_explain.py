"""What explain() says: rules, numbers, bytes, engine; as text and as plain data."""

import json

import pytest
import torch
from rows import ROWS
from states import advance, parameters, params_of
from torch import nn

import steppers
from steppers import rules

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
PAIR = [(4, 3), (4, 6)]


def only(optimizer):
    """The explanation of the first group."""
    return optimizer.explain().groups[0]


def shapes(row):
    return [(4, 3), (2, 2, 3)] if row.matrices else [(4, 3), (5,)]


# --- bytes -------------------------------------------------------------------------------------

# fmt: off
BYTES = (  # class, hypers, dtype, bytes a parameter on matrices of 4 x 3 and 4 x 6, by hand
    ("SGD", dict(), torch.float32, 0.0),
    ("SGD", dict(momentum=0.9), torch.float32, 4.0),
    ("Lion", dict(), torch.float32, 4.0),
    ("Lion", dict(), torch.bfloat16, 2.0),
    ("Muon", dict(), torch.float32, 4.0),
    ("Adam", dict(), torch.float64, 16.0),
    ("AdamW", dict(), torch.float32, 8.0),
    ("AdamW", dict(), torch.bfloat16, 4.0),
    ("AdamW", dict(amsgrad=True), torch.float32, 12.0),
    ("RMSprop", dict(centered=True, momentum=0.9), torch.float32, 12.0),
    ("Prodigy", dict(), torch.float32, 16.0),
    ("ScheduleFreeAdamW", dict(), torch.float32, 8.0),
    ("Adafactor", dict(), torch.float32, 4 * (4 + 3 + 4 + 6) / (12 + 24)),
    ("NAdam", dict(), torch.float32, (8 * 36 + 4 * 2) / 36),  # a scalar for each of two tensors
    ("ASGD", dict(), torch.float32, (4 * 36 + 8 * 2) / 36),
)
# fmt: on


@pytest.mark.parametrize(("name", "hypers", "dtype", "wanted"), BYTES)
def test_state_bytes_per_parameter(name, hypers, dtype, wanted):
    optimizer = getattr(steppers, name)(parameters(PAIR, dtype), **hypers)
    assert only(optimizer).state_bytes_per_parameter == pytest.approx(wanted)
    advance(optimizer, 1)
    assert only(optimizer).state_bytes_per_parameter == pytest.approx(wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@every_row
def test_bytes_said_before_the_first_step_are_those_after_it(row, dtype):
    optimizer = row.build(parameters(shapes(row), dtype))
    said = only(optimizer).state_bytes_per_parameter
    advance(optimizer, 1)
    held = [v for p in params_of(optimizer) for k, v in optimizer.state[p].items() if k != "step"]
    size = sum(v.numel() * v.element_size() for v in held)
    assert said == pytest.approx(size / sum(p.numel() for p in params_of(optimizer)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_bytes_of_a_parameter_without_dimensions(dtype):
    optimizer = steppers.AdamW(parameters([()], dtype))
    assert only(optimizer).state_bytes_per_parameter == 2 * dtype.itemsize
    advance(optimizer, 1)
    assert only(optimizer).state_bytes_per_parameter == 2 * dtype.itemsize


def test_slots_held_in_another_dtype_are_counted_as_held():
    optimizer = advance(steppers.Lion(parameters(dtype=torch.bfloat16)), 1)
    for state in optimizer.state.values():
        state["exp_avg"] = state["exp_avg"].float()
    assert only(optimizer).state_bytes_per_parameter == 4


def test_vectors_and_matrices_of_adafactor_are_counted_apart():
    optimizer = steppers.Adafactor(parameters([(4, 3), (5,)]))
    assert only(optimizer).state_bytes_per_parameter == pytest.approx(4 * (4 + 3 + 5) / 17)


# --- data --------------------------------------------------------------------------------------


@every_row
def test_the_dict_is_plain_data(row):
    optimizer = advance(row.build(parameters(shapes(row))), 1)
    found = optimizer.explain().as_dict()
    assert json.loads(json.dumps(found))["groups"][0]["rules"] == found["groups"][0]["rules"]


@every_row
def test_the_dict_is_strict_json(row):
    """inf and nan are no JSON: other languages refuse them."""
    json.dumps(row.build(parameters(shapes(row))).explain().as_dict(), allow_nan=False)


def test_tensor_hypers_are_plain_data_too():
    optimizer = steppers.AdamW(parameters(), lr=torch.tensor(0.5))
    assert json.loads(json.dumps(optimizer.explain().as_dict()))["groups"][0]["hypers"]["lr"] == 0.5


def test_the_dict_has_every_hyper_with_its_value():
    optimizer = steppers.AdamW(parameters(), lr=0.123456789, betas=(0.8, 0.9))
    assert optimizer.explain().as_dict()["groups"][0]["hypers"].items() >= {
        ("lr", 0.123456789), ("betas", (0.8, 0.9)), ("eps", 1e-8), ("weight_decay", 1e-2),
    }  # fmt: skip


def test_rules_are_named_in_order():
    assert only(steppers.AdamW(parameters())).rules == [
        "decay", "average_grad", "average_square", "adam", "descend",
    ]  # fmt: skip


def test_changing_the_dict_does_not_change_the_explanation():
    explanation = steppers.AdamW(parameters()).explain()
    explanation.as_dict()["groups"][0]["rules"] = []
    assert explanation.groups[0].rules


def test_the_dict_has_the_passes_as_data():
    found = steppers.LAMB(parameters(PAIR)).explain(measure=False).as_dict()["groups"][0]
    assert found["bytes_per_step"] == 40 * 36
    assert found["walks"][0] == {
        "shapes": "", "number": 1, "reads": ["p", "g", "exp_avg", "exp_avg_sq"],
        "stores": ["exp_avg", "exp_avg_sq"], "makes": ["p_norm", "u_norm"], "bytes": 24 * 36,
        "parameters": 36,
    }  # fmt: skip
    assert (found["bandwidth"], found["seconds"]) == (None, None)


@pytest.mark.parametrize("flag", ["capturable", "differentiable"])
def test_hypers_that_stay_on_the_device_are_explained(flag):
    """Conditions are not decided then: both sides are counted."""
    optimizer = steppers.RAdam(parameters(PAIR), **{flag: True})
    assert only(optimizer).bytes_per_parameter == 28


def test_explaining_changes_nothing():
    optimizer = steppers.AdamW(parameters())
    optimizer.explain()
    assert not any(optimizer.state.get(p) for p in params_of(optimizer))


# --- text --------------------------------------------------------------------------------------

# fmt: off
LINES = {  # what the text of an optimizer holds, whatever the spaces
    "adamw": (lambda: steppers.AdamW(parameters(), lr=0.5, engine="foreach"), [
        "AdamW", "p' = p * (1 - lr * weight_decay) # decay", "lr = 0.5", "betas = (0.9, 0.999)",
        "exp_avg' = lerp(exp_avg, g, 1 - beta1) # average_grad", "8 bytes a parameter",
        "exp_avg: zeros", "engine: foreach (asked for)"]),
    "loop": (lambda: steppers.AdamW(parameters(), engine="loop"), ["engine: loop (asked for)"]),
    "a small rate": (lambda: steppers.SGD(parameters(), lr=0.000123456789),
        ["lr = 0.000123456789"]),
    "momentum at zero": (lambda: steppers.SGD(parameters()), ["momentum = 0"]),
    "options": (lambda: steppers.AdamW(parameters(), amsgrad=True), ["amsgrad = True"]),
    "maximize": (lambda: steppers.SGD(parameters(), maximize=True), ["maximise"]),
    "adafactor": (lambda: steppers.Adafactor(parameters()),
        ["steps (matrices)", "steps (others)", "mean(x", 'over="columns"']),
    "a view": (lambda: steppers.ASGD(parameters()), ["evaluate", "p' = ax # use_ax"]),
    "constants of rules": (lambda: steppers.Muon(parameters([(2, 3)]), ns_steps=3),
        ["ns_steps=3"]),
    "one pass": (lambda: steppers.AdamW(parameters()), [
        "passes over memory: 1 1: reads p, g, exp_avg, exp_avg_sq; stores p, exp_avg, exp_avg_sq: "
        "28 bytes a parameter"]),
    "two passes": (lambda: steppers.LAMB(parameters()), [
        "1: reads p, g, exp_avg, exp_avg_sq; stores exp_avg, exp_avg_sq; makes p_norm, u_norm: 24",
        "2: reads p, exp_avg, exp_avg_sq; stores p: 16 bytes a parameter"]),
    "a matrix op": (lambda: steppers.Muon(parameters([(2, 3)])), [
        "1: reads g, momentum_buffer; stores momentum_buffer; makes u: 16 bytes a parameter",
        "2: reads p, u; stores p: 12 bytes a parameter"]),
    "by shape": (lambda: steppers.Adafactor(parameters()),
        ["matrices 1: reads", "others 1: reads"]),
    "foreach moves more": (lambda: steppers.Lion(parameters(), engine="foreach"),
        ["bytes a step: at least 20 a parameter, 580 in all"]),
    "low parts": (lambda: steppers.Lion(parameters(), rounding={"p": "kahan"}),
        ["reads p, g, exp_avg, p_low; stores p, exp_avg, p_low: 28 bytes"]),
    "composed": (lambda: steppers.Optimizer(parameters(), steps=[rules.descend], lr=0.1),
        ["p' = p - lr * g # descend"]),
}
# fmt: on


def squeezed(text):
    return " ".join(str(text).split())


@pytest.mark.parametrize(("make", "parts"), LINES.values(), ids=LINES)
def test_the_text_holds(make, parts):
    text = squeezed(make().explain())
    assert [part for part in parts if part not in text] == []


@every_row
def test_the_lines_of_a_step_fit_a_screen(row):
    optimizer = row.build(parameters(shapes(row)))
    step = str(optimizer.explain()).partition("\n  passes over memory")[2]
    assert step
    assert max(map(len, step.splitlines())) <= 100


def test_the_kernels_of_the_fused_engine_are_counted():
    """A walk for each pass, and one more that joins sums."""
    pytest.importorskip("llvmlite", reason="kernels for the CPU need llvmlite")
    adamw, lamb = steppers.AdamW(parameters()), steppers.LAMB(parameters())
    assert "engine: fused (generated kernels), 1 kernel a step" in squeezed(adamw.explain())
    assert "engine: fused (generated kernels), 3 kernels a step" in squeezed(lamb.explain())


def test_what_was_unfit_for_kernels_says_who_runs_it():
    pytest.importorskip("llvmlite", reason="kernels for the CPU need llvmlite")
    (p,) = parameters([(4, 3)])
    optimizer = steppers.Lion([p])
    optimizer.init_state()
    optimizer.state[p]["exp_avg"] = optimizer.state[p]["exp_avg"].bool()
    advance(optimizer, 1)
    assert "engine: foreach (exp_avg is torch.bool)" in squeezed(optimizer.explain())


def test_tensors_that_go_through_a_copy_are_named():
    pytest.importorskip("llvmlite", reason="kernels for the CPU need llvmlite")
    p = nn.Parameter(torch.ones(3, 4).t())
    optimizer = steppers.Lion([p])
    assert only(optimizer).copies == {}
    p.grad = torch.ones(4, 3)
    optimizer.step()
    assert only(optimizer).copies == {"g": 1}
    assert "copied in each step, for its layout: g (1 tensor)" in squeezed(optimizer.explain())


def test_print_and_repr_are_the_text():
    explanation = steppers.AdamW(parameters()).explain()
    assert repr(explanation) == str(explanation)


def test_the_engine_of_a_plain_subclass_says_why():
    class Weight(nn.Parameter):
        pass

    optimizer = steppers.AdamW([Weight(torch.ones(2))])
    assert (only(optimizer).engine, only(optimizer).why) == (
        "loop",
        "a parameter is a Weight, not a plain tensor",
    )


def flipped(p, u, *, lr):
    return dict(p=p - lr * torch.flip(u, [0]))


def test_rules_that_cannot_be_traced_are_shown_by_name_with_the_reason():
    with pytest.warns(UserWarning, match=r"flipped uses torch\.flip"):
        optimizer = steppers.Optimizer(parameters(), steps=[flipped], lr=0.1)
    text = squeezed(optimizer.explain())
    assert "flipped(…)" in text
    assert "engine: loop (flipped uses torch.flip" in text
    assert "bytes a step" not in text
    assert only(optimizer).bytes_per_step is None


def test_each_group_is_shown_with_its_size_chain_and_values():
    matrix, vector = parameters([(40, 30), (5,)])
    optimizer = steppers.Optimizer(
        [{"params": matrix, "chain": "muon", "lr": 0.02}, {"params": vector, "chain": "adamw"}],
        chains={"muon": steppers.Muon, "adamw": steppers.AdamW},
    )
    text = squeezed(optimizer.explain())
    assert "group 0: 1,200 parameters, chain muon" in text
    assert "group 1: 5 parameters, chain adamw" in text
    assert "lr = 0.02" in text
    assert [group.chain for group in optimizer.explain().groups] == ["muon", "adamw"]
    assert optimizer.explain().groups[0].parameters == 1200


def test_groups_with_other_options_have_other_formulas():
    first, *others = parameters()
    optimizer = steppers.AdamW([{"params": first, "amsgrad": True}, {"params": others}])
    first, second = optimizer.explain().groups
    assert any("max_exp_avg_sq'" in line for line in first.formulas["steps"])
    assert not any("max_exp_avg_sq'" in line for line in second.formulas["steps"])


def test_passes_are_counted():
    """LAMB needs each tensor's norms before it can move it; Prodigy sums over all tensors."""
    assert only(steppers.AdamW(parameters())).passes == 1
    assert only(steppers.LAMB(parameters())).passes == 2
    clipped = [rules.clip_by_global_norm, rules.descend]
    assert only(steppers.Optimizer(parameters(), steps=clipped, lr=0.1)).passes == 2
