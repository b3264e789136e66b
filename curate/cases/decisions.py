"""Decisions: what a person decided on a case, carried out on its label."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from curate.cases.overrides import Override
from curate.datasets.discover import SourceCase
from manifests.classes.label_space import LabelSpace
from manifests.ground.content_hash import sha256_of
from manifests.ground.errors import OverrideError
from manifests.ground.findings import Finding
from manifests.table.case import Case

if TYPE_CHECKING:  # slow to import
    from curate.labels.relabel import BlockMap
    from manifests.volumes.grid import Grid

SIDES_EXCHANGED = "sides exchanged"  # in the finding of a case whose sides were


def is_outdated(override: Override, case: SourceCase) -> bool:
    """Tell whether a decision was on another label than the case has now.

    A publisher may have mended the label meanwhile: exchanged sides are not exchanged back.
    """
    decided_on = override.source_label_sha256
    if decided_on is None or case.finding:  # which says that files are missing
        return False
    return decided_on != sha256_of(case.label, case.label_files)


def undrawn_structures(override: Override | None, space: LabelSpace) -> frozenset[str]:
    """Return the structures that nobody drew, of which `not_annotated` names classes too."""
    of_class = {c.name: c.structures for c in space.classes}
    names = override.not_annotated if override else ()
    return frozenset(s for name in names for s in of_class.get(name, (name,)))


def ignored_parts(override: Override | None, grid: "Grid") -> list[tuple[slice, ...]]:
    """Return the parts [z, y, x] of an image that nobody looked at.

    Raises:
        OverrideError: The image has no such slice.
    """
    if override is None:
        return []
    axis = int(np.abs(grid.steps_mm[2]).argmax())  # the array's, nearest to head and foot
    whole, count = slice(None), grid.size_xyz[axis]
    parts = []
    for first, last in override.ignored_slices:
        if last >= count:
            msg = f"ignored_slices: expected slices 0 to {count - 1}, got {first} to {last}"
            raise OverrideError(msg)
        part = [whole, whole, whole]
        part[2 - axis] = slice(first, last + 1)
        parts.append(tuple(part))
    return parts


def decided(
    block_map: "BlockMap", override: Override | None
) -> "tuple[BlockMap, tuple[Finding, ...]]":
    """Exchange the sides of a label if that was decided; and say all that was decided on it."""
    if override is None or not (
        override.swap_sides or override.not_annotated or override.ignored_slices
    ):
        return block_map, ()
    done = [f"not annotated: {', '.join(override.not_annotated)}"] if override.not_annotated else []
    done += [
        f"nobody looked at slices {first} to {last}" for first, last in override.ignored_slices
    ]
    if override.swap_sides:
        block_map, done = block_map.with_sides_exchanged(), [*done, SIDES_EXCHANGED]
    return block_map, (Finding("overridden", f"{'; '.join(done)}: {override.reason}"),)


def with_reviews(cases: Sequence[Case], overrides: Mapping[str, Override]) -> list[Case]:
    """Return the cases with a finding for each that a person looked at and keeps."""
    return [_reviewed(case, overrides.get(case.case_id)) for case in cases]


def _reviewed(case: Case, override: Override | None) -> Case:
    others = tuple(f for f in case.findings if f.code != "reviewed")
    kept = override is not None and override.keep
    if override is None or not kept or not _same_label(case, override):
        return replace(case, findings=others)
    return replace(case, findings=(*others, Finding("reviewed", override.reason)))


def _same_label(case: Case, override: Override) -> bool:
    return override.source_label_sha256 in (None, case.source_label_sha256)
