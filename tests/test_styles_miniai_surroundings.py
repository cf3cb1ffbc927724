"""miniai's optimizers among torch's tools, and with parameters and values of every kind."""

import io
import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from steppers.styles.miniai import SGD, Adam, Momentum, RMSProp

KINDS = [SGD, Momentum, RMSProp, Adam]
EACH = pytest.mark.parametrize("kind", KINDS)


def parameter(values, grad, dtype=torch.float64):
    p = torch.tensor(values, dtype=dtype).requires_grad_()
    p.grad = torch.tensor(grad, dtype=dtype)
    return p


def moves(kind, g):
    """The move of a first step at lr .1 from a gradient, by the formulas, in float64."""
    eps = 1e-5
    return {
        SGD: 0.1 * g,
        Momentum: 0.1 * 0.1 * g,
        RMSProp: 0.1 * g / (abs(g) + eps),
        Adam: 0.1 * g / math.sqrt(g * g + eps),
    }[kind]


# --- parameters -----------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_moves_as_the_formula(kind, dtype):
    p = parameter([1.0, -2.0], [0.5, 0.25], dtype)
    kind([p], 0.1).step()
    wanted = torch.tensor([1 - moves(kind, 0.5), -2 - moves(kind, 0.25)], dtype=torch.float64)
    eps = torch.finfo(dtype).eps
    assert p.dtype == dtype and torch.allclose(p.double(), wanted, rtol=4 * eps, atol=4 * eps)


@EACH
def test_complex_parameters_are_their_two_parts(kind):
    p = parameter([1 + 2j], [0.5 - 0.25j], torch.complex128)
    opt, parts = kind([p], 0.1, 0.2), parameter([1.0, 2.0], [0.5, -0.25])
    other = kind([parts], 0.1, 0.2)
    for each in (opt, other, opt, other):
        each.step()
    assert torch.allclose(torch.view_as_real(p.detach())[0], parts.detach(), rtol=1e-14)


@EACH
def test_shapes_without_numbers_and_without_dimensions(kind):
    point, none = parameter(1.0, 0.5), parameter([], [])
    kind([point, none], 0.1).step()
    assert point.item() == pytest.approx(1 - moves(kind, 0.5)) and none.shape == (0,)


@EACH
def test_layouts_that_are_not_contiguous(kind):
    base = torch.ones(4, 6, dtype=torch.float64)
    p = base.t()[:, ::2].requires_grad_()
    p.grad = torch.full((4, 6), 0.5, dtype=torch.float64).t()[:, ::2]
    kind([p], 0.1).step()
    assert torch.allclose(base[::2], torch.full((), 1 - moves(kind, 0.5), dtype=torch.float64))
    assert (base[1::2] == 1).all()


def test_frozen_parameters_stay():
    frozen, p = torch.ones(2), parameter([1.0], [1.0])
    SGD([frozen, p], 0.1, wd=0.5).step()
    assert frozen.tolist() == [1, 1] and p.item() == pytest.approx(1 - 0.05 - 0.1)


@EACH
def test_a_sparse_gradient_is_refused_before_anything_moves(kind):
    p, q = parameter([1.0], [1.0]), parameter([[1.0]], [[1.0]])
    q.grad = q.grad.to_sparse()
    opt = kind([p, q], 0.1)
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        opt.step()
    assert p.item() == 1 and opt.i == 0 and not opt.state


def test_one_or_two_optimizers_of_the_same_parameters_keep_apart():
    p = parameter([1.0], [1.0])
    first, second = Momentum([p], 0.1), Momentum([p], 0.1, mom=0.5)
    first.step()
    second.step()
    assert first.state[p]["grad_avg"].item() == pytest.approx(0.1)
    assert second.state[p]["grad_avg"].item() == 0.5
    assert p.item() == pytest.approx(1 - 0.01 - 0.05)


@EACH
@pytest.mark.parametrize("nothing", [[], (p for p in ())])
def test_no_parameters_are_an_error(kind, nothing):
    with pytest.raises(ValueError, match="empty parameter list"):
        kind(nothing, 0.1)


def test_a_parameter_in_two_groups_is_an_error():
    p = parameter([1.0], [1.0])
    with pytest.raises(ValueError, match="more than one parameter group"):
        SGD([[p], [p]], 0.1)


