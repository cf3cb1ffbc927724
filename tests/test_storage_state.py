"""What is stored in 16 bits or as pairs is state: checkpoints, copies, views, live changes."""

import copy
import pickle

import pytest
import torch
from contract_rows import ROWS, bits, composed, give_grads, train
from states import advance, copies, parameters, params_of, through_file

import steppers
from steppers.rules import descend, ema, use_average

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
ENGINES = ("loop", "foreach", "fused")
ENGINE = pytest.mark.parametrize("engine", ENGINES)
# fmt: off
FORMATS = {  # dtype of the model, and options
    "nearest":          (BF16, dict(rounding="nearest", state_dtype="float32")),
    "stochastic":       (BF16, dict(rounding="stochastic")),
    "kahan":            (BF16, dict(rounding="kahan")),
    "float16 kahan":    (F16, dict(rounding="kahan")),
    "float32 kahan":    (F32, dict(rounding={"p": "kahan"})),
    "narrow state":     (F32, dict(rounding="stochastic", state_dtype="bfloat16")),
}
# fmt: on
FORMAT = pytest.mark.parametrize("form", FORMATS)
ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


def everything(model, optimizer):
    """The bits of parameters and state."""
    return [(bits(p), {k: bits(v) for k, v in optimizer.state[p].items()})
            for p in model.parameters()]  # fmt: skip


# --- checkpoints and copies --------------------------------------------------------------------


@ROW
@FORMAT
@ENGINE
def test_a_resumed_run_is_the_uninterrupted_one(row, form, engine):
    dtype, options = FORMATS[form]
    if row.narrow and dtype == F16:
        pytest.skip(row.narrow)
    torch.manual_seed(7)
    model, optimizer = row.made(dtype, engine=engine, **options)
    train(model, optimizer, 3)
    saved = through_file(optimizer.state_dict())
    torch.manual_seed(99)  # the seed comes with the checkpoint
    fresh_model, fresh = row.made(dtype, engine=engine, **options)
    fresh_model.load_state_dict(model.state_dict())
    fresh.load_state_dict(saved)
    train(model, optimizer, 3, seed=1)
    train(fresh_model, fresh, 3, seed=1)
    assert everything(model, optimizer) == everything(fresh_model, fresh)


