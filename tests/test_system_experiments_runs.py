"""The originals' runs done again: on their data where it is, on digits that say so where not."""

import importlib
import json
import math
from array import array
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from steppers import rng
from steppers.train import nets
from steppers.train.data import TensorData, load_digits
from steppers.train.experiments import systems
from steppers.train.experiments.systems import (
    EXPERIMENTS,
    How,
    Rerun,
    Reruns,
    Source,
    counterexample,
    ordering,
    run_experiments,
    speed,
)
from steppers.train.experiments.systems.ordering import End, Order
from steppers.train.experiments.systems.training import Run, make_learner

DIGITS = Source(stand_in="digits")


@pytest.fixture(scope="module")
def three():
    """Three runs on digits, two seeds each."""
    names = ["fashion-mlp*", "fashion-sgd"]
    return run_experiments(names, DIGITS, How(epochs=1), seed=3, seeds=2)


# --- digits that stand in --------------------------------------------------------------------


def test_a_run_is_the_loop_that_one_would_write_by_hand(three):
    rng.seed_all(4)
    digits, model = load_digits(seed=4), nets.miniai_net()
    train, valid = (
        F.interpolate((part.x + 1) / 2, size=(28, 28), mode="bilinear", align_corners=False)
        for part in (digits.train, digits.valid)
    )
    # To Fashion-MNIST's mean and deviation, then as miniai normalised these.
    by = 0.3530 / train.std(correction=0)
    train, valid = (((x - train.mean()) * by + 0.2860 - 0.28) / 0.35 for x in (train, valid))
    losses = []
    places = replace(digits, train=TensorData(torch.arange(1437), digits.train.y))
    for indices, y in places.loaders(28, seed=4).train:
        loss = F.cross_entropy(model(train[indices]), y)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.4 * p.grad
        losses.append(loss.item())
    model.eval()
    hits = (model(valid).argmax(1) == digits.valid.y).float().mean().item()
    run = next(r for r in three.reruns if r.experiment.name == "fashion-sgd").runs[1]
    assert run.losses[:20] == pytest.approx(losses[:20], rel=1e-3)
    assert run.accuracies == pytest.approx([hits], abs=0.02)


def test_a_stand_in_makes_fifty_steps_an_epoch_and_says_what_it_is(three):
    for rerun in three.reruns:
        assert {(run.batch_size, run.steps_per_epoch) for run in rerun.runs} == {(28, 52)}
        assert rerun.runs[0].data == (
            "digits in place of fashion-mnist, resized to 1x28x28: "
            "1,437 train / 360 held out (seed 3)"
        )
    assert "digits stand in for the originals' data" in three.data
    assert three.sentences()[0].startswith("digits stand in")
    assert "(digits)" in three.tables()[0].title and "digits" in three.title
    assert three.as_dict()["stand_in"] == "digits"


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("mnist-mlp", [0.1307], [0.3081]),
        ("mnist-adam", [0.0], [1.0]),
        ("fashion-mlp", [0.2860], [0.3530]),
        ("fashion-sgd", [0.006 / 0.35], [0.353 / 0.35]),
        ("imagenette-adam", [0.47, 0.48, 0.45], [0.29, 0.28, 0.30]),
        ("imagenette-xresnet34", [0.0] * 3, [1.0] * 3),
        ("imagenette-book-sgd", [-0.015 / 0.229, 0.024 / 0.224, 0.044 / 0.225],
         [0.29 / 0.229, 0.28 / 0.224, 0.30 / 0.225]),
    ],
)  # fmt: skip
def test_a_stand_in_has_the_mean_and_deviation_of_the_originals_inputs(name, mean, std):
    x, _ = DIGITS.load(EXPERIMENTS[name], 0).train.batch(range(1437))
    assert x.mean((0, 2, 3)).tolist() == pytest.approx(mean, abs=1e-4)
    assert x.std((0, 2, 3), correction=0).tolist() == pytest.approx(std, rel=1e-4)


