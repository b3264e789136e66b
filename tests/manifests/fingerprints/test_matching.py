"""Matching many: every part is found, no other pair is, and common codes say nothing."""

from dataclasses import replace

import numpy as np

from manifests.fingerprints.fingerprint import Fingerprint
from manifests.fingerprints.keypoints import Keypoints
from manifests.fingerprints.matching import LEAST_VOTES, find_matches
from tests.manifests.fingerprints.simulated_fingerprints import simulated

NOTHING = Keypoints(
    (9, 9, 9), np.zeros((0, 3), np.int64), np.zeros(0, np.uint8), np.zeros(0, np.uint64)
)


def grid_of(shift, count, frame=0):
    """A fingerprint of keypoints on a line, the same but for a shift."""
    position = np.array([[10 + 3 * n, 20, 30] for n in range(count)]) + shift
    code = np.arange(count, dtype=np.uint64) + 1000
    keypoints = Keypoints((100, 100, 100), position, np.full(count, frame, np.uint8), code)
    return Fingerprint(keypoints, NOTHING)


def test_parts_among_many_are_found_and_nothing_else():
    fingerprints, related = simulated(600)
    assert {(m.first, m.second) for m in find_matches(fingerprints)} == related


def test_nothing_matches_nothing():
    assert find_matches([]) == []
    assert find_matches([Fingerprint(NOTHING, NOTHING)] * 3) == []


def test_as_many_votes_as_it_takes():
    enough, few = LEAST_VOTES, LEAST_VOTES - 1
    (match,) = find_matches([grid_of((0, 0, 0), enough), grid_of((5, -3, 2), enough)])
    assert (match.votes, match.shift) == (enough, (5, -3, 2))
    assert match.common == (95 * 97 * 98 / 1e6,) * 2
    assert find_matches([grid_of((0, 0, 0), few), grid_of((5, -3, 2), few)]) == []


def test_votes_for_other_shifts_or_turns_do_not_add_up():
    one = grid_of((0, 0, 0), 12)
    scattered = grid_of(np.arange(12)[:, None] * (3, 0, 0), 12)
    assert find_matches([one, scattered]) == []
    half = grid_of((0, 0, 0), 6)
    frames = np.array([0, 0, 0, 1, 1, 1], np.uint8)
    turned = replace(half, on_voxels=replace(half.on_voxels, frame=frames))
    assert find_matches([half, turned]) == []


def test_one_keypoint_has_one_vote():
    """Many keypoints of one code near each other are no evidence."""
    keypoints = grid_of((0, 0, 0), 1).on_voxels
    near = replace(
        keypoints,
        position=np.repeat(keypoints.position, 8, axis=0),
        frame=np.zeros(8, np.uint8),
        code=np.repeat(keypoints.code, 8),
    )
    assert find_matches([Fingerprint(near, NOTHING), Fingerprint(keypoints, NOTHING)]) == []


def test_codes_that_everybody_has_say_nothing():
    assert find_matches([grid_of((0, 0, 0), 8) for _ in range(300)]) == []
