"""What lies beside a label map, and what becomes of it: cleanup, colours, folders, DICOM SEG."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

from manifests.classes.colour_tables import itksnap_labels, slicer_table
from manifests.classes.label_space import LabelClass, LabelSpace, load_label_space
from manifests.ground.content_hash import sha256_of
from manifests.ground.errors import TrainingError
from manifests.volumes.volume import read_volume
from train.model import Model, Normalisation
from train.prediction.cleanup import keep_largest_components
from train.prediction.companions import Companions
from train.prediction.dicom_seg import write_dicom_seg
from train.prediction.dicom_source import DicomSource
from train.prediction.predict import plan_outputs, predict_files, predict_image
from train.prediction.sliding_window import Predictor

SPACE = load_label_space("abdomen5")
TUMOUR = load_label_space("pancreas_tumour")
SCALE = Normalisation(-1024.0, 3000.0, 0.0, 100.0)


class Bright(nn.Module):
    """The first class above 100 HU."""

    def forward(self, images):
        logits = [torch.zeros_like(images), images - 1, *[torch.full_like(images, -9.0)]]
        return torch.cat(logits, 1)


def model():
    return Model(Bright(), TUMOUR, SCALE, (2.0, 2.0, 2.0), (8, 16, 16))


def write(path, ball=True):
    hu = np.zeros((10, 20, 20), np.int16)
    hu[3:7, 5:12, 4:11] = 500 * ball
    hu[8, 17, 17] = 500
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((2.0, 2.0, 2.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, path)
    return path


def run(scans, folder, *, mirror_axes=(), **options):
    predictor = Predictor(model(), "cpu", mirror_axes=mirror_axes)
    return list(predict_files(predictor, scans, folder, **options))


# --- what is no scan ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.nii.gz", "nothing is there; check the path"),
        ("none", "nothing is there; check the path"),
        ("empty", "no image and no DICOM slice is in it"),
        ("notes", "no image and no DICOM slice is in it"),
        ("notes/a.txt", "the file is none of these"),
        ("notes/b.mha", "the file is none of these"),
    ],
)
def test_nonsense_is_named_in_one_line_that_says_what_was_expected(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / ("b.mha" if name.endswith("mha") else "a.txt")).write_text("hello")
    (result,) = run([tmp_path / name], tmp_path / "out")
    assert result.outcome == "failed"
    assert result.reason.startswith(f"{tmp_path / name}: expected a CT as NIfTI, NRRD or MetaImage")
    assert result.reason.endswith(f"; {words}")


# --- cleanup ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 5, 1), (5, 1, 1)])
def test_an_organ_of_a_few_voxels_in_a_line_keeps_its_largest_piece(shape):
    classes = np.zeros((8, 8, 8), np.uint8)
    line = np.array([1, 0, 1, 0, 1], np.uint8).reshape(shape)
    classes[tuple(slice(n) for n in shape)] = line
    kept = keep_largest_components(classes, SPACE)
    assert kept[tuple(slice(n) for n in shape)].ravel().tolist() == [1, 0, 0, 0, 0]


def test_each_organ_keeps_its_largest_piece():
    classes = np.zeros((12, 12, 12), np.uint8)
    classes[0:4, 0:4, 0:4], classes[8:10, 8:10, 8:10] = 1, 1
    classes[4, 4, 4] = 1  # touches the first at a corner
    classes[0:2, 8:10, 0:2], classes[6:9, 0:3, 6:9] = 2, 2
    kept = keep_largest_components(classes, SPACE)
    expected = classes.copy()
    expected[8:10, 8:10, 8:10], expected[0:2, 8:10, 0:2] = 0, 0
    np.testing.assert_array_equal(kept, expected)
    assert classes[9, 9, 9] == 1  # the argument is left as it was


def test_tumours_keep_all_pieces_and_hold_their_organ_together():
    classes = np.zeros((4, 4, 20), np.uint8)
    classes[..., 0:6], classes[..., 6:8], classes[..., 8:12] = 1, 2, 1  # cut by a tumour
    classes[0, 0, 14], classes[0, 0, 16] = 1, 2
    kept = keep_largest_components(classes, TUMOUR)
    expected = classes.copy()
    expected[0, 0, 14] = 0
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("value", [0, 3])
def test_what_is_absent_or_everywhere_stays(value):
    classes = np.full((3, 4, 5), value, np.uint8)
    np.testing.assert_array_equal(keep_largest_components(classes, SPACE), classes)


def test_a_part_whose_organ_is_no_class_keeps_its_pieces():
    entry = LabelClass(name="lesion", structures=("liver_tumour",), colour="#102030")
    classes = np.zeros((3, 3, 9), np.uint8)
    classes[..., 0:2], classes[..., 5:9] = 1, 1
    kept = keep_largest_components(classes, LabelSpace(name="mine", classes=(entry,)))
    np.testing.assert_array_equal(kept, classes)


def test_cleanup_is_done_only_if_asked_for(tmp_path):
    image = sitk.ReadImage(write(tmp_path / "scan.nii.gz"))
    one, other = (
        sitk.GetArrayFromImage(
            predict_image(Predictor(model(), "cpu"), image, largest_component=on)
        )
        for on in (False, True)
    )
    assert (one[8, 17, 17], other[8, 17, 17]) == (1, 0)
    np.testing.assert_array_equal(one[:7], other[:7])


# --- names and colours ------------------------------------------------------------------------


def test_tables_lie_beside_the_label_map_under_the_name_in_its_header(tmp_path):
    (result,) = run([write(tmp_path / "scan.nii.gz")], tmp_path / "out")
    stamp = sitk.ReadImage(result.output).GetMetaData("ITK_FileNotes").split()[0]
    assert (tmp_path / "out" / f"{stamp}.ctbl").read_text() == slicer_table(TUMOUR)
    assert (tmp_path / "out" / f"{stamp}.label.txt").read_text() == itksnap_labels(TUMOUR)


def test_options_make_another_prediction_of_the_same_scan(tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    run([scan], tmp_path / "out")
    for options in ({"largest_component": True}, {"mirror_axes": (1,)}):
        (result,) = run([scan], tmp_path / "out", **options)
        assert result.outcome == "failed"
        assert "not what this network makes" in result.reason


# --- folders ----------------------------------------------------------------------------------


def test_each_scan_of_a_folder_keeps_its_place(tmp_path):
    scans = tmp_path / "scans"
    for name in ("a/ct.nii.gz", "b/ct.nrrd", "top.mha", ".hidden/x.nii", "pair.img"):
        (scans / name).parent.mkdir(parents=True, exist_ok=True)
        (scans / name).touch()
    (scans / "notes.txt").write_text("no scan")
    out = tmp_path / "out"
    planned = {scan.relative_to(scans).as_posix(): o for scan, o in plan_outputs([scans], out)}
    assert planned == {
        "a/ct.nii.gz": out / "a/ct.nii.gz",
        "b/ct.nrrd": out / "b/ct.nii.gz",
        "top.mha": out / "top.nii.gz",
    }


def test_label_maps_inside_the_scans_folder_are_not_taken_for_scans(tmp_path):
    scan = write(tmp_path / "scans" / "scan.nii.gz")
    out = scan.parent / "out"
    assert [r.outcome for r in run([scan.parent], out)] == ["written"]
    assert [r.outcome for r in run([scan.parent], out)] == ["skipped"]


@pytest.mark.parametrize("suffix", [".nii", ".mha"])
def test_predicting_into_the_scans_own_folder_does_the_same_each_time(tmp_path, suffix):
    scan = write(tmp_path / "scans" / "a" / f"scan{suffix}")
    (tmp_path / "scans" / "a" / "scan.seg.dcm").touch()
    folder = tmp_path / "scans"
    planned = plan_outputs([folder], folder)
    assert planned == [(scan, scan.with_name("scan.nii.gz"))]
    assert [r.outcome for r in run([folder], folder)] == ["written"]
    assert plan_outputs([folder], folder) == planned
    assert [r.outcome for r in run([folder], folder)] == ["skipped"]
    assert [r.outcome for r in run([folder], tmp_path / "out")] == ["written"]


def test_a_segmentation_of_slicers_is_no_scan(tmp_path):
    scan = write(tmp_path / "scans" / "a" / "ct.nrrd")
    shutil.copy(scan, scan.with_name("Segmentation.seg.nrrd"))
    assert plan_outputs([tmp_path / "scans"], tmp_path / "out") == [
        (scan, tmp_path / "out" / "a" / "ct.nii.gz")
    ]


def test_a_label_map_never_lies_among_the_slices_of_its_scan(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "slice").touch()
    for out in (tmp_path / "series", tmp_path / "series" / "out"):
        with pytest.raises(TrainingError, match="among its own slices"):
            plan_outputs([tmp_path / "series"], out)


@pytest.mark.parametrize(
    ("modality", "slices", "reason"),
    [
        ("CT", 1, "it is one DICOM file; give the folder of the series"),
        ("MR", 1, "it is one DICOM file; give the folder of the series"),
        ("MR", 5, "got modality MR (1 file: slice)"),
        ("CT", 5, ""),  # Enhanced CT: all slices in one file
    ],
)
def test_a_dicom_file_is_a_scan_if_it_holds_a_series(tmp_path, modality, slices, reason):
    image = sitk.Image(8, 8, slices, sitk.sitkInt16)
    image.SetMetaData("0008|0060", modality)
    sitk.WriteImage(image, tmp_path / "slice.dcm")
    (tmp_path / "slice.dcm").rename(tmp_path / "slice")
    (result,) = run([tmp_path / "slice"], tmp_path / "out")
    assert result.outcome == ("failed" if reason else "written")
    assert result.reason.endswith(reason)


def test_two_names_of_one_output_are_refused(tmp_path):
    write(tmp_path / "scans" / "scan.nii.gz")
    write(tmp_path / "scans" / "scan.mha")
    with pytest.raises(TrainingError, match="both be written"):
        plan_outputs([tmp_path / "scans"], tmp_path / "out")


def test_an_empty_folder_is_told_of(tmp_path):
    (tmp_path / "empty").mkdir()
    (result,) = run([tmp_path / "empty"], tmp_path / "out")
    assert result.outcome == "failed"
    assert "folder of DICOM slices" in result.reason


@pytest.fixture
def series(shared_data):
    """A CT series of 20 slices of 512 x 512."""
    return shared_data / "totalsegmentator" / "example_ct_dicom" / "dicom"


def test_a_series_is_one_scan_however_it_is_divided(series, tmp_path):
    divided = tmp_path / "patient"
    for n, file in enumerate(sorted(series.iterdir())[:4]):
        (divided / f"part{n % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, divided / f"part{n % 2}")
    out = tmp_path / "out"
    assert plan_outputs([divided], out) == [(divided, out / "patient.nii.gz")]
    write(divided / "other.nii.gz")  # now it is a folder of scans
    names = [output.relative_to(out).as_posix() for _, output in plan_outputs([divided], out)]
    assert names == ["other.nii.gz", "patient.nii.gz"]


# --- DICOM SEG --------------------------------------------------------------------------------


@pytest.fixture
def whole_series(series, tmp_path):
    """The series with what its anonymisation took and a DICOM SEG refers to."""
    hd, pydicom = pytest.importorskip("highdicom"), pytest.importorskip("pydicom")
    folder = tmp_path / "dicom"
    folder.mkdir()
    study, its_only_series = hd.UID(), hd.UID()
    for file in sorted(series.iterdir()):
        slice_ = pydicom.dcmread(file)
        slice_.SOPClassUID = pydicom.uid.CTImageStorage
        slice_.SOPInstanceUID = hd.UID()
        slice_.StudyInstanceUID = study
        slice_.SeriesInstanceUID = its_only_series
        slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
        slice_.save_as(folder / file.name)
    return folder


def test_a_series_without_identities_is_told_of(series, tmp_path):
    pytest.importorskip("highdicom")
    (result,) = run([series], tmp_path / "out", companions=Companions("binary"))
    assert result.outcome == "failed"
    assert "DICOM SEG" in result.reason
    assert not result.output.exists()


def test_dicom_seg_needs_highdicom(tmp_path, monkeypatch):
    monkeypatch.setattr("train.prediction.dicom_source.find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=r"pip install 'marginalia\[dicom\]'"):
        Companions("binary").check([tmp_path])


def test_dicom_seg_needs_a_series(tmp_path):
    pytest.importorskip("highdicom")
    scan = write(tmp_path / "scan.nii.gz")
    with pytest.raises(TrainingError, match="is not a DICOM series"):
        run([scan], tmp_path / "out", companions=Companions("binary"))
    assert not (tmp_path / "out").exists()


def test_a_dicom_seg_says_which_organ_lies_where(whole_series, tmp_path):
    hd = pytest.importorskip("highdicom")
    volume = read_volume(whole_series)
    classes = np.zeros(volume.voxels.shape, np.uint8)
    left = SPACE.names.index("left_kidney")
    classes[3:7, 100:140, 200:230], classes[5:9, 300:320, 50:90] = 1, left
    write_dicom_seg(classes, SPACE, DicomSource.read(whole_series), tmp_path / "a.seg.dcm")
    seg = hd.seg.segread(tmp_path / "a.seg.dcm")
    assert [s.segment_label for s in seg.SegmentSequence] == list(SPACE.names[1:])
    kidney = seg.get_segment_description(left)
    assert kidney.segmented_property_type.value == "64033007"
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    (side,) = kind.SegmentedPropertyTypeModifierCodeSequence
    assert (side.CodeValue, side.CodeMeaning) == ("7771000", "Left")
    # each frame says where it lies; it must be where its voxels were
    for frame, place in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = place.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = place.PlanePositionSequence[0].ImagePositionPatient
        index = volume.grid.index_xyz([float(p) for p in position])
        np.testing.assert_allclose(index, index.round(), atol=1e-3)
        np.testing.assert_array_equal(frame, classes[round(index[2])] == number)
    assert len(seg.pixel_array) == 8


def test_a_tumours_code_is_of_the_neoplasm_and_its_region_the_organ(whole_series, tmp_path):
    hd = pytest.importorskip("highdicom")
    classes = np.zeros((20, 512, 512), np.uint8)  # a class that is nowhere is still described
    classes[2, 10:20, 10:20] = 1
    write_dicom_seg(classes, TUMOUR, DicomSource.read(whole_series), tmp_path / "a.seg.dcm")
    tumour = hd.seg.segread(tmp_path / "a.seg.dcm").get_segment_description(2)
    assert tumour.segmented_property_category.value == "49755003"
    assert tumour.segmented_property_type.value == "108369006"
    assert [(r.value, r.meaning) for r in tumour.anatomic_regions] == [("15776009", "Pancreas")]


@pytest.mark.parametrize("rows", [(), (3, 9)], ids=["nothing", "with a gap"])
@pytest.mark.parametrize("thickness", ["", None], ids=["empty", "deleted"])
def test_a_dicom_seg_is_readable_whatever_an_anonymiser_took(
    whole_series, tmp_path, thickness, rows
):
    hd, pydicom = pytest.importorskip("highdicom"), pytest.importorskip("pydicom")
    of_type_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber")
    for file in whole_series.iterdir():
        slice_ = pydicom.dcmread(file)
        for name in (*of_type_2, "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
            delattr(slice_, name)
        slice_.SliceThickness = thickness
        if thickness is None:
            del slice_.SliceThickness
        slice_.save_as(file)
    classes = np.zeros((20, 512, 512), np.uint8)
    classes[list(rows), 10:20, 10:20] = 1
    write_dicom_seg(classes, SPACE, DicomSource.read(whole_series), tmp_path / "a.seg.dcm")
    seg = hd.seg.segread(tmp_path / "a.seg.dcm")
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert float(measures.SliceThickness) == 2.0  # the distance of its slices, 3 mm thick
    assert seg.pixel_array.sum() == 100 * len(rows)


def test_a_dicom_seg_that_is_missing_is_made(whole_series, tmp_path):
    pytest.importorskip("highdicom")
    out = tmp_path / "out"
    before = sha256_of(whole_series)
    (first,) = run([whole_series], out, companions=Companions("binary"))
    assert (first.outcome, first.reason) == ("written", "")
    assert [r.outcome for r in run([whole_series], out, companions=Companions("binary"))] == [
        "skipped"
    ]
    (out / "dicom.seg.dcm").unlink()
    assert [r.outcome for r in run([whole_series], out, companions=Companions("binary"))] == [
        "written"
    ]
    assert sha256_of(whole_series) == before


# --- one class per voxel ----------------------------------------------------------------------


def test_no_voxel_has_two_classes_and_none_has_none(tmp_path):
    class Ambiguous(nn.Module):
        """Every class claims every voxel, each a little more than the one before."""

        def forward(self, images):
            return torch.cat([images * 0 + 3 + 0.01 * n for n in range(len(TUMOUR))], 1)

    image = sitk.ReadImage(write(tmp_path / "scan.nii.gz"))
    greedy = Model(Ambiguous(), TUMOUR, SCALE, (3.0, 3.0, 3.0), (8, 16, 16))
    predictor = Predictor(greedy, "cpu", mirror_axes=(1,))
    labels = sitk.GetArrayFromImage(predict_image(predictor, image))
    assert labels.dtype == np.uint8  # one number each: no room for two
    assert sum((labels == n).sum() for n in range(len(TUMOUR))) == labels.size
    assert (labels == 2).all()
