"""Stand-ins for the tensors and numbers of somebody's code: what is done to them is recorded."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NoReturn, cast

from torch import Tensor

from ...optable import OPS
from ...tracing import FULL, HOST, Type, Value, broadcast
from . import methods
from .guessing import Guessed, blame_many
from .memory import Cell
from .recording import Raw, Recorder, extent_of, is_condition, is_scalar


class Stand:
    """What stands for a tensor or a number under lifting; operators are recorded."""

    def __init__(self, recorder: Recorder, cell: Cell, guesses: frozenset[str] = frozenset()):
        self.__dict__.update(lift_recorder=recorder, lift_cell=cell, lift_guesses=guesses)

    lift_recorder: Recorder
    lift_cell: Cell
    lift_guesses: frozenset[str]  # names of which it is unknown whether they are tensors

    @property
    def raw(self) -> Raw:
        """The value that it holds now."""
        if self.lift_cell.lost is not None:
            self.lift_recorder.fail(self.lift_cell.lost)
        return self.lift_cell.value

    def named_cell(self) -> Raw | None:
        """The value that a variable holding this names: none that in-place methods still change."""
        return None if self.lift_cell.changed else self.lift_cell.value

    def _operator(self, op: str, other: Any, swapped: bool = False) -> Any:
        if not is_operand(other):
            return NotImplemented
        pair = (other, self) if swapped else (self, other)
        return made(self.lift_recorder, op, *pair)

    __array_ufunc__ = None  # so that NumPy's numbers leave their operators to this class

    # fmt: off
    def __add__(self, o: Any) -> Any: return self._operator("add", o)
    def __radd__(self, o: Any) -> Any: return self._operator("add", o, True)
    def __sub__(self, o: Any) -> Any: return self._operator("sub", o)
    def __rsub__(self, o: Any) -> Any: return self._operator("sub", o, True)
    def __mul__(self, o: Any) -> Any: return self._operator("mul", o)
    def __rmul__(self, o: Any) -> Any: return self._operator("mul", o, True)
    def __truediv__(self, o: Any) -> Any: return self._operator("div", o)
    def __rtruediv__(self, o: Any) -> Any: return self._operator("div", o, True)
    def __pow__(self, o: Any) -> Any: return self._operator("pow", o)
    def __rpow__(self, o: Any) -> Any: return self._operator("pow", o, True)
    def __mod__(self, o: Any) -> Any: return self._operator("mod", o)
    def __rmod__(self, o: Any) -> Any: return self._operator("mod", o, True)
    def __and__(self, o: Any) -> Any: return self._operator("and", o)
    def __rand__(self, o: Any) -> Any: return self._operator("and", o, True)
    def __or__(self, o: Any) -> Any: return self._operator("or", o)
    def __ror__(self, o: Any) -> Any: return self._operator("or", o, True)
    def __lt__(self, o: Any) -> Any: return self._operator("lt", o)
    def __le__(self, o: Any) -> Any: return self._operator("le", o)
    def __gt__(self, o: Any) -> Any: return self._operator("gt", o)
    def __ge__(self, o: Any) -> Any: return self._operator("ge", o)
    def __eq__(self, o: Any) -> Any: return self._operator("eq", o)
    def __ne__(self, o: Any) -> Any: return self._operator("ne", o)
    def __neg__(self) -> Any: return made(self.lift_recorder, "neg", self)
    def __pos__(self) -> Any: return self
    def __abs__(self) -> Any: return made(self.lift_recorder, "abs", self)
    def __invert__(self) -> Any: return made(self.lift_recorder, "not", self)
    # fmt: on

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raw = self.raw
        if not isinstance(raw, Value):
            return bool(raw)
        if len(self.lift_guesses) == 1:
            raise Guessed(*self.lift_guesses, is_tensor=False)
        if not is_scalar(raw.extent):
            self.lift_recorder.refuse(
                "asks for the truth of a tensor of many elements",
                "write torch.where(condition, a, b), or reduce it first",
            )
        asked = raw if is_condition(raw) else self.lift_recorder.record("ne", raw, 0)
        return self.lift_recorder.decide(cast("Value", asked))

    def __float__(self) -> NoReturn:
        self.lift_recorder.refuse(
            "makes a plain float of a traced number",
            "call float() and math's functions by their module's names, or write x ** 0.5",
        )

    def __int__(self) -> NoReturn:
        self.lift_recorder.refuse("makes a whole number of a traced one", "use it as it is")

    def __index__(self) -> NoReturn:
        self.lift_recorder.refuse(
            "counts by a traced number: a loop or an index of unknown length",
            "loop over range(a constant)",
        )

    __trunc__ = __int__

    def __round__(self, digits: int | None = None) -> NoReturn:
        self.lift_recorder.refuse("rounds a traced number", "write torch.floor(x + 0.5)")

    def __floordiv__(self, other: Any) -> Any:
        return methods.floor_divided(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return methods.floor_divided(other, self)

    def __repr__(self) -> str:
        return repr(self.lift_cell.value)

    def __str__(self) -> str:
        self.lift_recorder.refuse("makes text of a traced value", "log outside of the step")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("data", "grad"):
            self.lift_recorder.refuse(f"sets .{name} of a tensor", "keep it in the state")
        object.__setattr__(self, name, value)

    def __format__(self, spec: str) -> NoReturn:
        self.lift_recorder.refuse("prints a traced value", "log outside of the step")

    def __len__(self) -> NoReturn:
        self._shape("len()")

    def __iter__(self) -> NoReturn:
        self._shape("iteration")

    def __getitem__(self, key: Any) -> NoReturn:
        self._view("indexing")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        self._view("assigning to elements")

    def __matmul__(self, other: Any) -> NoReturn:
        self.lift_recorder.refuse(
            "multiplies matrices", "write a rule with matmul, transpose or orthogonalise"
        )

    __rmatmul__ = __matmul__

    def _view(self, what: str) -> NoReturn:
        self.lift_recorder.refuse(
            f"uses {what}: a part or another view of a tensor",
            "work on whole tensors, with torch.where for a part of the elements",
        )

    def _shape(self, what: str) -> NoReturn:
        self.lift_recorder.refuse(
            f"asks for the shape by {what}, but one rule serves all shapes",
            "use numel(), or lift two procedures and join them by steppers.by_shape",
        )


class StandNumber(Stand):
    """A hyper-parameter, a step count, or what was computed from them and by item()."""

    def __hash__(self) -> int:
        self.lift_recorder.refuse(
            "looks a traced number up in a dict or a set", "write if and ==, or compute it"
        )

    def _apart(self, *_: Any) -> NoReturn:
        self.lift_recorder.refuse(
            f"takes {self!r} apart, as a tuple", "take its members by name, or bind a constant"
        )

    __getitem__ = __iter__ = __len__ = _apart  # pyright: ignore[reportAssignmentType]  # all refuse

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return float

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in methods.TABLE or name.rstrip("_") in methods.TABLE or name in ("data", "item"):
            if len(self.lift_guesses) == 1:
                raise Guessed(*self.lift_guesses, is_tensor=True)
            if self.lift_guesses:
                blame_many(self.lift_recorder, self.lift_guesses)
        raise AttributeError(f"a number has no attribute {name!r}")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return StandTensor.__torch_function__(func, types, args, kwargs)


class StandTensor(Stand):
    """A tensor: the parameter, its gradient, a slot, or what was computed from them."""

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Tensor

    # fmt: off
    def __iadd__(self, o: Any) -> Any: return self.change("add", o)
    def __isub__(self, o: Any) -> Any: return self.change("sub", o)
    def __imul__(self, o: Any) -> Any: return self.change("mul", o)
    def __itruediv__(self, o: Any) -> Any: return self.change("div", o)
    def __ipow__(self, o: Any) -> Any: return self.change("pow", o)
    def __imod__(self, o: Any) -> Any: return self.change("mod", o)
    def __iand__(self, o: Any) -> Any: return self.change("and", o)
    def __ior__(self, o: Any) -> Any: return self.change("or", o)
    def __ifloordiv__(self, o: Any) -> Any: return self.put(self // o)
    # fmt: on

    def change(self, op: str, other: Any) -> StandTensor:
        """An in-place operator."""
        if not is_operand(other):
            return NotImplemented
        return self.put(made(self.lift_recorder, op, self, other))

    def put(self, new: Any) -> StandTensor:
        """Take a new value in place."""
        self._refuse_shape(logical(new))
        raw = raw_of(self.lift_recorder, new)
        if is_condition(raw) and not is_condition(self.lift_cell.value):
            raw = self.lift_recorder.record("where", raw, 1.0, 0.0)
        self.lift_cell.put(self.lift_recorder, raw)
        return self

    def _refuse_shape(self, extent: Type) -> None:
        if extent != self.lift_cell.extent and not is_scalar(extent):  # one number fills any shape
            self.lift_recorder.refuse(
                "changes a tensor in place by one of another shape", "bind the result to a name"
            )

    @property
    def data(self) -> Any:
        """The same tensor."""
        return StandTensor(self.lift_recorder, self.lift_cell, self.lift_guesses)

    @data.setter
    def data(self, new: Any) -> None:
        """Take other memory; who holds the former keeps it."""
        self._refuse_shape(logical(new))
        if not issubclass(type(new), StandTensor) or logical(new) != self.lift_cell.extent:
            self.lift_recorder.refuse(f"sets .data to {new!r}", "write copy_() or fill_()")
        self.__dict__["lift_cell"] = new.lift_cell

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in methods.PLAIN:
            return methods.PLAIN[name](self)
        function: Callable[..., Any] | None = methods.TABLE.get(name)
        if function is not None:
            return lambda *args, **kwargs: function(self, *args, **kwargs)
        base = methods.TABLE.get(name[:-1]) if name.endswith("_") else None
        if base is not None:
            return lambda *args, **kwargs: self.put(base(self, *args, **kwargs))
        if name in methods.VIEWS:
            self._view(f".{name}")
        if name in methods.SHAPES:
            self._shape(f".{name}")
        if hasattr(Tensor, name):
            methods.refuse_word(self.lift_recorder, f".{name}()" if name[0] != "_" else name)
        raise AttributeError(f"a tensor has no attribute {name!r}")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return methods.call(getattr(func, "__name__", str(func)), args, kwargs or {})


class StandParameter(StandTensor):
    """The parameter: with a gradient, and with attributes that may be state (miniai's form)."""

    def __init__(self, recorder: Recorder, cell: Cell, grad: StandTensor, held: Any) -> None:
        super().__init__(recorder, cell)
        self.__dict__.update(grad_stand=grad, held=held)
        self.__dict__["own_names"] = frozenset([*self.__dict__, "own_names"])

    grad_stand: StandTensor
    held: Any
    own_names: frozenset[str]
    _is_param = True  # for isinstance(p, torch.nn.Parameter)

    def refuse_attributes(self) -> None:
        """Raise for state that was put into p.__dict__, where nobody notes it."""
        more = self.__dict__.keys() - self.own_names
        if more:
            self.lift_recorder.refuse(f"writes p.__dict__[{min(more)!r}]", f"write p.{min(more)}")

    @property
    def requires_grad(self) -> bool:
        """A parameter under lifting is trained."""
        return True

    @property
    def grad(self) -> StandTensor:
        """The gradient: a value of the step, whoever changes or replaces it."""
        return self.grad_stand

    @grad.setter
    def grad(self, new: Any) -> None:
        if new is None:
            self.lift_recorder.refuse("drops the gradient", "leave that to zero_grad()")
        if not issubclass(type(new), StandTensor) or logical(new) != FULL:
            self.lift_recorder.refuse(f"sets the gradient to {new!r}", "give it a tensor like p")
        self.__dict__["grad_stand"] = new

    def __getattr__(self, name: str) -> Any:
        if name in self.held:
            return self.held[name]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("grad", "data"):
            object.__setattr__(self, name, value)
        else:
            self.held[name] = value


def is_stand(x: Any) -> bool:
    """True for what stands for a tensor or a number (isinstance takes it for one)."""
    return issubclass(type(x), Stand)


def is_operand(x: Any) -> bool:
    """True for what an operator takes: stand-ins, numbers, torch's tensors of one element."""
    return is_stand(x) or isinstance(x, Real | Tensor)


def raw_of(recorder: Recorder, x: Any) -> Raw:
    """The value of an operand; TypeError for tensors that the code makes itself."""
    if is_stand(x):
        return x.raw
    if type(x) in (bool, int, float):
        return x
    if isinstance(x, Integral):
        return int(x)
    if isinstance(x, Tensor) and x.numel() == 1 and x.ndim == 0:
        return x.item()
    if isinstance(x, Real):
        return float(x)
    what = f"a tensor of its own, of shape {tuple(x.shape)}" if isinstance(x, Tensor) else repr(x)
    recorder.refuse(
        f"computes with {what}",
        "use p, its gradient, its state and numbers; a constant is a number",
    )


def logical(x: Any) -> Type:
    """The shape that a stand-in has in the user's code, where zeros are a tensor of zeros."""
    return x.lift_cell.extent if is_stand(x) else HOST


def made(recorder: Recorder, op: str, *args: Any, over: str | None = None) -> Any:
    """One word on operands, as a tensor if any of them is one, else as a number."""
    raws = [raw_of(recorder, arg) for arg in args]
    if OPS[op].kind == "elementwise" and op != "where":
        raws = [_as_number(recorder, raw) for raw in raws]
    value = recorder.record(op, *raws, over=over)
    extent = extent_of(value)
    if OPS[op].kind != "reduce":
        extent = broadcast(recorder.name, op, [logical(arg) for arg in args])
    guesses = frozenset[str]().union(*(a.lift_guesses for a in args if is_stand(a)))
    if any(issubclass(type(arg), StandTensor) for arg in args):
        return StandTensor(recorder, Cell(value, extent))
    return StandNumber(recorder, Cell(value, extent), guesses)


def _as_number(recorder: Recorder, raw: Raw) -> Raw:
    """A condition among the operands of arithmetic counts as 1 or 0."""
    if isinstance(raw, Value) and is_condition(raw) and not is_scalar(raw.extent):
        return recorder.record("where", raw, 1.0, 0.0)
    return raw


def tensor(recorder: Recorder, raw: Raw, extent: Type = FULL) -> StandTensor:
    """A new tensor that holds a value."""
    return StandTensor(recorder, Cell(raw, extent))


def recorder_of(args: Any, kwargs: Any) -> Recorder:
    """The recorder of the first stand-in among the arguments."""
    listed = [each for a in (*args, *kwargs.values())
              for each in (a if isinstance(a, tuple | list) else (a,))]  # fmt: skip
    return next(each.lift_recorder for each in listed if is_stand(each))
