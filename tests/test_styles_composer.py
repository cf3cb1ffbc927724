"""Composer's optimizers: their decay, the functional form, the norms, and what equals them."""

import copy
import inspect
import io
import logging
import os
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

import steppers
from steppers import rules
from steppers.styles import composer, fastai
from steppers.styles.composer import DecoupledAdamW, DecoupledSGDW, sgdw

SHAPES = ((), (3,), (4, 2))


def made(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in SHAPES]


def feed(params, step):
    generator = torch.Generator().manual_seed(100 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def run(params, optimizer, steps=range(8), rates=None):
    for step in steps:
        if rates:
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
        feed(params, step)
        optimizer.step()


def assert_alike(left, right, rates=None):
    a, b = made(), made()
    run(a, left(a), rates=rates)
    run(b, right(b), rates=rates)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)


def theirs(kind, *, lr, weight_decay, rates, momentum=0.0, dampening=0.0, nesterov=False,
           betas=(0.9, 0.95), eps=1e-8, amsgrad=False):  # fmt: skip
    """The loop that the description of Composer's classes gives, in float64."""
    params = made()
    state = [{} for _ in params]
    for step, rate in enumerate(rates):
        feed(params, step)
        for p, s in zip(params, state, strict=True):
            g, p = p.grad, p.data
            if kind == "sgd":
                if momentum:
                    first = "b" not in s
                    s["b"] = g.clone() if first else momentum * s["b"] + (1 - dampening) * g
                u = (g + momentum * s["b"] if nesterov else s["b"]) if momentum else g
                size = rate
            else:
                t = step + 1
                s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
                s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
                s["max"] = torch.maximum(s.get("max", torch.zeros_like(g)), s["v"])
                v = s["max"] if amsgrad else s["v"]
                u = s["m"] / (v.sqrt() / (1 - betas[1] ** t) ** 0.5 + eps)
                size = rate / (1 - betas[0] ** t)
            p.mul_(1 - rate / lr * weight_decay).sub_(size * u)
    return params


RATES = [0.1, 0.1, 0.05, 0.02, 0.2, 0.1, 0.0, 0.1]
CASES = (
    ("sgd", DecoupledSGDW, dict(weight_decay=1e-4)),
    ("sgd", DecoupledSGDW, dict(weight_decay=1e-4, momentum=0.9)),
    ("sgd", DecoupledSGDW, dict(weight_decay=1e-4, momentum=0.9, dampening=0.5)),
    ("sgd", DecoupledSGDW, dict(weight_decay=1e-4, momentum=0.9, nesterov=True)),
    ("adam", DecoupledAdamW, dict(weight_decay=1e-4)),
    ("adam", DecoupledAdamW, dict(weight_decay=0.0, betas=(0.8, 0.9), eps=1e-3)),
    ("adam", DecoupledAdamW, dict(weight_decay=1e-4, betas=(0.9, 0.5), amsgrad=True)),
)


