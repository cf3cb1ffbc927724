"""The page of the reruns says what was measured and what the runs are, and its code runs."""

import json
import math
import re
from functools import cache
from pathlib import Path

import pytest

from steppers.train.experiments.systems import EXPERIMENTS
from steppers.train.experiments.systems.bands import Band
from steppers.train.experiments.systems.ordering import End, orders

HERE = Path(__file__).parent.parent
PAGE = (HERE / "docs" / "systems" / "experiments.md").read_text(encoding="utf-8")
RECORDS = ("systems", "systems_residual")


@cache
def measured():
    """Every measured run by name, in the order of the records."""
    found = {}
    for name in RECORDS:
        record = json.loads((HERE / "benchmarks" / "results" / f"{name}.json").read_text())
        assert record["stand_in"] == "digits" and record["seeds"] == 3
        found |= {one["experiment"]: one for one in record["experiments"]}
    return found


def test_the_pages_code_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(block, "experiments.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["fashion-mlp", "fashion-mlp-momentum"]
    assert [float(line.split()[-1]) for line in lines] == [0.6135, 0.789]


def test_all_runs_were_measured_with_the_settings_that_they_have():
    assert set(measured()) == set(EXPERIMENTS)
    for name, found in measured().items():
        one = EXPERIMENTS[name]
        assert (found["family"], found["net"]) == (one.family, one.net.words)
        assert (found["optimizer"], found["schedule"]) == (one.optimizer.words, one.schedule.words)
        assert (found["weights"], found["original_batch_size"]) == (one.net.weights, one.batch_size)
        wanted = {"lr": one.lr, **one.optimizer.hypers}
        assert found["hypers"] == json.loads(json.dumps(wanted)), name
        assert len(found["accuracy_by_epoch"]) == one.epochs
        assert (found["batch_size"], found["steps_per_epoch"]) == (28, 52)
        assert [page["accuracy"] for page in found["printed"]] == [
            page.accuracy for page in one.printed
        ]


def test_the_table_has_the_measured_and_the_printed_accuracies():
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) ± ([\d.]+) \| (.*?) \|$", PAGE, re.M)
    assert [row[0] for row in rows] == [*measured()]
    for name, mean, deviation, printed in rows:
        found, end = measured()[name], EXPERIMENTS[name].end.accuracy
        ours = (found["accuracy"], found["accuracy_deviation"])
        assert (mean, deviation) == tuple(f"{100 * value:.1f}" for value in ours)
        if end is None:
            assert printed == "–"
        else:
            half = 1.96 * math.sqrt(end * (1 - end) / EXPERIMENTS[name].judges)
            assert printed == f"{100 * end:.1f} ± {100 * half:.1f}"


def found_orders():
    """The orders of the measured runs."""
    rows = []
    for name, found in measured().items():
        one = EXPERIMENTS[name]
        if one.end.accuracy is not None:
            half = Band.of(one.end.accuracy, one.judges).half
            error = found["accuracy_deviation"] / math.sqrt(3)
            end = End(name, found["accuracy"], one.end.accuracy, error, half)
            rows.append((one.family, end))
    return orders(rows)


def test_the_orders_are_those_of_the_measured_runs():
    table = PAGE[PAGE.index("| family | in the originals' order") :].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    shown = {family: [int(cell or 0) for cell in cells] for family, *cells in rows}
    counts = {order.family: [*order.pairs().values()] for order in found_orders()}
    assert shown == counts
    same, opposite, near = (sum(column) for column in zip(*counts.values(), strict=True))
    words = f"Of {same + opposite + near} pairs {same} stand as in the originals, {opposite} the"
    assert words in PAGE and f"and {near} cannot be told apart" in PAGE


@pytest.mark.parametrize(
    ("ahead", "behind"),
    [
        ("imagenette-sgd-schedule", "imagenette-sgd-baseline"),
        ("imagenette-sgd-schedule", "imagenette-sgd-momentum"),
        ("fashion-adamw-cosine", "fashion-adam"),
        ("fashion-adamw-cosine-epochs", "fashion-adam"),
        ("fashion-mlp-momentum", "fashion-mlp"),
        ("imagenette-book-adam", "imagenette-book-momentum"),
        ("imagenette-book-adam", "imagenette-book-sgd-constant"),
        ("imagenette-book-rmsprop", "imagenette-book-momentum"),
        ("imagenette-book-rmsprop", "imagenette-book-sgd-constant"),
    ],
)
def test_what_agrees_according_to_the_page_does(ahead, behind):
    ends = [EXPERIMENTS[name].end.accuracy for name in (ahead, behind)]
    assert ends[0] > ends[1]
    assert measured()[ahead]["accuracy"] > measured()[behind]["accuracy"]


def test_the_game_of_the_page_is_the_one_recorded():
    record = json.loads((HERE / "benchmarks" / "results" / "systems.json").read_text())
    game = record["counterexample"]
    assert game["steps"] == 200_000 and game["as_the_paper"] is True
    for name, end in game["ends"].items():
        cells = f"| {name} | {end['mean_of_last_cycle']:+.3f} | {end['average_regret']:.3f} |"
        assert cells in PAGE


def test_the_weights_of_the_page_are_the_nets():
    for one in EXPERIMENTS.values():
        assert f"{one.net.weights:,}" in PAGE, one.name
