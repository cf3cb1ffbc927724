"""The course's data block: files to items, split, labelled, transformed, in batches."""

import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from steppers.styles.course import (
    AvgStatsCallback,
    BatchTransformXCallback,
    CategoryProcessor,
    DataBunch,
    ImageList,
    ItemList,
    LabeledData,
    ListContainer,
    MakeRGB,
    Processor,
    Recorder,
    ResizeFixed,
    SplitData,
    Transform,
    conv_layer,
    get_dls,
    get_files,
    get_learn_run,
    get_runner,
    grandparent_splitter,
    image_extensions,
    label_by_func,
    make_rgb,
    norm_imagenette,
    normalize_chan,
    parent_labeler,
    sgd_opt,
    split_by_func,
    to_byte_tensor,
    to_float_tensor,
    view_tfm,
)
from steppers.train import accuracy
from steppers.train.data import load_digits

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def tree(tmp_path):
    """train and val with three classes of plain colours, and some files beside them."""
    image = pytest.importorskip("PIL.Image")
    for part, count in (("train", 4), ("val", 2)):
        for name, colour in COLOURS.items():
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                image.new("RGB", (20 + i, 16), colour).save(folder / f"{i}.png")
    image.new("L", (20, 16), 9).save(tmp_path / "train" / "red" / "grey.PNG")
    (tmp_path / "train" / "red" / ".hidden.png").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "old.png").touch()
    return tmp_path


TFMS = [to_float_tensor, ResizeFixed(32), to_byte_tensor, make_rgb]  # the orders sort them


def labelled(tree, tfms=TFMS, processor=None):
    il = ImageList.from_files(tree, tfms=tfms)
    sd = SplitData.split_by_func(il, partial(grandparent_splitter, valid_name="val"))
    return label_by_func(sd, parent_labeler, proc_y=processor or CategoryProcessor())


# --- files --------------------------------------------------------------------------------------


def found(*args, **kwargs):
    return [file.relative_to(args[0]).as_posix() for file in get_files(*args, **kwargs)]


def test_files_without_dots_of_some_kinds_in_some_folders(tree):
    assert found(tree) == ["notes.txt"]
    assert found(tree, recurse=True, extensions=".TXT") == ["notes.txt"]
    assert len(found(tree, recurse=True)) == 20
    assert len(found(tree, [".png"], recurse=True)) == len(found(tree, {".png"}, True)) == 19
    below = found(tree, None, recurse=True, include=["val"])
    assert below == ["notes.txt", *(f"val/{c}/{i}.png" for c in sorted(COLOURS) for i in (0, 1))]
    assert found(tree, ".png", recurse=True, include="val") == below[1:]
    assert found(tree / "train" / "red", image_extensions)[-1] == "grey.PNG"
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        get_files(tree / "nowhere")


# --- items --------------------------------------------------------------------------------------


def test_a_container_takes_places_bools_and_slices():
    items = ListContainer(range(12))
    assert items[3] == 3 and items[-1] == 11 and items[1:3] == [1, 2] and items[[0, 5]] == [0, 5]
    assert items[torch.tensor([2, 0])] == [2, 0] and items[torch.tensor(4)] == 4
    assert items[[i % 6 == 0 for i in range(12)]] == [0, 6] and items[[]] == []
    items[0] = 7
    del items[1]
    assert list(items)[:3] == [7, 2, 3] and len(items) == 11
    assert repr(ListContainer([1, 2])) == "ListContainer (2 items)\n[1, 2]"
    assert "and 1 more]" in repr(items)
    with pytest.raises(IndexError, match="2 bools to choose from 11 items"):
        items[[True, False]]
    with pytest.raises(IndexError):
        items[11]


def test_items_are_opened_and_transformed_by_order_when_they_are_asked_for():
    calls = []

    class Doubles(ItemList):
        def get(self, i):
            calls.append(i)
            return 2 * i

    def late(x):
        return x + 1

    late._order = 5
    items = Doubles([1, 2, 3], path="here", tfms=[late, lambda x: x * 10])
    assert calls == [] and list(items) == [1, 2, 3]
    assert items[0] == 21 and items[1:] == [41, 61] and calls == [1, 2, 3]
    other = items.new([5])
    assert type(other) is Doubles and other.path == Path("here") and other[0] == 101
    assert type(items.new([5], cls=ItemList)) is ItemList
    assert repr(other).endswith("[5]\nPath: here")