WAYS = {
    "pickle": lambda pair: pickle.loads(pickle.dumps(pair)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", WAYS)
@FORMAT
def test_copies_go_on_alike(way, form):
    dtype, options = FORMATS[form]
    model, optimizer = ROWS[0].made(dtype, engine="loop", **options)
    train(model, optimizer, 2)
    other_model, other = WAYS[way]((model, optimizer))
    train(model, optimizer, 2, seed=1)
    train(other_model, other, 2, seed=1)
    assert everything(model, optimizer) == everything(other_model, other)


def test_the_same_seed_is_the_same_run_and_another_is_not():
    ends = []
    for seed in (1, 1, 2):
        model, optimizer = ROWS[0].made(BF16, rounding="stochastic", seed=seed, engine="loop")
        train(model, optimizer, 3)
        ends.append(everything(model, optimizer))
    assert ends[0] == ends[1] != ends[2]


@FORMAT
def test_a_checkpoint_of_torch_loads(form):
    dtype, options = FORMATS[form]
    params = parameters(dtype=dtype)
    theirs = advance(torch.optim.AdamW(params, lr=0.01, foreach=False), 3)
    ours = steppers.AdamW(copies(params), lr=0.01, engine="loop", **options)
    ours.load_state_dict(theirs.state_dict())
    for p, q in zip(params, params_of(ours), strict=True):
        assert {n: ours.state[q][n].dtype for n in ("exp_avg", "exp_avg_sq")} == dict.fromkeys(
            ("exp_avg", "exp_avg_sq"), dtype
        )
        assert bits(ours.state[q]["exp_avg"]) == bits(theirs.state[p]["exp_avg"])
    advance(ours, 1, first=3)
    wide = torch.optim.AdamW([torch.nn.Parameter(p.double()) for p in params], lr=0.01)
    wide.load_state_dict(theirs.state_dict())
    for p, q in zip(params, params_of(wide), strict=True):
        q.grad = None
        for name in ("exp_avg", "exp_avg_sq"):
            wide.state[q][name] = theirs.state[p][name].double()
    for p, q in zip(params_of(ours), params_of(wide), strict=True):
        q.grad = p.grad.double()
    wide.step()
    for p, q in zip(params_of(ours), params_of(wide), strict=True):
        low = ours.state[p].get("p_low", torch.zeros(()))
        eps = torch.finfo(dtype).eps
        off = (p.detach().double() + low - q.detach()).abs()
        assert (off <= eps * q.abs() * (eps if "p_low" in ours.state[p] else 1) + 1e-6).all()


def test_slots_keep_their_dtype_and_the_option_is_for_new_ones():
    old = advance(steppers.AdamW(parameters(dtype=BF16), state_dtype="float32"), 2)
    fresh = steppers.AdamW(copies(params_of(old)), engine="loop", rounding="kahan")
    fresh.load_state_dict(old.state_dict())
    advance(fresh, 1)
    assert fresh.param_groups[0]["state_dtype"] is None
    for p in params_of(fresh):
        assert fresh.state[p]["exp_avg"].dtype == F32  # as it was saved, and no pair
        assert fresh.state[p].keys() == {"step", "exp_avg", "exp_avg_sq", "p_low"}


def saved_with(rounding):
    return advance(steppers.AdamW(parameters(dtype=BF16), rounding=rounding), 2).state_dict()


@pytest.mark.parametrize("rounding", [None, "stochastic", {"exp_avg": "kahan"}], ids=str)
def test_low_parts_that_would_be_lost_are_refused(rounding):
    fresh = steppers.AdamW(parameters(dtype=BF16), rounding=rounding)
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(ValueError, match="saved with rounding 'kahan' of p, in p and p_low"):
        fresh.load_state_dict(saved_with("kahan"))
    assert str(fresh.state_dict()) == str(before)


BROKEN = (
    (lambda low: low.float(), r"p_low of parameter 0 must be like p, \(4, 3\) torch.bfloat16"),
    (lambda low: low[:2], r"must be like p, \(4, 3\) torch.bfloat16, got \(2, 3\)"),
    (lambda low: 0.0, r"must be like p, .*, got 0.0"),
)


@pytest.mark.parametrize(("spoil", "text"), BROKEN)
def test_low_parts_that_do_not_fit_are_refused(spoil, text):
    saved = saved_with("kahan")
    saved["state"][0]["p_low"] = spoil(saved["state"][0]["p_low"])
    fresh = steppers.AdamW(parameters(dtype=BF16), rounding="kahan")
    with pytest.raises(ValueError, match=text):
        fresh.load_state_dict(saved)
    assert not fresh.state


# --- views -------------------------------------------------------------------------------------


def averaged(params, **options):
    return steppers.Optimizer(
        params, steps=[descend, ema], evaluate=use_average, lr=0.1, ema_decay=0.5, **options
    )


def free(params, **options):
    return steppers.ScheduleFreeAdamW(params, lr=0.1, **options)


@pytest.mark.parametrize("make", [averaged, free])
@FORMAT
@ENGINE
def test_a_look_at_the_average_changes_no_bit(make, form, engine):
    dtype, options = FORMATS[form]
    optimizer = advance(make(parameters(dtype=dtype), engine=engine, seed=1, **options), 3)
    before = [(bits(p), {k: bits(v) for k, v in optimizer.state[p].items()})
              for p in params_of(optimizer)]  # fmt: skip
    with optimizer.evaluating():
        assert [bits(p) for p in params_of(optimizer)] != [p for p, _ in before]
    after = [(bits(p), {k: bits(v) for k, v in optimizer.state[p].items()})
             for p in params_of(optimizer)]  # fmt: skip
    assert after == before


@pytest.mark.parametrize("form", ["kahan", "float32 kahan"])
def test_a_checkpoint_from_the_view_has_the_training_pairs(form):
    dtype, options = FORMATS[form]
    optimizer = advance(averaged(parameters(dtype=dtype), **options), 3)
    pairs = [(bits(p), bits(optimizer.state[p]["p_low"])) for p in params_of(optimizer)]
    optimizer.eval()
    fresh = averaged(copies(params_of(optimizer)), **options)
    fresh.load_state_dict(through_file(optimizer.state_dict()))
    fresh.train()
    assert [(bits(p), bits(fresh.state[p]["p_low"])) for p in params_of(fresh)] == pairs
    assert all("train_p_low" not in fresh.state[p] for p in params_of(fresh))


# --- live changes ------------------------------------------------------------------------------


@ENGINE
def test_a_pair_that_is_not_asked_for_any_more_rounds_to_its_high_part(engine):
    params = parameters(dtype=BF16)
    optimizer = advance(steppers.AdamW(params, rounding="kahan", engine=engine), 3)
    plain = steppers.AdamW(copies(params), engine=engine)
    state = copy.deepcopy(optimizer.state_dict())
    for each in state["state"].values():
        for name in [n for n in each if n.endswith("_low")]:
            del each[name]
    plain.load_state_dict(state)
    optimizer.param_groups[0]["rounding"] = None
    advance(optimizer, 2, first=3)
    advance(plain, 2, first=3)
    for p, q in zip(params, params_of(plain), strict=True):
        assert bits(p) == bits(q)
        assert optimizer.state[p].keys() == plain.state[q].keys()


@ENGINE
def test_a_model_that_changed_its_dtype_keeps_its_pairs(engine):
    model, optimizer = ROWS[0].made(BF16, rounding={"p": "kahan"}, engine=engine)
    train(model, optimizer, 2)
    values = pairs(model, optimizer)
    optimizer.param_groups[0].update(lr=0.0, weight_decay=0.0)
    for cast, dtype in ((model.half, F16), (model.float, F32)):  # one name asks for float32 too
        cast()
        give_grads(model.parameters(), 5)
        optimizer.step()
        assert {optimizer.state[p]["p_low"].dtype for p in model.parameters()} == {dtype}
        for now, value in zip(pairs(model, optimizer), values, strict=True):
            torch.testing.assert_close(now, value, rtol=2.0**-17, atol=2.0**-24)


def pairs(model, optimizer):
    """The full values of the parameters."""
    return [p.detach().double() + optimizer.state[p]["p_low"] for p in model.parameters()]


def test_groups_have_their_own_formats():
    a, b, c = parameters(((3,), (3,), (3,)), dtype=BF16)
    optimizer = steppers.AdamW(
        [
            dict(params=[a], rounding="kahan"),
            dict(params=[b], state_dtype=F32, rounding=None),
            dict(params=[c]),
        ],
        rounding="stochastic",
        state_dtype=dict(exp_avg_sq="float32"),
    )
    advance(optimizer, 1)
    kept = [{n: x.dtype for n, x in optimizer.state[p].items() if n != "step"} for p in (a, b, c)]
    assert kept == [
        dict(exp_avg=BF16, exp_avg_sq=F32, p_low=BF16, exp_avg_low=BF16),
        dict(exp_avg=F32, exp_avg_sq=F32),
        dict(exp_avg=BF16, exp_avg_sq=F32),
    ]
    groups = optimizer.param_groups
    assert [g["rounding"] for g in groups] == ["kahan", None, "stochastic"]
    assert groups[1]["state_dtype"] == "float32"
    assert groups[2]["state_dtype"] == {"exp_avg_sq": "float32"}
    assert ["seed" in g for g in groups] == [False, False, True]


def test_several_chains_take_names_of_any_of_them():
    matrix, vector = params = parameters(((4, 3), (3,)), BF16)
    optimizer = steppers.Optimizer(
        [dict(params=[matrix], chain="muon"), dict(params=[vector], chain="adamw")],
        chains={"muon": steppers.Muon, "adamw": steppers.AdamW},
        state_dtype={"exp_avg_sq": F32, "momentum_buffer": F32},
        rounding="kahan",
    )
    advance(optimizer, 2)
    kinds = {n: x.dtype for p in params for n, x in optimizer.state[p].items()}
    assert kinds["exp_avg_sq"] == kinds["momentum_buffer"] == F32
    assert kinds["exp_avg"] == kinds["exp_avg_low"] == kinds["p_low"] == BF16


def test_capturable_steps_keep_pairs():
    ends = []
    for capturable in (False, True):
        params = parameters(dtype=BF16)
        options = dict(rounding="kahan", capturable=capturable, engine="loop")
        optimizer = advance(steppers.AdamW(params, **options), 3)
        ends.append([(p.detach().double() + optimizer.state[p]["p_low"]) for p in params])
    for p, q in zip(*ends, strict=True):
        torch.testing.assert_close(p, q, rtol=2.0**-15, atol=2.0**-15)


def test_init_state_makes_what_the_first_step_needs():
    optimizer = composed(parameters(dtype=BF16), lr=0.1, max_norm=1.0, rounding="kahan")
    optimizer.init_state()
    before = [set(optimizer.state[p]) for p in params_of(optimizer)]
    advance(optimizer, 1)
    assert [set(optimizer.state[p]) for p in params_of(optimizer)] == before
    assert all("p_low" in names for names in before)
