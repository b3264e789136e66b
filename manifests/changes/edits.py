"""Edits: coarser annotations, told in the manifest alone.

An edit changes the blocks of some cases; their merged classes follow. The label files stay as they
are, since loading a case sends what is stored through `merged`. Intensity statistics and findings
stay too: they tell of the files.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import Block, annotated_classes, as_blocks, merged_classes
from manifests.classes.structures import unknown_structures
from manifests.ground.errors import ManifestError
from manifests.table.case import SCHEMA
from manifests.table.manifest import Manifest
from manifests.table.query import filter_cases
from manifests.table.row_groups import read_columns, rewrite
from manifests.table.sql import on_disk

COLUMNS = ("blocks", "merged", "annotated", "voxels", "volume_ml")
ROWS_AT_ONCE = 20_000  # as Python values, of which a row takes several kB

Blocks = tuple[Block, ...]
Number = TypeVar("Number", int, float)


def drop_structures(
    manifest: Manifest, structures: Collection[str], *, where: str | None = None
) -> Manifest:
    """Forget the labels of structures: every block that holds one joins the background.

    Raises:
        ManifestError: See `edit`.
    """
    return edit(manifest, drop=structures, where=where)


def merge_structures(
    manifest: Manifest, structures: Collection[str], *, where: str | None = None
) -> Manifest:
    """Label structures as one: the blocks that hold one become one block.

    Where one of them has no label, it lies in the background already, and so all of them do.

    Raises:
        ManifestError: See `edit`.
    """
    return edit(manifest, merge=[structures], where=where)


def edit(
    manifest: Manifest,
    *,
    drop: Collection[str] = (),
    merge: Sequence[Collection[str]] = (),
    where: str | None = None,
    selected: Collection[str] | None = None,
) -> Manifest:
    """Coarsen what the cases say of their structures; the order of drops and merges is no matter.

    Args:
        manifest: The manifest.
        drop: Structures whose labels are forgotten.
        merge: Sets of structures that are labelled as one.
        where: A condition, as `filter_cases` takes it; None is every case.
        selected: The cases for which it holds; None where it is to be asked.

    Raises:
        ManifestError: A structure is unknown, nothing is asked, or no case that the condition
            selects has a label for any of the structures.
    """
    named = frozenset(drop).union(*merge)
    _check_structures(manifest, named)
    chosen = _chosen(manifest, where) if selected is None else frozenset(selected)
    parts, touched = list[pa.Table](), 0
    for start in range(0, len(manifest), ROWS_AT_ONCE):
        part = manifest.table.slice(start, ROWS_AT_ONCE)
        rows = part.select(["case_id", *COLUMNS]).to_pylist()
        those = [
            i for i, row in enumerate(rows) if row["case_id"] in chosen and named & _structures(row)
        ]
        for i in those:
            rows[i] = _coarsen_row(rows[i], drop, merge, manifest.label_space)
        parts.append(_with_columns(part, rows) if those else part)
        touched += len(those)
    if not touched:
        msg = (
            f"nothing to edit: none of {len(chosen)} selected cases has a label for "
            f"{', '.join(sorted(named)) or 'no structure'}"
        )
        raise ManifestError(msg)
    record = {
        "drop": sorted(drop),
        "merge": [sorted(group) for group in merge],
        "where": where,
        "cases": touched,
    }
    edits = [*manifest.settings.get("edits", []), record]
    return manifest.with_table(pa.concat_tables(parts), edits=edits)


def edit_file(
    source: Path,
    out: Path,
    *,
    drop: Collection[str] = (),
    merge: Sequence[Collection[str]] = (),
    where: str | None = None,
) -> None:
    """Write to `out` the manifest `source` as `edit` makes it, without holding its rows.

    Raises:
        ManifestError: See `edit`, `read_manifest` and `write_manifest`.
    """
    read = read_columns(source, ["case_id", *COLUMNS])
    selected = None
    if where is not None:
        with on_disk(source, where) as cases:
            selected = cases.ids()
    edited = edit(read, drop=drop, merge=merge, where=where, selected=selected)
    rewrite(source, edited, out)


def coarsen(
    blocks: Blocks, *, drop: Collection[str] = (), merge: Iterable[Collection[str]] = ()
) -> Blocks:
    """The blocks of one case without some structures, and with others in one block."""
    for group in merge:
        blocks = _merge_blocks(blocks, frozenset(group))
    return tuple(block for block in blocks if block.isdisjoint(drop))


def _merge_blocks(blocks: Blocks, group: Block) -> Blocks:
    one = frozenset[str]().union(*(block for block in blocks if block & group))
    if not group <= one:
        # a structure that no block holds lies in the background, and takes the others there
        return tuple(block for block in blocks if not block & group)
    return tuple(dict.fromkeys(one if block & group else block for block in blocks))


def _coarsen_row(
    row: dict[str, Any],
    drop: Collection[str],
    merge: Sequence[Collection[str]],
    space: LabelSpace,
) -> dict[str, Any]:
    try:
        as_blocks(row["blocks"])
        blocks = coarsen(tuple(map(frozenset, row["blocks"])), drop=drop, merge=merge)
        return {**row, **_with_blocks(row, blocks, space)}
    except (IndexError, TypeError, ValueError) as error:
        msg = f"case {row['case_id']} is not well formed: {error}; see `marginalia validate`"
        raise ManifestError(msg) from error


def _with_blocks(row: dict[str, Any], blocks: Blocks, space: LabelSpace) -> dict[str, Any]:
    merged = merged_classes(blocks, space)
    return {
        "blocks": [sorted(block) for block in blocks],
        "merged": list(merged),
        "annotated": [space.names[n] for n in annotated_classes(merged)],
        "voxels": _moved(row["voxels"], merged, 0),
        "volume_ml": _moved(row["volume_ml"], merged, 0.0),
    }


def _moved(amounts: Sequence[Number], merged: Sequence[int], zero: Number) -> list[Number]:
    """Amounts by class id, each moved to the class's representative."""
    moved = [zero] * len(amounts)
    for amount, representative in zip(amounts, merged, strict=True):
        moved[representative] += amount
    return moved


def _with_columns(table: pa.Table, rows: Sequence[dict[str, Any]]) -> pa.Table:
    for name in COLUMNS:
        field = SCHEMA.field(name)
        column = pa.array([row[name] for row in rows], field.type)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    return table


def _chosen(manifest: Manifest, where: str | None) -> frozenset[str]:
    rows = manifest if where is None else filter_cases(manifest, where)
    ids: list[Any] = rows.table["case_id"].to_pylist()
    return frozenset(ids)


def _structures(row: dict[str, Any]) -> frozenset[str]:
    return frozenset[str]().union(*row["blocks"])


def _check_structures(manifest: Manifest, named: Collection[str]) -> None:
    blocks = pc.list_flatten(pc.list_flatten(manifest.table["blocks"]))
    here: list[Any] = pc.unique(blocks).to_pylist()
    if complaints := unknown_structures(named, {*here, *manifest.label_space.structures}):
        msg = "; ".join(complaints)
        raise ManifestError(msg)
