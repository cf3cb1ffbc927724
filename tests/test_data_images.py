"""Folders of images: found, split, labelled, read, transformed; and every way they are wrong."""

import os
import pickle
import random
import sys
from pathlib import Path

import numpy
import pytest
import torch

from steppers.train.data import (
    Convert,
    ImageFiles,
    Normalise,
    RandomCrop,
    RandomFlip,
    Resize,
    ToByteTensor,
    ToFloatTensor,
    Vocabulary,
    func_splitter,
    get_files,
    grandparent_splitter,
    load_data,
    load_folder,
    load_imagenette,
    open_image,
    parent_label,
    random_splitter,
)
from steppers.train.data.transforms import by_order

Image = pytest.importorskip("PIL.Image")
COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def picture(path, colour=(9, 9, 9), size=(20, 16), mode="RGB", **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **how)
    return path


@pytest.fixture
def tree(tmp_path):
    """train and valid with three classes of plain colours, of several sizes."""
    for part, count in (("train", 4), ("valid", 2)):
        for name, colour in COLOURS.items():
            for i in range(count):
                picture(tmp_path / part / name / f"{i}.png", colour, (20 + i, 16 + 2 * i))
    return tmp_path


# --- files ------------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_files_are_found_in_order(tmp_path):
    touch(tmp_path, "b/2.JPG", "b/10.jpg", "a/x.png", "a/.x.png", ".git/y.jpg", "b/c/d/3.jpeg", "z")
    assert names(get_files(tmp_path), tmp_path) == [
        "a/x.png", "b/10.jpg", "b/2.JPG", "b/c/d/3.jpeg", "z",
    ]  # fmt: skip
    assert names(get_files(tmp_path, (".jpg",)), tmp_path) == ["b/10.jpg", "b/2.JPG"]
    assert names(get_files(str(tmp_path), recurse=False), tmp_path) == ["z"]
    assert get_files(tmp_path, (".gif",)) == []
    assert names(get_files(tmp_path, skip={"c", "a"}), tmp_path) == ["b/10.jpg", "b/2.JPG", "z"]


def test_links_are_followed_once(tmp_path):
    touch(tmp_path, "a/1.txt")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    touch(tmp_path.parent / f"{tmp_path.name}-far", "2.txt")
    (tmp_path / "b").symlink_to(tmp_path.parent / f"{tmp_path.name}-far")
    assert names(get_files(tmp_path), tmp_path) == ["a/1.txt", "b/2.txt"]
    (tmp_path / "3.txt").symlink_to(tmp_path / "a" / "1.txt")
    assert names(get_files(tmp_path, follow_links=False), tmp_path) == ["a/1.txt"]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nothing"):
        get_files(tmp_path / "nothing")
    touch(tmp_path, "file")
    with pytest.raises(NotADirectoryError, match="is a file, a folder is wanted"):
        get_files(tmp_path / "file")


# --- splits -----------------------------------------------------------------------------------


PATHS = [Path(f"/d/{part}/cat/{i}.jpg") for part in ("test", "train", "val") for i in range(10)]


def test_the_grandparent_decides():
    train, valid = grandparent_splitter()(PATHS)
    assert train == PATHS[10:20] and valid == PATHS[20:]  # not test: there is a val
    train, valid = grandparent_splitter(train=["val"], valid=["test"])(PATHS)
    assert train == PATHS[20:] and valid == PATHS[:10]
    with pytest.raises(ValueError, match=r"for the valid part; the folders .* are train"):
        grandparent_splitter()(PATHS[10:20])


def test_a_random_split_follows_from_its_seed():
    train, valid = random_splitter(0.3, seed=1)(PATHS)
    assert sorted(train + valid) == sorted(PATHS) and len(valid) == 9
    assert (train, valid) == random_splitter(0.3, seed=1)(PATHS)
    assert valid != random_splitter(0.3, seed=2)(PATHS)[1]
    for share in (0, 1, -0.5, 20):
        with pytest.raises(ValueError, match="within 0 and 1"):
            random_splitter(share)


def test_a_function_may_leave_files_out():
    answers = {"train": False, "val": numpy.True_, "test": None}
    train, valid = func_splitter(lambda path: answers[path.parent.parent.name])(PATHS)
    assert train == PATHS[10:20] and valid == PATHS[20:]


# --- labels -----------------------------------------------------------------------------------


