"""Folders of users' own: how their files lie."""

import json
from pathlib import Path

import pytest

from curate.drafts.folder_survey import survey
from curate.drafts.value_meanings import guess_meanings
from manifests.ground.errors import SourceError


def make(root, *paths):
    for path in paths:
        at = root / path.replace(".gz", "") if path.endswith("/") else root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.touch()
    return root


def index(root, **facts):
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(facts))
    return root


PAIRS = {
    "nnunet": (
        ["imagesTr/a_001_0000.nii.gz", "imagesTr/a_002_0000.nii.gz", "imagesTs/a_003_0000.nii.gz"],
        ["labelsTr/a_001.nii.gz", "labelsTr/a_002.nii.gz"],
        {"images": ("imagesTr/{case}_0000.nii.gz",), "labels": ("labelsTr/{case}.nii.gz",)},
        ["a_001", "a_002"],
    ),
    "bids": (
        ["sub-01/ct/sub-01_ct.nii.gz", "sub-02/ct/sub-02_ct.nii.gz"],
        [f"derivatives/manual/sub-0{n}/ct/sub-0{n}_dseg.nii.gz" for n in (1, 2)],
        {
            "images": ("{case}/ct/{case}_ct.nii.gz",),
            "labels": ("derivatives/manual/{case}/ct/{case}_dseg.nii.gz",),
        },
        ["sub-01", "sub-02"],
    ),
    "bids with sessions": (
        [f"sub-1/ses-{n}/ct/sub-1_ses-{n}_ct.nii.gz" for n in "ab"],
        [f"derivatives/sub-1/ses-{n}/ct/sub-1_ses-{n}_ct_desc-x_dseg.nii.gz" for n in "ab"],
        {
            "images": ("*/*/ct/{case}_ct.nii.gz",),
            "labels": ("derivatives/*/*/ct/{case}_ct_desc-x_dseg.nii.gz",),
        },
        ["sub-1_ses-a", "sub-1_ses-b"],
    ),
    "btcv": (
        ["img/img0001.nii.gz", "img/img0022.nii.gz", "test/img0061.nii.gz"],
        ["label/label0001.nii.gz", "label/label0022.nii.gz"],
        {"images": ("img/img{case}.nii.gz",), "labels": ("label/label{case}.nii.gz",)},
        ["0001", "0022"],
    ),
    "lits": (
        ["volume-0.nii", "volume-10.nii"],
        ["segmentation-0.nii", "segmentation-10.nii"],
        {"images": ("volume-{case}.nii",), "labels": ("segmentation-{case}.nii",)},
        ["0", "10"],
    ),
    "amos": (
        ["imagesTr/amos_0001.nii.gz", "imagesTr/amos_0004.nii.gz", "imagesVa/amos_0022.nii.gz"],
        ["labelsTr/amos_0001.nii.gz", "labelsTr/amos_0004.nii.gz", "labelsVa/amos_0022.nii.gz"],
        {
            "images": ("imagesTr/{case}.nii.gz", "imagesVa/{case}.nii.gz"),
            "labels": ("labelsTr/{case}.nii.gz", "labelsVa/{case}.nii.gz"),
        },
        ["amos_0001", "amos_0004", "amos_0022"],
    ),
    "kits": (
        ["case_00000/imaging.nii.gz", "case_00001/imaging.nii.gz"],
        [
            "case_00000/segmentation.nii.gz",
            "case_00001/segmentation.nii.gz",
            *(f"case_0000{n}/instances/kidney_instance-{m}.nii.gz" for n in (0, 1) for m in (1, 2)),
        ],
        {"images": ("{case}/imaging.nii.gz",), "labels": ("{case}/segmentation.nii.gz",)},
        ["case_00000", "case_00001"],
    ),
    "same names": (
        ["ct/x1.mha", "ct/x2.mha", "pet/x1.mha", "pet/x2.mha"],
        ["masks/x1.mha", "masks/x2.mha"],
        {"images": ("ct/{case}.mha",), "labels": ("masks/{case}.mha",)},
        ["x1", "x2"],
    ),
    "beside each other": (
        ["anna_ct.nrrd", "bernd_ct.nrrd", "only_ct.nrrd"],
        ["anna_seg.nrrd", "bernd_seg.nrrd"],
        {"images": ("{case}_ct.nrrd",), "labels": ("{case}_seg.nrrd",)},
        ["anna", "bernd"],
    ),
    "nnunet of short names": (
        [f"imagesTr/{n}_0000.nii.gz" for n in (0, 10)],
        [f"labelsTr/{n}.nii.gz" for n in (0, 10)],
        {"images": ("imagesTr/{case}_0000.nii.gz",), "labels": ("labelsTr/{case}.nii.gz",)},
        ["0", "10"],
    ),
    "nnunet of names that end in letters": (
        [f"imagesTr/{n}_0000.nii.gz" for n in ("0c12ff", "a3f9c1", "s01L")],
        [f"labelsTr/{n}.nii.gz" for n in ("0c12ff", "a3f9c1", "s01L")],
        {"images": ("imagesTr/{case}_0000.nii.gz",), "labels": ("labelsTr/{case}.nii.gz",)},
        ["0c12ff", "a3f9c1", "s01L"],
    ),
    "numbers from 0000": (
        [f"images/case_000{n}.nii.gz" for n in (0, 1)],
        [f"labels/case_000{n}.nii.gz" for n in (0, 1)],
        {"images": ("images/{case}.nii.gz",), "labels": ("labels/{case}.nii.gz",)},
        ["case_0000", "case_0001"],
    ),
    "names that look like patterns": (
        ["CT [thin]/p[1]?.nii.gz", "CT [thin]/p[2]?.nii.gz"],
        ["seg/p[1]?.nii.gz", "seg/p[2]?.nii.gz"],
        {"images": ("CT [thin]/{case}]?.nii.gz",), "labels": ("seg/{case}]?.nii.gz",)},
        ["p[1", "p[2"],
    ),
    "one case": (
        ["p7/ct.nii.gz"],
        ["p7/label.nii.gz"],
        {"images": ("{case}/ct.nii.gz",), "labels": ("{case}/label.nii.gz",)},
        ["p7"],
    ),
}


