"""Labels against made images: ellipsoids in fat, where each error is planted and must be named."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from curate.suspicion.judgement import judge_labels
from manifests.anatomy.torso import find_torso
from manifests.classes.label_space import IGNORED, load_label_space
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

SPACE = load_label_space("abdomen5")
FULL = (0, 1, 2, 3, 4, 5)
LIVER, SPLEEN, PANCREAS, LEFT, RIGHT = range(1, 6)
GRID = Grid((122, 92, 84), (3.0, 3.0, 3.0), (-181.5, -136.5, -124.5))
# Middle and half axes in LPS mm, about where adults have them.
ORGANS = {
    LIVER: ((-70, -15, 30), (62, 66, 60)),
    SPLEEN: ((95, 25, 45), (27, 36, 42)),
    PANCREAS: ((22, -8, 0), (42, 14, 14)),
    LEFT: ((62, 48, -40), (24, 22, 48)),
    RIGHT: ((-55, 62, -60), (24, 22, 48)),
}


def ellipsoid(middle, half):
    x, y, z = np.meshgrid(
        *(
            np.arange(n) * mm + o
            for n, mm, o in zip(GRID.size_xyz, GRID.spacing_mm, GRID.origin_mm, strict=True)
        ),
        indexing="ij",
    )
    scaled = [((p - c) / h) ** 2 for p, c, h in zip((x, y, z), middle, half, strict=True)]
    return (sum(scaled) <= 1).T


@pytest.fixture(scope="module")
def scan():
    """An abdomen of fat in air, with a spine, organs of 100 HU, noise, and the right labels."""
    rng = np.random.default_rng(0)
    hu = np.full(GRID.size_xyz[::-1], -1000.0)
    ids = np.zeros(hu.shape, np.uint8)
    x, y = np.meshgrid(np.arange(122) * 3 - 181.5, np.arange(92) * 3 - 136.5, indexing="ij")
    hu[:, ((x / 165) ** 2 + (y / 115) ** 2 <= 1).T] = -100
    ring = ((x / 25) ** 2 + ((y - 80) / 20) ** 2).T
    hu[:, ring <= 1] = 150
    hu[:, (ring <= 1) & (ring > 0.5)] = 500
    for n, place in ORGANS.items():
        inside = ellipsoid(*place) & (ids == 0)
        ids[inside], hu[inside] = n, 100
    hu += rng.normal(0, 15, hu.shape)
    return Volume(hu.astype(np.int16), GRID), ids


def judge(scan, ids, merged=FULL):
    image, _ = scan
    return judge_labels(image, ids, space=SPACE, merged=merged, torso=find_torso(image))


def moved(ids, n, voxels_zyx):
    """The same labels, one of them displaced."""
    mask = ndimage.shift(ids == n, voxels_zyx, order=0)
    return np.where(mask, n, np.where(ids == n, 0, ids)).astype(np.uint8)


def codes(judgement):
    return [f.code for f in judgement.findings]


def test_right_labels_are_not_suspected(scan):
    judged = judge(scan, scan[1])
    assert judged.findings == ()
    assert set(judged.numbers) == set(ORGANS)
    assert max(n.suspicion for n in judged.numbers.values()) < 0.8


@pytest.mark.parametrize("n", ORGANS)
@pytest.mark.parametrize("voxels_zyx", [(0, 0, 8), (0, -7, 0), (10, 0, 0), (-3, 4, -5)])
def test_a_displacement_is_recovered_exactly(scan, n, voxels_zyx):
    judged = judge(scan, moved(scan[1], n, voxels_zyx))
    assert codes(judged) == ["label_misplaced"]
    (finding,) = judged.findings
    assert SPACE.names[n] in finding.reason
    expected = -3.0 * np.array(voxels_zyx)[::-1]
    np.testing.assert_array_equal(judged.numbers[n].border.offset_mm, expected)
    assert judged.numbers[n].suspicion >= 1


def test_a_label_on_padding_says_how_much_of_it_is_air(scan):
    image, ids = scan
    padded = replace(image, voxels=image.voxels.copy())
    padded.voxels[:, :, :50] = -1024
    judged = judge((padded, ids), ids)
    (of_liver,) = [f for f in judged.findings if f.reason.startswith("liver")]
    assert of_liver.code == "label_misplaced"
    assert "% on air" in of_liver.reason
    assert judged.numbers[LIVER].air > 0.8


@pytest.mark.parametrize("where", ["head", "foot", "middle"])
@pytest.mark.parametrize("n", [LIVER, SPLEEN, LEFT])
def test_slices_without_a_label_are_noticed(scan, n, where):
    ids = scan[1].copy()
    filled = np.flatnonzero((ids == n).any(axis=(1, 2)))
    erased = {"head": filled[-8:], "foot": filled[:8], "middle": filled[8:12]}[where]
    ids[erased] = np.where(ids[erased] == n, 0, ids[erased])
    (finding,) = [f for f in judge(scan, ids).findings if f.code == "label_cut"]
    assert finding.reason.startswith(SPACE.names[n])
    assert ("have no label" in finding.reason) == (where == "middle")


def test_what_the_scan_cuts_off_is_no_fault(scan):
    image, ids = scan
    middle = 45  # through liver, spleen and pancreas
    part = GRID.part((0, 0, 0), (122, 92, middle), (1, 1, 1))
    judged = judge((Volume(image.voxels[:middle], part), ids[:middle]), ids[:middle])
    assert judged.findings == ()
    assert judged.numbers[LIVER].ends.cut_by_scan


def test_an_island_is_named_with_its_place(scan):
    ids = scan[1].copy()
    ids[20:24, 40:44, 30:34] = SPLEEN
    (finding,) = judge(scan, ids).findings
    assert finding.code == "label_fragments"
    assert finding.reason.startswith("spleen: 1.7 mL")
    x, y, z = GRID.position_mm((31.5, 41.5, 21.5))
    assert f"x {x:.0f}, y {y:.0f}, z {z:.0f} mm" in finding.reason


def test_a_pancreas_may_be_in_two_pieces_but_not_far_from_each_other(scan):
    ids = scan[1].copy()
    z, y, x = (int(places.max()) for places in np.nonzero(ids == PANCREAS))
    near = ids.copy()
    near[z - 3 : z, y - 3 : y, x + 6 : x + 10] = PANCREAS
    assert "label_fragments" not in codes(judge(scan, near))
    ids[4:8, 4:8, 4:8] = PANCREAS  # in the corner, outside the body
    assert "label_fragments" in codes(judge(scan, ids))


@pytest.mark.parametrize(
    "pair", [(LIVER, SPLEEN), (LEFT, RIGHT), (SPLEEN, LEFT), (LIVER, PANCREAS), (LIVER, RIGHT)]
)
def test_exchanged_ids_are_named(scan, pair):
    table = np.arange(256, dtype=np.uint8)
    table[list(pair)] = pair[::-1]
    judged = judge(scan, table[scan[1]])
    assert codes(judged) == ["labels_exchanged"]
    assert all(SPACE.names[n] in judged.findings[0].reason for n in pair)
    assert all(judged.numbers[n].suspicion >= 1 for n in pair)


def test_a_header_that_is_wrong_is_no_exchange(scan):
    image, ids = scan
    mirrored = Volume(image.voxels[:, :, ::-1].copy(), GRID)
    judged = judge((mirrored, ids), ids[:, :, ::-1].copy())
    assert "labels_exchanged" not in codes(judged)


def test_classes_that_were_not_told_apart_are_not_judged(scan):
    ids = np.where(scan[1] == RIGHT, LEFT, np.where(scan[1] == LIVER, 0, scan[1]))
    judged = judge(scan, ids.astype(np.uint8), merged=(0, 0, 2, 3, 4, 4))
    assert set(judged.numbers) == {SPLEEN, PANCREAS}
    assert judged.findings == ()
    suspicion = judged.columns(len(SPACE))["suspicion"]
    assert [n for n, value in enumerate(suspicion) if value is not None] == [SPLEEN, PANCREAS]


def test_a_label_that_ends_where_nobody_looked_further_is_not_judged_by_its_outline(scan):
    ids = scan[1].copy()
    ids[48:] = IGNORED
    judged = judge(scan, ids)
    assert judged.findings == ()
    assert judged.numbers[LIVER].border is None
    assert judged.numbers[LIVER].ends.share is None
    assert judged.numbers[RIGHT].border is not None


def test_lesions_belong_to_the_organ_that_is_judged(scan):
    """A tumour with a class of its own makes no hole in its organ."""
    space = load_label_space("pancreas_tumour")
    image, ids = scan
    organ = (ids == PANCREAS).astype(np.uint8)
    hot = organ.copy()
    hot[:, :, 66:73] *= 2
    judged = judge_labels(image, hot, space=space, merged=(0, 1, 2), torso=None)
    assert judged.findings == ()
    assert set(judged.numbers) == {1}


def test_a_case_without_labels_or_body_is_judged_without_an_error():
    air = Volume(np.full((5, 6, 7), -1000, np.int16), Grid((7, 6, 5), (3.0, 3.0, 3.0)))
    nothing = np.zeros((5, 6, 7), np.uint8)
    assert judge((air, nothing), nothing).numbers == {}
    every = nothing + np.uint8(LIVER)
    assert set(judge((air, every), every).numbers) == {LIVER}
    flat = Volume(air.voxels[:1, :1, :1], Grid((1, 1, 1), (3.0, 3.0, 3.0)))
    assert judge((flat, every[:1, :1, :1]), every[:1, :1, :1]).findings == ()
