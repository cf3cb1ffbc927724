"""The catalogue as rows of data: what to build, which reference it equals, how it may be wrong.

A test over the rows names no optimizer: what is special about one stands in its row.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import references as ref
import references_systems as systems

import steppers
from steppers import rules


@dataclass(frozen=True)
class Row:
    """One optimizer with hyper-parameters. `make` is a class, or the rules of a chain."""

    name: str
    make: Any
    reference: Callable
    hypers: Mapping[str, Any]
    second: Mapping[str, Any] = field(default_factory=dict)  # of a second group
    changed: Mapping[str, Any] = field(default_factory=dict)  # set in mid-run
    evaluate: Any = None
    x: Callable | None = None  # what the evaluation view shows, from p, its state and hypers
    matrices: bool = False  # takes matrices only
    complex: bool = True
    elementwise: bool = True  # no element sees another one
    summed: bool = False  # sums over all parameters, whose order then matters to the last bit
    loose: float = 1.0  # times the tolerance of the dtype
    loose_kept: float = 1.0  # the same for kept scalars
    reason: str = ""  # why it is looser
    valley: Mapping[str, Any] = field(default_factory=dict)  # hypers on Rosenbrock's function
    errors: tuple = ()  # (arguments, error, text)

    @property
    def owner(self) -> str:
        """How error messages call it."""
        return self.make.__name__ if isinstance(self.make, type) else "Optimizer"

    def build(self, params, **more):
        """The optimizer on these parameters, with the row's hypers and more."""
        return self.build_on(params, {**self.hypers, **more})

    def build_on(self, params, hypers):
        """The optimizer on these parameters, with these hypers alone."""
        if isinstance(self.make, type):
            return self.make(params, **hypers)
        return steppers.Optimizer(params, steps=self.make, evaluate=self.evaluate, **hypers)

    def second_group(self) -> dict:
        """Hyper-parameters of a second group, where they differ from the first's."""
        return dict(self.second) or {"lr": 3 * self.hypers["lr"]}

    def changes(self) -> dict:
        """What to set in mid-run."""
        return dict(self.changed) or {"lr": self.hypers["lr"] / 2}


def beta_errors(owner, first=r"\[0, 1\)"):
    one, zero = rf"must be in {first}, got 1.0", r"must be in \[0, 1\), got -0.1"
    two = rf"{owner}: betas must be 2 numbers \(beta1, beta2\)"
    return (
        ({"betas": (1.0, 0.9)}, ValueError, rf"{owner}: betas\[0\] \(beta1\) {one}"),
        ({"betas": (0.9, -0.1)}, ValueError, rf"{owner}: betas\[1\] \(beta2\) {zero}"),
        ({"betas": 0.9}, ValueError, rf"{two}, got 0.9"),
        ({"betas": (0.9,)}, ValueError, rf"{two}, got \(0.9,\)"),
        ({"eps": -1e-8}, ValueError, rf"{owner}: eps must be >= 0, got -1e-08"),
        ({"weight_decay": -0.1}, ValueError, rf"{owner}: weight_decay must be >= 0, got -0.1"),
        ({"beta3": 0.9}, TypeError, rf"{owner} has no hyper-parameter 'beta3'"),
    )


def out_of_range(owner, name, value, wanted):
    message = re.escape(f"{owner}: {name} must be {wanted}, got {value!r}")
    return ({name.split("[")[0]: value}, ValueError, message)


ETAS = r"Rprop: etas\[0\] \(etaminus\) must be in \(0, 1\), got 1.5"
CANCELS = "the gradient minus its mean, and the square minus the squared mean, cancel"
ITERATES = "each Newton-Schulz step multiplies the rounding of small singular values by up to 3.4"
NEAR_P0 = "at d = 1e-6 a float32 p is a few units from p0, so that p0 - p has two digits"
FIRST_BELIEF = "g - beta1 * g of the first step, squared, is the variance that its root divides by"
MOVED = "the update is the difference of p after and before it, which nearly cancel"
RADAM = (rules.average_grad, rules.average_square, rules.adam, rules.rectification)
WARMED = (rules.decay, rules.average_grad, rules.average_square, rules.adam)