@pytest.mark.parametrize(("kind", "cls", "hypers"), CASES)
@pytest.mark.parametrize("metrics", [True, False])
def test_steps_are_those_of_the_description(kind, cls, hypers, metrics):
    params = made()
    run(params, cls(params, lr=0.1, metrics=metrics, **hypers), rates=RATES)
    for p, q in zip(params, theirs(kind, lr=0.1, rates=RATES, **hypers), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_at_the_initial_rate_it_is_fastais_sgd_with_decay_times_that_rate():
    """fastai: decay by lr * wd before a step of undampened momentum from zero, at a fixed rate."""
    lr, wd, mom = 0.1, 0.5, 0.9
    params = made()
    run(params, DecoupledSGDW(params, lr, mom, weight_decay=lr * wd))
    others, average = made(), {}
    for step in range(8):
        feed(others, step)
        for p in others:
            p.data.mul_(1 - lr * wd)
            average[p] = average.get(p, torch.zeros_like(p)) * mom + p.grad
            p.data.add_(average[p], alpha=-lr)
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_the_claim_holds_for_the_style_of_fastai_itself():
    params, others = made(), made()
    run(params, DecoupledSGDW(params, 0.1, 0.9, weight_decay=0.1 * 0.5))
    run(others, fastai.SGD(others, 0.1, mom=0.9, wd=0.5, decouple_wd=True))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_on_a_schedule_only_decay_by_the_rate_is_fastais():
    """Full: (lr / initial_lr) * wd. fastai's: lr * wd. They agree where wd is initial_lr times."""
    assert_alike(
        lambda ps: DecoupledSGDW(ps, 0.1, 0.9, weight_decay=0.1 * 0.5),
        lambda ps: steppers.Optimizer(
            ps, steps=(rules.decay, rules.heavy_ball, rules.descend), lr=0.1, momentum=0.9,
            weight_decay=0.5,
        ),
        rates=RATES,
    )  # fmt: skip


def test_the_simplified_form_of_the_comparison_is_decay_by_the_rate():
    p = torch.ones(3, dtype=torch.float64)
    expected = p * (1 - 0.1 * 0.5) - 0.1 * 2.0
    sgdw([p], [torch.full_like(p, 2.0)], [None], lr=0.1, weight_decay=0.05)
    torch.testing.assert_close(p, expected)


# --- groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [DecoupledSGDW, DecoupledAdamW])
def test_each_group_keeps_the_rate_it_was_added_with(cls):
    a, b, c = made(), made(1), made(2)
    optimizer = cls([{"params": a}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.01
    optimizer.add_param_group({"params": c, "lr": 0.3})
    assert [g["initial_lr"] for g in optimizer.param_groups] == [0.1, 0.5, 0.3]
    run([*a, *b, *c], optimizer, range(2))


def test_torchs_schedulers_begin_at_the_initial_rate():
    params = made()
    optimizer = DecoupledSGDW(params, 0.4, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.25, total_iters=2)
    assert (optimizer.param_groups[0]["lr"], scheduler.base_lrs) == (0.1, [0.4])
    assert optimizer.param_groups[0]["initial_lr"] == 0.4


def test_a_tensor_rate_is_not_its_own_initial_rate():
    lr = torch.tensor(0.1)
    optimizer = DecoupledSGDW([nn.Parameter(torch.ones(2))], lr, weight_decay=0.0)
    lr.mul_(0.5)
    assert float(optimizer.param_groups[0]["initial_lr"]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("cls", "first"), [(DecoupledSGDW, 1 - 5e-4), (steppers.DecoupledSGDW, 1.0)]
)
def test_a_rate_that_began_at_0_decays_in_full_and_in_ours_not_while_it_is_0(cls, first):
    """Composer: f = 1 where initial_lr is 0, so p moves at lr 0; in the catalogue it does not."""
    p = nn.Parameter(torch.ones(1, dtype=torch.float64))
    p.grad = torch.zeros_like(p)
    optimizer = cls([p], lr=0.0, weight_decay=5e-4)
    optimizer.step()
    assert p.item() == first
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    assert p.item() == pytest.approx(first * (1 - 5e-4), abs=1e-15)


@pytest.mark.parametrize("cls", [DecoupledSGDW, DecoupledAdamW])
def test_a_group_that_has_lost_its_initial_rate_begins_at_the_present_one(cls):
    p = nn.Parameter(torch.ones(1, dtype=torch.float64))
    p.grad = torch.zeros_like(p)
    optimizer = cls([p], lr=0.1, weight_decay=5e-4)
    optimizer.param_groups[0]["lr"] = 0.02
    del optimizer.param_groups[0]["initial_lr"]
    optimizer.step()
    assert optimizer.param_groups[0]["initial_lr"] == 0.02
    assert p.item() == pytest.approx(1 - 5e-4, abs=1e-15)


def test_torchs_one_cycle_writes_an_initial_rate_of_its_own():
    """As in the original: decay then goes up to 25 times weight_decay; the page says so."""
    optimizer = DecoupledSGDW(made(), 0.1, weight_decay=1e-5)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10, cycle_momentum=False)
    assert optimizer.param_groups[0]["initial_lr"] == pytest.approx(0.1 / 25)


@pytest.mark.parametrize(("cls", "moves"), [(DecoupledSGDW, True), (DecoupledAdamW, False)])
def test_adam_alone_leaves_frozen_parameters_with_an_old_gradient(cls, moves):
    frozen, trained = params = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    optimizer = cls(params, lr=0.1)
    feed(params, 0)
    frozen.requires_grad_(False)
    stale = frozen.grad
    optimizer.step()
    assert (frozen.tolist() != [1.0, 1.0], frozen in optimizer.state) == (moves, moves)
    assert frozen.grad is stale and trained.tolist() != [1.0, 1.0]
    frozen.requires_grad_(True)
    optimizer.step()
    assert frozen.tolist() != [1.0, 1.0]


def test_gradients_of_frozen_parameters_are_back_after_a_step_that_failed():
    frozen, sparse = params = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3, 2))]
    optimizer = DecoupledAdamW(params)
    frozen.grad, sparse.grad = torch.ones(2), torch.eye(3)[:, :2].to_sparse()
    frozen.requires_grad_(False)
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    assert frozen.grad.tolist() == [1.0, 1.0]


