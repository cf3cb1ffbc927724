"""The rules that momentum's options choose, for every optimizer that has torch's SGD's."""

from ..rules import heavy_ball
from ..rules import nesterov as look_ahead


def speed(owner, momentum, nesterov, dampening):
    """No momentum, no buffer. Nesterov's form needs momentum without dampening: ValueError."""
    if nesterov and (not momentum or dampening):
        raise ValueError(f"{owner}: nesterov=True needs momentum > 0 and dampening = 0")
    if not momentum:
        return ()
    return (heavy_ball, look_ahead) if nesterov else (heavy_ball,)
