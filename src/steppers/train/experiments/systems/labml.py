"""labml.ai's MNIST experiment."""

from __future__ import annotations

from . import nets, optimizers
from .experiment import Experiment

EXPERIMENTS = [
    Experiment(
        name="mnist-adam",
        system="labml.ai",
        page="mnist_experiment",
        family="labml.ai net, 10 epochs",
        data="mnist",
        net=nets.LABML,
        optimizer=optimizers.LABML_ADAM,
        lr=1.5e-4,
        batch_size=64,
        epochs=10,
        normalise=((0.1307,), (0.3081,)),
        printed=[],
        judges=10_000,
        note="the original printed no accuracy",
    )
]
