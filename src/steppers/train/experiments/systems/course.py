"""The runs of fast.ai's course v3, part 2: notebooks 04, 05, 08, 09, 09b, 09c and 11."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...data.imagenette import STATISTICS
from ...data.transforms import RandomFlip
from . import nets, optimizers
from .crops import Middle, RandomResizedCrop
from .experiment import Experiment, Printed, accuracies
from .schedules import cycle, two_cosines

NORMED: Any = (STATISTICS.mean, STATISTICS.std)

photographs = partial(
    Experiment, system="course v3", data="imagenette", net=nets.COURSE, batch_size=128, judges=500
)
once = partial(photographs, page="09", family="course net, 1 epoch", epochs=1)
thrice = partial(photographs, page="09", family="course net, 3 epochs", epochs=3)
small = partial(
    photographs,
    family="course net 32 × 4, 1 epoch",
    net=nets.COURSE_32,
    optimizer=optimizers.COURSE_SGD,
    lr=0.4,
    batch_size=64,
    normalise=NORMED,
)
digits = partial(
    Experiment,
    system="course v3",
    data="mnist",
    net=nets.MLP,
    optimizer=optimizers.TORCH_SGD,
    held_out=1 / 6,
    judges=10_000,
)
annealed = partial(digits, page="05", family="MNIST MLP, 3 epochs", batch_size=512, epochs=3)

EXPERIMENTS = [
    once(
        name="imagenette-sgd-baseline",
        optimizer=optimizers.TORCH_SGD,
        lr=0.4,
        normalise=NORMED,
        printed=[Printed(0.4180, 1.700, 0.3866, 1.765)],
        note="the only run of notebook 09 with normalised inputs",
    ),
    once(
        name="imagenette-sgd-schedule",
        optimizer=optimizers.COURSE_SGD,
        lr=0.4,
        schedule=two_cosines(0.3, 0.3, 0.6, 0.2),
        printed=[Printed(0.4820, 1.589, 0.4011, 1.742)],
        note="the original took 11.2 s, on a GPU",
    ),
    once(
        name="imagenette-sgd-decay",
        optimizer=optimizers.COURSE_SGD_DECAY,
        lr=0.3,
        printed=[Printed(0.3100, 1.947, 0.3537, 1.852)],
    ),
    once(
        name="imagenette-sgd-momentum",
        optimizer=optimizers.COURSE_MOMENTUM,
        lr=0.3,
        printed=[Printed(0.3960, 1.668, 0.3878, 1.793)],
    ),
    thrice(
        name="imagenette-adam",
        optimizer=optimizers.COURSE_ADAM,
        lr=1e-3,
        printed=[
            Printed(0.5320, 1.444, 0.3931, 1.761),
            Printed(0.6260, 1.113, 0.5872, 1.246),
            Printed(0.6720, 0.986, 0.6872, 0.958),
        ],
    ),
    thrice(
        name="imagenette-lamb",
        optimizer=optimizers.COURSE_LAMB,
        lr=3e-3,
        printed=[
            Printed(0.4860, 1.485, 0.3419, 1.873),
            Printed(0.4840, 1.537, 0.5506, 1.355),
            Printed(0.6460, 1.111, 0.6537, 1.062),
        ],
    ),
    photographs(
        name="imagenette-sgd-one-cycle",
        page="08",
        family="course net 64 … 256, 5 epochs",
        net=nets.COURSE_WIDE,
        optimizer=optimizers.TORCH_SGD,
        lr=0.2,
        batch_size=64,
        epochs=5,
        schedule=two_cosines(0.3, 0.1, 0.3, 0.05),
        normalise=NORMED,
        printed=[*accuracies(0.364, 0.616, 0.674, 0.736), Printed(0.736, 0.799)],
    ),
    small(
        name="imagenette-learner",
        page="09b",
        epochs=1,
        printed=[Printed(0.4880, 1.555, 0.3570, 1.831)],
    ),
    small(
        name="imagenette-learner-one-cycle",
        page="09b",
        epochs=1,
        schedule=two_cosines(0.3, 0.2, 0.6, 0.2),
        printed=[Printed(0.3620, 1.776, 0.3378, 1.886)],
    ),
    small(
        name="imagenette-learner-twice",
        page="09c",
        family="course net 32 × 4, 2 epochs",
        epochs=2,
        printed=accuracies(0.3641, 0.4234),
    ),
    photographs(
        name="imagenette-xresnet34",
        page="11",
        family="xresnet34, 5 epochs",
        net=nets.XRESNET,
        optimizer=optimizers.COURSE_ADAM_DECAY,
        lr=1e-2,
        batch_size=64,
        epochs=5,
        schedule=cycle(0.5, 10, 1e5, (0.95, 0.85, 0.95), "beta1"),
        normalise=NORMED,
        smoothing=0.1,
        transforms=(RandomResizedCrop(128, 0.35), RandomFlip()),
        valid_transforms=(Middle(1 / 1.14),),
        printed=accuracies(0.510, 0.514, 0.638, 0.792, 0.824),
    ),
    digits(
        name="mnist-mlp",
        page="04",
        family="MNIST MLP, 1 epoch",
        lr=0.5,
        batch_size=64,
        epochs=1,
        printed=[Printed(0.9372, 0.2194)],
    ),
    digits(
        name="mnist-mlp-runner",
        page="04",
        family="MNIST MLP, 2 epochs",
        lr=0.5,
        batch_size=64,
        epochs=2,
        printed=accuracies(0.9587, 0.9354),
    ),
    annealed(name="mnist-mlp-fast", lr=0.5, printed=accuracies(0.9146, 0.9324, 0.9397)),
    annealed(name="mnist-mlp-slow", lr=0.3, printed=accuracies(0.8969, 0.9107, 0.9218)),
    annealed(
        name="mnist-mlp-schedule",
        lr=0.5,
        schedule=two_cosines(0.3, 0.3, 0.6, 0.2),
        printed=accuracies(0.8999, 0.9319, 0.9400),
    ),
]
