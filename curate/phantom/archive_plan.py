"""How the five datasets are published: names, folders, axes, number types and lists of cases."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from manifests.volumes.grid import Grid

REMARK = "marginalia phantom: computed, no patient's data"


@dataclass(frozen=True)
class CasePlan:
    """How one case is stored.

    Attributes:
        name: The case's own name.
        image: Path in the archive.
        label: Path in the archive; none if the case has no label.
        axes: Where the file's axes point to, as in "LAS".
        image_type: NumPy's name of the number type.
        label_type: Likewise.
        forms: Which of the header's forms of the position are filled.
        at_origin: The position in the scanner is lost: the first voxel is at 0, 0, 0.
        junk: AppleDouble files lie beside the real ones.
    """

    name: str
    image: str
    label: str | None
    axes: str
    image_type: str = "int16"
    label_type: str = "uint8"
    forms: tuple[str, ...] = ("qform", "sform")
    at_origin: bool = False
    junk: bool = False


@dataclass(frozen=True)
class ArchivePlan:
    """What one archive holds.

    Attributes:
        dataset: The recipe's name.
        archive: The archive's file name.
        cases: With and without labels, in the order of the archive.
    """

    dataset: str
    archive: str
    cases: tuple[CasePlan, ...]


@dataclass(frozen=True)
class DecathlonTask:
    """What differs between the Decathlon's tasks.

    Attributes:
        folder: The folder and the archive's stem.
        stem: Case names are this, an underscore and a number,
        digits: padded to so many digits;
        numbers: the first, the step to the next, and the prime modulus that keeps them apart.
        axes: Of the cases in turn.
        image_types: Of the cases in turn.
        label_types: Of the cases in turn.
        facts: What the list says of itself.
        labels: What the list calls the label values.
    """

    folder: str
    stem: str
    digits: int
    numbers: tuple[int, int, int]
    axes: tuple[str, ...]
    image_types: tuple[str, ...]
    label_types: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]

    def case(self, index: int, *, labelled: bool) -> CasePlan:
        """Return how the case of an index is stored."""
        first, step, modulus = self.numbers
        name = f"{self.stem}_{(first + index * step) % modulus:0{self.digits}d}"
        return CasePlan(
            name=name,
            image=f"{self.folder}/images{'Tr' if labelled else 'Ts'}/{name}.nii.gz",
            label=f"{self.folder}/labelsTr/{name}.nii.gz" if labelled else None,
            axes=self.axes[index % len(self.axes)],
            image_type=self.image_types[index % len(self.image_types)],
            label_type=self.label_types[index % len(self.label_types)],
            junk=True,
        )


# Axes that end in I are stored from head to foot.
DECATHLON_TASKS = MappingProxyType(
    {
        "msd_liver": DecathlonTask(
            folder="Task03_Liver",
            stem="liver",
            digits=1,
            numbers=(0, 3, 131),
            axes=("LAS", "RAS", "LAI", "LPS"),
            image_types=("float32", "int16"),
            label_types=("uint8", "float32"),
            facts=(("description", "Liver and cancer segmentation"), ("release", "1.0 06/08/2018")),
            labels=("background", "liver", "cancer"),
        ),
        "msd_pancreas": DecathlonTask(
            folder="Task07_Pancreas",
            stem="pancreas",
            digits=3,
            numbers=(1, 7, 421),
            axes=("RAS",),
            image_types=("int16",),
            label_types=("uint8",),
            facts=(
                ("description", "Pancreas and cancer segmentation"),
                ("relase", "1.0 04/05/2018"),  # as it is published
            ),
            labels=("background", "pancreas", "cancer"),
        ),
        "msd_spleen": DecathlonTask(
            folder="Task09_Spleen",
            stem="spleen",
            digits=1,
            numbers=(2, 8, 61),
            axes=("RAS", "LAS"),
            image_types=("float32", "int16"),
            label_types=("uint8",),
            facts=(("description", "Spleen Segmentation"), ("release", "1.0 06/08/2018")),
            labels=("background", "spleen"),
        ),
    }
)
CAPACITIES = MappingProxyType(
    {"btcv": 30, "msd_liver": 130, "msd_pancreas": 420, "msd_spleen": 60, "kits19": 210}
)


def plan_archive(dataset: str, count: int) -> ArchivePlan:
    """Plan a dataset's archive with so many labelled cases.

    Args:
        dataset: A key of `CAPACITIES`.
        count: From 1 to the dataset's capacity; checked by the caller.
    """
    if dataset == "btcv":
        return ArchivePlan(dataset, "RawData.zip", _btcv_cases(count))
    if dataset == "kits19":
        return ArchivePlan(dataset, "kits19.zip", tuple(_kits_case(n) for n in range(count)))
    task = DECATHLON_TASKS[dataset]
    labelled = [task.case(index, labelled=True) for index in range(count)]
    return ArchivePlan(dataset, f"{task.folder}.tar", (*labelled, task.case(-1, labelled=False)))


def lists(plan: ArchivePlan, grids: Sequence[Grid]) -> dict[str, bytes]:
    """Return the text files of an archive: paths and contents.

    Args:
        plan: The archive.
        grids: Of its cases, in order.
    """
    if plan.dataset == "kits19":
        records = [_kits_record(case, grid) for case, grid in zip(plan.cases, grids, strict=True)]
        return {
            "kits19/README.md": f"# KiTS19\n\n{REMARK}.\n".encode(),
            "kits19/data/kits.json": json.dumps(records, indent=2).encode(),
        }
    if plan.dataset == "btcv":
        return {}
    task = DECATHLON_TASKS[plan.dataset]
    return {f"{task.folder}/dataset.json": json.dumps(_index(task, plan), indent=1).encode()}


def _index(task: DecathlonTask, plan: ArchivePlan) -> dict[str, object]:
    """Return the Decathlon's `dataset.json`, misspelt key and all."""

    def near(path: str) -> str:
        return path.replace(task.folder, ".", 1)

    pairs = [
        {"image": near(case.image), "label": near(case.label)} for case in plan.cases if case.label
    ]
    tests = [near(case.image) for case in plan.cases if not case.label]
    return {
        "name": task.stem.capitalize(),
        "reference": REMARK,
        "licence": "Apache-2.0",
        **dict(task.facts),
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {str(value): name for value, name in enumerate(task.labels)},
        "numTraining": len(pairs),
        "numTest": len(tests),
        "training": pairs,
        "test": tests,
    }


