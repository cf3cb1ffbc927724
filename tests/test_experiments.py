"""Experiments as functions: what they train, what they find, what they refuse."""

import json
import math
import statistics
from itertools import chain

import pytest
import torch
import torch.nn.functional as F

from steppers import groups, rng
from steppers.train import nets
from steppers.train.experiments import Setup, Spread, compare, find_lr, sweep, train
from steppers.train.experiments.callbacks import Report
from steppers.train.experiments.costs import measure
from steppers.train.experiments.runs import make_learner, train_one
from steppers.train.experiments.settings import Settings, enter, from_dict
from steppers.train.tasks import TASKS

SMALL = Setup(epochs=1, batch_size=256)
DIGITS = TASKS["digits"]


def one_run(spec, setup=SMALL, seed=0):
    """The run of one seed, and its learner."""
    contender = enter(spec, setup)
    return train_one(contender.with_seed(seed), contender.data(seed))


# --- a run ------------------------------------------------------------------------------------


def one_cycle(position, peak):
    """Smith's cycle in fastai's shape, by hand."""
    if position < 0.25:
        return peak / 25 + (peak - peak / 25) * (1 - math.cos(math.pi * position / 0.25)) / 2
    down = (position - 0.25) / 0.75
    return peak / 1e5 + (peak - peak / 1e5) * (1 + math.cos(math.pi * down)) / 2


def test_a_run_is_the_loop_that_one_would_write_by_hand():
    run, _ = one_run("torch.AdamW(lr=0.01, weight_decay=0.1)", Setup(epochs=2, batch_size=256), 3)
    rng.seed_all(3)
    data, model = DIGITS.data(3), nets.small_conv_net()
    loaders = data.loaders(256, seed=3)
    optimizer = torch.optim.AdamW(groups.no_decay(model, weight_decay=0.1), lr=0.01)
    losses = []
    for step, (x, y) in enumerate(chain(loaders.train, loaders.train)):
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(step / 12, 0.01)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        outputs, target = model(data.valid.x), data.valid.y
    assert run.losses == pytest.approx(losses, rel=1e-5)
    assert run.rates == pytest.approx([one_cycle(k / 12, 0.01) for k in range(12)])
    assert run.loss == pytest.approx(F.cross_entropy(outputs, target).item(), rel=1e-4)
    assert run.score == (outputs.argmax(1) == target).float().mean().item()
    assert [row["step"] for row in run.rows] == [6, 12] and run.steps_per_epoch == 6


def test_adamw_learns_the_digits():
    assert train("torch.AdamW(lr=0.01)", Setup(epochs=6)).score.mean >= 0.97


@pytest.mark.parametrize(
    "option",
    [
        dict(clip=0.01),
        dict(accumulate=2),
        dict(precision="bf16"),
        dict(ema=0.5),
        dict(label_smoothing=0.3),
        dict(mixup=0.5),
        dict(schedule="flat-cos"),
        dict(schedule="warmup-cosine"),
        dict(schedule="wsd"),
        dict(schedule="sgdr"),
        dict(schedule="none"),
    ],
    ids=str,
)
def test_every_option_reaches_the_run(option):
    plain, _ = one_run("SGD")
    other, _ = one_run("SGD", Setup(epochs=1, batch_size=256, **option))
    assert other.error is None and math.isfinite(other.loss) and other.loss != plain.loss


def test_smoothed_labels_leave_the_held_out_loss_plain():
    run, learn = one_run("AdamW", Setup(epochs=1, batch_size=256, label_smoothing=0.3))
    assert learn.loss_func is F.cross_entropy
    assert run.loss == pytest.approx(learn.validate()["loss"], rel=1e-6)
    assert run.losses[0] != one_run("AdamW")[0].losses[0]


def test_workers_and_threads_change_no_number():
    plain, _ = one_run("AdamW")
    other, _ = one_run("AdamW", Setup(epochs=1, batch_size=256, workers=1))
    assert other.losses == plain.losses and other.loss == plain.loss


def test_a_run_that_diverges_says_when_and_takes_no_step_on_it():
    run, learn = one_run("torch.SGD(lr=1e30)")
    assert run.error == "torch.SGD diverged: the loss is nan after 1 step; try a smaller lr"
    assert run.loss is None and run.score is None and len(run.losses) == 1
    # the one step that was taken left finite weights, and none was taken on the nan
    assert all(p.isfinite().all() for p in learn.model.parameters())


def test_a_held_out_loss_that_is_not_finite_is_a_divergence(monkeypatch):
    contender = enter("AdamW", SMALL)
    data = contender.data(0)
    data.valid.x[0] = math.nan
    run, _ = train_one(contender.with_seed(0), data)
    assert "AdamW diverged: the loss is nan after 6 steps" in run.error


# --- train ------------------------------------------------------------------------------------


