"""Optimizers as people write them, in the forms that `lift` reads, and the loops that run them.

Nothing here knows of steppers: the loops are what the lifted rules are compared with.
"""

import math
from collections import defaultdict

import torch

# --- fastai: callbacks --------------------------------------------------------------------------


def sgd_step(p, lr, **kwargs):
    p.data.add_(p.grad.data, alpha=-lr)


def weight_decay(p, lr, wd, do_wd=True, **kwargs):
    if do_wd and wd != 0:
        p.data.mul_(1 - lr * wd)


weight_decay.defaults = dict(wd=0.0)


def l2_reg(p, lr, wd, do_wd=True, **kwargs):
    if do_wd and wd != 0:
        p.grad.data.add_(p.data, alpha=wd)


l2_reg.defaults = dict(wd=0.0)


def average_grad(p, mom, dampening=False, grad_avg=None, **kwargs):
    if grad_avg is None:
        grad_avg = torch.zeros_like(p.grad.data)
    damp = 1 - mom if dampening else 1.0
    grad_avg.mul_(mom).add_(p.grad.data, alpha=damp)
    return {"grad_avg": grad_avg}


average_grad.defaults = dict(mom=0.9)


def average_sqr_grad(p, sqr_mom, dampening=True, sqr_avg=None, **kwargs):
    if sqr_avg is None:
        sqr_avg = torch.zeros_like(p.grad.data)
    damp = 1 - sqr_mom if dampening else 1.0
    sqr_avg.mul_(sqr_mom).addcmul_(p.grad.data, p.grad.data, value=damp)
    return {"sqr_avg": sqr_avg}


average_sqr_grad.defaults = dict(sqr_mom=0.99)


def momentum_step(p, lr, grad_avg, **kwargs):
    p.data.add_(grad_avg, alpha=-lr)


def rms_prop_step(p, lr, sqr_avg, eps, grad_avg=None, **kwargs):
    denom = sqr_avg.sqrt().add_(eps)
    p.data.addcdiv_(grad_avg if grad_avg is not None else p.grad, denom, value=-lr)


rms_prop_step.defaults = dict(eps=1e-8)


def step_stat(p, step=0, **kwargs):
    step += 1
    return {"step": step}


def debias(mom, damp, step):
    return damp * (1 - mom**step) / (1 - mom)


def adam_step(p, lr, mom, step, sqr_mom, grad_avg, sqr_avg, eps, **kwargs):
    debias1 = debias(mom, 1 - mom, step)
    debias2 = debias(sqr_mom, 1 - sqr_mom, step)
    p.data.addcdiv_(grad_avg, (sqr_avg / debias2).sqrt() + eps, value=-lr / debias1)
    return p


adam_step._defaults = dict(eps=1e-5)


def radam_step(p, lr, mom, step, sqr_mom, grad_avg, sqr_avg, eps, beta, **kwargs):
    debias1 = debias(mom, 1 - mom, step)
    debias2 = debias(sqr_mom, 1 - sqr_mom, step)
    r_inf = 2 / (1 - sqr_mom) - 1
    r = r_inf - 2 * step * sqr_mom**step / (1 - sqr_mom**step)
    if r > 5:
        v = math.sqrt(((r - 4) * (r - 2) * r_inf) / ((r_inf - 4) * (r_inf - 2) * r))
        denom = (sqr_avg / debias2).sqrt()
        if eps:
            denom += eps
        if beta:
            denom = torch.nn.functional.softplus(denom, beta)
        p.data.addcdiv_(grad_avg, denom, value=-lr * v / debias1)
    else:
        p.data.add_(grad_avg, alpha=-lr / debias1)
    return p


radam_step._defaults = dict(eps=1e-5)


def qhadam_step(p, lr, mom, sqr_mom, step, grad_avg, sqr_avg, nu_1, nu_2, eps, **kwargs):
    debias1 = debias(mom, 1 - mom, step)
    debias2 = debias(sqr_mom, 1 - sqr_mom, step)
    numerator = (1 - nu_1) * p.grad.data + nu_1 * (grad_avg / debias1)
    square = (1 - nu_2) * p.grad.data.pow(2) + nu_2 * (sqr_avg / debias2)
    p.data.addcdiv_(numerator, square.sqrt() + eps, value=-lr)
    return p


