"""Somebody's functions and classes, copied so that they find stand-ins for math and torch.

Nothing of theirs is changed: a copied function has the same code and other globals.
"""

from __future__ import annotations

import builtins
import dis
import enum
import functools
import math
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch

from ...optable import OPS
from . import methods, symbols, words
from .recording import Recorder
from .watching import Draws, Watch, draws

_MATH = {  # math's functions by the word that computes them
    "sqrt": "sqrt", "exp": "exp", "log": "log", "tanh": "tanh", "cos": "cos", "floor": "floor",
    "pow": "pow", "fabs": "abs", "isfinite": "isfinite",
}  # fmt: skip
_AS_THEY_ARE = (torch.Tensor, torch.nn.Module, dict, list, tuple, set, str, bytes, int, float)
_KEPT = (enum.Enum, tuple, str, int, float)  # classes whose objects are not copied
_MOST_ITEMS = 64  # of a list whose functions are copied
_FACTORIES = ("zeros", "ones", "full", "empty", "tensor", "as_tensor", "scalar_tensor")


class Rebinder:
    """Copies what is given to it, and what that names, once each."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.watch = Watch(recorder)
        self._known: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no id is used again
        self._builtins = {
            float: _Float, vars: _vars, print: self._print, isinstance: self._isinstance,
            type: self._type,
        }  # fmt: skip
        self._copied: dict[type, type] = {}  # classes by their copies

    def __call__(self, x: Any) -> Any:
        """x as the copied code shall see it."""
        if id(x) not in self._known:
            self._kept.append(x)
            made = self._rebound(x)
            self._known.setdefault(id(x), made)
        return self._known[id(x)]

    def _rebound(self, x: Any) -> Any:
        if draws(x):
            return Draws(x, self.recorder, getattr(x, "__name__", type(x).__name__))
        if isinstance(x, types.ModuleType):
            return _Names(x, self) if x is math or _root(x.__name__) in ("torch", "numpy") else x
        if isinstance(x, type | types.BuiltinFunctionType) and x in self._builtins:
            return self._builtins[x]
        if isinstance(x, types.FunctionType) and not _is_foreign(x.__module__):
            return self.function(x)
        if isinstance(x, types.BuiltinFunctionType | types.FunctionType) or _is_ufunc(x):
            return self._library(x)
        if isinstance(x, type) and not _is_foreign(x.__module__) and not issubclass(x, _KEPT):
            return self.cls(x)
        if isinstance(x, functools.partial):
            return functools.partial(self(x.func), *x.args, **x.keywords)
        if isinstance(x, types.MethodType):
            self.watch.add(self(x.__self__), f"the object of {x.__func__.__name__}")
            return types.MethodType(self(x.__func__), self(x.__self__))
        return self.instance(x) if _is_somebodys(x) else x

    def _print(self, *_: Any, **__: Any) -> NoReturn:
        self.recorder.refuse("prints", "log outside of the step")

    def _isinstance(self, x: Any, classes: Any) -> bool:
        """isinstance(), which knows copied classes, and whole numbers from others."""
        given = classes if isinstance(classes, tuple) else (classes,)
        listed: list[Any] = [a for each in given for a in getattr(each, "__args__", (each,))]
        copied: list[Any] = [self._copied[each] for each in listed if each in self._copied]
        if isinstance(x, (*listed, *copied)):
            return True
        if issubclass(type(x), symbols.StandNumber) and int in listed:
            if not methods.is_whole(x.raw):
                self.recorder.refuse("asks whether a number is whole", "compute with it as it is")
            return True
        return False

    def _type(self, x: Any, *more: Any) -> Any:
        """type(), which of a stand-in is that of what it stands for."""
        if more or not symbols.is_stand(x):
            return self(type(x)) if not more else type(x, *more)
        if issubclass(type(x), symbols.StandParameter):
            return torch.nn.Parameter
        return self(x.__class__)

    def _library(self, x: Any) -> Any:
        """A function of math or torch that also takes stand-ins."""
        name = x.__name__
        module = "numpy" if _is_ufunc(x) else str(getattr(x, "__module__", "") or "")
        if module == "math":
            return _of_math(x)
        if _root(module) == "numpy":
            return _of_numpy(x)
        of_torch = _root(module) == "torch" or getattr(torch, name, None) is x
        return _of_torch(x, self.recorder) if of_torch else x

    def function(self, fn: types.FunctionType) -> types.FunctionType:
        """The same code with names that lead to stand-ins."""
        wrapped = getattr(fn, "__wrapped__", None)
        torchs = _root(fn.__globals__.get("__name__")) == "torch"
        if torchs and isinstance(wrapped, types.FunctionType):  # @torch.no_grad() around it
            return self(wrapped)
        cells = [types.CellType() for _ in fn.__closure__ or ()]
        self._refuse_writes(fn)
        made = types.FunctionType(
            fn.__code__, _Globals(fn.__globals__, self), fn.__name__, None,
            tuple(cells) if fn.__closure__ else None,
        )  # fmt: skip
        self._known[id(fn)] = made
        made.__defaults__ = tuple(map(self, fn.__defaults__ or ())) or None
        made.__kwdefaults__ = {n: self(d) for n, d in (fn.__kwdefaults__ or {}).items()} or None
        for held in (made.__defaults__, made.__kwdefaults__):
            self.watch.add(held, f"a default of {fn.__name__}")
        self.recorder.codes |= _codes(fn.__code__)
        for cell, old in zip(cells, fn.__closure__ or (), strict=True):
            try:
                held = old.cell_contents
            except ValueError:  # not bound yet, or never
                continue
            cell.cell_contents = self(held)
            self.watch.add(cell.cell_contents, f"a variable outside of {fn.__name__}")
        return made

    def _refuse_writes(self, fn: types.FunctionType) -> None:
        """Raise for a function that writes what is outside of it."""
        for code in _codes(fn.__code__):
            for step in dis.get_instructions(code):
                outer = step.opname == "STORE_DEREF" and step.argval in fn.__code__.co_freevars
                if outer or step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                    self.recorder.refuse(
                        f"assigns {step.argval}, a variable outside of {fn.__name__}",
                        "keep in the state what changes from step to step",
                    )

    def cls(self, cls: type) -> type:
        """The class and those it inherits from, with copied methods; torch's stay as they are."""
        bases = tuple(self(base) for base in cls.__bases__)
        made = types.new_class(cls.__name__, bases, {"metaclass": type(cls)})
        self._known[id(cls)] = self._known[id(made)] = made
        made.__module__ = cls.__module__
        self._copied[made] = cls
        for name, member in cls.__dict__.items():
            if name not in ("__dict__", "__weakref__", "__module__", "__doc__", "__init_subclass__",
                            "__abstractmethods__", "_abc_impl", "__class_getitem__"):  # fmt: skip
                setattr(made, name, self._member(member))
                self.watch.add(member, f"{cls.__name__}.{name}")
        return made

    def _member(self, member: Any) -> Any:
        if isinstance(member, staticmethod | classmethod):
            return type(member)(self(member.__func__))
        if isinstance(member, property):
            return property(*(f and self(f) for f in (member.fget, member.fset, member.fdel)))
        return self(member) if isinstance(member, types.FunctionType) else member

    def instance(self, x: Any, known: dict[int, Any] | None = None) -> Any:
        """An object of a copied class with the same attributes, themselves copied so."""
        known = {} if known is None else known
        if type(x) in (list, tuple) and len(x) <= _MOST_ITEMS:
            return type(x)(self.instance(each, known) for each in x)
        foreign = _is_foreign(type(x).__module__) or draws(x)
        if foreign or isinstance(x, type | types.FunctionType):
            return self(x)
        plain = isinstance(x, _AS_THEY_ARE) or not hasattr(x, "__dict__")
        if plain or id(x) in known:
            return known.get(id(x), x)
        made = known[id(x)] = object.__new__(self(type(x)))
        left = ("state", "param_groups") if isinstance(x, torch.optim.Optimizer) else ()
        for name, value in x.__dict__.items():
            if name not in left:
                made.__dict__[name] = self.instance(value, known)
        return made


