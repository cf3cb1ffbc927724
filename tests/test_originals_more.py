"""The styles beside the originals in random runs: hypers, freezing, groups, checkpoints, norms.

`make originals` installs these and runs this; elsewhere what is not installed is skipped.
"""

import copy
import io
import logging
import random
from collections import defaultdict
from functools import partial

import pytest
import torch
from originals import alone, original

from steppers.styles import composer, fastai, labml, timm

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs: deprecated spellings

TENSORS = ((2,), (3, 2), (), (2, 2, 2))


def drawing(seed):
    generator = torch.Generator().manual_seed(seed)
    return partial(torch.randn, generator=generator, dtype=torch.float64)


def reread(saved):
    """A checkpoint after its time in a file."""
    held = io.BytesIO()
    torch.save(saved, held)
    held.seek(0)
    return torch.load(held, weights_only=False)


def assert_near(a, b, what):
    for x, y in zip(a, b, strict=True):
        assert x.shape == y.shape, what
        assert torch.allclose(x.double(), y.double(), rtol=1e-7, atol=1e-10), (what, x, y)


# --- fastai ------------------------------------------------------------------------------------

# fmt: off
FASTAI = {
    "SGD": lambda home, ps: home.SGD(ps, lr=0.1, mom=0.9, wd=0.1),
    "SGD, L2": lambda home, ps: home.SGD(ps, lr=0.1, mom=0.9, wd=0.1, decouple_wd=False),
    "RMSProp": lambda home, ps: home.RMSProp(ps, lr=0.1),
    "Adam": lambda home, ps: home.Adam(ps, lr=0.1),
    "RAdam": lambda home, ps: home.RAdam(ps, lr=0.1),
    "Larc": lambda home, ps: home.Larc(ps, lr=0.1),
    "Lamb": lambda home, ps: home.Lamb(ps, lr=0.1),
    "ranger": lambda home, ps: home.ranger(ps, lr=0.1, k=3),
    "Lookahead": lambda home, ps: home.Lookahead(home.SGD(ps, lr=0.1, mom=0.9), k=3, alpha=0.3),
    "OptimWrapper": lambda home, ps: home.OptimWrapper(ps, torch.optim.AdamW, lr=0.1),
}
ACTS = [
    "step", "step", "step", "step", "step", "step", "freeze", "unfreeze", "freeze_to", "hyper",
    "hypers", "slice", "clear", "flag", "zero", "reload",
]
# fmt: on


class Run:
    """An optimizer of two to four layer groups, and what is done to it at random."""

    def __init__(self, home, make, seed):
        self.choose, self.draw = random.Random(seed), drawing(seed)
        some = self.choose.randint
        self.lists = [
            [torch.nn.Parameter(self.draw(TENSORS[some(0, 2)])) for _ in range(some(1, 3))]
            for _ in range(some(2, 4))
        ]
        self.params = [p for each in self.lists for p in each]
        self.home, self.make = home, make
        self.optimizer = make(home, self.lists)

    def act(self):
        act = self.choose.choice(ACTS)
        getattr(self, act)()
        if act.endswith("freeze") or act == "freeze_to":  # ours drops these gradients
            for p in self.params:
                p.grad = p.grad if p.requires_grad else None

    def step(self):
        for p in self.params:
            grad, missing = self.draw(p.shape), self.choose.random() < 0.15
            p.grad = grad if p.requires_grad and not missing else None
        self.optimizer.step()

    def freeze(self):
        self.optimizer.freeze()

    def unfreeze(self):
        self.optimizer.unfreeze()

    def freeze_to(self):
        self.optimizer.freeze_to(self.choose.randint(-len(self.lists), len(self.lists)))

    def hyper(self):
        value = self.choose.choice([self._value(), [self._value() for _ in self.lists]])
        self.optimizer.set_hyper(self.choose.choice(["lr", "wd"]), value)

    def hypers(self):
        self.optimizer.set_hypers(lr=self._value(), wd=tuple(self._value() for _ in self.lists))

    def slice(self):
        self.optimizer.set_hyper("lr", slice(1e-4, self._value() + 1e-3))

    def _value(self):
        return self.choose.random() / 10

    def clear(self):
        self.optimizer.clear_state()

    def zero(self):
        self.optimizer.zero_grad()

    def flag(self):
        p, name = self.choose.choice(self.params), self.choose.choice(["force_train", "do_wd"])
        self.optimizer.state[p][name] = self.choose.random() < 0.5

    def saved(self):
        own = getattr(self.optimizer, "fastai_state_dict", self.optimizer.state_dict)
        return reread(own())

    def load(self, saved):
        self.optimizer.load_state_dict(saved)
        inner = getattr(self.optimizer, "opt", self.optimizer)
        if type(inner.state) is dict:  # theirs lacks a default then, which a later flag needs
            inner.state = defaultdict(dict, inner.state)

    def reload(self):
        saved = self.saved()
        self.optimizer = self.make(self.home, self.lists)
        self.load(saved)

    def seen(self):
        """All that there is to see, as comparable numbers."""
        o = self.optimizer
        state = [dict(o.state[p]) for p in self.params]
        hypers = [
            {k: float(v) for k, v in dict(h).items() if isinstance(v, int | float)}
            for h in o.hypers
        ]
        counted = [len(o.all_params(slice(i, j), True)) for i in range(-1, 2) for j in (None, -1)]
        trained = [p.requires_grad for p in self.params]
        return dict(
            params=list(self.params), state=state, hypers=hypers,
            rest=[o.frozen_idx, counted, trained, getattr(o, "count", 0)],
        )  # fmt: skip


