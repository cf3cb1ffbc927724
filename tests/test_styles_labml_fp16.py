"""labml.ai's 16-bit Adam with its scaler, its settings by name, and the page of the style."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from steppers.styles import labml
from steppers.styles.labml import AdamFP16, GradScalerFP16, OptimizerConfigs

PAGES = Path(__file__).parents[1] / "docs" / "systems"


def half(values, grads, dtype=torch.float16):
    p = nn.Parameter(torch.tensor(values, dtype=dtype))
    p.grad = torch.tensor(grads, dtype=dtype)
    return p


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_steps_are_those_of_float32_rounded(dtype):
    p = half([1.0, -2.0, 0.5], [0.25, 0.5, -1.0], dtype)
    q = nn.Parameter(p.detach().float())
    low, full = AdamFP16([p], lr=1e-2), labml.Adam([q], lr=1e-2)
    for step in range(20):
        p.grad = (torch.tensor([0.25, 0.5, -1.0]) * (1 + step % 3)).to(dtype)
        q.grad = p.grad.float()
        low.step()
        full.step()
        assert torch.equal(p, q.detach().to(dtype))
    assert torch.equal(low.state[p]["fp32_copy"], q)


def test_small_steps_add_up_in_the_copy():
    p = half([1.0], [1.0])
    optimizer = AdamFP16([p], lr=1e-5)  # a float16 next to 1 is 1e-3 away
    for _ in range(200):
        optimizer.step()
    assert p.item() == pytest.approx(1 - 2e-3, abs=5e-4)


def test_state_is_float32_and_stays_so_when_loaded():
    p = half([1.0, 2.0], [0.5, 0.5])
    optimizer = AdamFP16([p])
    optimizer.step()
    again = AdamFP16([nn.Parameter(p.detach().clone())])
    again.load_state_dict(optimizer.state_dict())
    (state,) = again.state.values()
    assert set(state) == {"step", "exp_avg", "exp_avg_sq", "fp32_copy"}
    assert {state[n].dtype for n in ("exp_avg", "exp_avg_sq", "fp32_copy")} == {torch.float32}


def test_decay_is_of_the_copy():
    p = half([1.0], [0.0])
    optimizer = AdamFP16([p], lr=1e-2, weight_decay=labml.WeightDecay(1e-3))
    optimizer.step()
    assert optimizer.state[p]["fp32_copy"].item() == pytest.approx(1 - 1e-5, abs=1e-7)
    assert p.item() == 1.0


def test_gradients_of_the_scaler_are_used_once_in_place_of_the_parameters():
    p, q = half([1.0], [0.0]), half([1.0], [1.0])
    optimizer = AdamFP16([p, q], lr=0.1)
    optimizer.grad_fp32[p] = torch.tensor([1.0])
    optimizer.step()
    assert p.item() == q.item() == pytest.approx(0.9, abs=1e-3)
    assert optimizer.grad_fp32 == {}


def scaled(model, optimizer, scaler, x):
    optimizer.zero_grad()
    scaler.scale(model(x).float().square().sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_the_scaler_unscales_in_float32_what_float16_would_lose():
    """A gradient of 1e-8 is 0 in float16; times the scale it is not."""
    p = nn.Parameter(torch.zeros(1, dtype=torch.float16))
    optimizer = AdamFP16([p], lr=0.1, eps=1e-16)
    scaler = GradScalerFP16("cpu", init_scale=2.0**16)
    loss = (p.float() * 1e-8).sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    (unscaled,) = optimizer.grad_fp32.values()
    assert unscaled.dtype == torch.float32
    assert unscaled.item() == pytest.approx(1e-8, rel=1e-3)
    scaler.step(optimizer)
    assert p.item() == pytest.approx(-0.1, abs=1e-3)


def test_training_in_float16_goes_down():
    torch.manual_seed(0)
    model = nn.Linear(4, 2).half()
    x = torch.randn(8, 4).half()
    optimizer, scaler = AdamFP16(model.parameters(), lr=0.05), GradScalerFP16("cpu")
    first = model(x).float().square().sum().item()
    for _ in range(30):
        scaled(model, optimizer, scaler, x)
    assert model(x).float().square().sum().item() < first / 4


def test_a_gradient_that_overflows_skips_the_step_and_lowers_the_scale():
    p = nn.Parameter(torch.ones(2, dtype=torch.float16))
    optimizer = AdamFP16([p])
    scaler = GradScalerFP16("cpu", init_scale=2.0**16)
    scaler.scale((p.float() * torch.tensor([1.0, 1e6])).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 2.0**15


def test_the_scaler_serves_other_optimizers_as_torchs_does():
    p = nn.Parameter(torch.ones(1))
    optimizer, scaler = torch.optim.SGD([p], lr=0.1), GradScalerFP16("cpu")
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    assert p.item() == pytest.approx(0.9)
    low = half([1.0], [1.0])
    scaler = GradScalerFP16("cpu")
    scaler.scale(torch.ones(()))
    with pytest.raises(ValueError, match="FP16"):
        scaler.unscale_(torch.optim.SGD([low], lr=0.1))


# --- settings ----------------------------------------------------------------------------------

NAMES = {
    "SGD": torch.optim.SGD, "Adam": labml.Adam, "AdamW": labml.AdamWarmup, "RAdam": labml.RAdam,
    "AdaBelief": labml.AdaBelief, "Noam": labml.Noam, "Sophia": labml.Sophia,
    "AdamWarmupCosineDecay": labml.AdamWarmupCosineDecay,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_makes_its_optimizer_with_the_common_settings(name):
    configs = OptimizerConfigs()
    configs.parameters = [nn.Parameter(torch.ones(2))]
    configs.optimizer = name
    configs.weight_decay = 0.25
    optimizer = configs.create()
    group = optimizer.param_groups[0]
    assert type(optimizer) is NAMES[name]
    assert (group["lr"], group["weight_decay"]) == (0.01, 0.25)
    found = group["momentum"] if name == "SGD" else (group["betas"], group["eps"])
    assert found == (0.5 if name == "SGD" else ((0.9, 0.999), 1e-8))


def test_adam_with_amsgrad_is_amsgrad():
    configs = OptimizerConfigs(amsgrad=True, parameters=[nn.Parameter(torch.ones(2))])
    optimizer = configs.create()
    assert type(optimizer) is labml.AMSGrad and optimizer.param_groups[0]["amsgrad"]


def test_further_settings_reach_their_optimizer():
    configs = OptimizerConfigs(
        parameters=[nn.Parameter(torch.ones(2))], warmup=7, total_steps=70, d_model=64, rho=0.5,
        weight_decouple=False, optimized_adam_update=False, degenerate_to_sgd=False,
    )  # fmt: skip
    made = {}
    for name in NAMES:
        configs.optimizer = name
        made[name] = configs.create()
    assert made["AdamWarmupCosineDecay"].param_groups[0]["total_steps"] == 70
    assert made["Noam"].param_groups[0]["warmup"] == 7 and made["Noam"].d_model == 64
    assert made["Sophia"].param_groups[0]["rho"] == 0.5
    assert made["RAdam"].degenerated_to_sgd is made["AdaBelief"].degenerated_to_sgd is False
    assert made["AdamW"].optimized_update is False
    assert made["Adam"].weight_decay.weight_decouple is False


def test_defaults_of_the_settings_are_the_originals():
    c = OptimizerConfigs()
    found = (c.learning_rate, c.betas, c.eps, c.momentum, c.warmup, c.weight_decay,
             c.weight_decouple, c.weight_decay_absolute, c.optimized_adam_update)  # fmt: skip
    assert found == (0.01, (0.9, 0.999), 1e-8, 0.5, 2000, 0.0, True, False, True)


def test_misspelt_settings_and_names_are_refused():
    configs = OptimizerConfigs()
    with pytest.raises(AttributeError, match="'learning_rat'; did you mean 'learning_rate'"):
        configs.learning_rat = 0.1
    with pytest.raises(ValueError, match="set parameters"):
        configs.create()
    configs.parameters, configs.optimizer = [nn.Parameter(torch.ones(2))], "AdamB"
    with pytest.raises(ValueError, match="no optimizer is called 'AdamB'; did you mean 'Adam"):
        configs.create()


# --- the MNIST network, and the pages ----------------------------------------------------------


def test_every_optimizer_trains_the_network_of_the_experiment():
    from steppers.train.nets import mnist_net

    torch.manual_seed(0)
    net = mnist_net()
    assert sum(p.numel() for p in net.parameters()) == 431_080
    x, y = torch.randn(8, 1, 28, 28), torch.arange(8)
    optimizer = labml.Adam(net.parameters(), lr=1.5e-4)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_on_the_synthetic_problem_amsgrad_turns_back_where_adam_does_not():
    """f_t(x) = 1010 x at every 101st step, else -10 x, on [-1, 1]; -1 is best on average."""
    ends = {}
    for cls in (labml.Adam, labml.AMSGrad):
        x = nn.Parameter(torch.zeros(()))
        optimizer = cls([x], lr=1e-2, betas=(0.9, 0.99))
        for t in range(1, 6_001):
            x.grad = torch.tensor(1010.0 if t % 101 == 1 else -10.0)
            optimizer.step()
            x.data.clamp_(-1, 1)
        ends[cls] = x.item()
    assert ends[labml.Adam] > 0.9 and -0.1 < ends[labml.AMSGrad] < -0.01


def test_every_test_that_the_page_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (PAGES / "labml.md").read_text("utf-8")))
    files = Path(__file__).parent.glob("test_styles_labml*.py")
    have = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text("utf-8"), re.M)}
    assert len(named) > 40 and named - have == set()


@pytest.mark.parametrize("page", ["labml", "composer_timm"])
def test_the_blocks_of_the_page_run(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text("utf-8"), re.S)
    assert blocks
    code = "\n".join(blocks)
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=False,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
