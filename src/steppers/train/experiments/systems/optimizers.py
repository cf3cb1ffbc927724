"""The originals' optimizers as chains of rules, with the settings that their pages had."""

from __future__ import annotations

from typing import Any

import torch

from ....ops import square, zeros
from ....rules import (
    adam,
    adam_early_eps,
    adam_eps_inside,
    average_grad,
    average_momentum,
    average_square,
    decay,
    decayed_direction,
    descend,
    heavy_ball,
    mean_square_from_first,
    rms_scaled,
    trust_ratio,
)
from .experiment import Recipe


def gathered_square(g: Any, square_avg: Any = zeros, *, alpha: float = 0.99) -> dict[str, Any]:
    """The sum of squares that decays, not an average: 1 / (1 - alpha) times its size."""
    gathered = alpha * square_avg + square(g)
    return dict(square_avg=gathered, second=gathered)


# Course v3: p moves first and decays after, but in its plain SGD.
TORCH_SGD = Recipe("torch.optim.SGD", torch_class=torch.optim.SGD)
COURSE_SGD = Recipe("SGD", (decay, descend), dict(weight_decay=0.0))
COURSE_SGD_DECAY = Recipe("SGD, decay", (decay, descend), dict(weight_decay=0.01))
COURSE_MOMENTUM = Recipe(
    "SGD, momentum undampened, then decay",
    (heavy_ball, descend, decay),
    dict(momentum=0.9, weight_decay=0.01),
)
COURSE_ADAM = Recipe(
    "Adam, eps 1e-5, beta2 .99",
    (average_grad, average_square, adam, descend, decay),
    dict(betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0),
)
COURSE_ADAM_DECAY = Recipe(
    "Adam, eps 1e-6, beta2 .99, then decay",
    (average_grad, average_square, adam, descend, decay),
    dict(betas=(0.9, 0.99), eps=1e-6, weight_decay=0.01),
)
# The ratio is 1 on a zero norm, where the original's would be 0 / 0.
COURSE_LAMB = Recipe(
    "LAMB, decay inside, ratio at most 10",
    (average_grad, average_square, adam, decayed_direction, trust_ratio, descend),
    dict(betas=(0.9, 0.99), eps=1e-6, weight_decay=0.0, trust_clip=10.0),
)

# fastai's book, chapter 16. Its RMSProp gathers squares undampened, so that steps are 10 times
# less than an average's would be.
BOOK_ADAM = Recipe(
    "Adam, decay first, not on norms and biases",
    (decay, average_grad, average_square, adam, descend),
    dict(betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01),
    decays_all=False,
)
BOOK_SGD = Recipe("SGD", (descend,))
BOOK_MOMENTUM = Recipe("SGD, momentum undampened", (heavy_ball, descend), dict(momentum=0.9))
BOOK_RMSPROP = Recipe(
    "RMSProp, squares undampened",
    (gathered_square, rms_scaled, descend),
    dict(alpha=0.99, eps=1e-7),
)

# miniai
MINIAI_SGD = Recipe("SGD", (descend,))
MINIAI_MOMENTUM = Recipe("SGD, momentum dampened", (average_momentum, descend), dict(momentum=0.9))
MINIAI_RMSPROP = Recipe(
    "RMSProp, first average g²",
    (mean_square_from_first, rms_scaled, descend),
    dict(alpha=0.99, eps=1e-5),
)
MINIAI_ADAM = Recipe(
    "Adam, eps inside the root",
    (average_grad, average_square, adam_eps_inside, descend),
    dict(betas=(0.9, 0.99), eps=1e-5),
)
TORCH_ADAMW = Recipe("torch.optim.AdamW", torch_class=torch.optim.AdamW)
# Gradients that are multiplied by .85 where others set them to 0 are a heavy ball.
MOMENTUM_LEARNER = Recipe("SGD, gradients kept × .85", (heavy_ball, descend), dict(momentum=0.85))

# labml.ai: eps is added before the debias; its configs set 1e-8.
LABML_ADAM = Recipe(
    "Adam, eps before the debias",
    (average_grad, average_square, adam_early_eps, descend),
    dict(betas=(0.9, 0.999), eps=1e-8),
)
