"""Cases and manifests with sensible values, so that a test says only what it is about."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import settings

from manifests.classes.label_space import LabelSpace, load_label_space
from manifests.classes.merged import annotated_classes, as_blocks, merged_classes
from manifests.table.case import Case
from manifests.table.manifest import Manifest, write_manifest
from manifests.table.validate import Problem, validate

settings.register_profile("no_deadline", deadline=None)  # a busy machine is no fault
settings.load_profile("no_deadline")

MakeCase = Callable[..., Case]
MakeManifest = Callable[..., Manifest]

SIZE = (12, 10, 10)
SPACING_MM = (1.5, 1.5, 3.0)
NOWHERE = Path("/nowhere")
LIVER = (("liver", "liver_tumour"),)  # the blocks of a dataset that labels the liver only


@pytest.fixture(scope="session")
def abdomen5() -> LabelSpace:
    return load_label_space("abdomen5")


@pytest.fixture(scope="session")
def make_case(abdomen5: LabelSpace) -> MakeCase:
    """A sound case: `make_case("btcv/1", blocks=LIVER, absent=["liver"], split="test")`.

    It is fully annotated unless `blocks` are given, and each class that has a voxel of its own has
    ten times its id. Anything else is a column.
    """

    def make(
        case_id: str = "btcv/1",
        *,
        space: LabelSpace = abdomen5,
        blocks: Iterable[Iterable[str]] | None = None,
        absent: Iterable[str] = (),
        **columns: Any,
    ) -> Case:
        full = [c.structures for c in space.classes]
        blocks = tuple(map(tuple, full if blocks is None else blocks))
        merged = merged_classes(as_blocks(blocks), space)
        voxels = _voxels(merged, [space.names.index(name) for name in absent])
        volume_ml = tuple(n * math.prod(SPACING_MM) / 1000 for n in voxels)
        dataset, _, name = case_id.partition("/")
        defaults: dict[str, Any] = {
            "case_id": case_id,
            "dataset": dataset,
            "subject_id": case_id,
            "split": "train",
            "image": f"cases/{dataset}/{name}/image.nii",
            "label": f"cases/{dataset}/{name}/label.nii",
            "blocks": blocks,
            "merged": merged,
            "annotated": tuple(space.names[n] for n in annotated_classes(merged)),
            "voxels": voxels,
            "volume_ml": volume_ml,
            **_hashes(case_id),
            "fingerprint": "",
            "related": (),
            "source_size": (16, 14, 12),
            "source_spacing_mm": (0.75, 0.75, 1.5),
            "source_origin_mm": (1.0, 2.0, 3.0),
            "source_orientation": "RAS",
            "size": SIZE,
            "spacing_mm": SPACING_MM,
            "origin_mm": (-10.0, 20.0, 30.0),
            **dict.fromkeys(("hu_min", "foreground_hu_low"), -1000.0),
            **dict.fromkeys(("hu_max", "foreground_hu_high"), 500.0),
            **dict.fromkeys(("hu_mean", "foreground_hu_mean"), 40.0),
            **dict.fromkeys(("hu_std", "foreground_hu_std"), 20.0),
            "findings": (),
            "recipe": dataset,
            "recipe_version": "1",
            "licence": "CC-BY-4.0",
        }
        return Case(**{**defaults, **columns})

    return make


@pytest.fixture(scope="session")
def make_manifest(abdomen5: LabelSpace) -> MakeManifest:
    """A manifest of cases; it lies nowhere unless a folder is given."""

    def make(
        cases: Iterable[Case],
        *,
        space: LabelSpace = abdomen5,
        folder: Path = NOWHERE,
        settings: Mapping[str, Any] | None = None,
    ) -> Manifest:
        return Manifest.of(cases, space, folder=folder, settings=settings)

    return make


@pytest.fixture(scope="session")
def save_manifest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Manifest], Path]:
    """Write a manifest into its folder; one that lies nowhere, into a folder that they share."""
    shared, numbers = tmp_path_factory.mktemp("manifests"), count()

    def save(manifest: Manifest) -> Path:
        folder = shared if manifest.folder == NOWHERE else manifest.folder
        path = folder / f"{next(numbers)}.parquet"
        write_manifest(replace(manifest, folder=folder), path)
        return path

    return save


@pytest.fixture(scope="session")
def problems_of(save_manifest: Callable[[Manifest], Path]) -> Callable[..., list[Problem]]:
    """What `validate` finds in a manifest: `problems_of(manifest, files=False)`."""
    return lambda manifest, **options: validate(save_manifest(manifest), **options)


@pytest.fixture(scope="session")
def write_volumes() -> Callable[[Case, Path], Case]:
    """Write a case's volumes; the case comes back with their hashes."""

    def write(case: Case, folder: Path) -> Case:
        label = np.repeat(np.arange(len(case.voxels)), case.voxels).astype(np.uint8)
        image = np.arange(label.size, dtype=np.int16) - 100
        affine = np.diag([-case.spacing_mm[0], -case.spacing_mm[1], case.spacing_mm[2], 1.0])
        affine[:3, 3] = (-case.origin_mm[0], -case.origin_mm[1], case.origin_mm[2])
        for name, values in ((case.image, image), (case.label, label)):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.Nifti1Image(values.reshape(case.size), affine).to_filename(path)
        return replace(
            case,
            image_sha256=_sha256((folder / case.image).read_bytes()),
            label_sha256=_sha256((folder / case.label).read_bytes()),
        )

    return write


def _voxels(merged: tuple[int, ...], absent: Iterable[int]) -> tuple[int, ...]:
    counts = [10 * n if merged[n] == n and n not in absent else 0 for n in range(len(merged))]
    return (math.prod(SIZE) - sum(counts), *counts[1:])


def _hashes(case_id: str) -> dict[str, str]:
    names = ("source_image_sha256", "source_label_sha256", "image_sha256", "label_sha256")
    return {name: _sha256(f"{name} {case_id}".encode()) for name in (*names, "voxels_sha256")}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
