"""Requirements: what the cases of a training must have, and what is told if they do not."""

import numpy as np

from manifests.classes.merged import annotated_classes, is_full
from manifests.ground.errors import TrainingError
from manifests.table.case_rows import CaseRows, Mask
from train.boxes import triple
from train.settings import TrainSettings

_NAMED = 3  # spacings in a message


def fully_labelled(cases: CaseRows) -> CaseRows:
    """Return the cases that tell every class apart from every other."""
    return cases.where(cases.coded("merged").where(is_full))


def require_cases(training: CaseRows, chosen: CaseRows, settings: TrainSettings) -> None:
    """Refuse cases that leave nothing to learn from, in a stage or at all.

    Args:
        training: Those of the split for training.
        chosen: Those of all splits.
        settings: The stages, and the weights of the losses.

    Raises:
        TrainingError: There is no case, or none of the kind that the settings need.
    """
    if not training:
        splits = chosen.coded("split")
        told = zip(splits.values, splits.counts().tolist(), strict=True)
        found = sorted((split or "unassigned", n) for split, n in told if n)
        counts = ", ".join(f"{n} {split}" for split, n in found) or "none"
        msg = (
            f"no labelled case to train on: expected cases of the split train, got {counts}; "
            f"assign them with `marginalia split`"
        )
        raise TrainingError(msg)
    first, second = settings.stage_epochs
    none_full = not fully_labelled(training)
    if none_full and not settings.marginal_weight and settings.method == "marginal":
        msg = (
            f"marginal_weight is 0 and none of {len(training)} training cases is fully labelled: "
            f"exclusion alone teaches no class; give the marginal losses a weight"
        )
        raise TrainingError(msg)
    if first and none_full:
        msg = (
            f"the first stage has {first} epochs, but none of {len(training)} training cases is "
            f"fully labelled; leave the stage out with --set stage_epochs=0,{first + second}"
        )
        raise TrainingError(msg)
    if settings.balance == "class" and not training.coded("merged").where(annotated_classes).any():
        msg = (
            f"balance is class, but none of {len(training)} training cases tells a class from all "
            f"others, so that there is no class to draw patches for; use --set balance=dataset"
        )
        raise TrainingError(msg)


def require_foreground(training: CaseRows, settings: TrainSettings) -> None:
    """Refuse a dataset of which, in a stage, no batch could have foreground.

    Raises:
        TrainingError: There is one.
    """
    full = fully_labelled(training)
    for epochs, kind, cases in zip(
        settings.stage_epochs, ("fully labelled ", ""), (full, training), strict=True
    ):
        datasets = set(cases.coded("dataset").present())
        labelled = cases.where(_have_foreground(cases)).coded("dataset").present()
        empty = sorted(datasets - {*labelled})
        if epochs and empty:
            rest = ",".join(sorted({*training.coded("dataset").present()} - set(empty)))
            msg = (
                f"{', '.join(empty)}: expected a labelled voxel in the {kind}training cases, got "
                f"none, so that no batch of the dataset could have foreground; "
                f"{f'leave out with --set datasets={rest}' if rest else 'add cases with labels'}"
            )
            raise TrainingError(msg)


def _have_foreground(cases: CaseRows) -> Mask:
    """Return for each case whether a voxel of it is labelled with a group that is no background."""
    merged = cases.coded("merged")
    groups = [np.flatnonzero(value) for value in merged.values]
    holds = np.zeros(len(cases), bool)
    voxels = cases.numbers("voxels")
    for code in np.flatnonzero(merged.counts()):
        rows = np.flatnonzero(merged.codes == code)
        holds[rows] = (voxels[np.ix_(rows, groups[code])] > 0).any(axis=1)
    return holds


def one_spacing(*parts: CaseRows) -> tuple[float, float, float]:
    """Return the spacing along x, y, z that all cases of all parts have.

    Raises:
        TrainingError: They have several.
    """
    spacings = sorted({mm for cases in parts for mm in cases.coded("spacing_mm").present()})
    more = f" and {len(spacings) - _NAMED} more" if len(spacings) > _NAMED else ""
    if len(spacings) > 1 or len(spacings[0]) != 3:
        msg = (
            f"expected cases of one spacing, got {spacings[:_NAMED]}{more} mm; prepare the "
            f"datasets with the same spacing, not with --spacing native"
        )
        raise TrainingError(msg)
    return triple(spacings[0])
