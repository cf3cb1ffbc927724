"""A dict of splits with the interface of Hugging Face's library, here a stand-in for it."""

import pytest
import torch

from steppers.train.data import Normalise, from_dd

Image = pytest.importorskip("PIL.Image")


class Feature:
    def __init__(self, names=None):
        if names:
            self.names = names


class Table:
    """Rows that are read by a list of places, as lists by column; keeps what was asked for."""

    def __init__(self, columns, features):
        self.columns, self.features, self.asked = columns, features, []

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, places):
        assert isinstance(places, list)
        self.asked.append(places)
        return {name: [values[i] for i in places] for name, values in self.columns.items()}


def clothes(count, labels=None, size=(3, 2)):
    images = [Image.new("L", size, 10 * i) for i in range(count)]
    labels = [i % 2 for i in range(count)] if labels is None else labels
    features = {"image": Feature(), "label": Feature(["boot", "coat"])}
    return Table({"image": images, "label": labels}, features)


def clothes_dict(**parts):
    return {"train": clothes(7), "test": clothes(4), **parts}


def test_images_and_labels_come_in_batches():
    dd = clothes_dict()
    data = from_dd(dd, name="clothes")
    assert data.vocab == ("boot", "coat") and data.shape == (1, 2, 3)
    assert data.description == "clothes: 7 train / 4 held out"
    dd["test"].asked.clear()
    x, y = next(iter(data.loaders(2).valid))
    assert dd["test"].asked == [[0, 1, 2, 3]]  # one reading a batch
    assert x.shape == (4, 1, 2, 3) and y.tolist() == [0, 1, 0, 1] and y.dtype == torch.int64
    torch.testing.assert_close(x[:, 0, 0, 0], torch.arange(4) * 10 / 255)


def test_nothing_is_read_before_it_is_asked_for():
    dd = clothes_dict()
    loaders = from_dd(dd).loaders(2)
    assert dd["train"].asked == []
    next(iter(loaders.train))
    assert [len(places) for places in dd["train"].asked] == [2]


def test_the_transform_gets_each_batch():
    def double(rows):
        assert [image.size for image in rows["image"]] == [(3, 2)] * len(rows["label"])
        return {"image": torch.full((len(rows["label"]), 1, 1, 1), 0.63), "label": rows["label"]}

    statistics = Normalise((0.28,), (0.35,))
    data = from_dd(clothes_dict(), transform=double, normalise=statistics)
    assert data.shape == (1, 1, 1)
    torch.testing.assert_close(data.train[0][0].item(), (0.63 - 0.28) / 0.35)


def test_columns_and_splits_can_be_named():
    table = {"train": Table({"a": [[1.0, 2], [3, 4]], "b": [5, 6], "c": [0.5, 1.5]}, None)}
    data = from_dd(table, columns=("a", "b", "c"), train="train", valid="train")
    a, b, c = data.train.batch([1, 0])
    assert a.tolist() == [[3, 4], [1, 2]] and b.tolist() == [6, 5] and c.tolist() == [1.5, 0.5]
    assert data.vocab is None


def test_the_validation_split_comes_before_the_test_split():
    assert len(from_dd(clothes_dict(validation=clothes(5))).valid) == 5


def test_workers_read_too():
    loaders = from_dd(clothes_dict()).loaders(2, workers=2)
    assert sorted(torch.cat([y for _, y in loaders.train]).tolist()) == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: from_dd([1]), TypeError, "wants a dict of splits, got list"),
        (lambda: from_dd({"train": clothes(3)}), ValueError, "no split one of validation, valid"),
        (lambda: from_dd(clothes_dict(), valid="dev"), ValueError, "'dev', only train, test"),
        (
            lambda: from_dd(clothes_dict(), columns=("image", "y")),
            ValueError,
            "no column 'y', only i",
        ),
        (lambda: from_dd(clothes_dict(), columns="image"), ValueError, "an input and a target"),
        (lambda: from_dd({"train": Table({"a": [1]}, None)}, valid="train"), TypeError, "columns="),
        (lambda: from_dd(clothes_dict(test=clothes(0))), ValueError, "its valid part is empty"),
    ],
)
def test_what_is_not_there_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("columns", "transform", "error", "message"),
    [
        (
            dict(image=[[1], [1, 2]], label=[0, 1]),
            None,
            ValueError,
            r"\(1,\) and \(2,\) in one batch",
        ),
        (dict(image=["a", "b"], label=[0, 1]), None, TypeError, "'image' holds str"),
        (dict(image=[None, 1], label=[0, 1]), None, TypeError, "'image' holds NoneType"),
        (dict(image=[1, 2], label=[0, -1]), None, ValueError, "'label' has the label -1, and the"),
        (dict(image=[1, 2], label=[0, 2]), None, ValueError, "label 2, .* numbered 0 to 1"),
        (
            dict(image=[1, 2], label=[0, 1]),
            lambda rows: {**rows, "image": [1]},
            ValueError,
            "'image' has 1 items in a batch of 2",
        ),
    ],
)
def test_rows_that_make_no_batch_are_named(columns, transform, error, message):
    table = Table(columns, clothes(1).features)
    data = from_dd({"train": table, "test": clothes(2)}, transform=None)
    data.train.transform = transform
    with pytest.raises(error, match=message):
        data.train.batch([0, 1])


def test_a_real_dataset_dict_is_read():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["boot", "coat"])}
    )
    rows = {"image": [Image.new("L", (3, 2), 51)] * 4, "label": [0, 1, 1, 0]}
    part = datasets.Dataset.from_dict(rows, features=features)
    data = from_dd(datasets.DatasetDict({"train": part, "test": part}))
    x, y = next(iter(data.loaders(2).valid))
    assert data.vocab == ("boot", "coat") and y.tolist() == [0, 1, 1, 0]
    assert x.shape == (4, 1, 2, 3) and x.unique().tolist() == pytest.approx([0.2])
