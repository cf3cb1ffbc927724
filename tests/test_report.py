"""Reports: a folder with figures, pictures, and a page that needs nothing else."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from steppers.train.experiments import Setup, check_folder, compare, sweep, train, write_report
from steppers.train.experiments import report as reports
from steppers.train.experiments.html import in_lines

SMALL = Setup(epochs=2, batch_size=256)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def comparison():
    specs = ["torch.SGD", "AdamW", "Lion"]
    return compare(specs, SMALL, lrs=[1e-3, 1e-2, 1e30], seeds=2)


@pytest.fixture(scope="module")
def folder(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    write_report(comparison, folder)
    return folder


class Page(HTMLParser):
    """The tags of a page, what they refer to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data):
        self.text += data


def test_a_report_is_a_page_the_figures_and_each_picture(folder):
    assert sorted(os.listdir(folder)) == ["curves.png", "index.html", "rates.png", "report.json"]
    assert (folder / "index.html").stat().st_size < 3_000_000


def test_the_page_holds_the_pictures_and_links_to_nothing(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & {*page.tags}
    start = "data:image/png;base64,"
    assert [link.startswith(start) for link in page.links] == [True, True]
    held = [base64.b64decode(link.removeprefix(start)) for link in page.links]
    assert held == [(folder / name).read_bytes() for name in ("curves.png", "rates.png")]
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_the_page_says_what_was_found_and_how_to_find_it_again(folder, comparison):
    text = Page((folder / "index.html").read_text(encoding="utf-8")).text
    for trial in comparison.trials:
        assert trial.label in text
        if trial.loss:
            assert f"{trial.loss.mean:.4f} ± {trial.loss.deviation:.4f}" in text
    assert "diverged" in text and comparison.data in text
    assert in_lines(comparison.command) in text


def test_the_figures_are_strict_json_with_everything_in_them(folder, comparison):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    found = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert found["command"] == "compare" and found["command_line"].startswith("steppers compare ")
    assert {"steppers", "torch", "python", "system"} <= found["versions"].keys()
    assert found["data"] == comparison.data and found["epochs"] == 2
    assert len(found["optimizers"]) == 9 and len(found["curves"]) == 18
    for trial, row in zip(comparison.trials, found["optimizers"], strict=True):
        assert row["lr"] == trial.value and row["diverged"] == len(trial.errors)
        assert row["loss"] == (trial.loss.mean if trial.loss else None)
    first = found["curves"][0]
    assert first["losses"] == comparison.trials[0].runs[0].losses
    assert len(first["epochs"]) == 2 and len(first["rates"]) == 12


def test_names_are_escaped():
    result = compare(["AdamW"], Setup(epochs=1, batch_size=512))
    object.__setattr__(result.trials[0].contender, "label", "<script>alert(1)</script>")
    text = reports.page(result, {}, {"a": "<b>"})
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text and "&lt;b&gt;" in text


def test_an_experiment_of_which_nothing_is_left_has_a_report_too(tmp_path):
    result = compare(["torch.SGD"], SMALL, lrs=[1e30, 1e31])
    written = write_report(result, tmp_path)
    assert written.page.exists() and written.pictures.keys() == {"curves", "rates"}
    write_report(compare(["torch.SGD"], SMALL, lrs=[0.0]), tmp_path)
    write_report(sweep("torch.SGD", "lr", [1e30], SMALL), tmp_path)
    write_report(train("torch.SGD(lr=1e30)", SMALL), tmp_path)


def test_a_new_report_takes_the_old_ones_place(tmp_path):
    for optimizer in ("AdamW", "Lion"):
        written = write_report(train(optimizer, SMALL), str(tmp_path))
        assert json.loads(written.figures.read_text())["optimizer"] == optimizer
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "index.html", "report.json"]


def test_a_report_that_is_interrupted_leaves_whole_files(tmp_path, monkeypatch):
    result = train("AdamW", SMALL)
    write_report(result, tmp_path)
    old = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reports, "page", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(result, tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(old)
    assert (tmp_path / "index.html").read_bytes() == old["index.html"]


def test_folders_that_cannot_be_written_are_value_errors(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "report.json").mkdir(parents=True)
    with pytest.raises(ValueError, match="cannot make the folder"):
        check_folder(tmp_path / "file")
    with pytest.raises(ValueError, match="is a folder, a file is wanted"):
        check_folder(tmp_path / "taken")


def test_nothing_is_trained_for_a_report_that_cannot_be_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr("steppers.cli.compare.compare", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "file").touch()
    code, out, err = run("compare", "--out", "file")
    assert (code, out) == (2, "") and "cannot make the folder file" in err


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_the_page_opens_in_a_browser(folder, tmp_path, scheme):
    from matplotlib.image import imread

    picture = tmp_path / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += [f"--user-data-dir={tmp_path}", "--window-size=1200,2400", f"--screenshot={picture}"]
    flags += [f"--blink-settings=preferredColorScheme={scheme}"]
    command = [CHROMIUM, *flags, (folder / "index.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    pixels = imread(picture)
    height, width = pixels.shape[:2]
    assert (height, width) == (2400, 1200)
    margin = pixels[: height // 2, :20, :3]
    assert (margin.mean() > 0.9) if scheme else (margin.mean() < 0.2)
    middle = pixels[:, 200:1000, :3]  # tables and pictures: not one colour, nor empty below
    assert all(part.std() > 0.02 for part in (middle[:700], middle[700:1400], middle[1400:2000]))


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole group of processes")
def test_ctrl_c_ends_a_comparison_with_130_and_no_report(tmp_path):
    command = [sys.executable, "-m", "steppers", "compare", "--epochs", "500", "--out", "x"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while not (tmp_path / "x").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130 and err.count("\n") == 1 and "interrupted" in err
    assert os.listdir(tmp_path / "x") == []
