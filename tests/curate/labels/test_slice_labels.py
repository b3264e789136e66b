"""Labels beside DICOM scans, as CHAOS, Pancreas-CT and 3D-IRCADb have them; and FLARE23's."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from curate.cases.reading import read_case
from curate.cases.target import Target
from curate.datasets.discover import discover
from curate.datasets.locate import locate
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.findings import SetAsideError
from manifests.volumes.readers.repairs import Repairs
from tests.curate.dicom_files import ct_series
from tests.curate.published import ct, drawn, gzipped

SHAPE = (12, 20, 24)
ORGAN_HU = 110
DOWN_MM = (1.5, 2.0, -3.0)  # the first file is the topmost slice


@pytest.fixture
def patient():
    """A scan [k, y, x] in the order of its files, and the organ in it, alike from no side."""
    organ = np.zeros(SHAPE, bool)
    organ[2:5, 3:9, 4:15] = True
    organ[4:8, 5:7, 6:9] = True
    return np.where(organ, ORGAN_HU, 20).astype(np.int16), organ


def only_case(dataset, folder):
    recipe = load_recipe(dataset)
    (case,) = discover(recipe, locate(recipe, folder, folder / "none").path)
    return case, recipe


def assert_on_its_organ(dataset, folder):
    case, recipe = only_case(dataset, folder)
    image, label, _ = read_case(case, recipe.values)
    assert np.array_equal(label.voxels > 0, image.voxels == ORGAN_HU)


def write_chaos(folder, hu, organ, *, names="i{:04d},0000b.dcm"):
    at = folder / "CHAOS_Train_Sets" / "Train_Sets" / "CT" / "1"
    ct_series(at / "DICOM_anon", hu, spacing=DOWN_MM, names=names)
    (at / "Ground").mkdir(parents=True)
    for k, mask in enumerate(organ):
        Image.fromarray(mask.astype(np.uint8) * 255).save(at / "Ground" / f"liver_GT_{k:03d}.png")
    return at / "Ground"


# the second has no zeros in front: by letters, i10 goes before i2
@pytest.mark.parametrize("names", ["i{:04d},0000b.dcm", "i{},0000b.dcm"])
def test_pictures_go_by_the_numbers_of_the_files(tmp_path, patient, names):
    write_chaos(tmp_path, *patient, names=names)
    assert_on_its_organ("chaos_ct", tmp_path)


def test_black_and_white_pictures_are_read(tmp_path, patient):
    ground = write_chaos(tmp_path, *patient)
    for path in ground.iterdir():
        Image.open(path).convert("1").save(path)
    assert_on_its_organ("chaos_ct", tmp_path)


def test_a_missing_picture_sets_the_case_aside(tmp_path, patient):
    (write_chaos(tmp_path, *patient) / "liver_GT_003.png").unlink()
    case, recipe = only_case("chaos_ct", tmp_path)
    with pytest.raises(SetAsideError, match="12 slices of 24 x 20, the label 11 slices"):
        read_case(case, recipe.values)


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_picture_sets_the_case_aside(tmp_path, patient, content):
    (write_chaos(tmp_path, *patient) / "liver_GT_003.png").write_bytes(content)
    case, recipe = only_case("chaos_ct", tmp_path)
    with pytest.raises(SetAsideError) as error:
        read_case(case, recipe.values)
    assert error.value.finding.code == "unreadable"


def test_a_coloured_picture_sets_the_case_aside(tmp_path, patient):
    path = write_chaos(tmp_path, *patient) / "liver_GT_003.png"
    Image.open(path).convert("RGB").save(path)
    case, recipe = only_case("chaos_ct", tmp_path)
    with pytest.raises(SetAsideError, match="expected grey PNG pictures"):
        read_case(case, recipe.values)


def test_a_header_that_shows_a_label_upside_down_is_not_read(tmp_path, patient):
    hu, organ = patient
    ct_series(tmp_path / "Pancreas-CT" / "PANCREAS_0001" / "1", hu, names="1-{:03d}.dcm")
    labels = tmp_path / "TCIA_pancreas_labels-02-05-2017"
    labels.mkdir()
    map_xyz = organ.transpose(2, 1, 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(map_xyz, np.diag([1.5, 2, 3, 1])), labels / "label0001.nii.gz")
    assert_on_its_organ("pancreas_ct", tmp_path)


def test_masks_that_are_dicom_folders(tmp_path, patient):
    hu, organ = patient
    at = tmp_path / "3Dircadb1" / "3Dircadb1.6"
    ct_series(at / "PATIENT_DICOM", hu, names="image_{}")
    for name, mask in (("liver", organ), ("livertumor1", organ & False), ("skin", organ | True)):
        ct_series(at / "MASKS_DICOM" / name, mask * 255, names="image_{}")
    assert_on_its_organ("ircadb", tmp_path)
    case, recipe = only_case("ircadb", tmp_path)
    assert {s for v in case.unannotated for s in recipe.values[v]} >= {"spleen", "pancreas"}


@pytest.mark.usefixtures("_in_this_process")
def test_an_organ_that_does_not_occur_was_not_annotated(tmp_path):
    at = tmp_path / "MICCAI-FLARE23"
    labels = {1: drawn({1: "liver", 14: "liver_tumour"}), 2: drawn({3: "spleen", 4: "pancreas"})}
    for number, label in labels.items():
        for path, content in (
            (f"imagesTr2200/FLARE23_{number:04d}_0000.nii.gz", ct(number)),
            (f"labelsTr2200/FLARE23_{number:04d}.nii.gz", gzipped(label)),
        ):
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            (at / path).write_bytes(content)
    target = Target(load_label_space("abdomen5"), (5.0, 5.0, 5.0), tmp_path / "out")
    report = prepare(PrepareRequest((load_recipe("flare23"),), tmp_path, target), workers=1)
    one, two = report.manifest.cases()
    assert (one.annotated, two.annotated) == (("liver",), ("spleen", "pancreas"))
    assert one.merged == (0, 1, 0, 0, 0, 0)
    assert one.ignored == int((labels[1] == 14).sum())


def test_a_scan_that_is_resampled_has_no_slice_for_each_picture(tmp_path, patient):
    hu, organ = patient
    at = write_chaos(tmp_path, hu, organ).parent / "DICOM_anon"
    for k, one in enumerate(ct_series(at, hu, spacing=DOWN_MM, names="i{:04d},0000b.dcm")):
        one.ImagePositionPatient = [0, 0, 3 * k if k < 6 else 8 * k - 30]
        one.save_as(at / f"i{k:04d},0000b.dcm", enforce_file_format=True)
    case, recipe = only_case("chaos_ct", tmp_path)
    with pytest.raises(SetAsideError, match="were resampled to a grid") as error:
        read_case(case, recipe.values, Repairs(resample_uneven=True))
    assert "--resample-uneven" not in error.value.finding.reason
