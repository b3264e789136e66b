"""A prepared folder of two tiny datasets: one labels both organs, the other one of them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.table.case import Case
from manifests.table.manifest import Manifest, read_manifest, write_manifest
from manifests.volumes.grid import Grid
from train.settings import TrainSettings, resolve

SIZE_ZYX = (20, 24, 28)
SPACING_MM = (4.0, 4.0, 4.0)
ORGAN_HU = {1: 150, 2: 300}
FULL, LIVER_ONLY = (0, 1, 2), (0, 1, 0)
CASES = (
    # dataset, merged, split
    ("both", FULL, "train"),
    ("both", FULL, "train"),
    ("both", FULL, "validation"),
    ("liver_only", LIVER_ONLY, "train"),
    ("liver_only", LIVER_ONLY, "train"),
    ("liver_only", LIVER_ONLY, "train"),
    ("liver_only", LIVER_ONLY, "validation"),
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """On tensors this small, threads wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def label_space() -> LabelSpace:
    organs = (("liver", "#aa0000"), ("spleen", "#00aa00"))
    classes = [LabelClass(name=n, structures=(n,), colour=c) for n, c in organs]
    return LabelSpace(name="two", classes=tuple(classes))


@pytest.fixture(scope="session")
def manifest_path(tmp_path_factory, label_space) -> Path:
    """The manifest of the prepared folder; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("prepared")
    cases = [
        write_case(folder, f"{dataset}/{number}", merged=merged, split=split, seed=number)
        for number, (dataset, merged, split) in enumerate(CASES)
    ]
    write_manifest(Manifest.of(cases, label_space, folder=folder), folder / "manifest.parquet")
    return folder / "manifest.parquet"


@pytest.fixture
def manifest(manifest_path) -> Manifest:
    return read_manifest(manifest_path)


@pytest.fixture(scope="session")
def settings() -> TrainSettings:
    """Settings with which an epoch takes less than a second."""
    return resolve(
        "tiny",
        [
            "patch_size_zyx=16,16,16",
            "filters=4,8,8",
            "patches_per_dataset=4",
            "stage_epochs=1,3",
            "first_stage_dice=0",
            "validation_every=2",
        ],
    )


def write_case(folder: Path, case_id: str, *, merged, split, seed) -> Case:
    """Two boxes of other intensities in noise; their place depends on the seed."""
    hu, organs = draw_case(np.random.default_rng(seed))
    label = np.array(merged, np.uint8)[organs]
    z, y, x = SIZE_ZYX
    grid = Grid((x, y, z), SPACING_MM, origin_mm=(-10.0, 5.0, 100.0))
    paths = {name: f"cases/{case_id}/{name}.nii" for name in ("image", "label")}
    for name, array in (("image", hu), ("label", label)):
        (folder / paths[name]).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(grid.image(array), folder / paths[name])
    hashes = {
        f"{n}_sha256": hashlib.sha256((folder / p).read_bytes()).hexdigest()
        for n, p in paths.items()
    }
    return Case(
        case_id=case_id,
        dataset=case_id.split("/")[0],
        subject_id=case_id,
        split=split,
        **paths,
        blocks=tuple((name,) for name, r in (("liver", merged[1]), ("spleen", merged[2])) if r),
        merged=merged,
        annotated=tuple(name for name, r in (("liver", merged[1]), ("spleen", merged[2])) if r),
        voxels=tuple(int((label == n).sum()) for n in range(3)),
        volume_ml=tuple(float((label == n).sum() * 0.064) for n in range(3)),
        source_image_sha256="",
        source_label_sha256="",
        **hashes,
        voxels_sha256="",
        fingerprint="",
        related=(),
        source_size=(x, y, z),
        source_spacing_mm=SPACING_MM,
        source_origin_mm=grid.origin_mm,
        source_orientation="LPS",
        size=(x, y, z),
        spacing_mm=SPACING_MM,
        origin_mm=grid.origin_mm,
        hu_min=float(hu.min()),
        hu_max=float(hu.max()),
        hu_mean=float(hu.mean()),
        hu_std=float(hu.std()),
        foreground_hu_mean=float(hu[label > 0].mean()),
        foreground_hu_std=float(hu[label > 0].std()),
        foreground_hu_low=float(np.percentile(hu[label > 0], 0.5)),
        foreground_hu_high=float(np.percentile(hu[label > 0], 99.5)),
        findings=(),
        recipe="test",
        recipe_version="1",
        licence="CC0-1.0",
    )


def draw_case(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and class ids of both organs."""
    organs = np.zeros(SIZE_ZYX, np.uint8)
    z, y = generator.integers(2, 8), generator.integers(2, 10)
    organs[z : z + 9, y : y + 10, 2:13] = 1
    organs[z + 2 : z + 9, y + 2 : y + 9, 17:25] = 2
    hu = generator.normal(0, 20, SIZE_ZYX)
    for n, organ_hu in ORGAN_HU.items():
        hu[organs == n] += organ_hu
    return hu.astype(np.int16), organs