def _is_somebodys(x: Any) -> bool:
    """True for an object of somebody's class, which is copied with its methods."""
    plain = isinstance(x, (*_AS_THEY_ARE, *_KEPT, types.ModuleType, type, types.FunctionType))
    stand = symbols.is_stand(x) or type(x).__module__.startswith(__package__ or "")
    return not (plain or stand or _is_foreign(type(x).__module__)) and hasattr(x, "__dict__")


def _root(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_foreign(module: str | None) -> bool:
    """True for the standard library, torch and NumPy, whose code is left as it is."""
    return _root(module) in ("torch", "numpy") or _root(module) in sys.stdlib_module_names


def _codes(code: types.CodeType) -> set[types.CodeType]:
    """A function's code and that of the functions within it."""
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return {code}.union(*map(_codes, inner))


class _Globals(dict[str, Any]):
    """A function's globals, each seen through the rebinder; a function may not write them."""

    def __init__(self, names: Mapping[str, Any], rebind: Rebinder) -> None:
        super().__init__()
        self._names, self._rebind = names, rebind

    def __getitem__(self, name: str) -> Any:
        if name in self._names:
            found = self._rebind(self._names[name])
            self._rebind.watch.add(found, name)
            return found
        if name in ("float", "vars", "print", "isinstance", "type"):
            return self._rebind(getattr(builtins, name))
        return super().__getitem__(name)


class _Names:
    """A module whose functions also take stand-ins."""

    def __init__(self, module: types.ModuleType, rebind: Rebinder) -> None:
        self.__dict__.update(_module=module, _rebind=rebind)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__["_module"], name)
        return self.__dict__["_rebind"](found)