# --- hyper-parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        (SGD, dict(lr=math.nan), "SGD: lr must be >= 0, got nan"),
        (SGD, dict(lr=0.1, wd=-1), "SGD: wd must be >= 0, got -1"),
        (Momentum, dict(lr=0.1, mom=math.nan), "Momentum: mom must be >= 0, got nan"),
        (RMSProp, dict(lr=0.1, eps=-1e-8), "RMSProp: eps must be >= 0"),
        (Adam, dict(lr=0.1, beta1=1.0), r"Adam: beta1 must be in \[0, 1\), got 1.0"),
        (Adam, dict(lr=0.1, beta2=-0.1), r"Adam: beta2 must be in \[0, 1\), got -0.1"),
    ],
)
def test_a_value_out_of_its_range_is_refused_unless_told(kind, wrong, says):
    with pytest.raises(ValueError, match=says):
        kind([parameter([1.0], [1.0])], **wrong)
    kind([parameter([1.0], [1.0])], **wrong, strict=False)


@pytest.mark.parametrize(
    ("betas", "says"),
    [((0.9, 1.5), "beta2 must be in"), ((0.9,), "betas must be 2 numbers"),
     (0.9, "betas must be 2 numbers, got 0.9")],
)  # fmt: skip
def test_a_groups_betas_are_checked(betas, says):
    with pytest.raises(ValueError, match=says):
        Adam([{"params": [parameter([1.0], [1.0])], "betas": betas}], 0.1)


def test_a_group_may_have_its_own_beta1_which_one_cycle_finds():
    groups = [{"params": [parameter([1.0], [1.0])], "beta1": 0.5},
              {"params": [parameter([1.0], [1.0])]}]  # fmt: skip
    opt = Adam(groups, 0.1)
    assert [g["betas"] for g in opt.param_groups] == [(0.5, 0.99), (0.9, 0.99)]
    assert "beta1" not in opt.param_groups[0] and groups[0]["beta1"] == 0.5
    lr_scheduler.OneCycleLR(opt, 0.5, total_steps=9)
    assert [g["betas"][0] for g in opt.param_groups] == [0.95, 0.95]


def test_attributes_are_checked_when_they_are_set():
    opt = Adam([parameter([1.0], [1.0])], 0.1)
    with pytest.raises(ValueError, match="lr must be >= 0, got -1"):
        opt.lr = -1
    with pytest.raises(ValueError, match=r"beta1 must be in \[0, 1\), got 2"):
        opt.beta1 = 2
    assert (opt.lr, opt.beta1) == (0.1, 0.9)


def test_groups_in_every_form_and_added_late():
    made = [parameter([1.0], [1.0]) for _ in range(4)]
    opt = Momentum([made[:1], (made[1],), (p for p in made[2:3])], [0.1, 0.2, 0.3])
    opt.step()
    opt.add_param_group({"params": made[3], "mom": 0.0})
    opt.step()
    assert [g["lr"] for g in opt.param_groups] == [0.1, 0.2, 0.3, 0.3]
    assert made[3].item() == pytest.approx(1 - 0.3)
    assert made[0].item() == pytest.approx(1 - 0.1 * (0.1 + 0.19))


def test_the_parameters_can_be_replaced_where_there_is_one_group():
    old, new = parameter([1.0], [1.0]), parameter([1.0], [1.0])
    opt = SGD([old], 0.1)
    opt.params = [new]
    opt.step()
    assert (old.item(), new.item()) == (1.0, 0.9)
    with pytest.raises(TypeError, match="params must be tensors"):
        opt.params = [{"params": [new]}]
    two = SGD([[old], [new]], 0.1)
    two.params = [new, old]  # the same ones
    with pytest.raises(ValueError, match="there are 2 groups; set their own lists"):
        two.params = [old]
    assert two.param_lists == [[old], [new]]


def test_an_optimizer_can_be_looked_at():
    p = parameter([1.0, 2.0], [1.0, 1.0])
    opt = Adam([p], 0.1)
    opt.step()
    public = {name for name in dir(opt) if not name.startswith("_")}
    assert {"lr", "wd", "betas", "eps", "i", "params", "opt_step", "reg_step"} <= public
    assert repr(opt).startswith("Adam (") and "betas: (0.9, 0.99)" in repr(opt)
    assert sorted(opt.state[p]) == ["avg", "sqr_avg"]
    assert sorted(opt.param_groups[0]) == ["betas", "eps", "lr", "params", "wd"]


# --- torch's tools --------------------------------------------------------------------------------

