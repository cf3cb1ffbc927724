"""What training shares: networks, tasks, files, specs and flags, JSON, progress."""

import doctest
import json
import math
import os
import struct

import pytest
import torch

from steppers.train import byte_text, checkpoint, nets, plots, spec, table, tasks
from steppers.train.progress import progress, say
from steppers.train.strict_json import to_json
from steppers.train.tasks import TASKS
from steppers.train.text_net import TextNet

# --- networks and tasks -----------------------------------------------------------------------


# Counted on the originals (course v3, course 22 part 2, labml.ai's experiment).
@pytest.mark.parametrize(
    ("make", "shape", "size"),
    [
        (nets.small_conv_net, (1, 8, 8), 24_058),
        (nets.course_net, (3, 128, 128), 432_730),
        (nets.miniai_net, (1, 28, 28), 30_394),
        (nets.mnist_net, (1, 28, 28), 431_080),
    ],
)
def test_the_networks_have_the_sizes_that_they_state(make, shape, size):
    net = make()
    assert sum(p.numel() for p in net.parameters()) == size and f"{size:,}" in make.__doc__
    assert net(torch.randn(2, *shape)).shape == (2, 10)


def test_digits_are_split_by_the_seed_and_other_writers_are_held_out_apart():
    task = TASKS["digits"]
    first, again, second = (task.data(seed).valid.y for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, second)
    assert "stratified random 20 %, seed 1" in task.data(1).description
    assert "other writers" in task.other.load().description


def test_a_task_that_comes_with_a_package_takes_no_folder():
    with pytest.raises(ValueError, match="digits come with scikit-learn and take no folder"):
        TASKS["digits"].data(0, "x")


# --- text -------------------------------------------------------------------------------------


def test_each_byte_but_the_first_is_predicted_once_with_what_stands_before_it():
    stream, part, before_part = torch.randint(1, 256, (103,), dtype=torch.uint8), 8, 5
    data = byte_text.WithContext(stream, part, before_part)
    x, y = data.batch(range(len(data)))
    counted = y != byte_text.SKIPPED
    assert torch.equal(y[counted], stream[1:].long())
    for place, (row, column) in enumerate(counted.nonzero().tolist()):
        context = x[row, : column + 1]
        before = stream[: place + 1].long()[-len(context) :]
        assert torch.equal(context[-len(before) :], before)  # and zeros before the first byte
        assert len(before) > min(before_part, place) and not context[: -len(before)].any()


def test_bits_are_of_all_bytes_whatever_the_batches():
    logits, target = torch.randn(6, 4, 256), torch.randint(0, 256, (6, 4))
    target[0, :3] = byte_text.SKIPPED
    picked = logits.double().log_softmax(2).gather(2, target.clamp(0).unsqueeze(2)).squeeze(2)
    expected = -picked[target != byte_text.SKIPPED].mean().item() / math.log(2)
    bits = byte_text.BitsPerByte()
    for part in (slice(0, 1), slice(1, 6)):
        bits.update(logits[part], target[part])
    assert bits.compute() == pytest.approx(expected, rel=1e-5)
    bits.reset()
    bits.update(torch.zeros(1, 2, 256), torch.tensor([[1, 2]]))
    assert bits.compute() == pytest.approx(8)


def test_a_stream_of_one_byte_is_a_value_error():
    with pytest.raises(ValueError, match="1 bytes are no text"):
        byte_text.WithContext(torch.zeros(1, dtype=torch.uint8), 4, 2)


def test_text_is_read_in_quarters_and_held_against_zlib(tmp_path):
    for number in range(60):
        (tmp_path / f"{number}.txt").write_bytes(bytes([65 + number % 20] * 4096))
    data = byte_text.load(0, str(tmp_path))
    size = sum((tmp_path / f"{n}.txt").stat().st_size for n in range(60))
    assert len(data.train.stream) + len(data.valid.stream) == size
    assert data.epoch_items == (len(data.train.stream) - 1) // byte_text.WINDOW // 4
    (alone, one_by_one), (_, together) = byte_text.zlib_baselines(str(tmp_path))
    assert "file by file" in alone and 0 < together < one_by_one < 8


def test_the_networks_output_suits_the_loss_of_text():
    net = TextNet(table_bits=10)
    x, y = byte_text.WithContext(torch.arange(64, dtype=torch.uint8), 8, 8).batch([1, 2])
    # its head is zero at first: 8 bits a byte
    assert byte_text.loss(net(x), y).item() == pytest.approx(8 * math.log(2))


# --- JSON -------------------------------------------------------------------------------------


def test_json_is_strict_whatever_it_holds():
    text = to_json({"a": math.nan, "b": [math.inf, 1.5], "c": (torch.float32,), 3: None})
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None, "b": [None, 1.5], "c": ["torch.float32"], "3": None,
    }  # fmt: skip


# --- files ------------------------------------------------------------------------------------

FORM = "mine/1"
PARTS = {"epoch": int, "rng": dict}


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.pt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), checkpoint.whole_file(path) as file:
        file.write(b"half of the new")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.pt"]


