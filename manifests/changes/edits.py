"""Edits: coarser annotations, in the manifest alone.

An edit changes the blocks of some cases, and with them their merged classes. The label files stay
as they are, since loading a case applies `merged` to them. Intensity statistics and findings stay
too: they describe the files. A label that a model completed is forgotten, since it holds more.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import Block, annotated_classes, as_blocks, merged_classes
from manifests.classes.structures import unknown_structures
from manifests.ground.errors import ManifestError
from manifests.table.case import COMPLETION
from manifests.table.manifest import Manifest, set_columns
from manifests.table.sql import select_cases

CHANGED = ("blocks", "merged", "annotated", "voxels", "volume_ml")
COLUMNS = ("case_id", *CHANGED, *COMPLETION)
ROWS_AT_ONCE = 20_000  # as Python values, of which a row takes several kB

Blocks = tuple[Block, ...]
Number = TypeVar("Number", int, float)


def edit(
    manifest: Manifest,
    *,
    drop: Collection[str] = (),
    merge: Sequence[Collection[str]] = (),
    where: str | None = None,
    source: Path | None = None,
) -> Manifest:
    """Make annotations coarser; the order of drops and merges does not matter.

    A block that holds a dropped structure joins the background. Blocks that hold structures to be
    merged become one block; if one of these structures has no label, it is in the background
    already, and so all of them join the background.

    Args:
        manifest: At least `COLUMNS` of all cases.
        drop: Structures whose labels are removed.
        merge: Sets of structures that are labelled as one.
        where: A condition for the cases to edit, as for `select_cases`; None is every case.
        source: The manifest on disk, if `manifest` holds only some of its columns.

    Raises:
        ManifestError: A structure is unknown, no structure is named, or no case that the condition
            selects has a label for any of the structures.
    """
    named = frozenset(drop).union(*merge)
    _check_structures(manifest, named)
    with select_cases(manifest if where is None else source or manifest, where) as cases:
        chosen = frozenset(cases.ids())
    parts, touched = list[pa.Table](), 0
    for start in range(0, len(manifest), ROWS_AT_ONCE):
        part = manifest.table.slice(start, ROWS_AT_ONCE)
        rows = part.select(COLUMNS).to_pylist()
        to_edit = [
            i
            for i, row in enumerate(rows)
            if row["case_id"] in chosen and not named.isdisjoint(chain(*row["blocks"]))
        ]
        for i in to_edit:
            rows[i] = _coarsen_row(rows[i], drop, merge, manifest.label_space)
        if to_edit:
            part = set_columns(part, {name: [row[name] for row in rows] for name in COLUMNS[1:]})
        parts.append(part)
        touched += len(to_edit)
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


def coarsen(
    blocks: Blocks, *, drop: Collection[str] = (), merge: Iterable[Collection[str]] = ()
) -> Blocks:
    """Return the blocks of one case after dropping and merging structures."""
    for group in merge:
        blocks = _merge_blocks(blocks, frozenset(group))
    return tuple(block for block in blocks if block.isdisjoint(drop))


def _merge_blocks(blocks: Blocks, group: Block) -> Blocks:
    one = frozenset[str]().union(*(block for block in blocks if block & group))
    if not group <= one:
        # a structure that no block holds is in the background, and takes the others there
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
        merged = merged_classes(blocks, space)
        return {
            "blocks": [sorted(block) for block in blocks],
            "merged": list(merged),
            "annotated": [space.names[n] for n in annotated_classes(merged)],
            "voxels": _moved(row["voxels"], merged, 0),
            "volume_ml": _moved(row["volume_ml"], merged, 0.0),
            # it still holds what was dropped
            **dict.fromkeys(COMPLETION),
        }
    except (IndexError, TypeError, ValueError) as error:
        msg = f"case {row['case_id']} is not well formed: {error}; see `marginalia validate`"
        raise ManifestError(msg) from error


def _moved(amounts: Sequence[Number], merged: Sequence[int], zero: Number) -> list[Number]:
    """Return amounts by class id, each added to that of the class's representative."""
    moved = [zero] * len(amounts)
    for amount, representative in zip(amounts, merged, strict=True):
        moved[representative] += amount
    return moved


def _check_structures(manifest: Manifest, named: Collection[str]) -> None:
    blocks = pc.list_flatten(pc.list_flatten(manifest.table["blocks"]))
    here: list[Any] = pc.unique(blocks).to_pylist()
    if complaints := unknown_structures(named, {*here, *manifest.label_space.structures}):
        msg = "; ".join(complaints)
        raise ManifestError(msg)
