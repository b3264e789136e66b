"""Labels in DICOM of scans that are resampled: drawn on slices that the grid does not have."""

import numpy as np
import pytest

from curate.cases.reading import read_case
from curate.datasets.discover import discover
from curate.drafts.label_values import read_label_values
from manifests.volumes.readers.repairs import Repairs
from tests.curate.dicom_files import (
    ORIGIN_MM,
    SPACING_MM,
    ct_series,
    segment,
    write_rtstruct,
    write_seg,
)
from tests.curate.dicom_labels.test_segmentation import recipe

LIVER = '"liver" = ["liver", "liver_tumour"]'
SIZE = 20, 24  # x, y
BOX = np.s_[6:14, 5:12]  # y, x: on all slices but the ends
OUTLINE = np.array([(4.6, 5.6), (11.4, 5.6), (11.4, 13.4), (4.6, 13.4)])
EVEN = np.arange(0, 30, 3.0)
TWICE = np.array([*np.arange(0, 20, 2.0), *np.arange(20, 40, 4.0)])  # every slice is on the grid
COARSE = np.array([*np.arange(0, 18, 3.0), *np.arange(18, 60, 7.0)])  # slices lie between layers

pytestmark = pytest.mark.usefixtures("_in_this_process")


def scan(folder, depths, slope):
    """Write a series whose slices are shifted along y by `slope` per mm."""
    noise = np.random.default_rng(0).normal(40, 10, (len(depths), *SIZE[::-1])).astype(np.int16)
    written = ct_series(folder, noise)
    for k, (one, depth) in enumerate(zip(written, depths, strict=True)):
        x, y, z = ORIGIN_MM
        one.ImagePositionPatient = [x, y + slope * depth, z + depth]
        one.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return written


def draw_seg(path, sources):
    mask = np.zeros((len(sources), *SIZE[::-1]), np.uint8)
    mask[1:-1][:, *BOX] = 1
    write_seg(path, sources, mask, [segment(1, "liver")])


def draw_rtstruct(path, sources):
    flat = np.c_[OUTLINE * SPACING_MM[:2], np.zeros(4)]
    contours = [np.array(one.ImagePositionPatient, float) + flat for one in sources[1:-1]]
    write_rtstruct(path, sources, {"liver": contours})


@pytest.mark.parametrize("draw", [draw_seg, draw_rtstruct])
@pytest.mark.parametrize(
    ("depths", "slope"), [(EVEN, 0.3), (EVEN, -0.37), (TWICE, 0), (COARSE, 0), (COARSE, 0.2)]
)
def test_a_label_is_resampled_with_its_slices(tmp_path, draw, depths, slope):
    written = scan(tmp_path / "sent" / "p1" / "ct", depths, slope)
    draw(tmp_path / "sent" / "p1" / "label.dcm", written)
    told = recipe(tmp_path, LIVER)
    (case,) = discover(told, tmp_path / "sent")
    image, label, _ = read_case(case, told.values, Repairs(resample_uneven=True))
    assert label.voxels.shape == image.voxels.shape
    height, pixels = label.grid.spacing_mm[2] * np.arange(len(label.voxels)), 8 * 7
    off = np.abs(height[:, None] - depths)
    nearest = len(depths) - 1 - off[:, ::-1].argmin(axis=1)  # the upper one of two
    drawn = (nearest > 0) & (nearest < len(depths) - 1)
    np.testing.assert_array_equal((label.voxels > 0).sum(axis=(1, 2)), pixels * drawn)
    for z in np.flatnonzero(drawn):
        indices = np.argwhere(label.voxels[z])
        middle = label.grid.position_mm([*indices.mean(axis=0)[::-1], z])
        expected = np.add(ORIGIN_MM, (8 * 1.5, 9.5 * 2 + slope * depths[nearest[z]], height[z]))
        np.testing.assert_allclose(middle, expected, atol=1.01)  # half a pixel


def test_a_draft_counts_the_voxels_of_a_tilted_scan(tmp_path):
    draw_seg(
        tmp_path / "sent" / "p1" / "label.dcm",
        scan(tmp_path / "sent" / "p1" / "ct", EVEN, 0.3),
    )
    (case,) = discover(recipe(tmp_path, LIVER), tmp_path / "sent")
    found = read_label_values([case])
    assert found.problems == ()
    assert found.volumes_ml["liver"] == pytest.approx([8 * 8 * 7 * 9 / 1000])
