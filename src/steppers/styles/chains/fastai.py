"""fastai's ready-made optimizers: decay first, decoupled unless `decouple_wd=False`."""

from ...optimizer import Optimizer
from ...rules import (
    adam,
    adam_softplus,
    average_grad,
    average_square,
    cap_at_one,
    decay,
    descend,
    heavy_ball,
    l2,
    lars_ratio,
    lookahead,
    mean_square,
    quasi_hyperbolic,
    rectification,
    rectified,
    rms_scaled,
    scaled_direction,
    trust_ratio,
)


def decayed(decouple_wd):
    """Decay ahead of everything: of the parameter, or into the gradient."""
    return decay if decouple_wd else l2


class SGD(Optimizer):
    """Momentum is undampened and starts at the gradient."""

    def steps(momentum=0.0, decouple_wd=True):
        """No momentum, no buffer."""
        return (decayed(decouple_wd), *((heavy_ball,) if momentum else ()), descend)

    defaults = dict(lr=1e-3, momentum=0.0, weight_decay=0.0)


class RMSProp(Optimizer):
    """Momentum of the gradient itself over the root, which nothing debiases."""

    def steps(momentum=0.0, decouple_wd=True):
        """No momentum, no buffer."""
        speed = (heavy_ball,) if momentum else ()
        return (decayed(decouple_wd), *speed, mean_square, rms_scaled, descend)

    defaults = dict(lr=1e-3, alpha=0.99, momentum=0.0, eps=1e-8, weight_decay=0.0)


class Adam(Optimizer):
    """Adam with beta2 of .99 and eps of 1e-5."""

    def steps(decouple_wd=True):
        """Choose how to decay."""
        return (decayed(decouple_wd), average_grad, average_square, adam, descend)

    defaults = dict(lr=1e-3, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01)


class RAdam(Optimizer):
    """RAdam with eps behind the debias; a `softplus_beta` above 0 is SAdam."""

    def steps(softplus_beta=0.0, decouple_wd=True):
        """Choose how to decay, and the denominator."""
        direction = adam_softplus if softplus_beta else adam
        averages = average_grad, average_square
        return (decayed(decouple_wd), *averages, direction, rectification, rectified, descend)

    ranges = dict(softplus_beta="in [0, inf)")
    defaults = dict(lr=1e-3, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0, softplus_beta=0.0)


class QHAdam(Optimizer):
    """QHAdam with both betas at .999."""

    def steps(decouple_wd=True):
        """Choose how to decay."""
        return (decayed(decouple_wd), average_grad, average_square, quasi_hyperbolic, descend)

    defaults = dict(lr=1e-3, betas=(0.999, 0.999), nus=(0.7, 1.0), eps=1e-8, weight_decay=0.0)


class Larc(Optimizer):
    """LARC with the ratio behind the momentum; `clip=False` is LARS."""

    def steps(momentum=0.9, clip=True, decouple_wd=True):
        """Choose momentum, the cap of the rate at lr, and how to decay."""
        speed = (heavy_ball,) if momentum else ()
        ratio = (lars_ratio, cap_at_one) if clip else (lars_ratio,)
        return (decayed(decouple_wd), *speed, *ratio, scaled_direction, descend)

    defaults = dict(
        lr=1e-3, momentum=0.9, trust_coefficient=0.02, eps=1e-8, weight_decay=0.0, clip=True
    )


class Lamb(Optimizer):
    """LAMB with decay outside the trust ratio, which is at most 10."""

    def steps(decouple_wd=True):
        """Choose how to decay."""
        averages = average_grad, average_square
        return (decayed(decouple_wd), *averages, adam, trust_ratio, descend)

    defaults = dict(
        lr=1e-3, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0, trust_clip=10.0
    )  # fmt: skip


class Ranger(Optimizer):
    """RAdam as above, with Lookahead."""

    def steps(decouple_wd=True):
        """Choose how to decay."""
        averages = average_grad, average_square
        waiting = rectification, rectified
        return (decayed(decouple_wd), *averages, adam, *waiting, descend, lookahead)

    ranges = dict(alpha="in [0, 1]", k=">= 1")
    defaults = dict(lr=1e-3, betas=(0.95, 0.99), eps=1e-6, weight_decay=0.01, k=6, alpha=0.5)
