"""Statistics of activations, and the hooks that take them."""

import io
import math

import pytest
import torch
from small_fits import At, make, throw
from torch import nn

from steppers.train.callbacks.activations import ActivationStats, Hook, Hooks
from steppers.train.events import CancelFit


def hooks_on(model):
    return sum(len(module._forward_hooks) for module in model.modules())


class Fixed(nn.Module):
    """A model whose one layer puts out given numbers."""

    def __init__(self, values):
        super().__init__()
        self.values, self.weight = values, nn.Parameter(torch.ones(()))
        self.layer = nn.Identity()

    def forward(self, x):
        return self.layer(self.values * self.weight)


def stats_of(values, filter=None):
    stats = ActivationStats(filter)
    learn = make(stats, train=1, lr=0.0, loss_func=lambda p, y: p.nan_to_num(0, 0, 0).sum())
    learn.model = Fixed(torch.tensor(values))
    learn.fit(1)
    return stats


def test_mean_deviation_histogram_and_dead_share_of_known_outputs():
    stats = stats_of([0.0, 0.1, -0.2, 0.3, -0.6, 9.9, 10.0, 25.0])
    values = torch.tensor([0.0, 0.1, -0.2, 0.3, -0.6, 9.9, 10.0, 25.0], dtype=torch.float64)
    assert stats.names == ["layer"]
    assert stats.means["layer"] == pytest.approx([values.mean().item()])
    assert stats.stds["layer"] == pytest.approx([values.std(correction=0).item()])
    assert stats.dead["layer"] == pytest.approx([3 / 8])
    counts = stats.hists["layer"][0]
    assert counts.shape == (40,)
    assert {i: int(n) for i, n in enumerate(counts) if n} == {0: 3, 1: 1, 2: 1, 39: 3}


def test_what_is_not_finite_is_not_dead():
    stats = stats_of([math.nan, math.inf, -math.inf, 0.0])
    assert stats.dead["layer"] == [0.25]
    assert stats.hists["layer"][0].sum() == 3  # NaN is in no bin
    assert math.isnan(stats.means["layer"][0])


def test_every_training_batch_is_noted_and_no_other():
    stats = ActivationStats()
    learn = make(stats, valid=3)
    learn.fit(2)
    assert stats.names == ["0", "1", "2", "3"]
    assert {len(row) for row in stats.means.values()} == {20}
    learn.validate()
    assert {len(row) for row in stats.means.values()} == {20}
    learn.fit(1)
    assert {len(row) for row in stats.means.values()} == {10}  # anew


def test_numbers_are_those_of_the_layers_outputs():
    stats, seen = ActivationStats(lambda m: isinstance(m, nn.ReLU)), []
    learn = make(stats)
    learn.model[2].register_forward_hook(lambda m, x, out: seen.append(out.detach()))
    learn.fit(1)
    assert stats.names == ["2"]
    assert stats.means["2"] == pytest.approx([x.mean().item() for x in seen])
    assert stats.dead["2"] == pytest.approx([(x < 0.25).float().mean().item() for x in seen])


def test_training_is_not_changed():
    learn, other = make(ActivationStats()), make()
    learn.fit(1)
    other.fit(1)
    for p, q in zip(learn.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, q)


def test_nested_half_and_whole_number_outputs():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.last, self.ids = nn.LSTM(4, 3), nn.Linear(3, 2), nn.Identity()

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                out = self.last(self.rnn(x)[0]).float()
            self.ids(torch.arange(3))
            return out

    stats = ActivationStats()
    learn = make(stats)
    learn.model = Odd()
    learn.fit(1)
    assert len(stats.means["rnn"]) == len(stats.means["last"]) == 10
    assert stats.means["ids"] == []


@pytest.mark.parametrize("event", ["before_batch", "after_predict", "after_loss", "after_batch"])
@pytest.mark.parametrize("error", [CancelFit, ValueError, KeyboardInterrupt])
def test_hooks_are_removed_however_a_fit_ends(event, error):
    learn = make(ActivationStats(), At(event, 3, throw(error())))
    if error is CancelFit:
        learn.fit(1)
    else:
        with pytest.raises(error):
            learn.fit(1)
    assert hooks_on(learn.model) == 0


def test_an_error_in_the_model_removes_the_hooks():
    learn = make(ActivationStats())
    learn.dls.train = [(torch.ones(2, 5), torch.zeros(2, dtype=torch.long))]
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        learn.fit(1)
    assert hooks_on(learn.model) == 0


def test_a_filter_that_leaves_nothing_is_an_error_before_the_fit():
    learn = make(ActivationStats(lambda m: False))
    with pytest.raises(ValueError, match="no module"):
        learn.fit(1)
    with pytest.raises(TypeError, match="must be a function of a module, got 'relu'"):
        ActivationStats("relu")


# --- hooks ---------------------------------------------------------------------------------------


def test_a_hook_is_called_with_itself_until_it_is_removed():
    layer, calls = nn.Linear(2, 3), []
    with Hook(layer, lambda *args: calls.append(args)) as hook:
        out = layer(torch.ones(1, 2))
    layer(torch.ones(1, 2))
    assert len(calls) == 1
    assert calls[0][0] is hook
    assert calls[0][1] is layer
    assert calls[0][3] is out
    hook.remove()  # once more does no harm


def test_hooks_are_a_sequence_and_go_at_the_end_of_a_block():
    model = make().model
    with pytest.raises(KeyError), Hooks(model, lambda *args: None) as hooks:
        assert len(hooks) == 4
        assert [hook.module for hook in hooks] == list(model)
        assert hooks_on(model) == 4
        raise KeyError
    assert hooks_on(model) == 0


def test_hooks_that_cannot_all_be_made_leave_none():
    model = make().model
    with pytest.raises(AttributeError):
        Hooks([*model, 3], lambda *args: None)
    assert hooks_on(model) == 0


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.needs("matplotlib")
def test_pictures_show_every_layer():
    stats = ActivationStats()
    make(stats).fit(1)
    lines = stats.plot_stats().axes[0].get_lines()
    labels = ["0 Linear", "1 BatchNorm1d", "2 ReLU", "3 Linear"]
    assert [line.get_label() for line in lines] == labels
    assert list(lines[2].get_ydata()) == stats.means["2"]
    for figure in (stats.color_dim(), stats.dead_chart()):
        titles = [axes.get_title() for axes in figure.axes]
        assert titles[:4] == labels
    line = stats.dead_chart().axes[2].get_lines()[0]
    assert list(line.get_ydata()) == pytest.approx([100 * x for x in stats.dead["2"]])
    image = stats.color_dim().axes[2].images[0].get_array()
    counts = torch.stack(stats.hists["2"], 1)
    wanted = torch.log1p(1000 * counts / counts.sum(0))
    assert torch.tensor(image.data).allclose(wanted)


@pytest.mark.needs("matplotlib")
@pytest.mark.parametrize("layers", [1, 5])
def test_pictures_of_any_number_of_layers_can_be_saved(layers):
    stats = ActivationStats()
    learn = make(stats, train=3)
    learn.model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers)))
    learn.fit(1)
    for figure in (stats.plot_stats(), stats.color_dim(), stats.dead_chart()):
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=40)
        assert buffer.getvalue()[:4] == b"\x89PNG"


def test_there_is_no_picture_before_a_batch():
    stats = ActivationStats()
    for draw in (stats.plot_stats, stats.color_dim, stats.dead_chart):
        with pytest.raises(RuntimeError, match="nothing to draw"):
            draw()
