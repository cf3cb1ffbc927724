"""Words that Triton's interpreter lacks, takes minutes for or rounds wrong, in NumPy.

libdevice exists on a device only. The interpreter rounds ties to bfloat16 up, loses a carry into
the exponent (triton 3.7.1), and folds a reduction by a function of one's own in a loop of Python.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


def words() -> dict[str, Any]:
    """What stands for the functions of the same names in a kernel's source."""
    import numpy as np

    names = ("exp", "log", "tanh", "cos", "fmod")
    curves = {n: functools.partial(_elementwise, getattr(np, n)) for n in names}
    curves["pow"] = functools.partial(_elementwise, np.power)
    return {
        "libdevice": SimpleNamespace(**curves),
        "to_bfloat16": _to_bfloat16,
        "from_bfloat16": _from_bfloat16,
        "largest": _largest,
    }


def _tensor(data: Any, like: Any) -> Any:
    """A NumPy array as the interpreter's tensor of a scalar type."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    kind = tl.block_type(like, list(data.shape)) if data.ndim else like
    return tl.tensor(TensorHandle(np.atleast_1d(data), like), kind)


def _elementwise(function: Callable[..., Any], *args: Any) -> Any:
    import numpy as np

    kind = args[0].dtype.scalar
    scalar = all(not arg.type.is_block() for arg in args)
    data = function(*(arg.handle.data for arg in args))
    return _tensor(np.asarray(data).reshape(()) if scalar else data, kind)


def _bits(x: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(x.handle.data)


def _to_bfloat16(x: Any) -> Any:
    """To the nearest, of two the even one; NaN stays NaN."""
    import numpy as np
    import triton.language as tl

    word = _bits(x).view(np.uint32)
    up = ((word + 0x7FFF + ((word >> 16) & 1)) >> 16).astype(np.uint16)
    nan = (word & 0x7FFFFFFF) > 0x7F800000
    data = np.where(nan, np.uint16(0x7FC0), up).astype(np.uint16)
    return _tensor(data if x.type.is_block() else data.reshape(()), tl.bfloat16)


def _from_bfloat16(x: Any) -> Any:
    import numpy as np
    import triton.language as tl

    data = (_bits(x).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return _tensor(data if x.type.is_block() else data.reshape(()), tl.float32)


def _largest(x: Any, axis: int) -> Any:
    import numpy as np

    return _tensor(np.asarray(np.max(x.handle.data, axis=axis)), x.dtype.scalar)
