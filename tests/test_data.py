"""A data set in two parts and its batches: their order, their sizes, what is refused."""

import pickle
import random
from itertools import chain

import numpy
import pytest
import torch
from torch.utils.data import Dataset, Subset

from steppers.train.data import (
    DATA,
    BatchedDataset,
    Data,
    DataLoaders,
    Normalise,
    TensorData,
    load_data,
    load_digits,
)


def numbers(count, name="numbers", valid=8, **more):
    """Items 0, 1, ... with their number as the target."""
    x = torch.arange(float(count)).view(-1, 1)
    train = TensorData(x, torch.arange(count))
    held_out = TensorData(x[:valid], torch.arange(min(valid, count)))
    return Data(name, train, held_out, (1,), "numbers", **more)


class Drawing(Dataset):
    """Items that say what Python, numpy and torch draw."""

    def __len__(self):
        return 12

    def __getitem__(self, i):
        return torch.tensor([random.random(), numpy.random.rand(), torch.rand(()).item()]), i


def order(loaders):
    return [y.tolist() for _, y in loaders.train]


def flat(batches):
    return [*chain.from_iterable(batches)]


# --- order ------------------------------------------------------------------------------------


def test_an_epoch_takes_every_item_once():
    batches = order(numbers(22).loaders(5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 2]
    assert sorted(flat(batches)) == list(range(22))


def test_the_seed_decides_the_order_of_every_epoch():
    first, same, other = (numbers(50).loaders(8, seed=seed) for seed in (3, 3, 4))
    epochs = [order(first), order(first)]
    torch.rand(7)  # what torch draws elsewhere is irrelevant
    assert [order(same), order(same)] == epochs
    assert epochs[0] != epochs[1] and order(other) != epochs[0]


def test_an_epoch_can_be_gone_through_again():
    loaders = numbers(50).loaders(8)
    order(loaders)
    state = loaders.train.generator.get_state()
    second = order(loaders)
    loaders.train.generator.set_state(state)
    assert order(loaders) == second


def test_valid_batches_are_twice_as_large_and_in_order():
    assert [y.tolist() for _, y in numbers(9).loaders(3).valid] == [[0, 1, 2, 3, 4, 5], [6, 7]]


def test_going_through_the_data_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    loaders = numbers(9).loaders(3)
    list(loaders.train), list(loaders.valid), loaders.one_batch()
    assert torch.equal(torch.get_rng_state(), before)


def test_looking_at_a_batch_changes_no_order():
    loaders = numbers(50).loaders(8, seed=3)
    looked = loaders.one_batch()[1].tolist()
    assert order(loaders) == order(numbers(50).loaders(8, seed=3))
    assert order(numbers(50).loaders(8, seed=3))[0] == looked


def test_what_is_random_in_workers_follows_from_the_seed():
    def drawn(seed):
        loaders = Data("drawing", Drawing(), Drawing(), (3,), "").loaders(4, workers=2, seed=seed)
        return torch.stack([torch.cat([x for x, _ in loaders.train]) for _ in range(2)])

    first = drawn(0)
    torch.rand(5), random.random(), numpy.random.rand()
    assert torch.equal(drawn(0), first)
    assert (drawn(1) != first).all() and (first[0] != first[1]).all()
    assert first[0].unique(dim=0).shape[0] == 12  # two workers do not draw the same


def test_workers_give_the_same_batches():
    assert order(numbers(20).loaders(6, workers=2)) == order(numbers(20).loaders(6))


def test_epoch_items_are_drawn_with_replacement():
    loaders = numbers(1000, epoch_items=30).loaders(8, seed=1)
    drawn = flat(order(loaders))
    assert len(loaders.train) == 4 and len(drawn) == 30
    assert flat(order(numbers(1000, epoch_items=30).loaders(8, seed=1))) == drawn
    assert max(drawn) > 500 and set(flat(order(loaders))) != set(drawn)
    assert set(flat(order(numbers(5, epoch_items=100).loaders(8)))) == set(range(5))


# --- batches ----------------------------------------------------------------------------------


def test_a_batch_is_what_the_items_stack_to():
    data = TensorData(torch.randn(9, 2, 3), torch.randint(5, (9,)))
    x, y = data.__getitems__([7, 0, 7])
    assert torch.equal(x, torch.stack([data[i][0] for i in (7, 0, 7)]))
    assert torch.equal(y, torch.stack([data[i][1] for i in (7, 0, 7)]))


def test_single_items_are_counted_as_in_a_list():
    data = TensorData(torch.arange(3.0), torch.arange(3))
    assert data[-1] == (2, 2) and [int(y) for _, y in data] == [0, 1, 2]
    with pytest.raises(IndexError):
        data[3]


def test_a_batch_is_the_users_to_change():
    data = TensorData(torch.zeros(4, 2), torch.zeros(4))
    data.batch([1, 2])[0].fill_(5)
    assert not data.x.any()


def test_the_transform_works_on_the_batch():
    data = TensorData(torch.tensor([[1], [2]]), torch.arange(2), transform=lambda x: x * 10)
    assert data.batch([1, 0])[0].tolist() == [[20], [10]]


def test_parts_of_parts_and_plain_data_sets_are_batched_too():
    class Plain(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return torch.full((2,), float(i)), i

    inner = numbers(20).train
    nested = Subset(Subset(inner, range(10, 20)), range(6))
    for part, expected in ((nested, list(range(10, 16))), (Plain(), list(range(6)))):
        batch = next(iter(Data("part", part, part, (1,), "").loaders(3).valid))
        assert isinstance(batch, tuple)
        x, y = batch
        assert y.tolist() == expected and x[:, 0].tolist() == expected


def test_columns_may_be_more_than_two():
    class Three(BatchedDataset):
        def __len__(self):
            return 4

        def batch(self, indices):
            i = torch.tensor(indices)
            return i, i * 2, i * 3

    loaders = Data("three", Three(), Three(), (), "three columns").loaders(2)
    assert [c.tolist() for c in next(iter(loaders.valid))] == [
        [0, 1, 2, 3],
        [0, 2, 4, 6],
        [0, 3, 6, 9],
    ]
    assert "column 2: 2, int64" in loaders.summary()


def test_a_mean_is_wanted_for_each_channel():
    with pytest.raises(TypeError, match=r"mean must be a tuple .*, got 0\.5"):
        Normalise(0.5, 0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_on_a_gpu_make_batches_there():
    x = torch.arange(20.0, device="cuda").view(10, 2)
    data = TensorData(x, torch.arange(10, device="cuda"))
    for x, y in Data("cuda", data, data, (2,), "").loaders(4).valid:
        assert x.is_cuda and y.is_cuda and torch.equal(x[:, 0].long(), 2 * y)


def test_a_data_set_can_be_sent_to_another_process():
    for part in (load_digits().train, TensorData(torch.ones(2, 1, 1, 1), torch.ones(2))):
        part.transform = Normalise((0.5,), (0.5,))
        sent = pickle.loads(pickle.dumps(part))
        assert all(map(torch.equal, sent.batch([1, 0]), part.batch([1, 0])))


def test_normalising_is_done_channel_by_channel():
    x = torch.rand(5, 3, 4, 4, dtype=torch.float64)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    shape = (1, 3, 1, 1)
    wanted = (x - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    before = x.clone()
    torch.testing.assert_close(Normalise(mean, std)(x), wanted.float())
    assert torch.equal(x, before)
    same = x.float()
    Normalise(mean, std)(same)
    assert torch.equal(same, before.float())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normalise((0.5,), (0.0,)), "above 0"),
        (lambda: Normalise((0.5,), (float("nan"),)), "above 0"),
        (lambda: Normalise((0.5,), (1.0, 1.0)), "for each channel"),
        (
            lambda: Normalise((0.5,), (1.0,))(torch.zeros(2, 3, 4, 4)),
            r"\(batch, 1, height, width\)",
        ),
    ],
)
def test_wrong_statistics_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- what is said and refused -----------------------------------------------------------------


def test_loaders_say_what_they_are():
    loaders = load_digits().loaders(64)
    assert isinstance(loaders, DataLoaders)
    assert repr(loaders) == (
        "DataLoaders(digits; train: 1,437 items in 23 batches of 64;"
        " valid: 360 items in 3 batches of 128)"
    )
    assert loaders.summary().splitlines()[1:] == [
        "train: 1,437 items in 23 batches of 64",
        "valid: 360 items in 3 batches of 128",
        "x: 64 x 1 x 8 x 8, float32",
        "y: 64, int64",
        "10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    ]


def test_drop_last_leaves_whole_batches():
    batches = order(numbers(22).loaders(5, drop_last=True))
    assert [len(batch) for batch in batches] == [5, 5, 5, 5]
    assert len(numbers(22).loaders(22, drop_last=True).train) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(batch_size=0), ValueError, "numbers: batch_size must be at least 1, got 0"),
        (dict(batch_size=-3), ValueError, "batch_size must be at least 1, got -3"),
        (dict(batch_size=6.0), TypeError, "batch_size must be an int, got 6.0"),
        (dict(batch_size=True), TypeError, "batch_size must be an int, got True"),
        (dict(workers=-1), ValueError, "workers must be at least 0, got -1"),
        (dict(seed="1"), TypeError, "seed must be an int, got '1'"),
        (dict(batch_size=23, drop_last=True), ValueError, "22 training items are fewer"),
    ],
)
def test_wrong_numbers_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        numbers(22).loaders(**options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TensorData([1, 2], torch.arange(2)), TypeError, "x must be a tensor, got list"),
        (lambda: TensorData(torch.arange(2), torch.arange(3)), ValueError, "2 items and y 3"),
        (lambda: TensorData(torch.tensor(1), torch.arange(3)), ValueError, "x is one number"),
        (lambda: numbers(0, valid=0), ValueError, "numbers: its train part is empty"),
        (lambda: numbers(3, valid=0), ValueError, "numbers: its valid part is empty"),
        (lambda: numbers(9, epoch_items=0), ValueError, "epoch_items must be at least 1"),
    ],
)
def test_parts_that_are_none_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- digits -----------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn_in_its_own_split():
    from sklearn.datasets import load_digits as original
    from sklearn.model_selection import train_test_split

    x, y = original(return_X_y=True)
    wanted = train_test_split(x, y, test_size=0.2, stratify=y, random_state=5)
    data = load_digits(seed=5)
    for part, pixels, labels in ((data.train, *wanted[0::2]), (data.valid, *wanted[1::2])):
        assert torch.equal(part.x.flatten(1) * 8 + 8, torch.from_numpy(pixels).float())
        assert part.y.tolist() == labels.tolist()


