"""Archives of one drawn patient, as six datasets publish theirs: names, values and junk included.

What stands here was read off the publishers' own descriptions, not off our recipes.
"""

import gzip
import io
import json
import tarfile
import zipfile

import nibabel as nib
import numpy as np

SPACING_MM = 5.0
SHAPE_XYZ = (48, 36, 40)

# First and last voxel along x (to the patient's left), y (to the back) and z (to the head).
BOXES = {
    "liver": ((4, 16), (6, 18), (24, 36)),
    "liver_tumour": ((8, 10), (10, 12), (28, 30)),
    "hepatic_vessel": ((12, 14), (8, 16), (30, 31)),
    "spleen": ((36, 43), (18, 26), (26, 34)),
    "pancreas": ((22, 30), (10, 13), (22, 25)),
    "right_kidney": ((8, 15), (22, 29), (12, 21)),
    "right_kidney_tumour": ((8, 10), (22, 24), (12, 14)),
    "left_kidney": ((32, 39), (20, 27), (13, 22)),
    "left_kidney_cyst": ((38, 39), (26, 27), (20, 22)),
    "gallbladder": ((12, 14), (6, 8), (20, 22)),
    "esophagus": ((24, 25), (20, 21), (32, 38)),
    "stomach": ((28, 36), (6, 14), (28, 34)),
    "aorta": ((25, 27), (24, 26), (6, 36)),
    "inferior_vena_cava": ((20, 22), (23, 25), (6, 36)),
    "portal_and_splenic_vein": ((20, 28), (15, 16), (26, 27)),
    "right_adrenal": ((16, 18), (21, 23), (22, 23)),
    "left_adrenal": ((30, 32), (20, 22), (23, 24)),
    "duodenum": ((17, 20), (9, 13), (18, 20)),
    "urinary_bladder": ((20, 28), (8, 14), (1, 5)),
    "prostate": ((22, 25), (16, 18), (0, 2)),
    "colon": ((41, 44), (10, 14), (6, 20)),
    "colon_tumour": ((41, 44), (10, 14), (12, 15)),
}
# What lies in something is drawn after it.
PARTS = (
    "liver_tumour",
    "hepatic_vessel",
    "right_kidney_tumour",
    "left_kidney_cyst",
    "colon_tumour",
)

AMOS = dict(
    enumerate(
        [
            *("spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver"),
            *("stomach", "aorta", "inferior_vena_cava", "pancreas", "right_adrenal"),
            *("left_adrenal", "duodenum", "urinary_bladder", "prostate"),
        ],
        start=1,
    )
)
FLARE = dict(
    enumerate(
        [
            *("liver", "right_kidney", "spleen", "pancreas", "aorta", "inferior_vena_cava"),
            *("right_adrenal", "left_adrenal", "gallbladder", "esophagus", "stomach"),
            *("duodenum", "left_kidney"),
        ],
        start=1,
    )
)
TOTALSEGMENTATOR = {
    "spleen": "spleen",
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
    "kidney_cyst_left": "left_kidney_cyst",
    "kidney_cyst_right": None,
    "gallbladder": "gallbladder",
    "liver": "liver",
    "stomach": "stomach",
    "pancreas": "pancreas",
    "adrenal_gland_right": "right_adrenal",
    "adrenal_gland_left": "left_adrenal",
    "esophagus": "esophagus",
    "duodenum": "duodenum",
    "colon": "colon",
    "urinary_bladder": "urinary_bladder",
    "prostate": "prostate",
    "aorta": "aorta",
    "inferior_vena_cava": "inferior_vena_cava",
    "portal_vein_and_splenic_vein": "portal_and_splenic_vein",
    "heart": None,
    "vertebrae_L1": None,
}


def inside(name):
    """Where a structure lies [x, y, z], parts that are told apart from it included."""
    where = np.zeros(SHAPE_XYZ, bool)
    where[tuple(slice(first, last + 1) for first, last in BOXES[name])] = True
    return where


def drawn(values):
    """A label map [x, y, z] of structures by value; parts over what they lie in."""
    label = np.zeros(SHAPE_XYZ, np.uint8)
    for value, name in sorted(values.items(), key=lambda item: item[1] in PARTS):
        label[inside(name)] = value
    return label


