"""What the terminal shows of label spaces."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from manifests.classes.label_space import BACKGROUND, LabelSpace
from manifests.views.table_style import folded, new_table, right, unbroken


def spaces_table(spaces: Iterable[LabelSpace]) -> Table:
    """Show one line for each label space."""
    rows = [(s.name, len(s) - 1, s.description, ", ".join(s.names[1:])) for s in spaces]
    columns = [*unbroken("label space"), *right("classes"), *folded("description", "names")]
    return new_table("Label spaces", columns, rows)


def space_table(space: LabelSpace) -> Table:
    """Show one line for each class, the background first."""
    swapped = {a: b for pair in space.left_right_pairs for a, b in (pair, pair[::-1])}
    rows = [(0, BACKGROUND, "everything else", "", "", "")]
    rows += [
        (
            number,
            c.name,
            " + ".join(c.structures),
            " in ".join(filter(None, (c.snomed, c.snomed_region))),
            Text.assemble(("\N{FULL BLOCK}\N{FULL BLOCK} ", c.colour), c.colour),
            swapped.get(c.name, ""),
        )
        for number, c in enumerate(space.classes, start=1)
    ]
    columns = [*right("id"), *unbroken("class"), *folded("structures", "SNOMED CT")]
    columns += [*unbroken("colour"), *folded("mirror image")]
    return new_table(f"{space.name}: {space.description}", columns, rows, caption=space.reference)
