"""State that timm's own classes saved, in their form, and get_preds; without timm at hand."""

import pytest
import torch
from small_fastai import quiet

from steppers.styles import timm
from steppers.styles.fastai.training import EarlyStoppingCallback


def one(value=1.0, grad=0.5):
    p = torch.nn.Parameter(torch.full((2,), value, dtype=torch.float64))
    p.grad = torch.full((2,), grad, dtype=torch.float64)
    return p


def test_a_lamb_of_timms_goes_on_at_its_groups_count_and_without_a_clip():
    """m = .9 * .1 + .1 * .5, v = .999 * .01 + .001 * .25, debiased at the fourth step."""
    moments = dict(exp_avg=torch.full((2,), 0.1), exp_avg_sq=torch.full((2,), 0.01))
    group = dict(
        lr=0.1, bias_correction=True, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0,
        grad_averaging=True, max_grad_norm=None, trust_clip=False, always_adapt=False,
        caution=False, decoupled_decay=False, corrected_weight_decay=False, step=3, params=[0],
    )  # fmt: skip
    p = one()
    optimizer = timm.Lamb([p], lr=0.5, max_grad_norm=None)
    optimizer.load_state_dict({"state": {0: moments}, "param_groups": [group]})
    optimizer.step()
    mean = (0.9 * 0.1 + 0.1 * 0.5) / (1 - 0.9**4)
    square = (0.999 * 0.01 + 0.001 * 0.25) / (1 - 0.999**4)
    moved = 1 - 0.1 * mean / (square**0.5 + 1e-6)
    assert p.tolist() == pytest.approx([moved, moved], rel=1e-6)  # its moments are float32
    assert optimizer.state_dict()["param_groups"][0]["step"] == 4


def test_corrected_decay_goes_on_by_the_top_that_timm_saved():
    p = one(grad=0.0)
    optimizer = timm.SGDW([p], lr=0.5, weight_decay=0.1, corrected_weight_decay=True)
    saved = optimizer.state_dict()
    (group,) = saved["param_groups"]
    group = {n: v for n, v in group.items() if n not in ("initial_lr", "max_lr", "chain")}
    saved["param_groups"] = [{**group, "lr": 0.2, "max_lr_snapshot": 0.8}]
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert p.tolist() == pytest.approx([1 - 0.1 * 0.2**2 / 0.8] * 2)


def test_get_preds_leaves_out_what_is_not_wanted(tmp_path):
    learn = quiet()
    preds, targets = learn.get_preds()
    assert preds.shape == targets.shape
    nothing, again = learn.get_preds(with_preds=False)
    assert nothing is None and torch.equal(again, targets)
    found, none = learn.get_preds(with_targs=False)
    assert torch.equal(found, preds) and none is None


def test_a_negative_min_delta_loosens():
    losses = [1.0, 1.05, 1.08, 1.2]  # a tenth worse than the best still counts as better

    class Given(EarlyStoppingCallback):
        def after_epoch(self):
            self.recorder.values[-1][1] = losses[self.epoch]
            super().after_epoch()

    strict, loose = quiet(), quiet()
    strict.fit(4, cbs=Given(monitor="valid_loss", patience=1))
    loose.fit(4, cbs=Given(monitor="valid_loss", patience=1, min_delta=-0.1))
    assert len(strict.recorder.values) == 2
    assert len(loose.recorder.values) == 4
