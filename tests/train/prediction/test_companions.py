"""What is written beside a label map: of the same network and scan, or made again."""

import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from torch import nn

from manifests.classes.label_space import load_label_space
from manifests.volumes.readers.repairs import Repairs
from tests.train.prediction.test_predict import Threshold, predictor, write
from tests.train.prediction.test_rtstruct import SPACE, drawn, write_series
from train.prediction.companions import Companions
from train.prediction.dicom_seg import write_dicom_seg
from train.prediction.dicom_source import DicomSource
from train.prediction.predict import predict_files
from train.prediction.scan import find_scans

PROBABILITIES = Companions(probabilities=True)


class Untouched(nn.Module):
    def forward(self, hu):
        raise AssertionError(hu.shape)


def outcomes(scans, out, companions=PROBABILITIES, network=None, **options):
    found = list(predict_files(predictor(network), scans, out, companions=companions, **options))
    assert not [r.reason for r in found if r.outcome == "failed"]
    return [r.outcome for r in found]


@pytest.mark.parametrize("grid", ["feet first, mirrored", "doubly oblique"])
def test_probabilities_lie_where_their_affine_says(tmp_path, grid):
    """Interpolated at the scan's voxels by another program, they give the label map."""
    scan = write(tmp_path / "scan.nii.gz", grid)
    assert outcomes([scan], tmp_path / "out") == ["written"]
    labels = nib.nifti1.load(tmp_path / "out" / "scan.nii.gz")
    with np.load(tmp_path / "out" / "scan.probabilities.npz", allow_pickle=False) as file:
        probs, affine, names = file["probabilities"], file["affine"], file["classes"].tolist()
    assert (probs.dtype, probs.ndim, affine.shape) == (np.float16, 4, (4, 4))
    assert names == list(load_label_space("pancreas_tumour").names)
    np.testing.assert_allclose(probs.sum(0, dtype=np.float32), 1, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (1.5, 1.5, 3.0))
    index = (
        np.linalg.inv(affine)
        @ labels.affine
        @ np.vstack([np.indices(labels.shape).reshape(3, -1), np.ones(np.prod(labels.shape))])
    )
    values = [map_coordinates(p.astype(float), index[:3], order=1, mode="nearest") for p in probs]
    expected = np.argmax(values, axis=0).reshape(labels.shape)
    assert np.mean(expected == np.asarray(labels.dataobj)) > 0.9999
    assert (expected == 2).any()


def test_what_is_missing_or_of_another_network_is_made_again(tmp_path):
    scan, out = write(tmp_path / "scan.nii.gz"), tmp_path / "out"
    file = out / "scan.probabilities.npz"
    assert outcomes([scan], out, Companions()) == ["written"]
    assert not file.exists()
    assert outcomes([scan], out) == ["written"]
    assert outcomes([scan], out) == ["skipped"]
    for damaged in (file.read_bytes()[:1000], b""):
        file.write_bytes(damaged)
        assert outcomes([scan], out) == ["written"]
    # another network's label map, beside which nothing was wanted
    other = Threshold(shift_hu=50.0)
    assert outcomes([scan], out, Companions(), other, overwrite=True) == ["written"]
    assert outcomes([scan], out, network=other) == ["written"]
    assert outcomes([scan], out, network=other) == ["skipped"]
    assert [p.name for p in out.glob(".*")] == []


def test_dicom_of_another_type_is_made_again_and_is_no_scan(tmp_path):
    pytest.importorskip("highdicom")
    pydicom = pytest.importorskip("pydicom")
    series = write_series(tmp_path / "scans" / "ct")
    out = tmp_path / "scans" / "out"
    every = [Companions("binary"), Companions("labelmap"), Companions("labelmap", rtstruct=True)]
    for wanted in every:
        assert outcomes([series], out, wanted) == ["written"]
        assert outcomes([series], out, wanted) == ["skipped"]
    (seg,) = out.rglob("*.seg.dcm")
    assert pydicom.dcmread(seg).SegmentationType == "LABELMAP"
    assert len([*out.rglob("*.rtstruct.dcm")]) == 1
    found = find_scans(tmp_path / "scans", leave_out=tmp_path / "elsewhere")
    assert found == [(tmp_path / "scans", "scans")]  # the one series below it


@pytest.mark.parametrize(
    ("move", "wanted"), [("tilted", Companions("binary")), ("uneven", Companions(rtstruct=True))]
)
def test_a_scan_that_is_resampled_is_refused_before_it_is_segmented(tmp_path, move, wanted):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    series = write_series(tmp_path / "ct")
    paths = sorted(series.iterdir())
    for k in range(24):
        one = pydicom.dcmread(paths[k % len(paths)])
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.{k}"
        y, z = (1.5 * k, 3 * k) if move == "tilted" else (0, 3 * k + 3 * max(0, k - 12))
        one.ImagePositionPatient, one.InstanceNumber = [-20, y, z], k + 1
        one.save_as(series / f"new_{k:03}.dcm")
    for path in paths:
        path.unlink()
    asked = replace(predictor(Untouched()), repairs=Repairs(resample_uneven=True))
    (found,) = predict_files(asked, [series], tmp_path / "out", companions=wanted)
    assert found.outcome == "failed"
    assert re.search(r"were resampled to a grid; leave out --(dicom-seg|rtstruct)$", found.reason)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_both_types_hold_the_same_voxels(tmp_path, kind):
    hd = pytest.importorskip("highdicom")
    series = write_series(tmp_path / "ct")
    write_dicom_seg(drawn(), SPACE, DicomSource.read(series), tmp_path / "a.seg.dcm", kind=kind)
    seg = hd.seg.segread(tmp_path / "a.seg.dcm")
    found = seg.get_volume(combine_segments=True)
    heights = found.affine[2, 3] + found.affine[2, 0] * np.arange(4)  # mm, of 3 mm slices from -50
    slices = np.rint((heights + 50) / 3).astype(int)
    assert sorted(slices) == [1, 2, 3, 4]  # those without a voxel are left out
    assert np.array_equal(found.array, drawn()[slices])
    assert [s.segment_label for s in seg.SegmentSequence][-5:] == list(SPACE.names[1:])
