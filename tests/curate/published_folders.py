"""Folders of one drawn patient, as datasets that people unpack themselves lay them out.

What stands here was read off the publishers' own descriptions and programs, not off our recipes.
"""

import numpy as np

from tests.curate.published import SHAPE_XYZ, ct, drawn, gzipped, inside, nifti

KIDNEYS = {0: "right_kidney", 1: "left_kidney"}
ABDOMENATLAS = {
    "aorta": "aorta",
    "gall_bladder": "gallbladder",
    "kidney_left": "left_kidney",
    "kidney_right": "right_kidney",
    "liver": "liver",
    "pancreas": "pancreas",
    "postcava": "inferior_vena_cava",
    "spleen": "spleen",
    "stomach": "stomach",
    "adrenal_gland_left": "left_adrenal",
    "adrenal_gland_right": "right_adrenal",
    "bladder": "urinary_bladder",
    "celiac_trunk": None,
    "colon": "colon",
    "duodenum": "duodenum",
    "esophagus": "esophagus",
    "hepatic_vessel": "hepatic_vessel",
    "portal_vein_and_splenic_vein": "portal_and_splenic_vein",
    "prostate": "prostate",
    "rectum": None,
}
PANTS = {
    **{name: ABDOMENATLAS[name] for name in ABDOMENATLAS if name not in ("esophagus", "rectum")},
    "pancreas_head": None,
    "pancreatic_lesion": None,
    "veins": None,
}
TOTALSEGMENTATOR_1 = {
    "spleen": "spleen",
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
    "gallbladder": "gallbladder",
    "liver": "liver",
    "stomach": "stomach",
    "aorta": "aorta",
    "inferior_vena_cava": "inferior_vena_cava",
    "portal_vein_and_splenic_vein": "portal_and_splenic_vein",
    "pancreas": "pancreas",
    "adrenal_gland_right": "right_adrenal",
    "adrenal_gland_left": "left_adrenal",
    "esophagus": "esophagus",
    "duodenum": "duodenum",
    "colon": "colon",
    "urinary_bladder": "urinary_bladder",
    "heart_myocardium": None,
}
WORD = dict(
    enumerate(
        [
            *("liver", "spleen", "left_kidney", "right_kidney", "stomach", "gallbladder"),
            *("esophagus", "pancreas", "duodenum", "colon"),
        ],
        start=1,
    )
)
BTCV = dict(
    enumerate(
        [
            *("spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver"),
            *("stomach", "aorta", "inferior_vena_cava", "portal_and_splenic_vein", "pancreas"),
            *("right_adrenal", "left_adrenal"),
        ],
        start=1,
    )
)


def with_kidneys(values, kidney):
    """A label map in which both kidneys have one value."""
    label = drawn(values)
    for name in KIDNEYS.values():
        label[inside(name)] = kidney
    return label


def masks(case, at, names):
    """The files of a case with one mask file per structure."""
    empty = np.zeros(SHAPE_XYZ, bool)
    return {
        f"{at}/{case}/segmentations/{file}.nii.gz": gzipped(
            (inside(name) if name else empty).astype(np.uint8)
        )
        for file, name in names.items()
    }


LIVER = {1: "liver", 2: "liver_tumour"}
KITS = {2: "right_kidney_tumour", 3: "left_kidney_cyst"}
FOLDERS = {
    "lits": lambda: {
        "LITS17/Training Batch 1/volume-0.nii": nifti_ct(0),
        "LITS17/Training Batch 1/segmentation-0.nii": nifti(drawn(LIVER)),
        "LITS17/Training Batch 2/volume-130.nii": nifti_ct(130),
        "LITS17/Training Batch 2/segmentation-130.nii": nifti(drawn(LIVER)),
        "LITS17/test-volume-1.nii": nifti_ct(1),
    },
    "abdomenct_1k": lambda: {
        "abdomenct_1k/AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz": ct(1),
        "abdomenct_1k/AbdomenCT-1K-ImagePart3/Case_01062_0000.nii.gz": ct(2),
        "abdomenct_1k/Mask/Case_00001.nii.gz": gzipped(
            with_kidneys({1: "liver", 3: "spleen", 4: "pancreas"}, 2)
        ),
    },
    "ct_org": lambda: {
        "CT-ORG/volume-0.nii.gz": ct(0),
        "CT-ORG/labels-0.nii.gz": gzipped(
            with_kidneys({1: "liver", 2: "urinary_bladder"}, 4).astype(np.float32)
        ),
    },
    "word": lambda: {
        f"WORD-V0.1.0/{what}{part}/word_{number:04d}.nii.gz": content
        for part, number in (("Tr", 2), ("Val", 1), ("Ts", 14))
        for what, content in (("images", ct(number)), ("labels", gzipped(drawn(WORD))))
    },
    "pants": lambda: {
        "PanTS/data/ImageTr/PanTS_00000001/ct.nii.gz": ct(1),
        **masks("PanTS_00000001", "PanTS/data/LabelTr", PANTS),
        "PanTS/data/ImageTe/PanTS_00009001/ct.nii.gz": ct(9),
        **masks("PanTS_00009001", "PanTS/data/LabelTe", PANTS),
    },
    "abdomenatlas": lambda: {
        "AbdomenAtlas1.1Mini/BDMAP_00000001/ct.nii.gz": ct(1),
        **masks("BDMAP_00000001", "AbdomenAtlas1.1Mini", ABDOMENATLAS),
    },
    "kits21": lambda: {
        "kits21/kits21/data/case_00000/imaging.nii.gz": ct(0),
        "kits21/kits21/data/case_00000/aggregated_MAJ_seg.nii.gz": gzipped(kits_label()),
        "kits21/kits21/data/case_00000/aggregated_OR_seg.nii.gz": gzipped(kits_label() * 0),
    },
    "btcv_nnunet": lambda: {
        "Task017_AbdominalOrganSegmentation/dataset.json": b"{}",
        "Task017_AbdominalOrganSegmentation/imagesTr/ABD_001_0000.nii.gz": ct(1),
        "Task017_AbdominalOrganSegmentation/labelsTr/ABD_001.nii.gz": gzipped(drawn(BTCV)),
        "Task017_AbdominalOrganSegmentation/imagesTs/ABD_061_0000.nii.gz": ct(61),
    },
    "btcv": lambda: {
        "BTCV/dataset_0.json": b"{}",
        "BTCV/imagesTr/img0001.nii.gz": ct(1),
        "BTCV/labelsTr/label0001.nii.gz": gzipped(drawn(BTCV)),
    },
    "totalsegmentator_v1": lambda: {
        "Totalsegmentator_dataset/meta.csv": b"image_id;age;split\ns0011;65;train\n",
        "Totalsegmentator_dataset/s0011/ct.nii.gz": ct(11),
        **masks("s0011", "Totalsegmentator_dataset", TOTALSEGMENTATOR_1),
    },
}


def kits_label():
    label = drawn(KITS)
    for name in KIDNEYS.values():
        label[inside(name) & (label == 0)] = 1
    return label


def nifti_ct(seed):
    noise = np.random.default_rng(seed).normal(40, 10, SHAPE_XYZ)
    return nifti(np.rint(noise).astype(np.int16))


def lay_out(dataset, folder):
    """Write a dataset's folder below a folder."""
    for name, content in FOLDERS[dataset]().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
