"""Keypoints and fingerprints: what a copy may have suffered, and what it may not be."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from manifests.fingerprints import extrema, keypoints
from manifests.fingerprints.fingerprint import Fingerprint
from manifests.fingerprints.keypoints import BORDER, FRAMES, find_keypoints
from manifests.fingerprints.matching import find_matches
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume


def draw(seed, size=(48, 52, 56)):
    """A volume of blobs, unlike any other: smooth noise of 200 HU, whole numbers."""
    noise = np.random.default_rng(seed).normal(size=size)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return np.rint(smooth / max(smooth.std(), 0.01) * 200).astype(np.int16)


@pytest.fixture(scope="module")
def hu():
    return draw(0)


def image_of(hu, spacing_mm=(1.0, 1.0, 1.0)):
    return Volume(hu, Grid(hu.shape[::-1], spacing_mm))


def match_of(first, second):
    """The match of two arrays whose headers are lost; None for none."""
    found = find_matches([Fingerprint.of(image_of(hu)) for hu in (first, second)])
    return found[0] if found else None


def turned(hu, turn):
    """The array whose axis i runs where row i of `turn` says."""
    axes = np.abs(turn).argmax(axis=1)
    return np.flip(hu.transpose(axes), np.flatnonzero(turn.sum(axis=1) < 0).tolist())


@pytest.mark.parametrize("number", range(48))
def test_every_turn_and_flip_is_found_and_told(hu, number):
    turn = FRAMES[number]
    match = match_of(hu, turned(hu, turn))
    assert match.votes >= 120
    assert match.turn == tuple(map(tuple, turn.tolist()))
    corner = np.where(turn.sum(axis=1) < 0, np.abs(turn) @ hu.shape - 1, 0)
    assert np.abs(np.subtract(match.shift, corner)).max() <= 1
    assert match.whole


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda hu: hu + 1024, 128),
        (lambda hu: hu.astype(np.float64) + 0.3, 128),
        (lambda hu: hu.clip(-500, 500), 100),
        (lambda hu: hu.clip(-300, 400), 30),
        (lambda hu: hu + np.random.default_rng(1).normal(0, 10, hu.shape), 40),
        (lambda hu: ndimage.gaussian_filter(hu.astype(float), 0.5), 20),
    ],
)
def test_intensities_may_change(hu, change, least):
    match = match_of(hu, change(hu))
    assert match.votes >= least
    assert match.whole


@pytest.mark.parametrize(
    "box",
    [
        np.s_[20:36],
        np.s_[:, 10:40, 12:50],
        np.s_[::-1, 5:45, 5:45],
        np.s_[30:],
    ],
)
def test_a_part_is_found(hu, box):
    part = hu[box]
    match = match_of(hu, part)
    assert match.votes >= 6
    assert not match.whole
    assert match.common[0] == pytest.approx(part.size / hu.size, rel=0.1)
    assert match.common[1] == pytest.approx(1.0, abs=0.1)


def test_halves_that_overlap_are_found_and_halves_that_do_not_are_not(hu):
    assert match_of(hu[:32], hu[16:]).common == pytest.approx((0.5, 0.5), abs=0.1)
    assert match_of(hu[:24], hu[24:]) is None


@pytest.mark.parametrize("seed", range(1, 6))
def test_another_volume_does_not_match(hu, seed):
    assert match_of(hu, draw(seed)) is None


def test_what_many_scans_share_has_no_keypoint():
    """A table and the round edge of the field of view run along z unchanged."""
    y, x = np.mgrid[:80, :80] - 40
    slice_ = np.where(np.hypot(y, x) > 38, -3000, -1000)
    slice_[70:73, 20:60] = 200
    table = np.repeat(slice_[None], 40, axis=0)
    assert len(find_keypoints(table, most=128).code) == 0
    noisy = table + np.random.default_rng(0).normal(0, 5, table.shape)
    assert len(find_keypoints(noisy, most=128).code) == 0


@pytest.mark.parametrize(
    "size", [(1, 1, 1), (60, 60, 10), (60, 2, 60), (60, 60, 1), (2 * BORDER, 60, 60)]
)
def test_too_thin_or_blank_volumes_have_none(size):
    assert len(find_keypoints(draw(0, size), most=128).code) == 0
    assert match_of(np.zeros(size, np.int16), np.zeros(size, np.int16)) is None


def test_the_thinnest_volume_that_can_have_some():
    found = find_keypoints(draw(0, (2 * BORDER + 1, 200, 200)), most=128)
    assert len(found.code) > 0
    assert set(found.position[:, 0]) == {BORDER}


@pytest.fixture
def _large(monkeypatch):
    """Search every array as if it were large."""
    monkeypatch.setattr(keypoints, "SMALL_VOXELS", 0)


def as_rows(found):
    return {tuple(row) for row in np.column_stack([found.position, found.code])}


@pytest.mark.parametrize("small", [0, 1 << 22])
def test_chunks_are_no_matter(hu, monkeypatch, small):
    monkeypatch.setattr(keypoints, "SMALL_VOXELS", small)
    whole = find_keypoints(hu, most=64)
    monkeypatch.setattr(extrema, "CHUNK_VALUES", 3 * 26 * 28)
    monkeypatch.setattr(keypoints, "PATCHES_AT_A_TIME", 7)
    monkeypatch.setattr(keypoints, "AT_A_TIME", 5)
    parts = find_keypoints(hu, most=64)
    assert len(whole.code) == 64
    for name in ("position", "frame", "code"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_what_is_found_in_a_large_array_is_there_in_a_small_one(monkeypatch):
    hu = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(60, 71, 90)), 2.5)
    hu = np.rint(hu / hu.std() * 300).astype(np.int16)
    every = as_rows(find_keypoints(hu, most=10**6))
    monkeypatch.setattr(keypoints, "SMALL_VOXELS", 0)
    found = as_rows(find_keypoints(hu, most=10**6))
    assert found <= every
    assert len(found) > 0.6 * len(every)


@pytest.mark.usefixtures("_large")
@pytest.mark.parametrize("number", [0, 5, 23, 40])
def test_a_large_array_turned_and_cropped_oddly_is_found(number):
    hu = draw(7, (61, 80, 91))
    match = match_of(hu, turned(hu[7:58, 3:, 1:], FRAMES[number]))
    assert match.votes >= 20
    assert match.turn == tuple(map(tuple, FRAMES[number].tolist()))


@pytest.mark.usefixtures("_large")
@pytest.mark.parametrize("size", [(2 * BORDER + 1, 80, 80), (2 * BORDER + 4, 80, 13)])
def test_a_large_array_may_be_thin(size):
    found = find_keypoints(draw(0, size), most=128)
    assert len(found.code) > 0
    assert ((found.position >= BORDER) & (found.position < np.array(size) - BORDER)).all()


def test_codes_never_change():
    # pinned: manifests keep codes, and old ones must match new ones
    y, x, z = np.mgrid[:30, :30, :30] - 15.0
    blob = 300 * np.exp(-(y**2 + (x - 0.3 * z) ** 2 + 2 * z**2) / 8) + 3 * y + 2 * x + z
    found = find_keypoints(np.rint(blob).astype(np.int16), most=1)
    assert found.position.tolist() == [[15, 15, 15]]
    assert [hex(code) for code in found.code.tolist()] == ["0x90f81ab63f851e50"]


def test_a_resampled_copy_is_found_where_the_header_is_right():
    grid = Grid((100, 100, 60), (2.0, 2.0, 3.0), (-100.0, 50.0, 7.0))
    hu = draw(0, (60, 100, 100))
    place = (grid.origin_mm, (1.5, 1.5, 2.0), grid.direction_lps, -1000.0)
    other = sitk.Resample(grid.image(hu), (130, 130, 88), sitk.Transform(), sitk.sitkLinear, *place)
    prints = [Fingerprint.of(volume) for volume in (Volume(hu, grid), Volume.of(other))]
    (match,) = find_matches(prints)
    assert match.by == "space"
    assert match.votes >= 8


def test_text_and_back(hu):
    fingerprint = Fingerprint.of(image_of(hu))
    text = fingerprint.to_text()
    assert len(text) <= 3900
    back = Fingerprint.from_text(text)
    assert back.to_text() == text
    for view in ("on_voxels", "on_lattice"):
        old, new = getattr(fingerprint, view), getattr(back, view)
        assert old.size == new.size
        for name in ("position", "frame", "code"):
            np.testing.assert_array_equal(getattr(old, name), getattr(new, name))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:0],
        lambda text: text[:-40],
        lambda text: f"AAAA{text[4:]}",
        lambda text: text * 2,
        lambda text: f"é{text}",
    ],
)
def test_damaged_text_is_refused(hu, damage):
    with pytest.raises(ValueError):  # noqa: PT011
        Fingerprint.from_text(damage(Fingerprint.of(image_of(hu)).to_text()))


def test_a_header_that_makes_no_sense_costs_nothing(hu):
    image = image_of(hu, (50.0, 50.0, 50.0))
    assert len(Fingerprint.of(image).on_voxels.code) == 128