def assert_alike(a, b, what):
    a, b = a.seen(), b.seen()
    assert b["rest"] == a["rest"], what
    assert [set(s) for s in b["state"]] == [set(s) for s in a["state"]], what
    assert b["hypers"] == [pytest.approx(h, rel=1e-9) for h in a["hypers"]], what
    flat = [[torch.as_tensor(x[k]) for x in s["state"] for k in sorted(x)] for s in (a, b)]
    assert_near(*flat, what)
    assert_near(a["params"], b["params"], what)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", FASTAI)
def test_whatever_is_done_to_fastais_optimizers_has_the_same_effect(name, seed):
    theirs = Run(original("fastai.optimizer"), FASTAI[name], seed)
    ours = Run(fastai, FASTAI[name], seed)
    if name == "OptimWrapper":  # there do_wd is not honoured
        theirs.flag = ours.flag = lambda: None
    for i in range(40):
        theirs.act(), ours.act()
        assert_alike(theirs, ours, f"act {i}")
        if i % 9 == 8:  # each goes on from the other's checkpoint
            a, b = theirs.saved(), ours.saved()
            theirs.load(b), ours.load(a)
            assert_alike(theirs, ours, f"loaded at {i}")


# fmt: off
SPREADS = [
    0.3, [0.1, 0.2], (0.1, 0.2), [0.5], (0.5,), range(1, 3), torch.tensor([0.1, 0.2]),
    slice(0.1), slice(None, 0.1), slice(0, 0.1), slice(1e-3, 0.1), slice(0.1, 1e-3),
]
# fmt: on


@pytest.mark.parametrize("value", [*map(copy.copy, SPREADS), iter, "L"], ids=repr)
def test_every_form_of_a_value_is_shared_out_as_there(value):
    theirs, listed = original("fastai.optimizer"), original("fastcore.foundation").L

    def given():
        forms = {"L": lambda: listed(0.1, 0.2), iter: lambda: (x for x in (0.1, 0.2))}
        return forms[value]() if value == "L" or value is iter else value

    def rates(home, when):
        params = [[torch.nn.Parameter(torch.ones(1))] for _ in range(2)]
        wrapped = home.OptimWrapper(params, torch.optim.AdamW, lr=0.7)
        made = home.Adam(params, lr=given() if when == "made" else 0.7)
        for optimizer in (made, wrapped) if when == "set" else ():
            optimizer.set_hyper("lr", given())
        return [float(h["lr"]) for o in (made, wrapped) for h in o.hypers]

    for when in ("made", "set"):
        assert rates(fastai, when) == pytest.approx(rates(theirs, when), rel=1e-6)


def test_a_single_number_takes_no_pair():
    """Theirs takes it, and its next step fails."""
    params = [torch.nn.Parameter(torch.ones(1))]
    for o in (fastai.Adam(params, lr=0.1), fastai.OptimWrapper(params, torch.optim.AdamW)):
        for wrong in ([[1e-8, 1e-3]], [(1e-8, 1e-3)], None):
            with pytest.raises(TypeError, match="eps must be a number, got"):
                o.set_hyper("eps", wrong)
        assert isinstance(o.hypers[0]["eps"], float)
    pair = fastai.OptimWrapper(params, torch.optim.Adafactor)
    pair.set_hyper("eps__1", 0.5)
    assert pair.param_groups[0]["eps"] == (None, 0.5)


# --- groups with options of their own, and checkpoints of either ----------------------------------

