"""`steppers bench`: what it prints and writes, what it refuses, how it ends."""

import json
import sys

import pytest
import torch

from steppers.bench import timing
from steppers.cli import bench

TINY = ["--shapes", "tiny", "--quick", "--quiet", "--noisy"]
WAY = {
    "way", "family", "version", "engine", "threads", "ms", "quartiles_ms", "rounds", "by_threads",
    "times_ours", "bytes_per_step", "bound_ms", "times_bound", "first_step_ms",
    "first_step_extra_ms", "peak_bytes", "peak_over_parameters",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_probe(monkeypatch):
    monkeypatch.setattr(bench, "PROBE_NUMBERS", 1 << 12)


@pytest.fixture
def quick(monkeypatch):
    """Steps are taken once a visit and said to last a millisecond."""
    monkeypatch.setattr(timing, "on_cpu", lambda step, count: (step(), 1e-3)[1])


def test_json_holds_what_is_needed_to_judge_and_repeat_it(run):
    code, out, err = run("bench", "SGD", "--against", "torch", "--json", *TINY)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["command_line"] == (
        "steppers bench SGD --shapes tiny --dtype float32 --engine auto --against torch "
        "--rounds 3 --threads 1 --device cpu --quick --noisy"
    )
    assert found["machine"].keys() >= {"processor", "cores", "torch", "llvmlite", "python"}
    assert found["machine"]["torch"] == torch.__version__
    assert len(found["load"]["start"]) == len(found["load"]["end"]) == 3
    assert (found["rounds"], found["threads"]) == (3, [1])
    (row,) = found["results"]
    assert (row["optimizer"], row["shapes"], row["dtype"]) == ("SGD", "tiny", "float32")
    assert (row["tensors"], row["parameters"]) == (400, 64_000)
    assert len(row["bandwidth_gb_s_by_round"]) == 3 and row["ratio_to_torch"] > 0
    labels = [way["way"] for way in row["ways"]]
    assert labels == ["steppers", "torch fused", "torch foreach", "torch loop"]
    for way in row["ways"]:
        assert way.keys() == WAY
        assert 0 < way["quartiles_ms"][0] <= way["ms"] <= way["quartiles_ms"][1]


def test_every_combination_has_a_row(run, quick):
    argv = ["--against", "none", "--dtype", "float32,bfloat16", "--engine", "loop,foreach"]
    code, out, _ = run("bench", "SGD", "lion", *argv, "--json", *TINY)
    rows = json.loads(out)["results"]
    assert code == 0 and [(row["dtype"], row["optimizer"]) for row in rows] == [
        ("float32", "SGD"), ("float32", "Lion"), ("bfloat16", "SGD"), ("bfloat16", "Lion"),
    ]  # fmt: skip
    assert all([w["engine"] for w in row["ways"]] == ["loop", "foreach"] for row in rows)


def test_optimizers_may_stand_after_flags(run, quick):
    code, out, _ = run("bench", *TINY, "SGD", "--json", "Lion", "--against", "none")
    assert code == 0 and [r["optimizer"] for r in json.loads(out)["results"]] == ["SGD", "Lion"]


def test_one_and_all_threads_are_tried(run, quick):
    _, out, _ = run("bench", "SGD", "--against", "none", "--threads", "2", "--json", *TINY)
    (way,) = json.loads(out)["results"][0]["ways"]
    assert [each["threads"] for each in way["by_threads"]] == [1, 2]
    assert torch.get_num_threads() == 1


def test_a_table_and_files(run, quick, tmp_path):
    argv = ["--against", "torch,optimi", "--out", "x", "--name", "figures"]
    code, out, err = run("bench", "AdamW", "clip+adamw+ema", *argv, *TINY)
    assert (code, err) == (0, "") and max(map(len, out.splitlines()[:-2])) <= 100
    assert "  AdamW: optimi: not installed" in out.splitlines()
    assert out.splitlines()[-2:] == ["x/figures.json", "x/figures.png"]
    assert (tmp_path / "x" / "figures.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "x" / "figures.json").read_text())
    assert [row["optimizer"] for row in found["results"]] == ["AdamW", "clip+adamw+ema"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "figures.json", "figures.png",
    ]  # fmt: skip


def test_progress_is_a_line_a_job_without_a_terminal_and_a_bar_by_force(run, quick):
    argv = ["bench", "SGD", "--against", "none", *[word for word in TINY if word != "--quiet"]]
    _, _, err = run(*argv)
    assert err == "tiny float32 SGD: steppers 1 ms\n"
    _, _, err = run(*argv, "--bar")
    assert "3/3" in err and "job=SGD" in err


@pytest.fixture
def busy(monkeypatch, quick):
    """A machine that is slow for all that is measured after the first job."""
    seen = iter([[9e9] * 3, *[[5e9, 5e9, 9e9]] * 2])
    monkeypatch.setattr(timing, "bandwidths", lambda times, numbers: next(seen))


def test_a_busy_machine_is_exit_1_and_no_report(run, busy, tmp_path):
    argv = [word for word in TINY if word != "--noisy"]
    code, out, err = run("bench", "SGD", "Lion", "--against", "none", "--out", "x", *argv)
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert err.startswith("steppers: the machine was too busy to report Lion on tiny float32: ")
    assert "--noisy" in err and list((tmp_path / "x").iterdir()) == []


def test_noisy_reports_it_marked(run, busy):
    code, out, _ = run("bench", "SGD", "Lion", "--against", "none", *TINY)
    assert code == 0 and "Lion (NOISY)" in out.splitlines() and "SGD (NOISY)" not in out
    assert "NOISY: the machine was busy" in out


def test_ours_failing_is_exit_1_with_a_report(run, quick, monkeypatch):
    def refuse(self):
        raise RuntimeError("no step today")

    monkeypatch.setattr("steppers.Lion.step", refuse)
    code, out, _ = run("bench", "Lion", "SGD", "--against", "none", "--engine", "loop", *TINY)
    assert code == 1 and "  Lion: steppers loop: RuntimeError: no step today" in out.splitlines()
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("  steppers")] == [
        ["steppers", "loop"]
    ]


# fmt: off
BAD = [
    (["AdamWW"],                          "no optimizer 'AdamWW'; did you mean 'AdamW'?"),
    (["clip+adam+ema"],                   "did you mean 'clip+adamw+ema'?"),
    (["zzz"],                             "no optimizer 'zzz'; there are AdaBelief, Adadelta, "),
    (["AdamW(1e-3)"],                     "write AdamW(hyper=value, ...)"),
    (["AdamW(lrr=1)"],                    "AdamW has no hyper 'lrr'; did you mean 'lr'?"),
    (["AdamW(lr=-1)"],                    "AdamW(lr=-1): "),
    (["--shapes", "resnet"],              "there is no 'resnet'; did you mean 'resnet50'?"),
    (["--shapes", "tiny,vgg"],            "no 'vgg'; there are resnet50, gpt2, tiny, matrix"),
    (["--dtype", "bfloat"],               "there is no 'bfloat'; did you mean 'bfloat16'?"),
    (["--engine", "for-each"],            "there is no 'for-each'; did you mean 'foreach'?"),
    (["--against", "tourch"],             "--against: there is no 'tourch'; did you mean 'torch'?"),
    (["--against", "none,torch"],         "none stands alone, got 'none,torch'"),
    (["--device", "cudda"],               "--device: there is no 'cudda'; did you mean 'cuda'?"),
    (["--rounds", "0"],                   "wants a whole number from 1 on, got '0'"),
    (["--threads", "many"],               "wants a whole number from 1 on, got 'many'"),
    (["--round", "3"],                    "bench has no option 'round'; did you mean 'rounds'?"),
    (["--out", "file"],                   "cannot make the folder file"),
]
# fmt: on


@pytest.mark.parametrize(("argv", "words"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_bad_usage_is_exit_2_and_one_line(run, tmp_path, monkeypatch, argv, words):
    monkeypatch.setattr(bench, "bench", lambda *_: pytest.fail("it began to measure"))
    (tmp_path / "file").write_text("text")
    code, out, err = run("bench", *argv)
    assert (code, out) == (2, "")
    assert err.startswith("steppers: ") and err.count("\n") == 1 and words in err


OPPONENTS = [
    ("none", []),
    ("torch,timm", ["torch", "timm"]),
    ("torch,peers", ["torch", "optimi", "pytorch_optimizer", "timm", "fastai"]),
    ("heavyball,peers", ["heavyball", "optimi", "pytorch_optimizer", "timm", "fastai"]),
]


@pytest.mark.parametrize(("text", "names"), OPPONENTS)
def test_a_library_that_compiles_for_minutes_has_to_be_named(text, names):
    assert bench.opponents(text) == names


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_exit_1(run):
    code, out, err = run("bench", "SGD", "--device", "cuda")
    assert (code, out) == (1, "") and "sees no CUDA device; leave --device out" in err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device(run):
    argv = ["SGD", "--against", "torch", "--device", "cuda", "--rounds", "3", "--shapes", "tiny"]
    code, out, _ = run("bench", *argv, "--noisy", "--quiet", "--json")
    (row,) = json.loads(out)["results"]
    assert code == 0 and row["notes"] == [] and len(row["ways"]) == 4
    assert all(way["ms"] > 0 and way["peak_bytes"] is not None for way in row["ways"])


@pytest.mark.parametrize(
    ("package", "argv", "words"),
    [
        (
            "matplotlib",
            ["--out", "x"],
            "the picture of the benchmark needs matplotlib: pip install",
        ),
        ("tqdm", ["--bar"], "the progress bar needs tqdm: pip install 'steppers[train]'"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command(run, monkeypatch, package, argv, words):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = run("bench", "SGD", "--shapes", "tiny", *argv)
    assert (code, out) == (1, "") and err.count("\n") == 1 and words in err
