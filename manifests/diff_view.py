"""What became of the cases from one manifest to another, to read on a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from manifests.cells import new_table, plain
from manifests.diff import Change, Difference, ManifestDiff

LONGEST_LIST = 40  # rows that a person reads


def diff_view(found: ManifestDiff) -> RenderableType:
    """What became of the cases; of long lists, the start."""
    if not found:
        return Text("no difference")
    parts: list[RenderableType] = []
    for sign, ids, style in (("+", found.added, "green"), ("-", found.removed, "red")):
        if ids:
            word = "added" if sign == "+" else "removed"
            shown = [plain(f"{sign} {case_id}", style) for case_id in ids[:LONGEST_LIST]]
            parts += [Text(f"{len(ids)} cases {word}", "bold"), *shown, *_rest(len(ids)), ""]
    if found.changed:
        cases = len({change.case_id for change in found.changed})
        parts += [_changes_table(found.changed, f"Changed: {cases} cases")]
        parts += [*_rest(len(found.changed)), ""]
    for title, differences in (("Label space", found.label_space), ("Settings", found.settings)):
        if differences:
            parts += [_differences_table(differences, title), ""]
    return Group(*parts[:-1])


def _changes_table(changes: Sequence[Change], title: str) -> Table:
    table = new_table(title)
    for name in ("case", "column", "old", "new"):
        table.add_column(name, overflow="fold")
    last = ""
    for c in changes[:LONGEST_LIST]:
        shown = c.case_id if c.case_id != last else ""
        table.add_row(plain(shown, "bold"), c.column, plain(c.old, "red"), plain(c.new, "green"))
        last = c.case_id
    return table


def _differences_table(differences: Sequence[Difference], title: str) -> Table:
    table = new_table(title)
    for name in ("key", "old", "new"):
        table.add_column(name, overflow="fold")
    for d in differences:
        table.add_row(plain(d.key), plain(d.old, "red"), plain(d.new, "green"))
    return table


def _rest(total: int) -> list[RenderableType]:
    left = total - LONGEST_LIST
    return [Text(f"… and {left} more (see --json)", "dim")] if left > 0 else []
