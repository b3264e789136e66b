"""Slices in the body's own size: copies that were resampled and lost their headers are found."""

import base64
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from manifests.fingerprints.body_matching import find_body_matches
from manifests.fingerprints.body_slices import AXES, SLICES, BodySlices, find_body_slices
from manifests.fingerprints.fingerprint import Fingerprint
from manifests.fingerprints.matching import find_matches
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

SIZE = (72, 80, 100)


def body(seed, size=SIZE):
    """A trunk with organs unlike those of any other, in air."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, n) for n in size)
    depth, width = 0.55 + 0.1 * np.sin(3 * z + seed), 0.7 + 0.1 * np.cos(2 * z + seed)
    inside = (y[None, :, None] / depth[:, None, None]) ** 2 + (
        x[None, None, :] / width[:, None, None]
    ) ** 2 < 1
    organs = ndimage.gaussian_filter(rng.normal(size=size), 5)
    hu = np.where(inside, organs / organs.std() * 80 + 20, -1000)
    return (ndimage.gaussian_filter(hu, 0.7) + rng.normal(0, 8, size)).astype(np.float32)


def resampled(hu, factors):
    """Other voxels, with so many for each one, and nothing but them in the header."""
    return ndimage.zoom(hu, factors, order=1)


def print_of(hu):
    return Fingerprint.of(Volume(np.ascontiguousarray(hu), Grid(hu.shape[::-1], (1.0, 1.0, 1.0))))


def match_of(first, second):
    found = find_matches([print_of(first), print_of(second)])
    return found[0] if found else None


@pytest.fixture(scope="module")
def hu():
    return body(0)


@pytest.mark.parametrize("factors", [(0.6, 0.7, 0.7), (1.7, 0.8, 0.8), (0.4, 1.3, 1.3)])
def test_a_resampled_copy_without_a_header_is_found(hu, factors):
    match = match_of(hu, resampled(hu, factors) + np.float32(7.3))
    assert match.by == "body"
    assert match.whole
    assert match.shift == ()
    assert match.votes == match.candidates


@pytest.mark.parametrize(
    ("order", "flips"), [*zip(permutations(range(3)), product((0, 1), repeat=3), strict=False)]
)
def test_it_may_be_turned_and_mirrored(hu, order, flips):
    copy = resampled(hu, (0.7, 0.8, 0.8)).transpose(order)
    match = match_of(hu, np.flip(copy, np.flatnonzero(flips).tolist()))
    turn = np.eye(3, dtype=int)[list(order)] * np.where(flips, -1, 1)[:, None]
    assert match.by == "body"
    assert np.array_equal(match.turn, turn)


@pytest.mark.parametrize(("start", "stop"), [(0, 0.7), (0.2, 0.65), (0.5, 1)])
def test_a_part_of_the_slices_says_how_much_it_shows(hu, start, stop):
    part = hu[round(start * SIZE[0]) : round(stop * SIZE[0]), 4:-6, 3:-9]
    match = match_of(hu, resampled(part, (0.8, 0.7, 0.7)))
    assert match.by == "body"
    assert match.common == pytest.approx((stop - start, 1.0), abs=0.04)
    assert not match.whole


def test_noise_and_clipping_hardly_matter(hu):
    copy = resampled(hu, (0.7, 0.8, 0.8))
    noise = np.random.default_rng(0).normal(0, 20, copy.shape)
    assert match_of(hu, (copy + noise).clip(-200, 300)).by == "body"


def test_others_and_parts_without_anything_in_common_do_not_match(hu):
    bodies = [body(seed, (40, 60, 80)) for seed in range(1, 30)]
    assert find_matches([print_of(b) for b in (hu, *bodies)]) == []
    halves = [hu[:34], resampled(hu[38:], (0.8, 0.8, 0.8))]
    assert find_matches([print_of(h) for h in halves]) == []


def test_what_looks_alike_all_along_matches_as_a_whole_only(hu):
    """A thin slab, stretched; or a phantom of the same material at each place."""
    slab = np.repeat(hu[30:31], 24, axis=0)
    assert match_of(slab, resampled(slab, (1.0, 1.5, 1.5))).whole
    assert match_of(hu, resampled(slab, (1.0, 1.5, 1.5))) is None
    assert match_of(slab, np.repeat(body(1)[30:31], 24, axis=0)) is None


def of_one_outline(seed, size=(40, 80, 96), mm=(5.0, 4.0, 4.0)):
    """A made patient whose wall, spine and organs are those of any other, to 4 mm."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[tuple(slice(0.5 - n / 2, n / 2) for n in size)]
    z, y, x = z * mm[0], y * mm[1], x * mm[2]
    wall = (x / 150) ** 2 + (y / 98) ** 2 + 0 * z
    hu = np.where((x / 165) ** 2 + (y / 115) ** 2 + 0 * z < 1, -100.0, -1000.0)
    hu[wall < 1] = 50
    hu[wall < 0.85] = -70
    hu[np.broadcast_to(x**2 + (y - 68) ** 2 < 22**2, size)] = 250
    for value, (cx, cy, cz), (rx, ry, rz) in (
        (-850, (-75, 0, 110), (55, 80, 45)),
        (-850, (75, 0, 110), (55, 80, 45)),
        (110, (-65, -12, 35), (68, 62, 48)),
        (125, (98, 22, 45), (28, 38, 34)),
        (95, (15, -8, 5), (50, 12, 13)),
        (170, (62, 48, -18), (24, 22, 45)),
        (170, (-62, 50, -28), (24, 22, 45)),
    ):
        dx, dy, dz = rng.uniform(-4, 4, 3)
        ball = ((x - cx - dx) / rx) ** 2 + ((y - cy - dy) / ry) ** 2 + ((z - cz - dz) / rz) ** 2
        hu[(ball < 1) & (wall < 1)] = value
    return (hu + rng.normal(0, 12, size)).astype(np.float32)


