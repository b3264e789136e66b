"""The differences between two manifests, as a terminal shows them."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from types import MappingProxyType
from typing import cast

from rich.console import Group, RenderableType
from rich.text import Text

from manifests.changes.diff import Difference, ManifestDiff
from manifests.views.table_style import folded, new_table, number, plain, short, unbroken

Row = tuple[Text, Text, Text]  # what changed, in how many cases, an example

MOST_ENTRIES = 20  # of the settings or the label space, that a person reads
MOST_IDS = 3
LONGEST_VALUE = 48  # characters, so that a table fits a terminal of 80 columns
BEFORE_DIFFERENCE = 20  # of them, where a value is cut
# Columns of hashes and the like, whose values tell a person nothing but that they differ.
SAYS = MappingProxyType(
    {
        "image_sha256": "its image file is another",
        "label_sha256": "its label file is another",
        "source_image_sha256": "it was made from another image file",
        "source_label_sha256": "it was made from another label file",
        "voxels_sha256": "the voxels of its image differ",
        "fingerprint": "its scan looks otherwise",
    }
)
ARROW = "\N{RIGHTWARDS ARROW}"


def diff_view(found: ManifestDiff) -> RenderableType:
    """Return what changed, in how many cases, with one example of each."""
    if not found:
        return Text("no difference")
    columns = [*folded("what"), *unbroken("cases", justify="right"), *folded("example")]
    columns[0].min_width, columns[-1].ratio = 10, 1
    table = new_table("Differences", columns, _rows(found))
    return Group(table, Text("every change, whole: --json", "dim"))


def _rows(found: ManifestDiff) -> Iterator[Row]:
    for sign, ids, style in (
        ("+ added", found.added, "green"),
        ("- removed", found.removed, "red"),
    ):
        if ids:
            yield Text(sign, style), number(len(ids)), _ids(ids)
    first = {change.column: change for change in reversed(found.changed)}
    for column, cases in found.changed_cases.items():
        change = first[column]
        said = SAYS.get(column)
        example = (
            Text.assemble(plain(change.case_id, "bold"), f": {said}")
            if said
            else _change(change.old, change.new, change.case_id)
        )
        yield Text(column), number(cases), example
    for title, differences in (("label space", found.label_space), ("settings", found.settings)):
        yield from _entries(title, differences)


def _entries(title: str, differences: Sequence[Difference]) -> Iterator[Row]:
    for d in differences[:MOST_ENTRIES]:
        what = Text.assemble((f"{title} ", "dim"), plain(d.key))
        yield what, Text(), _change(d.old, d.new)
    if (more := len(differences) - MOST_ENTRIES) > 0:
        yield Text(f"{title} …", "dim"), Text(), Text(f"and {more} more", "dim")


def _ids(ids: Sequence[str]) -> Text:
    text = Text(", ").join(plain(case_id, "bold") for case_id in ids[:MOST_IDS])
    return text.append(", …") if len(ids) > MOST_IDS else text


def _change(old: object, new: object, case_id: str = "") -> Text:
    """Return both values, or of long ones the part around the first difference."""
    before, after = _words(old), _words(new)
    start = 0
    if max(len(before), len(after)) > LONGEST_VALUE:
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
        start = max(0, sum(1 for _ in alike) - BEFORE_DIFFERENCE)
    gap = " " if len(case_id) + len(before) + len(after) <= LONGEST_VALUE else "\n"
    return Text.assemble(
        plain(case_id, "bold"),
        gap * bool(case_id),
        plain(_part(before, start), "red"),
        f"{gap}{ARROW} ",
        plain(_part(after, start), "green"),
    )


def _words(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_words, cast('list[object]', value)))}]"
    if isinstance(value, float):
        return short(value)
    return "none" if value is None else str(value)


def _part(text: str, start: int) -> str:
    stop = start + LONGEST_VALUE
    return f"{'…' * (start > 0)}{text[start:stop]}{'…' * (stop < len(text))}"
