"""Scoring: one case's label map against what its annotator labelled, and nothing else."""

from collections.abc import Collection, Sequence

import numpy as np
from scipy.ndimage import find_objects

from manifests.classes.label_space import IGNORED
from manifests.classes.merged import groups_of
from manifests.table.case import Case
from manifests.volumes.grid import MM3_PER_ML
from train.boxes import box_around
from train.prediction.sliding_window import ClassVolume
from train.scoring.metrics import TOLERANCE_MM, diagonal_mm, measure
from train.scoring.scores import Detection, Score


def score_case(
    prediction: ClassVolume,
    truth: ClassVolume,
    case: Case,
    names: Sequence[str],
    *,
    known: Collection[int] | None = None,
    tolerance_mm: float = TOLERANCE_MM,
) -> tuple[Score, ...]:
    """Score each group of merged classes that a case tells apart from the background.

    Most groups are one class. Classes that the annotator labelled as one are scored as one, under
    all their names, as in `left_kidney+right_kidney`: which of them the prediction says is not
    asked. An organ that the annotator left out is in the background's group and asked for nowhere:
    finding it costs nothing, unless it is found within an organ that is annotated. Voxels that
    nobody looked at are taken out of the truth and of the prediction.

    Args:
        prediction: Class ids.
        truth: Representatives or `IGNORED`, on the same grid.
        case: Says which classes are told apart, and the spacing.
        names: Name of each of the N classes.
        known: Class ids that the prediction can hold; a group with any other class is not scored.
            All of them if left out.
        tolerance_mm: Of NSD.
    """
    voxel_ml = float(np.prod(case.spacing_mm)) / MM3_PER_ML
    farthest_mm = diagonal_mm(truth.shape, case.spacing_mm)
    hidden = truth == IGNORED
    if partly := bool(hidden.any()):
        prediction, truth = (np.where(hidden, np.uint8(0), v) for v in (prediction, truth))
    inside = _bounding_box(prediction | truth)
    if partly:  # whether a voxel is of a surface depends on its neighbours
        inside = _with_rim(inside)
    found = np.array(case.merged, np.uint8)[prediction[inside]]
    labelled, ignored = truth[inside], hidden[inside]
    boxes = [find_objects(volume, max_label=len(names)) for volume in (found, labelled)]
    scores = []
    for n, group in groups_of(case.merged).items():
        if n == 0 or not (known is None or set(group) <= set(known)):
            continue
        box = box_around([b for b in (boxes[0][n - 1], boxes[1][n - 1]) if b])
        if partly:
            box = _with_rim(box)
        masks = found[box] == n, labelled[box] == n
        voxels = [np.count_nonzero(mask) for mask in masks]
        measured = measure(
            *masks,
            spacing_mm=case.spacing_mm,
            tolerance_mm=tolerance_mm,
            ignored=ignored[box] if partly else None,
        )
        # NaN stays: np.minimum hands it on
        bounded = {
            name: float(np.minimum(value, farthest_mm)) if name.endswith("_mm") else value
            for name, value in measured.items()
        }
        scores.append(
            Score(
                dataset=case.dataset,
                case_id=case.case_id,
                class_id=n,
                class_name="+".join(names[i] for i in group),
                outcome=_outcome(bool(voxels[0]), bool(voxels[1])),
                **bounded,
                truth_ml=voxels[1] * voxel_ml,
                prediction_ml=voxels[0] * voxel_ml,
            )
        )
    return tuple(scores)


def _bounding_box(volume: ClassVolume) -> tuple[slice, ...]:
    """Return the box of all voxels that are not 0."""
    box: list[slice] = []
    for axis in range(volume.ndim):
        others = tuple(a for a in range(volume.ndim) if a != axis)
        inside = np.flatnonzero(volume.any(axis=others))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0))
        # each axis on what the last one left, so that most of it is never read
        volume = volume[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def _with_rim(box: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return a box with one more voxel at each side that an array has."""
    return tuple(slice(max((side.start or 0) - 1, 0), side.stop + 1) for side in box)


def _outcome(found: bool, labelled: bool) -> Detection:
    if found and labelled:
        return "compared"
    if labelled:
        return "missed"
    return "invented" if found else "absent"
