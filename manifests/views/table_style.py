"""Cells and tables, as all views of a manifest have them."""

import math
from collections.abc import Iterable

from rich.style import Style
from rich.table import Table
from rich.text import Text

NONE = DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
LONGEST_CELL = 400  # characters


def new_table(title: str) -> Table:
    """A table without lines, its title on the left."""
    return Table(
        title=title,
        title_justify="left",
        title_style=Style(bold=True, italic=False),
        box=None,
        header_style="dim",
        padding=(0, 2, 0, 0),
    )


def plain(value: object, style: str = "") -> Text:
    """Text from a file of somebody else: no markup, and no codes that steer a terminal."""
    text = str(value)
    short = text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]} …"
    return Text("".join(c if c.isprintable() else UNPRINTABLE for c in short), style)


def number(value: int) -> Text:
    """A count; none is a dash."""
    return Text(f"{value:,}") if value else Text(NONE, "dim")


def vector(values: Iterable[float]) -> Text:
    """Numbers along x, y and z."""
    return Text(f" {TIMES} ".join(map(short, values)))


def short(value: float) -> str:
    """A number with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)
