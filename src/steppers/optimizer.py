"""The shell: a torch.optim.Optimizer whose step runs chains of rules.

It knows torch (groups, state, hooks, checkpoints), not maths.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from . import engines
from .chain import suggest
from .shell import checkpoint, freezing, hypers, precision, views, work
from .shell.construction import (
    FLAGS,
    check_flags,
    common_defaults,
    group_values,
    positional,
    recipes_of,
    refuse_waiting,
    signature,
)
from .shell.plans import Plans
from .shell.recipe import Key, Recipe

if TYPE_CHECKING:
    from .explain import Explanation


class Optimizer(torch.optim.Optimizer):
    """An optimizer made of rules: give `steps`, or subclass and state `steps` and `defaults`.

    Every hyper-parameter of the rules is a keyword argument, a key of each param group, and live:
    change it at any time. `steps` may be a function of static options that returns the rules.
    `evaluate`, and any chain in `further`, is another chain over the same slots. `ranges` states
    which values are valid, by hyper (`{"beta1": "in (0, 1)"}`, `">= 0"`). `chains` names
    several optimizers in one: `{"muon": Muon, "adamw": AdamW}`; a group picks by `chain="muon"`.

    Raises TypeError for rules whose names do not fit together and for unknown hyper-parameters,
    ValueError for values out of range, RuntimeError for an engine that cannot run.

    >>> import torch, steppers
    >>> def descend(p, u, *, lr):
    ...     return dict(p=p - lr * u)
    >>> w = torch.ones(3, requires_grad=True)
    >>> optimizer = steppers.Optimizer([w], steps=[descend], lr=0.5)
    >>> w.sum().backward(); optimizer.step(); w.tolist()
    [0.5, 0.5, 0.5]
    """

    steps: ClassVar[Any] = None
    chains: ClassVar[Mapping[str, Any] | None] = None
    evaluate: ClassVar[Any] = None
    further: ClassVar[Mapping[str, Any]] = {}
    ranges: ClassVar[Mapping[str, str]] = {}
    defaults: dict[str, Any] = {}
    _recipes: dict[str, Recipe] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        stated = cls.__dict__.keys() & {
            "steps", "chains", "evaluate", "further", "defaults", "ranges"
        }  # fmt: skip
        if stated:
            if not stated & {"steps", "chains"}:  # the parent's rules keep the parent's defaults
                cls.defaults = {**super(cls, cls).defaults, **cls.defaults}
            further = {**cls.further, **({"evaluate": cls.evaluate} if cls.evaluate else {})}
            cls._recipes = recipes_of(
                cls.__name__, cls.steps, cls.chains, further, cls.defaults, (), cls.ranges
            )
            for recipe in cls._recipes.values():
                recipe.verify()
            if inspect.isfunction(cls.__dict__.get("steps")):
                cls.steps = staticmethod(cls.__dict__["steps"])
        if cls.__init__ is Optimizer.__init__:
            cls.__signature__ = signature(cls.defaults, cls._recipes)
        else:
            own = inspect.signature(cls.__init__)
            cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])

    def __init__(
        self,
        params: Any,
        *args: Any,
        steps: Any = None,
        chains: Mapping[str, Any] | None = None,
        evaluate: Any = None,
        further: Mapping[str, Any] | None = None,
        ranges: Mapping[str, str] | None = None,
        engine: str = "auto",
        **given: Any,
    ) -> None:
        owner = type(self).__name__
        if steps is not None or chains is not None:
            if type(self)._recipes:
                raise TypeError(f"{owner} states its own rules; use steppers.Optimizer for others")
            more = {**(further or {}), **({"evaluate": evaluate} if evaluate else {})}
            self._recipes = recipes_of(owner, steps, chains, more, {}, given, ranges)
        if not self._recipes:
            raise TypeError(f"{owner} needs rules: pass steps=[…] or chains={{…}}, or subclass it")
        if isinstance(params, torch.nn.Module):
            raise TypeError(f"{owner}: params must be parameters: pass model.parameters()")
        given = {**positional(owner, type(self).defaults, args, given), **given}
        flags = {flag: given.pop(flag, default) for flag, default in FLAGS.items()}
        seed = {"seed": given.pop("seed")} if "seed" in given else {}
        check_flags(owner, flags, seed)
        engines.asked(owner, engine, flags)
        self._engine, self._given = engine, given
        self._plans = Plans()
        defaults = common_defaults(owner, self._recipes, given, flags)
        super().__init__(params, {**defaults, **flags, **seed})
        self._say_untraceable()

    def _say_untraceable(self) -> None:
        for why in dict.fromkeys(
            self.recipe_of(g).untraceable(self._key(g)) for g in self.param_groups
        ):
            if why:
                warnings.warn(f"{why}; it runs in the loop engine", stacklevel=3)

    @classmethod
    def recipes(cls) -> dict[str, Recipe]:
        """What the class states, by the name of the chain."""
        return cls._recipes

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """The constructor's hyper-parameters and options with their defaults."""
        first = next(iter(cls._recipes.values()))
        return first.fields(first.key(first.defaults))

    @classmethod
    def takes_vectors(cls) -> bool:
        """False for an optimizer that takes matrices only."""
        first = next(iter(cls._recipes.values()))
        return first.takes_vectors()

    # --- groups ---------------------------------------------------------------------------------

    def recipe_of(self, group: Mapping[str, Any]) -> Recipe:
        """What the group's chain was made from; ValueError for a chain that there is not."""
        chain = group.get("chain", next(iter(self._recipes)))
        if chain not in self._recipes:
            raise ValueError(
                f"{type(self).__name__} has no chain {chain!r}{suggest(str(chain), self._recipes)} "
                f"(it has {', '.join(self._recipes)})"
            )
        return self._recipes[chain]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own hyper-parameters; `chain` names one of several chains.

        Raises as the constructor does; then nothing is added.
        """
        if not isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"param_group must be a dict, got {type(param_group).__name__}")
        owner = type(self).__name__
        recipe = self.recipe_of(param_group)
        chain = param_group.get("chain", next(iter(self._recipes)))
        base = self.defaults if len(self._recipes) == 1 else self._given
        values = group_values(owner, recipe, param_group, self.defaults, base, self._engine)
        said = {n for n in recipe.known(values) if n not in values}  # beta1, wd: in values by now
        group = {n: v for n, v in param_group.items() if n not in said} | values
        super().add_param_group({**group, "chain": chain})
        try:
            self._check_group(owner, self.param_groups[-1])
        except BaseException:
            self.param_groups.pop()
            raise

    def _check_group(self, owner: str, group: dict[str, Any]) -> None:
        recipe, key = self.recipe_of(group), self._key(group)
        for p in group["params"]:
            programs = recipe.programs(key, p.ndim)
            work.refuse(owner, p, programs, "steps", early=True)
        programs = recipe.all_programs(key)
        precision.check(owner, group, programs)
        keyed = [(self.recipe_of(g), self._key(g)) for g in self.param_groups]
        refuse_waiting(owner, keyed)
        if any("seed" in q.inputs for each in programs for q in each.programs.values()):
            group.setdefault("seed", torch.initial_seed() % 2**32)
        for name in recipe.shared(key):
            if not isinstance(group[name], Tensor):
                group[name] = torch.tensor(group[name], dtype=torch.float64)
        if "evaluate" in dict(recipe.chain(key).chains):
            group.setdefault("train_mode", True)
        self.choice_of(group)

    def _key(self, group: dict[str, Any]) -> Key:
        """The group's static options, given the state that its parameters have."""
        held = next((s for p in group["params"] if (s := self.state.get(p))), None)
        return self.recipe_of(group).key(group, type(self).__name__, held)

    def choice_of(self, group: dict[str, Any]) -> engines.Choice:
        """The engine that runs a group, and why."""
        flags = {f: group.get(f, d) for f, d in FLAGS.items()}
        named = engines.asked(type(self).__name__, self._engine, flags)
        why = self.recipe_of(group).untraceable(self._key(group))
        return engines.choose(named, why, flags, group["params"])

    @property
    def engine(self) -> engines.Choice:
        """The engine that runs, and why; of the first group, where they differ."""
        return self.reading(self.param_groups[0])[-1]

    # --- a step ---------------------------------------------------------------------------------

    # torch.compiler.disable would import dynamo with this module, which takes a second
    @torch._disable_dynamo  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step on the present gradients; returns what the closure returned, if given.

        Parameters whose gradient is None are left alone. Gradients are not modified. Raises
        RuntimeError in the evaluation view and for sparse gradients, before anything moves.
        """
        if any(not group.get("train_mode", True) for group in self.param_groups):
            raise RuntimeError(
                f"{type(self).__name__} is in its evaluation view; call optimizer.train() before "
                "optimizer.step()"
            )
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._run("steps", counting=True)
        return loss

    def run(self, chain: str) -> None:
        """Run a further chain by name on the present gradients; the step count stays."""
        known: set[str] = set()
        for group in self.param_groups:
            known |= {name for name, _ in self.recipe_of(group).chain(self._key(group)).chains}
        own = {"steps": "optimizer.step()", "evaluate": "optimizer.eval()"}
        hint = f"; use {own[chain]}" if chain in known & own.keys() else suggest(chain, known)
        known -= own.keys()
        if chain not in known:
            raise ValueError(
                f"{type(self).__name__} has no further chain {chain!r}{hint} "
                f"(it has {', '.join(sorted(known)) or 'none'})"
            )
        self._run(chain, counting=False)

    def _run(self, which: str, counting: bool, within: Any = None) -> None:
        """Run a chain where there are gradients, or on what has state in the groups `within`."""
        differentiable = any(g["differentiable"] for g in self.param_groups)
        with torch.set_grad_enabled(differentiable), work.no_autocast():
            self._plans.run(self, which, counting, within)

    @torch.no_grad()
    def init_state(self) -> None:
        """Make every slot of every parameter now, with a step count of 0; nothing moves.

        Checkpoint tools otherwise make them by a step with lr 0, which counts.
        """
        groups = self.param_groups
        for _, piece in self._plans.gather(self, "steps", groups, lambda p: p.requires_grad):
            self._plans.prepare(self, piece)

    # --- views for evaluation -------------------------------------------------------------------

    def eval(self) -> None:
        """Put the weights to evaluate with into the parameters; no-op without `evaluate`."""
        views.enter(self, lambda groups: self._run("evaluate", counting=False, within=groups))

    def train(self) -> None:
        """Put the training weights back, bit for bit (no-op outside the evaluation view)."""
        views.leave(self)

    @contextmanager
    def evaluating(self) -> Generator[None]:
        """`eval()` for the length of a with-block, then `train()`."""
        self.eval()
        try:
            yield
        finally:
            self.train()

    # --- hyper-parameters and freezing ----------------------------------------------------------

    @property
    def hypers(self) -> list[hypers.Hypers]:
        """One mapping of hyper-parameters for each group; reads and writes the group."""
        keyed = [(g, self.recipe_of(g).places(self._key(g))) for g in self.param_groups]

        def check(group: dict[str, Any]) -> None:
            self.recipe_of(group).check(type(self).__name__, group, self._key(group))

        return [hypers.Hypers(places, g, check) for g, places in keyed]

    def set_hyper(self, name: str, value: Any) -> None:
        """Set one hyper-parameter in all groups: a scalar, one value a group, or a slice.

        `slice(stop)` gives stop/10 to all groups but the last, `slice(start, stop)` a geometric
        row. Raises TypeError for an unknown name, ValueError for a wrong count or range; then no
        group has changed.
        """
        hypers.set_all(type(self).__name__, self.hypers, name, value)

    def freeze_to(self, n: int, keep: Any = ()) -> None:
        """Train groups [n:] only; parameters in `keep` (groups.norms(model), say) stay trained."""
        freezing.freeze_to(self.param_groups, n, keep)

    def freeze(self, keep: Any = ()) -> None:
        """Train the last group only. Raises ValueError if there is but one."""
        freezing.freeze(self.param_groups, keep)

    def unfreeze(self) -> None:
        """Train all groups."""
        freezing.freeze_to(self.param_groups, 0, ())

    # --- checkpoints and copies -----------------------------------------------------------------

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load torch's format; by name where both sides name their parameters.

        Slots keep the dtype they were saved with. Raises ValueError, before anything changes, for
        another chain or option, missing or left-over parameters or slots, and wrong shapes.
        """
        checkpoint.load(self, super().load_state_dict, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        own = {n: self.__dict__[n] for n in ("_engine", "_given", "_recipes") if n in self.__dict__}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plans = Plans()
        for group in self.param_groups:
            group.setdefault("chain", next(iter(self._recipes)))
            for flag, default in FLAGS.items():
                group.setdefault(flag, default)

    def reading(self, group: dict[str, Any]) -> tuple[Recipe, Key, engines.Choice]:
        """The recipe that a group runs, its choice of options, and its engine."""
        choice, unfit = self.choice_of(group), self._plans.unfit
        if unfit and choice.name == "fused":
            choice = engines.Choice("foreach", unfit)
        return *self.recipe_and_key(group), choice

    def recipe_and_key(self, group: dict[str, Any]) -> tuple[Recipe, Key]:
        """The recipe that a group runs and its choice of options."""
        return self.recipe_of(group), self._key(group)

    def explain(self, measure: bool = True) -> Explanation:
        """The update as formulas, hyper-parameters with values, bytes, passes, engine and why.

        With `measure` also the time that a step's bytes take at the memory's speed, which is
        measured once a device, in some 100 ms.
        """
        from .explain import explain  # it knows the generated kernels, which not everyone needs

        return explain(self, self._plans, measure)

    def source(self, chain: str = "steps", group: int = 0) -> str:
        """The generated source that runs a chain of a group, the rules' names kept: LLVM IR on a
        CPU, Triton on a GPU. Where an engine generates none, the typed program that it runs.
        """
        from .source import source

        return source(self, chain, group)
