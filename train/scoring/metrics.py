"""Metrics: how far a predicted class is from the labelled one, on one grid.

The surface of a mask is the set of voxels that it loses when it is eroded by one voxel along each
axis, and distances run between voxel centres, as in MONAI. docs/reference/metrics.md says why, and
how far other programs' definitions are from it.

Where a metric has no value, it says so rather than flatter:

| prediction | truth | Dice, IoU | NSD | distances |
|---|---|---|---|---|
| empty | empty | NaN: nothing to score | NaN | NaN |
| one of them empty | | 0 | 0 | infinite: there is no surface to be near to |

A mean cannot hold an infinite distance, and leaving it out would reward a network for missing an
organ altogether. A mean therefore takes the volume's diagonal in its place (`diagonal_mm`): no two
points of the volume are farther apart.

Source: Maier-Hein et al., Metrics Reloaded, Nature Methods 21 (2024), whose guidance is to score a
failed prediction with the worst value; BraTS takes the diagonal, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from train.scoring.surfaces import Mask, Vector, nearest_mm, surface

Metric = Literal["dice", "iou", "hausdorff_mm", "hd95_mm", "assd_mm", "nsd"]
METRICS: tuple[Metric, ...] = get_args(Metric)

# The slice thickness of the paper's grid, and what TotalSegmentator takes for every structure.
TOLERANCE_MM = 3.0
_ROUNDING = 1 + 1e-9  # a distance of exactly the tolerance is within it, however it was computed


@dataclass(frozen=True)
class MetricScale:
    """How a metric is shown and read: the nearer it comes to its best value, the better."""

    title: str
    digits: int
    best: float

    @property
    def sign(self) -> int:
        """Return 1 if greater is better, else -1."""
        return 1 if self.best else -1


SCALES: Mapping[Metric, MetricScale] = {
    "dice": MetricScale("Dice", 3, 1.0),
    "iou": MetricScale("IoU", 3, 1.0),
    "hausdorff_mm": MetricScale("HD / mm", 2, 0.0),
    "hd95_mm": MetricScale("HD95 / mm", 2, 0.0),
    "assd_mm": MetricScale("ASSD / mm", 2, 0.0),
    "nsd": MetricScale("NSD", 3, 1.0),
}


def dice(prediction: Mask, truth: Mask) -> float:
    """Return twice the overlap over the sum of the two sizes; NaN if both masks are empty.

    Source: Shi et al. 2021, section 4.5.
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(prediction & truth) / total if total else math.nan


def measure(
    prediction: Mask,
    truth: Mask,
    *,
    spacing_mm: Vector,
    tolerance_mm: float = TOLERANCE_MM,
    ignored: Mask | None = None,
) -> dict[Metric, float]:
    """Return all metrics of two masks; all distances are of the same two directed sets.

    The time and memory are those of the masks' array: cut it to the box around both first.

    Args:
        prediction: Mask [z, y, x].
        truth: Mask on the same grid.
        spacing_mm: Spacing along x, y, z.
        tolerance_mm: How far surfaces may be apart and still count as one in NSD.
        ignored: Voxels that nobody looked at, in neither mask; None if there are none.

    Returns:
        dice and iou: 0 to 1.
        hausdorff_mm: The greater of the two directed maxima.
        hd95_mm: The greater of the two directed 95th percentiles (linear interpolation), as in
            MONAI and the challenges; not the percentile of both directions pooled.
        assd_mm: The average symmetric surface distance: the mean of both directions pooled.
        nsd: The normalised surface distance: the share of both surfaces that lies within the
            tolerance of the other.

    Source: section 4.5 of Shi et al. 2021 for Dice and the Hausdorff distance; Nikolov et al.,
    J. Med. Internet Res. 23 (2021) e26151 for NSD.
    """
    overlap = dice(prediction, truth)
    union = overlap / (2 - overlap)  # IoU follows from Dice, NaN from NaN
    if not (prediction.any() and truth.any()):
        nothing = math.nan if math.isnan(overlap) else math.inf
        worst = (overlap, union, nothing, nothing, nothing, overlap)
        return dict(zip(METRICS, worst, strict=True))
    one, other = surface(prediction, ignored), surface(truth, ignored)
    directed = (
        nearest_mm(one, other, spacing_mm=spacing_mm),
        nearest_mm(other, one, spacing_mm=spacing_mm),
    )
    pooled = np.concatenate(directed)
    return {
        "dice": overlap,
        "iou": union,
        "hausdorff_mm": float(pooled.max()),
        "hd95_mm": max(float(np.percentile(distances, 95)) for distances in directed),
        "assd_mm": float(pooled.mean()),
        "nsd": float(np.mean(pooled <= tolerance_mm * _ROUNDING)),
    }


def diagonal_mm(shape_zyx: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """Return the length of a volume's diagonal between its outermost voxel centres.

    Args:
        shape_zyx: Voxels along z, y, x.
        spacing_mm: Spacing along x, y, z.
    """
    pairs = zip(shape_zyx, reversed(spacing_mm), strict=True)
    return math.hypot(*((n - 1) * step for n, step in pairs))