def larc_layer_lr(p, lr, trust_coeff, wd, eps, clip=True, **kwargs):
    p_norm, g_norm = torch.norm(p.data), torch.norm(p.grad.data)
    local_lr = lr * trust_coeff * p_norm / (g_norm + p_norm * wd + eps)
    return {"local_lr": min(lr, local_lr) if clip else local_lr}


larc_layer_lr.defaults = dict(trust_coeff=0.02, wd=0.0, eps=1e-8)


def larc_step(p, local_lr, grad_avg=None, **kwargs):
    p.data.add_(p.grad.data if grad_avg is None else grad_avg, alpha=-local_lr)


def lamb_step(p, lr, mom, step, sqr_mom, grad_avg, sqr_avg, eps, **kwargs):
    debias1 = debias(mom, 1 - mom, step)
    debias2 = debias(sqr_mom, 1 - sqr_mom, step)
    r1 = p.data.pow(2).mean().sqrt()
    step = (grad_avg / debias1) / ((sqr_avg / debias2).sqrt() + eps)
    r2 = step.pow(2).mean().sqrt()
    q = 1 if r1 == 0 or r2 == 0 else min(r1 / r2, 10)
    p.data.add_(step, alpha=-lr * q)
    return p


class Callbacks:
    """Callbacks in order, parameter by parameter; what they return goes into the state."""

    def __init__(self, groups, cbs, **hypers):
        self.groups, self.cbs, self.state = groups, cbs, defaultdict(dict)
        self.hypers = [dict(hypers) for _ in groups]

    def step(self):
        for params, hyper in zip(self.groups, self.hypers, strict=True):
            for p in params:
                if p.grad is None:
                    continue
                for cb in self.cbs:
                    new = cb(p, **{**self.state[p], **hyper})
                    if isinstance(new, dict):
                        self.state[p].update(new)


# --- the course: stats as objects, and steppers ------------------------------------------------


class Stat:
    _defaults = {}

    def init_state(self, p):
        raise NotImplementedError  # abstract, as in the original form

    def update(self, p, state, **kwargs):
        raise NotImplementedError  # abstract, as in the original form


class AverageGrad(Stat):
    _defaults = dict(mom=0.9)

    def __init__(self, dampening=False):
        self.dampening = dampening

    def init_state(self, p):
        return {"grad_avg": torch.zeros_like(p.grad.data)}

    def update(self, p, state, mom, **kwargs):
        state["mom_damp"] = 1 - mom if self.dampening else 1.0
        state["grad_avg"].mul_(mom).add_(state["mom_damp"], p.grad.data)
        return state


class AverageSqrGrad(Stat):
    _defaults = dict(sqr_mom=0.99)

    def __init__(self, dampening=True):
        self.dampening = dampening

    def init_state(self, p):
        return {"sqr_avg": torch.zeros_like(p.grad.data)}

    def update(self, p, state, sqr_mom, **kwargs):
        state["sqr_damp"] = 1 - sqr_mom if self.dampening else 1.0
        state["sqr_avg"].mul_(sqr_mom).addcmul_(state["sqr_damp"], p.grad.data, p.grad.data)
        return state


class StepCount(Stat):
    def init_state(self, p):
        return {"step": 0}

    def update(self, p, state, **kwargs):
        state["step"] += 1
        return state


def course_adam_step(
    p, lr, mom, mom_damp, step, sqr_mom, sqr_damp, grad_avg, sqr_avg, eps, **kwargs
):
    debias1 = debias(mom, mom_damp, step)
    debias2 = debias(sqr_mom, sqr_damp, step)
    p.data.addcdiv_(-lr / debias1, grad_avg, (sqr_avg / debias2).sqrt() + eps)
    return p


course_adam_step._defaults = dict(eps=1e-5)


def course_lamb_step(
    p, lr, mom, mom_damp, step, sqr_mom, sqr_damp, grad_avg, sqr_avg, eps, wd, **kwargs
):
    debias1 = debias(mom, mom_damp, step)
    debias2 = debias(sqr_mom, sqr_damp, step)
    r1 = p.data.pow(2).mean().sqrt()
    step = (grad_avg / debias1) / ((sqr_avg / debias2).sqrt() + eps) + wd * p.data
    r2 = step.pow(2).mean().sqrt()
    p.data.add_(-lr * min(r1 / r2, 10), step)
    return p


course_lamb_step._defaults = dict(eps=1e-6, wd=0.0)


