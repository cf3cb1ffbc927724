"""Rules of fast.ai's miniai: eps inside Adam's root, and a mean square that starts at g squared."""

from ..ops import sqrt, square, where, zeros


def adam_eps_inside(exp_avg, second, *, t, beta1=0.9, beta2=0.999, eps=1e-5):
    """Adam's direction with eps added below the root: at a second moment of 0 it is mean/sqrt(eps).

    One eps means different things: outside the root it is a gradient's size, inside its square.
    """
    mean = exp_avg / (1 - beta1**t)
    return dict(u=mean / sqrt(second / (1 - beta2**t) + eps))


def mean_square_from_first(g, square_avg=zeros, *, t, alpha=0.99):
    """Exponential average of the squared gradient whose first value is the first square itself.

    So the first RMSProp step has the size of lr, not that of lr / sqrt(1 - alpha).
    """
    average = where(t == 1, square(g), alpha * square_avg + (1 - alpha) * square(g))
    return dict(square_avg=average, second=average)
