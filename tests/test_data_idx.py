"""IDX files, as they should be and in every way damaged; MNIST made of them."""

import gzip
import struct

import numpy
import pytest
import torch

from steppers.train.data import load_data, load_fashion_mnist, load_mnist, read_idx
from steppers.train.data.mnist import FILES

# From the format's description: the third byte, and numpy's name of the file's big-endian numbers.
KINDS = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def idx(array, kind=8):
    array = numpy.asarray(array)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return head + array.astype(KINDS[kind]).tobytes()


def write(path, content, *, gz=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if gz else content)
    return path


def mnist_files(folder, *, train=30, test=10, gz=True, labels=None):
    """A small MNIST; the bytes of image i are all i."""
    for part, count in zip(("train", "t10k"), (train, test), strict=True):
        images = numpy.tile(numpy.arange(count)[:, None, None], (1, 28, 28))
        end = ".gz" if gz else ""
        write(folder / f"{part}-images-idx3-ubyte{end}", idx(images), gz=gz)
        y = numpy.arange(count) % 10 if labels is None else labels[:count]
        write(folder / f"{part}-labels-idx1-ubyte{end}", idx(y), gz=gz)
    return folder


# --- the format -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gz", [False, True])
def test_every_dtype_and_shape_is_read(tmp_path, kind, gz):
    for shape in ((7,), (2, 3), (2, 3, 4), (0, 3)):
        low = 0 if kind == 8 else -100
        array = numpy.random.default_rng(0).integers(low, 100, shape)
        if kind > 12:
            array = array + 0.5
        read = read_idx(write(tmp_path / "file", idx(array, kind), gz=gz))
        assert read.shape == shape
        assert read.dtype == torch.from_numpy(array.astype(KINDS[kind][1:])).dtype
        assert read.tolist() == array.tolist()


GOOD = idx(numpy.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no IDX file: it starts with nothing"),
        (b"\0\0\x08", "is no IDX file: it starts with 00 00 08"),
        (b"<html>not found</html>", "is no IDX file: it starts with 3c 68 74 6d"),
        (b"\0\0\x07\x01\0\0\0\x01a", "is no IDX file"),
        (GOOD[:9], "is cut off: 9 bytes cannot hold 3 sizes"),
        (GOOD[:-1], "holds 23 bytes after its header, which states 2 x 3 x 4 numbers of 1 byte"),
        (GOOD + b"x", "holds 25 bytes after its header"),
        (gzip.compress(GOOD, mtime=0)[:-9], "is cut off or damaged"),
        (gzip.compress(GOOD, mtime=0)[:5], "is cut off or damaged"),
        (
            gzip.compress(GOOD, mtime=0)[:12] + b"\xff\xff" + gzip.compress(GOOD, mtime=0)[14:],
            "cut off or damaged",
        ),
    ],
)
def test_damage_is_named_with_the_file(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(write(tmp_path / "damaged", content))
    assert str(tmp_path / "damaged") in str(caught.value)


def test_one_flipped_byte_in_a_gzipped_file_is_noticed(tmp_path):
    whole = gzip.compress(idx(numpy.random.default_rng(0).integers(0, 255, 500)))
    for place in range(30, len(whole), 40):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        with pytest.raises(ValueError, match="damaged"):
            read_idx(write(tmp_path / "file", bytes(broken)))


def test_the_number_of_dimensions_is_checked(tmp_path):
    with pytest.raises(ValueError, match=r"has 3 dimensions \(2 x 3 x 4\), 1 are wanted"):
        read_idx(write(tmp_path / "file", GOOD), dims=1)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


# --- MNIST ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_mnist_is_found_where_torchvision_puts_it(tmp_path, below, gz):
    mnist_files(tmp_path / below, gz=gz)
    data = load_mnist(tmp_path)
    assert (len(data.train), len(data.valid), data.shape) == (30, 10, (1, 28, 28))
    assert data.vocab == tuple("0123456789")
    x, y = next(iter(data.loaders(2).valid))
    assert x.shape == (4, 1, 28, 28) and y.tolist() == [0, 1, 2, 3]
    wanted = (torch.arange(4.0) / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(x[:, 0, 5, 5], wanted)


def test_fashion_mnist_has_its_own_names_and_statistics(tmp_path):
    mnist_files(tmp_path / "FashionMNIST" / "raw")
    data = load_data("fashion-mnist", tmp_path)
    assert data.vocab[9] == "ankle boot" and len(data.vocab) == 10
    x, _ = data.valid[3]
    torch.testing.assert_close(x[0, 0, 0].item(), (3 / 255 - 0.2860) / 0.3530)


def test_a_share_of_the_training_images_can_be_held_out(tmp_path):
    mnist_files(tmp_path, train=50)
    data = load_mnist(tmp_path, held_out=0.2, seed=3)
    parts = [part.x[:, 0, 0, 0].tolist() for part in (data.train, data.valid)]
    assert sorted(parts[0] + parts[1]) == list(range(50)) and len(parts[1]) == 10
    again = load_mnist(tmp_path, held_out=0.2, seed=3)
    other = load_mnist(tmp_path, held_out=0.2, seed=4)
    assert torch.equal(again.valid.x, data.valid.x) and not torch.equal(other.valid.x, data.valid.x)
    for share in (0, 1, 1.5):
        with pytest.raises(ValueError, match="within 0 and 1"):
            load_mnist(tmp_path, held_out=share)


def test_each_missing_file_is_named_and_where_it_was_looked_for(tmp_path):
    for name in FILES:
        mnist_files(tmp_path)
        (tmp_path / f"{name}.gz").unlink()
        with pytest.raises(FileNotFoundError, match=f"no file {name} or") as caught:
            load_mnist(tmp_path)
        assert str(tmp_path / "MNIST" / "raw") in str(caught.value)


def test_parts_that_do_not_fit_are_refused(tmp_path):
    mnist_files(tmp_path, gz=False)
    labels = tmp_path / "train-labels-idx1-ubyte"
    for content, message in (
        (idx([1, 2, 3]), r"has 30 images, but .* has 3 labels"),
        (idx(numpy.full(30, 10)), "holds the label 10; mnist has 10 classes"),
        (idx(numpy.zeros((30, 2))), "has 2 dimensions"),
        (idx(numpy.zeros(30), 12), "holds torch.int32, torch.uint8 is wanted"),
    ):
        write(labels, content)
        with pytest.raises(ValueError, match=message):
            load_mnist(tmp_path)
    write(labels, idx([]))
    write(tmp_path / "train-images-idx3-ubyte", idx(numpy.zeros((0, 28, 28))))
    with pytest.raises(ValueError, match="mnist: its train part is empty"):
        load_mnist(tmp_path)


def test_fashion_mnist_is_not_taken_for_mnist(tmp_path):
    mnist_files(tmp_path / "MNIST" / "raw")
    with pytest.raises(FileNotFoundError, match="fashion-mnist: no file"):
        load_fashion_mnist(tmp_path)