def test_damaged_and_foreign_files_are_value_errors(tmp_path):
    path = tmp_path / "a.pt"
    checkpoint.write(path, FORM, {"epoch": 1, "rng": {"order": torch.zeros(1000)}})
    whole = path.read_bytes()
    assert checkpoint.read(path, FORM, PARTS)["epoch"] == 1
    contents = [whole[:size] for size in range(0, len(whole), 97)]
    contents += [b"\x80\x02", b"PK\x03\x04", struct.pack("<q", 10**9), b"text"]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or no checkpoint"):
            checkpoint.read(path, FORM, PARTS)


def test_other_contents_are_value_errors(tmp_path):
    path = tmp_path / "a.pt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(ValueError, match="is no mine checkpoint"):
        checkpoint.read(path, FORM, PARTS)
    checkpoint.write(path, FORM, {"epoch": 1})
    with pytest.raises(ValueError, match="'rng' is missing or not a dict"):
        checkpoint.read(path, FORM, PARTS)
    with pytest.raises(ValueError, match="no checkpoint at"):
        checkpoint.read(tmp_path / "none.pt", FORM, PARTS)


def test_places_that_cannot_be_written_are_value_errors(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot make the folder"):
        checkpoint.check_place(tmp_path / "file" / "a.pt")
    with pytest.raises(ValueError, match="is a folder"):
        checkpoint.check_place(tmp_path)


# --- specs and flags --------------------------------------------------------------------------


@pytest.mark.parametrize("module", [spec, table, tasks, byte_text])
def test_docstrings_are_right(module):
    assert doctest.testmod(module).failed == 0


def test_specs_are_split_outside_parentheses():
    text = "AdamW, lion(lr=1e-3, betas=[0.9, 0.95]),torch.SGD"
    assert spec.split_specs(text) == ["AdamW", "lion(lr=1e-3, betas=[0.9, 0.95])", "torch.SGD"]


@pytest.mark.parametrize(
    "text",
    ["", "lion(", "lion)", "lion(1e-3)", "lion(lr=open('x'))", "lion(**x)", "a b", "lion(lr=)",
     "lion(lr=1)(lr=2)", "lion(lr=1) or f(x=2)"],
)  # fmt: skip
def test_other_specs_are_value_errors(text):
    with pytest.raises(ValueError, match="cannot read"):
        spec.parse_spec(text)


def test_flags_are_read_with_dashes_equals_and_negative_numbers():
    tokens = ["--weight-decay", "0.1", "--lr=1e-3", "--amsgrad", "--betas", "-1,0.9"]
    expected = {"weight_decay": "0.1", "lr": "1e-3", "amsgrad": None, "betas": "-1,0.9"}
    assert spec.read_flags(tokens) == expected


@pytest.mark.parametrize("tokens", [["0.1"], ["--lr", "1", "2"], ["--lr=1", "2"]])
def test_what_belongs_to_no_flag_is_a_value_error(tokens):
    with pytest.raises(ValueError, match="unexpected argument"):
        spec.read_flags(tokens)


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("3e-4", 1e-3, 3e-4),
        ("5", 3, 5),
        ("-1", 1e-3, -1),
        ("inf", 1.0, math.inf),
        ("0.9,0.95", (0.9, 0.999), (0.9, 0.95)),
        ("(0.9, 0.95)", (0.9, 0.999), (0.9, 0.95)),
        ("true", False, True),
        ("False", True, False),
        (None, False, True),
        ("true", None, True),
        ("none", None, None),
        (None, None, True),
        ("match_rms_adamw", "original", "match_rms_adamw"),
    ],
)
def test_values_are_of_their_defaults_kind(text, default, expected):
    value = spec.read_value("name", text, default)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "default"),
    [("abc", 1e-3), ("true", 1e-3), ("0.9", (0.9, 0.999)), ("1", False), (None, 0.1),
     ("a,b", (0.9, 0.99)), ("{[]: 1}", 0.1)],
)  # fmt: skip
def test_values_of_another_kind_are_value_errors(text, default):
    with pytest.raises(ValueError, match="--weight-decay wants"):
        spec.read_value("weight_decay", text, default)


# --- pictures ---------------------------------------------------------------------------------


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant():
    assert plots.smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert plots.smooth([4.0, 1.0])[0] == pytest.approx(4.0)


# --- progress ---------------------------------------------------------------------------------


def test_lines_go_to_stderr_and_what_is_said_to_stdout(capsys):
    with progress("lines", total=2) as shown:
        shown.step({"loss": "1"})
        shown.epoch("epoch 1/1")
        say("row")
    assert capsys.readouterr() == ("row\n", "epoch 1/1\n")


def test_a_bar_counts_all_steps_on_stderr(capsys):
    with progress("bar", total=2) as shown:
        shown.step({"loss": "1"})
        shown.step({"loss": "1"})
        shown.epoch("epoch 1/1")
        say("row")
    out, err = capsys.readouterr()
    assert out == "row\n" and "2/2" in err and "epoch 1/1" not in err