def test_without_momentum_there_is_no_buffer():
    params = made()
    optimizer = DecoupledSGDW(params, 0.1, metrics=False)
    run(params, optimizer, [0])
    assert set(optimizer.state[params[0]]) <= {"step"}


def test_the_first_buffer_is_the_gradient_undampened():
    p = nn.Parameter(torch.zeros(2))
    p.grad = torch.tensor([1.0, 2.0])
    optimizer = DecoupledSGDW([p], 0.1, momentum=0.9, dampening=0.9)
    optimizer.step()
    assert torch.equal(optimizer.state[p]["momentum_buffer"], p.grad)


def test_defaults_and_order_are_the_originals():
    adam = list(inspect.signature(DecoupledAdamW).parameters.values())
    found = {a.name: a.default for a in adam[1:6]}
    assert found == dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=1e-5, amsgrad=False)
    sgd = list(inspect.signature(DecoupledSGDW).parameters.values())
    names = ["params", "lr", "momentum", "dampening", "weight_decay", "nesterov"]
    assert [a.name for a in sgd[:6]] == names
    assert sgd[1].default is inspect.Parameter.empty


def test_a_closure_runs_under_grad_and_its_loss_is_returned():
    p = nn.Parameter(torch.ones(2))
    optimizer = DecoupledAdamW([p])

    def closure():
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0


def test_sparse_gradients_are_refused():
    p = nn.Parameter(torch.ones(3, 2))
    p.grad = torch.eye(3)[:, :2].to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        DecoupledAdamW([p]).step()


@pytest.mark.parametrize("cls", [DecoupledSGDW, DecoupledAdamW])
@pytest.mark.parametrize(("decay", "said"), [(1e-3, 1), (0.1, 1), (9e-4, 0)])
def test_high_decay_is_logged(cls, decay, said, caplog):
    with caplog.at_level(logging.WARNING):
        cls(made(), lr=0.1, weight_decay=decay)
    assert len(caplog.records) == said
    assert all("high weight decay" in record.getMessage() for record in caplog.records)


