"""Six published datasets, from archives in their layouts to cases whose every voxel is known."""

import numpy as np
import pytest
import SimpleITK as sitk

from curate.cases.target import Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from tests.curate import published
from tests.curate.published import BOXES, SPACING_MM, inside

pytestmark = pytest.mark.usefixtures("_in_this_process")

BTCV_ORGANS = (
    *("spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach"),
    *("aorta", "inferior_vena_cava", "pancreas", "right_adrenal", "left_adrenal"),
)


def prepared(dataset, folder, space="abdomen15"):
    """A dataset's report, made from its archive in a label space."""
    getattr(published, dataset)(folder)
    target = Target(load_label_space(space), (SPACING_MM,) * 3, folder / "out")
    return prepare(PrepareRequest((load_recipe(dataset),), folder, target), workers=1)


def label_of(report, case):
    """Class ids [x, y, z] of a made case."""
    volume = sitk.ReadImage(str(report.manifest.path(case.label)))
    assert volume.GetSize() == published.SHAPE_XYZ
    return sitk.GetArrayFromImage(volume).transpose(2, 1, 0)


def expected(space, **structures):
    """Class ids [x, y, z], each class drawn from the structures that are named for it."""
    classes = load_label_space(space)
    ids = np.zeros(published.SHAPE_XYZ, np.uint8)
    for name, where in structures.items():
        ids[where] = classes.names.index(name)
    return ids


def organs(*names):
    return {name: inside(name) for name in names}


@pytest.mark.parametrize(
    ("dataset", "cases", "annotated"),
    [
        (
            "amos22",
            ["amos_0001", "amos_0022"],  # amos_0507 is MRI, amos_0003 has no label
            (*BTCV_ORGANS, "duodenum", "urinary_bladder", "prostate_or_uterus"),
        ),
        ("flare22", ["FLARE22_Tr_0001", "FLARE22_Tr_0050"], (*BTCV_ORGANS, "duodenum")),
        (
            "totalsegmentator",  # which has a prostate and no uterus
            ["s0000", "s1429"],
            (*BTCV_ORGANS, "duodenum", "urinary_bladder"),
        ),
    ],
)
def test_multi_organ_dataset_gives_every_voxel_its_class(tmp_path, dataset, cases, annotated):
    report = prepared(dataset, tmp_path)
    assert report.rejected == ()
    assert [c.case_id for c in report.manifest.cases()] == [f"{dataset}/{name}" for name in cases]
    names = load_label_space("abdomen15").names
    drawn = organs(*(n for n in annotated if n in BOXES))
    if "prostate_or_uterus" in annotated:
        drawn["prostate_or_uterus"] = inside("prostate")
    for case in report.manifest.cases():
        assert case.annotated == tuple(n for n in names if n in annotated)
        assert np.array_equal(label_of(report, case), expected("abdomen15", **drawn))


def test_kits23_gives_each_kidney_its_tumour_and_its_cyst(tmp_path):
    report = prepared("kits23", tmp_path, "abdomen5")
    assert report.rejected == ()
    found = report.manifest.cases()
    assert [c.case_id for c in found] == ["kits23/case_00000", "kits23/case_00588"]
    for case in found:
        assert case.merged == (0, 0, 0, 0, 4, 5)
        drawn = expected("abdomen5", **organs("left_kidney", "right_kidney"))
        assert np.array_equal(label_of(report, case), drawn)


def test_kits23s_tumour_is_told_apart_where_the_label_space_asks(tmp_path):
    report = prepared("kits23", tmp_path, "tumours5")
    case = next(iter(report.manifest.cases()))
    assert case.annotated == ("left_kidney_tumour", "right_kidney_tumour")
    drawn = expected("tumours5", **organs("right_kidney_tumour"))
    assert np.array_equal(label_of(report, case), drawn)


@pytest.mark.parametrize(
    ("dataset", "tumour"), [("msd_hepatic_vessel", "liver_tumour"), ("msd_colon", "colon_tumour")]
)
def test_a_tumour_without_its_organ_annotates_the_tumour_alone(tmp_path, dataset, tumour):
    (case,) = (report := prepared(dataset, tmp_path, "tumours5")).manifest.cases()
    assert case.annotated == (tumour,)
    assert np.array_equal(label_of(report, case), expected("tumours5", **organs(tumour)))


@pytest.mark.parametrize("dataset", ["msd_hepatic_vessel", "msd_colon"])
def test_a_tumour_without_its_organ_says_nothing_of_the_organ(tmp_path, dataset):
    (case,) = (report := prepared(dataset, tmp_path, "abdomen5")).manifest.cases()
    assert case.annotated == ()
    assert case.merged == (0,) * 6
    assert "nothing_annotated" in {f.code for f in case.findings}
    assert not label_of(report, case).any()


def test_kits23s_downloads_are_its_labelled_cases():
    recipe = load_recipe("kits23")
    images, masks = recipe.sources
    assert len(images.paths) == recipe.labelled_cases == 489
    numbers = [int(path[-12:-7]) for path in images.paths]
    assert numbers == [*range(300), *range(400, 589)]
    listed = masks.checksums.read_text().splitlines()
    cases = [line.split("/")[1] for line in listed if "segmentation" in line]
    assert cases == [f"case_{n:05d}" for n in numbers]
