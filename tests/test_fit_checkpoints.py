"""Checkpoints of a fit: it goes on with the same bits, and what does not fit changes nothing."""

from types import SimpleNamespace

import crash
import pytest
import torch
from torch import nn

import steppers
from steppers.train.callbacks.accumulation import GradientAccumulation
from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.learner import Learner


def data(count=6):
    made = torch.Generator().manual_seed(0)
    x = torch.randn(count * 8, 4, generator=made)
    pairs = torch.utils.data.TensorDataset(x, x.sum(1).gt(0).long())
    order = torch.Generator().manual_seed(1)
    loader = torch.utils.data.DataLoader(pairs, 8, shuffle=True, generator=order)
    return SimpleNamespace(train=loader, valid=[(x, x.sum(1).gt(0).long())])


def make(width=8, count=6, **options):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 2)
    )
    options = {"lr": 1e-2, "progress": "silent", **options}
    return Learner(model, data(count), **options)


class Stop(Exception):
    pass


class StopAt:
    """Stands for a crash: stops the process's work after a training batch."""

    order = 2000  # after the checkpoint is written

    def __init__(self, batch):
        self.batch = batch

    def after_batch(self, learn):
        if learn.training and learn.train_iter == self.batch:
            raise Stop


def everything(learn):
    return {
        "model": learn.model.state_dict(),
        "opt": learn.opt.state_dict(),
        "recorder": {k: v for k, v in learn.recorder.to_dict().items() if k != "rows"},
        "rows": [{k: v for k, v in row.items() if k != "time"} for row in learn.recorder.rows],
        "random": torch.rand(3),
    }


@pytest.mark.parametrize("stop", [0, 3, 5, 6, 14, 17])
@pytest.mark.parametrize(
    "options",
    [{}, {"cbs": lambda: [GradientAccumulation(4)]}, {"opt_func": torch.optim.Adam},
     {"opt_func": steppers.ScheduleFreeAdamW}],
    ids=["AdamW", "accumulation", "torch Adam", "schedule-free"],
)  # fmt: skip
def test_a_stopped_fit_goes_on_with_the_bits_of_a_whole_one(tmp_path, options, stop):
    options = dict(options)
    extra = options.pop("cbs", list)
    whole = make(cbs=extra(), **options)
    whole.fit_one_cycle(3, 1e-2)
    expected = everything(whole)

    first = make(cbs=extra(), **options)
    with pytest.raises(Stop):
        first.fit_one_cycle(3, 1e-2, cbs=[Checkpoint(tmp_path / "a.pt", 1), StopAt(stop)])
    second = make(cbs=extra(), **options)
    torch.rand(17)  # another state than the first had
    second.fit_one_cycle(3, 1e-2, cbs=Checkpoint(tmp_path / "a.pt", resume=True))
    assert crash.same(everything(second), expected)


def test_a_finished_fit_that_is_resumed_takes_no_step(tmp_path):
    first, second = make(), make()
    first.fit(2, cbs=Checkpoint(tmp_path / "a.pt"))
    second.fit(2, cbs=Checkpoint(tmp_path / "a.pt", resume=True))
    assert crash.same(second.model.state_dict(), first.model.state_dict())
    assert len(second.recorder.rows) == 2


def test_without_resume_a_fit_begins_anew_and_without_a_file_too(tmp_path):
    whole = make()
    whole.fit(1)
    for resume in (True, False):
        learn = make()
        learn.fit(1, cbs=Checkpoint(tmp_path / "a.pt", resume=resume))
        assert crash.same(learn.model.state_dict(), whole.model.state_dict())


@pytest.mark.parametrize(
    ("other", "epochs", "words"),
    [(dict(width=9), 2, "0.weight is (8, 4) there and (9, 4) in Sequential"),
     (dict(opt_func=steppers.Lion), 2, "the checkpoint is of AdamW, the optimizer is Lion"),
     (dict(), 3, "of a fit with n_epochs 2, this one has 3"),
     (dict(count=5), 2, "of a fit with n_iter 6, this one has 5"),
     (dict(default_cbs=False), 2, "has the state of 'Metrics.0', 'Recorder.0'")],
    ids=["model", "optimizer", "epochs", "data", "callbacks"],
)  # fmt: skip
def test_a_checkpoint_of_another_fit_changes_nothing(tmp_path, other, epochs, words):
    make().fit(2, cbs=Checkpoint(tmp_path / "a.pt"))
    learn = make(**other)
    learn.ready()
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    file = (tmp_path / "a.pt").read_bytes()
    with pytest.raises(ValueError) as caught:
        learn.fit(epochs, cbs=Checkpoint(tmp_path / "a.pt", resume=True))
    assert words in str(caught.value) and "a.pt" in str(caught.value)
    assert crash.same(learn.model.state_dict(), before) and not learn.opt.state
    assert (tmp_path / "a.pt").read_bytes() == file


@pytest.mark.parametrize("spoil", ["cut", "garbage", "other"])
def test_a_damaged_file_is_a_value_error(tmp_path, spoil):
    path = tmp_path / "a.pt"
    make().fit(1, cbs=Checkpoint(path))
    whole = path.read_bytes()
    if spoil == "other":
        torch.save({"format": "another"}, path)
    else:
        path.write_bytes(whole[: len(whole) // 2] if spoil == "cut" else b"x" * 100)
    with pytest.raises(ValueError, match=r"a.pt is (damaged|no steppers.fit checkpoint)"):
        make().fit(1, cbs=Checkpoint(path, resume=True))


def test_a_place_that_cannot_be_written_is_an_error_before_the_first_step(tmp_path):
    learn = make()
    (tmp_path / "file").write_text("x")
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    with pytest.raises(ValueError, match="cannot make the folder"):
        learn.fit(1, cbs=Checkpoint(tmp_path / "file" / "a.pt"))
    assert crash.same(learn.model.state_dict(), before)


@pytest.mark.parametrize("every", [0, -1, True])
def test_every_is_a_number_of_batches(every):
    with pytest.raises(ValueError, match="every must be a number of batches from 1 on"):
        Checkpoint("a.pt", every)


def test_five_kills():
    counts = crash.trials(5, show=lambda line: None)
    assert counts["kills"] >= 5 and counts["runs"] >= 2


def test_the_finder_leaves_everything_as_it_was(tmp_path):
    file = tmp_path / "a.pt"
    plain = make()
    plain.fit_one_cycle(2, 1e-2)
    expected = everything(plain)
    found = make(cbs=Checkpoint(file))
    found.lr_find(num_it=20)
    assert not file.exists() and found.recorder.losses == []
    result = found.lr_find(1e-5, 1.0, num_it=30)
    assert len(result.lrs) <= 30 and result.lrs[0] == 1e-5
    found.fit_one_cycle(2, 1e-2)
    assert crash.same(everything(found), expected)
