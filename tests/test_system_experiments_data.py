"""The originals' runs on the originals' data, in the forms in which it lies on disks."""

import gzip
import shutil
import struct
import sys
from types import ModuleType

import pytest

from steppers.train.experiments.systems import EXPERIMENTS, Source, campaign, run_experiments
from steppers.train.experiments.systems.sources import original

# --- MNIST and Fashion-MNIST: four files -----------------------------------------------------


def write_idx(folder, name, values, *shape):
    head = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
    (folder / name).write_bytes(head + bytes(values))


@pytest.fixture
def mnist(tmp_path):
    """120 and 20 images in MNIST's files; the pixels of image i are all i."""
    for part, count in (("train", 120), ("t10k", 20)):
        pixels = [i for i in range(count) for _ in range(784)]
        write_idx(tmp_path, f"{part}-images-idx3-ubyte", pixels, count, 28, 28)
        write_idx(tmp_path, f"{part}-labels-idx1-ubyte", [i % 10 for i in range(count)], count)
    return tmp_path


def test_the_course_holds_out_a_sixth_of_the_training_images(mnist):
    result = run_experiments(["mnist-mlp"], Source(mnist))
    run = result.reruns[0].runs[0]
    assert (run.batch_size, run.steps_per_epoch) == (64, 2)
    assert run.data == "mnist: 100 train, the last 20 training images held out"
    assert result.data == run.data and "digits" not in " ".join(result.sentences())


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [("fashion-sgd", 0.28, 0.35), ("fashion-mlp", 0, 1), ("mnist-adam", 0.1307, 0.3081)],
)
def test_bytes_become_what_the_original_fed(mnist, name, mean, std):
    data = original(EXPERIMENTS[name], mnist)
    x, y = data.train.batch([51])
    assert x.unique().tolist() == pytest.approx([(51 / 255 - mean) / std], rel=1e-5)
    assert y.tolist() == [1] and len(data.valid) == 20


def test_the_last_training_images_are_those_held_out(mnist):
    data = original(EXPERIMENTS["mnist-mlp"], mnist)
    x, y = data.valid.batch([0, 19])
    assert x[:, 0, 0, 0].tolist() == pytest.approx([100 / 255, 119 / 255])
    assert y.tolist() == [0, 9] and len(data.train) == 100


@pytest.mark.parametrize("place", [".", "raw", "FashionMNIST/raw"])
def test_gzipped_files_are_found_where_torchvision_puts_them(mnist, tmp_path, place):
    there = tmp_path / "elsewhere" / place
    there.mkdir(parents=True)
    for file in mnist.glob("*ubyte"):
        (there / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    result = run_experiments(["fashion-mlp"], Source(tmp_path / "elsewhere"))
    run = result.reruns[0].runs[0]
    assert run.data == "fashion-mnist: 120 train, the 20 test images held out"
    assert (run.batch_size, run.steps_per_epoch, result.data) == (1024, 1, run.data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def as_page(path):
    path.write_text("<html>404 not found")


def longer(path):
    write_idx(path.parent, path.name, [0] * 121, 121)


def other_class(path):
    write_idx(path.parent, path.name, [10] * 120, 120)


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        ("train-images-idx3-ubyte", cut, "the file is cut off or damaged"),
        ("train-labels-idx1-ubyte", as_page, "is no IDX file"),
        ("train-labels-idx1-ubyte", longer, "has 120 images, but"),
        ("train-labels-idx1-ubyte", other_class, "holds the label 10"),
    ],
)
def test_a_damaged_file_is_named(mnist, run, file, damage, words):
    damage(mnist / file)
    code, out, err = run("experiment", "fashion-mlp", "--data", mnist, "--quiet")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert file in err and words in err


def test_a_file_that_is_not_there_is_named(mnist, run):
    (mnist / "t10k-labels-idx1-ubyte").unlink()
    code, _, err = run("experiment", "fashion-mlp*", "--data", mnist, "--quiet")
    assert code == 2
    assert err.startswith("steppers: fashion-mlp and 1 more: fashion-mnist is not there (")
    assert "no file t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz in" in err


def test_the_other_data_set_under_the_same_names_is_refused(mnist):
    digits = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] * 12  # as MNIST's training labels begin
    write_idx(mnist, "train-labels-idx1-ubyte", digits, 120)
    with pytest.raises(ValueError, match=r"fashion-mnist: the files in .* are those of mnist"):
        original(EXPERIMENTS["fashion-mlp"], mnist)
    assert len(original(EXPERIMENTS["mnist-adam"], mnist).train) == 120


# --- MNIST and Fashion-MNIST: Hugging Face's library -----------------------------------------


class Rows:
    """A split as the library has it: slices give a list by column."""

    def __init__(self, images, labels):
        self.columns = {"image": images, "label": labels}

    def __len__(self):
        return len(self.columns["label"])

    def __getitem__(self, part):
        return {name: values[part] for name, values in self.columns.items()}


