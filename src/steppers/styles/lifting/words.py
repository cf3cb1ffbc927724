"""One word on stand-ins, and what to say of a function that is no word."""

from __future__ import annotations

from typing import Any, NoReturn

from ...ops import __all__ as WORDS
from ...optable import OPS
from . import symbols
from .guessing import Guessed, blame_many
from .recording import Recorder, is_condition

RANDOM = frozenset({
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli",
    "normal", "multinomial", "poisson", "dropout", "uniform", "uniform_", "normal_", "bernoulli_",
    "random_", "exponential_", "cauchy_", "geometric_", "log_normal_",
})  # fmt: skip
_ELEMENTWISE = " ".join(w for w in OPS if w in WORDS)


def refuse_word(recorder: Recorder, word: str) -> NoReturn:
    """Raise for a function of torch that has no word."""
    name = word.rpartition(".")[2].strip("()")
    if name in RANDOM:
        recorder.refuse(
            f"draws random numbers by {word}",
            "write a rule with uniform(x), normal(x) or coin(x) of steppers.ops",
        )
    recorder.refuse(f"uses {word}, which has no word in steppers.ops", f"there are {_ELEMENTWISE}")


def do(op: str, *args: Any, over: str | None = None) -> Any:
    """One word on what the user's code has, as one of the same."""
    return symbols.made(symbols.recorder_of(args, {}), op, *args, over=over)


def need_tensors(*args: Any) -> None:
    """Names of the signature that stand where only a tensor can are tensors."""
    for arg in args:
        if issubclass(type(arg), symbols.StandNumber) and arg.lift_guesses:
            if len(arg.lift_guesses) == 1:
                raise Guessed(*arg.lift_guesses, is_tensor=True)
            blame_many(arg.lift_recorder, arg.lift_guesses)


def numeric(x: Any) -> Any:
    """A condition as ones and zeros."""
    return do("where", x, 1.0, 0.0) if is_condition(x.raw) else x
