"""The originals' runs as data: their settings and figures, their nets, optimizers and schedules."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from steppers.train import nets as task_nets
from steppers.train.callbacks.operations import Operations
from steppers.train.callbacks.recorder import Recorder
from steppers.train.experiments.systems import EXPERIMENTS, NAMES, chosen, nets, optimizers
from steppers.train.experiments.systems.crops import Middle, RandomResizedCrop, Square
from steppers.train.experiments.systems.experiment import Span
from steppers.train.learner import Learner

# What the pages printed: name, rate, batch, epochs, then held-out accuracy and loss after each
# epoch, and training accuracy and loss where they stand there.
# fmt: off
PRINTED = [
    ("imagenette-sgd-baseline",     0.4,    128, 1, [.4180], [1.700], [.3866], [1.765]),
    ("imagenette-sgd-schedule",     0.4,    128, 1, [.4820], [1.589], [.4011], [1.742]),
    ("imagenette-sgd-decay",        0.3,    128, 1, [.3100], [1.947], [.3537], [1.852]),
    ("imagenette-sgd-momentum",     0.3,    128, 1, [.3960], [1.668], [.3878], [1.793]),
    ("imagenette-adam",             0.001,  128, 3, [.5320, .6260, .6720], [1.444, 1.113, .986],
                                                     [.3931, .5872, .6872], [1.761, 1.246, .958]),
    ("imagenette-lamb",             0.003,  128, 3, [.4860, .4840, .6460], [1.485, 1.537, 1.111],
                                                     [.3419, .5506, .6537], [1.873, 1.355, 1.062]),
    ("imagenette-sgd-one-cycle",    0.2,     64, 5, [.364, .616, .674, .736, .736],
                                                     [None, None, None, None, .799], [], []),
    ("imagenette-learner",          0.4,     64, 1, [.4880], [1.555], [.3570], [1.831]),
    ("imagenette-learner-one-cycle", 0.4,     64, 1, [.3620], [1.776], [.3378], [1.886]),
    ("imagenette-learner-twice",    0.4,     64, 2, [.3641, .4234], [], [], []),
    ("imagenette-xresnet34",        0.01,    64, 5, [.510, .514, .638, .792, .824], [], [], []),
    ("mnist-mlp",                   0.5,     64, 1, [.9372], [.2194], [], []),
    ("mnist-mlp-runner",            0.5,     64, 2, [.9587, .9354], [], [], []),
    ("mnist-mlp-fast",              0.5,    512, 3, [.9146, .9324, .9397], [], [], []),
    ("mnist-mlp-slow",              0.3,    512, 3, [.8969, .9107, .9218], [], [], []),
    ("mnist-mlp-schedule",          0.5,    512, 3, [.8999, .9319, .9400], [], [], []),
    ("imagenette-book-adam",        0.003,  128, 3, [.3225, .4375, .5949], [], [], []),
    ("imagenette-book-sgd",         0.03,   128, 3, [.2420, .3625, .4089], [], [], []),
    ("imagenette-book-sgd-constant", 0.03,   128, 3, [.3327, .4415, .4454], [], [], []),
    ("imagenette-book-momentum",    0.03,   128, 3, [.2461, .3483, .4189], [], [], []),
    ("imagenette-book-rmsprop",     0.003,  128, 3, [.4025, .5045, .5450], [], [], []),
    ("fashion-sgd",                 0.4,   1024, 3, [.825, .844, .852], [.485, .429, .406], [], []),
    ("fashion-momentum",            1.5,   1024, 3, [.845, .868, .876], [.423, .361, .343], [], []),
    ("fashion-rmsprop",             0.003, 1024, 3, [.818, .844, .853], [.489, .430, .407], [], []),
    ("fashion-adam",                0.006, 1024, 3, [.841, .863, .871], [.431, .376, .349], [], []),
    ("fashion-adamw-cosine",        0.02,  1024, 3, [.858, .874, .883], [.383, .339, .317], [], []),
    ("fashion-adamw-cosine-epochs", 0.02,  1024, 3, [.857, .875, .887], [.382, .339, .307], [], []),
    ("fashion-adamw-one-cycle",     0.06,  1024, 5, [.822, .856, .879, .901, .906],
                               [.546, .413, .333, .279, .267], [None, None, None, None, .924], []),
    ("fashion-momentum-learner",    0.2,    256, 5, [.848, .866, .876, .897, .899], [], [], []),
    ("fashion-mlp",                 0.2,   1024, 1, [.6135], [], [], []),
    ("fashion-mlp-momentum",        0.1,   1024, 1, [.789], [], [], []),
    ("mnist-adam",                  1.5e-4,  64, 10, [], [], [], []),
]
# fmt: on


def test_every_run_is_there():
    assert {row[0] for row in PRINTED} == set(EXPERIMENTS)
    assert set(NAMES) - set(EXPERIMENTS) == {"mnist-adam-speed", "amsgrad-counterexample"}
    assert chosen(["all"]) == list(NAMES)
    assert chosen(["fashion-a*", "mnist-adam"]) == [
        "fashion-adam",
        "fashion-adamw-cosine",
        "fashion-adamw-cosine-epochs",
        "fashion-adamw-one-cycle",
        "mnist-adam",
    ]


@pytest.mark.parametrize("row", PRINTED, ids=[row[0] for row in PRINTED])
def test_settings_and_figures_are_the_pages(row):
    name, lr, batch, epochs, *figures = row
    found = EXPERIMENTS[name]
    assert (found.lr, found.batch_size, found.epochs) == (lr, batch, epochs)
    keys = ("accuracy", "loss", "train_accuracy", "train_loss")
    for key, wanted in zip(keys, figures, strict=True):
        printed = [getattr(one, key) for one in found.printed]
        assert printed == (wanted or [None] * len(printed))
    assert len(found.printed) in (0, epochs)


def test_what_was_normalised_is():
    normed = {name for name, one in EXPERIMENTS.items() if one.normalise is not None}
    stats = ((0.47, 0.48, 0.45), (0.29, 0.28, 0.30))
    course = {"sgd-baseline", "sgd-one-cycle", "xresnet34"}
    course |= {"learner", "learner-one-cycle", "learner-twice"}
    # Of notebook 09 the first run alone: the later ones made their callbacks anew without it.
    assert {name for name in normed if EXPERIMENTS[name].system == "course v3"} == {
        f"imagenette-{name}" for name in course
    }
    for name in course:
        assert EXPERIMENTS[f"imagenette-{name}"].normalise == stats
    assert {name for name in normed if name.startswith("mnist")} == {"mnist-adam"}
    assert EXPERIMENTS["mnist-adam"].normalise == ((0.1307,), (0.3081,))
    raw = {name for name in EXPERIMENTS if name.startswith("fashion") and name not in normed}
    assert raw == {"fashion-mlp", "fashion-mlp-momentum"}
    assert EXPERIMENTS["fashion-adam"].normalise == ((0.28,), (0.35,))
    for name in ("adam", "sgd", "sgd-constant", "momentum", "rmsprop"):
        of_imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        assert EXPERIMENTS[f"imagenette-book-{name}"].normalise == of_imagenet


def test_labels_are_smoothed_in_notebook_11_alone():
    smoothed = {name: one.smoothing for name, one in EXPERIMENTS.items() if one.smoothing}
    assert smoothed == {"imagenette-xresnet34": 0.1}


def test_what_the_originals_were_judged_by():
    for name, one in EXPERIMENTS.items():
        wanted = 500 if one.system == "course v3" else 3_925
        assert one.judges == (wanted if name.startswith("imagenette") else 10_000), name


# --- networks --------------------------------------------------------------------------------

# Weights of convolutions and norms, by hand. torchvision's ResNet-34 has 21,797,672, of which
# 513,000 are its last layer; the course's stem has three convolutions for the one of 7x7.
BODY = 21_797_672 - 513_000
STEM = 64 * 3 * 49 + 128
COURSE_STEM = 9 * (3 * 32 + 32 * 64 + 64 * 64) + 2 * (32 + 64 + 64)
WEIGHTS = {
    "MLP": 784 * 50 + 50 + 50 * 10 + 10,
    "MINIAI": 30_394,
    "LABML": 431_080,
    "COURSE": 432_730,
    "COURSE_WIDE": 9 * (48 + 512 + 2048 + 64 * 64 * 2 + 64 * 128 + 128 * 256)
    + 2 * (16 + 32 + 64 * 3 + 128 + 256)
    + 2570,
    "COURSE_32": 9 * (48 + 512 + 2048 + 64 * 32 + 3 * 32 * 32) + 2 * (16 + 32 + 64 + 4 * 32) + 330,
    "XRESNET": BODY - STEM + COURSE_STEM + 5130,
    "BOOK": BODY + 2 * 1024 + 1024 * 512 + 2 * 512 + 5120,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_nets_have_as_many_weights_as_the_originals(name):
    net = getattr(nets, name)
    assert sum(p.numel() for p in net.make().parameters()) == WEIGHTS[name] == net.weights


def test_nets_take_their_shapes():
    for net in (nets.XRESNET, nets.BOOK, nets.COURSE, nets.MLP):
        channels, side = net.shape[0], net.small
        assert net.make()(torch.rand(2, channels, side, side)).shape == (2, 10)


def test_the_course_net_is_convolution_relu_norm_halved_six_times():
    net = nets.COURSE.make()
    kinds = [nn.Conv2d, nn.ReLU, nn.BatchNorm2d] * 7
    assert [type(layer) for layer in net] == [*kinds, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
    convs = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [16, 32, 64, 32, 64, 128, 256]
    assert [conv.stride for conv in convs] == [(1, 1), *[(2, 2)] * 6]
    assert all(conv.bias is None for conv in convs)
    assert net[:21](torch.rand(2, 3, 128, 128)).shape == (2, 256, 2, 2)


def test_course_convolutions_begin_kaiming_normal_for_a_slope_of_a_tenth():
    net = nets.course_net((256, 256))
    last = [layer for layer in net if isinstance(layer, nn.Conv2d)][-1]
    wanted = math.sqrt(2 / (1.01 * 9 * 256))
    assert last.weight.std().item() == pytest.approx(wanted, rel=0.01)
    linear = net[-1].weight  # as torch has it: uniform up to 1 / sqrt(256)
    assert 0.95 / 16 < linear.abs().max().item() <= 1 / 16


def test_the_books_resnet_begins_by_its_outputs_and_its_head_by_its_inputs():
    net = nets.book_resnet34()
    stem, last = net[0].weight, net[-1].weight
    assert stem.std().item() == pytest.approx(math.sqrt(2 / (49 * 64)), rel=0.03)
    assert last.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.05)


def test_an_xresnet_begins_as_its_shortcuts():
    block = nets.Block(4, 4, 1, pooled=True)
    nn.init.zeros_(block.get_parameter("convs.1.1.weight"))
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(block(x), x)
    zeros = [m for m in nets.xresnet34().modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(not m.weight.any() for m in zeros) == 16


# --- optimizers ------------------------------------------------------------------------------


def sgd(p, g, s, t, lr):
    return p - lr * g


def sgd_decay(p, g, s, t, lr):
    return (1 - lr * 0.01) * p - lr * g


def momentum_then_decay(p, g, s, t, lr):
    s["m"] = 0.9 * s.get("m", 0) + g
    return (p - lr * s["m"]) * (1 - lr * 0.01)


def moments(g, s, t, beta1, beta2):
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    return s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t)


def course_adam(p, g, s, t, lr):
    m, v = moments(g, s, t, 0.9, 0.99)
    return p - lr * m / (v.sqrt() + 1e-5)


def course_adam_decay(p, g, s, t, lr):
    m, v = moments(g, s, t, 0.9, 0.99)
    return (p - lr * m / (v.sqrt() + 1e-6)) * (1 - lr * 0.01)


def course_lamb(p, g, s, t, lr):
    m, v = moments(g, s, t, 0.9, 0.99)
    u = m / (v.sqrt() + 1e-6)
    return p - lr * min(p.norm() / u.norm(), 10) * u


def fastai_adam(p, g, s, t, lr):
    m, v = moments(g, s, t, 0.9, 0.99)
    return p * (1 - lr * 0.01) - lr * m / (v.sqrt() + 1e-5)


def undampened(p, g, s, t, lr):
    s["m"] = 0.9 * s.get("m", 0) + g
    return p - lr * s["m"]


def kept_gradients(p, g, s, t, lr):
    s["g"] = 0.85 * s.get("g", 0) + g
    return p - lr * s["g"]


def book_rmsprop(p, g, s, t, lr):
    s["v"] = 0.99 * s.get("v", 0) + g * g
    return p - lr * g / (s["v"].sqrt() + 1e-7)


def dampened(p, g, s, t, lr):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    return p - lr * s["m"]


def miniai_rmsprop(p, g, s, t, lr):
    s["v"] = 0.99 * s.get("v", g * g) + 0.01 * g * g
    return p - lr * g / (s["v"].sqrt() + 1e-5)


def miniai_adam(p, g, s, t, lr):
    m, v = moments(g, s, t, 0.9, 0.99)
    return p - lr * m / (v + 1e-5).sqrt()


def labml_adam(p, g, s, t, lr):
    moments(g, s, t, 0.9, 0.999)
    scale = math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return p - lr * scale * s["m"] / (s["v"].sqrt() + 1e-8)


FORMULAS = {
    "COURSE_SGD": sgd,
    "COURSE_SGD_DECAY": sgd_decay,
    "COURSE_MOMENTUM": momentum_then_decay,
    "COURSE_ADAM": course_adam,
    "COURSE_ADAM_DECAY": course_adam_decay,
    "COURSE_LAMB": course_lamb,
    "BOOK_ADAM": fastai_adam,
    "BOOK_SGD": sgd,
    "BOOK_MOMENTUM": undampened,
    "BOOK_RMSPROP": book_rmsprop,
    "MINIAI_SGD": sgd,
    "MINIAI_MOMENTUM": dampened,
    "MINIAI_RMSPROP": miniai_rmsprop,
    "MINIAI_ADAM": miniai_adam,
    "MOMENTUM_LEARNER": kept_gradients,
    "LABML_ADAM": labml_adam,
    "TORCH_SGD": sgd,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_optimizers_step_as_the_originals(name):
    start = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    gradients = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p, by_hand, state = nn.Parameter(start.clone()), start.clone(), {}
    optimizer = getattr(optimizers, name).make([p], 0.05)
    for t, g in enumerate(gradients * 0.1, 1):
        p.grad = g.clone()
        optimizer.step()
        by_hand = FORMULAS[name](by_hand, g, state, t, 0.05)
    torch.testing.assert_close(p.detach(), by_hand, rtol=1e-12, atol=1e-12)


def test_fastai_adam_leaves_norms_and_biases_undecayed_and_the_course_does_not():
    from steppers.train.experiments.systems.training import parameters

    model = task_nets.miniai_net()
    for recipe, wanted in (
        (optimizers.BOOK_ADAM, {0.01, 0.0}),
        (optimizers.COURSE_SGD_DECAY, {0.01}),
    ):
        optimizer = recipe.make(parameters(model, recipe), 0.1)
        assert {group["weight_decay"] for group in optimizer.param_groups} == wanted
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert len(held) == len(list(model.parameters()))


# --- schedules -------------------------------------------------------------------------------


def followed(name, epochs, batches, hyper=None):
    """The rates, and another hyper, that a run's schedule sets in a small fit."""
    one = EXPERIMENTS[name]
    model = nn.Linear(2, 2)
    optimizer = one.optimizer.make(model.parameters(), one.lr)
    data = [(torch.rand(3, 2), torch.tensor([0, 1, 0]))] * batches
    learn = Learner(
        model,
        SimpleNamespace(train=data, valid=None),
        lr=one.lr,
        opt_func=optimizer,
        cbs=[Operations(), Recorder(), *one.schedule.callbacks(one.lr, Span(epochs, batches))],
        default_cbs=False,
    )
    learn.fit(epochs)
    history = learn.recorder.hypers
    rates = [rates[-1] for rates in history["lr"]]
    return rates if hyper is None else (rates, [values[-1] for values in history[hyper]])


