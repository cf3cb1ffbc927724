"""The parts of a benchmark: shapes, times, bounds, peers, fresh processes; no speed is read."""

import gc
import json
import random
import sys

import numpy as np
import pytest
import torch

import steppers
from steppers.bench import bounds, first, report, run, timing
from steppers.bench.jobs import DEFAULT, all_ways, read_job
from steppers.bench.peers import LIBRARIES, PEERS, peer_ways
from steppers.bench.run import Lane, Result, Settings
from steppers.bench.text import HEADER, as_text, digits
from steppers.bench.timing import PROBE, Times
from steppers.bench.ways import Way
from steppers.bench.work import SHAPES, Work
from steppers.train.progress import Silent

SMALL = Work("small", ((5, 3), (3,)))


# --- work ---------------------------------------------------------------------------------------

# fmt: off
MODELS = [  # name, tensors, numbers: as torchvision's resnet50 and Transformers' gpt2 have them
    ("resnet50", 161, 25_557_032),
    ("gpt2",     148, 124_439_808),
    ("tiny",     400, 64_000),
    ("matrix",   1,   8192 * 4096),
]
# fmt: on


@pytest.mark.parametrize(("name", "tensors", "numbers"), MODELS, ids=[row[0] for row in MODELS])
def test_shapes_are_those_of_the_model(name, tensors, numbers):
    work = Work(name, tuple(SHAPES[name]()))
    assert (len(work.shapes), work.numbers) == (tensors, numbers)


def test_all_models_have_a_row():
    assert set(SHAPES) == {row[0] for row in MODELS}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_are_the_same_numbers_each_time_and_nothing_is_shared(dtype):
    work = Work("odd", ((300, 300), (7,), ()), dtype)
    one, two = work.parameters(), work.parameters()
    assert [tuple(p.shape) for p in one] == list(work.shapes)
    for p, q in zip(one, two, strict=True):
        assert p.dtype == p.grad.dtype == getattr(torch, dtype)
        assert torch.equal(p, q) and torch.equal(p.grad, q.grad)
        assert len({x.data_ptr() for x in (p, q, p.grad, q.grad)}) == 4
        assert bool(p.isfinite().all()) and bool((p.grad != 0).any())


def test_matrices_are_the_parameters_with_two_dimensions():
    assert Work("mixed", ((2, 3), (4,), (2, 3, 4), (5, 5))).matrices().shapes == ((2, 3), (5, 5))


# --- timing -------------------------------------------------------------------------------------


class Clock:
    """Visits that take what a table says, and remember their order."""

    def __init__(self, seconds):
        self.seconds, self.seen = seconds, []

    def __call__(self, step, count):
        name = step()
        self.seen.append((name, torch.get_num_threads(), count, gc.isenabled()))
        return self.seconds[name]


def timed(seconds, threads=(1,), rounds=6):
    clock = Clock(seconds)
    ticks = []
    steps = {name: lambda name=name: name for name in seconds}
    found = timing.in_turn(steps, threads, rounds, clock, lambda: ticks.append(1))
    return found, clock.seen[len(seconds) * len(threads) :], len(ticks)


def test_every_round_visits_all_with_each_number_of_threads():
    found, seen, ticks = timed({"a": 1.0, "b": 2.0, PROBE: 0.5}, threads=(1, 2), rounds=4)
    assert ticks == 4 and len(seen) == 4 * 3 * 2
    for number in range(4):
        each = seen[6 * number : 6 * number + 6]
        assert [n for _, n, _, _ in each] == [1, 1, 1, 2, 2, 2]
        assert {name for name, *_ in each[:3]} == {name for name, *_ in each[3:]} == set(found)
    assert found["b"] == [Times(1, (2.0,) * 4), Times(2, (2.0,) * 4)]


def test_the_order_changes_from_round_to_round():
    _, seen, _ = timed({name: 1.0 for name in "abcdef"}, rounds=5)
    orders = {tuple(name for name, *_ in seen[i : i + 6]) for i in range(0, 30, 6)}
    assert len(orders) > 1


def test_short_steps_are_repeated_and_long_ones_are_not():
    _, seen, _ = timed({"long": 0.1, "short": 1e-3, "shortest": 1e-6}, rounds=1)
    assert {name: count for name, _, count, _ in seen} == {"long": 1, "short": 10, "shortest": 20}


def test_what_is_ten_times_slower_is_visited_five_times():
    found, _, _ = timed({"fast": 1.0, "slow": 10.0, "just": 9.9, PROBE: 0.01}, rounds=8)
    assert {n: len(t[0].seconds) for n, t in found.items()} == {
        "fast": 8, "slow": 5, "just": 8, PROBE: 8
    }  # fmt: skip


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_off_meanwhile_and_as_it_was_afterwards(collecting):
    before = torch.get_num_threads()
    (gc.enable if collecting else gc.disable)()
    try:
        _, seen, _ = timed({"a": 1.0}, threads=(2,))
        assert not any(enabled for *_, enabled in seen)
        assert gc.isenabled() is collecting and torch.get_num_threads() == before
    finally:
        gc.enable()


