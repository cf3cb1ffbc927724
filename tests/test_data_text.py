"""Text as bytes: files split by their names, windows, and what zlib makes of them."""

import hashlib
import os
import sys
import sysconfig
import zlib
from pathlib import Path

import pytest
import torch

from steppers.train.data import (
    ByteText,
    find_corpus,
    load_data,
    load_text,
    read_stream,
    zlib_bits_per_byte,
)


@pytest.fixture(scope="module")
def library():
    return find_corpus()


@pytest.fixture
def folder(tmp_path):
    for i in range(60):
        path = tmp_path / f"part{i % 3}" / f"{i}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"the text of file {i}, ".encode() * 5)
    return tmp_path


# --- the split --------------------------------------------------------------------------------


def test_no_file_is_in_both_parts_and_none_is_lost(folder):
    corpus = find_corpus(folder, held_out=0.3)
    assert not set(corpus.train) & set(corpus.valid)
    assert sorted(corpus.train + corpus.valid) == sorted(folder.rglob("*.txt"))


def test_a_files_part_depends_on_its_name_and_the_seed_alone(folder):
    """The documented rule: the first 8 bytes of sha256("seed:path"), as a share of 2**64."""

    def held_out(path, seed):
        text = f"{seed}:{path.relative_to(folder).as_posix()}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 2**64 < 0.3

    for seed in (0, 1):
        corpus = find_corpus(folder, held_out=0.3, seed=seed)
        wanted = sorted(path for path in folder.rglob("*.txt") if held_out(path, seed))
        assert list(corpus.valid) == wanted
    valid = find_corpus(folder, held_out=0.3).valid
    (folder / "part0" / "0.txt").write_bytes(b"changed")
    (folder / "aaa.txt").write_bytes(b"new")
    assert set(find_corpus(folder, held_out=0.3).valid) - {folder / "aaa.txt"} == set(valid)


def test_links_and_dot_files_are_not_read_twice(folder):
    (folder / "copy.txt").symlink_to(folder / "part0" / "0.txt")
    (folder / "again").symlink_to(folder / "part1")
    (folder / ".hidden").write_bytes(b"hidden")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.txt")  # reading it would wait for ever
    corpus = find_corpus(folder)
    assert len(corpus.train + corpus.valid) == 60


def test_the_library_is_whole_and_without_tests(library):
    files = library.train + library.valid
    root = Path(sysconfig.get_paths()["stdlib"])
    names = {path.relative_to(root).as_posix() for path in files}
    assert {"argparse.py", "json/decoder.py", "asyncio/events.py"} <= names
    assert all(path.suffix == ".py" and not path.is_symlink() for path in files)
    parts = {part for path in files for part in path.relative_to(root).parts[:-1]}
    assert not parts & {"test", "tests", "site-packages", "dist-packages", "__pycache__"}
    assert 0.06 < len(library.valid) / len(files) < 0.14  # 4 deviations of some 700 draws


# --- windows ----------------------------------------------------------------------------------


def test_the_target_is_the_next_byte():
    stream = torch.arange(200).byte()
    x, y = ByteText(stream, 16).batch([0, 183, 50])
    assert x.dtype == y.dtype == torch.int64 and x.is_contiguous() and y.is_contiguous()
    assert torch.equal(y, x + 1) and x[:, 0].tolist() == [0, 183, 50] and y[1, -1] == 199
    assert len(ByteText(stream, 16)) == 184


@pytest.mark.parametrize("length", [17, 32, 33, 34, 100])
def test_windows_beside_each_other_predict_each_byte_once(length):
    data = ByteText(torch.arange(length).byte(), 16, stride=16)
    predicted = torch.cat([y for _, y in data]).tolist()
    assert predicted == list(range(1, 1 + 16 * len(data))) and length - 16 * len(data) <= 16


def test_bytes_above_127_stay_positive():
    data = ByteText(torch.full((9,), 255, dtype=torch.uint8), 4)
    assert data[0][0].tolist() == [255] * 4