def test_images_are_opened_when_they_are_asked_for(tree):
    il = ImageList.from_files(tree, tfms=MakeRGB())
    assert len(il) == 19 and isinstance(il.items[0], Path) and il.path == tree
    grey = next(i for i, file in enumerate(il) if file.name == "grey.PNG")
    assert il[grey].mode == "RGB" and il[grey].size == (20, 16)
    (tree / "train" / "red" / "0.png").write_bytes(b"no image")
    damaged = next(i for i, file in enumerate(il) if file.parts[-2:] == ("red", "0.png"))
    with pytest.raises(ValueError, match=r"red.0\.png: is damaged or no image"):
        il[damaged]


# --- split and labels ---------------------------------------------------------------------------


def test_true_is_held_out_false_trained_on_and_none_dropped():
    train, valid = split_by_func(range(6), lambda o: None if o > 3 else o % 2 == 0)
    assert (train, valid) == ([1, 3], [0, 2])
    sd = SplitData.split_by_func(ItemList(range(6), path="x"), lambda o: o > 3)
    assert sd.train.items == [0, 1, 2, 3] and sd.valid.items == [4, 5]
    assert sd.path == Path("x")  # what it has not itself is the training items'
    assert repr(sd).startswith("SplitData\nTrain: ItemList (4 items)")
    with pytest.raises(TypeError, match="got 'maybe' of 2"):
        split_by_func([1, 2], lambda o: "maybe" if o == 2 else 1)
    with pytest.raises(AttributeError, match="nothing"):
        sd.nothing  # noqa: B018


def test_the_folder_two_above_decides():
    files = [Path(f"{part}/cat/1.jpg") for part in ("train", "valid", "test", "val")]
    assert [grandparent_splitter(f) for f in files] == [False, True, None, None]
    names = dict(valid_name="val", train_name="test")
    assert [grandparent_splitter(f, **names) for f in files] == [None, None, False, True]


def test_classes_are_numbered_as_they_are_first_seen_and_shared_by_both_parts(tree):
    ll = labelled(tree)
    assert ll.train.proc_y is ll.valid.proc_y
    assert ll.train.proc_y.vocab == ["blue", "green", "red"] and ll.train.y[0] == 0
    proc = CategoryProcessor()
    assert proc(["dog", "cat", "dog"]) == [0, 1, 0] and proc(["cat"]) == [1]
    assert proc.vocab == ["dog", "cat"] and proc.deprocess([1, 0]) == ["cat", "dog"]
    assert proc.deproc1(torch.tensor(1)) == "cat"
    with pytest.raises(ValueError, match=r"'cow' is not among the classes .*: dog, cat"):
        proc(["cow"])
    with pytest.raises(ValueError, match="no items have been processed"):
        CategoryProcessor().deproc1(0)


def test_targets_can_be_had_as_they_were(tree):
    ll = labelled(tree)
    x, y = ll.train[0]
    assert x.shape == (3, 32, 32) and x.dtype == torch.float32 and y == 0
    assert torch.equal(x, torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 32, 32))
    assert ll.train.y_obj(0) == "blue" and ll.valid.y_obj([0, 2, 4]) == ["blue", "green", "red"]
    assert torch.equal(ll.train.x_obj(0), x) and len(ll.train) == 13 and len(ll.valid) == 6
    assert [a.shape for a in ll.train[[0, 1]][0]] == [x.shape] * 2 and ll.train[[0, -1]][1] == [
        0,
        2,
    ]


def test_processors_of_inputs_and_several_of_targets():
    class Tens(Processor):
        def __call__(self, items):
            return [10 * item for item in items]

        def deproc1(self, item):
            return item // 10

    class Late(CategoryProcessor):
        _order = 1

    data = LabeledData.label_by_func(ItemList([1, 2, 1]), lambda o: o, Tens(), [Late(), Tens()])
    assert data[:] == ([10, 20, 10], [0, 1, 0])  # the targets were 10, 20, 10 before Late
    assert data.y_obj(1) == 2 and data.x_obj([0, 1]) == [1, 2]
    assert Processor()([1]) == [1] and Processor().deprocess([1]) == [1]
    assert repr(data).startswith("LabeledData\nx: ItemList (3 items)")
    with pytest.raises(ValueError, match="got 2 inputs and 1 targets"):
        LabeledData(ItemList([1, 2]), ItemList([1]))


