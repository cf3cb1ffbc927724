"""The runs of fast.ai's course 22 part 2 (miniai): notebooks 09, 11 and 12, on Fashion-MNIST."""

from __future__ import annotations

from functools import partial
from typing import Any

from . import nets, optimizers
from .experiment import Experiment, Printed, accuracies
from .schedules import COSINE_BATCHES, COSINE_EPOCHS, TORCH_CYCLE, then

NORMED: Any = ((0.28,), (0.35,))

clothes = partial(Experiment, system="miniai", data="fashion-mnist", batch_size=1024, judges=10_000)
run = partial(
    clothes, page="12", family="miniai net, 3 epochs", net=nets.MINIAI, epochs=3, normalise=NORMED
)
first = partial(clothes, page="09", family="Fashion MLP, 1 epoch", net=nets.MLP, epochs=1)

EXPERIMENTS = [
    run(
        name="fashion-sgd",
        optimizer=optimizers.MINIAI_SGD,
        lr=0.4,
        printed=[Printed(0.825, 0.485), Printed(0.844, 0.429), Printed(0.852, 0.406)],
    ),
    run(
        name="fashion-momentum",
        optimizer=optimizers.MINIAI_MOMENTUM,
        lr=1.5,
        printed=[Printed(0.845, 0.423), Printed(0.868, 0.361), Printed(0.876, 0.343)],
    ),
    run(
        name="fashion-rmsprop",
        optimizer=optimizers.MINIAI_RMSPROP,
        lr=3e-3,
        printed=[Printed(0.818, 0.489), Printed(0.844, 0.430), Printed(0.853, 0.407)],
    ),
    run(
        name="fashion-adam",
        optimizer=optimizers.MINIAI_ADAM,
        lr=6e-3,
        printed=[Printed(0.841, 0.431), Printed(0.863, 0.376), Printed(0.871, 0.349)],
    ),
    run(
        name="fashion-adamw-cosine",
        optimizer=optimizers.TORCH_ADAMW,
        lr=2e-2,
        schedule=COSINE_BATCHES,
        printed=[Printed(0.858, 0.383), Printed(0.874, 0.339), Printed(0.883, 0.317)],
    ),
    run(
        name="fashion-adamw-cosine-epochs",
        optimizer=optimizers.TORCH_ADAMW,
        lr=2e-2,
        schedule=COSINE_EPOCHS,
        printed=[Printed(0.857, 0.382), Printed(0.875, 0.339), Printed(0.887, 0.307)],
    ),
    run(
        name="fashion-adamw-one-cycle",
        family="miniai net, 5 epochs",
        optimizer=optimizers.TORCH_ADAMW,
        lr=6e-2,
        epochs=5,
        schedule=TORCH_CYCLE,
        printed=[
            Printed(0.822, 0.546),
            Printed(0.856, 0.413),
            Printed(0.879, 0.333),
            Printed(0.901, 0.279),
            Printed(0.906, 0.267, train_accuracy=0.924),
        ],
    ),
    run(
        name="fashion-momentum-learner",
        page="11",
        family="miniai net, 3 + 2 epochs",
        optimizer=optimizers.MOMENTUM_LEARNER,
        lr=0.2,
        batch_size=256,
        epochs=5,
        schedule=then(0.2, 3, 0.05, 2),
        printed=accuracies(0.848, 0.866, 0.876, 0.897, 0.899),
        note="one fit, where the original made a second; the gradients that it kept went on too",
    ),
    first(
        name="fashion-mlp",
        optimizer=optimizers.TORCH_SGD,
        lr=0.2,
        printed=accuracies(0.6135),
        note="run again, the original printed .700",
    ),
    first(
        name="fashion-mlp-momentum",
        optimizer=optimizers.MOMENTUM_LEARNER,
        lr=0.1,
        printed=accuracies(0.789),
    ),
]