def up_and_down(position, share, start, high, end):
    """Two cosines by hand."""
    if position < share:
        low, top, place = start, high, position / share
    else:
        low, top, place = high, end, (position - share) / (1 - share)
    return low + (top - low) * (1 - math.cos(math.pi * place)) / 2


@pytest.mark.parametrize(
    ("name", "corners"),
    [
        ("imagenette-sgd-schedule", (0.3, 0.3, 0.6, 0.2)),
        ("mnist-mlp-schedule", (0.3, 0.3, 0.6, 0.2)),
        ("imagenette-sgd-one-cycle", (0.3, 0.1, 0.3, 0.05)),
        ("imagenette-learner-one-cycle", (0.3, 0.2, 0.6, 0.2)),
        ("imagenette-xresnet34", (0.5, 1e-3, 1e-2, 1e-7)),
        ("imagenette-book-adam", (0.25, 3e-3 / 25, 3e-3, 3e-8)),
        ("imagenette-book-sgd", (0.25, 0.03 / 25, 0.03, 3e-7)),
    ],
)
def test_cosines_go_through_the_corners(name, corners):
    wanted = [up_and_down(k / 20, *corners) for k in range(20)]
    assert followed(name, 2, 10) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "hyper", "share"),
    [
        ("imagenette-xresnet34", "beta1", 0.5),
        ("imagenette-book-adam", "beta1", 0.25),
        ("imagenette-book-momentum", "momentum", 0.25),
    ],
)
def test_momentum_goes_the_other_way(name, hyper, share):
    _, found = followed(name, 2, 10, hyper)
    wanted = [up_and_down(k / 20, share, 0.95, 0.85, 0.95) for k in range(20)]
    assert found == pytest.approx(wanted)


