"""Running a row beside its reference: inputs from a seed, steps of both, and the comparison."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import references as ref
import torch

ENGINES = ("loop", "foreach", "fused")
STEPS = 7  # RAdam rectifies from the sixth on
SHAPES = ((), (1,), (7, 5), (0, 3), (2, 3, 4))
MATRICES = ((7, 5), (3, 8), (0, 3), (4, 4), (2, 3, 4))
COMPUTE = {torch.float64: torch.float64}  # the dtype of the arithmetic; float32 for the others

# How far a number may be off, in units of the dtype's eps. In float32 and float64 a step rounds
# some ten times and its errors are relative to the largest element. A 16-bit number is rounded
# once, at the store, by half an eps at most, beside the errors of the float32 before it.
TOLERANCE = {torch.float64: 16.0, torch.float32: 16.0, torch.bfloat16: 0.5, torch.float16: 0.5}
TINY = {torch.float16: 2.0**-24}  # the spacing of numbers too small for a full float16


def fits(row, shapes):
    """Those of the shapes that the row takes."""
    return [s for s in shapes if not row.matrices or len(s) >= 2]


def shapes_of(row):
    return MATRICES if row.matrices else SHAPES


def draw(shapes: Sequence[tuple], seed: int) -> list[np.ndarray]:
    """Normal numbers in these shapes."""
    random = np.random.default_rng(seed)
    return [np.asarray(random.standard_normal(shape)) for shape in shapes]


def parameter(x: np.ndarray, dtype) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(x, dtype=dtype))


def numpy(x) -> np.ndarray:
    """A tensor or a number as a float64 array of its own; complex tensors as real pairs."""
    if not isinstance(x, torch.Tensor):
        return np.asarray(x, dtype=np.float64)
    x = x.detach()
    x = torch.view_as_real(x) if x.is_complex() else x
    return x.to(torch.float64).numpy().copy()


def close(actual, expected, dtype, loose: float = 1.0) -> bool:
    """Within the dtype's tolerance of its own size, or of the tensor's if stored at full width."""
    actual, expected = numpy(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        return False
    size = np.abs(np.where(np.isfinite(expected), expected, 0))
    wide = COMPUTE.get(dtype, torch.float32)
    allowed = TOLERANCE[wide] * torch.finfo(wide).eps * size.max(initial=0.0) * loose
    if dtype != wide:
        allowed = allowed + TOLERANCE[dtype] * torch.finfo(dtype).eps * size + TINY.get(dtype, 0.0)
    with np.errstate(invalid="ignore"):
        near = np.abs(actual - expected) <= allowed
    return bool(np.all(near | (actual == expected) | (np.isnan(actual) & np.isnan(expected))))


@dataclass
class Trial:
    """An optimizer and its reference on the same rounded inputs."""

    row: object
    optimizer: torch.optim.Optimizer
    groups: list[ref.Group]
    dtype: torch.dtype

    @property
    def params(self):
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def step(self, grads: Sequence):
        """One step of both on the same gradients (None: no gradient), rounded to the dtype."""
        for p, g in zip(self.params, grads, strict=True):
            p.grad = None if g is None else torch.empty_like(p).copy_(torch.from_numpy(g))
        given = [None if g is None else p.grad.clone() for p, g in zip(self.params, grads,
                                                                      strict=True)]  # fmt: skip
        self.optimizer.step()
        for p, g in zip(self.params, given, strict=True):
            assert g is None or torch.equal(p.grad.nan_to_num(), g.nan_to_num())
        self.refer([None if g is None else numpy(g) for g in given])

    def refer(self, grads: Sequence):
        """One step of the reference alone."""
        left = iter(grads)
        with np.errstate(all="ignore"):  # NaN and inf are among the inputs
            self.row.reference(self.groups, [[next(left) for _ in g.params] for g in self.groups])

    def follow(self):
        """Put the reference where the optimizer is: its parameters, state and kept scalars."""
        for group, source in zip(self.groups, self.optimizer.param_groups, strict=True):
            group.params = [numpy(p) for p in source["params"]]
            group.states = [
                {n: int(x) if n == "step" else numpy(x) for n, x in
                 self.optimizer.state.get(p, {}).items()} for p in source["params"]
            ]  # fmt: skip
            group.kept = {n: float(source[n]) for n in group.kept}

    def check(self):
        """Parameters, slots, counts and kept scalars are the reference's."""
        dtype, loose = self.dtype, self.row.loose
        for group, source in zip(self.groups, self.optimizer.param_groups, strict=True):
            for p, x, s in zip(source["params"], group.params, group.states, strict=True):
                assert close(p, x, dtype, loose), f"p {tuple(p.shape)}\n{numpy(p)}\n{x}"
                state = self.optimizer.state.get(p, {})
                assert set(state) == set(s)
                assert all(state[name].shape == np.shape(s[name]) for name in s)
                for name in s:
                    scalar = state[name].ndim == 0 and state[name].dtype != dtype
                    kind = state[name].dtype if scalar else dtype
                    assert close(state[name], s[name], kind, loose), (
                        f"{name} {tuple(p.shape)}\n{numpy(state[name])}\n{s[name]}"
                    )
            for name, x in group.kept.items():
                wide = COMPUTE.get(dtype, torch.float32)
                assert close(source[name], x, wide, self.row.loose_kept), (
                    f"{name}: {source[name]}, not {x}"
                )


def trial(row, dtype=torch.float32, engine="loop", shapes=None, params=None, **more) -> Trial:
    """A row on parameters drawn from a seed, beside its reference."""
    if params is None:
        values = draw(fits(row, shapes or shapes_of(row)), seed=1)
        params = [parameter(x, dtype) for x in values]
    hypers = {**row.hypers, **more}
    group = ref.Group([numpy(p) for p in params], reference_hypers(hypers, dtype))
    return Trial(row, row.build(params, engine=engine, **more), [group], dtype)


def reference_hypers(hypers, dtype):
    """Hypers for the reference; a None stands for the eps of the dtype (torch's Adafactor)."""
    eps = torch.finfo(dtype).eps
    filled = {n: tuple(eps if v is None else v for v in x) for n, x in hypers.items()
              if isinstance(x, tuple)}  # fmt: skip
    return {**hypers, **filled}


def gradients(shapes, step: int, scale: float = 1.0) -> list[np.ndarray]:
    """The gradients of one step: fixed by its number."""
    return [np.asarray(scale * g) for g in draw(shapes, seed=100 + step)]
