"""How the five datasets are published: names, folders, axes, number types and lists of cases."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from curate.phantom.datasets import DecathlonTask, phantom_datasets
from manifests.volumes.grid import Grid

REMARK = "marginalia phantom: computed, no patient's data"


@dataclass(frozen=True)
class CasePlan:
    """How one case is stored.

    Attributes:
        image: Path in the archive.
        label: Path in the archive; none if the case has no label.
        axes: Where the file's axes point to, as in "LAS".
        image_type: NumPy's name of the image's number type; `label_type` of the label's.
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
    """What one archive holds: cases with labels, then those without."""

    dataset: str
    archive: str
    cases: tuple[CasePlan, ...]


def plan_archive(dataset: str, count: int) -> ArchivePlan:
    """Plan a dataset's archive with so many labelled cases, from 1 to its capacity."""
    task = phantom_datasets()[dataset].decathlon
    if task is not None:
        labelled = [_decathlon_case(task, index, labelled=True) for index in range(count)]
        test = _decathlon_case(task, -1, labelled=False)
        return ArchivePlan(dataset, f"{task.folder}.tar", (*labelled, test))
    if dataset == "btcv":
        return ArchivePlan(dataset, "RawData.zip", _btcv_cases(count))
    return ArchivePlan(dataset, "kits19.zip", tuple(_kits_case(n) for n in range(count)))


def text_files(plan: ArchivePlan, grids: Sequence[Grid]) -> dict[str, bytes]:
    """Return the paths and contents of an archive's text files, given the grids of its cases."""
    task = phantom_datasets()[plan.dataset].decathlon
    if task is not None:
        content = json.dumps(_dataset_json(task, plan), indent=1)
        return {f"{task.folder}/dataset.json": content.encode()}
    if plan.dataset != "kits19":
        return {}
    axes = ("x_spacing", "y_spacing", "z_spacing")
    records = [
        {"case_id": case.name, "voxel_spacing": dict(zip(axes, grid.spacing_mm, strict=True))}
        for case, grid in zip(plan.cases, grids, strict=True)
    ]
    return {
        "kits19/README.md": f"# KiTS19\n\n{REMARK}.\n".encode(),
        "kits19/data/kits.json": json.dumps(records, indent=2).encode(),
    }


def _decathlon_case(task: DecathlonTask, index: int, *, labelled: bool) -> CasePlan:
    first, step, modulus = task.numbers
    name = f"{task.stem}_{(first + index * step) % modulus:0{task.digits}d}"
    return CasePlan(
        name=name,
        image=f"{task.folder}/images{'Tr' if labelled else 'Ts'}/{name}.nii.gz",
        label=f"{task.folder}/labelsTr/{name}.nii.gz" if labelled else None,
        axes=task.axes[index % len(task.axes)],
        image_type=task.image_types[index % len(task.image_types)],
        label_type=task.label_types[index % len(task.label_types)],
        junk=True,
    )


def _dataset_json(task: DecathlonTask, plan: ArchivePlan) -> dict[str, object]:
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
        **task.facts,
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