def course_momentum_step(p, lr, grad_avg, **kwargs):
    p.data.add_(-lr, grad_avg)
    return p


def course_weight_decay(p, lr, wd, **kwargs):
    p.data.mul_(1 - lr * wd)
    return p


course_weight_decay._defaults = dict(wd=0.0)


class StatsAndSteppers:
    """Stats, then steppers, parameter by parameter."""

    def __init__(self, groups, stats, steppers, **hypers):
        self.groups, self.stats, self.steppers = groups, stats, steppers
        self.hypers = [dict(hypers) for _ in groups]
        self.state = {}

    def step(self):
        for params, hyper in zip(self.groups, self.hypers, strict=True):
            for p in params:
                if p.grad is None:
                    continue
                if p not in self.state:
                    self.state[p] = {}
                    for stat in self.stats:
                        self.state[p] = {**stat.init_state(p), **self.state[p]}
                state = self.state[p]
                for stat in self.stats:
                    state = stat.update(p, state, **hyper)
                for stepper in self.steppers:
                    stepper(p, **state, **hyper)
                self.state[p] = state


# --- the first draft: stats as functions of the state ------------------------------------------


def draft_average_grad(state, p, mom, **kwargs):
    if "grad_avg" not in state:
        state["grad_avg"] = torch.zeros_like(p.grad.data)
    state["grad_avg"].mul_(mom).add_(p.grad.data)
    return state


class DraftStats(StatsAndSteppers):
    def step(self):
        for params, hyper in zip(self.groups, self.hypers, strict=True):
            for p in params:
                if p.grad is not None:
                    state = self.state.setdefault(p, {})
                    for stat in self.stats:
                        state = stat(state, p, **hyper)
                    for stepper in self.steppers:
                        stepper(p, **state, **hyper)


# --- miniai: classes with opt_step and reg_step -------------------------------------------------


class SGD:
    def __init__(self, params, lr, wd=0.0):
        self.params, self.lr, self.wd = list(params), lr, wd
        self.i = 0

    def step(self):
        with torch.no_grad():
            for p in self.params:
                self.reg_step(p)
                self.opt_step(p)
        self.i += 1

    def opt_step(self, p):
        p -= p.grad * self.lr

    def reg_step(self, p):
        if self.wd != 0:
            p *= 1 - self.lr * self.wd


class Momentum(SGD):
    def __init__(self, params, lr, wd=0.0, mom=0.9):
        super().__init__(params, lr=lr, wd=wd)
        self.mom = mom

    def opt_step(self, p):
        if not hasattr(p, "grad_avg"):
            p.grad_avg = torch.zeros_like(p.grad)
        p.grad_avg = p.grad_avg * self.mom + p.grad * (1 - self.mom)
        p -= self.lr * p.grad_avg


class RMSProp(SGD):
    def __init__(self, params, lr, wd=0.0, sqr_mom=0.99, eps=1e-5):
        super().__init__(params, lr=lr, wd=wd)
        self.sqr_mom, self.eps = sqr_mom, eps

    def opt_step(self, p):
        if not hasattr(p, "sqr_avg"):
            p.sqr_avg = p.grad**2
        p.sqr_avg = p.sqr_avg * self.sqr_mom + p.grad**2 * (1 - self.sqr_mom)
        p -= self.lr * p.grad / (p.sqr_avg.sqrt() + self.eps)


class Adam(SGD):
    def __init__(self, params, lr, wd=0.0, beta1=0.9, beta2=0.99, eps=1e-5):
        super().__init__(params, lr=lr, wd=wd)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def opt_step(self, p):
        if not hasattr(p, "avg"):
            p.avg = torch.zeros_like(p.grad.data)
        if not hasattr(p, "sqr_avg"):
            p.sqr_avg = torch.zeros_like(p.grad.data)
        p.avg = self.beta1 * p.avg + (1 - self.beta1) * p.grad
        unbias_avg = p.avg / (1 - (self.beta1 ** (self.i + 1)))
        p.sqr_avg = self.beta2 * p.sqr_avg + (1 - self.beta2) * (p.grad**2)
        unbias_sqr_avg = p.sqr_avg / (1 - (self.beta2 ** (self.i + 1)))
        p -= self.lr * unbias_avg / (unbias_sqr_avg + self.eps).sqrt()


# --- labml: a template with init_state and step_param -------------------------------------------


