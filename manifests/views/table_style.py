"""The vocabulary of all tables: columns and cells, as Rich, Markdown and LaTeX show them.

A cell of a Rich table is a `Text`, which may have a style and several lines, or any other value,
which is shown as plain text and never read as markup.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import HEAVY_HEAD, SIMPLE_HEAD, Box
from rich.console import JustifyMethod
from rich.markup import escape
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

NONE = DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
LONGEST_CELL = 400  # characters

Heading = str | Text

_PIPE = r"\|"
_LATEX_SIGNS = str.maketrans(
    {sign: rf"\{sign}" for sign in "&%$#_{}"}
    | {"±": r"$\pm$", "\\": r"\textbackslash{}", DASH: "--"}
)


@dataclass(frozen=True)
class Look:
    """How a table is drawn; the padding is that above, right of, below and left of a cell."""

    box: Box | None
    padding: tuple[int, int, int, int]
    pad_edge: bool = True
    header_style: str = "table.header"
    title_style: Style | None = None


OPEN = Look(None, (0, 2, 0, 0), header_style="dim", title_style=Style(bold=True, italic=False))
RULED = Look(SIMPLE_HEAD, (0, 1, 0, 0), pad_edge=False)
BOXED = Look(HEAVY_HEAD, (0, 1, 0, 1))


def new_table(
    title: str = "",
    columns: Iterable[Heading | Column] = (),
    rows: Iterable[Iterable[object]] = (),
    *,
    look: Look = OPEN,
    caption: str = "",
) -> Table:
    """Return a Rich table, with its title and its caption on the left."""
    table = Table(
        *(c if isinstance(c, Column) else Column(_heading(c)) for c in columns),
        title=escape(title) or None,
        title_justify="left",
        title_style=look.title_style,
        caption=escape(caption) or None,
        caption_justify="left",
        box=look.box,
        padding=look.padding,
        pad_edge=look.pad_edge,
        header_style=look.header_style,
    )
    for row in rows:
        add_row(table, *row)
    return table


def add_row(table: Table, *cells: object, style: str = "") -> None:
    """Add a row; cells that are not `Text` are shown as plain text."""
    table.add_row(*(c if isinstance(c, Text) else plain(c) for c in cells), style=style or None)


def right(*headings: Heading) -> list[Column]:
    """Return columns of numbers, which stand on the right."""
    return [Column(_heading(h), justify="right") for h in headings]


def folded(*headings: Heading, justify: JustifyMethod = "left") -> list[Column]:
    """Return columns whose longest words are broken where the room ends."""
    return [Column(_heading(h), justify=justify, overflow="fold") for h in headings]


def unbroken(*headings: Heading, justify: JustifyMethod = "left") -> list[Column]:
    """Return columns whose cells are never broken into lines."""
    return [Column(_heading(h), justify=justify, no_wrap=True) for h in headings]


def _heading(heading: Heading) -> Text:
    return heading if isinstance(heading, Text) else Text(heading)


def plain(value: object, style: str = "") -> Text:
    """Return text from a stranger's file: no markup, and no codes that control a terminal."""
    text = str(value)
    short = text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]} …"
    return Text("".join(c if c.isprintable() else UNPRINTABLE for c in short), style)


def number(value: int) -> Text:
    """Return a count; none is a dash."""
    return Text(f"{value:,}") if value else Text(NONE, "dim")


def vector(values: Iterable[float]) -> Text:
    """Return numbers along x, y and z."""
    return Text(f" {TIMES} ".join(map(short, values)))


def short(value: float) -> str:
    """Return a number with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; its cells may hold other Markdown."""
    head, *lines = (
        f"| {' | '.join(cell.replace('|', _PIPE) for cell in row)} |" for row in (headings, *rows)
    )
    return [head, f"|{'---|' * len(headings)}", *lines]


def latex_table(columns: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a LaTeX table, which needs the package booktabs.

    Args:
        columns: How they are aligned, as in `llr`.
        headings: LaTeX, as the rows are; see `latex_text`.
        rows: One cell for each column.
    """
    head, *lines = (re.sub(" +", " ", rf"{' & '.join(row)} \\") for row in (headings, *rows))
    return [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def latex_text(text: str) -> str:
    """Return plain text as LaTeX, with the signs escaped that it reads as its own."""
    return text.translate(_LATEX_SIGNS)