SCHEDULERS = {
    "cosine": lambda opt: lr_scheduler.CosineAnnealingLR(opt, 10),
    "lambda": lambda opt: lr_scheduler.LambdaLR(opt, lambda k: 0.9**k),
    "cycle": lambda opt: lr_scheduler.OneCycleLR(opt, 0.5, total_steps=10, cycle_momentum=False),
    "warm restarts": lambda opt: lr_scheduler.CosineAnnealingWarmRestarts(opt, 3),
}


@EACH
@pytest.mark.parametrize("name", SCHEDULERS)
def test_torchs_schedulers_set_the_rate_as_on_torchs_sgd(kind, name):
    p, q = parameter([1.0], [1.0]), parameter([1.0], [1.0])
    opt, torchs = kind([p], 0.1), torch.optim.SGD([q], 0.1)
    pairs = [(each, SCHEDULERS[name](each)) for each in (opt, torchs)]
    for _ in range(8):
        for each, sched in pairs:
            each.step()
            sched.step()
        assert opt.lr == torchs.param_groups[0]["lr"]


def test_a_plateau_lowers_the_rate():
    opt = Adam([parameter([1.0], [1.0])], 0.1)
    sched = lr_scheduler.ReduceLROnPlateau(opt, patience=0)
    for _ in range(3):
        opt.step()
        sched.step(1.0)
    assert opt.lr == pytest.approx(1e-3)


def test_torchs_scaler_skips_a_step_that_overflows_and_its_count():
    p = parameter([1.0], [1.0], torch.float32)
    opt, scaler = Adam([p], 0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((p * 0.5).sum()).backward()
    scaler.unscale_(opt)
    nn.utils.clip_grad_norm_([p], 1.0)
    scaler.step(opt)
    scaler.update()
    assert opt.i == 1
    before = p.detach().clone()
    p.grad = torch.full_like(p, math.inf)
    scaler.step(opt)
    scaler.update()
    assert opt.i == 1 and torch.equal(p.detach(), before)


def test_hooks_are_called_around_a_step():
    opt, calls = SGD([parameter([1.0], [1.0])], 0.1), []
    opt.register_step_pre_hook(lambda *_: calls.append("before"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    opt.step()
    assert calls == ["before", "after"]


def test_a_run_with_a_scheduler_goes_on_from_a_file():
    def made():
        opt = Adam([parameter([1.0], [1.0])], 0.1)
        return opt, lr_scheduler.OneCycleLR(opt, 0.5, total_steps=9)

    first, file = made(), io.BytesIO()
    for _ in range(4):
        first[0].step()
        first[1].step()
    torch.save([part.state_dict() for part in first], file)
    file.seek(0)
    second = made()
    for part, state in zip(second, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    for opt, sched in (first, second):
        for _ in range(3):
            opt.step()
            sched.step()
    assert (first[0].lr, first[0].beta1, first[0].i) == (second[0].lr, second[0].beta1, second[0].i)
    assert torch.equal(first[0].state[first[0].params[0]]["avg"],
                       second[0].state[second[0].params[0]]["avg"])  # fmt: skip


def test_a_state_dict_is_not_changed_nor_shared_by_loading_it():
    opt, other = (Momentum([parameter([1.0], [1.0])], 0.1) for _ in range(2))
    opt.step()
    saved = opt.state_dict()
    other.load_state_dict(saved)
    other.step()
    assert opt.state[opt.params[0]]["grad_avg"].item() == pytest.approx(0.1)
    assert saved["param_groups"][0]["i"] == 1 and "i" not in opt.param_groups[0]
    with pytest.raises(ValueError, match="doesn't match the size"):
        SGD([parameter([1.0], [1.0])] * 1 + [parameter([2.0], [1.0])], 0.1).load_state_dict(saved)


def test_ctrl_c_in_a_step_leaves_the_averages_in_the_optimizer():
    class Stopped(Momentum):
        def opt_step(self, p):
            super().opt_step(p)
            raise KeyboardInterrupt

    p = parameter([1.0], [1.0])
    opt = Stopped([p], 0.1)
    with pytest.raises(KeyboardInterrupt):
        opt.step()
    assert not vars(p) and sorted(opt.state[p]) == ["grad_avg"] and opt.i == 0
    assert opt.lr == 0.1  # the first group's again


@EACH
def test_a_tensor_may_be_the_rate(kind):
    p = parameter([1.0], [0.5])
    kind([p], torch.tensor(0.1, dtype=torch.float64)).step()
    assert p.item() == pytest.approx(1 - moves(kind, 0.5))


def test_the_step_can_be_seen_by_autograds_version_count():
    """Under no_grad, not through .data, which would hide the change from a graph."""
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    kept = (p * p).sum()
    SGD([p], 0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()