def test_seeds_have_a_mean_a_deviation_and_the_figure_for_other_writers():
    found = train("AdamW", SMALL, seed=4, seeds=3)
    scores = [run.score for run in found.runs]
    assert [run.settings.seed for run in found.runs] == [4, 5, 6] and len(set(scores)) > 1
    assert found.score.mean == pytest.approx(statistics.mean(scores))
    assert found.score.deviation == pytest.approx(statistics.stdev(scores))
    assert len(found.other.runs) == 3 and "other writers" in found.other.runs[0].data
    assert any(line.startswith("writers not seen in training: ") for line in found.sentences())


def test_one_seed_has_no_deviation_and_other_writers_only_if_asked():
    assert train("AdamW", SMALL).other is None
    found = train("AdamW", SMALL, other=True)
    assert found.score.deviation is None and found.other.score.count == 1


def test_a_seed_alone_gives_what_it_gives_among_others():
    among = train("Lion", SMALL, seeds=2, other=False).runs[1]
    assert train("Lion", SMALL, seed=1).runs[0].losses == among.losses


def test_rows_are_told_as_they_come():
    told = []
    train("AdamW", SMALL, seeds=2, other=True, on_row=lambda settings, row: told.append(settings))
    assert [settings.seed for settings in told] == [0, 1]


def test_spreads():
    assert Spread.of([None, None]) is None
    assert Spread.of([1.0, None]) == Spread(1.0, None, 1)
    assert Spread.of([1.0, 3.0]) == Spread(2.0, math.sqrt(2), 2)


# --- compare ----------------------------------------------------------------------------------


def test_equal_optimizers_have_equal_curves():
    one, two = compare(["torch.AdamW", "torch.AdamW"], Setup(epochs=2, batch_size=256)).trials
    assert (one.label, two.label) == ("torch.AdamW", "torch.AdamW (2)")
    assert one.runs[0].losses == two.runs[0].losses
    assert one.runs[0].scores == two.runs[0].scores and len(one.runs[0].scores) == 2


def test_a_run_is_what_it_is_alone():
    (alone,) = compare(["AdamW"], SMALL).trials
    beside = compare(["torch.SGD", "AdamW"], SMALL, seeds=2).trials[1]
    assert alone.runs[0].losses == beside.runs[0].losses


def test_a_grid_of_rates_leaves_a_spec_with_its_own_alone():
    found = compare(["AdamW", "Lion(lr=1e-3)"], SMALL, lrs=[1e-3, 1e-2], seeds=2)
    assert [(t.label, t.value) for t in found.trials] == [
        ("AdamW", 1e-3), ("AdamW", 1e-2), ("Lion(lr=0.001)", 1e-3),
    ]  # fmt: skip
    assert [t.contender.hypers["lr"] for t in found.trials] == [1e-3, 1e-2, 1e-3]
    assert all([run.settings.seed for run in t.runs] == [0, 1] for t in found.trials)
    assert [t.value for t in found.best()] == [1e-2, 1e-3]


def test_one_that_diverges_does_not_stop_the_others():
    bad, good = compare(["torch.SGD(lr=1e30)", "AdamW"], SMALL, seeds=2).trials
    assert bad.score is None and bad.loss is None and len(bad.errors) == 2
    assert bad.errors[0].startswith("torch.SGD(lr=1e+30) diverged: the loss is nan after 1 step")
    assert good.errors == [] and good.score.count == 2


def test_a_bad_hyper_is_told_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(Report, "after_batch", lambda *_: pytest.fail("a batch was trained"))
    with pytest.raises(ValueError, match="Lion: lr must be >= 0, got -1"):
        compare(["AdamW", "Lion(lr=-1)"], SMALL)
    with pytest.raises(ValueError, match="no optimizer is named"):
        compare([], SMALL)


def test_costs_are_measured():
    _, learn = one_run("torch.AdamW")
    (cost,) = measure([learn])
    tensors = len(list(learn.model.parameters()))
    assert cost.state_bytes == 2 * 4 * 24_058 + 4 * tensors and cost.parameters == 24_058
    assert cost.step_ms > 0 and cost.engine == "torch"


# --- sweep ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "hyper", "values", "held"),
    [
        ("AdamW", "beta2", [0.9, 0.99], [(0.9, 0.9), (0.9, 0.99)]),
        ("torch.AdamW", "beta1", [0.5, 0.8], [(0.5, 0.999), (0.8, 0.999)]),
        ("torch.SGD", "mom", [0.0, 0.9], [0.0, 0.9]),
        ("AdamW", "wd", [0.0, 1.0], [0.0, 1.0]),
        ("AdamW", "amsgrad", [False, True], [False, True]),
    ],
)
def test_a_sweep_sets_one_hyper_wherever_it_is(optimizer, hyper, values, held):
    found = sweep(optimizer, hyper, values, SMALL)
    keys = {"beta2": "betas", "beta1": "betas", "mom": "momentum", "wd": "weight_decay"}
    own = [trial.contender.hypers[keys.get(hyper, hyper)] for trial in found.trials]
    assert own == held and [trial.value for trial in found.trials] == values
    losses = [trial.loss.mean for trial in found.trials]
    assert len(set(losses)) == 2 and found.best.loss.mean == min(losses)