def test_what_was_passed_over_is_told(tmp_path):
    images, labels, _, _ = PAIRS["nnunet"]
    root = make(tmp_path / "mine", *images, *labels)
    assert survey(root).passed_over == ("imagesTs/a_003_0000.nii.gz",)
    make(root, *(f"dicom/{n}.dcm" for n in range(11)), "imagesTr/b_x_0000.nii.gz", "dataset.json")
    (root / "dataset.json").write_text("{}")
    told = survey(root).unused
    assert "13 files (11 .dcm, 2 .nii.gz): imagesTr/b_x_0000.nii.gz, imagesTs/a_003" in told
    assert told.endswith(", ...")


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_found(tmp_path, name):
    images, labels, patterns, cases = PAIRS[name]
    root = make(tmp_path / "mine", *images, *labels, "readme.txt", "._junk.nii.gz")
    found = survey(root)
    assert found.kind == (name.split()[0] if name.split()[0] in ("nnunet", "bids") else "pairs")
    assert {"images": found.layout.images, "labels": found.layout.labels} == patterns
    assert sorted(case.name for case in found.cases) == cases
    for case in found.cases:
        assert case.image.is_file()
        assert case.label.is_file()
    assert found.layout.roots == ("mine",)


@pytest.mark.parametrize(
    ("image", "folder"), [("ct.nii.gz", "segmentations/"), ("ct.nii.gz", ""), ("image.nii.gz", "")]
)
@pytest.mark.parametrize("cases", [["s0000", "s0011"], ["s0000"]])
def test_a_folder_of_masks_is_found(tmp_path, image, folder, cases):
    names = ("kidney_left.nii.gz", "liver.nii.gz", "spleen.nii.gz")
    paths = [f"{c}/{folder}{n}" for c in cases for n in names] + [f"{c}/{image}" for c in cases]
    found = survey(make(tmp_path / "ts", *paths, "meta.csv"))
    assert found.kind == found.layout.kind == "masks"
    assert found.layout.images == (f"{{case}}/{image}",)
    assert found.layout.labels == (f"{{case}}/{folder}".rstrip("/"),)
    assert found.masks == names
    assert sorted(case.name for case in found.cases) == cases


@pytest.mark.parametrize("form", ["seg_{}", "{}_mask", "label-{}"])
@pytest.mark.parametrize("folder", ["", "segmentations/"])
def test_masks_whose_names_say_that_they_are_masks_are_masks(tmp_path, form, folder):
    names = sorted(f"{form.format(n)}.nii.gz" for n in ("kidney_left", "liver", "spleen"))
    cases = ["Pat01", "Pat02"]
    paths = [f"{c}/{folder}{n}" for c in cases for n in names] + [f"{c}/ct.nii.gz" for c in cases]
    found = survey(make(tmp_path / "ward", *paths))
    assert found.kind == "masks"
    assert found.layout.labels == (f"{{case}}/{folder}".rstrip("/"),)
    assert list(found.masks) == names
    meant = {s for structures in guess_meanings(found).values() for s in structures}
    assert {"liver", "spleen", "left_kidney"} <= meant


def test_decathlon_is_read_from_its_list(tmp_path):
    pair = {"image": "./imagesTr/liver_0.nii.gz", "label": "./labelsTr/liver_0.nii.gz"}
    root = index(
        tmp_path / "Task03_Liver",
        name="Liver",
        licence="CC-BY-SA 4.0",
        reference=" Some  paper ",
        labels={"0": "background", "1": "liver", "2": "cancer"},
        training=[pair],
    )
    found = survey(make(root, "imagesTr/liver_0.nii.gz", "labelsTr/liver_0.nii.gz"))
    assert found.kind == found.layout.kind == "decathlon"
    assert found.names == {1: "liver", 2: "cancer"}
    assert found.metadata == {"title": "Liver", "licence": "CC-BY-SA 4.0", "citation": "Some paper"}
    assert [case.name for case in found.cases] == ["liver_0"]