def test_text_is_loaded_as_windows(folder):
    data = load_data("text", folder, window=32, held_out=0.3)
    corpus = find_corpus(folder, held_out=0.3)
    content = b"".join(path.read_bytes() for path in corpus.valid)
    assert bytes(data.valid.stream.tolist()) == content
    assert torch.equal(read_stream(corpus.train), data.train.stream)
    assert data.shape == (32,) and data.epoch_items == (len(data.train.stream) - 1) // 32
    assert len(data.train) == len(data.train.stream) - 32
    loaders = data.loaders(4, seed=1)
    batches = list(loaders.train)
    assert sum(len(x) for x, _ in batches) == data.epoch_items
    starts = {bytes(x.tolist()) for batch, _ in batches for x in batch}
    assert all(start in bytes(data.train.stream.tolist()) for start in starts)
    again = list(data.loaders(4, seed=1).train)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))


def test_contiguous_windows_cover_the_text(folder):
    data = load_text(folder, window=32, held_out=0.3, contiguous=True)
    assert data.epoch_items is None
    seen = torch.cat([y.flatten() for _, y in data.loaders(4).train])
    covered = data.train.stream[1 : 1 + 32 * len(data.train)]
    assert torch.equal(seen.bincount(minlength=256), covered.bincount(minlength=256))


def test_the_description_says_what_was_read(folder):
    first, other = (load_text(folder, window=8, held_out=0.3, seed=seed) for seed in (0, 1))
    corpus = find_corpus(folder, held_out=0.3)
    content = b"".join(path.read_bytes() for path in corpus.train + corpus.valid)
    assert hashlib.sha256(content).hexdigest()[:12] in first.description
    assert f"{len(corpus.valid)} files of {len(first.valid.stream):,} bytes held out" in (
        first.description
    )
    assert first.description != other.description


# --- zlib -------------------------------------------------------------------------------------


def test_zlib_is_counted_alone_and_together(tmp_path):
    text = b"some words that a compressor knows by now. " * 3
    for name in "ab":
        (tmp_path / name).write_bytes(text)
    files = (tmp_path / "a", tmp_path / "b")
    alone, together = zlib_bits_per_byte(files), zlib_bits_per_byte(files, together=True)
    assert alone == 8 * len(zlib.compress(text, 9)) / len(text)
    assert together == 8 * len(zlib.compress(text * 2, 9)) / (2 * len(text)) < alone
    (tmp_path / "a").write_bytes(b"")
    assert zlib_bits_per_byte(files) > alone  # an empty file still costs zlib its frame
    with pytest.raises(ValueError, match="the 1 files hold no bytes"):
        zlib_bits_per_byte(files[:1])


def test_zlib_takes_some_two_bits_for_a_byte_of_python(library):
    assert 1.7 < zlib_bits_per_byte(library.valid) < 2.3


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ByteText(torch.arange(9), 4),
            TypeError,
            "wants a 1-d uint8 tensor, got 1-d torch.i",
        ),
        (lambda: ByteText(torch.zeros(3, 3).byte(), 4), TypeError, "got 2-d torch.uint8"),
        (
            lambda: ByteText(torch.arange(9).byte(), 2.5),
            TypeError,
            "window must be an int, got 2.5",
        ),
        (lambda: ByteText(torch.arange(9).byte(), 0), ValueError, "must be at least 1, got 0"),
        (
            lambda: ByteText(torch.arange(9).byte(), 4, stride=0),
            ValueError,
            "stride must be at least 1, got 0",
        ),
        (lambda: ByteText(torch.arange(9).byte(), 9), ValueError, "do not fit into 9 bytes"),
        (lambda: ByteText(torch.empty(0).byte(), 1), ValueError, "do not fit into 0 bytes"),
    ],
)
def test_wrong_windows_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_folders_without_text_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        find_corpus(tmp_path / "nothing")
    with pytest.raises(ValueError, match="of the 0 files"):
        find_corpus(tmp_path)
    (tmp_path / "1.txt").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"none is in the (held-out|training) part"):
        find_corpus(tmp_path)
    for share in (0, 1, 10):
        with pytest.raises(ValueError, match="within 0 and 1"):
            find_corpus(tmp_path, held_out=share)


@pytest.mark.parametrize("there", [True, False])
def test_a_python_without_its_sources_says_so(tmp_path, monkeypatch, there):
    root = tmp_path if there else tmp_path / f"python{sys.version_info[0]}.zip"
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(root)})
    with pytest.raises(FileNotFoundError, match=r"is not in .* as files .*: path="):
        find_corpus()
