"""How a run shows that it moves: a bar, a line an epoch, or nothing. All of it on stderr."""

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from .extras import missing

Kind = Literal["bar", "lines", "silent"]


class Progress(Protocol):
    """What a loop tells; where it is shown is the other side's business."""

    def step(self, postfix: Mapping[str, str]) -> None:
        """One step is done. `postfix` is what to show beside the count."""
        ...

    def epoch(self, line: str) -> None:
        """One epoch is done, in one line."""
        ...


@contextmanager
def progress(kind: Kind, *, total: int, done: int = 0) -> Generator[Progress, None, None]:
    """Show `total` steps, of which `done` lie behind; a bar is closed however the block ends.

    Raises:
        ImportError: a bar is wanted and tqdm is not installed.
    """
    if kind == "bar":
        bar = _bar(total, done)
        try:
            yield Bar(bar)
        finally:
            bar.close()
    else:
        yield Lines() if kind == "lines" else Silent()


def _bar(total: int, done: int) -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise missing("tqdm", "the progress bar") from error
    return tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, file=sys.stderr)


class Bar:
    """One tqdm bar for the whole run."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def step(self, postfix: Mapping[str, str]) -> None:
        self.bar.set_postfix(postfix, refresh=False)
        self.bar.update()

    def epoch(self, line: str) -> None:
        pass  # the bar says it


class Silent:
    """Nothing at all."""

    def step(self, postfix: Mapping[str, str]) -> None:
        pass

    def epoch(self, line: str) -> None:
        pass


class Lines:
    """One line an epoch, for logs."""

    def step(self, postfix: Mapping[str, str]) -> None:
        pass

    def epoch(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def say(line: str) -> None:
    """Print a line on stdout, without breaking a bar that may be on the terminal."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        print(line, flush=True)
    else:
        tqdm.tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