def test_patients_of_one_outline_do_not_match():
    patients = [of_one_outline(seed) for seed in range(8)]
    parts = [p[n : n + 24] for n, p in enumerate(patients[:4])]
    coarse = [ndimage.zoom(p, 0.5, order=1) for p in patients[4:]]
    prints = [print_of(p) for p in (*patients, *parts, *coarse)]
    found = {(m.first, m.second) for m in find_matches(prints)}
    assert found <= {(n, n + 8) for n in range(8)}  # with copies of themselves
    copy = resampled(patients[0], (1.4, 0.9, 0.9))
    assert match_of(patients[0], copy).by == "body"


@pytest.mark.parametrize("slices", [4, 10])
def test_air_beyond_the_body_lets_no_others_match(slices):
    air = ((0, slices), (0, 0), (0, 0))
    patients = [np.pad(of_one_outline(n), air, constant_values=-1000) for n in range(6)]
    bodies = [find_body_slices(p) for p in (*patients, resampled(patients[0], (1.4, 0.9, 0.9)))]
    assert not bodies[0].code.any(axis=1).all()
    assert [(m.first, m.second) for m in find_body_matches(bodies)] == [(0, 6)]


@pytest.mark.parametrize("value", [-1000, 40])
def test_of_plain_material_nothing_is_kept(value):
    noise = np.random.default_rng(0).normal(0, 20, (30, 40, 50))
    assert not len(find_body_slices(value + noise).code)


def test_second_from_leaves_out_pairs_of_one_side(hu):
    prints = [print_of(h) for h in (hu, resampled(hu, (0.7, 0.8, 0.8)), hu[:, ::-1])]
    pairs = {(m.first, m.second) for m in find_matches(prints, second_from=2)}
    assert pairs == {(0, 2), (1, 2)}


def test_codes_never_change():
    # pinned: manifests keep codes, and old ones must match new ones
    z, y, x = np.mgrid[:40, :50, :60] - np.array([20, 25, 30])[:, None, None, None]
    inside = (y / 18) ** 2 + (x / 25) ** 2 < 1
    hu = np.where(inside, 40 + 150 * np.sin(x / 4 + z / 9) * np.cos(y / 3), -1000)
    found = find_body_slices(hu.astype(np.int16))
    assert AXES[found.axes] == (0, 1, 2)
    assert found.code.shape == (SLICES, 26)
    pinned = [
        -5,
        1,
        -20,
        1,
        0,
        0,
        0,
        0,
        -111,
        -7,
        49,
        3,
        0,
        0,
        0,
        0,
        -11,
        3,
        20,
        15,
        0,
        0,
        0,
        -15,
        -1,
        0,
    ]
    assert found.code[3].tolist() == pinned


def test_a_fingerprint_from_before_there_were_slices_is_read(hu):
    new = print_of(hu)
    content = b"\x01" + b"".join(
        np.array([(k.size, len(k.code))], [("size", "<u2", 3), ("count", "<u2")]).tobytes()
        + b"".join(
            np.array(p, "<u2").tobytes() + bytes([f]) + int(c).to_bytes(8, "little")
            for p, f, c in zip(k.position, k.frame, k.code, strict=True)
        )
        for k in (new.on_voxels, new.on_lattice)
    )
    old = Fingerprint.from_text(base64.b64encode(content).decode())
    assert not len(old.of_body.code)
    for view in ("on_voxels", "on_lattice"):
        for name in ("size", "position", "frame", "code"):
            assert np.array_equal(
                getattr(getattr(old, view), name), getattr(getattr(new, view), name)
            )
    assert find_matches([old, new])[0].by == "voxels"
    assert isinstance(old.of_body, BodySlices)


def test_a_scan_that_ends_in_air_is_found_by_the_rest(hu):
    ended = hu.copy()
    ended[-12:] = -1000
    image = sitk.GetArrayFromImage(sitk.GetImageFromArray(resampled(ended, (0.7, 0.8, 0.8))))
    assert match_of(ended, image).by == "body"
