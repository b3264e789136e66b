"""Labels of real CTs: right ones are never suspected, displaced ones always, by how much."""

import numpy as np
import pytest
from scipy import ndimage

from curate.suspicion.coarse import CoarseCase
from curate.suspicion.judgement import LEAST_STRAY_ML, judge_labels
from curate.suspicion.outliers import MOST_Z, robust_z
from curate.suspicion.outlines import label_ends, largest_stray_piece
from manifests.anatomy.torso import find_torso
from manifests.classes.label_space import load_label_space
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume
from tests.real.labelled_ct import harmonised_ct, kidney_masks

SPACE = load_label_space("abdomen13")
MERGED = tuple(range(len(SPACE)))
LIVER, SPLEEN, LEFT = (SPACE.names.index(name) for name in ("liver", "spleen", "left_kidney"))


@pytest.fixture(scope="module")
def scans(shared_data):
    """Image and class ids by name and spacing, read once."""
    read = {}

    def get(name, spacing_mm=(1.5, 1.5, 3.0)):
        if (name, spacing_mm) not in read:
            folder = shared_data / "totalsegmentator" / name
            read[name, spacing_mm] = harmonised_ct(folder, SPACE, spacing_mm)
        return read[name, spacing_mm]

    return get


def judge(image, ids):
    return judge_labels(image, ids, space=SPACE, merged=MERGED, torso=find_torso(image))


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 3.0), (6.0, 6.0, 6.0), (0.8, 0.8, 5.0)])
@pytest.mark.parametrize("name", ["example_ct", "example_ct_sm", "example_ct_dicom"])
def test_right_labels_have_no_finding(scans, name, spacing_mm):
    assert judge(*scans(name, spacing_mm)).findings == ()


@pytest.mark.parametrize("slices", [6, 14, 30])
def test_slabs_of_right_labels_have_no_finding(scans, slices):
    image, ids = scans("example_ct")
    for first in range(0, len(ids) - slices + 1, 12):
        stop = first + slices
        grid = image.grid.part((0, 0, first), (*image.grid.size_xyz[:2], stop), (1, 1, 1))
        part = Volume(image.voxels[first:stop], grid)
        assert judge(part, ids[first:stop]).findings == ()


def test_noise_and_offsets_make_no_finding(scans):
    image, ids = scans("example_ct")
    noise = np.random.default_rng(0).normal(0.0, 50.0, ids.shape)
    for hu in (image.voxels + noise, image.voxels + 40, image.voxels - 40):
        assert judge(Volume(hu.astype(np.int16), image.grid), ids).findings == ()


@pytest.mark.parametrize("voxels_zyx", [(10, 0, 0), (0, 14, 0), (0, 0, -20), (-4, 8, 8)])
@pytest.mark.parametrize("n", [LIVER, SPLEEN, LEFT])
def test_a_displacement_is_found_to_a_voxel_of_3_mm(scans, n, voxels_zyx):
    image, ids = scans("example_ct")
    there = ndimage.shift(ids == n, voxels_zyx, order=0)
    wrong = np.where(there, n, np.where(ids == n, 0, ids)).astype(np.uint8)
    judged = judge(image, wrong)
    assert "label_misplaced" in {f.code for f in judged.findings}
    expected_mm = -np.array(voxels_zyx)[::-1] * image.grid.spacing_mm
    np.testing.assert_allclose(judged.numbers[n].border.offset_mm, expected_mm, atol=3.0)


def test_the_places_of_organs_in_the_body_are_those_of_people(scans):
    numbers = judge(*scans("example_ct")).numbers
    right_to_left = {n: numbers[n].place[0] for n in (LIVER, SPLEEN, LEFT)}
    assert 0.2 < right_to_left[LIVER] < 0.4
    assert 0.65 < right_to_left[LEFT] < 0.8
    assert 0.75 < right_to_left[SPLEEN] < 0.9


@pytest.mark.slow
def test_no_real_kidney_is_cut_scattered_or_an_outlier(shared_data):
    volumes_ml = []
    for mask in kidney_masks(shared_data, (1.5, 1.5, 3.0)):
        z, y, x = mask.shape
        grid = Grid((x, y, z), (1.5, 1.5, 3.0))
        case = CoarseCase.of(Volume(np.zeros(mask.shape, np.int16), grid), mask)
        for side in (1, 2):
            if (part := case.part((side,))) is None:
                continue
            stray = largest_stray_piece(case, part)
            assert label_ends(case, part).abruptness < 1
            assert stray is None or stray.volume_ml < LEAST_STRAY_ML
            volumes_ml.append(part.mask.sum() * case.grid.voxel_ml)
    assert np.abs(robust_z(np.log(volumes_ml), 0.15)).max() < MOST_Z
