"""How a pass shows that it moves: a bar, a line now and then, or nothing. All of it on stderr."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any, Literal, Protocol

from ..extras import missing

Kind = Literal["auto", "bar", "lines", "silent"]
KINDS = ("auto", "bar", "lines", "silent")


class Moving(Protocol):
    """What shows a pass. `interval`: seconds from one update to the next."""

    interval: float

    def update(self, done: int, text: str) -> None:
        """So many batches are done, and what to say beside it."""
        ...

    def close(self) -> None:
        """The pass is over, or given up."""
        ...


def opened(kind: Kind, title: str, total: int | None, done: int) -> Moving:
    """What shows a pass of `total` batches, of which `done` lie behind."""
    kind = chosen() if kind == "auto" else kind
    if kind == "bar":
        return Bar(title, total, done)
    return Lines(title, total) if kind == "lines" else Nothing()


def chosen() -> Kind:
    """A bar on a terminal and in a notebook, where tqdm is installed; else lines."""
    stream: Any = sys.stderr  # None where there is no console
    terminal = stream is not None and stream.isatty()
    shown = terminal or in_notebook()
    return "bar" if shown and _installed("tqdm") else "lines"


def check_available() -> None:
    """Raise ImportError where there is no tqdm, with the command that helps."""
    if not _installed("tqdm"):
        raise missing("tqdm", "the progress bar")


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # something in the way of imports, or a stand-in
        return False


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell: Any = getattr(ipython, "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


class Bar:
    """One tqdm bar, gone when the pass is over."""

    interval = 0.1

    def __init__(self, title: str, total: int | None, done: int) -> None:
        self._bar: Any = _tqdm()(
            desc=title,
            total=total,
            initial=done,
            leave=False,
            unit="batch",
            dynamic_ncols=True,
            mininterval=0,  # the caller keeps the interval
            miniters=1,
            file=sys.stderr,
        )

    def update(self, done: int, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


def _tqdm() -> Any:
    if in_notebook() and _installed("ipywidgets"):
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm
    return tqdm


class Lines:
    """A line every half minute, for logs."""

    interval = 30.0

    def __init__(self, title: str, total: int | None) -> None:
        self.title, self.of = title, "" if total is None else f"/{total}"

    def update(self, done: int, text: str) -> None:
        line = f"{self.title}: batch {done}{self.of}{', ' if text else ''}{text}"
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Nothing:
    """No sign of it."""

    interval = float("inf")

    def update(self, done: int, text: str) -> None:
        pass

    def close(self) -> None:
        pass