def test_photographs_become_smaller_digits_the_same_in_three_channels():
    data = Source(stand_in="digits", pixels=16).load(EXPERIMENTS["imagenette-adam"], 0)
    x, _ = data.valid.batch([0, 1])
    assert x.shape == (2, 3, 16, 16)
    red, blue = ((x[:, at] - mean) / std for at, mean, std in ((0, 0.47, 0.29), (2, 0.45, 0.30)))
    torch.testing.assert_close(red, blue, rtol=1e-4, atol=1e-4)
    assert "resized to 3x16x16 in place of 128x128" in data.description
    for name, side in (("imagenette-adam", 64), ("imagenette-book-sgd", 32)):
        assert DIGITS.load(EXPERIMENTS[name], 0).shape == (3, side, side)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_run_learns_something_from_its_first_batch(name):
    """The first step of each, on small digits: its parameters move and stay finite."""
    tiny, one = Source(stand_in="digits", pixels=16), EXPERIMENTS[name]
    data = tiny.load(one, 0)
    learn = make_learner(one, data, tiny.batch_size(one, data), 0, How())
    before = [p.detach().clone() for p in learn.model.parameters()]
    learn.dls = SimpleNamespace(train=[next(iter(learn.dls.train))], valid=None)
    learn.fit(1)
    after = list(learn.model.parameters())
    moved = [not torch.equal(p, old) for p, old in zip(after, before, strict=True)]
    assert sum(moved) > len(moved) / 2
    assert all(p.isfinite().all() for p in after)