# fmt: off
ROWS = (
    Row("sgd", steppers.SGD, ref.sgd, dict(lr=0.1, weight_decay=0.01),
        valley=dict(lr=1e-3), errors=(
        out_of_range("SGD", "momentum", -0.9, ">= 0"),
        ({"nesterov": True}, ValueError, "SGD: nesterov=True needs momentum > 0 and dampening = 0"),
        ({"momentum": 0.9, "dampening": 0.1, "nesterov": True}, ValueError, "SGD: nesterov=True"),
        ({"momentun": 0.9}, TypeError, "SGD has no hyper-parameter 'momentun'; "
                                       "did you mean 'momentum'?"),
    )),
    Row("sgd momentum", steppers.SGD, ref.sgd, dict(lr=0.1, momentum=0.9, weight_decay=0.01),
        valley=dict(lr=3e-4, momentum=0.9),
        second=dict(momentum=0.5), changed=dict(momentum=0.8)),
    Row("sgd dampened", steppers.SGD, ref.sgd, dict(lr=0.1, momentum=0.9, dampening=0.4),
        changed=dict(dampening=0.1)),
    Row("sgd nesterov", steppers.SGD, ref.sgd,
        dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    Row("sgd maximize", steppers.SGD, ref.sgd, dict(lr=0.1, momentum=0.9, maximize=True)),
    Row("adam", steppers.Adam, ref.adam, dict(lr=0.01),
        valley=dict(lr=5e-2), errors=beta_errors("Adam")),
    Row("adam l2 amsgrad", steppers.Adam, ref.adam,
        dict(lr=0.01, weight_decay=0.1, amsgrad=True), second=dict(amsgrad=False)),
    Row("adam decoupled", steppers.Adam, ref.adam,
        dict(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)),
    Row("adamw", steppers.AdamW, ref.adamw, dict(lr=0.01, weight_decay=0.1), valley=dict(lr=5e-2),
        second=dict(betas=(0.8, 0.9), eps=1e-6), changed=dict(betas=(0.7, 0.95)),
        errors=beta_errors("AdamW")),
    Row("adamw amsgrad", steppers.AdamW, ref.adamw,
        dict(lr=0.01, betas=(0.9, 0.5), weight_decay=0.1, amsgrad=True, maximize=True)),
    Row("nadam", steppers.NAdam, ref.nadam, dict(lr=0.01, weight_decay=0.1), valley=dict(lr=5e-2),
        changed=dict(momentum_decay=0.1), errors=beta_errors("NAdam")),
    Row("nadam decoupled", steppers.NAdam, ref.nadam,
        dict(lr=0.01, weight_decay=0.1, momentum_decay=0.5, decoupled_weight_decay=True)),
    Row("radam", steppers.RAdam, ref.radam, dict(lr=0.01, weight_decay=0.1), valley=dict(lr=1e-3),
        errors=beta_errors("RAdam")),
    Row("radam decoupled", steppers.RAdam, ref.radam,
        dict(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True, betas=(0.9, 0.99))),
    Row("adamax", steppers.Adamax, ref.adamax, dict(lr=0.01, weight_decay=0.1),
        valley=dict(lr=5e-2),
        errors=beta_errors("Adamax")),
    Row("adagrad", steppers.Adagrad, ref.adagrad,
        dict(lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.1),
        valley=dict(lr=0.1),
        complex=False,  # torch fills the real part alone of a complex sum: see test_torch_parity
        changed=dict(lr_decay=0.5), errors=(
        out_of_range("Adagrad", "lr_decay", -1.0, ">= 0"),
        out_of_range("Adagrad", "initial_accumulator_value", -0.1, ">= 0"))),
    Row("adadelta", steppers.Adadelta, ref.adadelta, dict(lr=1.0, weight_decay=0.1),
        valley=dict(lr=0.1),
        changed=dict(rho=0.5), errors=(out_of_range("Adadelta", "rho", 1.1, "in [0, 1]"),)),
    Row("rmsprop", steppers.RMSprop, ref.rmsprop, dict(lr=0.01), valley=dict(lr=1e-2), errors=(
        out_of_range("RMSprop", "alpha", -0.1, ">= 0"),
        out_of_range("RMSprop", "momentum", -0.1, ">= 0"))),
    Row("rmsprop centred", steppers.RMSprop, ref.rmsprop,
        dict(lr=0.01, alpha=0.9, momentum=0.9, centered=True, weight_decay=0.1),
        changed=dict(alpha=0.8), loose=8, reason=CANCELS),
    Row("asgd", steppers.ASGD, ref.asgd, dict(lr=0.1, lambd=0.01, t0=3, weight_decay=0.1),
        valley=dict(lr=1e-3),
        changed=dict(alpha=0.5, lambd=0.1), x=lambda p, s, h: s["ax"]),
    Row("rprop", steppers.Rprop, ref.rprop, dict(lr=0.01, step_sizes=(1e-3, 0.02)),
        valley=dict(lr=1e-2),
        changed=dict(etas=(0.3, 1.5)), complex=False, errors=(  # as for adagrad
        ({"etas": (1.5, 1.2)}, ValueError, ETAS),
        ({"etaminus": 1.5}, ValueError, ETAS),
        ({"etas": (0.5, 0.9)}, ValueError, r"Rprop: etas\[1\] \(etaplus\) must be > 1, got 0.9"))),
    Row("adafactor", steppers.Adafactor, ref.adafactor,
        dict(lr=0.05, eps=(None, 1e-3), weight_decay=0.1), valley=dict(lr=1e-2),
        changed=dict(d=1.5), complex=False, elementwise=False, errors=(
        ({"eps": (-1.0, 1e-3)}, ValueError, r"Adafactor: eps\[0\] \(eps1\) must be >= 0, got -1"),
        out_of_range("Adafactor", "d", 0.5, ">= 1"),
        out_of_range("Adafactor", "beta2_decay", 0.8, "<= 0"))),
    Row("adafactor eps", steppers.Adafactor, ref.adafactor,
        dict(lr=0.5, eps=(0.3, 0.5), beta2_decay=-0.5), complex=False, elementwise=False),
    Row("lion", steppers.Lion, ref.lion, dict(lr=0.01, weight_decay=0.1), valley=dict(lr=1e-3),
        changed=dict(betas=(0.5, 0.7)), errors=beta_errors("Lion")[:2]),
    Row("lamb", steppers.LAMB, ref.lamb, dict(lr=0.01, weight_decay=0.1),
        valley=dict(lr=1e-3), elementwise=False,
        changed=dict(trust_clip=0.2), errors=beta_errors("LAMB")),
    Row("lamb capped", steppers.LAMB, ref.lamb, dict(lr=0.01, trust_clip=0.5), elementwise=False,
        errors=(out_of_range("LAMB", "trust_clip", 0.0, "> 0"),)),
    Row("schedule free", steppers.ScheduleFreeAdamW, ref.schedule_free_adamw,
        dict(lr=0.01, weight_decay=0.1), valley=dict(lr=1e-2), changed=dict(betas=(0.8, 0.99)),
        x=lambda p, s, h: ref.schedule_free_x(p, s, h["betas"][0]),
        errors=beta_errors("ScheduleFreeAdamW", first=r"\(0, 1\)")),
    Row("schedule free warmup", steppers.ScheduleFreeAdamW, ref.schedule_free_adamw,
        dict(lr=0.01, warmup_steps=4, r=1.0, weight_lr_power=1.0), changed=dict(r=0.5),
        errors=(out_of_range("ScheduleFreeAdamW", "warmup_steps", -1, ">= 0"),)),
    Row("prodigy", steppers.Prodigy, ref.prodigy, dict(lr=1.0, weight_decay=0.1),
        valley=dict(lr=1.0), elementwise=False,
        summed=True, second=dict(weight_decay=0.5), loose_kept=1000, reason=NEAR_P0,
        errors=(*beta_errors("Prodigy"),
        out_of_range("Prodigy", "d_coef", 0.0, "> 0"),
        out_of_range("Prodigy", "d0", 0.0, "> 0"))),
    Row("prodigy d0", steppers.Prodigy, ref.prodigy,
        dict(lr=1.0, d0=1e-2, d_coef=2.0, growth_rate=1.5), elementwise=False, summed=True,
        second=dict(weight_decay=0.5),
        errors=(out_of_range("Prodigy", "growth_rate", 0.5, ">= 1"),)),
    Row("muon", steppers.Muon, ref.muon, dict(lr=0.02, weight_decay=0.1),
        valley=dict(lr=2e-2), matrices=True,
        complex=False, elementwise=False, changed=dict(momentum=0.5), loose=64, reason=ITERATES,
        errors=(({"adjust_lr_fn": "none"}, ValueError,
                 "Muon: adjust_lr_fn must be None, 'original' or 'match_rms_adamw', got 'none'"),
                out_of_range("Muon", "momentum", -0.1, ">= 0"))),
    Row("muon plain", steppers.Muon, ref.muon, matrices=True, complex=False, elementwise=False,
        hypers=dict(lr=0.02, nesterov=False, adjust_lr_fn="match_rms_adamw", ns_steps=3),
        loose=64, reason=ITERATES),
    Row("adabelief", steppers.AdaBelief, ref.ada_belief, dict(lr=0.01, weight_decay=0.1),
        valley=dict(lr=5e-2, rectify=False), changed=dict(betas=(0.8, 0.99)),
        second=dict(rectify=False), loose=64, reason=FIRST_BELIEF,
        errors=beta_errors("AdaBelief")),
    Row("adabelief amsgrad", steppers.AdaBelief, ref.ada_belief,
        dict(lr=0.01, amsgrad=True, optimized_update=False, betas=(0.9, 0.99)),
        loose=64, reason=FIRST_BELIEF),
    Row("sophia", steppers.Sophia, ref.sophia, dict(lr=0.01, rho=0.5, weight_decay=0.1),
        valley=dict(lr=1e-3), errors=(*beta_errors("Sophia"),
        out_of_range("Sophia", "rho", 0.0, "> 0"),
        out_of_range("Sophia", "batch_tokens", -1.0, ">= 0"))),
    Row("decoupled sgdw", steppers.DecoupledSGDW, ref.decoupled_sgdw,
        dict(lr=0.1, initial_lr=0.1, weight_decay=0.01), valley=dict(lr=1e-3), errors=(
        ({"nesterov": True}, ValueError, "DecoupledSGDW: nesterov=True needs momentum > 0"),)),
    Row("decoupled sgdw momentum", steppers.DecoupledSGDW, ref.decoupled_sgdw,
        dict(lr=0.1, initial_lr=0.1, momentum=0.9, dampening=0.4, weight_decay=0.01, metrics=True),
        elementwise=False, loose=64, reason=MOVED),
    Row("decoupled sgdw nesterov", steppers.DecoupledSGDW, ref.decoupled_sgdw,
        dict(lr=0.1, initial_lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    Row("decoupled adamw", steppers.DecoupledAdamW, ref.decoupled_adamw,
        dict(lr=0.01, initial_lr=0.01, weight_decay=0.01), valley=dict(lr=5e-2),
        changed=dict(lr=0.002), errors=beta_errors("DecoupledAdamW")),
    Row("decoupled adamw metrics", steppers.DecoupledAdamW, ref.decoupled_adamw,
        dict(lr=0.01, initial_lr=0.01, amsgrad=True, metrics=True),
        elementwise=False, loose=64, reason=MOVED),
    Row("sgdw", steppers.SGDW, systems.sgdw,
        dict(lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True), valley=dict(lr=3e-4),
        second=dict(nesterov=False), changed=dict(momentum=0.8), errors=(
        ({"dampening": 0.1}, ValueError, "SGDW: nesterov=True needs momentum > 0"),)),
    Row("lars", steppers.LARS, systems.lars,
        dict(lr=1.0, weight_decay=0.1, trust_coefficient=0.02), elementwise=False,
        valley=dict(lr=1e-2), changed=dict(trust_coefficient=0.1), errors=(
        out_of_range("LARS", "trust_coefficient", 0.0, "> 0"),
        ({"momentum": 0.0, "nesterov": True}, ValueError, "LARS: nesterov=True needs momentum"))),
    Row("larc", steppers.LARC, systems.larc,
        dict(lr=0.1, weight_decay=0.1, nesterov=True), elementwise=False,
        valley=dict(lr=1e-3), second=dict(lr=1e-3), changed=dict(lr=0.01), errors=(
        ({"momentum": 0.0, "nesterov": True}, ValueError, "LARC: nesterov=True needs momentum"),
        ({"dampening": 0.1}, ValueError, "LARC: nesterov=True needs momentum"))),
    Row("qhadam", steppers.QHAdam, systems.qhadam,
        dict(lr=0.01, weight_decay=0.1, nus=(0.7, 0.8)), valley=dict(lr=5e-2),
        second=dict(decoupled_weight_decay=True), changed=dict(nus=(0.5, 1.0)), errors=(
        *beta_errors("QHAdam"),
        ({"nus": (0.7, 1.1)}, ValueError, r"QHAdam: nus\[1\] \(nu2\) must be in \[0, 1\], got 1.1"),
        ({"nus": 0.7}, ValueError, r"QHAdam: nus must be 2 numbers \(nu1, nu2\), got 0.7"))),
    Row("sadam", steppers.SAdam, systems.sadam, dict(lr=0.1, weight_decay=0.1),
        valley=dict(lr=5e-2), changed=dict(softplus_beta=5.0), errors=(*beta_errors("SAdam"),
        out_of_range("SAdam", "softplus_beta", 0.0, "in (0, inf)"))),
    Row("sadam rectified", steppers.SAdam, systems.sadam,
        dict(lr=0.1, rectify=True, softplus_beta=2.0, betas=(0.9, 0.99))),
    Row("ranger", steppers.Ranger, systems.ranger,
        dict(lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, k=3),
        valley=dict(lr=1e-3), changed=dict(k=2), errors=(*beta_errors("Ranger"),
        out_of_range("Ranger", "k", 0, ">= 1"),
        out_of_range("Ranger", "alpha", 1.5, "in [0, 1]"))),
    Row("lookahead", (rules.descend, rules.lookahead), ref.sgd_lookahead,
        dict(lr=0.1, k=3, alpha=0.4), valley=dict(lr=1e-3), changed=dict(k=2)),
    Row("lookahead late", (rules.descend, rules.lookahead_late), systems.sgd_lookahead_late,
        dict(lr=0.1, k=3, alpha=0.4), valley=dict(lr=1e-3), changed=dict(k=2)),
    Row("larc behind momentum",
        (rules.heavy_ball, rules.lars_ratio, rules.cap_at_one, rules.scaled_direction,
         rules.descend), systems.larc_behind,
        dict(lr=0.1, momentum=0.9, trust_coefficient=0.02), elementwise=False),
    Row("rms of momentum",
        (rules.heavy_ball, rules.mean_square, rules.rms_scaled, rules.descend),
        systems.rms_of_momentum, dict(lr=0.01, momentum=0.9)),
    Row("ema", (rules.descend, rules.ema), ref.sgd_ema, dict(lr=0.1, ema_decay=0.9),
        valley=dict(lr=1e-3),
        evaluate=rules.use_average, x=lambda p, s, h: s["average"], changed=dict(ema_decay=0.5)),
    Row("cautious", (rules.average_momentum, rules.cautious, rules.descend), ref.sgd_cautious,
        dict(lr=0.1, momentum=0.9), elementwise=False),
    Row("centralised", (rules.centralise, rules.descend), ref.sgd_centralised, dict(lr=0.1),
        matrices=True, complex=False, elementwise=False),
    Row("clipped by value", (rules.clip_by_value, rules.descend), ref.sgd_clipped_by_value,
        dict(lr=0.1, clip_value=0.5)),
    Row("clipped by norm", (rules.clip_by_norm, rules.descend), ref.sgd_clipped_by_norm,
        dict(lr=0.1, max_norm=0.5), elementwise=False),
    Row("clipped by global norm", (rules.clip_by_global_norm, rules.descend),
        ref.sgd_clipped_by_global_norm, dict(lr=0.1, max_norm=0.5), elementwise=False, summed=True),
    Row("decayed absolutely", (rules.decay_absolute, rules.descend), ref.sgd_decayed_absolutely,
        dict(lr=0.1, weight_decay=0.01), changed=dict(lr=0.0)),
    Row("adam early eps",
        (rules.average_grad, rules.average_square, rules.adam_early_eps, rules.descend),
        ref.adam_early_eps, dict(lr=0.01, betas=(0.9, 0.999), eps=1e-3)),
    Row("radam from five", (*RADAM, rules.rectified, rules.descend), ref.radam_from_five,
        dict(lr=0.01, betas=(0.9, 0.999))),
    Row("noam", (*WARMED, rules.noam_rate, rules.descend_at), ref.noam,
        dict(lr=1.0, weight_decay=0.1, warmup_steps=4, d_model=64.0)),
    Row("adam warmup", (*WARMED, rules.warmup_rate, rules.descend_at), ref.adam_warmup,
        dict(lr=0.01, weight_decay=0.1, warmup_steps=4)),
    Row("adam warmup cosine", (*WARMED, rules.warmup_cosine_rate, rules.descend_at),
        ref.adam_warmup_cosine, dict(lr=0.01, warmup_steps=2, total_steps=6)),
    Row("decayed by schedule", (rules.decay_by_schedule, rules.descend),
        ref.sgd_decayed_by_schedule, dict(lr=0.1, weight_decay=0.01, initial_lr=0.1)),
    Row("decay corrected", (rules.decay_corrected, rules.descend),
        ref.sgd_decay_corrected, dict(lr=0.1, weight_decay=0.1, initial_lr=0.1)),
)
# fmt: on