def test_nothing_is_logged_of_an_optimizer_that_was_not_made(caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(TypeError, match="lr must be a number"):
        DecoupledSGDW(made(), "0.1", weight_decay=0.1)
    assert not caplog.records


def test_the_rate_of_sgd_has_to_be_given():
    with pytest.raises(TypeError, match="lr"):
        DecoupledSGDW(made())


@pytest.mark.parametrize("cls", [DecoupledSGDW, DecoupledAdamW])
def test_a_resumed_run_and_copies_are_identical(cls):
    whole = made(dtype=torch.float32)
    run(whole, optimizer := cls(whole, lr=0.1), rates=RATES)
    params = made(dtype=torch.float32)
    first = cls(params, lr=0.1)
    run(params, first, range(4), RATES)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    again = [nn.Parameter(p.detach().clone()) for p in params]
    second = cls(again, lr=0.7)
    second.load_state_dict(torch.load(file, weights_only=True))
    third = pickle.loads(pickle.dumps(first))
    fourth = copy.deepcopy(first)
    for each in (second, third, fourth):
        own = each.param_groups[0]["params"]
        run(own, each, range(4, 8), RATES)
        assert all(torch.equal(p, q) for p, q in zip(own, whole, strict=True))
        assert each.param_groups[0]["initial_lr"] == 0.1
    late = nn.Parameter(torch.ones(2))
    third.add_param_group({"params": [late], "lr": 0.2})
    assert third.param_groups[-1]["initial_lr"] == 0.2
    assert type(optimizer) is cls


def test_a_chain_of_rules_and_one_of_several_begin_at_their_groups_rate():
    steps = (rules.decay_by_schedule, rules.descend)
    own = {"params": made(2), "initial_lr": 1.0}
    groups = [{"params": made()}, {"params": made(1), "lr": 0.3}, own]
    composed = steppers.Optimizer(groups, steps=steps, lr=0.1)
    assert [g["initial_lr"] for g in composed.param_groups] == [0.1, 0.3, 1]
    chains = {"sgdw": steppers.DecoupledSGDW, "adamw": steppers.AdamW}
    several = steppers.Optimizer([{"params": made(), "chain": "sgdw", "lr": 0.2}], chains=chains)
    assert several.param_groups[0]["initial_lr"] == 0.2


# --- norms -------------------------------------------------------------------------------------


def model_of():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


METRICS = ("l2_norm/moment", "l2_norm/param", "l2_norm/update", "l2_norm/grad")


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
@pytest.mark.parametrize(
    ("cls", "slot"), [(DecoupledSGDW, "momentum_buffer"), (DecoupledAdamW, "exp_avg")]
)
def test_norms_are_those_of_the_step(cls, slot, engine):
    model = model_of().double()
    more = {"momentum": 0.9} if cls is DecoupledSGDW else {}
    optimizer = cls(model.parameters(), lr=0.1, engine=engine, **more)
    for _ in range(2):
        model.zero_grad()
        model(torch.ones(5, 3, dtype=torch.float64)).square().sum().backward()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer.step()
    found = composer.per_parameter_metrics(optimizer, model.named_parameters())
    assert set(found) == {f"{m}/{n}" for m in METRICS for n, _ in model.named_parameters()}
    for n, p in model.named_parameters():
        wanted = dict(zip(METRICS, (optimizer.state[p][slot], p, p - before[n], p.grad),
                          strict=True))  # fmt: skip
        for metric, x in wanted.items():
            close = found[f"{metric}/{n}"]
            torch.testing.assert_close(close, x.norm().detach(), rtol=1e-10, atol=1e-12)


def test_the_class_reports_as_the_original_does():
    model = model_of()
    optimizer = DecoupledAdamW(model.parameters())
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    metrics = {"before": torch.ones(())}
    for name, p in model.named_parameters():
        metrics = optimizer.report_per_parameter_metrics(p, name, metrics)
    assert len(metrics) == 1 + 4 * 4
    assert metrics["l2_norm/grad/0.weight"].ndim == 0


@pytest.mark.parametrize("cls", [steppers.DecoupledSGDW, steppers.DecoupledAdamW])
def test_norms_cost_no_pass_over_memory(cls):
    p = nn.Parameter(torch.zeros(100_000))
    momentum = {"momentum": 0.9} if cls is steppers.DecoupledSGDW else {}
    plain, with_norms = cls([p], **momentum), cls([p], metrics=True, **momentum)
    text = [str(o.explain(measure=False)) for o in (plain, with_norms)]
    bytes_of = [t.split("bytes a step: ")[1].split(" a parameter")[0] for t in text]
    assert bytes_of[0] == bytes_of[1]
    all_of = [int(t.split("a parameter, ")[-1].split(" in all")[0].replace(",", "")) for t in text]
    assert all_of[1] - all_of[0] == 8 * 4  # four numbers are read and written, a tensor each


def test_norms_need_metrics_and_names():
    params = made()
    plain = DecoupledAdamW(params, metrics=False)
    run(params, plain, [0])
    with pytest.raises(TypeError, match="keeps no norms; make it with metrics=True"):
        composer.per_parameter_metrics(plain, [("a", params[0])])
    with pytest.raises(ValueError, match="has no names"):
        composer.per_parameter_metrics(plain)


def test_norms_go_by_the_optimizers_own_names_and_leave_out_what_took_no_step():
    model = model_of()
    optimizer = DecoupledSGDW(model.named_parameters(), lr=0.1)
    assert composer.per_parameter_metrics(optimizer) == {}
    model(torch.ones(5, 3)).sum().backward()
    model[0].bias.grad = None
    optimizer.step()
    found = composer.per_parameter_metrics(optimizer)
    assert {key.rpartition("/")[2] for key in found} == {"0.weight", "2.weight", "2.bias"}
    assert composer.per_parameter_metrics(optimizer, model) == found


RANKS = """
import os, sys, torch, torch.distributed as dist
from steppers.styles.composer import dist_reduce_metrics, pre_reduce_metrics
child = os.fork()
rank = 1 if child else 0
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)
here = [
    {"l2_norm/grad/b": torch.tensor(1.0), "l2_norm/grad/a": torch.tensor(3.0)},
    {"l2_norm/grad/a": torch.tensor(4.0), "seen": torch.tensor(6.0)},
][rank]
found = dist_reduce_metrics(pre_reduce_metrics(here))
dist.barrier()
dist.destroy_process_group()
wanted = {"l2_norm/grad/a": 5.0, "l2_norm/grad/b": 1.0, "seen": 3.0}
wrong = {name: value.item() for name, value in found.items()} != wanted
if child:
    wrong |= os.waitpid(child, 0)[1] != 0
os._exit(wrong)
"""


def test_norms_of_parts_are_reduced_by_summing_squares(tmp_path):
    """Two ranks: 3 and 4 make 5, a name that one lacks counts as 0, other metrics are averaged."""
    metrics = {"l2_norm/grad/a": torch.tensor(3.0), "seen": torch.tensor(2.0)}
    squares = composer.pre_reduce_metrics(metrics)
    assert squares == {"l2_norm/grad/a": torch.tensor(9.0), "seen": torch.tensor(2.0)}
    assert composer.dist_reduce_metrics(squares) == metrics
    assert composer.dist_reduce_metrics({}) == {}
    code, env = textwrap.dedent(RANKS), {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store")], env=env, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


class Monitor:
    """A callback as people write it for Composer: it asks the optimizer, whatever that is."""

    def __init__(self):
        self.logged = {}

    def batch_end(self, model, optimizer):
        metrics = {}
        for name, p in model.named_parameters():
            if p.grad is None or not p.requires_grad:
                continue
            reporter = getattr(optimizer, "report_per_parameter_metrics", None)
            if callable(reporter):
                metrics = reporter(p, name, metrics)
        for word in ("pre_reduce_metrics", "dist_reduce_metrics"):
            metrics = getattr(optimizer, word)(metrics)
        total = sum(v**2 for name, v in metrics.items() if name.startswith("l2_norm/grad"))
        self.logged = {**metrics, "l2_norm/grad/global": total**0.5}


@pytest.mark.parametrize("cls", [DecoupledSGDW, DecoupledAdamW])
def test_a_monitor_of_composers_kind_logs_norms(cls):
    model, monitor = model_of(), Monitor()
    optimizer = cls(model.parameters(), lr=0.1)
    model[0].requires_grad_(False)
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    monitor.batch_end(model, optimizer)
    grads = [p.grad for p in model[2].parameters()]
    assert monitor.logged["l2_norm/grad/global"] == pytest.approx(
        torch.cat([g.flatten() for g in grads]).norm().item()
    )
    assert "l2_norm/param/2.bias" in monitor.logged and "l2_norm/param/0.bias" not in monitor.logged


def test_reported_norms_are_not_the_state_itself():
    params = made()
    optimizer = DecoupledAdamW(params)
    run(params, optimizer, [0])
    found = composer.per_parameter_metrics(optimizer, [("a", params[1])])
    found["l2_norm/grad/a"].mul_(0)
    assert composer.per_parameter_metrics(optimizer, [("a", params[1])])["l2_norm/grad/a"] > 0


# --- checkpoints -------------------------------------------------------------------------------


def theirs_saved(optimizer):
    """What Composer's classes save: torch's format without norms, with each group's initial_lr."""
    saved = copy.deepcopy(optimizer.state_dict())
    norms = set(composer.metrics.METRICS.values())
    for state in saved["state"].values():
        for name in norms & set(state):
            del state[name]
    for group in saved["param_groups"]:
        for name in ("metrics", "chain", "state_dtype", "rounding", "skip_nonfinite"):
            del group[name]
    return saved


@pytest.mark.parametrize(
    ("cls", "hypers"), [(DecoupledSGDW, dict(momentum=0.9)), (DecoupledAdamW, dict(amsgrad=True))]
)
def test_checkpoints_of_composer_are_taken_up(cls, hypers):
    params = made()
    first = cls(params, lr=0.1, weight_decay=1e-4, **hypers)
    run(params, first, range(4), RATES)
    again = [nn.Parameter(p.detach().clone()) for p in params]
    second = cls(again, lr=0.7, **hypers)
    saved = theirs_saved(first)
    before = copy.deepcopy(saved)
    second.load_state_dict(saved)
    assert str(saved) == str(before)
    for each, own in ((first, params), (second, again)):
        run(own, each, range(4, 8), RATES)
    assert all(torch.equal(p, q) for p, q in zip(params, again, strict=True))
    assert second.param_groups[0]["initial_lr"] == 0.1
    assert composer.per_parameter_metrics(second, [("a", again[1])])["l2_norm/grad/a"] > 0


@pytest.mark.parametrize("metrics", [True, False])
def test_a_checkpoint_of_torchs_adamw_goes_on_from_its_own_rate(metrics):
    """It has no initial_lr: its lr is what it began at, so a decay of lr * wd is AdamW's here."""
    params, others = made(), made()
    theirs = torch.optim.AdamW(params, lr=0.1, betas=(0.9, 0.95), weight_decay=0.5)
    run(params, theirs, range(3))
    ours = DecoupledAdamW(others, lr=1e-3, metrics=metrics)
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.data)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["initial_lr"] == 0.1
    ours.param_groups[0]["weight_decay"] = 0.1 * 0.5
    run(params, theirs, range(3, 6))
    run(others, ours, range(3, 6))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_a_rate_that_is_a_tensor_is_copied_where_it_becomes_the_initial_one():
    theirs = torch.optim.AdamW(made(), lr=torch.tensor(0.1))
    ours = DecoupledAdamW(made(), lr=torch.tensor(1e-3))
    ours.load_state_dict(theirs.state_dict())
    group = ours.param_groups[0]
    group["lr"].mul_(0.5)
    assert group["initial_lr"].item() == pytest.approx(0.1)


@pytest.mark.parametrize(("saves", "loads"), [(True, False), (False, True)])
def test_norms_may_be_kept_by_one_of_a_checkpoints_two_sides(saves, loads):
    params = made(dtype=torch.float32)
    first = DecoupledAdamW(params, metrics=saves)
    run(params, first, range(3))
    again = [nn.Parameter(p.detach().clone()) for p in params]
    second = DecoupledAdamW(again, metrics=loads)
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["metrics"] is loads
    assert ("grad_norm" in second.state[again[0]]) is loads
    for own, each in ((params, first), (again, second)):
        run(own, each, range(3, 5))
    assert all(torch.equal(p, q) for p, q in zip(params, again, strict=True))


def test_a_momentum_of_0_loads_the_empty_states_that_it_has():
    params = made()
    optimizer = DecoupledSGDW(params, 0.1)
    groups = [{"lr": 0.1, "momentum": 0, "params": [0, 1, 2]}]
    for state in ({}, {i: {"momentum_buffer": None} for i in range(3)}):
        optimizer.load_state_dict({"state": state, "param_groups": copy.deepcopy(groups)})
        run(params, optimizer, range(2))


@pytest.mark.parametrize("wrong", [[], {"state": {}}, {"state": {}, "param_groups": [3]}, 4])
def test_what_is_no_checkpoint_is_refused(wrong):
    with pytest.raises(ValueError, match=r"DecoupledAdamW: .*state dict"):
        DecoupledAdamW(made()).load_state_dict(wrong)


# --- the functional form -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "hypers",
    [
        dict(momentum=0.0),
        dict(momentum=0.9),
        dict(momentum=0.9, dampening=0.5),
        dict(momentum=0.9, nesterov=True),
    ],
)
def test_the_functional_form_is_the_class(hypers):
    params, lists = made(), [p.detach().clone() for p in made()]
    optimizer = DecoupledSGDW(params, 0.1, weight_decay=1e-4, **hypers)
    buffers = [None] * len(lists)
    for step, rate in enumerate(RATES):
        run(params, optimizer, [step], RATES)
        grads = [p.grad for p in params]
        before = [g.clone() for g in grads]
        sgdw(lists, grads, buffers, lr=rate, weight_decay=1e-4, initial_lr=0.1, **hypers)
        assert all(torch.equal(g, b) for g, b in zip(grads, before, strict=True))
    for p, q in zip(params, lists, strict=True):
        torch.testing.assert_close(p.detach(), q, rtol=1e-12, atol=1e-14)
    assert all((b is None) == (hypers["momentum"] == 0) for b in buffers)


