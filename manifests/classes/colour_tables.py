"""Colour tables: names and colours of label values, as viewers read them."""

import json
from collections.abc import Iterator
from pathlib import Path

from manifests.classes.label_space import LabelSpace
from manifests.ground.atomic import write_text


def write_colour_tables(space: LabelSpace, folder: Path, name: str) -> list[Path]:
    """Write the tables of a label space for each viewer; return their paths.

    They are `name.ctbl` for 3D Slicer, `name.label.txt` for ITK-SNAP, `name.niivue.json` for NiiVue
    and `name_dseg.tsv` for BIDS.
    """
    texts = {
        f"{name}.ctbl": slicer_table(space),
        f"{name}.label.txt": itksnap_labels(space),
        f"{name}.niivue.json": niivue_colormap(space),
        f"{name}_dseg.tsv": bids_lookup(space),
    }
    for file, text in texts.items():
        write_text(folder / file, text)
    return [folder / file for file in texts]


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


def niivue_colormap(space: LabelSpace) -> str:
    """Return the JSON that NiiVue's `setColormapLabel` takes: channels by value, and names."""
    colours = [(0, 0, 0), *(colour for _, _, colour in _rows(space))]
    channels = {c: [rgb[n] for rgb in colours] for n, c in enumerate("RGB")}
    opacity = [0] + [255] * (len(space) - 1)
    facts = {**channels, "A": opacity, "I": list(range(len(space))), "labels": list(space.names)}
    return json.dumps(facts) + "\n"


def bids_lookup(space: LabelSpace) -> str:
    """Return the lookup table of BIDS for discrete segmentations: index, name, colour.

    Source: BIDS, derivatives, "Common image-derived labels".
    """
    rows = [f"{n}\t{entry.name}\t{entry.colour}" for n, entry in enumerate(space.classes, start=1)]
    return "\n".join(["index\tname\tcolor", "0\tbackground\t#000000", *rows]) + "\n"


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of `#rrggbb`."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _rows(space: LabelSpace) -> Iterator[tuple[int, str, tuple[int, int, int]]]:
    for n, entry in enumerate(space.classes, start=1):
        yield n, entry.name, rgb(entry.colour)