def test_quartiles_are_numpys():
    seconds = tuple(random.Random(0).random() for _ in range(15))
    times = Times(1, seconds)
    assert (times.quartiles[0], times.median, times.quartiles[1]) == pytest.approx(
        tuple(np.percentile(seconds, (25, 50, 75)))
    )
    assert Times(1, (0.5,)).quartiles == (0.5, 0.5)


def test_the_clock_gives_the_median_of_the_steps(monkeypatch):
    marks = iter([0.0, 1.0, 2.0, 2.5, 5.0, 9.0])  # steps of 1, 0.5 and 4 seconds
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(marks))
    assert timing.on_cpu(lambda: None, 3) == 1.0


def test_the_probe_adds_in_place():
    step = timing.probe(8, "cpu")
    assert torch.equal(step(), torch.full((8,), 2.0)) and torch.equal(step(), torch.full((8,), 3.0))


def test_bandwidth_is_twelve_bytes_a_number_with_the_better_number_of_threads():
    times = [Times(1, (2.0, 3.0)), Times(2, (1.0, 6.0))]
    assert timing.bandwidths(times, 100) == [1200.0, 400.0]


# fmt: off
SLOW = [  # rounds, the best, the share of slow rounds
    ([30.0, 30.0, 20.0],      30.0, 0.0),   # 1.5 times slower is not yet far
    ([30.0, 19.9, 19.9],      30.0, 2 / 3),
    ([10.0, 10.0, 10.0, 9.0], 20.0, 1.0),   # another result of the process saw 20
]
# fmt: on


@pytest.mark.parametrize(("rounds", "best", "share"), SLOW)
def test_slow_rounds_are_far_under_the_best(rounds, best, share):
    assert timing.slow_share(rounds, best) == pytest.approx(share)


# --- bounds -------------------------------------------------------------------------------------


# fmt: off
BYTES = [  # a number: by hand, read and written
    ("AdamW",             "float32",  28),  # p g m v, p m v
    ("AdamW",             "bfloat16", 14),
    ("SGD",               "float32",  12),
    ("SGD(momentum=0.9)", "float32",  20),
    ("Lion",              "float32",  20),
    ("clip+adamw+ema",    "float32",  36),
]
# fmt: on


@pytest.mark.parametrize(("name", "dtype", "bytes_"), BYTES)
def test_a_step_moves_each_tensor_once(name, dtype, bytes_):
    optimizer = read_job(name).ours(Work("x", ((8, 8), (8,)), dtype).parameters(), "loop")
    optimizer.step()
    assert bounds.counted(optimizer) == 72 * bytes_


def test_bytes_that_the_explanation_states_are_taken():
    class Stating(steppers.SGD):
        def explain(self, measure=True):
            groups = [type("Group", (), {"bytes_per_step": each}) for each in (100, 20)]
            return type("Explanation", (), {"groups": groups})

    assert bounds.bytes_per_step(Stating(SMALL.parameters())) == 120


def test_there_is_no_bound_where_the_cache_may_hold_all():
    assert bounds.bound(bounds.LEAST - 1, 1e9) is None
    assert bounds.bound(2 * 10**9, 4e9) == 0.5


# --- jobs and ways ------------------------------------------------------------------------------


def moved(way, work=SMALL, steps=3):
    params = work.parameters()
    stepper = way.make(params)
    for _ in range(steps):
        stepper.step()
    return [p.detach() for p in params]


@pytest.mark.parametrize("name", [*DEFAULT, "AdamW(amsgrad=True)", "Rprop"])
def test_every_way_of_torch_does_our_work(name):
    ways, _ = all_ways(read_job(name), ["loop", "foreach"], ["torch"])
    assert [way.family for way in ways[:2]] == ["steppers"] * 2
    expected = moved(ways[0])
    for way in ways[1:]:
        torch.testing.assert_close(moved(way), expected, rtol=1e-5, atol=1e-6, msg=way.label)


def test_the_averages_of_the_composed_job_agree():
    ways, _ = all_ways(read_job("clip+adamw+ema"), ["loop"], ["torch"])
    params = SMALL.parameters()
    ours = ways[0].make(params)
    ours.step()
    for way in ways[1:]:
        theirs = SMALL.parameters()
        stepper = way.make(theirs)
        stepper.step()
        averages = stepper.calls[-1].held
        kept = [ours.state[p]["average"] for p in params]
        torch.testing.assert_close(averages, kept, rtol=1e-6, atol=1e-6, msg=way.label)


