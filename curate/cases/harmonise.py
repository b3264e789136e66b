"""One case, from the published files to the harmonised ones."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from curate.cases.overrides import Override
from curate.cases.reading import read_case
from curate.cases.target import Target
from curate.datasets.discover import SourceCase
from curate.duplicates.fingerprint import Fingerprint
from curate.kidneys.midline import UNDECIDED
from curate.kidneys.split import split_kidneys
from curate.labels.relabel import BlockMap
from curate.orientation.audit import audit_orientation, orientation_findings
from curate.recipes.schema import Recipe
from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes, merged_classes
from manifests.ground.atomic import whole_file
from manifests.ground.content_hash import sha256_of
from manifests.ground.findings import Finding
from manifests.table.case import Case
from manifests.volumes.grid import harmonised_grid
from manifests.volumes.orientation import orientation_code
from manifests.volumes.resampling.resampling import resample_image, resample_label
from manifests.volumes.volume import Volume

MM3_PER_ML = 1000.0
NIFTI_HEADER_BYTES = 352  # of NIfTI-1 in one file, without extensions


def harmonise(
    case: SourceCase, recipe: Recipe, target: Target, override: Override | None = None
) -> Case:
    """Read, check, relabel, resample and write one case.

    Raises:
        SetAsideError: The case cannot be used; nothing of it is left behind.
        OverrideError: What a person decided does not fit the case; likewise.
    """
    image, label, findings = read_case(case, recipe.values)
    source, fingerprint = image.grid, Fingerprint.of(image)
    block_map = BlockMap.of(label, recipe.values)
    # before the kidneys get their sides from the very header that is in question
    verdicts = audit_orientation(image, block_map, declared=recipe.structures)
    block_map, kidney_findings = _tell_kidneys_apart(block_map, image, recipe, override)
    merged = merged_classes(block_map.blocks, target.label_space)
    classes = block_map.to_classes(target.label_space, merged)
    grid = harmonised_grid(source, target.spacing_mm)
    image = resample_image(image, grid, interpolation=target.interpolation)
    classes = resample_label(classes, grid)
    folder = target.case_folder(case)
    image_path, label_path = folder / "image.nii", folder / "label.nii"
    write_volume(image, image_path)
    write_volume(classes, label_path)
    hu, ids = image.voxels, classes.voxels
    inside = ids > 0
    hu_inside, voxels = hu[inside], _count(ids[inside], ids.size, len(target.label_space))
    annotated = annotated_classes(merged)
    return Case(
        case_id=case.case_id,
        dataset=case.dataset,
        subject_id=case.case_id,
        split=None,
        image=image_path.relative_to(target.folder).as_posix(),
        label=label_path.relative_to(target.folder).as_posix(),
        blocks=tuple(tuple(sorted(block)) for block in block_map.blocks),
        merged=merged,
        annotated=tuple(target.label_space.names[n] for n in annotated),
        voxels=tuple(voxels.tolist()),
        volume_ml=tuple((voxels * np.prod(grid.spacing_mm) / MM3_PER_ML).tolist()),
        source_image_sha256=sha256_of(case.image),
        source_label_sha256=sha256_of(case.label),
        image_sha256=sha256_of(image_path),
        label_sha256=sha256_of(label_path),
        voxels_sha256=hashlib.sha256(hu.data).hexdigest(),
        fingerprint=fingerprint.to_text(),
        related=(),
        source_size=source.size_xyz,
        source_spacing_mm=source.spacing_mm,
        source_origin_mm=source.origin_mm,
        source_orientation=orientation_code(source),
        size=grid.size_xyz,
        spacing_mm=grid.spacing_mm,
        origin_mm=grid.origin_mm,
        **intensities(hu, hu_inside),
        findings=(
            *findings,
            *orientation_findings(verdicts),
            *kidney_findings,
            *absences(target.label_space, annotated, voxels),
        ),
        recipe=recipe.name,
        recipe_version=recipe.version,
        licence=recipe.licence,
    )


def _tell_kidneys_apart(
    block_map: BlockMap, image: Volume, recipe: Recipe, override: Override | None
) -> tuple[BlockMap, tuple[Finding, ...]]:
    """Part the two-sided blocks, unless a kidney's side stays undecided.

    Kidneys that cannot be told apart keep their common block, so that the case's merged classes
    hold {left_kidney, right_kidney} as one group.
    """
    if not recipe.split_kidneys:
        return block_map, ()
    decision = override and override.kidney_decision
    split = split_kidneys(block_map.two_sided(), image=image, decision=decision)
    findings = split.findings
    if override is not None and decision is not None:
        finding = Finding("kidneys_overridden", f"{decision}: {override.reason}")
        findings = tuple(sorted((*findings, finding)))
    if split.labels.voxels.max() == UNDECIDED:
        return block_map, findings
    return block_map.by_side(split.labels), findings


def absences(space: LabelSpace, annotated: tuple[int, ...], voxels: np.ndarray) -> list[Finding]:
    """Findings of what is annotated and has no voxel."""
    if not annotated:
        return [Finding("nothing_annotated", f"no class of {space.name} is alone in its group")]
    return [
        Finding("class_absent", f"{space.names[n]} is annotated and has no voxel")
        for n in annotated
        if not voxels[n]
    ]


def _count(foreground: np.ndarray, total: int, classes: int) -> np.ndarray:
    """Voxels of each class, given those that are not background."""
    voxels = np.bincount(foreground, minlength=classes)
    voxels[0] = total - len(foreground)
    return voxels


def intensities(hu: np.ndarray, foreground: np.ndarray) -> dict[str, float]:
    """The manifest's columns of Hounsfield units (int16): of all voxels and of the foreground's."""
    low, high = np.percentile(foreground, (0.5, 99.5)) if foreground.size else (np.nan, np.nan)
    mean, spread = _moments(hu)
    foreground_mean, foreground_spread = _moments(foreground[None])
    return {
        "hu_min": float(hu.min()),
        "hu_max": float(hu.max()),
        "hu_mean": mean,
        "hu_std": spread,
        "foreground_hu_mean": foreground_mean,
        "foreground_hu_std": foreground_spread,
        "foreground_hu_low": float(low),
        "foreground_hu_high": float(high),
    }


def _moments(hu: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation: sums of whole numbers, exact, without a copy of the volume."""
    if not hu.size:
        return np.nan, np.nan
    layers = (layer.astype(np.float64).ravel() for layer in hu)
    sums = np.array([(layer.sum(), layer @ layer) for layer in layers])
    mean, square = sums.sum(axis=0) / hu.size
    return float(mean), float(np.sqrt(max(square - mean**2, 0.0)))


def write_volume(volume: Volume, path: Path) -> None:
    """Write an uncompressed volume as a whole file.

    Raises:
        OSError: The disk took only a part of it.
    """
    expected = NIFTI_HEADER_BYTES + volume.voxels.nbytes
    with whole_file(path) as temporary:
        sitk.WriteImage(volume.grid.image(volume.voxels), str(temporary), useCompression=False)
        written = temporary.stat().st_size
        if written != expected:  # SimpleITK keeps a full disk to itself
            msg = f"{written:,} of {expected:,} bytes could be written"
            raise OSError(errno.ENOSPC, msg, path.name)
