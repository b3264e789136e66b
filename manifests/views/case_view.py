"""One case, to read on a terminal."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Group
from rich.table import Table
from rich.text import Text

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import describe, groups_of
from manifests.ground.errors import ManifestError
from manifests.ground.findings import MEANINGS
from manifests.ground.plain_json import plain_json
from manifests.table.case import Case
from manifests.table.summary import UNASSIGNED
from manifests.views.table_style import NONE, new_table, plain, vector


def case_view(case: Case, space: LabelSpace) -> Group:
    """One case whole.

    Raises:
        ManifestError: The case's row is not well formed.
    """
    with _well_formed(case):
        return _view(case, space)


def case_json(case: Case, space: LabelSpace) -> str:
    """One case for machines: its row, and its merged classes in words.

    Raises:
        ManifestError: The case's row is not well formed.
    """
    with _well_formed(case):
        return plain_json({**case.to_row(), "merged_in_words": describe(case.merged, space)})


@contextmanager
def _well_formed(case: Case) -> Generator[None]:
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError) as error:
        msg = f"case {case.case_id} is not well formed: {error}; see `marginalia validate`"
        raise ManifestError(msg) from error


def _view(case: Case, space: LabelSpace) -> Group:
    words = _in_colour(describe(case.merged, space), space)
    return Group(
        Text.assemble(plain(case.case_id, "bold"), plain(f"  split {case.split or UNASSIGNED}")),
        Text.assemble(("merged classes  ", "dim"), words),
        "",
        _classes_table(case, space),
        "",
        _geometry_table(case),
        "",
        _facts(case),
    )


def _classes_table(case: Case, space: LabelSpace) -> Table:
    table = new_table("Classes")
    table.add_column("id", justify="right")
    table.add_column("class")
    table.add_column("annotation")
    table.add_column("voxels", justify="right")
    table.add_column("mL", justify="right")
    for n, name in enumerate(space.names):
        title = Text("■ ", space.classes[n - 1].colour) if n else Text("  ")
        own = case.merged[n] == n
        table.add_row(
            str(n),
            title.append(name, "bold"),
            _annotation(case, space, n),
            Text(f"{case.voxels[n]:,}") if own else Text(NONE, "dim"),
            Text(f"{case.volume_ml[n]:,.1f}") if own else Text(NONE, "dim"),
        )
    return table


def _annotation(case: Case, space: LabelSpace, class_id: int) -> Text:
    group = groups_of(case.merged)[case.merged[class_id]]
    if len(group) > 1:
        others = ", ".join(space.names[n] for n in group if n != class_id)
        return Text(f"not annotated: one with {others}" if class_id else f"with {others}", "dim")
    if class_id == 0 or case.voxels[class_id]:
        return Text("annotated")
    return Text("annotated and absent", "yellow")


def _geometry_table(case: Case) -> Table:
    table = new_table("Geometry")
    for name in ("", "before", "after"):
        table.add_column(name)
    rows = (
        ("spacing, mm", case.source_spacing_mm, case.spacing_mm),
        ("size, voxels", case.source_size, case.size),
        ("origin, mm, LPS", case.source_origin_mm, case.origin_mm),
    )
    for title, before, after in rows:
        table.add_row(Text(title, "dim"), vector(before), vector(after))
    table.add_row(Text("axes", "dim"), plain(case.source_orientation), "LPS")
    return table


def _facts(case: Case) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    blocks = " | ".join(" + ".join(block) for block in case.blocks)
    foreground = f"{case.foreground_hu_mean:.1f} ± {case.foreground_hu_std:.1f}, 0.5th to 99.5th "
    facts: list[tuple[str, object]] = [
        ("dataset", f"{case.dataset}, recipe {case.recipe} {case.recipe_version}"),
        ("licence", case.licence),
        ("patient", case.subject_id),
        *(("related case", other) for other in case.related),
        ("labelled structures", blocks or "none"),
        (
            "intensity, HU",
            f"{case.hu_mean:.1f} ± {case.hu_std:.1f}, {case.hu_min:g} to {case.hu_max:g}",
        ),
        (
            "of the labelled",
            f"{foreground}{case.foreground_hu_low:g} to {case.foreground_hu_high:g}",
        ),
        *((f"finding {f.code}", f"{f.reason} ({MEANINGS[f.code]})") for f in case.findings),
        ("image", case.image),
        ("", f"sha256 {case.image_sha256}"),
        ("", f"its voxels {case.voxels_sha256}"),
        ("", f"made from {case.source_image_sha256}"),
        ("label", case.label),
        ("", f"sha256 {case.label_sha256}"),
        ("", f"made from {case.source_label_sha256}"),
    ]
    for name, value in facts:
        table.add_row(name, plain(value))
    return table


def _in_colour(words: str, space: LabelSpace) -> Text:
    text = Text(words)
    for c in space.classes:
        text.highlight_regex(rf"\b{c.name}\b", c.colour)
    return text
