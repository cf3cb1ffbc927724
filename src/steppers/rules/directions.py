"""Directions: rules that turn statistics into the update direction u."""

from ..ops import abs, exp, log, maximum, one, sqrt, square, where, zeros


def adam(exp_avg, second, *, t, beta1=0.9, beta2=0.999, eps=1e-8):
    """Debiased mean over the root of the debiased second moment (Kingma & Ba 2014)."""
    mean = exp_avg / (1 - beta1**t)
    return dict(u=mean / (sqrt(second / (1 - beta2**t)) + eps))


def adam_softplus(
    exp_avg, second, *, t, beta1=0.9, beta2=0.999, eps=1e-8, softplus_beta=50.0
):  # fmt: skip
    """Adam over softplus(root, beta) = log(1 + exp(beta * root)) / beta (Tong et al. 2019).

    arXiv:1908.00700. The rates of elements with small gradients stay below beta / log(2).
    """
    root = softplus_beta * (sqrt(second / (1 - beta2**t)) + eps)
    soft = (root + log(1 + exp(-root))) / softplus_beta  # the same, and exp cannot overflow
    return dict(u=exp_avg / (1 - beta1**t) / soft)


def quasi_hyperbolic(g, exp_avg, second, *, t, beta1=0.9, beta2=0.999, nu1=0.7, nu2=1.0, eps=1e-8):
    """Adam's two averages, each mixed with the present gradient (Ma & Yarats 2018, 1810.06801)."""
    mean = (1 - nu1) * g + nu1 * exp_avg / (1 - beta1**t)
    mean_square = (1 - nu2) * square(g) + nu2 * second / (1 - beta2**t)
    return dict(u=mean / (sqrt(mean_square) + eps))


def nadam(
    g, exp_avg, second, mu_product=one, *, t, beta1=0.9, beta2=0.999, momentum_decay=4e-3, eps=1e-8
):
    """Adam with Nesterov momentum on a schedule (Dozat 2016)."""
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    mu_product = mu_product * mu
    mean = g * ((1 - mu) / (1 - mu_product)) + exp_avg * (mu_next / (1 - mu_product * mu_next))
    return dict(mu_product=mu_product, u=mean / (sqrt(second / (1 - beta2**t)) + eps))


def radam(exp_avg, second, *, t, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam once its second moment can be trusted, plain momentum before (Liu et al. 2019)."""
    mean = exp_avg / (1 - beta1**t)
    unbias = 1 - beta2**t
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / unbias
    rect = sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return dict(u=where(rho > 5, mean * (rect * sqrt(unbias)) / (sqrt(second) + eps), mean))


def adamax(g, exp_avg, exp_inf=zeros, *, t, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam with the largest decayed gradient in place of the second moment (Kingma & Ba 2014)."""
    exp_inf = maximum(beta2 * exp_inf, abs(g) + eps)
    return dict(exp_inf=exp_inf, u=exp_avg / ((1 - beta1**t) * exp_inf))


def adagrad(g, second, *, t, lr_decay=0.0, eps=1e-10):
    """The gradient over the root of the sum of squares (Duchi et al. 2011)."""
    return dict(u=g / (sqrt(second) + eps) / (1 + (t - 1) * lr_decay))


def adadelta(g, square_avg=zeros, acc_delta=zeros, *, rho=0.9, eps=1e-6):
    """Updates in the parameter's own units (Zeiler 2012, arXiv:1212.5701)."""
    square_avg = rho * square_avg + (1 - rho) * square(g)
    delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g
    acc_delta = rho * acc_delta + (1 - rho) * square(delta)
    return dict(square_avg=square_avg, acc_delta=acc_delta, u=delta)


def rms_scaled(u, second, *, eps=1e-8):
    """The gradient, or its momentum, over the root of its second moment, not debiased (RMSprop)."""
    return dict(u=u / (sqrt(second) + eps))