def test_a_sweep_refuses_what_is_no_hyper():
    with pytest.raises(ValueError, match="AdamW has no hyper 'beta3'; did you mean 'beta"):
        sweep("AdamW", "beta3", [0.9], SMALL)
    with pytest.raises(ValueError, match="no values for lr"):
        sweep("AdamW", "lr", [], SMALL)
    with pytest.raises(ValueError, match="each value of lr once"):
        sweep("AdamW", "lr", [1.0, 1.0], SMALL)


# --- find a rate ------------------------------------------------------------------------------


def test_the_finder_suggests_rates_that_train():
    finding = find_lr("Lion", Setup(batch_size=64))
    assert list(finding.suggestions) == ["valley", "slide", "minimum", "steep"]
    lr = finding.suggestions["valley"]
    assert 1e-4 < lr < 0.1
    assert train(f"Lion(lr={lr})", Setup(epochs=3)).score.mean > 0.9


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (dict(task="digit"), "no task 'digit'; did you mean 'digits'?"),
        (dict(schedule="cosine"), "schedule must be one of one-cycle, "),
        (dict(precision="fp8"), "precision must be one of bf16, fp16, got 'fp8'"),
        (dict(epochs=0), "epochs must be a whole number from 1 on, got 0"),
        (dict(epochs=True), "epochs must be a whole number from 1 on, got True"),
        (dict(batch_size=1.5), "batch_size must be a whole number"),
        (dict(clip=math.nan), "clip must be a number above 0, got nan"),
        (dict(clip="1"), "clip must be a number above 0, got '1'"),
        (dict(ema=1.0), "ema must be a number within 0 and 1"),
        (dict(mixup=-1.0), "mixup must be a number 0 or more"),
        (dict(workers=-1), "workers must be a whole number from 0 on"),
        (dict(device="gpu"), "device 'gpu' is not known to torch"),
    ],
    ids=str,
)
def test_a_setup_is_checked_as_it_is_made(wrong, words):
    with pytest.raises(ValueError, match=words.replace("?", r"\?").replace("[", r"\[")):
        Setup(**wrong)


def test_settings_are_what_they_were_after_a_checkpoint():
    made = enter("lion(lr=1e-3)", Setup(clip=1.0, epochs=3)).with_seed(7)
    assert from_dict(made.as_dict()) == made
    assert made.hypers == {"lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 1.0}
    plain = made.as_dict()
    for wrong in [{**plain, "new": 1}, {**plain, "epochs": "3"}, {**plain, "hypers": 3}, {}]:
        with pytest.raises(ValueError):
            from_dict(wrong)


def test_hypers_of_the_spec_go_before_those_beside_it():
    made = enter("lion(lr=1e-3)", SMALL, {"lr": 0.5, "weight_decay": 0.0})
    assert (made.hypers["lr"], made.hypers["weight_decay"]) == (1e-3, 0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: compare(["AdamW", "Lion(lr=1e-3)"], Setup(epochs=1, batch_size=256, clip=1.0),
                        lrs=[1e-3, 1e-2], seeds=2),
        lambda: sweep("muon", "lr", [0.01, 0.1], SMALL, seed=2),
        lambda: train("torch.SGD(momentum=0.5)", SMALL, seeds=2),
        lambda: find_lr("AdamW", Setup(batch_size=256), seed=2, num_it=20),
    ],
    ids=["compare", "sweep", "train", "find-lr"],
)  # fmt: skip
def test_the_command_that_a_result_states_gives_the_same_figures(run, make):
    result = make()
    _, out, _ = run(
        *result.command[1:], "--json", *([] if "find" in result.command[1] else ["--quiet"])
    )
    again, expected = json.loads(out), json.loads(json.dumps(result.as_dict()))
    measured = {"step_ms", "seconds", "history", "optimizer"}  # its label has all hypers now

    def same(one, two, name=""):
        if isinstance(two, dict):
            for key in two.keys() - measured:
                same(one[key], two[key], f"{name}.{key}")
        elif isinstance(two, list):
            assert len(one) == len(two), name
            for index, value in enumerate(two):
                same(one[index], value, f"{name}[{index}]")
        else:
            assert one == two, name

    same(again, expected)


def test_making_a_learner_draws_the_seeds_weights():
    settings = Settings("AdamW", {}, 5, enter("AdamW", SMALL).setup)
    torch.rand(7)
    first = make_learner(settings, DIGITS.data(5)).model.state_dict()
    rng.seed_all(5)
    expected = nets.small_conv_net().state_dict()
    assert all(torch.equal(first[key], expected[key]) for key in expected)