class WeightDecay:
    def __init__(self, weight_decay=0.0, weight_decouple=True, absolute=False):
        self.weight_decay = weight_decay
        self.weight_decouple, self.absolute = weight_decouple, absolute

    def defaults(self):
        return dict(weight_decay=self.weight_decay)

    def __call__(self, param, grad, group):
        if self.weight_decouple:
            if self.absolute:
                param.data.mul_(1.0 - group["weight_decay"])
            else:
                param.data.mul_(1.0 - group["lr"] * group["weight_decay"])
            return grad
        if group["weight_decay"] != 0:
            return grad.add(param.data, alpha=group["weight_decay"])
        return grad


class GenericAdaptive(torch.optim.Optimizer):
    def __init__(self, params, defaults, lr, betas, eps):
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(params, {**defaults, "lr": lr, "betas": betas, "eps": eps})

    def init_state(self, state, group, param):
        raise NotImplementedError  # abstract, as in the original form

    def step_param(self, state, group, grad, param):
        raise NotImplementedError  # abstract, as in the original form

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                grad = param.grad.data
                if grad.is_sparse:
                    raise RuntimeError("use SparseAdam")
                state = self.state[param]
                if len(state) == 0:
                    self.init_state(state, group, param)
                self.step_param(state, group, grad, param)
        return loss


class LabAdam(GenericAdaptive):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-16,
                 weight_decay=None, optimized_update=True, defaults=None):  # fmt: skip
        self_decay = weight_decay or WeightDecay()
        super().__init__(params, {**(defaults or {}), **self_decay.defaults()}, lr, betas, eps)
        self.weight_decay, self.optimized_update = self_decay, optimized_update

    def init_state(self, state, group, param):
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)

    def get_mv(self, state, group, grad):
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.mul_(beta1).add_(grad, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        return m, v

    def get_lr(self, state, group):
        return group["lr"]

    def adam_update(self, state, group, param, m, v):
        beta1, beta2 = group["betas"]
        bias_correction1 = 1 - beta1 ** state["step"]
        bias_correction2 = 1 - beta2 ** state["step"]
        lr = self.get_lr(state, group)
        if self.optimized_update:
            denominator = v.sqrt().add_(group["eps"])
            step_size = lr * math.sqrt(bias_correction2) / bias_correction1
            param.data.addcdiv_(m, denominator, value=-step_size)
        else:
            denominator = (v.sqrt() / math.sqrt(bias_correction2)).add_(group["eps"])
            param.data.addcdiv_(m, denominator, value=-lr / bias_correction1)

    def step_param(self, state, group, grad, param):
        grad = self.weight_decay(param, grad, group)
        m, v = self.get_mv(state, group, grad)
        state["step"] += 1
        self.adam_update(state, group, param, m, v)


class AMSGrad(LabAdam):
    def __init__(self, params, amsgrad=True, defaults=None, **kwargs):
        super().__init__(params, defaults={**(defaults or {}), "amsgrad": amsgrad}, **kwargs)

    def init_state(self, state, group, param):
        super().init_state(state, group, param)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.preserve_format)

    def get_mv(self, state, group, grad):
        m, v = super().get_mv(state, group, grad)
        if group["amsgrad"]:
            torch.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
            return m, state["max_exp_avg_sq"]
        return m, v


class RAdam(AMSGrad):
    def __init__(self, params, amsgrad=False, degenerated_to_sgd=True, eps=1e-8, **kwargs):
        self.degenerated_to_sgd = degenerated_to_sgd
        super().__init__(params, amsgrad=amsgrad, eps=eps, **kwargs)

    def step_param(self, state, group, grad, param):
        grad = self.weight_decay(param, grad, group)
        m, v = self.get_mv(state, group, grad)
        state["step"] += 1
        self.r_adam_update(state, group, param, m, v)

    @staticmethod
    def calc_rectification_term(beta2, step):
        beta2_t = beta2**step
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * step * beta2_t / (1 - beta2_t)
        if rho >= 5:
            r2 = (rho - 4) / (rho_inf - 4) * (rho - 2) / rho * rho_inf / (rho_inf - 2)
            return math.sqrt(r2)
        return None

    def r_adam_update(self, state, group, param, m, v):
        beta1, beta2 = group["betas"]
        bias_correction1 = 1 - beta1 ** state["step"]
        bias_correction2 = 1 - beta2 ** state["step"]
        r = self.calc_rectification_term(beta2, state["step"])
        lr = self.get_lr(state, group)
        if r is not None:
            if self.optimized_update:
                denominator = v.sqrt().add_(group["eps"])
                step_size = lr * math.sqrt(bias_correction2) * r / bias_correction1
                param.data.addcdiv_(m, denominator, value=-step_size)
            else:
                denominator = (v.sqrt() / math.sqrt(bias_correction2)).add_(group["eps"])
                param.data.addcdiv_(m, denominator, value=-lr * r / bias_correction1)
        elif self.degenerated_to_sgd:
            param.data.add_(m, alpha=-lr / bias_correction1)


