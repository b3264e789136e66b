"""Disagreement: where two annotators of one scan label the same class differently."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from curate.cases.precedence import Precedence
from manifests.classes.label_space import IGNORED
from manifests.classes.merged import annotated_classes
from manifests.ground.atomic import whole_file
from manifests.table.case import Case

FOLDER = "disagreements"
TABLE = "disagreements.csv"
MASK, PICTURE = ".nii.gz", ".png"
ONLY_FIRST, ONLY_SECOND, OTHERWISE = 1, 2, 3  # values of a mask: what labels a voxel
COLOURS = {ONLY_FIRST: (230, 60, 60), ONLY_SECOND: (60, 200, 90), OTHERWISE: (80, 120, 255)}
DARKEST_HU, BRIGHTEST_HU = -160, 240

Ids = NDArray[np.uint8]


@dataclass(frozen=True)
class Disagreement:
    """How two cases of one scan differ in a class that both annotate.

    Attributes:
        class_name: Of the class.
        dice: Of the two; empty if neither has a voxel of it.
        differ_ml: Volume that only one of them gives to the class.
        box: Voxels x, y and z, from the first to the last, that hold these; empty if there are
            none.
        believed: Dataset whose voxels count if the two are fused.
        fused: Whether they are.
        mask: File of all voxels that they label differently; empty if there are none.
    """

    first: str
    second: str
    class_name: str
    dice: float | None
    first_ml: float
    second_ml: float
    differ_ml: float
    differ_voxels: int
    box: str
    believed: str
    fused: bool
    mask: str


@dataclass(frozen=True)
class Pair:
    """Two cases of one scan, and their labels [z, y, x]."""

    first: Case
    second: Case
    first_ids: Ids
    second_ids: Ids

    @property
    def shared(self) -> list[int]:
        """The classes that both tell apart."""
        both = set(annotated_classes(self.first.merged)) & set(
            annotated_classes(self.second.merged)
        )
        return sorted(both)

    @property
    def name(self) -> str:
        """What files of the two are called."""
        return "+".join(case.case_id.replace("/", ".") for case in (self.first, self.second))

    def differences(self) -> Ids:
        """Return where classes that both annotate are labelled differently, and by whom."""
        looked = (self.first_ids != IGNORED) & (self.second_ids != IGNORED)
        ones, others = (
            np.where(looked & np.isin(ids, self.shared), ids, 0)
            for ids in (self.first_ids, self.second_ids)
        )
        found = np.full(ones.shape, OTHERWISE, np.uint8)
        found[others == 0] = ONLY_FIRST
        found[ones == 0] = ONLY_SECOND
        found[ones == others] = 0
        return found


def disagreements(
    pair: Pair, names: Sequence[str], precedence: Precedence, *, fused: bool
) -> Iterator[Disagreement]:
    """Yield a row for each class that both cases of a pair annotate."""
    looked = (pair.first_ids != IGNORED) & (pair.second_ids != IGNORED)
    voxel_ml = float(np.prod(pair.first.spacing_mm)) / 1000
    mask = f"{pair.name}{MASK}" if pair.differences().any() else ""
    datasets = [pair.first.dataset, pair.second.dataset]
    for number in pair.shared:
        one, other = ((ids == number) & looked for ids in (pair.first_ids, pair.second_ids))
        sizes, differ = (int(one.sum()), int(other.sum())), one != other
        count = int(differ.sum())
        first_ml, second_ml, differ_ml = (round(n * voxel_ml, 3) for n in (*sizes, count))
        yield Disagreement(
            first=pair.first.case_id,
            second=pair.second.case_id,
            class_name=names[number],
            dice=round(1 - count / sum(sizes), 4) if sum(sizes) else None,
            first_ml=first_ml,
            second_ml=second_ml,
            differ_ml=differ_ml,
            differ_voxels=count,
            box=_box(differ),
            believed=precedence.order(names[number], datasets)[0],
            fused=fused,
            mask=mask,
        )


def write_differences(pair: Pair, hu: NDArray[np.generic], folder: Path) -> list[Path]:
    """Write where a pair differs, as a mask on its grid and as a picture; return the files."""
    found = pair.differences()
    if not found.any():
        return []
    mask, picture = (folder / f"{pair.name}{suffix}" for suffix in (MASK, PICTURE))
    image = sitk.GetImageFromArray(found)
    image.SetSpacing(pair.first.spacing_mm)
    image.SetOrigin(pair.first.origin_mm)
    with whole_file(mask) as temporary:
        sitk.WriteImage(image, str(temporary))
    with whole_file(picture) as temporary:
        _drawn(found, hu).save(temporary)
    return [mask, picture]


def write_table(rows: Iterable[Disagreement], folder: Path) -> None:
    """Write one line for each pair and class."""
    with (
        whole_file(folder / TABLE) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [f.name for f in fields(Disagreement)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _box(differ: NDArray[np.bool_]) -> str:
    if not differ.any():
        return ""
    ends = []
    for axis in (2, 1, 0):
        there = np.flatnonzero(differ.any(axis=tuple({0, 1, 2} - {axis})))
        ends.append(f"{there[0]}-{there[-1]}")
    return " ".join(ends)


def _drawn(found: Ids, hu: NDArray[np.generic]) -> Image.Image:
    """Draw the axial slice in which most voxels differ, as a radiologist sees it."""
    z = int((found > 0).sum(axis=(1, 2)).argmax())
    grey = (hu[z].astype(np.float32) - DARKEST_HU) * (255 / (BRIGHTEST_HU - DARKEST_HU))
    colours = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    for value, colour in COLOURS.items():
        colours[found[z] == value] = colour
    return Image.fromarray(colours)
