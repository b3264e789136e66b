"""What an export to nnU-Net will hold: which cases, in which splits, with which labels."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from manifests.classes.label_space import IGNORED, MAX_CLASSES
from manifests.classes.merged import groups_of, is_full
from manifests.exports.folds import Fold, make_folds
from manifests.exports.selection import ExportedCase, Selection
from manifests.exports.volume_file import GZIP, NO_VALUE, Values
from manifests.ground.errors import ExportError
from manifests.table.manifest import Manifest

Partial = Literal["trainer", "ignore", "leave-out"]
PARTIAL: tuple[str, ...] = get_args(Partial)
FOLDER_NAME = re.compile(r"Dataset\d{3}_\w+", re.ASCII)
CHANNEL = "_0000"  # of the one channel, CT


@dataclass(frozen=True)
class NnunetRequest:
    """What is asked for.

    Attributes:
        folder: `Dataset123_Name`, in nnU-Net's folder of raw data.
        partial: What becomes of cases in which some classes are not told apart. `trainer` leaves
            their labels as they are, for our trainer. `ignore` gives the voxels of every group of
            several classes nnU-Net's ignore value. `leave-out` leaves these cases out of training.
        compress: Whether to write `.nii.gz`, in place of hard links to `.nii`.
        folds: As for `make_folds`.
    """

    folder: Path
    partial: Partial = "trainer"
    compress: bool = False
    folds: int | None = None

    @property
    def file_ending(self) -> str:
        """Return what the names of volumes end in."""
        return f".nii{GZIP}" if self.compress else ".nii"


@dataclass(frozen=True)
class NnunetPlan:
    """What will be written.

    Attributes:
        manifest: What holds for all cases.
        training: Cases of `imagesTr`.
        test: Cases of `imagesTs`.
        left_out: Ids of the partly labelled training cases that `leave-out` leaves out.
        problems: Why a case cannot be exported, by case id.
    """

    request: NnunetRequest
    manifest: Manifest
    training: tuple[ExportedCase, ...]
    test: tuple[ExportedCase, ...]
    folds: tuple[Fold, ...]
    left_out: tuple[str, ...]
    problems: dict[str, str]

    @property
    def ignore_value(self) -> int | None:
        """Return the value of voxels that count nowhere, if there may be any."""
        wanted = self.request.partial == "ignore" or any(map(_has_ignored, self.training))
        return len(self.manifest.label_space) if wanted else None

    def values_of(self, exported: ExportedCase) -> Values | None:
        """Return what each label value of a training case becomes; None leaves the file as it is.

        The file may tell apart what an edit of the manifest merged since: that is merged here. Our
        ignored voxels get nnU-Net's value, the first behind the classes.
        """
        merged = exported.case.merged
        fused = self.request.partial == "ignore" and not is_full(merged)
        edited = bool(self.manifest.settings.get("edits")) and not is_full(merged)
        if not (fused or edited or _has_ignored(exported)):
            return None
        values = np.full(IGNORED + 1, NO_VALUE, np.int16)
        values[: len(merged)] = merged
        values[IGNORED] = NO_VALUE if self.ignore_value is None else self.ignore_value
        for members in groups_of(merged).values():
            if fused and len(members) > 1:
                values[list(members)] = values[IGNORED]
        return values


def _has_ignored(exported: ExportedCase) -> bool:
    """Return whether a label has voxels that nobody looked at, which no class counts."""
    return sum(exported.case.voxels) < math.prod(exported.case.size)


def plan_nnunet(selection: Selection, request: NnunetRequest) -> NnunetPlan:
    """Decide what to write.

    Raises:
        ExportError: The folder's name is not nnU-Net's, or no case is left to train with.
    """
    space = selection.manifest.label_space
    if not FOLDER_NAME.fullmatch(request.folder.name):
        msg = (
            f"{request.folder}: nnU-Net needs a folder called DatasetNNN_Name, with three digits "
            f"and letters, digits or _, in its folder of raw data; try --out "
            f"$nnUNet_raw/Dataset501_{space.name}"
        )
        raise ExportError(msg)
    if request.partial == "ignore" and len(space) >= MAX_CLASSES:
        msg = f"{len(space)} classes leave no label value to ignore; use --partial trainer"
        raise ExportError(msg)
    test = tuple(c for c in selection.cases if c.case.split == "test")
    rest = [c for c in selection.cases if c.case.split != "test"]
    left_out = [c for c in rest if request.partial == "leave-out" and not is_full(c.case.merged)]
    training = tuple(c for c in rest if c not in left_out)
    if not training:
        _refuse_empty(rest, left_out)
    return NnunetPlan(
        request,
        selection.manifest,
        training,
        test,
        folds=tuple(make_folds(training, request.folds)),
        left_out=tuple(c.case.case_id for c in left_out),
        problems=selection.problems,
    )


def _refuse_empty(rest: Sequence[ExportedCase], left_out: Sequence[ExportedCase]) -> None:
    what = "only partly labelled" if left_out else "for testing"
    msg = (
        f"no case is left to train with: all {len(rest) or 'cases'} are {what}; use --partial "
        f"trainer, another --where, or `marginalia split`"
    )
    raise ExportError(msg)
