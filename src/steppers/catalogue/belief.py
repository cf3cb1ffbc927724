"""Optimizers that trust the gradient where it is near what its mean foretells."""

from ..optimizer import Optimizer
from ..rules import (
    adam,
    adam_early_eps,
    average_grad,
    belief,
    decay,
    descend,
    guarded,
    largest_belief,
    rectification,
    rectified,
    rectified_or_still,
)


class AdaBelief(Optimizer):
    """AdaBelief: Adam by the gradient's variance around its mean (Zhuang et al. 2020).

    arXiv:2010.07468. eps is added before and behind the root. With `rectify` it waits as RAdam
    does, stepping by the mean alone until rho is 5, or not at all without `degenerated_to_sgd`.
    """

    def steps(amsgrad=False, rectify=True, degenerated_to_sgd=True, optimized_update=True):
        """Options of the paper's code; `optimized_update` adds eps before the debias."""
        waiting = rectified if degenerated_to_sgd else rectified_or_still
        return (
            decay,
            average_grad,
            belief,
            *((largest_belief,) if amsgrad else ()),
            guarded,
            adam_early_eps if optimized_update else adam,
            *((rectification, waiting) if rectify else ()),
            descend,
        )

    defaults = dict(
        lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, amsgrad=False, rectify=True,
        degenerated_to_sgd=True, optimized_update=True,
    )  # fmt: skip
