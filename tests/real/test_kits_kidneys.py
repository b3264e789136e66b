"""Left and right on 24 masks of KiTS19, against what is known of them.

The oracle knows the files' layout (slices run from head to foot along the first NIfTI axis, columns
grow to the patient's left) and needs neither the headers' directions nor our components.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from curate.kidneys.gaps import fill_gaps
from curate.kidneys.split import KIDNEY_ML, LEFT, RIGHT, KidneySplit, split_kidneys
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume, read_volume
from tests.oriented import oriented

PAIRS = [0, 3, 4, 7, 9, 10, 15, 18, 20, 23, 31, 40, 41, 55, 64, 77, 102, 120, 144, 160, 180, 199]
COARSE_MM = 3.0


@pytest.fixture(scope="session")
def kits(shared_data: Path) -> Path:
    return shared_data / "kits19"


@dataclass(frozen=True)
class Oracle:
    """Kidneys of a thinned-out mask: masks and volumes, from right to left."""

    steps: tuple[slice, ...]
    kidneys: list[np.ndarray]
    volume_ml: list[float]

    @classmethod
    def of(cls, mask: Volume) -> "Oracle":
        spacing_mm = mask.grid.spacing_mm[::-1]
        steps = tuple(slice(None, None, max(1, int(COARSE_MM / s))) for s in spacing_mm)
        coarse = mask.voxels[steps] > 0
        array, count = ndimage.label(coarse, np.ones((3, 3, 3)))
        voxel_ml = np.prod(spacing_mm) * np.prod([s.step for s in steps]) / 1000
        volume_ml = ndimage.sum_labels(coarse, array, range(1, count + 1)) * voxel_ml
        ids = 1 + np.flatnonzero(volume_ml >= KIDNEY_ML)
        columns = [mean[0] for mean in ndimage.center_of_mass(coarse, array, ids)]
        ids = ids[np.argsort(columns)]
        return cls(steps, [array == i for i in ids], [float(volume_ml[i - 1]) for i in ids])


def split(kits: Path, case: int) -> tuple[Volume, KidneySplit, np.ndarray]:
    mask = read_volume(kits / f"case_{case:05}" / "segmentation.nii.gz")
    result = split_kidneys(mask)
    labels = result.labels.voxels
    assert np.array_equal(labels > 0, mask.voxels > 0)
    return mask, result, labels


def volume_ml(labels: np.ndarray, side: int, grid: Grid) -> float:
    return np.count_nonzero(labels == side) * grid.voxel_ml


def codes(result: KidneySplit) -> set[str]:
    return {finding.code for finding in result.findings}


@pytest.mark.parametrize("case", PAIRS)
def test_pair(kits, case):
    mask, result, labels = split(kits, case)
    oracle = Oracle.of(mask)
    assert len(oracle.kidneys) == 2
    for side, kidney, expected_ml in zip(
        (RIGHT, LEFT), oracle.kidneys, oracle.volume_ml, strict=True
    ):
        assert set(np.unique(labels[oracle.steps][kidney])) == {side}
        assert volume_ml(labels, side, mask.grid) >= KIDNEY_ML
        assert volume_ml(labels, side, mask.grid) == pytest.approx(expected_ml, rel=0.02)
    assert result.method == "pair"
    assert codes(result) <= {"kidney_fragments"}


def test_horseshoe_is_cut_in_two(kits):
    mask, result, labels = split(kits, 151)
    assert len(Oracle.of(mask).kidneys) == 1
    assert result.method == "isthmus"
    assert codes(result) == {"kidneys_fused", "kidney_fragments"}
    left_ml, right_ml = (volume_ml(labels, side, mask.grid) for side in (LEFT, RIGHT))
    assert left_ml + right_ml == pytest.approx(686.05, abs=0.1)
    assert min(left_ml, right_ml) > 200
    # the cut runs through less than a third of the section of a kidney
    columns = [np.count_nonzero(labels == side, axis=(1, 2)) for side in (LEFT, RIGHT)]
    cut = np.flatnonzero(columns[0])[0]
    assert columns[0][cut] < columns[0].max() / 3
    assert columns[0][cut] < columns[1].max() / 3


def bridged(labels: np.ndarray, grid: Grid, thick_mm: float) -> np.ndarray:
    """Join two kidneys by a straight tube between their lower poles."""
    poles = []
    for side in (LEFT, RIGHT):
        z, y, x = np.argwhere(labels == side)[0]
        poles.append(grid.position_mm([x, y, z]))
    start, along = poles[0], poles[1] - poles[0]
    index = np.argwhere(np.ones(labels.shape, bool))[:, ::-1]
    offset = grid.position_mm(index) - start
    share = np.clip(offset @ along / (along @ along), 0, 1)
    gap = np.linalg.norm(offset - share[:, None] * along, axis=1).reshape(labels.shape)
    return (labels > 0) | (gap <= thick_mm / 2)


@pytest.mark.parametrize("thick_mm", [5, 15, 30])
@pytest.mark.parametrize(
    ("case", "spacing_mm", "code"),
    [(64, (2, 2, 5), "RAI"), (64, (5, 3, 3), "ASL"), (18, (4, 4, 2), "LPS")],
)
def test_kidneys_joined_by_a_bridge_are_cut_apart(kits, case, spacing_mm, code, thick_mm):
    _, result, _ = split(kits, case)
    truth = oriented(result.labels, "LPS")
    fine = truth.grid
    size = (np.multiply(fine.size_xyz, fine.spacing_mm) / spacing_mm).astype(int).tolist()
    grid = Grid(tuple(size), spacing_mm, fine.origin_mm, fine.direction_lps)
    place = (grid.origin_mm, grid.spacing_mm, grid.direction_lps, 0, sitk.sitkUInt8)
    how = (sitk.Transform(), sitk.sitkNearestNeighbor, *place)
    known = sitk.GetArrayFromImage(sitk.Resample(fine.image(truth.voxels), size, *how))
    joined = bridged(known, grid, thick_mm)
    found = split_kidneys(oriented(Volume(joined.astype(np.uint8), grid), code))
    labels = oriented(found.labels, "LPS").voxels
    assert (found.method, codes(found) - {"kidney_fragments"}) == ("isthmus", {"kidneys_fused"})
    assert np.array_equal(labels > 0, joined)
    for side in (LEFT, RIGHT):
        assert np.mean(labels[known == side] == side) > 0.99


@pytest.mark.parametrize(
    ("case", "overlap_mm", "code"),
    [(18, 8, "kidneys_fused"), (7, 20, "kidneys_fused"), (7, 0, "kidneys_same_side")],
)
def test_kidneys_moved_together_stay_one_group(kits, case, overlap_mm, code):
    # one below the other, both far from the middle: crossed, and fused where they overlap
    _, result, _ = split(kits, case)
    upright = oriented(result.labels, "LPS")
    truth, grid = upright.voxels, upright.grid
    left, right = (np.argwhere(truth == side) for side in (LEFT, RIGHT))
    right += np.rint(left.mean(axis=0) - right.mean(axis=0)).astype(int)
    right[:, 0] += left[:, 0].min() - right[:, 0].max() + round(overlap_mm / grid.spacing_mm[2])
    index = np.concatenate([left, right])
    index[:, 0] -= min(0, index[:, 0].min())
    fused = np.zeros((index[:, 0].max() + 1, *truth.shape[1:]), np.uint8)
    fused[tuple(index.T)] = 1
    found = split_kidneys(Volume(fused, grid))
    assert found.method == "undecided"
    assert codes(found) - {"kidney_fragments"} == {code}


def test_one_kidney_is_named(kits):
    mask, result, labels = split(kits, 165)
    assert result.method == "single"
    assert "single_kidney" in codes(result)
    assert volume_ml(labels, RIGHT, mask.grid) == pytest.approx(343.4, abs=0.1)
    assert np.flatnonzero((labels > 0).any(axis=(1, 2))).max() < labels.shape[0] / 2


def test_fragment_of_case_18_joins_the_right_kidney(kits):
    mask, result, labels = split(kits, 18)
    array, count = ndimage.label(labels == RIGHT, np.ones((3, 3, 3)))
    assert count == 2
    fragment_ml = np.bincount(array.ravel()).min() * mask.grid.voxel_ml
    assert fragment_ml == pytest.approx(0.9, abs=0.05)
    assert "1 of 0.89 mL" in result.findings[0].reason


def test_both_kidneys_of_case_41_hold_tumour(kits):
    mask, _, labels = split(kits, 41)
    tumour = mask.voxels == 2
    assert set(np.unique(labels[tumour])) == {LEFT, RIGHT}


@pytest.mark.parametrize("case", [15, 23, 64])
def test_sides_agree_with_nibabels_reading_of_the_header(kits, case):
    _, _, labels = split(kits, case)
    affine = nib.load(kits / f"case_{case:05}" / "segmentation.nii.gz").affine
    index = [np.argwhere(labels == side)[:, ::-1].mean(axis=0) for side in (LEFT, RIGHT)]
    left, right = (nib.affines.apply_affine(affine, i) for i in index)
    assert left[0] < right[0] - 50  # RAS: x grows to the right


def test_mirrored_header_swaps_the_sides(kits):
    mask, _, labels = split(kits, 64)
    direction = np.diag([-1, 1, 1]) @ np.reshape(mask.grid.direction_lps, (3, 3))
    mirrored = replace(mask.grid, direction_lps=tuple(direction.ravel().tolist()))
    swapped = split_kidneys(Volume(mask.voxels, mirrored)).labels.voxels
    assert np.array_equal(swapped == LEFT, labels == RIGHT)
    assert np.array_equal(swapped == RIGHT, labels == LEFT)


@pytest.mark.parametrize("case", [4, 9, 40, 41])  # without the filling, 40 and 41 are wrong
def test_kidneys_drawn_in_a_slice_of_each_10_mm_get_the_same_sides(kits, case):
    mask, _, labels = split(kits, case)
    axis = 2 - int(np.abs(mask.grid.steps_mm[2]).argmax())  # of the array, along the body
    every = max(2, round(10 / mask.grid.spacing_mm[2 - axis]))
    drawn = np.arange(mask.voxels.shape[axis]) % every == 0
    hidden = np.broadcast_to(
        np.expand_dims(~drawn, [a for a in range(3) if a != axis]), labels.shape
    )
    sparse = Volume(np.where(hidden, 0, mask.voxels > 0).astype(np.uint8), mask.grid)
    filled = fill_gaps(sparse, Volume(hidden.astype(np.uint8), mask.grid))
    assert np.count_nonzero(filled.voxels) == pytest.approx(np.count_nonzero(mask.voxels), rel=0.05)
    seen = sparse.voxels > 0
    np.testing.assert_array_equal(split_kidneys(filled).labels.voxels[seen], labels[seen])