def test_a_result_gives_its_own_command(three):
    words = "steppers experiment fashion-mlp* fashion-sgd --stand-in digits --epochs 1"
    assert " ".join(three.command) == f"{words} --seed 3 --seeds 2"


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(stand_in="digit"), "no data 'digit' to stand in; did you mean 'digits'?"),
        (dict(stand_in="digits", folder="x"), "not both"),
        (dict(pixels=8), "pixels are of what stands in"),
        (dict(stand_in="digits", pixels=0), "from 1 on, got 0"),
    ],
)
def test_sources_refuse_what_does_not_fit(options, words):
    with pytest.raises(ValueError) as caught:
        Source(**options)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(epochs=0), "epochs must be a whole number from 1 on, got 0"),
        (dict(threads=1.5), "threads must be a whole number from 1 on, got 1.5"),
        (dict(workers=-1), "workers must be a whole number from 0 on, got -1"),
        (dict(device="gpu"), "device 'gpu' is not known to torch"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_loaded(options, words):
    with pytest.raises(ValueError) as caught:
        How(**options)
    assert words in str(caught.value)
    with pytest.raises(ValueError, match="seeds must be a whole number from 1 on, got 0"):
        run_experiments(["mnist-mlp"], DIGITS, seeds=0)
    with pytest.raises(ValueError, match="steps must be a whole number from 1 on, got 0"):
        run_experiments(["amsgrad-counterexample"], steps=0)


# --- what comes of it ------------------------------------------------------------------------


def test_orders_are_counted_pair_by_pair():
    ends = [
        End("sgd", 0.5, 0.6), End("adam", 0.7, 0.5), End("lamb", 0.705, 0.8), End("lion", 0.9, 0.9)
    ]  # fmt: skip
    # sgd-adam is the other way round, adam-lamb too near; the other four agree
    assert Order("a", ends).pairs() == {"same": 4, "opposite": 1, "near": 1}


@pytest.mark.parametrize(
    ("error", "half", "word"),
    [
        (0.0, 0.0, "same"),
        (0.03, 0.0, "same"),  # 2 hypot(.03, .03) = .0849
        (0.04, 0.0, "near"),  # 2 hypot(.04, .04) = .1131
        (0.0, 0.03, "same"),  # hypot(.03, .03) = .0424
        (0.0, 0.04, "near"),  # hypot(.04, .04) = .0566
    ],
)
def test_what_chance_may_have_done_is_too_near(error, half, word):
    one, other = End("a", 0.6, 0.45, error, half), End("b", 0.5, 0.40, error, half)
    assert ordering.compared(one, other) == ordering.compared(other, one) == word
    turned = End("b", 0.7, 0.40, error, half)
    assert ordering.compared(one, turned) == {"same": "opposite", "near": "near"}[word]


def test_families_leave_out_what_cannot_be_compared():
    x, v = End("x", 0.5, 0.6), End("v", 0.4, 0.7)
    rows = [("a", x), ("a", None), ("b", End("w", 1, 1))]
    assert ordering.orders(rows) == []
    assert ordering.orders([*rows, ("a", v)]) == [Order("a", [x, v])]


def test_an_end_has_the_error_over_the_seeds_and_the_band():
    row = EXPERIMENTS["fashion-sgd"]
    runs = [Run(s, "", 1, 1, [{"valid_accuracy": a}], [], [], 0.0) for s, a in ((0, 0.5), (1, 0.7))]
    end = Rerun(row, runs).end
    assert (end.name, end.ours, end.printed) == ("fashion-sgd", pytest.approx(0.6), 0.852)
    assert end.error == pytest.approx(0.1)  # deviation sqrt(.02), over sqrt(2)
    assert end.half == pytest.approx(1.96 * math.sqrt(0.852 * 0.148 / 10_000))
    assert Rerun(row, runs[:1]).end.error == 0
    assert Rerun(EXPERIMENTS["mnist-adam"], runs).end is None
    assert Rerun(row, [replace(runs[0], error="diverged")]).end is None


def test_a_note_is_said_once_for_all_runs_that_have_it():
    rows = [EXPERIMENTS[name] for name in ("imagenette-book-sgd", "imagenette-book-adam")]
    names = [row.name for row in rows]
    found = Reruns(names, names, Source(), How(), 0, 1, [Rerun(row, []) for row in rows])
    assert len(found.notes()) == 1
    assert found.notes()[0].startswith("imagenette-book-sgd, imagenette-book-adam: in float32")


def test_a_run_that_diverges_does_not_stop_the_others(monkeypatch, tmp_path, run):
    row = EXPERIMENTS["fashion-mlp"]
    monkeypatch.setitem(EXPERIMENTS, "fashion-mlp", replace(row, lr=1e30))
    code, out, _ = run("experiment", "fashion-mlp*", "--stand-in", "digits", "--quiet")
    assert code == 1 and "diverged: the loss is" in out
    lines = [line for line in out.splitlines() if line.startswith("fashion-mlp")]
    assert " diverged " in lines[0] and lines[1].startswith("fashion-mlp-momentum")
    assert "%" in lines[1]


def test_the_game_goes_as_in_double_precision():
    played = counterexample.run(1500)
    for name, keeps in (("Adam", False), ("AMSGrad", True)):
        x, m, v, largest = 0.0, 0.0, 0.0, 0.0
        for t, found in enumerate(played.paths[name], 1):
            assert found == pytest.approx(x, abs=1e-4)
            g = 1010.0 if t % 101 == 1 else -10.0
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            largest = max(largest, v) if keeps else v
            step = 1e-2 * (m / (1 - 0.9**t)) / math.sqrt(largest / (1 - 0.99**t))
            x = min(1.0, max(-1.0, x - step))
    assert "which wants 200,000 steps" in played.sentence() and not played.failed


def test_a_game_that_ends_another_way_has_failed():
    def played(adam, amsgrad, steps=200_000):
        ends = {"Adam": adam, "AMSGrad": amsgrad}
        paths = {name: array("f", [0.0, *[end] * 101]) for name, end in ends.items()}
        return counterexample.Played(steps, paths, "loop", 1.0)

    assert played(0.97, -0.98).holds and not played(0.97, -0.98).failed
    assert played(0.97, -0.5).failed and played(0.5, -0.98).failed
    assert not played(0.97, -0.5, steps=1000).failed
    assert "as in the paper" in played(0.97, -0.98).sentence()
    assert "not as in the paper" in played(0.97, -0.5).sentence()


def test_the_average_regret_is_what_was_lost_against_minus_one():
    path = [0.0, 0.5, -0.25, *[-1.0] * 98, 0.75]  # the steep step comes again as the 102nd
    found = counterexample.average_regret(array("f", path)).tolist()
    lost = [1010 * 1.0, -10 * 1.5, -10 * 0.75, *[0.0] * 98, 1010 * 1.75]
    wanted = [sum(lost[:t]) / t for t in range(1, 103)]
    assert found == pytest.approx(wanted, rel=1e-12)


def test_a_long_game_is_kept_thin_for_reports():
    steps = 101 * 5000
    path = array("f", [t / steps for t in range(steps)])
    played = counterexample.Played(steps, {"Adam": path, "AMSGrad": path}, "loop", 1.0)
    every, kept = played.thinned()
    assert every == 202 and len(kept["Adam"]) == 2500
    assert kept["Adam"][1] == pytest.approx(202 / steps)
    png = importlib.import_module(f"{systems.__name__}.pictures").game(played)
    assert png.startswith(b"\x89PNG")


def test_a_long_game_says_how_far_it_is(monkeypatch, capfd):
    def played(steps, told):
        for step in range(1, steps + 1):
            told(step)
        return counterexample.Played(
            steps, dict.fromkeys(("Adam", "AMSGrad"), array("f", [0.0])), "loop", 0.0
        )

    monkeypatch.setattr(counterexample, "run", played)
    run_experiments(["amsgrad-counterexample"], steps=1_000_000, show="lines")
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 10
    assert said[2] == "amsgrad-counterexample: 300,000 of 1,000,000 steps"


def test_the_speed_test_gives_every_way_the_same_steps(monkeypatch):
    counts = {}

    def timed(optimizer, steps, device):
        counts[id(optimizer)] = counts.get(id(optimizer), 0) + steps
        return float(steps)

    monkeypatch.setattr(speed, "timed", timed)
    found = speed.run(37)
    assert {*counts.values()} == {100 + 37} and len(counts) == 3
    assert {*found.milliseconds.values()} == {37_000.0} and found.ratio == 1
    assert {*found.warm_up.values()} == {100_000.0}
    ours, torchs, foreach = speed.rows(found)
    assert ours == ["ours", "100000", "119", "37000", "1193", "1.00", "0.88"]
    assert torchs == ["torch.optim.Adam", "100000", "223", "37000", "1356", "1.00", "-"]
    assert (foreach[2], foreach[4]) == ("-", "-")
    assert found.as_dict()["printed_ratio"] == pytest.approx(0.88, abs=0.001)


def test_the_speed_test_runs():
    found = speed.run(10, count=1)
    assert all(value > 0 for value in found.milliseconds.values()) and found.threads == 1


# --- the command -----------------------------------------------------------------------------


def test_without_a_name_the_command_lists_them(run):
    code, out, err = run("experiment")
    assert (code, err) == (0, "")
    assert all(name in out for name in (*EXPERIMENTS, "amsgrad-counterexample"))
    line = next(line for line in out.splitlines() if line.startswith("imagenette-lamb"))
    assert "course v3" in line and "LAMB" in line and line.endswith("64.6%")
    listed = json.loads(run("experiment", "--json")[1])["experiments"]
    assert len(listed) == len(EXPERIMENTS) + 2


def test_the_command_writes_a_report_that_says_what_stood_in(run, tmp_path):
    words = ["mnist-mlp-slow", "amsgrad-counterexample", "--stand-in", "digits", "--epochs", "1"]
    code, out, _ = run("experiment", *words, "--steps", "300", "--quiet", "--out", "there")
    assert code == 0 and "digits stand in" in out and "after 300 steps" in out
    page = (tmp_path / "there" / "index.html").read_text(encoding="utf-8")
    assert "digits stand in" in page and "data:image/png" in page
    report = json.loads((tmp_path / "there" / "report.json").read_text(encoding="utf-8"))
    assert report["stand_in"] == "digits" and report["experiments"][0]["batch_size"] == 28
    assert report["counterexample"]["steps"] == 300
    assert len(report["curves"]) == 3  # one run, two paths
    pictures = {path.name for path in (tmp_path / "there").glob("*.png")}
    assert pictures == {"accuracies.png", "game.png"}


# fmt: off
BAD = [
    (["fashion-sgdd"],                          "no experiment 'fashion-sgdd'; did you mean"),
    (["amsgrad"],                               "did you mean 'amsgrad-counterexample'?"),
    (["zzz"],                                   "`steppers experiment` lists them"),
    (["mnist-mlp", "--stand-in", "digit"],      "did you mean 'digits'?"),
    (["mnist-mlp", "--epoch", "3"],             "no option 'epoch'; did you mean 'epochs'?"),
    (["mnist-mlp", "--epochs", "0"],            "wants a whole number from 1 on, got '0'"),
    (["mnist-mlp", "--seeds", "0"],             "wants a whole number from 1 on, got '0'"),
    (["mnist-mlp", "--steps", "9"],             "--steps are of amsgrad-counterexample"),
    (["mnist-mlp", "--pixels", "9"],            "pixels are of what stands in"),
    (["mnist-mlp", "--data", "."],              "give the folder that has it with --data"),
    (["mnist-mlp", "--device", "gpu"],          "device 'gpu' is not known to torch"),
    (["mnist-mlp", "--data", ".", "--stand-in", "digits"], "not both"),
    (["--stand-in", "digits"],                  "which experiment? name one, or all"),
]
# fmt: on


@pytest.mark.parametrize(("argv", "words"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_bad_usage_is_exit_2_and_one_line(run, argv, words):
    code, out, err = run("experiment", *argv)
    assert (code, out) == (2, "")
    assert err.startswith("steppers: ") and err.count("\n") == 1 and words in err


def test_names_may_stand_behind_flags(run):
    code, out, _ = run(
        "experiment", "fashion-mlp", "--stand-in", "digits", "--quiet", "fashion-mlp-momentum"
    )
    assert code == 0 and "fashion-mlp-momentum" in out
