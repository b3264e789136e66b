"""Names and colours of label values, as each viewer reads them."""

import csv
import json

import pytest

from manifests.classes.colour_tables import (
    bids_lookup,
    itksnap_labels,
    niivue_colormap,
    rgb,
    slicer_table,
    write_colour_tables,
)
from manifests.classes.label_space import load_label_space


@pytest.fixture
def space():
    return load_label_space("abdomen5")


def test_viewers_get_each_name_and_colour(space):
    slicer = [line.split() for line in slicer_table(space).splitlines() if line[0] != "#"]
    assert slicer[0] == ["0", "background", "0", "0", "0", "0"]
    snap = [line for line in itksnap_labels(space).splitlines() if line[0] != "#"]
    assert snap[0].split(maxsplit=7) == [*"0000000", '"Clear Label"']
    for n, entry in enumerate(space.classes, start=1):
        colour = [str(c) for c in rgb(entry.colour)]
        assert slicer[n] == [str(n), entry.name, *colour, "255"]
        assert snap[n].split() == [str(n), *colour, "1", "1", "1", f'"{entry.name}"']


def test_niivue_gets_channels_by_value(space):
    table = json.loads(niivue_colormap(space))
    assert table["labels"] == list(space.names)
    assert table["I"] == list(range(6))
    assert table["A"] == [0, 255, 255, 255, 255, 255]
    colours = list(zip(table["R"], table["G"], table["B"], strict=True))
    assert colours == [(0, 0, 0), *(rgb(c.colour) for c in space.classes)]


def test_bids_gets_index_name_and_colour(space):
    rows = list(csv.DictReader(bids_lookup(space).splitlines(), delimiter="\t"))
    assert [row["name"] for row in rows] == list(space.names)
    assert rows[1] == {"index": "1", "name": "liver", "color": space.classes[0].colour}


def test_hexadecimal_colours_are_red_green_blue():
    assert rgb("#f9b44A") == (249, 180, 74)


def test_each_viewer_has_a_file(space, tmp_path):
    names = [p.name for p in write_colour_tables(space, tmp_path, "labels")]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    assert names == ["labels.ctbl", "labels.label.txt", "labels.niivue.json", "labels_dseg.tsv"]