def test_digits_by_writer_are_the_end_of_the_file():
    from sklearn.datasets import load_digits as original

    pixels, labels = original(return_X_y=True)
    data = load_digits(by_writer=True)
    assert (len(data.train), len(data.valid)) == (1437, 360)
    assert data.train.y.tolist() + data.valid.y.tolist() == labels.tolist()
    assert torch.equal(data.valid.x[-1].flatten() * 8 + 8, torch.from_numpy(pixels[-1]).float())
    assert "by other writers" in data.description


# --- by name ----------------------------------------------------------------------------------


def test_a_name_and_options_load_a_data_set():
    assert load_data().description == load_digits(seed=0).description
    assert (
        load_data("digits", by_writer=True).description == load_digits(by_writer=True).description
    )


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("mnits", {}, ValueError, "no data set 'mnits'; did you mean 'mnist'"),
        ("cats", {}, ValueError, f"there are {', '.join(DATA)}"),
        ("digits", dict(sead=1), TypeError, "digits has no option 'sead'; did you mean 'seed'"),
        ("digits", dict(path="here"), TypeError, "takes no path, got 'here'"),
        ("imagefolder", {}, TypeError, "imagefolder needs a folder: path="),
    ],
)
def test_an_unknown_name_or_option_is_refused(name, options, error, message):
    with pytest.raises(error, match=message):
        load_data(name, **options)


def test_no_data_set_takes_anothers_place(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPERS_DATA", str(tmp_path))
    for name in ("mnist", "fashion-mnist", "imagenette"):
        with pytest.raises(FileNotFoundError, match=name):
            load_data(name, download=False)
        with pytest.raises(FileNotFoundError, match=name):
            load_data(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
