"""Docstrings here are plain text with code in backticks; this makes them safe for reStructuredText.

Outside of code `|w|`, `*` and a trailing `_` mean nothing special, a list needs no empty line
before it, and what stands indented behind `::` or `>>>` is left alone.
"""

import re
from typing import Any

CODE = re.compile(r"(``.*?``|`[^`]*`)", re.DOTALL)
SPECIAL = re.compile(r"\*|\||(?<=\w)_(?!\w)")
# steppers.ops.Operand as Sphinx writes it; `~` shortens a name to its last part
OPERAND = re.compile(r"~?\S*Operators \| ~?\S*Tensor \| float \| int \| bool")
ITEM = re.compile(r"\s*- \S")


def escaped(text: str) -> str:
    """Text in which only backticks have a meaning."""
    parts = CODE.split(text)
    return "".join(part if i % 2 else SPECIAL.sub(r"\\\g<0>", part) for i, part in enumerate(parts))


def depth(line: str) -> int:
    """How far a line is indented."""
    return len(line) - len(line.lstrip())


def literal_blocks(lines: list[str]) -> list[bool]:
    """For each line whether it stands in a literal block or in an interactive example."""
    inside: list[bool] = []
    level = -1  # of the line that ends in ::
    doctest = False
    for line in lines:
        if line.strip() and level >= 0 and depth(line) <= level:
            level = -1
        doctest = bool(line.strip()) and (doctest or line.lstrip().startswith(">>>"))
        inside.append(doctest or level >= 0)
        if level < 0 and line.rstrip().endswith("::"):
            level = depth(line)
    return inside


def safe(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText that reads the same."""
    text = list[str]()
    kept = literal_blocks(lines)
    run = list[str]()  # lines between literal blocks: code in backticks may go over a line's end

    def flush() -> None:
        text.extend(escaped("\n".join(run)).split("\n") if run else [])
        run.clear()

    for before, line, literal in zip(["", *lines], lines, kept, strict=False):
        if literal:
            flush()
            text.append(line)
            continue
        starts = ITEM.match(line) and before.strip() and not ITEM.match(before)
        if starts and depth(before) <= depth(line):
            run.append("")
        run.append(line)
    flush()
    return text


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's event for each docstring."""
    lines[:] = safe(lines)


def short(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: Any, returns: Any
) -> tuple[Any, Any]:
    """Sphinx's event for each signature: what a word takes, under one name."""
    signature, returns = (text and OPERAND.sub("Operand", text) for text in (signature, returns))
    return signature, returns


def setup(app: Any) -> dict[str, bool]:
    """Register the events, that of docstrings ahead of Napoleon's."""
    app.connect("autodoc-process-docstring", process, priority=100)
    app.connect("autodoc-process-signature", short)
    return {"parallel_read_safe": True}
