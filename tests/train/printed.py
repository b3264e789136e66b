"""Tables as they are read."""

from rich.console import Console


def lines(table, *, width=100, style=False):
    console = Console(width=width, force_terminal=style, color_system="standard" if style else None)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def words(table, *, width=100):
    return [" ".join(line.split()) for line in lines(table, width=width)]
