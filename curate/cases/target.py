"""What every case is made into, and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from curate.datasets.discover import SourceCase
from manifests.classes.label_space import LabelSpace
from manifests.ground.errors import MarginaliaError
from manifests.volumes.grid import MAX_SPACING_MM, MIN_SPACING_MM
from manifests.volumes.readers.repairs import AS_USUAL, Repairs

if TYPE_CHECKING:
    from manifests.volumes.resampling.separable import Interpolation  # slow to import

IMAGE, LABEL = "image.nii", "label.nii"
FUSED = "fused"  # folder of the cases that are made of others, beside `cases`

NATIVE = "native"
Spacing = tuple[float, float, float] | Literal["native"]


@dataclass(frozen=True)
class Target:
    """What every case is made into.

    Attributes:
        spacing_mm: Along LPS x, y and z; `native` leaves each case on its own voxels.
        folder: The folder of the manifest.
        interpolation: Of images; labels keep the volumes of their structures.
        repairs: What may be done to series that do not make up a grid.
    """

    label_space: LabelSpace
    spacing_mm: Spacing
    folder: Path
    interpolation: "Interpolation" = "linear"
    repairs: Repairs = AS_USUAL

    def __post_init__(self) -> None:
        """Refuse a spacing that no volume may have.

        Raises:
            MarginaliaError: It is not three numbers within those bounds.
        """
        check_spacing(self.spacing_mm)

    def case_folder(self, case: SourceCase) -> Path:
        """Return where the files of one case go."""
        return self.folder / "cases" / case.dataset / case.name


def check_spacing(spacing_mm: Spacing) -> None:
    """Refuse a spacing that no volume may have.

    Raises:
        MarginaliaError: It is not three numbers within those bounds.
    """
    if spacing_mm == NATIVE:
        return
    if len(spacing_mm) == 3 and all(MIN_SPACING_MM <= mm <= MAX_SPACING_MM for mm in spacing_mm):
        return
    msg = (
        f"--spacing: expected three numbers from {MIN_SPACING_MM} to {MAX_SPACING_MM} (mm along "
        f"x, y and z) or `native`, got {' '.join(map(str, spacing_mm))}; nothing was changed"
    )
    raise MarginaliaError(msg)