# --- transforms ---------------------------------------------------------------------------------


def test_transforms_of_images_by_hand():
    image = pytest.importorskip("PIL.Image")
    grey = image.new("L", (2, 3), 51)
    assert make_rgb(grey).mode == "RGB" and MakeRGB()(grey).getpixel((0, 0)) == (51, 51, 51)
    pixels = to_byte_tensor(grey)
    assert pixels.dtype == torch.uint8 and pixels.tolist() == [[[51, 51]] * 3]
    assert torch.allclose(to_float_tensor(pixels), torch.full((1, 3, 2), 0.2))
    assert ResizeFixed(8)(grey).size == (8, 8) and ResizeFixed((8, 4))(grey).size == (8, 4)
    orders = [t._order for t in (MakeRGB(), ResizeFixed(8), to_byte_tensor, to_float_tensor)]
    assert orders == [0, 10, 20, 30] and Transform._order == 0
    halves = image.new("L", (2, 1))
    halves.putpixel((1, 0), 200)
    assert [*ResizeFixed((4, 1))(halves).tobytes()] == [0, 50, 150, 200]  # bilinear


def test_channels_are_normalised_by_the_courses_numbers():
    m, s = torch.tensor([0.47, 0.48, 0.45]), torch.tensor([0.29, 0.28, 0.30])
    x = torch.tensor([0.76, 0.2, 0.45]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    wanted = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    for norm in (norm_imagenette, partial(normalize_chan, mean=m, std=s)):
        assert torch.allclose(norm(x), wanted, atol=1e-6)


# --- batches ------------------------------------------------------------------------------------


def test_held_out_batches_are_twice_as_large_and_training_is_shuffled():
    torch.manual_seed(0)
    items = [(torch.tensor(float(i)), i) for i in range(40)]
    train, valid = get_dls(items, items, 4, num_workers=0)
    order = [y.item() for _, ys in train for y in ys]
    assert [len(y) for _, y in valid] == [8] * 5 and sorted(order) == [*range(40)]
    assert order != [*range(40)] and [y.item() for _, ys in valid for y in ys] == [*range(40)]
    with pytest.raises(ValueError, match="valid_ds is empty"):
        get_dls(items, [], 4)


def test_the_whole_block_from_files_to_a_fit(tree):
    torch.manual_seed(0)
    data = labelled(tree).to_databunch(4, c_in=3, c_out=3)
    assert isinstance(data, DataBunch) and (data.c_in, data.c_out) == (3, 3)
    assert data.train_ds.y_obj(0) == "blue" and len(data.valid_ds) == 6
    cbfs = [Recorder, partial(AvgStatsCallback, accuracy, table=False),
            partial(BatchTransformXCallback, norm_imagenette)]  # fmt: skip
    learn, run = get_learn_run([16], data, 0.1, conv_layer, cbs=cbfs, opt_func=sgd_opt)
    run.logger = lambda row: None
    run.fit(4, learn)
    assert run.recorder.losses[-1] < run.recorder.losses[0]
    assert run.avg_stats.valid_stats.avg_stats[1] == 1.0


def test_both_parts_can_be_pickled_for_workers(tree):
    ll = labelled(tree, tfms=[MakeRGB(), ResizeFixed(8), to_byte_tensor, to_float_tensor])
    twin = pickle.loads(pickle.dumps(ll))
    assert torch.equal(twin.valid[0][0], ll.valid[0][0]) and twin.train.y_obj(-1) == "red"


def test_digits_are_learnt_to_nine_in_ten_by_the_courses_own_sgd():
    pytest.importorskip("sklearn")
    loaders = load_digits(seed=0).loaders(64, seed=0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
    cbfs = [partial(AvgStatsCallback, accuracy, table=False),
            partial(BatchTransformXCallback, view_tfm(64))]  # fmt: skip
    bunch = DataBunch(loaders.train, loaders.valid, 1, 10)
    learn, run = get_runner(model, bunch, 0.1, cbfs, sgd_opt)
    run.logger = lambda row: None
    run.fit(6, learn)
    assert run.avg_stats.valid_stats.avg_stats[1] > 0.9
