"""A report as one HTML page that needs nothing else: styles, pictures and figures are in it."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from html import escape

from .results import Result, Table

STYLE = """
:root { color-scheme: light dark; --text: #1c1f23; --back: #fdfdfc; --soft: #5b6470;
  --line: #d9dde2; --card: #f2f4f6; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8eb; --back: #16181b; --soft: #a0a8b2; --line: #363b42; --card: #22262b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2.5rem 1.5rem 4rem; color: var(--text);
  background: var(--back); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; border-bottom: 1px solid var(--line);
  padding-bottom: .3rem; }
p { margin: .35rem 0; } .data { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .38rem .9rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } .words { text-align: left; }
.number { text-align: right; } th:first-child, td:first-child { padding-left: .2rem; }
tbody tr:hover { background: var(--card); } .bad { color: #c4461b; font-weight: 600; }
figure { margin: 0; } img { width: 100%; height: auto; display: block; background: #fff;
  border: 1px solid var(--line); border-radius: 8px; padding: 8px; }
pre { background: var(--card); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto;
  font: .88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; margin: .4rem 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; } pre.lines { margin-top: 1.2rem; }
footer { margin-top: 3rem; color: var(--soft); font-size: .88rem; }
"""
NAMES = {
    "curves": "Curves",
    "rates": "Loss against learning rate",
    "sweep": "Loss and score against the hyper-parameter",
}


def page(result: Result, pictures: Mapping[str, bytes], versions: Mapping[str, str]) -> str:
    """The whole page."""
    body = [
        f"<h1>{escape(capital(result.title))}</h1>",
        f'<p class="data">{escape(result.data)}</p>',
        *(section(table.title or "Results", html_table(table)) for table in result.tables()),
        lines(result.sentences()),
        *(
            section(NAMES.get(name, capital(name)), image(name, content))
            for name, content in pictures.items()
        ),
        section("Do it again", f"<pre>{escape(in_lines(result.command))}</pre>"),
        footer(versions),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(result.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def capital(text: str) -> str:
    """A text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def section(title: str, content: str) -> str:
    """A part of the page under its heading."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def html_table(table: Table) -> str:
    """A table that scrolls by itself where it is too wide."""
    head = row_of(table.header, table.left, "th")
    rows = "\n".join(row_of(row, table.left, "td") for row in table.rows)
    return (
        f'<div class="wide"><table>\n<thead>{head}</thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def row_of(cells: Sequence[str], left: int, tag: str) -> str:
    """One row; its first columns to the left, what diverged standing out."""
    parts = [
        f'<{tag} class="{"words" if number < left else "number"}">{marked(cell)}</{tag}>'
        for number, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(parts)}</tr>"


def marked(text: str) -> str:
    """A cell's text, in another colour where something diverged."""
    return f'<span class="bad">{escape(text)}</span>' if "diverged" in text else escape(text)


def lines(sentences: Sequence[str]) -> str:
    """What stands below the tables, as it is printed."""
    return f'<pre class="lines">{escape(chr(10).join(sentences))}</pre>' if sentences else ""


def in_lines(command: Sequence[str]) -> str:
    """A command with a line for each of its flags."""
    return shlex.join(command).replace(" --", " \\\n  --")


def image(name: str, content: bytes) -> str:
    """A picture within the page."""
    data = base64.b64encode(content).decode("ascii")
    alt = escape(NAMES.get(name, name), quote=True)
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"></figure>'


def footer(versions: Mapping[str, str]) -> str:
    """What it ran with, and where the numbers are."""
    said = " · ".join(f"{name} {value}" for name, value in versions.items())
    return f"<footer>{escape(said)} · every number is in report.json beside this page</footer>"