def test_the_vocabulary_is_sorted_and_goes_both_ways():
    vocab = Vocabulary.of(["dog", "cat", "dog", "ant"])
    assert vocab.names == ("ant", "cat", "dog")
    assert vocab.decode(torch.tensor([vocab.number("dog"), 0])) == ["dog", "ant"]
    assert parent_label(Path("/a/dog/1.jpg")) == "dog"
    with pytest.raises(ValueError, match=r"x\.jpg: the label 'cow' .*: ant, cat, dog"):
        vocab.number("cow", Path("x.jpg"))
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(("a", "a"))


# --- transforms -------------------------------------------------------------------------------


def test_transforms_run_in_the_order_they_state():
    seen = []

    class Last:
        order = 100

        def __call__(self, x):
            seen.append("last")
            return x

    def plain(image):
        seen.append((image.mode, image.size))
        return image

    steps = by_order([Last(), ToFloatTensor(), ToByteTensor(), Resize(4), Convert(), plain])
    x = Image.new("L", (7, 9))
    for step in steps:
        x = step(x)
    assert seen == [("RGB", (7, 9)), "last"] and x.shape == (3, 4, 4) and x.dtype == torch.float32


def test_bytes_keep_their_places():
    pixels = numpy.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype("uint8")
    x = ToByteTensor()(Image.fromarray(pixels))
    assert x.dtype == torch.uint8 and torch.equal(x, torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(ToFloatTensor()(Image.fromarray(pixels)), x / 255)
    grey = ToByteTensor()(Image.fromarray(pixels[:, :, 0]))
    assert torch.equal(grey[0], torch.from_numpy(pixels[:, :, 0].copy()))


def test_every_mode_becomes_rgb():
    rgb = Image.new("RGB", (2, 2), (200, 100, 50))
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    transparent = palette.copy()
    transparent.info["transparency"] = b"\x00\x80"
    alpha = Image.new("RGBA", (2, 2), (200, 100, 50, 0))
    for image in (rgb, palette, transparent, alpha):
        assert ToByteTensor()(Convert()(image))[:, 0, 0].tolist() == [200, 100, 50]
    for grey in (Image.new("L", (2, 2), 77), Image.new("LA", (2, 2), (77, 3))):
        assert ToByteTensor()(Convert()(grey))[:, 1, 1].tolist() == [77, 77, 77]
    assert ToByteTensor()(Convert()(Image.new("1", (9, 2), 1))).unique().tolist() == [255]
    assert ToByteTensor()(Image.new("1", (9, 2), 1)).shape == (1, 2, 9)
    for mode in ("I;16", "I"):
        deep = Image.new(mode, (2, 2), 0x6342)
        assert ToByteTensor()(Convert("L")(deep)).unique().tolist() == [0x63]
    with pytest.raises(ValueError, match="floats"):
        Convert()(Image.new("F", (2, 2)))
    with pytest.raises(ValueError, match="the mode I;16 is not of bytes"):
        ToByteTensor()(Image.new("I;16", (2, 2)))


def test_resizing_is_bilinear():
    ramp = Image.new("L", (2, 1))
    ramp.putdata([0, 200])
    wide = ToByteTensor()(Resize((1, 4))(ramp))
    # Pixel centres at -0.25, 0.25, 0.75, 1.25 of the old ones, held at the ends.
    assert wide.flatten().tolist() == [0, 50, 150, 200]
    assert Resize((6, 3))(ramp).size == (3, 6)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Resize(0)
    with pytest.raises(TypeError, match="size must be an int, got '64'"):
        Resize("64")


def test_flips_are_drawn_with_their_probability():
    image = Image.new("L", (2, 1))
    image.putdata([1, 2])
    rows = [ToByteTensor()(RandomFlip()(image)).flatten().tolist() for _ in range(400)]
    assert {tuple(row) for row in rows} == {(1, 2), (2, 1)}
    assert 160 < rows.count([2, 1]) < 240  # 4 deviations of 10
    assert ToByteTensor()(RandomFlip(1.0)(image)).flatten().tolist() == [2, 1]
    assert RandomFlip(0.0)(image) is image
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 1\.5"):
        RandomFlip(1.5)


def test_crops_take_every_place():
    image = Image.new("L", (3, 3))
    image.putdata(range(1, 10))
    corners = {int(ToByteTensor()(RandomCrop(2)(image))[0, 0, 0]) for _ in range(100)}
    assert corners == {1, 2, 4, 5}
    padded = [ToByteTensor()(RandomCrop(padding=1)(image)) for _ in range(200)]
    assert all(x.shape == (1, 3, 3) for x in padded)
    assert {int(x[0, 1, 1]) for x in padded} == set(range(1, 10))  # the centre goes anywhere
    assert min(int(x.min()) for x in padded) == 0
    for wrong in (dict(padding=-1), dict(size=0), dict(size=(3, 0))):
        with pytest.raises(ValueError, match=r"RandomCrop: (size|padding) must be at least"):
            RandomCrop(**wrong)
    with pytest.raises(ValueError, match="5 x 5 pixels do not fit into an image of 3 x 3"):
        RandomCrop(5)(image)


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_can_be_read_by_another_process(tree):
    steps = [RandomFlip(0.0), RandomCrop(8)]
    data = load_folder(tree, size=8, transforms=steps).train
    sent = pickle.loads(pickle.dumps(data))
    assert all(map(torch.equal, sent.batch([1, 0]), data.batch([1, 0])))


def test_a_folder_becomes_normalised_batches(tree):
    statistics = Normalise((0.5, 0.25, 0.5), (0.5, 0.25, 1.0))
    data = load_data("imagefolder", tree, size=8, normalise=statistics)
    assert (len(data.train), len(data.valid), data.shape) == (12, 6, (3, 8, 8))
    assert data.vocab == ("blue", "green", "red") and data.description.endswith(
        "12 train / 6 held-out images"
    )
    x, y = next(iter(data.loaders(3).valid))
    assert y.tolist() == [0, 0, 1, 1, 2, 2] and x.dtype == torch.float32
    pure = torch.tensor([COLOURS[name] for name in data.vocab]) / 255
    wanted = (pure - torch.tensor(statistics.mean)) / torch.tensor(statistics.std)
    torch.testing.assert_close(x[:, :, 3, 3], wanted.repeat_interleave(2, 0))
    x, y = next(iter(data.loaders(12).train))
    torch.testing.assert_close(x[:, :, 0, 0], wanted[y])


def test_grey_images_and_no_normalising(tree):
    data = load_folder(tree, size=(4, 6), mode="L", normalise=None)
    # ITU-R 601: 0.299 red + 0.587 green + 0.114 blue
    x, _ = next(iter(data.loaders(3).valid))
    assert data.shape == (1, 4, 6)
    wanted = torch.tensor([0.114, 0.587, 0.299]).repeat_interleave(2)
    torch.testing.assert_close(x[:, 0, 0, 0], wanted, atol=1 / 255, rtol=0)


def test_other_splits_and_labels(tree):
    data = load_folder(
        tree, splitter=random_splitter(0.5, seed=0), label=lambda path: path.stem, size=4
    )
    assert (len(data.train), len(data.valid)) == (9, 9) and data.vocab == ("0", "1", "2", "3")


def test_training_transforms_are_for_training_alone(tree):
    seen = []

    def look(image):
        seen.append(image.size)
        return image

    data = load_folder(tree, size=8, transforms=[look, RandomFlip(), RandomCrop(padding=2)])
    list(data.loaders(4).valid)
    assert seen == []
    x, _ = next(iter(data.loaders(12).train))
    assert len(seen) == 12 and (20, 16) in seen and x.shape == (12, 3, 8, 8)


def test_random_transforms_in_workers_follow_from_the_seed(tree):
    rng = numpy.random.default_rng(0)
    for path in get_files(tree):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype("uint8")).save(path)

    def noise(image):
        return image.rotate(random.random() * 90 + numpy.random.rand())

    def epoch(seed):
        steps = [noise, RandomCrop(padding=4), RandomFlip()]
        loaders = load_folder(tree, size=16, transforms=steps).loaders(4, workers=2, seed=seed)
        return torch.cat([x for x, _ in loaders.train])

    first = epoch(0)
    torch.rand(3), random.random()
    assert torch.equal(epoch(0), first) and not torch.equal(epoch(1), first)