def grey(values, size=(28, 28), mode="L"):
    Image = pytest.importorskip("PIL.Image")
    return [Image.new(mode, size, value) for value in values]


@pytest.fixture
def library(monkeypatch):
    """A stand-in for the library, whose functions give `splits` and note what they were given."""
    module = ModuleType("datasets")
    module.read = []
    module.splits = {
        "train": Rows(grey(range(120)), [i % 10 for i in range(120)]),
        "test": Rows(grey(range(20)), [i % 10 for i in range(20)]),
    }

    def reader(name):
        def read(path):
            module.read.append((name, path))
            return module.splits

        return read

    module.load_from_disk, module.load_dataset = reader("saved"), reader("parquet")
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


@pytest.fixture
def saved(tmp_path):
    """A folder that `save_to_disk` wrote to, as far as its form is looked at."""
    place = tmp_path / "fashion_mnist"
    place.mkdir()
    (place / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return place


def test_what_save_to_disk_wrote_is_read(library, saved):
    data = original(EXPERIMENTS["fashion-sgd"], saved)
    x, y = data.train.batch([51, 3])
    assert x.shape == (2, 1, 28, 28) and y.tolist() == [1, 3]
    assert x[:, 0, 5, 5].tolist() == pytest.approx([(v / 255 - 0.28) / 0.35 for v in (51, 3)])
    assert len(data.valid) == 20 and library.read == [("saved", str(saved))]
    original(EXPERIMENTS["fashion-sgd"], saved.parent)  # the folder above it does, too
    assert library.read[1:] == [("saved", str(saved))]


def test_parquet_files_of_the_hub_are_read(library, tmp_path):
    place = tmp_path / "mnist"
    place.mkdir()
    (place / "train-00000-of-00001.parquet").touch()
    data = original(EXPERIMENTS["mnist-mlp"], tmp_path)
    assert library.read == [("parquet", str(place))]
    assert data.description == "mnist: 100 train, the last 20 training images held out"


def test_a_run_on_a_folder_of_the_library(library, saved):
    run = run_experiments(["fashion-mlp"], Source(saved)).reruns[0].runs[0]
    assert run.data == "fashion-mnist: 120 train, the 20 test images held out"


def test_the_library_is_asked_for_where_it_is_not(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="fashion_mnist needs datasets: pip install datasets"):
        original(EXPERIMENTS["fashion-sgd"], saved)


@pytest.mark.parametrize(
    ("part", "rows", "words"),
    [
        ("train", None, "there is no split 'train', only test"),
        ("test", ([0], [0], (32, 32), "L"), "32 x 32 pixels in mode L"),
        ("test", ([0], [0], (28, 28), "RGB"), "28 x 28 pixels in mode RGB"),
        ("test", ([0], [10], (28, 28), "L"), "test has no images, or labels that are not 0 to 9"),
        ("test", ([], [], (28, 28), "L"), "test has no images"),
    ],
)
def test_another_table_is_refused(library, saved, part, rows, words):
    if rows is None:
        del library.splits[part]
    else:
        values, labels, size, mode = rows
        library.splits[part] = Rows(grey(values, size, mode), labels)
    with pytest.raises(ValueError) as caught:
        original(EXPERIMENTS["fashion-sgd"], saved)
    assert str(saved) in str(caught.value) and words in str(caught.value)


def test_a_table_without_labels_is_refused(library, saved):
    del library.splits["test"].columns["label"]
    library.splits["test"].__class__ = type("Bare", (Rows,), {"__len__": lambda _: 20})
    with pytest.raises(ValueError, match="test has no 'label', only image"):
        original(EXPERIMENTS["fashion-sgd"], saved)


def test_what_the_library_cannot_read_is_said(library, saved):
    def fail(path):
        raise RuntimeError("Arrow: bad magic")

    library.load_from_disk = fail
    with pytest.raises(ValueError, match="`datasets` cannot read it: Arrow: bad magic"):
        original(EXPERIMENTS["fashion-sgd"], saved)


# --- Imagenette: folders of JPEG files -------------------------------------------------------


WIDTH, HEIGHT = 180, 160


@pytest.fixture
def photographs(tmp_path):
    """Imagenette as its archive unpacks: JPEG files, one of them grey, a table and a dot file."""
    Image = pytest.importorskip("PIL.Image")
    root = tmp_path / "imagenette2-160"
    for part in ("train", "val"):
        for folder, colour in (("n01440764", (255, 0, 0)), ("n02102040", (0, 0, 255))):
            place = root / part / folder
            place.mkdir(parents=True)
            for number in range(4):
                image = Image.new("RGB", (WIDTH, HEIGHT), colour)
                image.save(place / f"ILSVRC2012_val_{number:08d}.JPEG", quality=95)
    image.convert("L").save(root / "train" / "n02102040" / "n02102040_1.JPEG")
    (root / "noisy_imagenette.csv").write_text("path,noisy_labels_0\n")
    (root / "train" / ".DS_Store").write_bytes(b"\0")
    return tmp_path


def test_photographs_come_in_the_originals_size_normalised_or_not(photographs):
    raw = original(EXPERIMENTS["imagenette-adam"], photographs)
    x, _ = raw.valid.batch([0])
    assert x.shape == (1, 3, 128, 128)
    assert x[0, :, 5, 5].tolist() == pytest.approx([1, 0, 0], abs=0.02)
    normed, _ = original(EXPERIMENTS["imagenette-xresnet34"], photographs).train.batch([0])
    red = [(1 - 0.47) / 0.29, -0.48 / 0.28, -0.45 / 0.30]
    assert normed.shape == (1, 3, 128, 128)
    assert normed[0, :, 5, 5].tolist() == pytest.approx(red, abs=0.08)


def test_held_out_photographs_are_cut_as_the_originals_did(photographs):
    Image = pytest.importorskip("PIL.Image")
    image = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    image.paste((0, 0, 0), (10, 0, WIDTH - 10, HEIGHT))  # a white edge left and right
    first = next((photographs / "imagenette2-160" / "val").rglob("*00000000.JPEG"))
    image.save(first, quality=95)
    edges = {}
    for name in ("imagenette-adam", "imagenette-xresnet34", "imagenette-book-sgd"):
        x, _ = original(EXPERIMENTS[name], photographs).valid.batch([0])
        edges[name] = bool(x[0, 0, 64, 1] > x[0, 0, 64, 64] + 0.5)
    # Squeezed it keeps its edges; the middle 1 / 1.14 and the middle square have none.
    assert edges == {
        "imagenette-adam": True, "imagenette-xresnet34": False, "imagenette-book-sgd": False
    }  # fmt: skip


def test_a_run_on_photographs(photographs):
    result = run_experiments(["imagenette-learner"], Source(photographs))
    run = result.reruns[0].runs[0]
    assert run.batch_size == 64 and len(run.losses) == 1
    assert run.data == "imagenette-160: 9 train / 8 held-out images"


def test_one_folder_may_have_all_data(mnist, photographs):
    place = photographs / "MNIST" / "raw"
    place.mkdir(parents=True)
    for file in mnist.glob("*ubyte"):
        shutil.move(file, place)
    result = run_experiments(["mnist-mlp-slow", "imagenette-sgd-decay"], Source(photographs))
    assert [rerun.experiment.data for rerun in result.reruns] == ["imagenette", "mnist"]


def test_a_damaged_photograph_is_named_and_what_was_done_before_is_kept(photographs, run):
    file = photographs / "imagenette2-160" / "train" / "n01440764" / "ILSVRC2012_val_00000002.JPEG"
    data, done = file.read_bytes(), []

    def damage(result):
        done.append(result)
        file.write_bytes(data[:300])

    with pytest.raises(ValueError, match=r"ILSVRC2012_val_00000002\.JPEG: is damaged or no image"):
        run_experiments(
            ["imagenette-sgd-decay", "imagenette-learner"], Source(photographs), on_result=damage
        )
    assert [len(result.reruns) for result in done] == [1]
    code, out, err = run(
        "experiment", "imagenette-learner", "--data", photographs, "--out", "there", "--quiet"
    )
    assert (code, out, err.count("\n")) == (2, "", 1) and file.name in err


# --- data that is missing --------------------------------------------------------------------


def test_missing_data_is_said_before_anything_is_trained(mnist, monkeypatch):
    trained = []
    monkeypatch.setattr(campaign, "train_one", lambda *args: trained.append(args))
    with pytest.raises(FileNotFoundError) as caught:
        run_experiments(["mnist-mlp", "imagenette-adam"], Source(mnist))
    said = str(caught.value)
    assert said.startswith("imagenette-adam: imagenette is not there (")
    assert "--data" in said and "--stand-in digits" in said
    assert trained == []


def test_all_that_is_missing_is_said_at_once(mnist, run):
    code, _, err = run("experiment", "all", "--data", mnist, "--quiet")
    assert code == 2
    assert "steppers: imagenette-sgd-baseline and 15 more: imagenette is not there (" in err
    (mnist / "train-labels-idx1-ubyte").unlink()
    _, _, err = run("experiment", "all", "--data", mnist, "--quiet")
    for words in ("imagenette-sgd-baseline and 15", "mnist-mlp and 5", "fashion-sgd and 9"):
        assert f"{words} more: " in err


def test_a_download_that_fails_is_missing_data(monkeypatch, tmp_path):
    def fail(remote, folder):
        raise ConnectionError("no route")

    monkeypatch.setattr("steppers.train.data.mnist.fetch", fail)
    with pytest.raises(FileNotFoundError, match=r"fashion-mnist is not there \(no route\)"):
        run_experiments(["fashion-sgd"])