class _FloatType(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, float)


class _Float(metaclass=_FloatType):
    """float(x), which takes a traced number as it is."""

    def __new__(cls, x: Any = 0.0) -> Any:
        return methods.TABLE["item"](x) if symbols.is_stand(x) else float(x)


def _vars(*of: Any) -> Any:
    """vars(p), which are p's state where people keep it on the parameter."""
    if of and issubclass(type(of[0]), symbols.StandParameter):
        return of[0].held
    if of and symbols.is_stand(of[0]):
        of[0].lift_recorder.refuse("reads vars() of a tensor", "keep state on p, or in a dict")
    return vars(*of)


def _is_ufunc(x: Any) -> bool:
    """True for NumPy's functions, which are no Python functions."""
    named = type(x).__name__ in ("ufunc", "_ArrayFunctionDispatcher")
    return named and _root(type(x).__module__) == "numpy"


def _of_numpy(fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        stand = next((a for a in (*args, *kwargs.values()) if symbols.is_stand(a)), None)
        if stand is None:
            return fn(*args, **kwargs)
        word = {"power": "pow", "absolute": "abs", "fabs": "abs"}.get(fn.__name__, fn.__name__)
        known = word in OPS and OPS[word].kind == "elementwise" and not kwargs
        if not known or not all(map(symbols.is_operand, args)):
            methods.refuse_word(stand.lift_recorder, f"numpy.{fn.__name__}")
        return symbols.made(stand.lift_recorder, word, *args)

    return call


def _of_math(fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        stand = next((a for a in args if symbols.is_stand(a)), None)
        if stand is None:
            return fn(*args)
        plain = [methods.TABLE["item"](a) if symbols.is_stand(a) else a for a in args]
        if fn.__name__ in ("isnan", "isinf"):
            return methods.TABLE[fn.__name__](*plain)
        word = _MATH.get(fn.__name__)
        if word is None:
            methods.refuse_word(stand.lift_recorder, f"math.{fn.__name__}")
        if word == "log" and len(plain) == 2:  # to a base
            return symbols.made(stand.lift_recorder, "div", *map(call, plain))
        return symbols.made(stand.lift_recorder, word, *plain)

    return call


def _of_torch(fn: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(map(_holds_stand, (*args, *kwargs.values()))):
            if fn.__name__ in _FACTORIES:
                return _new(recorder, fn.__name__, *args, **kwargs)
            return methods.call(fn.__name__, args, kwargs)
        if fn.__name__ in words.RANDOM:
            methods.refuse_word(recorder, f"torch.{fn.__name__}")
        if fn.__name__ in _FACTORIES:
            return _new(recorder, fn.__name__, *args, **kwargs)
        return fn(*args, **kwargs)

    return call


def _holds_stand(x: Any) -> bool:
    if isinstance(x, methods.Shape):
        return True
    if isinstance(x, list | tuple):
        return any(map(_holds_stand, x))
    return issubclass(type(x), symbols.Stand | methods.Kind)


def _new(recorder: Recorder, name: str, *args: Any, **kwargs: Any) -> Any:
    """torch.zeros(p.shape), torch.tensor(0.): a tensor like p, or of one number."""
    shape = kwargs.get("size", args[0] if args else ())
    if isinstance(shape, int):
        shape = tuple(a for a in args if isinstance(a, int))
    fills = {"zeros": 0.0, "ones": 1.0, "full": kwargs.get("fill_value", args[-1] if args else 0.0)}
    if name == "as_tensor" and args and issubclass(type(args[0]), symbols.StandTensor):
        return args[0]
    if name in ("tensor", "as_tensor", "scalar_tensor"):
        raw = symbols.raw_of(recorder, args[0])
        return symbols.tensor(recorder, raw, symbols.logical(args[0]))
    if name == "empty" or not (type(shape) is methods.Shape or tuple(shape) in ((), (1,))):
        recorder.refuse(
            f"makes a tensor of a shape of its own by torch.{name}", "write torch.zeros_like(p)"
        )
    raw = symbols.raw_of(recorder, fills[name])
    if type(shape) is methods.Shape:
        return symbols.tensor(recorder, raw)
    return symbols.tensor(recorder, raw, "host")