def test_an_imagenette_like_folder(tmp_path):
    for part in ("train", "val"):
        for wnid in ("n01440764", "n03888257"):
            picture(tmp_path / "imagenette2-160" / part / wnid / "1.JPEG")
    data = load_imagenette(tmp_path, size=16)
    assert data.vocab == ("tench", "parachute") and data.name == "imagenette-160"
    x, _ = data.valid[0]
    wanted = (9 / 255 - torch.tensor([0.47, 0.48, 0.45])) / torch.tensor([0.29, 0.28, 0.30])
    torch.testing.assert_close(x[:, 8, 8], wanted, atol=0.02, rtol=0)
    picture(tmp_path / "imagenette2-160" / "train" / "cats" / "1.JPEG")
    with pytest.raises(ValueError, match="cats is not one of its ten classes"):
        load_imagenette(tmp_path)
    with pytest.raises(ValueError, match="pixels must be 160 or 320, got 128"):
        load_imagenette(tmp_path, pixels=128)


def test_photographs_that_come_with_packages_are_read():
    """Real files, made by other software."""
    from sklearn import datasets

    files = get_files(Path(datasets.__file__).parent / "images", (".jpg",))
    if not files:
        pytest.skip("this scikit-learn carries no photographs")
    data = ImageFiles(files, range(len(files)), [Resize(64), ToByteTensor()])
    x, _ = data.batch(range(len(files)))
    assert x.shape == (len(files), 3, 64, 64) and x.float().std() > 30


