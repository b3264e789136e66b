"""The columns of a case that follow from its annotation and from its two written volumes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from curate.cases.target import IMAGE, LABEL, Target
from curate.labels.joined import Annotation
from curate.suspicion.judgement import OF_LABELS, judge_labels
from manifests.anatomy.torso import Torso, find_torso
from manifests.classes.label_space import IGNORED
from manifests.classes.merged import annotated_classes
from manifests.ground.content_hash import sha256_of
from manifests.ground.findings import Finding, SetAsideError
from manifests.table.case import Case
from manifests.volumes.volume import Volume, read_volume


def written_columns(
    image: Volume, annotation: Annotation, folder: Path, target: Target, torso: Torso | None
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return the columns of a case whose two volumes have been written, and what they tell.

    Args:
        image: The harmonised image (int16, HU).
        annotation: On the same grid.
        folder: The case's folder, which holds both volumes.
        target: Names the classes; its folder is the manifest's.
        torso: Where the body is in the image.
    """
    ids, space = annotation.ids, target.label_space
    inside = ids > 0
    counts = np.bincount(ids[inside], minlength=IGNORED + 1)
    counts[0] = ids.size - np.count_nonzero(inside)
    voxels, ignored = counts[: len(space)], int(counts[IGNORED])
    if ignored:
        inside &= ids != IGNORED
    judged = judge_labels(image, ids, space=space, merged=annotation.merged, torso=torso)
    columns = {
        "image": (folder / IMAGE).relative_to(target.folder).as_posix(),
        "label": (folder / LABEL).relative_to(target.folder).as_posix(),
        "blocks": tuple(tuple(sorted(block)) for block in annotation.blocks),
        "merged": annotation.merged,
        "annotated": tuple(space.names[n] for n in annotated_classes(annotation.merged)),
        "voxels": tuple(voxels.tolist()),
        "ignored": ignored,
        "volume_ml": tuple(image.grid.volume_ml(voxels).tolist()),
        "image_sha256": sha256_of(folder / IMAGE),
        "label_sha256": sha256_of(folder / LABEL),
        **_intensities(image.voxels, image.voxels[inside]),
        **judged.columns(len(space)),
    }
    return columns, judged.findings


def with_label_numbers(row: Case, folder: Path, target: Target) -> Case:
    """Judge the labels of a case that was made before labels were judged; leave any other.

    Args:
        row: Of the case.
        folder: Holds both of its volumes.
        target: Names the classes.
    """
    if row.suspicion is not None:
        return row
    image, ids = read_volume(folder / IMAGE), read_volume(folder / LABEL).voxels
    space, torso = target.label_space, find_torso(image)
    judged = judge_labels(image, ids, space=space, merged=row.merged, torso=torso)
    columns = judged.columns(len(space))
    others = tuple(f for f in row.findings if f.code not in OF_LABELS)
    return replace(row, **columns, findings=(*others, *judged.findings))


def ignored_voxels(before: Volume, after: Volume) -> list[Finding]:
    """Return a finding if nobody looked at some voxels of a label.

    Raises:
        SetAsideError: No voxel is left that somebody looked at.
    """
    left = _share_ignored(after)
    if not left:
        return []
    reason = f"{_share_ignored(before):.1%} of the label, {left:.1%} of the harmonised case"
    if left == 1:
        raise SetAsideError(Finding("nothing_looked_at", reason))
    return [Finding("voxels_ignored", reason)]


def _share_ignored(volume: Volume) -> float:
    return np.count_nonzero(volume.voxels == IGNORED) / volume.voxels.size


def absences(columns: dict[str, Any], target: Target) -> list[Finding]:
    """Return a finding for each class that is annotated and has no voxel."""
    space = target.label_space
    if not columns["annotated"]:
        return [Finding("nothing_annotated", f"no class of {space.name} is alone in its group")]
    voxels = dict(zip(space.names, columns["voxels"], strict=True))
    where = " where somebody looked" if columns["ignored"] else ""
    return [
        Finding("class_absent", f"{name} is annotated and has no voxel{where}")
        for name in columns["annotated"]
        if not voxels[name]
    ]


def _intensities(hu: np.ndarray, foreground: np.ndarray) -> dict[str, float]:
    """Return the statistics of all Hounsfield units (int16) and of the foreground's."""
    low, high = np.percentile(foreground, (0.5, 99.5)) if foreground.size else (np.nan, np.nan)
    mean, std = _moments(hu)
    foreground_mean, foreground_std = _moments(foreground[None])
    return {
        "hu_min": float(hu.min()),
        "hu_max": float(hu.max()),
        "hu_mean": mean,
        "hu_std": std,
        "foreground_hu_mean": foreground_mean,
        "foreground_hu_std": foreground_std,
        "foreground_hu_low": float(low),
        "foreground_hu_high": float(high),
    }


def _moments(hu: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation from sums of integers: exact, without a copy."""
    if not hu.size:
        return np.nan, np.nan
    layers = (layer.astype(np.float64).ravel() for layer in hu)
    sums = np.array([(layer.sum(), layer @ layer) for layer in layers])
    mean, square = sums.sum(axis=0) / hu.size
    return float(mean), float(np.sqrt(max(square - mean**2, 0.0)))