def test_ways_are_those_that_the_class_has():
    labels = {
        name: [way.label for way in read_job(name).torchs]
        for name in ("AdamW", "RAdam", "Muon", "Lion")
    }
    assert labels == {
        "AdamW": ["torch fused", "torch foreach", "torch loop"],
        "RAdam": ["torch foreach", "torch loop"],
        "Muon": ["torch"],
        "Lion": [],
    }


def test_a_matrix_optimizer_gets_matrices():
    assert read_job("Muon").matrices and not read_job("AdamW").matrices


# --- peers --------------------------------------------------------------------------------------


def test_every_row_is_for_a_job_of_ours_under_the_label_it_has():
    assert [row.job for row in PEERS] == [read_job(row.job).label for row in PEERS]
    keys = [(row.job, row.label()) for row in PEERS]
    assert len(set(keys)) == len(keys)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Write a module that stands for a library, where imports find it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)

    yield write
    for name in LIBRARIES:
        sys.modules.pop(name, None)


GOOD = """
import warnings, torch
warnings.warn("loud")
print("loud")
class AdamW(torch.optim.AdamW):
    def __init__(self, params, lr, kahan_sum, foreach=None):
        super().__init__(params, lr=lr, foreach=foreach)
"""
# fmt: off
BAD = [  # a library's source, and what the note says
    ("import no_such_package",                            "ModuleNotFoundError: No module named"),
    ("raise SystemError('two\\nlines')",                  "SystemError: two lines"),
    ("class AdamW: pass",                                 "TypeError: "),
    ("x = 1",                                             "AttributeError: "),
    (GOOD + "    def step(self): raise OSError('no')",    "OSError: no"),
    (GOOD + "    def step(self): pass",                   "RuntimeError: its first step"),
    (GOOD + "    def step(self): super().step(); self.zero_grad()",
                                                          "RuntimeError: its step takes"),
]
# fmt: on


def bench(monkeypatch, name="AdamW", against=("optimi",), work=SMALL, **options):
    monkeypatch.setattr(run, "visit_of", lambda work: lambda step, count: (step(), 1.0)[1])
    settings = Settings([read_job(name)], [work], ["loop"], against, 3, [1], False, 64)
    return run.bench(Settings(**{**vars(settings), **options}), Silent())


def test_a_library_that_is_not_installed_is_one_line():
    ways, absent = peer_ways("AdamW", ["optimi", "timm"], PEERS)
    assert not ways and absent == ["optimi: not installed", "timm: not installed"]


def test_a_library_runs_and_is_not_heard(library, monkeypatch, capsys):
    library("optimi", GOOD)
    (result,) = bench(monkeypatch)
    assert [lane.way.label for lane in result.lanes] == [
        "steppers loop",
        "optimi",
        "optimi foreach",
    ]
    assert [lane.way.family for lane in result.lanes] == ["steppers", "peer", "peer"]
    assert result.notes == [] and capsys.readouterr().out == ""


@pytest.mark.parametrize(("source", "words"), BAD, ids=[words for _, words in BAD])
def test_a_library_that_fails_is_one_line_and_the_rest_runs(library, monkeypatch, source, words):
    library("optimi", source)
    (result,) = bench(monkeypatch)
    assert [lane.way.label for lane in result.lanes] == ["steppers loop"]
    assert len(result.notes) == 2 and result.notes[0].startswith(f"optimi: {words}")
    assert all("\n" not in note for note in result.notes)


def test_what_fails_late_is_one_line_too(library, monkeypatch):
    late = "    def step(self):\n        self.n = getattr(self, 'n', 0) + 1\n"
    library("optimi", GOOD + late + "        if self.n == 4: raise OSError('late')\n"
            "        super().step()")  # fmt: skip
    (result,) = bench(monkeypatch)
    assert [lane.way.label for lane in result.lanes] == ["steppers loop"]
    assert result.notes == ["optimi: OSError: late", "optimi foreach: OSError: late"]


def test_ways_for_which_there_is_no_memory_are_left_out(monkeypatch):
    monkeypatch.setattr(run, "free_bytes", lambda device: 13 * SMALL.bytes)
    (result,) = bench(monkeypatch, against=("torch",))
    assert [lane.way.label for lane in result.lanes] == ["steppers loop", "torch fused"]
    assert [note.partition(":")[0] for note in result.notes] == ["torch foreach", "torch loop"]


# --- noise --------------------------------------------------------------------------------------


def test_a_noisy_result_is_measured_again(monkeypatch):
    seen = iter([[9.0] * 3, [1.0] * 3, [8.0] * 3])
    monkeypatch.setattr(timing, "bandwidths", lambda times, numbers: next(seen))
    results = bench(monkeypatch, jobs=[read_job("SGD"), read_job("AdamW")])
    assert [result.bandwidths for result in results] == [[9.0] * 3, [8.0] * 3]


