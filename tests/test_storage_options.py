"""The options state_dtype and rounding: what is refused, and what explain() says of them."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from states import advance, parameters

import steppers
from steppers.ops import zeros

BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64
C64 = torch.complex64
WORDS = "one of 'nearest', 'stochastic', 'kahan', or a dict of these by slot"
DTYPES = (
    "one of torch.float32, torch.bfloat16, torch.float16 (or their names), or a dict of these "
    "by slot"
)


@dataclass(frozen=True)
class Wrong:
    """Options that are refused, and the whole of what is said."""

    options: dict[str, Any]
    error: type
    text: str
    make: Any = steppers.AdamW
    dtype: torch.dtype = F32
    more: dict[str, Any] = field(default_factory=dict)


def kept_twice(p, g, mean=zeros, mean_low=zeros):
    return dict(p=p + mean + mean_low, mean=g, mean_low=g)


def clash(params, **options):
    return steppers.Optimizer(params, steps=[kept_twice], **options)


# fmt: off
ERRORS = (
    Wrong(dict(rounding="khan"), ValueError,
          f"AdamW: rounding must be {WORDS}, got 'khan'; did you mean 'kahan'?"),
    Wrong(dict(rounding=True), TypeError, f"AdamW: rounding must be {WORDS}, got True"),
    Wrong(dict(rounding={"p": 3}), TypeError, f"AdamW: rounding['p'] must be {WORDS}, got 3"),
    Wrong(dict(rounding={"exp_av": "kahan"}), ValueError,
          "AdamW: rounding names 'exp_av', but it is for exp_avg, exp_avg_sq, max_exp_avg_sq, p; "
          "did you mean 'exp_avg'?"),
    Wrong(dict(state_dtype="bfloat"), ValueError,
          f"AdamW: state_dtype must be {DTYPES}, got 'bfloat'; did you mean 'bfloat16'?"),
    Wrong(dict(state_dtype=torch.int8), ValueError,
          f"AdamW: state_dtype must be {DTYPES}, got torch.int8"),
    Wrong(dict(state_dtype=F64), ValueError,
          f"AdamW: state_dtype must be {DTYPES}, got torch.float64; float64 state comes with "
          "float64 parameters"),
    Wrong(dict(state_dtype=16), TypeError, f"AdamW: state_dtype must be {DTYPES}, got 16"),
    Wrong(dict(state_dtype={"p": BF16}), ValueError,
          "AdamW: state_dtype names 'p', but it is for exp_avg, exp_avg_sq, max_exp_avg_sq; p has "
          "the dtype of the model: use model.to(dtype)"),
    Wrong(dict(state_dtype={"mu_product": BF16}), ValueError,
          "NAdam: state_dtype names 'mu_product', but it is for exp_avg, exp_avg_sq; that slot is "
          "one number, and stays float32", steppers.NAdam),
    Wrong(dict(state_dtype={"exp_avg": BF16}), ValueError,
          "SGD: state_dtype names 'exp_avg', but it is for momentum_buffer", steppers.SGD),
    Wrong(dict(state_dtype=BF16), RuntimeError,
          "AdamW does not support complex parameters with 16-bit state, got torch.complex64 and "
          "state_dtype='bfloat16'; torch has no such dtype", dtype=C64),
    Wrong(dict(rounding={"p": "kahan"}), ValueError,
          "AdamW: rounding of p is 'kahan', but a parameter is torch.float64, and there is no "
          "wider arithmetic that could hold a pair of these; leave p out", dtype=F64),
    Wrong(dict(rounding="kahan"), ValueError,
          "Optimizer: with rounding 'kahan' of mean its low part is called mean_low, but that is "
          "a slot of the chain; give the slot another name", clash),
    Wrong(dict(rounding="stochastic"), RuntimeError,
          "AdamW: rounding='stochastic' does not work with capturable=True: its random bits come "
          "from the step count on the host, so a replayed graph would draw the same bits at each "
          "step; use rounding='kahan'", more=dict(capturable=True)),
    Wrong(dict(rounding={"p": "kahan"}), RuntimeError,
          "AdamW: rounding={'p': 'kahan'} does not work with differentiable=True, which stores to "
          "the nearest; leave rounding out", more=dict(differentiable=True)),
)
# fmt: on


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: row.text[:60])
@pytest.mark.parametrize("where", ["constructor", "group"])
def test_what_is_refused(row, where):
    p = torch.nn.Parameter(torch.zeros(2, 3, dtype=row.dtype))
    with pytest.raises(row.error) as caught:
        if where == "constructor":
            row.make([p], **row.options, **row.more)
        else:
            row.make([dict(params=[p], **row.options)], **row.more)
    assert str(caught.value) == row.text


def test_a_group_that_is_refused_is_not_added():
    optimizer = steppers.AdamW(parameters(), state_dtype="bfloat16")
    with pytest.raises(ValueError, match="rounding must be"):
        optimizer.add_param_group(dict(params=parameters(((2,),)), rounding="up"))
    assert len(optimizer.param_groups) == 1


def test_a_hyper_cannot_have_an_options_name():
    def step(p, u, *, rounding):
        return dict(p=p - rounding * u)

    with pytest.raises(TypeError, match="rounding"):
        steppers.Optimizer(parameters(), steps=[step], rounding=0.1)


# --- explain -----------------------------------------------------------------------------------

# fmt: off
BYTES = (  # class, dtype of p, options, bytes a parameter by hand
    (steppers.AdamW, F32,  dict(state_dtype="bfloat16"), 4),
    (steppers.AdamW, F32,  dict(state_dtype={"exp_avg": BF16}), 6),
    (steppers.AdamW, BF16, dict(state_dtype=F32), 8),
    (steppers.AdamW, BF16, dict(rounding="stochastic"), 4),
    (steppers.AdamW, BF16, dict(rounding="kahan"), 10),
    (steppers.AdamW, BF16, dict(rounding={"p": "kahan"}), 6),
    (steppers.AdamW, F32,  dict(rounding="kahan"), 8),
    (steppers.AdamW, F32,  dict(rounding={"p": "kahan"}), 12),
    (steppers.SGD,   BF16, dict(rounding="kahan"), 2),
    (steppers.NAdam, F32,  dict(state_dtype=BF16), 4 + 4 / 12),  # one number for 4 x 3
)
# fmt: on


@pytest.mark.parametrize(("make", "dtype", "options", "wanted"), BYTES, ids=str)
def test_bytes_of_state(make, dtype, options, wanted):
    optimizer = make(parameters(((4, 3),), dtype), engine="loop", **options)
    for _ in range(2):  # before the first step, and after it
        found = optimizer.explain().groups[0].state_bytes_per_parameter
        assert found == pytest.approx(wanted)
        advance(optimizer, 1)


def test_explain_tells_formats():
    params = parameters(((4, 3),), BF16)
    optimizer = steppers.AdamW(params, state_dtype={"exp_avg_sq": F32}, rounding={"p": "kahan"})
    only = optimizer.explain().groups[0]
    assert only.slots == {
        "exp_avg": "zeros",
        "exp_avg_sq": "zeros (float32)",
        "p_low": "what rounding p lost",
    }
    assert only.options["state_dtype"] == {"exp_avg_sq": "float32"}
    assert only.options["rounding"] == {"p": "kahan"}


def test_explain_is_silent_about_formats_that_nobody_asked_for():
    only = steppers.AdamW(parameters()).explain().groups[0]
    assert only.options == {"amsgrad": False}
    assert only.slots == {"exp_avg": "zeros", "exp_avg_sq": "zeros"}