YES = (True, False)
DECOUPLED = "composer.optim.decoupled_weight_decay"
WARM = dict(lr=0.1, warmup=4)
GROUPS = dict(lr=(0.01, 0.2), weight_decay=(0.0, 0.1), betas=((0.8, 0.9),), eps=(1e-3,))
LAMB = dict(
    **GROUPS, bias_correction=YES, grad_averaging=YES, trust_clip=YES, always_adapt=YES,
    caution=YES, decoupled_decay=YES,
)  # fmt: skip
SGDW = dict(lr=(0.01, 0.2), weight_decay=(0.0, 0.1), momentum=(0.5,), nesterov=YES, caution=YES)
LARS = dict(
    lr=(0.01, 0.2), weight_decay=(0.0, 0.1), momentum=(0.5,), nesterov=YES, trust_coeff=(0.01,),
    trust_clip=YES, always_adapt=YES,
)  # fmt: skip
# fmt: off
OTHERS = {
    "SGDW": ("timm.optim.sgdw", timm, "SGDW", dict(lr=0.1, momentum=0.9, weight_decay=0.01), SGDW),
    "SGDW, corrected": ("timm.optim.sgdw", timm, "SGDW",
                        dict(lr=0.1, corrected_weight_decay=True, weight_decay=0.1),
                        dict(weight_decay=(0.0, 0.1), momentum=(0.5, 0.0))),
    "timm Lamb": ("timm.optim.lamb", timm, "Lamb", dict(lr=0.1), LAMB),
    "timm Lamb, no clip": ("timm.optim.lamb", timm, "Lamb", dict(max_grad_norm=None), GROUPS),
    "Lars": ("timm.optim.lars", timm, "Lars", dict(momentum=0.9, weight_decay=0.01), LARS),
    "DecoupledSGDW": (DECOUPLED, composer, "DecoupledSGDW",
                      dict(lr=0.1, momentum=0.9, weight_decay=1e-4),
                      dict(lr=(0.01, 0.0), weight_decay=(0, 1e-3), dampening=(0.3,))),
    "DecoupledAdamW": (DECOUPLED, composer, "DecoupledAdamW", dict(lr=0.1, weight_decay=1e-4),
                       dict(lr=(0.01, 0.0), betas=((0.8, 0.9),), amsgrad=YES)),
    "Adam": ("labml_nn.optimizers.adam", labml, "Adam", dict(lr=0.1), GROUPS),
    "AMSGrad": ("labml_nn.optimizers.amsgrad", labml, "AMSGrad", dict(lr=0.1),
                dict(**GROUPS, amsgrad=YES)),
    "RAdam": ("labml_nn.optimizers.radam", labml, "RAdam", dict(betas=(0.9, 0.99)), GROUPS),
    "Noam": ("labml_nn.optimizers.noam", labml, "Noam", dict(WARM, d_model=16),
             dict(**GROUPS, warmup=(2, 8))),
    "AdamWarmup": ("labml_nn.optimizers.adam_warmup", labml, "AdamWarmup", WARM,
                   dict(**GROUPS, warmup=(2, 8))),
    "Sophia": ("labml_nn.optimizers.sophia", labml, "Sophia", dict(lr=0.1), GROUPS),
}
# fmt: on


def raced(makes, options, seed):
    """Where two groups' parameters get to; the makers take turns from checkpoint to checkpoint."""
    choose, draw = random.Random(seed), drawing(seed)
    params = [torch.nn.Parameter(draw(choose.choice(TENSORS))) for _ in range(choose.randint(2, 6))]
    cut = choose.randint(1, len(params) - 1)
    own = [{k: choose.choice(v) for k, v in options.items() if choose.random() < 0.4} for _ in "ab"]

    def made(i):
        lists = params[:cut], params[cut:]
        groups = [{"params": ps, **each} for ps, each in zip(lists, own, strict=True)]
        return makes[i % len(makes)](groups)

    loads, optimizer, seen = 0, made(0), []
    for _ in range(16):
        resting = choose.random() < 0.2
        for i, p in enumerate(params):
            grad, missing = draw(p.shape), choose.random() < 0.2 or (resting and i < cut)
            p.grad = None if missing else grad
        if (what := choose.random()) < 0.15:
            for group in optimizer.param_groups:
                group["lr"] *= 0.7
        elif what > 0.8:
            saved, loads = reread(optimizer.state_dict()), loads + 1
            optimizer = made(loads)
            optimizer.load_state_dict(saved)
        optimizer.step(*[lambda: torch.tensor(1.0)] * (choose.random() < 0.2))
        seen.append([p.detach().clone() for p in params])
    return seen


@pytest.mark.parametrize("name", OTHERS)
def test_groups_differ_and_checkpoints_go_from_either_to_the_other(name, monkeypatch):
    module, home, cls, options, groups = OTHERS[name]
    monkeypatch.setattr(logging.root, "disabled", True)
    if module.startswith("labml"):
        theirs = getattr(original(module), cls)
    else:
        theirs = getattr(alone(monkeypatch, module, "composer.utils"), cls)
    there, ours = partial(theirs, **options), partial(getattr(home, cls), **options)
    for seed in range(8):
        expected = raced([there], groups, seed)
        for makes in ([ours], [there, ours], [ours, there]):
            for i, (a, b) in enumerate(zip(expected, raced(makes, groups, seed), strict=True)):
                assert_near(a, b, f"seed {seed}, step {i}")