def test_an_early_result_is_judged_by_the_best_seen_later():
    way = Way("steppers", "steppers", lambda params: None)
    lane = Lane(way, [Times(1, (1.0,))])
    job = read_job("SGD")
    rows = report.result_rows(
        [Result(job, SMALL, [lane], [each] * 3, []) for each in (10e9, 10e9, 40e9)]
    )
    assert [row["noisy"] for row in rows] == [True, True, False]
    with pytest.raises(RuntimeError, match="too busy to report SGD on small float32, SGD on small"):
        report.refuse_noisy(rows)


# --- fresh processes ----------------------------------------------------------------------------


def test_the_peak_is_what_a_step_holds_at_once():
    if first.peak(lambda: None, "cpu") is None:
        pytest.skip("this system does not show a process's memory")
    size = 64 << 20

    def step():
        x = torch.ones(size // 4)
        return (x + 1).sum()  # two at once

    # The system counts a process's pages to within some hundred.
    assert first.peak(step, "cpu") == pytest.approx(2 * size, abs=4 << 20)
    assert first.peak(lambda: None, "cpu") < 4 << 20


def test_a_fresh_process_measures_its_first_step():
    seen = first.in_fresh_process("SGD(momentum=0.9)", "steppers loop", SMALL, 1)
    assert seen.first > 0 and seen.later > 0 and (seen.peak is None or seen.peak >= 0)


def test_a_fresh_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"in a fresh process: .*no way 'torch slow'"):
        first.in_fresh_process("SGD", "torch slow", SMALL, 1)


def test_the_first_step_is_compared_with_the_median_of_later_ones(monkeypatch):
    seconds = iter([9.0, 1.0, 5.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(first, "visitor", lambda device: lambda step, count: next(seconds))
    assert first.seconds_of(lambda: None, SMALL) == {"first": 9.0, "later": 3.0}


# --- what is shown ------------------------------------------------------------------------------


def lanes():
    """Ours at 2 ms of which the bound is 1, torch's fused at 4 and loop at 8, a peer at 1."""
    rows = [("steppers", "steppers", 2), ("torch fused", "torch", 4), ("torch loop", "torch", 8),
            ("pytorch_optimizer foreach", "peer", 1)]  # fmt: skip
    made = [Lane(Way(name, family, None), [Times(1, (9.0,)), Times(2, (ms / 1e3,) * 3)])
            for name, family, ms in rows]  # fmt: skip
    made[0].engine, made[0].moved = "foreach", 200 << 20
    made[0].first = first.First(0.1, 0.02, 30)
    return made


def shown():
    result = Result(read_job("LAMB"), SMALL, lanes(), [(200 << 20) / 1e-3] * 3, ["timm: absent"])
    return report.result_row(result, result.bandwidths[0])


def test_ratios_are_to_the_fastest_and_the_bound_is_the_bytes_time():
    row = shown()
    ours = row["ways"][0]
    assert row["ratio_to_torch"] == 0.5 and row["ratio_to_peers"] == 2.0 and not row["noisy"]
    assert [way["times_ours"] for way in row["ways"]] == [1, 2, 4, 0.5]
    assert ours["threads"] == 2 and ours["bound_ms"] == 1.0 and ours["times_bound"] == 2.0
    assert [each["ms"] for each in ours["by_threads"]] == [9000.0, 2.0]
    assert ours["first_step_ms"] == 100.0 and ours["first_step_extra_ms"] == 80.0
    assert ours["peak_over_parameters"] == 30 / (18 * 4)


def test_the_table_fits_a_hundred_columns():
    machine = dict(processor="x" * 40, cores=64, device="cpu", torch="2.13.0", llvmlite="0.50.0",
                   python="3.11.7")  # fmt: skip
    row = {**shown(), "noisy": True}
    text = as_text({"results": [row], "machine": machine, "rounds": 15, "threads": [1, 2],
                    "noisy": True, "load": {"start": [1.0], "end": [2.0]}})  # fmt: skip
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert "LAMB (NOISY)" in lines and all(word in text for word in HEADER)
    assert "  LAMB: timm: absent" in lines
    (ours,) = [line for line in lines if line.startswith("  steppers (foreach)")]
    assert ours.split()[2:] == ["2", "2.00", "2.00", "-", "2.00", "1.00", "2.00", "80", "41.7%"]


@pytest.mark.parametrize(
    ("value", "text"), [(1234.4, "1234"), (18.24, "18.2"), (1.234, "1.23"), (0.0123, "0.012")]
)
def test_digits(value, text):
    assert digits(value) == text


def test_a_row_is_strict_json():
    assert json.loads(json.dumps(shown(), allow_nan=False)) == shown()