def test_nnunets_labels_are_read_whichever_way_they_stand(tmp_path):
    labels = {"background": 0, "liver": 1, "tumour": 2, "both": [1, 2], "ignore": 3}
    root = index(tmp_path / "Dataset001_X", labels=labels, file_ending=".nii.gz")
    found = survey(make(root, "imagesTr/x_0_0000.nii.gz", "labelsTr/x_0.nii.gz"))
    assert found.kind == "nnunet"
    assert found.names == {1: "liver", 2: "tumour", 3: "ignore"}


@pytest.mark.parametrize(
    "paths", [[], ["readme.txt"], ["a_ct.nii.gz"], ["a_ct.nii.gz", "b_seg.nii.gz"]]
)
def test_a_folder_without_pairs_says_what_was_looked_for(tmp_path, paths):
    (tmp_path / "x").mkdir()
    with pytest.raises(SourceError) as error:
        survey(make(tmp_path / "x", *paths))
    assert "no image was found that has a label" in str(error.value)
    assert "docs/how_to/recipes.md" in str(error.value)
    assert all(path in str(error.value) for path in paths if path.endswith(".gz"))


MIXED_UP = {
    "a subject's name in several sessions": (
        [f"sub-0{n}/ses-{m}/sub-0{n}_ct.nii.gz" for n in (1, 2) for m in (1, 2)]
        + [f"sub-0{n}/ses-{m}/sub-0{n}_seg.nii.gz" for n, m in ((1, 2), (2, 1), (2, 2))],
        "sub-01/ses-1/sub-01_ct.nii.gz, sub-01/ses-2/sub-01_ct.nii.gz",
    ),
    "visits of several patients": (
        [
            f"patient_0{n}/visit_{m}/{w}.nii.gz"
            for n in (1, 2)
            for m in (1, 2)
            for w in ("ct", "seg")
        ],
        "patient_02/visit_1/seg.nii.gz belongs to patient_02/visit_1/ct.nii.gz",
    ),
    "a visit of one patient labelled": (
        ["anna/visit_1/ct.nii.gz", "bernd/visit_1/ct.nii.gz", "bernd/visit_1/seg.nii.gz"],
        "bernd/visit_1/seg.nii.gz belongs to bernd/visit_1/ct.nii.gz",
    ),
    "visits in the files' names": (
        [f"p{n}/{w}.nii.gz" for n in (1, 2) for w in ("pre_ct", "post_ct", "post_seg")],
        "p1/post_seg.nii.gz belongs to p1/post_ct.nii.gz",
    ),
    "two labels for one image": (
        [f"p{n}/{w}.nii.gz" for n in (1, 2) for w in ("late_ct", "seg", "late_seg")],
        "p1/late_ct.nii.gz belongs to p1/late_seg.nii.gz",
    ),
    "an image of one patient and a label of another": (
        ["patient_01/visit_1/ct.nii.gz", "patient_02/visit_1/seg.nii.gz"],
        "lie in folders of different numbers",
    ),
    "masks of several patients": (
        [
            f"patient_0{n}/visit_1/{w}.nii.gz"
            for n in (1, 2)
            for w in ("ct", "seg/liver", "seg/spleen")
        ],
        "patient_02/visit_1/seg/liver.nii.gz belongs to patient_02/visit_1/ct.nii.gz",
    ),
}


@pytest.mark.parametrize("name", MIXED_UP)
def test_what_would_be_mixed_up_is_refused(tmp_path, name):
    paths, complaint = MIXED_UP[name]
    with pytest.raises(SourceError, match="which image and label belong together") as error:
        survey(make(tmp_path / "mine", *paths))
    assert complaint in str(error.value)
    assert "docs/how_to/recipes.md" in str(error.value)


def test_a_subject_of_one_session_is_named_by_the_subject(tmp_path):
    at = ["sub-01/ses-1/sub-01", "sub-02/ses-2/sub-02"]
    found = survey(make(tmp_path / "mine", *(f"{a}_{w}.nii.gz" for a in at for w in ("ct", "seg"))))
    assert sorted(case.name for case in found.cases) == ["sub-01", "sub-02"]


def test_what_is_no_folder_or_no_list_is_named(tmp_path):
    with pytest.raises(SourceError, match="is not a folder"):
        survey(tmp_path / "none")
    make(tmp_path, "dataset.json")
    with pytest.raises(SourceError, match=r"dataset\.json cannot be read"):
        survey(tmp_path)


def test_the_folder_that_one_is_in_has_its_name(tmp_path, monkeypatch):
    root = make(tmp_path / "m[1]", "a_1_ct.nii.gz", "a_1_seg.nii.gz")
    monkeypatch.chdir(root)
    found = survey(Path())
    (pattern,) = found.layout.roots
    assert list(tmp_path.glob(pattern)) == [root]
