"""Which DICOM slices make up a volume, and where it lies."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import Grid
from manifests.volumes.readers.right_angles import at_right_angles

SAME_POSITION_MM = 0.01
EVEN = 0.01  # of the distance of slices: rounding
UNEVEN = 0.1  # of the distance of slices: tolerated
TILT_TOLERANCE = 0.01  # shift of a slice per distance
COSINE_TOLERANCE = 1e-3
MOST_NAMED = 5  # files in a message

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """What the header of one DICOM file says.

    Attributes:
        series: UID; may be empty.
        frames: Number of images in the file.
        size_xy: Columns and rows.
        spacing_xy_mm: Distance of columns, and of rows.
        position_mm: Of the first pixel, LPS; none in a file that is no slice.
        orientation: Cosines of a row and of a column, LPS; none in a file that is no slice.
    """

    path: Path
    series: str
    modality: str
    image_type: tuple[str, ...]
    frames: int
    size_xy: tuple[int, int]
    spacing_xy_mm: tuple[float, float]
    position_mm: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None

    @property
    def obstacle(self) -> str:
        """Why it cannot be part of a CT volume; empty if it can."""
        if self.modality not in ("CT", ""):
            return f"modality {self.modality}"
        if "LOCALIZER" in self.image_type:
            return "a localizer, which is a scout"
        if self.frames != 1:
            return f"{self.frames} frames in one file"
        lacking = [name for name, value in self._place.items() if value is None]
        return f"no {' and no '.join(lacking)}" if lacking else ""

    @property
    def _place(self) -> dict[str, object]:
        return {
            "ImagePositionPatient": self.position_mm,
            "ImageOrientationPatient": self.orientation,
        }

    @property
    def stack(self) -> tuple[object, ...]:
        """What the slices of one volume have in common."""
        rounded = tuple(round(c / COSINE_TOLERANCE) for c in self.orientation or ())
        return self.series, self.size_xy, self.spacing_xy_mm, rounded

    @property
    def axes(self) -> Vector:
        """The directions of a row, of a column and of the normal, one in each row."""
        cosines = np.asarray(self.orientation, dtype=np.float64)
        row, column = cosines[:3], cosines[3:]
        return np.stack([row, column, np.cross(row, column)])


def plan_volume(
    slices: Sequence[Slice],
    same_pixels: Callable[[Path, Path], bool],
    folder: Path,
    damaged: Sequence[Path] = (),
) -> tuple[list[Path], Grid, list[Finding]]:
    """Choose the slices of a folder's only CT volume, in order, and find its grid.

    A gap or a tilt is an error.

    Args:
        slices: What the headers say.
        same_pixels: Tells whether two files hold the same image.
        folder: Where they lie.
        damaged: DICOM files whose headers could not be read; they may be what a gap lacks.
    """
    chosen, left_out = _only_stack(slices, folder)
    normal = chosen[0].axes[2]
    chosen = sorted(chosen, key=lambda s: (_depth(s, normal), s.path.name))
    chosen, duplicates = _without_duplicates(chosen, normal, same_pixels, folder)
    positions = np.array([s.position_mm for s in chosen])
    step_mm, uneven = _step(positions @ normal, folder, damaged)
    _check_tilt(positions, normal, folder)
    first = chosen[0]
    affine = np.eye(4)
    affine[:3, :3] = np.stack([*first.axes[:2], normal], axis=1)
    affine[:3, :3] *= *first.spacing_xy_mm, step_mm
    affine[:3, 3] = positions[0]
    grid, skewed = at_right_angles(affine, (*first.size_xy, len(chosen)), folder)
    return [s.path for s in chosen], grid, [*left_out, *duplicates, *uneven, *skewed]


def _only_stack(slices: Sequence[Slice], folder: Path) -> tuple[list[Slice], list[Finding]]:
    stacks: defaultdict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for s in slices:
        if not s.obstacle:
            stacks[s.stack].append(s)
    volumes = [stack for stack in stacks.values() if len({s.position_mm for s in stack}) > 1]
    if not volumes:
        kinds = Counter(s.obstacle or "one slice only of a series" for s in slices).most_common()
        got = "; ".join(f"{kind} ({n} {'file' if n == 1 else 'files'})" for kind, n in kinds)
        reason = f"{folder}: expected a CT series of single slices; got {got}"
        raise SetAsideError(Finding("dicom_not_volume", reason))
    if len(volumes) > 1:
        sizes = sorted((len(v) for v in volumes), reverse=True)
        reason = (
            f"{folder}: expected one CT series; got {len(volumes)}, of {sizes} slices: put each "
            f"into its own folder"
        )
        raise SetAsideError(Finding("dicom_series_mixed", reason))
    chosen = volumes[0]
    others = len(slices) - len(chosen)
    reason = f"{others} files beside the {len(chosen)} slices of the one CT series"
    return chosen, [Finding("dicom_series_chosen", reason)] if others else []


def _without_duplicates(
    ordered: Sequence[Slice],
    normal: Vector,
    same_pixels: Callable[[Path, Path], bool],
    folder: Path,
) -> tuple[list[Slice], list[Finding]]:
    kept: list[Slice] = []
    for s in ordered:
        if not kept or _depth(s, normal) - _depth(kept[-1], normal) > SAME_POSITION_MM:
            kept.append(s)
        elif not same_pixels(kept[-1].path, s.path):
            reason = (
                f"{folder}: {kept[-1].path.name} and {s.path.name} are two images of one position: "
                f"expected one scan; put each into its own folder"
            )
            raise SetAsideError(Finding("dicom_series_mixed", reason))
    twice = len(ordered) - len(kept)
    finding = Finding("dicom_slices_duplicate", f"{twice} of {len(ordered)} slices")
    return kept, [finding] if twice else []


def _step(depths_mm: Vector, folder: Path, damaged: Sequence[Path]) -> tuple[float, list[Finding]]:
    steps = np.diff(depths_mm)
    usual = float(np.median(steps))
    off = float(np.abs(steps / usual - 1).max())
    if off <= UNEVEN:
        mean = float((depths_mm[-1] - depths_mm[0]) / len(steps))
        reason = f"from {steps.min():.4g} to {steps.max():.4g} mm"
        return mean, [Finding("dicom_spacing_uneven", reason)] if off > EVEN else []
    missing = int(np.rint(steps / usual - 1).clip(0).sum())
    worst = int(steps.argmax())
    reason = (
        f"{folder}: expected slices {usual:.4g} mm apart; got {steps.max():.4g} mm between slices "
        f"{worst + 1} and {worst + 2} of {len(steps) + 1}, and {steps.min():.4g} mm at the least"
    )
    if missing:
        cut_off = ", ".join(path.name for path in damaged[:MOST_NAMED])
        unread = f"; cut off, or damaged otherwise: {cut_off}" if cut_off else ""
        reason = f"{reason}: about {missing} are missing{unread}; get the series again"
        raise SetAsideError(Finding("dicom_slices_missing", reason))
    raise SetAsideError(Finding("geometry_invalid", reason))


def _check_tilt(positions_mm: Vector, normal: Vector, folder: Path) -> None:
    offsets = positions_mm - positions_mm[0]
    along = offsets @ normal
    aside = np.linalg.norm(offsets - np.outer(along, normal), axis=1)
    if aside.max() > TILT_TOLERANCE * along[-1]:
        degrees = np.degrees(np.arctan2(aside[-1], along[-1]))
        reason = (
            f"{folder}: slices are shifted by up to {aside.max():.4g} mm over {along[-1]:.4g} mm "
            f"({degrees:.1f} degrees); resample the series to a grid with right angles"
        )
        raise SetAsideError(Finding("dicom_gantry_tilt", reason))


def _depth(s: Slice, normal: Vector) -> float:
    return float(np.asarray(s.position_mm) @ normal)
