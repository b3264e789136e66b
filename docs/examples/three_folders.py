"""Make three small datasets in usual layouts, to follow the tutorial: three_folders.py DIR."""

import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from curate.phantom.patient import STRUCTURES, draw_patient, render
from manifests.volumes.grid import Grid

GRID = Grid((64, 48, 44), (6.0, 6.0, 7.0), origin_mm=(-189.0, -165.0, -150.0))
ORGANS = ("liver", "spleen", "pancreas", "left_kidney", "right_kidney")


def scan(seed):
    """Return a CT, and the class id of each voxel: the organs in their order, from 1 on."""
    generator = np.random.default_rng(seed)
    hu, structures = render(draw_patient(generator), GRID)
    organs = np.zeros(len(STRUCTURES) + 1, np.uint8)
    for n, name in enumerate(ORGANS, start=1):
        organs[[STRUCTURES.index(s) + 1 for s in (name, f"{name}_tumour") if s in STRUCTURES]] = n
    noisy = (hu + generator.normal(0, 15, hu.shape)).clip(-1024, 3071)
    return noisy.astype(np.int16), organs[structures]


def write(path, voxels):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(GRID.image(voxels), path)


def nnunet(folder, count):
    """Write a dataset of nnU-Net: every organ has its own value."""
    for n in range(count):
        hu, organs = scan((1, n))
        write(folder / f"imagesTr/pat_{n:03}_0000.nii.gz", hu)
        write(folder / f"labelsTr/pat_{n:03}.nii.gz", organs)
    labels = {"background": 0} | {name: n for n, name in enumerate(ORGANS, start=1)}
    facts = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": count}
    (folder / "dataset.json").write_text(json.dumps(facts | {"file_ending": ".nii.gz"}))


def masks(folder, count):
    """Write a folder for each patient, with a CT and mask files: only the liver and the kidneys."""
    for n in range(count):
        hu, organs = scan((2, n))
        write(folder / f"case{n:02}/ct.nii.gz", hu)
        for name in ("liver", "left_kidney", "right_kidney"):
            mask = (organs == ORGANS.index(name) + 1).astype(np.uint8)
            write(folder / f"case{n:02}/masks/{name}.nii.gz", mask)


def decathlon(folder, count):
    """Write a task of the Decathlon: only the spleen."""
    for n in range(count):
        hu, organs = scan((3, n))
        write(folder / f"imagesTr/spleen_{n}.nii.gz", hu)
        write(folder / f"labelsTr/spleen_{n}.nii.gz", (organs == 2).astype(np.uint8))
    names = [f"spleen_{n}.nii.gz" for n in range(count)]
    training = [{"image": f"./imagesTr/{f}", "label": f"./labelsTr/{f}"} for f in names]
    labels = {"0": "background", "1": "spleen"}
    facts = {"modality": {"0": "CT"}, "labels": labels, "training": training}
    (folder / "dataset.json").write_text(json.dumps(facts | {"licence": "made up"}))


if __name__ == "__main__":
    here = Path(sys.argv[1])
    nnunet(here / "Dataset001_organs", 8)
    masks(here / "our_masks", 8)
    decathlon(here / "Task09_spleens", 8)
    print(f"three datasets of 8 cases each are in {here}")