def _btcv_cases(count: int) -> tuple[CasePlan, ...]:
    numbers = [*range(1, 11), *range(21, 41)][:count]
    training = [
        CasePlan(
            name=f"{number:04d}",
            image=f"RawData/Training/img/img{number:04d}.nii.gz",
            label=f"RawData/Training/label/label{number:04d}.nii.gz",
            axes="LAS",
        )
        for number in numbers
    ]
    return (*training, CasePlan("0061", "RawData/Testing/img/img0061.nii.gz", None, "LAS"))


def _kits_case(number: int) -> CasePlan:
    """Return how KiTS19 stores a case; a few have only a qform, and labels of another type."""
    odd = number % 8 == 7
    folder = f"kits19/data/case_{number:05d}"
    return CasePlan(
        name=f"case_{number:05d}",
        image=f"{folder}/imaging.nii.gz",
        label=f"{folder}/segmentation.nii.gz",
        axes="IPL",
        image_type="float64",
        label_type="uint16" if odd else "uint8",
        forms=("qform",) if odd else ("sform",),
        at_origin=True,
    )


def _kits_record(case: CasePlan, grid: Grid) -> dict[str, object]:
    x, y, z = grid.spacing_mm
    return {
        "case_id": case.name,
        "voxel_spacing": {"x_spacing": x, "y_spacing": y, "z_spacing": z},
    }
