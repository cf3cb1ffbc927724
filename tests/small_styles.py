"""Two optimizers as a user writes them on the base of the styles, and small parameters."""

import torch

from steppers.styles.base import PerParameter


class Momentum(PerParameter):
    """Undebiased momentum with a count, as a user would write it on the base."""

    def __init__(self, params, lr=0.1, mom=0.9, **options):
        super().__init__(params, dict(lr=lr, mom=mom), **options)
        self.steps = 0

    def update_parameter(self, p, state, group):
        average = state.setdefault("average", torch.zeros_like(p))
        state["count"] = state.get("count", 0) + 1
        average.mul_(group["mom"]).add_(p.grad)
        p.sub_(group["lr"] * average)

    def after_step(self):
        self.steps += 1


class Torchs(PerParameter):
    """A procedure whose hyper-parameters have torch's names."""

    def __init__(self, params, lr=0.1, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    def update_parameter(self, p, state, group):
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * p.grad)


def weights(*values, grad=0.1):
    found = [torch.tensor([float(v)], dtype=torch.float64, requires_grad=True) for v in values]
    for p in found:
        p.grad = torch.full_like(p, grad)
    return found