def test_the_functional_form_checks_before_anything_moves():
    p = torch.ones(2)
    with pytest.raises(
        ValueError, match="of one length, got params 1, grads 1, momentum_buffers 0"
    ):
        sgdw([p], [p], [], lr=0.1)
    nan = float("nan")
    for name, value in (("lr", -0.1), ("momentum", nan), ("weight_decay", -1), ("initial_lr", nan)):
        with pytest.raises(ValueError, match=f"sgdw: {name} must be finite and >= 0"):
            sgdw([p], [p], [None], **{"lr": 0.1, name: value})
    with pytest.raises(TypeError, match=r"sgdw: lr must be a number, got '0.1'"):
        sgdw([p], [p], [None], lr="0.1")
    with pytest.raises(TypeError, match=r"sgdw: grads\[1\] must be a tensor, got NoneType"):
        sgdw([p, p], [p, None], [None, None], lr=0.1)
    with pytest.raises(TypeError, match="momentum_buffers must be a list"):
        sgdw([p], [p], (None,), lr=0.1, momentum=0.9)
    assert p.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("amsgrad", [False, True])
def test_the_functional_form_of_adam_is_the_class(amsgrad):
    hypers = dict(weight_decay=1e-4, eps=1e-4)
    params, lists = made(), [p.detach().clone() for p in made()]
    optimizer = DecoupledAdamW(params, 0.1, (0.8, 0.5), amsgrad=amsgrad, **hypers)
    m, v, largest = ([torch.zeros_like(p) for p in lists] for _ in range(3))
    for step, rate in enumerate(RATES):
        run(params, optimizer, [step], RATES)
        grads, counts = [p.grad for p in params], [torch.tensor(step + 1.0)] * 3
        DecoupledAdamW.adamw(
            lists, grads, m, v, largest if amsgrad else [], counts, amsgrad=amsgrad, beta1=0.8,
            beta2=0.5, lr=rate, initial_lr=0.1, **hypers,
        )  # fmt: skip
    for p, q in zip(params, lists, strict=True):
        torch.testing.assert_close(p.detach(), q, rtol=1e-12, atol=1e-14)


