"""The runs of fastai's book, chapter 16, with the final Optimizer of fastai v2."""

from __future__ import annotations

from functools import partial

from ...data.imagefolder import IMAGENET
from ...data.transforms import RandomFlip
from . import nets, optimizers
from .crops import RandomResizedCrop, Square
from .experiment import Experiment, accuracies
from .schedules import cycle

MOMS = (0.95, 0.85, 0.95)

run = partial(
    Experiment,
    system="fastai book",
    page="chapter 16",
    family="ResNet-34, 3 epochs",
    data="imagenette",
    net=nets.BOOK,
    batch_size=128,
    epochs=3,
    normalise=(IMAGENET.mean, IMAGENET.std),
    judges=3_925,
    transforms=(Square(random=True), RandomResizedCrop(128, 0.5, ratio=1), RandomFlip()),
    valid_transforms=(Square(),),
    note="in float32, and without turning, warping and relighting, which the original did too",
)

EXPERIMENTS = [
    run(
        name="imagenette-book-adam",
        optimizer=optimizers.BOOK_ADAM,
        lr=3e-3,
        schedule=cycle(0.25, 25, 1e5, MOMS, "beta1"),
        printed=accuracies(0.3225, 0.4375, 0.5949),
    ),
    run(
        name="imagenette-book-sgd",
        optimizer=optimizers.BOOK_SGD,
        lr=0.03,
        schedule=cycle(0.25, 25, 1e5, None, ""),
        printed=accuracies(0.2420, 0.3625, 0.4089),
    ),
    run(
        name="imagenette-book-sgd-constant",
        optimizer=optimizers.BOOK_SGD,
        lr=0.03,
        printed=accuracies(0.3327, 0.4415, 0.4454),
    ),
    run(
        name="imagenette-book-momentum",
        optimizer=optimizers.BOOK_MOMENTUM,
        lr=0.03,
        schedule=cycle(0.25, 25, 1e5, MOMS, "momentum"),
        printed=accuracies(0.2461, 0.3483, 0.4189),
    ),
    run(
        name="imagenette-book-rmsprop",
        optimizer=optimizers.BOOK_RMSPROP,
        lr=3e-3,
        schedule=cycle(0.25, 25, 1e5, None, ""),
        printed=accuracies(0.4025, 0.5045, 0.5450),
    ),
]