# --- what is wrong with them ------------------------------------------------------------------


def test_a_held_out_label_must_be_known(tree):
    odd = picture(tree / "valid" / "violet" / "1.png")
    with pytest.raises(ValueError, match=r"the label 'violet' .*: blue, green, red") as caught:
        load_folder(tree)
    assert str(odd) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", "half", "flipped"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF"])
def test_a_broken_image_is_named(tmp_path, content, kind):
    good = numpy.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype("uint8")
    path = tmp_path / "1.img"
    Image.fromarray(good).save(path, kind)
    whole = path.read_bytes()
    if content == "half":
        content = whole[: len(whole) // 2]
    elif content == "flipped":
        content = whole[:4] + bytes(b ^ 0x5A for b in whole[4:60]) + whole[60:]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"1\.img: is damaged or no image"):
        open_image(path)


def test_a_broken_image_in_a_worker_is_named_too(tree):
    bad = tree / "train" / "red" / "2.png"
    bad.write_bytes(b"broken")
    batches = iter(load_folder(tree, size=8).loaders(4, workers=1).train)
    with pytest.raises(ValueError, match="is damaged or no image") as caught:
        list(batches)
    batches._shutdown_workers()  # left to the garbage collector, it takes torch 5 seconds
    assert str(bad) in str(caught.value)


def test_a_missing_image_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "nothing.png")


def test_sizes_that_differ_in_a_batch_are_named(tree):
    data = load_folder(tree, size=None, normalise=None)
    with pytest.raises(ValueError, match=r"is 3 x 18 x 21, but .* is 3 x 16 x 20; add Resize") as e:
        data.train.batch([0, 1])
    assert str(tree / "train" / "blue" / "1.png") in str(e.value)


def test_a_transform_that_fails_is_named_with_the_file(tree):
    def fussy(image):
        raise KeyError("no")

    data = load_folder(tree, size=8, transforms=[fussy])
    with pytest.raises(RuntimeError, match=r"0\.png: fussy failed: 'no'"):
        data.train[0]
    with pytest.raises(RuntimeError, match=r"0\.png: RandomCrop\(size=99, padding=0\) failed"):
        load_folder(tree, size=8, transforms=[RandomCrop(99)]).train[0]
    files = get_files(tree)
    with pytest.raises(RuntimeError, match="no transform made a tensor"):
        ImageFiles(files[:1], [0], [])[0]
    with pytest.raises(ValueError, match="18 files, but 1 labels"):
        ImageFiles(files, [0], [])


def test_folders_without_images_or_parts_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no images \(\.jpg"):
        load_folder(tmp_path)
    picture(tmp_path / "train" / "a" / "1.png")
    with pytest.raises(ValueError, match="for the valid part"):
        load_folder(tmp_path)
    with pytest.raises(ValueError, match="the train part of the 1 images is empty"):
        load_folder(tmp_path, splitter=func_splitter(lambda path: True))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path):
    path = picture(tmp_path / "1.png")
    path.chmod(0)
    with pytest.raises(PermissionError):
        open_image(path)


def test_without_pillow_the_command_that_helps_is_named(tmp_path, monkeypatch):
    path = picture(tmp_path / "1.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="reading images needs Pillow: pip install"):
        open_image(path)
