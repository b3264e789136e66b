"""Prediction with a network that thresholds, on balls whose place in the patient is known."""

import gzip
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

from manifests.classes.label_space import load_label_space
from manifests.ground.errors import GeometryError, TrainingError
from manifests.ground.findings import SetAsideError
from manifests.volumes.grid import Grid, harmonised_grid
from manifests.volumes.readers.nifti import read_header
from manifests.volumes.resampling.resampling import resample_image
from manifests.volumes.volume import Volume
from train.model import Model, Normalisation
from train.prediction import label_map_file, predict
from train.prediction.predict import plan_outputs, predict_files, predict_image
from train.prediction.scan import read_scan, scan_name
from train.prediction.sliding_window import Predictor
from train.scoring.metrics import dice

# Nothing here is symmetric, so that no flip or swap of axes goes unnoticed.
BALLS = (  # centre in LPS mm, radius in mm, HU, class
    ((10.0, -15.0, 105.0), 16.0, 200, 1),
    ((10.0, -15.0, 105.0), 9.0, 600, 2),
    ((-14.0, 10.0, 88.0), 12.0, 200, 1),
)
CENTRE_MM = np.array((0.0, 0.0, 100.0))

SETTINGS = (".ctbl", ".json", ".json", ".tsv", ".txt")  # and names and colours

TURN = np.deg2rad(25)
ABOUT_Z = ((np.cos(TURN), -np.sin(TURN), 0), (np.sin(TURN), np.cos(TURN), 0), (0, 0, 1))
ABOUT_X = ((1, 0, 0), (0, np.cos(TURN), -np.sin(TURN)), (0, np.sin(TURN), np.cos(TURN)))
GRIDS = {
    # size, spacing, columns of the direction
    "the network's own": ((54, 54, 27), (1.5, 1.5, 3.0), np.eye(3)),
    "RAS": ((40, 40, 40), (2.0, 2.0, 2.0), np.diag([-1, -1, 1])),
    "feet first, mirrored": ((50, 60, 30), (1.6, 1.3, 2.7), np.diag([-1, 1, -1])),
    "slices first": ((16, 90, 80), (5.0, 0.9, 1.0), np.eye(3)[:, [2, 0, 1]]),
    "coronal, thick": ((80, 30, 16), (1.0, 2.7, 5.0), np.eye(3)[:, [0, 2, 1]]),
    "fine": ((100, 100, 64), (0.8, 0.8, 1.25), np.eye(3)),
    "oblique": ((70, 70, 40), (1.2, 1.2, 2.0), np.array(ABOUT_Z)),
    "doubly oblique": ((60, 60, 30), (1.4, 1.4, 2.8), np.array(ABOUT_Z) @ np.array(ABOUT_X)),
}


class Threshold(nn.Module):
    """Class 1 above 100 HU, class 2 above 400 HU."""

    def __init__(self, shift_hu=0.0):
        super().__init__()
        self.shift_hu = nn.Parameter(torch.tensor(shift_hu))

    def forward(self, hu):
        hu = hu + self.shift_hu
        return torch.cat([torch.zeros_like(hu), hu - 100, 2 * hu - 500], 1) / 100


class Unusable(nn.Module):
    def forward(self, images):
        raise AssertionError(images)


def predictor(network=None):
    identity = Normalisation(low_hu=-1024.0, high_hu=3000.0, mean_hu=0.0, std_hu=1.0)
    space = load_label_space("pancreas_tumour")
    model = Model(network or Threshold(), space, identity, (1.5, 1.5, 3.0), (16, 32, 40))
    return Predictor(model, "cpu")


def grid_of(name):
    size, spacing, direction = GRIDS[name]
    middle = (np.array(size) - 1) / 2 * np.array(spacing)
    origin = CENTRE_MM - np.asarray(direction, float) @ middle
    return Grid(size, spacing, tuple(origin), tuple(np.asarray(direction, float).ravel()))


def draw(grid):
    """A CT and its classes [z, y, x], as the balls lie in space."""
    x, y, z = (np.arange(n) for n in grid.size_xyz)
    index = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)
    position = grid.position_mm(index)
    hu, classes = np.zeros(index.shape[:3], np.int16), np.zeros(index.shape[:3], np.uint8)
    for centre, radius, value, n in BALLS:
        inside = np.linalg.norm(position - centre, axis=-1) <= radius
        hu[inside], classes[inside] = value, n
    return hu, classes


@pytest.fixture
def scan(tmp_path):
    """A small scan, beside which nothing lies."""
    path = tmp_path / "scans" / "first.nii.gz"
    path.parent.mkdir()
    return write(path)


