"""JSON that any reader takes: no NaN, no infinities."""

import json
import math
from typing import Any


def to_json(value: Any) -> str:
    """Strict JSON: numbers that are not finite become null, other objects their text."""
    return json.dumps(finite(value), indent=2, allow_nan=False, default=str)


def finite(value: Any) -> Any:
    """The same value with null for nan and infinities, all the way down."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value
