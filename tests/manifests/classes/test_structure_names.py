"""Names of labels as data sets have them."""

import json

import pytest

from manifests.classes.structure_names import meanings_of, structures_named, structures_touched
from manifests.classes.structures import vocabulary

BOTH = ("left_kidney", "right_kidney")


@pytest.mark.parametrize(
    ("name", "structures"),
    [
        ("liver", ("liver",)),
        ("Liver", ("liver",)),
        ("kidney_left", ("left_kidney",)),
        ("Left Kidney", ("left_kidney",)),
        ("RightKidney", ("right_kidney",)),
        ("right kidney", ("right_kidney",)),
        ("kidney", BOTH),
        ("kidneys", BOTH),
        ("kidney_tumor", ("left_kidney_tumour", "right_kidney_tumour")),
        ("kidney_cyst_left", ("left_kidney",)),
        ("kidney cyst", BOTH),
        ("adrenal_gland_right", ("right_adrenal",)),
        ("left adrenal gland", ("left_adrenal",)),
        ("lag", ("left_adrenal",)),
        ("rkid", ("right_kidney",)),
        ("gall bladder", ("gallbladder",)),
        ("bladder", ("urinary_bladder",)),
        ("postcava", ("inferior_vena_cava",)),
        ("IVC", ("inferior_vena_cava",)),
        ("inferior vena cava", ("inferior_vena_cava",)),
        ("portal_vein_and_splenic_vein", ("portal_and_splenic_vein",)),
        ("portal vein and splenic vein", ("portal_and_splenic_vein",)),
        ("prostate/uterus", ("prostate", "uterus")),
        ("hepatic tumor", ("liver_tumour",)),
        ("liver lesion", ("liver_tumour",)),
        ("colon cancer primaries", ("colon_tumour",)),
        ("oesophagus", ("esophagus",)),
        # what is not known, or not the same
        ("portal vein", ()),
        ("hepatic vessel", ()),
        ("heart", ()),
        ("left liver", ()),
        ("spleen tumour", ()),
        ("class 1", ()),
        ("tumour", ()),
        ("", ()),
    ],
)
def test_name_means_its_structures(name, structures):
    assert structures_named(name) == structures


def test_every_structure_is_known_by_its_own_name_and_in_words():
    for name in vocabulary():
        assert structures_named(name) == (name,)
        assert structures_named(name.replace("_", " ").title()) == (name,)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({1: "pancreas", 2: "cancer"}, {1: ("pancreas",), 2: ("pancreas_tumour",)}),
        ({1: "kidney", 2: "tumor"}, {1: BOTH, 2: ("left_kidney_tumour", "right_kidney_tumour")}),
        ({1: "liver", 2: "pancreas", 3: "tumor"}, {1: ("liver",), 2: ("pancreas",)}),
        ({1: "Vessel", 2: "Tumour"}, {}),
        ({1: "kidney", 2: "left kidney"}, {}),  # which says two things of the left one
        ({1: "kidney", 3: "cyst of the kidney"}, {1: BOTH, 3: BOTH}),
    ],
)
def test_names_of_one_dataset_are_read_together(names, found):
    assert meanings_of(names) == found


@pytest.mark.parametrize(
    ("name", "touched"),
    [
        ("hepatic vessel", {"liver", "liver_tumour"}),
        ("splenic artery", {"spleen"}),
        ("lesion", {s for s in vocabulary() if s.endswith("_tumour")}),
        ("heart", set()),
        ("vertebrae_L1", set()),
    ],
)
def test_what_a_name_may_speak_of_though_it_is_not_known(name, touched):
    assert structures_touched(name) == touched


def test_totalsegmentators_own_names(shared_data):
    labels = json.loads(
        (shared_data / "totalsegmentator" / "example_ct_sm" / "labels.json").read_text()
    )
    found = meanings_of(labels)
    assert {s for structures in found.values() for s in structures} >= {
        *("spleen", "left_kidney", "right_kidney", "gallbladder", "liver", "stomach", "aorta"),
        *("inferior_vena_cava", "portal_and_splenic_vein", "pancreas", "left_adrenal"),
        *("right_adrenal", "duodenum", "colon"),
    }
    assert {labels[key] for key in found if "lung" in labels[key] or "rib" in labels[key]} == set()