def write(path, grid_name="RAS", shift_hu=0):
    grid = grid_of(grid_name)
    sitk.WriteImage(grid.image(draw(grid)[0] + np.int16(shift_hu)), path)
    return path


def run(scans, folder, network=None, **options):
    return list(predict_files(predictor(network), scans, folder, **options))


# --- one image --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_the_label_map_lies_on_the_images_own_grid(name):
    grid = grid_of(name)
    hu, truth = draw(grid)
    image = grid.image(hu)
    labels = predict_image(predictor(), image)
    assert Grid.of(labels) == Grid.of(image)
    assert labels.GetPixelID() == sitk.sitkUInt8
    found = sitk.GetArrayFromImage(labels)
    assert dice(found > 0, truth > 0) > 0.95
    assert dice(found == 2, truth == 2) > 0.9


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_the_network_sees_what_prepare_makes_of_the_image(interpolation):
    seen = []

    class Watching(Threshold):
        def forward(self, hu):
            seen.append(hu[0, 0].numpy().copy())
            return super().forward(hu)

    own = Grid((24, 20, 12), (3.0, 3.0, 6.0))
    hu = np.random.default_rng(0).normal(0, 30, own.size_xyz[::-1]).astype(np.int16)
    model = predictor(Watching()).model
    model = replace(model, patch_size_zyx=(24, 40, 48), interpolation=interpolation)
    predict_image(Predictor(model, "cpu"), own.image(hu))
    grid = harmonised_grid(own, model.spacing_mm)
    expected = resample_image(Volume(hu, own), grid, interpolation=interpolation).voxels
    np.testing.assert_array_equal(seen[0], expected)


def test_of_equal_probabilities_the_background_wins():
    class Undecided(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 3, *images.shape[2:])

    image = grid_of("oblique").image(draw(grid_of("oblique"))[0])
    labels = predict_image(predictor(Undecided()), image)
    assert not sitk.GetArrayFromImage(labels).any()


def test_each_voxel_gets_a_class_up_to_the_edge():
    class Sure(nn.Module):
        def forward(self, images):
            logits = torch.tensor([0.0, 0.0, 9.0]).view(1, 3, 1, 1, 1)
            return logits.expand(len(images), -1, *images.shape[2:])

    grid = grid_of("doubly oblique")
    labels = predict_image(predictor(Sure()), grid.image(draw(grid)[0]))
    assert (sitk.GetArrayFromImage(labels) == 2).all()


def test_an_image_of_two_dimensions_is_refused():
    with pytest.raises(GeometryError, match="3-D"):
        predict_image(predictor(), sitk.Image(8, 8, sitk.sitkInt16))


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_any_format_becomes_nifti_with_the_scans_geometry(tmp_path, suffix):
    scan = write(tmp_path / f"a.b{suffix}", "feet first, mirrored")
    (result,) = run([scan], tmp_path / "out")
    assert (result.outcome, result.output) == ("written", tmp_path / "out" / "a.b.nii.gz")
    labels, image = sitk.ReadImage(result.output), sitk.ReadImage(scan)
    for got, expected in ((Grid.of(labels), Grid.of(image)),):
        assert got.size_xyz == expected.size_xyz
        np.testing.assert_allclose(got.steps_mm, expected.steps_mm, atol=1e-5)
        np.testing.assert_allclose(got.origin_mm, expected.origin_mm, atol=1e-4)
    truth = draw(grid_of("feet first, mirrored"))[1]
    assert dice(sitk.GetArrayFromImage(labels) > 0, truth > 0) > 0.95


def test_a_bad_scan_is_reported_and_does_not_stop_the_others(tmp_path, scan):
    text = tmp_path / "text.nii.gz"
    text.write_text("no image")
    missing = tmp_path / "missing.nii.gz"
    flat, holed = tmp_path / "flat.nii.gz", tmp_path / "holed.mha"
    sitk.WriteImage(sitk.Image(8, 8, sitk.sitkInt16), flat)
    sitk.WriteImage(sitk.GetImageFromArray(np.full((4, 4, 4), np.nan, np.float32)), holed)
    results = run([text, missing, flat, holed, scan], tmp_path / "out")
    assert [r.outcome for r in results] == ["failed"] * 4 + ["written"]
    for result, reason in zip(
        results, ("NIfTI", "nothing is there", "three dimensions", "NaN"), strict=False
    ):
        assert reason in result.reason
        assert not result.output.exists()
    suffixes = [p.suffix for p in (tmp_path / "out").iterdir()]
    assert sorted(suffixes) == sorted([".gz", ".json", *SETTINGS])


