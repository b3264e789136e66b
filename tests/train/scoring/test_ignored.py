"""Voxels that nobody looked at: in no metric, and no surface of their own."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from manifests.classes.label_space import IGNORED
from tests.train.conftest import FULL, SIZE_ZYX, SPACING_MM, write_case
from train.scoring.case_scores import score_case
from train.scoring.metrics import measure
from train.scoring.surfaces import surface

NAMES = ("background", "liver", "spleen")
SEEN = np.arange(SIZE_ZYX[0]) % 5 == 2  # not the first slice: the volume ends there


@pytest.fixture
def case(tmp_path):
    return write_case(tmp_path, "both/0", merged=FULL, split="test", seed=0)


def boxes(shift=0):
    """Two bars along z, of one section in every slice."""
    volume = np.zeros(SIZE_ZYX, np.uint8)
    volume[:, 4:14, 3 + shift : 13 + shift] = 1
    volume[:, 16:20, 5 + shift : 9 + shift] = 2
    return volume


def hidden(volume, value=IGNORED):
    changed = volume.copy()
    changed[~SEEN] = value
    return changed


def in_plane(prediction, truth):
    """Distances between the outlines in one slice, both ways, in mm."""
    points = [np.argwhere(m & ~binary_erosion(m)) * SPACING_MM[0] for m in (prediction, truth)]
    between = cdist(*points)
    return between.min(1), between.min(0)


def test_scores_are_those_of_the_voxels_that_were_looked_at(case):
    scores = score_case(boxes(2), hidden(boxes()), case, NAMES)
    for score, n in zip(scores, (1, 2), strict=True):
        truth, prediction = (boxes(shift)[SEEN] == n for shift in (0, 2))
        both = np.count_nonzero(truth & prediction)
        assert score.dice == pytest.approx(2 * both / (truth.sum() + prediction.sum()))
        assert score.truth_ml == pytest.approx(truth.sum() * np.prod(SPACING_MM) / 1000)
        assert score.prediction_ml == pytest.approx(prediction.sum() * np.prod(SPACING_MM) / 1000)
        one, other = in_plane(prediction[0], truth[0])
        assert score.hausdorff_mm == pytest.approx(max(one.max(), other.max()))
        assert score.hd95_mm == pytest.approx(max(np.percentile(d, 95) for d in (one, other)))
        assert score.assd_mm == pytest.approx(np.concatenate([one, other]).mean())


def test_what_is_predicted_where_nobody_looked_changes_nothing(case):
    truth = hidden(boxes())
    noise = np.random.default_rng(0).integers(0, 3, SIZE_ZYX).astype(np.uint8)
    noise[SEEN] = boxes(1)[SEEN]
    assert score_case(noise, truth, case, NAMES) == score_case(boxes(1), truth, case, NAMES)


def test_a_class_that_was_nowhere_looked_at_is_absent(case):
    truth = boxes()
    truth[truth == 2] = IGNORED
    liver, spleen = score_case(boxes(), truth, case, NAMES)
    assert (liver.outcome, liver.dice) == ("compared", 1.0)
    assert (spleen.outcome, spleen.prediction_ml) == ("absent", 0.0)


def test_the_end_of_a_mask_at_ignored_voxels_is_no_surface():
    mask = np.zeros((3, 7, 7), bool)
    mask[1, 2:5, 2:5] = True
    ignored = np.ones_like(mask)
    ignored[1] = False
    ring = mask.copy()
    ring[1, 3, 3] = False
    np.testing.assert_array_equal(surface(mask, ignored), ring)
    np.testing.assert_array_equal(surface(mask, np.zeros_like(mask)), surface(mask))


def test_a_mask_that_fills_all_that_was_looked_at_still_has_a_surface():
    mask, ignored = np.zeros((2, 5, 7, 7), bool)
    mask[2, 2:5, 2:5] = True
    ignored[:] = ~mask
    np.testing.assert_array_equal(surface(mask, ignored), mask)
    found = measure(mask, mask, spacing_mm=(1.0, 1.0, 1.0), ignored=ignored)
    assert (found["dice"], found["hausdorff_mm"], found["nsd"]) == (1.0, 0.0, 1.0)
