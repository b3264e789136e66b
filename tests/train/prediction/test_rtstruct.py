"""An RTSTRUCT says the same of every voxel as the label map: to us, and to a program of others."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.path import Path as Outline

from manifests.classes.label_space import load_label_space
from manifests.ground.errors import TrainingError
from manifests.volumes.volume import read_volume
from train.prediction.dicom_source import DicomSource
from train.prediction.rtstruct import write_rtstruct

SPACE = load_label_space("abdomen5")
SHAPE = (6, 40, 50)
TILTED = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)  # rows to the left and back, columns to the feet


def write_series(folder, *, spacing=(0.7, 1.3), directions=(1, 0, 0, 0, 1, 0), without=()):
    pydicom, uid = pytest.importorskip("pydicom"), pytest.importorskip("pydicom.uid")
    folder.mkdir(parents=True)
    study, series, frame = (uid.generate_uid() for _ in range(3))
    noise = np.random.default_rng(0)
    normal = np.cross(directions[:3], directions[3:])
    for k in range(SHAPE[0]):
        one = pydicom.Dataset()
        one.SOPClassUID, one.SOPInstanceUID = uid.CTImageStorage, uid.generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.PatientName, one.PatientID, one.Modality, one.SeriesNumber = "A^B", "p1", "CT", 1
        one.ImageType, one.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        one.ImagePositionPatient = [f"{v:.6f}" for v in (-20, 13, -50) + normal * 3 * k]
        one.ImageOrientationPatient, one.PixelSpacing = list(directions), list(spacing)
        one.SliceThickness, one.Rows, one.Columns = 3, *SHAPE[1:]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = noise.normal(0, 300, SHAPE[1:]).astype(np.int16).tobytes()
        for name in without:
            delattr(one, name)
        one.ensure_file_meta()
        one.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        one.save_as(folder / f"{k:03}.dcm", enforce_file_format=True)
    return folder


def drawn():
    """A disc with a hole and an island in it, and two pieces of which one is a pixel."""
    y, x = np.indices(SHAPE[1:])
    classes = np.zeros(SHAPE, np.uint8)
    for z in range(1, 5):
        classes[z][(y - 18) ** 2 + (x - 22) ** 2 < 14**2] = 1
        classes[z, 14:21, 17:26], classes[z, 17, 20:23] = 0, 2
        classes[z, 35, 44], classes[z, 36:38, 2 + z : 8] = 3, 3
    return classes


def read_back(path, series):
    """Class ids of a structure set: centres of voxels in contours, by physical position."""
    pydicom, grid = pytest.importorskip("pydicom"), read_volume(series).grid
    x, y = (np.arange(n) for n in grid.size_xyz[:2])
    centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    classes = np.zeros(grid.size_xyz[::-1], np.uint8)
    for roi in pydicom.dcmread(path).ROIContourSequence:
        for contour in roi.get("ContourSequence", ()):
            points = grid.index_xyz(np.reshape(np.array(contour.ContourData, float), (-1, 3)))
            z = points[:, 2].round().astype(int)
            assert np.ptp(points[:, 2]) < 1e-3
            assert set(z) == {z[0]}
            inside = Outline(points[:, :2]).contains_points(centres).reshape(len(y), len(x))
            assert not classes[z[0]][inside].any()
            classes[z[0]][inside] = roi.ReferencedROINumber
    return classes


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.3), (1.3, 0.7)])
@pytest.mark.parametrize("directions", [(1, 0, 0, 0, 1, 0), TILTED], ids=["axial", "tilted"])
def test_every_voxel_comes_back(tmp_path, spacing, directions):
    series = write_series(tmp_path / "ct", spacing=spacing, directions=directions)
    write_rtstruct(drawn(), SPACE, DicomSource.read(series), tmp_path / "a.rtstruct.dcm")
    assert np.array_equal(read_back(tmp_path / "a.rtstruct.dcm", series), drawn())


def test_structures_have_names_codes_and_colours(tmp_path):
    pydicom, series = pytest.importorskip("pydicom"), write_series(tmp_path / "ct")
    write_rtstruct(
        drawn(), SPACE, DicomSource.read(series), tmp_path / "a.dcm", note="made for a test"
    )
    found, ct = pydicom.dcmread(tmp_path / "a.dcm"), pydicom.dcmread(next(series.iterdir()))
    assert found.StructureSetDescription == "made for a test"
    assert [s.ROIName for s in found.StructureSetROISequence] == list(SPACE.names[1:])
    assert (found.StudyInstanceUID, found.PatientID) == (ct.StudyInstanceUID, "p1")
    (frame,) = found.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == ct.FrameOfReferenceUID
    (referenced,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == ct.SeriesInstanceUID
    assert len(referenced.ContourImageSequence) == SHAPE[0]
    codes = [s.RTROIIdentificationCodeSequence[0] for s in found.RTROIObservationsSequence]
    assert (codes[0].CodeValue, codes[0].CodingSchemeDesignator) == ("10200004", "SCT")
    lengths = [len(r.get("ContourSequence", ())) for r in found.ROIContourSequence]
    assert lengths == [4, 4, 8, 0, 0]


def test_slices_without_identities_are_told_of(tmp_path):
    series = write_series(tmp_path / "ct", without=["FrameOfReferenceUID"])
    with pytest.raises(TrainingError, match=r"an RTSTRUCT.*anonymiser.*--rtstruct"):
        write_rtstruct(drawn(), SPACE, DicomSource.read(series), tmp_path / "a.dcm")
    assert [p.name for p in tmp_path.iterdir()] == ["ct"]


def test_plastimatch_reads_the_same_voxels(tmp_path):
    program = shutil.which("plastimatch") or Path(sys.executable).with_name("plastimatch")
    if not Path(program).exists():
        pytest.skip("Plastimatch is not installed")
    series = write_series(tmp_path / "ct")
    write_rtstruct(drawn(), SPACE, DicomSource.read(series), tmp_path / "a.dcm")
    told = ["--input", tmp_path / "a.dcm", "--referenced-ct", series, "--prefix-format", "nrrd"]
    told += ["--output-prefix", tmp_path / "read"]
    subprocess.run([program, "convert", *told], check=True, capture_output=True)
    for n, name in enumerate(SPACE.names[1:4], start=1):
        found = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "read" / f"{name}.nrrd"))
        assert np.array_equal(found > 0, drawn() == n)
