"""Label maps of any program: found by name, read on the case's grid."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from manifests.ground.errors import TrainingError
from manifests.ground.findings import SetAsideError
from manifests.table.case import Case
from manifests.volumes.grid import Grid
from train.scoring.label_mapping import LabelMapping
from train.scoring.label_maps import find_label_maps, read_label_map, write_label_map

SIZE, SPACING_MM, ORIGIN_MM = (20, 24, 16), (1.5, 1.5, 3.0), (-12.0, 30.0, -400.0)
GRID = Grid(SIZE, SPACING_MM, ORIGIN_MM)
VALUES = LabelMapping({0: 0, 1: 1, 2: 2})


def case(case_id="btcv/0001"):
    columns = {**dict.fromkeys(Case.__dataclass_fields__, ""), "fold": None}
    place = {"size": SIZE, "spacing_mm": SPACING_MM, "origin_mm": ORIGIN_MM, "merged": (0, 1, 2)}
    return Case(**{**columns, "case_id": case_id, "dataset": case_id.split("/")[0], **place})


def classes():
    volume = np.zeros(SIZE[::-1], np.uint8)
    volume[3:9, 4:15, 2:9] = 1
    volume[8:12, 14:20, 8:18] = 2
    return volume


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


# --- which file is whose ----------------------------------------------------------------------

CASES = [case(name) for name in ("btcv/0001", "btcv/0002", "kits/0001", "kits/0003")]


def find(folder, cases=CASES):
    found = find_label_maps(folder, cases, CASES)
    return {case_id: str(path.relative_to(folder)) for case_id, path in found.files.items()}, found


@pytest.mark.parametrize(
    "name",
    ["btcv_0002.nii.gz", "btcv/0002.nii", "0002.nrrd", "0002.NII.GZ", "btcv_0002.mha", "0002.hdr"],
)
def test_a_case_is_found_by_each_of_its_names(tmp_path, name):
    touch(tmp_path, name, "0002.img", "dataset.json", "plans.json")
    files, found = find(tmp_path)
    assert files == {"btcv/0002": name}
    assert found.extra == ()


def test_a_name_that_two_cases_have_means_neither(tmp_path):
    touch(tmp_path, "0001.nii.gz", "0003.nii.gz")
    files, found = find(tmp_path)
    assert files == {"kits/0003": "0003.nii.gz"}
    assert "expected btcv/0001 or btcv_0001 with" in found.problems["btcv/0001"]
    assert [path.name for path in found.extra] == ["0001.nii.gz"]


def test_flat_names_that_two_cases_have_mean_neither(tmp_path):
    cases = [case("msd/liver_1"), case("msd_liver/1")]
    touch(tmp_path, "msd_liver_1.nii.gz", "msd/liver_1.nii.gz")
    found = find_label_maps(tmp_path, cases, cases)
    assert {k: v.parent.name for k, v in found.files.items()} == {"msd/liver_1": "msd"}
    assert list(found.problems) == ["msd_liver/1"]


@pytest.mark.parametrize(
    "name", ["scan_0002.nii.gz", "btcv/img0002.nrrd", "btcv_0002_seg.nii.gz", "0002_0000.nii.gz"]
)
def test_a_file_is_found_by_the_case_in_its_name(tmp_path, name):
    touch(tmp_path, name, "scan_0001.nii.gz")
    files, found = find(tmp_path)
    assert files == {"btcv/0002": name}
    assert [path.name for path in found.extra] == ["scan_0001.nii.gz"]  # two cases are called so


def test_a_whole_name_goes_before_a_name_with_other_words(tmp_path):
    touch(tmp_path, "0002.nii.gz", "scan_0002.nii.gz", "ct_0003.nrrd", "seg_0003.nrrd")
    files, found = find(tmp_path)
    assert files == {"btcv/0002": "0002.nii.gz"}
    assert [path.name for path in found.extra] == ["scan_0002.nii.gz"]
    assert "ct_0003.nrrd" in found.problems["kits/0003"]
    assert "seg_0003.nrrd" in found.problems["kits/0003"]


def test_two_files_of_one_case_are_a_problem(tmp_path):
    touch(tmp_path, "btcv_0002.nii.gz", "0002.nrrd")
    files, found = find(tmp_path)
    assert files == {}
    assert "more than one" in found.problems["btcv/0002"]
    assert found.missing == ("btcv/0001", "kits/0001", "kits/0003")
    assert found.extra == ()


def test_files_of_other_splits_are_not_extra_but_those_of_no_case_are(tmp_path):
    touch(tmp_path, "btcv_0001.nii.gz", "btcv_0002.nii.gz", "btcv_9999.nii.gz")
    touch(tmp_path, ".hidden.nii.gz", "evaluation/test/predictions/x.nii.gz", "logs/note.txt")
    files, found = find(tmp_path, CASES[:1])
    assert list(files) == ["btcv/0001"]
    assert [path.name for path in found.extra] == ["btcv_9999.nii.gz"]
    assert found.problems == {}


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no folder"):
        find(tmp_path / "none")


# --- on the case's grid -----------------------------------------------------------------------


def write(path, image):
    sitk.WriteImage(image, str(path))
    return path


def test_what_is_written_is_read(tmp_path):
    write_label_map(tmp_path / "a.nii.gz", classes(), case())
    found, note = read_label_map(tmp_path / "a.nii.gz", case(), VALUES)
    np.testing.assert_array_equal(found, classes())
    assert note == ""


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_axes_in_another_order_are_the_same_grid(tmp_path, axes):
    image = sitk.DICOMOrient(GRID.image(classes()), axes)
    found, note = read_label_map(write(tmp_path / "a.nii.gz", image), case(), VALUES)
    np.testing.assert_array_equal(found, classes())
    assert note == ""


def test_a_header_may_round(tmp_path):
    rounded = replace(GRID, origin_mm=tuple(o + 0.02 for o in ORIGIN_MM))
    _, note = read_label_map(write(tmp_path / "a.nrrd", rounded.image(classes())), case(), VALUES)
    assert note == ""


def fine_grid(factor):
    """The same room in voxels of a fraction of the size."""
    return GRID.part((0, 0, 0), SIZE, (factor, factor, factor))


def test_the_original_scans_grid_is_brought_to_the_cases(tmp_path):
    fine = classes().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    path = write(tmp_path / "a.nii.gz", sitk.DICOMOrient(fine_grid(2).image(fine), "RAI"))
    found, note = read_label_map(path, case(), VALUES)
    np.testing.assert_array_equal(found, classes())
    assert note == "resampled from 40 x 48 x 32 voxels of 0.75 x 0.75 x 1.5 mm"


def test_a_lost_header_is_refused_and_not_scored(tmp_path):
    image = sitk.GetImageFromArray(classes())
    with pytest.raises(TrainingError, match="header was likely lost"):
        read_label_map(write(tmp_path / "a.nii.gz", image), case(), VALUES)


def test_a_crop_is_refused(tmp_path):
    part = GRID.image(classes())[:, :12, :]
    with pytest.raises(TrainingError, match="covers 50% of the case"):
        read_label_map(write(tmp_path / "a.nii.gz", part), case(), VALUES)


def test_another_scan_is_refused(tmp_path):
    far = replace(GRID, origin_mm=(500.0, 0.0, 0.0))
    with pytest.raises(TrainingError, match="covers 0% of the case"):
        read_label_map(write(tmp_path / "a.nii.gz", far.image(classes())), case(), VALUES)


def test_values_are_those_that_were_said(tmp_path):
    path = write(tmp_path / "a.nii.gz", GRID.image(classes().astype(np.float32) * 10))
    found, _ = read_label_map(path, case(), LabelMapping({0: 0, 10: 2, 20: 1}))
    np.testing.assert_array_equal(found, np.array([0, 2, 1], np.uint8)[classes()])


def test_what_is_no_volume_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    with pytest.raises(SetAsideError, match="expected a NIfTI file"):
        read_label_map(tmp_path / "a.nii.gz", case(), VALUES)
    flat = write(tmp_path / "b.nii.gz", GRID.image(classes())[:, :, 0])
    with pytest.raises(SetAsideError):
        read_label_map(flat, case(), VALUES)
