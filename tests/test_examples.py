"""The examples run, and show what they say: each by its own command, with --quick."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch

import steppers

FOLDER = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def load(name):
    spec = importlib.util.spec_from_file_location(f"examples_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run an example once: its module, its figures and its folder."""
    done = {}

    def run(name):
        if name not in done:
            module, out = load(name), tmp_path_factory.mktemp(name)
            module.main(["--quick", "--out", str(out)])
            figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
            done[name] = module, figures, out
        return done[name]

    return run


@pytest.mark.parametrize("name", NAMES)
def test_an_example_draws_and_writes_its_figures(name, ran):
    _, figures, out = ran(name)
    pictures = sorted(out.glob("*.png"))
    assert figures
    assert pictures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_says_how_to_run_it(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert f"    python examples/{name}.py" in text.split('"""')[1]
    assert len(text.splitlines()) < 200


# --- momentum --------------------------------------------------------------------------------


def sums(y, beta, seeded, scale):
    """After each value the sum of scale * beta^age * value, and beta^(age + 1) of the seed."""
    ages = torch.arange(len(y), dtype=torch.float64)
    weights = torch.tril(beta ** (ages[:, None] - ages).clamp(min=0)) * scale
    return weights @ y + (beta ** (ages + 1) * y[0] if seeded else 0.0)


@pytest.mark.parametrize("beta", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("data", ["noise", "parabola", "short_parabola"])
def test_the_four_averages_are_weighted_sums(ran, data, beta):
    _, figures, _ = ran("momentum")
    found = figures[data]
    y = torch.tensor(found["y"], dtype=torch.float64)
    from_zero = sums(y, beta, seeded=False, scale=1 - beta)
    to_come = 1 - beta ** torch.arange(1, len(y) + 1, dtype=torch.float64)
    expected = {
        "undampened, from the first value": sums(y, beta, seeded=True, scale=1.0),
        "average, from the first value": sums(y, beta, seeded=True, scale=1 - beta),
        "average, from 0": from_zero,
        "average, from 0, debiased": from_zero / to_come,
    }
    for name, values in expected.items():
        path = torch.tensor(found[name][str(beta)], dtype=torch.float64)
        torch.testing.assert_close(path, values, rtol=1e-12, atol=1e-12)


def test_undampened_momentum_starts_beyond_the_first_value(ran):
    _, figures, _ = ran("momentum")
    first = figures["parabola"]["undampened, from the first value"]["0.9"][0]
    assert first == pytest.approx((1 + 0.9) * 0.5)  # the outlier is 0.5


def test_the_weights_of_an_average_sum_to_one_less_a_power_of_beta(ran):
    module, _, _ = ran("momentum")
    paths = module.averages(torch.ones(30, dtype=torch.float64))
    for beta in module.BETAS:
        powers = 1 - beta ** torch.arange(1, 31, dtype=torch.float64)
        torch.testing.assert_close(paths["average, from 0"][beta], powers)
        torch.testing.assert_close(paths["average, from 0, debiased"][beta], powers**0)


def test_debiasing_mends_the_start_and_high_betas_go_too_far_undampened(ran):
    _, figures, _ = ran("momentum")
    found = figures["parabola"]
    curve = 1 - (torch.tensor(found["x"]) / 3) ** 2
    for beta in ("0.9", "0.99"):
        errors = {
            name: (torch.tensor(found[name][beta]) - curve)[:20].square().mean().sqrt()
            for name in found.keys() - {"x", "y"}
        }
        assert min(errors, key=errors.__getitem__) == "average, from 0, debiased"
    assert max(found["undampened, from the first value"]["0.99"]) > 20 * curve.max()


def test_the_values_are_those_of_the_two_courses(ran):
    _, figures, _ = ran("momentum")
    y, short = (torch.tensor(figures[name]["y"]) for name in ("parabola", "short_parabola"))
    x, short_x = (torch.tensor(figures[name]["x"]) for name in ("parabola", "short_parabola"))
    noise = torch.tensor(figures["noise"]["y"])
    assert (len(noise), len(y), len(short)) == (200, 200, 100)
    assert (x.min(), x.max(), y[0]) == (-4, 4, 0.5)
    assert noise.mean().item() == pytest.approx(0.3, abs=3 / math.sqrt(200))
    for at, value in ((x[1:], y[1:]), (short_x, short)):
        rest = value - (1 - (at / 3) ** 2)
        assert rest.std().item() == pytest.approx(0.1, rel=0.25)


# --- trajectories ----------------------------------------------------------------------------


def test_sgd_in_the_bowl_is_a_geometric_series(ran):
    """At a rate of 0.01 the curvatures 100 and 1 leave 0 and 0.99 of the distance each step."""
    _, figures, _ = ran("trajectories")
    path = torch.tensor(figures["bowl"]["SGD"], dtype=torch.float64)
    axis = torch.tensor([math.cos(0.5), math.sin(0.5)], dtype=torch.float64)
    expected = (path[0] @ axis) * 0.99 ** torch.arange(101, dtype=torch.float64)
    torch.testing.assert_close((path @ axis)[1:], expected[1:])
    torch.testing.assert_close(path[1:].norm(dim=1), expected[1:].abs())


def test_lion_moves_by_its_rate_in_each_coordinate(ran):
    module, figures, _ = ran("trajectories")
    for title, rates in module.RATES.items():
        lion = torch.tensor(figures[title]["Lion"], dtype=torch.float64)
        rate = dict(zip(module.MAKERS, rates, strict=True))["Lion"]
        torch.testing.assert_close(lion.diff(dim=0).abs(), torch.full_like(lion[1:], rate))


@pytest.mark.parametrize("name", ["SGD", "momentum", "RMSprop", "Adam", "Rprop"])
def test_paths_are_those_of_torch(ran, name):
    module, figures, _ = ran("trajectories")
    same = {"momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)}
    problem = module.PROBLEMS["Beale"]
    lr = dict(zip(module.MAKERS, module.RATES["Beale"], strict=True))[name]
    p = torch.nn.Parameter(torch.tensor(problem.start, dtype=torch.float64))
    optimizer = same.get(name, getattr(torch.optim, name, None))([p], lr=lr)
    for _ in range(30):
        optimizer.zero_grad()
        module.beale(*p).backward()
        optimizer.step()
    found = torch.tensor(figures["Beale"][name][30], dtype=torch.float64)
    torch.testing.assert_close(found, p.detach(), rtol=1e-9, atol=1e-9)


def test_the_minima_are_minima(ran):
    module, _, _ = ran("trajectories")
    for problem in module.PROBLEMS.values():
        p = torch.tensor(problem.minimum, dtype=torch.float64, requires_grad=True)
        value = problem.function(*p)
        (slope,) = torch.autograd.grad(value, p)
        assert abs(value.item()) < 1e-12
        assert slope.abs().max() < 1e-12


def test_the_film_moves_and_is_small(ran):
    from PIL import Image

    _, _, out = ran("trajectories")
    path = out / "trajectories.gif"
    with Image.open(path) as film:
        assert film.n_frames >= 5  # the start and four more
    assert path.stat().st_size < 3e6


# --- weight decay ----------------------------------------------------------------------------


def test_decay_is_l2_for_plain_sgd_alone_and_l2_is_a_term_of_the_loss(ran):
    _, figures, _ = ran("weight_decay")
    for name, ways in figures["apart"].items():
        assert max(ways["in the loss"]) < 1e-13, name
        if name == "SGD":
            assert max(ways["decay"]) < 1e-13
        else:
            assert ways["decay"][-1] > 0.1, name


def test_decay_before_a_norm_shrinks_weights_but_no_output_and_raises_the_rate(ran):
    _, figures, _ = ran("weight_decay")
    assert figures["rescaled"] < 1e-9
    none, some, more = (figures["before_a_norm"][wd] for wd in ("0.0", "0.01", "0.05"))
    assert none["norm"][-1] > some["norm"][-1] > more["norm"][-1]
    assert none["rate"][-1] < some["rate"][-1] < more["rate"][-1]
    assert more["rate"] == pytest.approx([0.3 / norm**2 for norm in more["norm"]])
    middle = [sorted(seen["angle"])[len(seen["angle"]) // 2] for seen in (none, some, more)]
    assert middle == sorted(middle)


def test_gradients_before_a_norm_stand_at_right_angles_to_the_weights(ran):
    """So that without decay no step shrinks them, and the first with decay is Pythagoras'."""
    module, figures, _ = ran("weight_decay")
    none, more = (figures["before_a_norm"][wd]["norm"] for wd in ("0.0", "0.05"))
    assert none == sorted(none)
    start = next(module.network().parameters()).detach().square().sum().item()
    kept = (1 - 0.3 * 0.05) ** 2
    assert none[0] ** 2 - more[0] ** 2 == pytest.approx((1 - kept) * start, rel=1e-9)


# --- AMSGrad ---------------------------------------------------------------------------------


def in_double_precision(steps, amsgrad, rate):
    """The path of Adam or AMSGrad as the paper has it, on Python's numbers."""
    x, m, v, largest, path = 0.0, 0.0, 0.0, 0.0, []
    for t in range(1, steps + 1):
        path.append(x)
        g = 1010.0 if t % 101 == 1 else -10.0
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        largest = max(largest, v)
        second = (largest if amsgrad else v) / (1 - 0.99**t)
        x = min(1.0, max(-1.0, x - rate(t) * m / (1 - 0.9**t) / math.sqrt(second)))
    return path


@pytest.mark.parametrize(
    ("name", "amsgrad", "rate"),
    [
        ("Adam", False, lambda t: 1e-2),
        ("AMSGrad", True, lambda t: 1e-2),
        ("AMSGrad, falling rate", True, lambda t: 0.5 / math.sqrt(t)),
    ],
)
def test_the_counter_example_goes_as_in_double_precision(ran, name, amsgrad, rate):
    _, figures, _ = ran("amsgrad")
    path = in_double_precision(figures["steps"], amsgrad, rate)
    assert figures[name]["path"] == pytest.approx(path[::101], abs=1e-3)
    slopes = [1010.0 if t % 101 == 0 else -10.0 for t in range(len(path))]
    regret = sum(g * (x + 1) for g, x in zip(slopes, path, strict=True)) / len(path)
    assert figures[name]["average_regret"] == pytest.approx(regret, abs=1e-2)


def test_adam_goes_to_the_worst_point_and_amsgrad_the_other_way(ran):
    _, figures, _ = ran("amsgrad")
    assert figures["Adam"]["x"] > 0.9
    assert figures["AMSGrad"]["x"] < -0.03
    assert figures["AMSGrad, falling rate"]["x"] < -0.85


def test_eps_does_not_matter_there(ran):
    module, _, _ = ran("amsgrad")
    assert module.play(300)[0] == module.play(300, eps=1e-8)[0]


# --- LAMB, LARS, Lion with a trust ratio -----------------------------------------------------


def take(make, gradients, start, **hypers):
    p = torch.nn.Parameter(start.clone())
    optimizer = make([p], **hypers)
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
    return p.detach()


P = torch.tensor([[3.0, -4.0], [0.0, 0.0]], dtype=torch.float64)
GRADIENTS = [
    torch.tensor(g, dtype=torch.float64)
    for g in ([[0.3, 0.4], [0.0, 0.0]], [[-0.1, 0.2], [0.2, 0.0]])
]


def test_the_five_lines_are_steppers_lamb(ran):
    module, figures, _ = ran("lamb_in_five_lines")
    assert figures["five_lines_from_steppers_LAMB"] < 1e-5
    hypers = dict(lr=0.1, weight_decay=0.1)
    ours, theirs = (take(make, GRADIENTS, P, **hypers) for make in (module.LAMB, steppers.LAMB))
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)


def test_lamb_by_hand(ran):
    """The first direction is the gradient's sign, and decay 0.1 makes (1, 1) of it (1.3, 0.6)."""
    module, _, _ = ran("lamb_in_five_lines")
    u = torch.tensor([1.3, 0.6], dtype=torch.float64)
    expected = P[0] - 0.1 * 5 / math.sqrt(1.3**2 + 0.6**2) * u
    hypers = dict(lr=0.1, weight_decay=0.1, eps=0.0)
    found = take(module.LAMB, [GRADIENTS[0][0]], P[0], **hypers)
    torch.testing.assert_close(found, expected)


def test_lars_by_hand(ran):
    """|p| = 5 and |g| = 0.5: the first ratio is 0.01 * 5 / (0.5 + 0.1 * 5) = 0.05."""
    module, _, _ = ran("lamb_in_five_lines")
    hypers = dict(lr=1.0, momentum=0.9, weight_decay=0.1, trust=0.01)
    buffer = 0.05 * (GRADIENTS[0] + 0.1 * P)
    after = P - buffer
    ratio = 0.01 * after.norm() / (0.3 + 0.1 * after.norm())
    expected = after - (0.9 * buffer + ratio * (GRADIENTS[1] + 0.1 * after))
    torch.testing.assert_close(take(module.LARS, GRADIENTS, P, **hypers), expected)


def test_lion_under_a_trust_ratio_by_hand(ran):
    """The sign of the gradient is (1, 1): norm sqrt(2) against 5."""
    module, _, _ = ran("lamb_in_five_lines")
    expected = P - 0.1 * 5 / math.sqrt(2) * GRADIENTS[0].sign()
    torch.testing.assert_close(take(module.LayerwiseLion, GRADIENTS[:1], P, lr=0.1), expected)


def test_tensors_of_zeros_move_under_each_trust_ratio(ran):
    module, _, _ = ran("lamb_in_five_lines")
    for make in (module.LAMB, module.LARS, module.LayerwiseLion):
        moved = take(make, GRADIENTS[:1], torch.zeros_like(P), lr=0.1)
        assert moved.isfinite().all()
        assert (moved[0] != 0).all()


def test_all_four_learn(ran):
    _, figures, _ = ran("lamb_in_five_lines")
    for name, losses in figures["losses"].items():
        assert sum(losses[-10:]) < 0.6 * sum(losses[:10]), name
    assert all(accuracy > 0.6 for accuracy in figures["accuracies"].values())


# --- a rule of one's own ---------------------------------------------------------------------


def test_the_new_rule_in_its_company_by_hand(ran):
    """Clip, decay, a momentum that restarts at steps 1 and 3, its sign, the mask, the average."""
    module, _, _ = ran("user_rule")
    gradients = [torch.tensor(g, dtype=torch.float64)
                 for g in ([3.0, 4.0, 0.0], [-0.1, 0.2, 0.1], [0.1, -0.2, 0.3])]  # fmt: skip
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = module.RestartingSign([p], lr=0.1, period=2, ema_decay=0.5)
    x = average = p.detach().clone()
    momentum = torch.zeros_like(x)
    for t, g in enumerate(gradients):
        p.grad = g.clone()
        optimizer.step()
        g = g * min(1.0, 1 / (g.norm().item() + 1e-6))
        momentum = g if t % 2 == 0 else 0.9 * momentum + 0.1 * g
        mask = (momentum.sign() * g > 0).double()
        x = x * (1 - 0.1 * 0.1) - 0.1 * momentum.sign() * mask / mask.mean()
        average = 0.5 * average + 0.5 * x
    torch.testing.assert_close(p.detach(), x)
    with optimizer.evaluating():
        torch.testing.assert_close(p.detach(), average)


def test_kahan_keeps_bfloat16_near_float32(ran):
    _, figures, _ = ran("user_rule")
    near, far = (figures[name]["distance"] for name in ("bfloat16, Kahan", "bfloat16"))
    assert 0 < near < 0.7 * far
    stored = ("float32", "bfloat16", "bfloat16, Kahan")
    assert [figures[name]["state_bytes"] for name in stored] == [8, 4, 10]
    for name in stored:
        assert figures[name]["accuracy"] > 0.9, name


@pytest.mark.needs("llvmlite")
def test_the_new_list_of_rules_runs_fused(ran):
    _, figures, out = ran("user_rule")
    source = (out / "source.txt").read_text(encoding="utf-8")
    assert figures["engine"] == "fused"
    assert figures["source_lines"] == source.count("\n") > 100
    assert "define" in source


def test_a_period_of_one_is_refused(ran):
    module, _, _ = ran("user_rule")
    with pytest.raises(ValueError, match=r"RestartingSign: period must be > 1, got 1"):
        module.RestartingSign([torch.nn.Parameter(torch.ones(2))], period=1)
