"""Fusion: cases of one image become one case that annotates what any of them annotates."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from curate.cases import record
from curate.cases.columns import absences, written_columns
from curate.cases.disagreement import (
    FOLDER,
    MASK,
    PICTURE,
    Disagreement,
    Pair,
    disagreements,
    write_differences,
    write_table,
)
from curate.cases.precedence import Precedence
from curate.cases.target import FUSED, IMAGE, LABEL, Target
from curate.duplicates.relations import Relation
from curate.labels.joined import Annotation, Joined, join
from curate.suspicion.judgement import OF_LABELS
from manifests.anatomy.torso import find_torso
from manifests.classes.merged import annotated_classes, as_blocks
from manifests.ground.atomic import whole_file
from manifests.ground.findings import Finding
from manifests.table.case import Case
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume, read_volume, write_volume

MOST_CONFLICTS = 0.25  # of a class; beyond it, two annotations describe different things
ROUNDING_HU = 1
OF_CLASSES = ("class_absent", "nothing_annotated", *OF_LABELS)


@dataclass(frozen=True)
class Fusion:
    """What cases are made into, and whom to believe.

    Attributes:
        verify: Whether fused cases that exist are read whole before they are kept.
    """

    target: Target
    precedence: Precedence
    verify: bool = False

    def believed(self, group: Sequence[Case]) -> list[frozenset[int]]:
        """Return the classes on which each case but the first is believed before the others."""
        return [self._of_last(group[: n + 1]) for n in range(1, len(group))]

    def _of_last(self, group: Sequence[Case]) -> frozenset[int]:
        *others, last = group
        believed: set[int] = set()
        for n, name in enumerate(self.target.label_space.names[1:], start=1):
            # who says nothing of a class does not stand between those who do
            annotators = [case for case in others if case.merged[n] != 0] or others
            if self.precedence.is_first(last.dataset, name, [c.dataset for c in annotators]):
                believed.add(n)
        return frozenset(believed)


def fuse_duplicates(
    cases: Sequence[Case], relations: Sequence[Relation], how: Fusion
) -> tuple[list[Case], list[Relation]]:
    """Make cases that show the same voxels on the same grid one; return all, and their relations.

    The cases that are fused stay in their folders, so that they need not be made again; a fused
    case has a folder of its own, and is made again if any of them is. Where two of them differ is
    written to the folder `disagreements`.
    """
    fused: list[Case] = []
    now: dict[str, str] = {}
    groups, pairs = _groups(cases, relations, how)
    for group in groups:
        case = group[0] if len(group) == 1 else _fuse(group, how)
        now |= {member.case_id: case.case_id for member in group}
        fused.append(case)
    _delete_all_but(fused, how.target)
    _write_disagreements(pairs, now, how)
    renamed = {
        frozenset((a, b)): Relation(a, b, r.code, r.reason)
        for r in relations
        if (a := now[r.first]) != (b := now[r.second])
    }
    return fused, list(renamed.values())


def _groups(
    cases: Sequence[Case], relations: Sequence[Relation], how: Fusion
) -> tuple[list[list[Case]], list[tuple[Case, Case]]]:
    """Group cases of one image, those that annotate most first, as long as their labels agree.

    Returns:
        The groups, and the pairs that show one image, whether in one group or not.
    """
    copies = {frozenset((r.first, r.second)) for r in relations if r.code == "duplicate_image"}
    groups: list[list[Case]] = []
    pairs: list[tuple[Case, Case]] = []
    for case in sorted(cases, key=lambda c: (-len(c.annotated), c.case_id)):
        refused: list[Finding] = []
        for group in groups:
            pair = frozenset((group[0].case_id, case.case_id))
            if pair not in copies or not _same_image(group[0], case, how.target):
                continue
            pairs.append((group[0], case))
            conflict = _conflict([*group, case], how)
            if conflict is None:
                group.append(case)
                break
            refused.append(conflict)
        else:
            groups.append([replace(case, findings=(*case.findings, *refused))])
    return groups, pairs


def _write_disagreements(
    pairs: Sequence[tuple[Case, Case]], now: Mapping[str, str], how: Fusion
) -> None:
    """Write the table of what annotators of one scan label differently, and where."""
    target, folder = how.target, how.target.folder / FOLDER
    rows: list[Disagreement] = []
    written: list[Path] = []
    for first, second in pairs:
        pair = Pair(first, second, *(_voxels(case.label, target) for case in (first, second)))
        if not pair.shared:
            continue
        fused = now[first.case_id] == now[second.case_id]
        rows += disagreements(pair, target.label_space.names, how.precedence, fused=fused)
        written += write_differences(pair, _voxels(first.image, target), folder)
    for path in [*folder.glob(f"*{MASK}"), *folder.glob(f"*{PICTURE}")]:
        if path not in written:
            path.unlink()
    if rows or folder.is_dir():
        write_table(rows, folder)


def _same_image(first: Case, second: Case, target: Target) -> bool:
    if (first.size, first.spacing_mm) != (second.size, second.spacing_mm):
        return False
    if first.voxels_sha256 == second.voxels_sha256:
        return True
    one, other = (_voxels(case.image, target).astype(np.int32) for case in (first, second))
    return bool(np.abs(one - other).max() <= ROUNDING_HU)


def _conflict(group: Sequence[Case], how: Fusion) -> Finding | None:
    """Say why the last case cannot be fused with those before it."""
    joined = _join(group, how)
    if joined is not None and joined.worst <= MOST_CONFLICTS:
        return None
    seen = "only the two together distinguish a class" if joined is None else _percent(joined)
    return Finding("labels_conflict", f"not fused with {group[0].case_id}: {seen}")


def _percent(joined: Joined) -> str:
    return f"{joined.conflicts} voxels, {joined.worst:.1%} of a class, are labelled differently"


def _join(group: Sequence[Case], how: Fusion) -> Joined | None:
    """Join the annotations of cases, from the first to the last."""
    first, *others = (
        Annotation(as_blocks(case.blocks), case.merged, _voxels(case.label, how.target))
        for case in group
    )
    joined = Joined(first, 0, 0.0)
    space = how.target.label_space
    for other, believed in zip(others, how.believed(group), strict=True):
        step = join(joined.annotation, other, space, second_believed=believed)
        if step is None:
            return None
        worst = max(joined.worst, step.worst)
        joined = Joined(step.annotation, joined.conflicts + step.conflicts, worst)
    return joined


def _fuse(group: Sequence[Case], how: Fusion) -> Case:
    """Return the case of a group, made if it does not exist yet."""
    case_id = "+".join([group[0].case_id, *(c.case_id.replace("/", ".") for c in group[1:])])
    folder = how.target.folder / FUSED / case_id
    provenance = record.Provenance.of_fused(group, how.target, how.believed(group))
    row = record.unchanged_case(folder, provenance)
    if row is None or (how.verify and not record.is_undamaged(folder, row)):
        record.delete_case(folder)
        row = _make(group, case_id, folder, how)
        record.write_record(folder, row, provenance)
    # those of its parts may be others in each run, as when a source is gone or is back; and parts
    # that are made again, by another version of a recipe, may have the voxels that they had
    of_parts = [f for c in group for f in c.findings if f.code not in OF_CLASSES]
    return replace(
        row,
        subject_id=min(case.subject_id for case in group),
        recipe="+".join(dict.fromkeys(case.recipe for case in group)),
        recipe_version="+".join(dict.fromkeys(case.recipe_version for case in group)),
        source_image_sha256=group[0].source_image_sha256,
        source_label_sha256=group[0].source_label_sha256,
        findings=tuple(dict.fromkeys([*of_parts, *row.findings])),
    )


def _delete_all_but(cases: Sequence[Case], target: Target) -> None:
    """Remove fused cases that nothing is fused into any more."""
    wanted = {(target.folder / case.image).parent for case in cases}
    for folder in [f for f in (target.folder / FUSED).glob("*/*") if f not in wanted]:
        record.delete_case(folder)


def _make(group: Sequence[Case], case_id: str, folder: Path, how: Fusion) -> Case:
    first, target = group[0], how.target
    joined = _join(group, how)
    assert joined is not None  # the group was formed by joining it
    with whole_file(folder / IMAGE) as temporary:
        shutil.copyfile(target.folder / first.image, temporary)
    (x, y, z), (a, b, c), (i, j, k) = first.size, first.spacing_mm, first.origin_mm
    grid = Grid((x, y, z), (a, b, c), (i, j, k))
    write_volume(Volume(joined.annotation.ids, grid), folder / LABEL, is_label=True)
    image = Volume(_voxels(first.image, target), grid)
    columns, judged = written_columns(image, joined.annotation, folder, target, find_torso(image))
    return replace(
        first,
        case_id=case_id,
        **columns,
        findings=(*_findings(group, joined, how), *judged, *absences(columns, target)),
        licence=" AND ".join(dict.fromkeys(case.licence for case in group)),
    )


def _findings(group: Sequence[Case], joined: Joined, how: Fusion) -> list[Finding]:
    made = [Finding("fused", f"made of {' and '.join(case.case_id for case in group)}")]
    if joined.conflicts:
        reason = f"{_percent(joined)}; {group[0].case_id} was believed"
        names = how.target.label_space.names
        for case, classes in zip(group[1:], how.believed(group), strict=True):
            told = [names[n] for n in sorted(classes) if n in annotated_classes(case.merged)]
            reason += f"; {case.case_id} on {', '.join(told)}" if told else ""
        made.append(Finding("labels_conflict", reason))
    return made


def _voxels(path: str, target: Target) -> np.ndarray:
    return read_volume(target.folder / path).voxels
