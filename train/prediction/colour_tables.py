"""Colour tables: names and colours of label values, as viewers read them."""

from collections.abc import Iterator
from pathlib import Path

from manifests.classes.label_space import LabelSpace
from manifests.ground.atomic import write_text


def write_colour_tables(space: LabelSpace, folder: Path, name: str) -> None:
    """Write `name.ctbl` for 3D Slicer and `name.label.txt` for ITK-SNAP."""
    write_text(folder / f"{name}.ctbl", slicer_table(space))
    write_text(folder / f"{name}.label.txt", itksnap_labels(space))


def slicer_table(space: LabelSpace) -> str:
    """Return the text of a 3D Slicer colour table: value, name, red, green, blue, opacity."""
    lines = [f"# Color table {space.name}", f"# {len(space)} values", "0 background 0 0 0 0"]
    lines += [f"{n} {name} {r} {g} {b} 255" for n, name, (r, g, b) in _rows(space)]
    return "\n".join(lines) + "\n"


def itksnap_labels(space: LabelSpace) -> str:
    """Return the text of an ITK-SNAP label description file."""
    head = (
        "################################################",
        "# ITK-SnAP Label Description File",
        "# File format:",
        "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL",
        "################################################",
        '    0     0    0    0        0  0  0    "Clear Label"',
    )
    rows = (
        f'{n:5d} {r:5d} {g:4d} {b:4d}        1  1  1    "{name}"'
        for n, name, (r, g, b) in _rows(space)
    )
    return "\n".join((*head, *rows)) + "\n"


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of `#rrggbb`."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _rows(space: LabelSpace) -> Iterator[tuple[int, str, tuple[int, int, int]]]:
    for n, entry in enumerate(space.classes, start=1):
        yield n, entry.name, rgb(entry.colour)
