"""One case, as a terminal or JSON shows it."""

import math
from collections.abc import Generator
from contextlib import contextmanager

from pydantic_core import to_json
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from manifests.classes.label_space import IGNORED, LabelSpace
from manifests.classes.merged import describe, groups_of
from manifests.ground.errors import ManifestError
from manifests.ground.findings import MEANINGS
from manifests.table.case import Case
from manifests.table.summary import UNASSIGNED
from manifests.views.table_style import NONE, add_row, new_table, plain, right, vector
from manifests.volumes.grid import MM3_PER_ML


def case_view(case: Case, space: LabelSpace) -> Group:
    """Return all that is known of one case, as tables.

    Raises:
        ManifestError: The case's row is not well formed.
    """
    with _well_formed(case):
        return Group(
            Text.assemble(
                plain(case.case_id, "bold"), plain(f"  split {case.split or UNASSIGNED}")
            ),
            Text.assemble(("merged classes  ", "dim"), _merged_in_colour(case, space)),
            "",
            _classes_table(case, space),
            "",
            _geometry_table(case),
            "",
            _facts(case),
        )


def case_json(case: Case, space: LabelSpace) -> str:
    """Return one case as JSON: its row, and its merged classes in words.

    Raises:
        ManifestError: The case's row is not well formed.
    """
    with _well_formed(case):
        row = {**case.to_row(), "merged_in_words": describe(case.merged, space)}
        return to_json(row, indent=2, inf_nan_mode="null", ensure_ascii=True).decode()


@contextmanager
def _well_formed(case: Case) -> Generator[None]:
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError) as error:
        msg = f"case {case.case_id} is not well formed: {error}; see `marginalia validate`"
        raise ManifestError(msg) from error


def _merged_in_colour(case: Case, space: LabelSpace) -> Text:
    text = Text(describe(case.merged, space))
    for c in space.classes:
        text.highlight_regex(rf"\b{c.name}\b", c.colour)
    return text


def _classes_table(case: Case, space: LabelSpace) -> Table:
    table = new_table(
        "Classes", [*right("id"), "class", "annotation", *right("voxels", "mL", "suspicion")]
    )
    for n, name in enumerate(space.names):
        title = Text("■ ", space.classes[n - 1].colour) if n else Text("  ")
        amounts: list[object] = [Text(NONE, "dim")] * 2
        odd = case.suspicion[n] if case.suspicion is not None else None
        if case.merged[n] == n:
            amounts = [f"{case.voxels[n]:,}", f"{case.volume_ml[n]:,.1f}"]
        what = title.append(name, "bold"), _annotation(case, space, n)
        add_row(table, n, *what, *amounts, _suspicion(odd))
    if case.ignored:
        volume_ml = case.ignored * math.prod(case.spacing_mm) / MM3_PER_ML
        seen = Text("nobody looked there", "dim")
        add_row(table, IGNORED, "  ignored", seen, f"{case.ignored:,}", f"{volume_ml:,.1f}", "")
    return table


def _suspicion(value: float | None) -> Text:
    if value is None:
        return Text(NONE, "dim")
    return Text(f"{value:.2f}", "yellow" if value >= 1 else "")


def _annotation(case: Case, space: LabelSpace, class_id: int) -> Text:
    group = groups_of(case.merged)[case.merged[class_id]]
    if len(group) > 1:
        if case.origin is not None and case.origin[class_id] == "model":
            return Text("not annotated: labelled by a model", "cyan")
        others = ", ".join(space.names[n] for n in group if n != class_id)
        return Text(f"not annotated: one with {others}" if class_id else f"with {others}", "dim")
    if class_id == 0 or case.voxels[class_id]:
        return Text("annotated")
    seen = " where somebody looked" if case.ignored else ""
    return Text(f"annotated and absent{seen}", "yellow")


def _geometry_table(case: Case) -> Table:
    rows = (
        ("spacing, mm", vector(case.source_spacing_mm), vector(case.spacing_mm)),
        ("size, voxels", vector(case.source_size), vector(case.size)),
        ("origin, mm, LPS", vector(case.source_origin_mm), vector(case.origin_mm)),
        ("axes", case.source_orientation, "LPS"),
    )
    columns = [Column(style="dim"), "before", "after"]
    return new_table("Geometry", columns, rows)


def _completion(case: Case) -> list[tuple[str, object]]:
    if case.completed is None:
        return []
    return [
        ("completed label", case.completed),
        ("", f"sha256 {case.completed_sha256}"),
        ("", f"by {case.completed_by}"),
    ]


def _facts(case: Case) -> Table:
    table = Table.grid(Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2))
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
        *_completion(case),
    ]
    for name, value in facts:
        add_row(table, name, value)
    return table
