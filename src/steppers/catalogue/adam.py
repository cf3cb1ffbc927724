"""Adam and its kin: an average of the gradient over the root of an average of its square."""

from ..optimizer import Optimizer
from ..rules import (
    adam,
    adam_softplus,
    adamax,
    average_grad,
    average_square,
    decay,
    descend,
    l2,
    largest_square,
    lookahead,
    nadam,
    quasi_hyperbolic,
    radam,
    rectification,
    rectified,
)


class Adam(Optimizer):
    """Adam: debiased averages of gradient and square (Kingma & Ba 2014, arXiv:1412.6980).

    Decay is coupled (L2), as torch's; AdamW is the one to start with.
    """

    def steps(amsgrad=False, decoupled_weight_decay=False):
        """Choose how to decay, and AMSGrad's largest second moment."""
        second = (average_square, largest_square) if amsgrad else (average_square,)
        return (decay if decoupled_weight_decay else l2, average_grad, *second, adam, descend)

    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False)


class AdamW(Optimizer):
    """AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101)."""

    def steps(amsgrad=False):
        """AMSGrad adds the largest second moment so far."""
        second = (average_square, largest_square) if amsgrad else (average_square,)
        return (decay, average_grad, *second, adam, descend)

    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False)


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov momentum (Dozat 2016)."""

    def steps(decoupled_weight_decay=False):
        """Choose how to decay."""
        return (
            decay if decoupled_weight_decay else l2,
            average_grad,
            average_square,
            nadam,
            descend,
        )

    defaults = dict(
        lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
        decoupled_weight_decay=False,
    )  # fmt: skip


class RAdam(Optimizer):
    """RAdam: Adam that waits for its variance to settle (Liu et al. 2019, arXiv:1908.03265)."""

    def steps(decoupled_weight_decay=False):
        """Choose how to decay."""
        return (
            decay if decoupled_weight_decay else l2,
            average_grad,
            average_square,
            radam,
            descend,
        )

    defaults = dict(
        lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False
    )


class Ranger(Optimizer):
    """Ranger: RAdam with Lookahead (Wright 2019; Zhang et al. 2019, arXiv:1907.08610)."""

    steps = decay, average_grad, average_square, radam, descend, lookahead
    defaults = dict(lr=1e-3, betas=(0.95, 0.999), eps=1e-5, weight_decay=0.0, k=6, alpha=0.5)
    ranges = dict(alpha="in [0, 1]", k=">= 1")


class QHAdam(Optimizer):
    """QHAdam: Adam whose averages are mixed with the present gradient (Ma & Yarats 2018).

    arXiv:1810.06801. nus of (1, 1) are Adam, (0, 1) RMSprop debiased, (beta1, 1) near NAdam; the
    defaults are the authors' recommendation.
    """

    def steps(decoupled_weight_decay=False):
        """Choose how to decay."""
        return (
            decay if decoupled_weight_decay else l2,
            average_grad,
            average_square,
            quasi_hyperbolic,
            descend,
        )

    defaults = dict(
        lr=1e-3, betas=(0.995, 0.999), nus=(0.7, 1.0), eps=1e-8, weight_decay=0.0,
        decoupled_weight_decay=False,
    )  # fmt: skip


class SAdam(Optimizer):
    """SAdam: Adam over a softplus of the root, which bounds small gradients' rates from above.

    Tong et al. 2019, arXiv:1908.00700. The larger `softplus_beta`, the nearer to Adam; at its
    default of 50 the rate is to be larger than Adam's. `rectify` waits as RAdam does.
    """

    def steps(rectify=False):
        """Choose whether to wait for the variance to settle."""
        waits = (rectification, rectified) if rectify else ()
        return (decay, average_grad, average_square, adam_softplus, *waits, descend)

    defaults = dict(
        lr=1e-1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, softplus_beta=50.0, rectify=False
    )


class Adamax(Optimizer):
    """Adamax: Adam with an infinity norm (Kingma & Ba 2014, arXiv:1412.6980, section 7)."""

    steps = l2, average_grad, adamax, descend
    defaults = dict(lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
