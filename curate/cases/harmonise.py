"""One case, from the published files to the harmonised ones."""

import hashlib

import numpy as np

from curate.cases.case_grid import case_grid, placed
from curate.cases.columns import absences, ignored_voxels, written_columns
from curate.cases.decisions import decided, ignored_parts, is_outdated, undrawn_structures
from curate.cases.overrides import Override
from curate.cases.reading import read_case
from curate.cases.target import IMAGE, LABEL, Target
from curate.datasets.discover import SourceCase
from curate.kidneys.gaps import fill_gaps
from curate.kidneys.midline import UNDECIDED
from curate.kidneys.split import split_kidneys
from curate.labels.joined import Annotation
from curate.labels.relabel import BlockMap
from curate.recipes.schema import Recipe
from manifests.anatomy.audit import audit_orientation, orientation_findings
from manifests.anatomy.repetition import find_repetition, repetition_finding
from manifests.anatomy.torso import Torso, find_torso
from manifests.classes.label_space import IGNORED
from manifests.classes.merged import merged_classes
from manifests.fingerprints.fingerprint import Fingerprint
from manifests.ground.content_hash import sha256_of
from manifests.ground.findings import Finding
from manifests.table.case import Case
from manifests.volumes.orientation import orientation_code
from manifests.volumes.resampling.resampling import resample_image, resample_label
from manifests.volumes.volume import Volume, write_volume


def harmonise(
    case: SourceCase, recipe: Recipe, target: Target, override: Override | None = None
) -> Case:
    """Read, check, relabel, resample and write one case.

    Raises:
        SetAsideError: The case cannot be used; nothing of it is left behind.
        OverrideError: What a person decided does not fit the case; nothing of it is left behind.
    """
    listed = {*recipe.values, *recipe.ignored_values}
    image, label, findings = read_case(case, listed, target.repairs)
    if override and is_outdated(override, case):
        override, findings = None, [*findings, Finding("override_outdated", override.reason)]
    image, label = placed(image, target), placed(label, target)
    source, fingerprint = image.grid, Fingerprint.of(image)
    undrawn = undrawn_structures(override, target.label_space)
    undrawn |= {s for value in case.unannotated for s in recipe.values[value]}
    block_map = BlockMap.of(label, recipe.values, recipe.ignored_values)
    if getattr(recipe.layout, "missing_value", "absent") == "not_annotated":
        undrawn |= block_map.unseen()
    block_map = block_map.without(undrawn)
    block_map = block_map.ignoring(ignored_parts(override, source))
    # before the kidneys get their sides from the very header that is in question
    torso = find_torso(image)
    verdicts = audit_orientation(torso, block_map, declared=recipe.structures)
    block_map, kidney_findings = _tell_kidneys_apart(block_map, image, recipe, override)
    block_map, decisions = decided(block_map, override)
    merged = merged_classes(block_map.blocks, target.label_space)
    grid = case_grid(source, target)
    # one after the other, and no longer held than needed: they are the largest things in memory
    image = resample_image(image, grid, interpolation=target.interpolation)
    before, blocks = block_map.to_classes(target.label_space, merged), block_map.blocks
    del label, block_map
    classes = resample_label(before, grid, ignored=IGNORED)
    ignored = ignored_voxels(before, classes)
    del before
    folder = target.case_folder(case)
    write_volume(image, folder / IMAGE)
    write_volume(classes, folder / LABEL, is_label=True)
    annotation = Annotation(blocks, merged, classes.voxels)
    columns, judged = written_columns(image, annotation, folder, target, torso)
    return Case(
        case_id=case.case_id,
        dataset=case.dataset,
        subject_id=case.case_id,
        split=None,
        **columns,
        source_image_sha256=sha256_of(case.image),
        source_label_sha256=sha256_of(case.label, case.label_files),
        voxels_sha256=hashlib.sha256(image.voxels.data).hexdigest(),
        fingerprint=fingerprint.to_text(),
        related=(),
        source_size=source.size_xyz,
        source_spacing_mm=source.spacing_mm,
        source_origin_mm=source.origin_mm,
        source_orientation=orientation_code(source),
        size=grid.size_xyz,
        spacing_mm=grid.spacing_mm,
        origin_mm=grid.origin_mm,
        findings=(
            *findings,
            *_missing_masks(case, recipe),
            *orientation_findings(verdicts),
            *_repeated(torso, classes),
            *kidney_findings,
            *decisions,
            *ignored,
            *judged,
            *absences(columns, target),
        ),
        recipe=recipe.name,
        recipe_version=recipe.version,
        licence=recipe.licence,
    )


def _missing_masks(case: SourceCase, recipe: Recipe) -> list[Finding]:
    """Return a finding for each mask that the case lacks, and what the recipe says it means."""
    means = {True: "not annotated in this case", False: "absent"}
    return [
        Finding("mask_missing", f"{name}: its structures are {means[value in case.unannotated]}")
        for value, (name, there) in enumerate(zip(recipe.parts, case.masks, strict=True), start=1)
        if not there
    ]


def _repeated(torso: Torso | None, classes: Volume) -> list[Finding]:
    """Return a finding if the scan shows itself twice, and say on which side the labels are."""
    repetition = None if torso is None else find_repetition(torso)
    if repetition is None:
        return []
    labelled = np.flatnonzero(((classes.voxels > 0) & (classes.voxels != IGNORED)).any(axis=(1, 2)))
    z_mm = classes.grid.position_mm([[0, 0, z] for z in labelled])[:, 2] if labelled.size else []
    behind = [z > repetition.seam_mm for z in z_mm]
    where = ""
    if behind and not any(behind):
        where = "; nothing is labelled from there on, so all organs there count as background"
    elif behind and all(behind):
        where = "; only what lies from there on is labelled"
    return [repetition_finding(repetition, where)]


def _tell_kidneys_apart(
    block_map: BlockMap, image: Volume, recipe: Recipe, override: Override | None
) -> tuple[BlockMap, tuple[Finding, ...]]:
    """Split the two-sided blocks, unless a kidney's side stays undecided.

    Kidneys that cannot be told apart keep their common block, so that the case's merged classes
    hold {left_kidney, right_kidney} as one group.
    """
    if not recipe.split_kidneys:
        return block_map, ()
    decision = override and override.kidney_decision
    kidneys = block_map.two_sided()
    whole = fill_gaps(kidneys, block_map.ignored()) if block_map.may_ignore else kidneys
    split = split_kidneys(whole, image=image, decision=decision)
    findings = split.findings
    if override is not None and decision is not None:
        finding = Finding("kidneys_overridden", f"{decision}: {override.reason}")
        findings = tuple(sorted((*findings, finding)))
    if split.labels.voxels.max() == UNDECIDED:
        return block_map, findings
    sides = split.labels if whole is kidneys else split.labels.masked(kidneys.voxels > 0)
    return block_map.by_side(sides), findings
