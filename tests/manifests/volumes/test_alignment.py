"""A label that was cropped on its image's grid is put back where it was cut out, or set aside."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from curate.labels.label_files import read_map
from manifests.ground.findings import SetAsideError
from manifests.volumes.alignment import align
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume
from tests.curate.defects import AFFINE, SHAPE, label, write_nifti

LPS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
SIZE = (24, 20, 12)  # of `label()`
X, Y, Z = LPS[:3, 3].tolist()
IMAGE = Grid(SIZE, (0.8, 0.8, 2.5), (X, Y, Z))
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
OBLIQUE = Grid(SIZE, (0.8, 0.8, 2.5), (-30.0, 12.5, -400.0), tuple(TURN.ravel()))
PLAIN = Path("label.nii.gz")
BOX = (slice(2, 9), slice(6, 13), slice(8, 16))  # z, y, x; around all of `label()`


def cropped(image, box=BOX, voxels=None):
    start = [s.start for s in box[::-1]]
    stop = [s.stop for s in box[::-1]]
    whole = label() if voxels is None else voxels
    return Volume(whole[box].copy(), image.part(start, stop, (1, 1, 1)))


def moved(volume, by_voxels):
    origin = volume.grid.position_mm(by_voxels)
    grid = Grid(
        volume.grid.size_xyz, volume.grid.spacing_mm, tuple(origin), volume.grid.direction_lps
    )
    return Volume(volume.voxels, grid)


def reason(volume, image=IMAGE, path=PLAIN):
    with pytest.raises(SetAsideError) as error:
        align(volume, image, path)
    assert error.value.finding.code == "grid_mismatch"
    return error.value.finding.reason


@pytest.mark.parametrize("image", [IMAGE, OBLIQUE], ids=["straight", "oblique"])
def test_a_crop_returns_to_its_place(image):
    voxels, findings = align(cropped(image), image, PLAIN)
    assert np.array_equal(voxels, label())
    (finding,) = findings
    assert finding.code == "label_cropped"
    assert "8 x 7 x 7 voxels" in finding.reason
    assert "(8, 6, 2)" in finding.reason


@pytest.mark.parametrize("name", ["label.nii.gz", "label.nrrd", "label.mha", "label.seg.nrrd"])
def test_in_every_format(tmp_path, name):
    volume, path = cropped(OBLIQUE), tmp_path / name
    if name.endswith(".nii.gz"):
        flip = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine = flip @ volume.grid.affine_lps
        write_nifti(path, volume.voxels, sform=affine, qform=affine)
    else:
        sitk.WriteImage(volume.grid.image(volume.voxels), str(path), useCompression=True)
    voxels, findings = read_map(path, OBLIQUE, {1, 2})
    assert np.array_equal(voxels, label())
    assert {f.code for f in findings} - {"axes_oblique"} <= {"label_cropped", "grid_rounding"}
    assert "label_cropped" in {f.code for f in findings}


def test_a_crop_whose_axes_run_the_other_way():
    volume = cropped(IMAGE)
    last = volume.grid.position_mm(np.subtract(volume.grid.size_xyz, 1))
    turned = Grid(volume.grid.size_xyz, IMAGE.spacing_mm, tuple(last), tuple(-np.eye(3).ravel()))
    voxels, findings = align(Volume(volume.voxels[::-1, ::-1, ::-1], turned), IMAGE, PLAIN)
    assert np.array_equal(voxels, label())
    assert [f.code for f in findings] == ["label_reoriented", "label_cropped"]


@pytest.mark.parametrize("off", [(0.5, 0, 0), (0, 0.2, 0), (0, 0, 0.15)])
def test_a_crop_between_the_voxels_is_set_aside(off):
    assert "no part of it in whole voxels" in reason(moved(cropped(IMAGE), off))


def test_a_crop_with_other_voxels_is_set_aside():
    grid = cropped(IMAGE).grid
    finer = Grid(grid.size_xyz, (0.7, 0.8, 2.5), grid.origin_mm, grid.direction_lps)
    assert "no part of it" in reason(Volume(cropped(IMAGE).voxels, finer))


def test_rounding_is_noted():
    voxels, findings = align(moved(cropped(IMAGE), (0.01, 0, 0)), IMAGE, PLAIN)
    assert np.array_equal(voxels, label())
    assert [f.code for f in findings] == ["grid_rounding", "label_cropped"]


@pytest.mark.parametrize("by", [(-12, 0, 0), (0, 10, 0), (0, 0, 100)])
def test_what_is_drawn_outside_of_the_image_is_refused_and_what_is_not_is_cut(by):
    assert "lie outside of the image" in reason(moved(cropped(IMAGE), by))
    padded = np.zeros((30, 40, 50), np.uint8)
    padded[5:17, 10:30, 20:44] = label()
    grid = IMAGE.part((-20, -10, -5), (30, 30, 25), (1, 1, 1))
    voxels, _ = align(Volume(padded, grid), IMAGE, PLAIN)
    assert np.array_equal(voxels, label())


def test_a_crop_at_the_first_voxel_is_believed_of_3d_slicer_alone():
    corner = cropped(IMAGE, (slice(0, 9), slice(0, 13), slice(0, 16)))
    assert "its place was lost is not known" in reason(corner)
    voxels, _ = align(corner, IMAGE, Path("a.seg.nrrd"))
    assert np.array_equal(voxels, label())


def test_a_segmentation_without_a_voxel_is_empty_wherever_it_lies():
    nothing = Volume(np.zeros((1, 1, 1), np.uint8), Grid((1, 1, 1), (1.0, 1.0, 1.0)))
    voxels, findings = align(nothing, IMAGE, Path("a.seg.nrrd"))
    assert voxels.shape == SHAPE
    assert not voxels.any()
    assert findings == []
    assert reason(nothing)
