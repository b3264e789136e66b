"""What every case is made into, and where."""

from dataclasses import dataclass
from pathlib import Path

from curate.datasets.discover import SourceCase
from manifests.classes.label_space import LabelSpace
from manifests.volumes.resampling.separable import Interpolation

IMAGE, LABEL = "image.nii", "label.nii"
FUSED = "fused"  # folder of the cases that are made of others, beside `cases`


@dataclass(frozen=True)
class Target:
    """What every case is made into.

    Attributes:
        spacing_mm: Along LPS x, y and z.
        folder: The folder of the manifest.
        interpolation: Of images; labels keep the volumes of their structures.
    """

    label_space: LabelSpace
    spacing_mm: tuple[float, float, float]
    folder: Path
    interpolation: Interpolation = "linear"

    def case_folder(self, case: SourceCase) -> Path:
        """Return where the files of one case go."""
        return self.folder / "cases" / case.dataset / case.name