def test_adams_functional_form_checks_before_anything_moves():
    p = torch.ones(2)
    lists = dict(params=[p], grads=[p], exp_avgs=[p.clone()], exp_avg_sqs=[p.clone()],
                 max_exp_avg_sqs=[], state_steps=[torch.tensor(1.0)])  # fmt: skip
    with pytest.raises(ValueError, match="max_exp_avg_sqs 0"):
        composer.adamw(**lists, lr=0.1, amsgrad=True)
    with pytest.raises(ValueError, match=r"beta2 must be in \[0, 1\), got 1.0"):
        composer.adamw(**lists, lr=0.1, beta2=1.0)
    assert p.tolist() == [1.0, 1.0]


def test_the_static_function_is_called_as_the_original_is():
    p, buffers = torch.ones(2, dtype=torch.float64), [None]
    DecoupledSGDW.sgdw(
        [p], [torch.ones(2, dtype=torch.float64)], buffers, weight_decay=0.01, momentum=0.9, lr=0.1,
        initial_lr=0.2, dampening=0.0, nesterov=True,
    )  # fmt: skip
    assert p.tolist() == pytest.approx([1 - 0.005 - 0.1 * 1.9] * 2)
    assert buffers[0].tolist() == [1.0, 1.0]


def test_a_subclass_may_log_its_decay_and_a_lambda_may_schedule_it():
    """Code of users: a subclass with a step of its own, and a scheduler by a function of steps."""

    class Logged(DecoupledSGDW):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.decays = []

        def step(self, closure=None):
            group = self.param_groups[0]
            self.decays.append(group["weight_decay"] * group["lr"] / group["initial_lr"])
            return super().step(closure)

    params = made()
    optimizer = Logged(params, lr=0.1, momentum=0.9, weight_decay=8e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    for step in range(3):
        run(params, optimizer, [step])
        scheduler.step()
    assert optimizer.decays == pytest.approx([8e-4, 4e-4, 2e-4])
    expected = theirs("sgd", lr=0.1, weight_decay=8e-4, momentum=0.9, rates=[0.1, 0.05, 0.025])
    for p, q in zip(params, expected, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_a_plain_loop_of_epochs_learns():
    """The comparison's fit(): forward, backward, step, zero_grad, in any torch loop."""
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    model, losses = nn.Linear(3, 1), []
    optimizer = DecoupledSGDW(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-5)
    for _ in range(20):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