class AdaBelief(RAdam):
    def __init__(self, params, rectify=True, eps=1e-16, **kwargs):
        self.rectify = rectify
        super().__init__(params, eps=eps, **kwargs)

    def init_state(self, state, group, param):
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["exp_avg_var"] = torch.zeros_like(param, memory_format=torch.preserve_format)

    def get_ms(self, state, group, grad):
        beta1, beta2 = group["betas"]
        m, s = state["exp_avg"], state["exp_avg_var"]
        m.mul_(beta1).add_(grad, alpha=1 - beta1)
        grad_residual = grad - m
        s.mul_(beta2).addcmul_(grad_residual, grad_residual, value=1 - beta2)
        return m, s.add(group["eps"])

    def step_param(self, state, group, grad, param):
        grad = self.weight_decay(param, grad, group)
        m, s = self.get_ms(state, group, grad)
        state["step"] += 1
        if self.rectify:
            self.r_adam_update(state, group, param, m, s)
        else:
            self.adam_update(state, group, param, m, s)


class Sophia(GenericAdaptive):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.95), eps=1e-12, rho=0.03):
        super().__init__(params, {"rho": rho}, lr, betas, eps)

    def init_state(self, state, group, param):
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        state["hessian"] = torch.zeros_like(param, memory_format=torch.preserve_format)

    @torch.no_grad()
    def update_hessian(self, n_tokens):
        for group in self.param_groups:
            _, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    self.init_state(state, group, p)
                state["hessian"].mul_(beta2).addcmul_(p.grad, p.grad, value=(1 - beta2) * n_tokens)

    def step_param(self, state, group, grad, param):
        beta1, _ = group["betas"]
        rho = group["rho"]
        m, hessian = state["exp_avg"], state["hessian"]
        m.mul_(beta1).add_(grad, alpha=1 - beta1)
        state["step"] += 1
        ratio = (m / (hessian + group["eps"])).clamp(-rho, rho)
        param.data.add_(ratio, alpha=-group["lr"] / rho)


class Noam(LabAdam):
    def __init__(self, params, warmup=4, d_model=64, **kwargs):
        super().__init__(params, defaults=dict(warmup=warmup), **kwargs)
        self.d_model = d_model

    def get_lr(self, state, group):
        factor = min(state["step"] ** (-0.5), state["step"] * group["warmup"] ** (-1.5))
        return group["lr"] * self.d_model ** (-0.5) * factor


class WarmupCosine(LabAdam):
    def __init__(self, params, warmup=3, total_steps=9, **kwargs):
        defaults = dict(warmup=warmup, total_steps=total_steps)
        super().__init__(params, defaults=defaults, **kwargs)

    def get_lr(self, state, group):
        if group["warmup"] > state["step"]:
            return 1e-8 + state["step"] * group["lr"] / group["warmup"]
        progress = (state["step"] - group["warmup"]) / max(
            1, group["total_steps"] - group["warmup"]
        )
        return group["lr"] * max(0.1, 0.5 * (1.0 + math.cos(math.pi * progress)))


# --- a plain torch optimizer with a step of its own ---------------------------------------------


class OwnMomentum(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1, momentum=0.9, nesterov=False):
        super().__init__(params, dict(lr=lr, momentum=momentum, nesterov=nesterov))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                d_p, state = p.grad, self.state[p]
                if "momentum_buffer" not in state:
                    buf = state["momentum_buffer"] = torch.clone(d_p).detach()
                else:
                    buf = state["momentum_buffer"]
                    buf.mul_(group["momentum"]).add_(d_p)
                d_p = d_p.add(buf, alpha=group["momentum"]) if group["nesterov"] else buf
                p.add_(d_p, alpha=-group["lr"])