def test_a_network_that_fails_is_the_scans_reason(tmp_path, scan):
    class Failing(nn.Module):
        def forward(self, images):
            msg = f"no memory for {images.dtype}"
            raise RuntimeError(msg)

    (result,) = run([scan], tmp_path / "out", Failing())
    assert (result.outcome, result.reason) == ("failed", "no memory for torch.float32")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("pixdim"), "KeyError: 'pixdim'"),
        (IndexError("no voxel"), "IndexError: no voxel"),
        (MemoryError(), "MemoryError"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_no_kind_of_error_of_one_scan_ends_the_run(tmp_path, scan, monkeypatch, error, words):
    second = write(scan.with_name("second.nii.gz"))
    read = predict.read_scan

    def fail_on_the_first(path, *repairs):
        if path == scan:
            raise error
        return read(path, *repairs)

    monkeypatch.setattr(predict, "read_scan", fail_on_the_first)
    first, other = run([scan, second], tmp_path / "out")
    assert (first.outcome, first.reason, other.outcome) == ("failed", words, "written")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_gives_no_numbers_is_the_scans_failure(tmp_path, scan, bad):
    (result,) = run([scan], tmp_path / "out", Threshold(shift_hu=bad))
    assert result.outcome == "failed"
    assert "the network gives no numbers for slices 0 to" in result.reason


def test_the_same_call_again_does_what_is_missing(tmp_path, scan):
    second = write(scan.with_name("second.mha"))
    (first,) = run([scan], tmp_path / "out")
    written = first.output.stat().st_mtime_ns
    results = run([scan, second], tmp_path / "out")
    assert [r.outcome for r in results] == ["skipped", "written"]
    assert first.output.stat().st_mtime_ns == written


def test_overwriting_segments_again(tmp_path, scan):
    (first,) = run([scan], tmp_path / "out")
    before = first.output.read_bytes()
    (again,) = run([scan], tmp_path / "out", Threshold(shift_hu=-150.0), overwrite=True)
    assert again.outcome == "written"
    assert again.output.read_bytes() != before


def test_what_another_network_wrote_is_neither_kept_nor_replaced(tmp_path, scan):
    (first,) = run([scan], tmp_path / "out")
    before = first.output.read_bytes()
    (other,) = run([scan], tmp_path / "out", Threshold(shift_hu=-150.0))
    assert other.outcome == "failed"
    assert "not what this network makes" in other.reason
    assert first.output.read_bytes() == before


def test_a_scan_that_changed_is_not_taken_for_done(tmp_path, scan):
    run([scan], tmp_path / "out")
    write(scan, shift_hu=5)
    (result,) = run([scan], tmp_path / "out")
    assert result.outcome == "failed"


def test_the_header_names_the_settings_beside_it(tmp_path, scan):
    (result,) = run([scan], tmp_path / "out")
    stamp = sitk.ReadImage(result.output).GetMetaData("ITK_FileNotes").split()[0]
    settings = json.loads((tmp_path / "out" / f"{stamp}.json").read_text())
    assert settings["classes"] == {"0": "background", "1": "pancreas", "2": "pancreas_tumour"}
    assert settings["spacing_mm"] == [1.5, 1.5, 3.0]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("codes", "qfac", "units"), [((2, 1), 1, 2), ((0, 0), -1, 0), ((1, 0), 0, 2), ((0, 3), -1, 10)]
)
def test_a_label_map_lies_on_its_scan_whatever_form_a_viewer_reads(
    tmp_path, suffix, codes, qfac, units
):
    sform = np.diag([-2.0, -2.0, 2.0, 1.0])
    sform[:3, 3] = 39.0, 41.0, 61.0
    qform = sform + np.array([[0, 0, 0, 30], [0, 0, 0, -20], [0, 0, 0, 40], [0, 0, 0, 0]])
    hu = draw(grid_of("RAS"))[0].T
    image = nib.Nifti1Image(hu, sform)
    image.set_qform(qform, codes[1])
    image.set_sform(sform, codes[0])
    image.header["pixdim"][0], image.header["xyzt_units"] = qfac, units
    scan = tmp_path / f"scan{suffix}"
    # nibabel would mend the qfac of a file
    content = bytearray(image.to_bytes())
    content[76:80] = np.float32(qfac).tobytes()
    scan.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    (result,) = run([scan], tmp_path / "out")
    assert (result.outcome, result.reason) == ("written", "")
    one, two = (read_header(path) for path in (scan, result.output))
    assert two["pixdim"][0] == (qfac or 1)  # 0 means 1
    np.testing.assert_array_equal(one["pixdim"][1:], two["pixdim"][1:])
    for name in label_map_file.PLACE[1:]:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    labels, image = (nib.Nifti1Image.from_filename(path) for path in (result.output, scan))
    np.testing.assert_array_equal(labels.affine, image.affine)
    assert labels.get_data_dtype() == np.uint8
    assert dice(np.asarray(labels.dataobj) > 0, hu > 100) > 0.9
    one, two = (sitk.ReadImage(path) for path in (scan, result.output))
    assert one.TransformIndexToPhysicalPoint((9, 8, 7)) == two.TransformIndexToPhysicalPoint(
        (9, 8, 7)
    )
    assert [r.outcome for r in run([scan], tmp_path / "out")] == ["skipped"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_a_write_that_breaks_off_leaves_nothing(tmp_path, scan, monkeypatch, suffix):
    def broken(_, path, *__):
        open(path, "wb").write(b"half")  # noqa: PTH123, SIM115
        msg = "disk full"
        raise RuntimeError(msg)

    scan = write(scan.with_name(f"second{suffix}"))
    monkeypatch.setattr(label_map_file.sitk, "WriteImage", broken)
    monkeypatch.setattr(label_map_file.Nifti1Image, "to_filename", broken)
    (result,) = run([scan], tmp_path / "out")
    assert (result.outcome, result.reason) == ("failed", "disk full")
    written = list((tmp_path / "out").iterdir())
    assert sorted(p.suffix for p in written) == sorted([".json", *SETTINGS])
    assert "second.findings.json" in {p.name for p in written}


def test_scans_of_one_name_are_refused_before_anything_is_done(tmp_path, scan):
    twin = write(scan.with_name("FIRST.nrrd"))
    with pytest.raises(TrainingError, match="both be written"):
        predict_files(predictor(Unusable()), [scan, twin], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scan_is_never_replaced(tmp_path, scan):
    with pytest.raises(TrainingError, match="would replace"):
        plan_outputs([scan], scan.parent)
    (tmp_path / "link").symlink_to(scan.parent)
    with pytest.raises(TrainingError, match="would replace"):
        plan_outputs([scan], tmp_path / "link")


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        ("liver_0.nii.gz", "liver_0"),
        ("a.b.NII", "a.b"),
        ("x.nrrd", "x"),
        ("no_suffix", "no_suffix"),
        ("odd.v1", "odd"),
    ],
)
def test_a_scan_is_called_as_its_file(tmp_path, file_name, name):
    assert scan_name(tmp_path / file_name) == name