def nifti(voxels):
    """The bytes of a NIfTI file whose axes are those of LPS."""
    affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1])
    return nib.Nifti1Image(voxels, affine).to_bytes()


def gzipped(voxels):

    return gzip.compress(nifti(voxels), 1, mtime=0)


def ct(seed):
    """A CT of noise about soft tissue, a different one for each seed."""
    noise = np.random.default_rng(seed).normal(40, 10, SHAPE_XYZ)
    return gzipped(np.rint(noise).astype(np.int16))


def amos22(folder):
    label = gzipped(drawn(AMOS))
    files = {"amos22/dataset.json": b"{}", "__MACOSX/amos22/._dataset.json": b"\0"}
    for part, name in (("Tr", "amos_0001"), ("Tr", "amos_0507"), ("Va", "amos_0022")):
        files[f"amos22/images{part}/{name}.nii.gz"] = ct(int(name[-3:]))
        files[f"amos22/labels{part}/{name}.nii.gz"] = label
        files[f"__MACOSX/amos22/labels{part}/._{name}.nii.gz"] = b"\0"
    files["amos22/imagesTs/amos_0003.nii.gz"] = ct(3)
    return zipped(folder / "amos22.zip", files)


def flare22(folder):
    files = {}
    for number in (1, 50):
        files[f"FLARE22Train/images/FLARE22_Tr_{number:04d}_0000.nii.gz"] = ct(number)
        files[f"FLARE22Train/labels/FLARE22_Tr_{number:04d}.nii.gz"] = gzipped(drawn(FLARE))
    return zipped(folder / "FLARE22Train.zip", files)


def totalsegmentator(folder):
    files = {"meta.csv": b"image_id;age;gender;split\ns0000;65;m;train\ns1429;70;f;test\n"}
    kidney = inside("left_kidney") & ~inside("left_kidney_cyst")
    for case in ("s0000", "s1429"):
        files[f"{case}/ct.nii.gz"] = ct(int(case[1:]))
        for file, name in TOTALSEGMENTATOR.items():
            mask = inside(name) if name else np.zeros(SHAPE_XYZ, bool)
            mask = kidney if name == "left_kidney" else mask
            files[f"{case}/segmentations/{file}.nii.gz"] = gzipped(mask.astype(np.uint8))
    return zipped(folder / "Totalsegmentator_dataset_v201.zip", files)


def kits23(folder):
    label = drawn({1: "right_kidney", 2: "right_kidney_tumour", 3: "left_kidney_cyst"})
    label[inside("left_kidney") & (label == 0)] = 1
    rows = b'[{"case_id": "case_00000"}, {"case_id": "case_00588"}]'
    files = {"kits23/dataset/kits23.json": rows, "kits23/README.md": b""}
    for name in ("case_00000", "case_00588"):
        at = f"kits23/dataset/{name}"
        files[f"{at}/imaging.nii.gz"] = ct(int(name[-3:]))
        files[f"{at}/segmentation.nii.gz"] = gzipped(label)
        for number, kidney in ((1, "right_kidney"), (2, "left_kidney")):
            instance = gzipped(inside(kidney).astype(np.uint8))
            files[f"{at}/instances/kidney_instance-{number}_annotation-1.nii.gz"] = instance
    return zipped(folder / "kits23.zip", files)


def msd_hepatic_vessel(folder):
    label = drawn({1: "hepatic_vessel", 2: "liver_tumour"})
    names = {"0": "background", "1": "Vessel", "2": "Tumour"}
    return decathlon(folder, "Task08_HepaticVessel", "hepaticvessel_001", label, names)


def msd_colon(folder):
    label = drawn({1: "colon_tumour"})
    names = {"0": "background", "1": "colon cancer primaries"}
    return decathlon(folder, "Task10_Colon", "colon_001", label, names)


def decathlon(folder, task, case, label, names):
    pair = {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
    index = {"name": task, "modality": {"0": "CT"}, "labels": names, "training": [pair]}
    files = {
        f"{task}/dataset.json": json.dumps(index).encode(),
        f"{task}/imagesTr/{case}.nii.gz": ct(len(task)),
        f"{task}/imagesTr/._{case}.nii.gz": b"\0",
        f"{task}/labelsTr/{case}.nii.gz": gzipped(label),
        f"{task}/imagesTs/{case[:-3]}002.nii.gz": ct(1),
    }
    path = folder / f"{task}.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
