"""The variance of the gradient around its mean, in place of its square (AdaBelief)."""

from ..ops import maximum, square, zeros


def belief(g, exp_avg, exp_avg_var=zeros, *, beta2=0.999):
    """Average squared distance of the gradient from its new mean (Zhuang et al. 2020)."""
    exp_avg_var = beta2 * exp_avg_var + (1 - beta2) * square(g - exp_avg)
    return dict(exp_avg_var=exp_avg_var, second=exp_avg_var)


def largest_belief(second, max_exp_avg_var=zeros):
    """The largest variance so far in place of the present one."""
    largest = maximum(max_exp_avg_var, second)
    return dict(max_exp_avg_var=largest, second=largest)


def guarded(second, *, eps=1e-16):
    """The second moment plus eps, before the root; a direction adds eps again behind it.

    The sum is not kept, where algorithm 2 of arXiv:2010.07468 lets eps accumulate in the variance
    (to eps / (1 - beta2), which is no more than 1e-13 of the usual 1e-16).
    """
    return dict(second=second + eps)