def skewed(path, skew):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    affine = np.diag([-1.5, -1.5, 3.0, 1.0])
    affine[:3, 1] += (skew, 0.0, 0.0)
    affine[:3, 3] = 10.0, 20.0, 30.0
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(None, code=0)
    nib.save(image, path)
    return path


def test_axes_not_quite_at_right_angles_are_read_all_the_same(tmp_path):
    path = skewed(tmp_path / "skewed.nii.gz", 0.02)
    image, findings = read_scan(path)
    assert "axes_skewed" in {f.code for f in findings}
    assert sitk.GetArrayFromImage(image)[4, 3, 2] == 59
    np.testing.assert_allclose(Grid.of(image).steps_mm, np.diag([1.5, 1.5, 3.0]), atol=0.02)
    np.testing.assert_allclose(image.GetOrigin(), (-10.0, -20.0, 30.0))


def test_a_tilted_gantry_is_refused(tmp_path):
    with pytest.raises(SetAsideError, match="right angles"):
        read_scan(skewed(tmp_path / "tilted.nii.gz", 0.3))


def test_a_scan_is_repaired_as_prepare_does_it_and_the_user_is_told(tmp_path):
    hu = np.full((16, 20, 24), -1000, np.int16)
    hu[4:12, 4:16, 4:20] = 50
    outcomes = []
    for name, stored in (("true", hu), ("offset", (hu + 1024).astype(np.uint16))):
        image = sitk.GetImageFromArray(stored)
        image.SetSpacing((2.0, 2.0, 2.0))
        sitk.WriteImage(image, tmp_path / f"{name}.nii.gz")
        outcomes.append(read_scan(tmp_path / f"{name}.nii.gz"))
    (true, none), (repaired, found) = outcomes
    assert np.array_equal(sitk.GetArrayFromImage(true), sitk.GetArrayFromImage(repaired))
    assert [f.code for f in none] == []
    assert [f.code for f in found] == ["intensity_offset"]
    (result,) = run([tmp_path / "offset.nii.gz"], tmp_path / "out")
    assert result.findings == found


def test_a_dicom_folder_is_segmented_under_its_name(shared_data, tmp_path):
    folder = shared_data / "totalsegmentator" / "example_ct_dicom" / "dicom"
    image, findings = read_scan(folder)
    assert image.GetSize() == (512, 512, 20)
    assert findings == ()
    assert plan_outputs([folder], tmp_path) == [(folder, tmp_path / "dicom.nii.gz")]
