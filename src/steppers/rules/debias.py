"""Adam's direction with the correction of its bias apart: eps before it, and RAdam's waiting."""

from ..ops import sqrt, where


def adam_early_eps(exp_avg, second, *, t, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam's direction with eps added before the debias (section 2 of arXiv:1412.6980).

    It is `adam` with an eps of eps / sqrt(1 - beta2**t).
    """
    scale = sqrt(1 - beta2**t) / (1 - beta1**t)
    return dict(u=scale * exp_avg / (sqrt(second) + eps))


def rectification(*, t, beta2=0.999):
    """RAdam's factor once rho reaches 5, and 0 before; `radam` has it above 5, as torch."""
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    rect = sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return dict(rect=where(rho >= 5, rect, 0.0))


def rectified(exp_avg, u, rect, *, t, beta1=0.9):
    """The direction times its rectification; the debiased mean while there is none."""
    return dict(u=where(rect > 0, rect * u, exp_avg / (1 - beta1**t)))


def rectified_or_still(u, rect):
    """The direction times its rectification; nothing moves while there is none."""
    return dict(u=where(rect > 0, rect * u, 0.0 * u))