def test_torchs_schedules_are_followed_by_batch_and_by_epoch():
    by_batch = [0.02 * (1 + math.cos(math.pi * k / 12)) / 2 for k in range(12)]
    assert followed("fashion-adamw-cosine", 3, 4) == pytest.approx(by_batch)
    by_epoch = [0.02 * (1 + math.cos(math.pi * (k // 4) / 3)) / 2 for k in range(12)]
    assert followed("fashion-adamw-cosine-epochs", 3, 4) == pytest.approx(by_epoch)
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.06)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.06, total_steps=20)
    wanted = list[tuple]()
    for _ in range(20):
        wanted.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        if len(wanted) < 20:
            cycle.step()
    rates, momenta = followed("fashion-adamw-one-cycle", 5, 4, "beta1")
    assert rates == pytest.approx([rate for rate, _ in wanted])
    assert momenta == pytest.approx([beta1 for _, beta1 in wanted])


def test_the_momentum_learner_slows_down_after_three_epochs():
    assert followed("fashion-momentum-learner", 5, 4) == [0.2] * 12 + [0.05] * 8


# --- crops -----------------------------------------------------------------------------------


def test_crops_have_their_share_and_shape():
    torch.manual_seed(0)
    crop = RandomResizedCrop(8, 0.35)
    boxes = [crop.box(200, 100) for _ in range(300)]
    sizes = [(right - left, lower - upper) for left, upper, right, lower in boxes]
    assert all(0 <= x < r <= 200 and 0 <= y < low <= 100 for x, y, r, low in boxes)
    whole = [size for size in sizes if size == (200, 100)]
    for w, h in (size for size in sizes if size != (200, 100)):
        assert 0.34 * 20_000 < w * h <= 20_000 and 0.74 < w / h < 1.36
    assert len({*sizes}) > 100 and len(whole) < 30


def test_crops_of_ratio_1_are_square():
    boxes = [RandomResizedCrop(8, 0.5, ratio=1).box(160, 160) for _ in range(50)]
    sizes = [(right - left, lower - upper) for left, upper, right, lower in boxes]
    assert all(w == h and 113 <= w <= 160 for w, h in sizes)  # sqrt(160 * 160 / 2) = 113.1


def image_of(width, height):
    """A grey image; the pixel in column x and row y is 10 y + x."""
    Image = pytest.importorskip("PIL.Image")
    image = Image.new("L", (width, height))
    image.putdata([10 * y + x for y in range(height) for x in range(width)])
    return image


def test_squares_are_of_the_middle_or_anywhere_along_the_longer_side():
    wide, high = image_of(8, 4), image_of(4, 8)
    assert (Square()(wide).size, Square()(high).size) == ((4, 4), (4, 4))
    assert Square()(wide).getpixel((0, 0)) == 2 and Square()(high).getpixel((0, 0)) == 20
    torch.manual_seed(0)
    corners = {Square(random=True)(wide).getpixel((0, 0)) for _ in range(100)}
    assert corners == {0, 1, 2, 3, 4}


def test_the_middle_leaves_as_much_on_each_side():
    middle = Middle(0.5)(image_of(8, 6))
    assert middle.size == (4, 3) and middle.getpixel((0, 0)) == 10 * 1 + 2
    assert Middle(1)(image_of(8, 6)).size == (8, 6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomResizedCrop(8, 0), r"least must be in (0, 1], got 0"),
        (lambda: RandomResizedCrop(8, 0.5, ratio=0.5), "ratio must be from 1 on, got 0.5"),
        (lambda: Middle(1.5), "share must be in (0, 1], got 1.5"),
    ],
)
def test_crops_refuse_what_is_no_part(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)
