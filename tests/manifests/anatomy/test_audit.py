"""The header's axes against the anatomy of boxes, of phantoms, and in the line to the manifest."""

import re
from functools import cache
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from curate.cases.target import Target
from curate.datasets.discover import discover
from curate.datasets.locate import locate
from curate.labels.relabel import BlockMap
from curate.phantom.archives import write_phantom_archives
from curate.phantom.patient import STRUCTURES, TumourChance, draw_patient, render
from curate.preparation.prepare import PrepareRequest, prepare
from curate.recipes.schema import PAPER, load_recipe
from manifests.anatomy.anatomy import AXES, Scale, anatomy
from manifests.anatomy.audit import CODES, audit_orientation, orientation_findings
from manifests.classes.label_space import load_label_space
from manifests.classes.structures import Structure
from manifests.ground.unpack import unpack
from manifests.table.sql import select_cases
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume
from tests.oriented import oriented

TURNS = [axes for count in range(4) for axes in combinations(range(3), count)]
GRID = Grid((80, 60, 80), (4.0, 4.0, 4.0), (-158.0, -118.0, -158.0))
# Middle and half width in LPS mm, about where adults have them.
ORGANS = {
    "liver": ((-70, -20, 40), (60, 60, 60)),
    "spleen": ((100, 30, 50), (20, 30, 40)),
    "stomach": ((50, -50, 40), (30, 20, 20)),
    "pancreas": ((10, -20, 10), (30, 8, 10)),
    "left_kidney": ((60, 50, -20), (20, 20, 40)),
    "right_kidney": ((-60, 60, -80), (20, 20, 20)),
}


def boxes(names):
    """A label volume of boxes; block n is the n-th name."""
    voxels = np.zeros(GRID.size_xyz[::-1], np.uint8)
    for number, name in enumerate(names, start=1):
        middle, half = map(np.array, ORGANS[name])
        low, high = (np.rint(GRID.index_xyz(middle + sign * half)).astype(int) for sign in (-1, 1))
        voxels[tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))] = number
    return BlockMap(Volume(voxels, GRID), tuple(frozenset({name}) for name in names))


def turned(volume, axes):
    """Turn what a volume holds along LPS axes, and leave its header: the header is then wrong."""
    columns = np.abs(np.reshape(volume.grid.direction_lps, (3, 3))).argmax(axis=1)
    flipped = np.flip(volume.voxels, (2 - columns[list(axes)]).tolist())
    return Volume(flipped, volume.grid)


def turned_labels(labels, axes):
    return BlockMap(turned(labels.volume, axes), labels.blocks)


def words(verdicts):
    return [verdict.verdict for verdict in verdicts]


def expected(axes):
    return ["suspect" if axis in axes else "plausible" for axis in range(3)]


def test_a_score_grows_with_the_distance_up_to_its_trust():
    scale = Scale(decisive=40, trust=5)
    assert [scale.score(mm) for mm in (0, 20, 40, 80)] == [0, 1.25, 5, 5]
    assert scale.score(-20) == -1.25


@pytest.mark.parametrize("axis", AXES)
def test_the_statements_do_not_contradict_each_other(axis):
    """Take away what lies farthest right, in front or below, again and again: nothing remains."""
    left = {(s.first, s.second) for s in anatomy().statements[axis]}
    while left:
        lowest = {second for _, second in left} - {first for first, _ in left}
        assert lowest, f"a circle among {sorted(left)}"
        left = {(first, second) for first, second in left if second not in lowest}


def test_the_statements_name_organs_of_known_size():
    sizes, members = anatomy().enough_ml, anatomy().groups
    named = {n for axis in AXES for s in anatomy().statements[axis] for n in (s.first, s.second)}
    assert named - {"spine"} <= set(sizes)
    assert {*members, *(n for group in members.values() for n in group)} <= set(sizes)


@pytest.mark.parametrize("axes", TURNS)
def test_labels_alone_show_every_turned_axis(axes):
    verdicts = audit_orientation(labels=turned_labels(boxes(ORGANS), axes))
    assert words(verdicts) == expected(axes)
    assert [f.code for f in orientation_findings(verdicts)] == [CODES[AXES[axis]] for axis in axes]


@pytest.mark.parametrize("code", ["RAS", "PIR", "SLA"])
def test_the_order_of_the_array_axes_does_not_matter(code):
    labels = boxes(ORGANS)
    other = BlockMap(oriented(labels.volume, code), labels.blocks)
    scores = [[v.score for v in audit_orientation(labels=given)] for given in (labels, other)]
    assert scores[0] == pytest.approx(scores[1])


def test_a_finding_says_what_was_seen():
    verdicts = audit_orientation(labels=turned_labels(boxes(["liver", "spleen"]), [0]))
    (finding,) = orientation_findings(verdicts)
    distance = re.search(r"spleen (\d+) mm right of liver", finding.reason)
    assert float(distance[1]) == pytest.approx(170, abs=4)


@pytest.mark.parametrize(
    "blocks",
    [
        [{"liver_tumour"}, {"spleen"}],  # a tumour may lie anywhere in its organ
        [{"liver", "stomach"}, {"spleen"}],
        [{"liver"}, {"left_kidney", "right_kidney"}],  # the sides are not annotated
    ],
)
def test_what_does_not_show_an_organs_place_is_no_evidence(blocks):
    labels = BlockMap(boxes(["liver", "spleen"]).volume, tuple(map(frozenset, blocks)))
    assert all(v.axis != "left_right" or not v.evidence for v in audit_orientation(labels=labels))


def test_an_organ_counts_with_its_tumour():
    volume = boxes(["liver", "spleen", "stomach"]).volume
    blocks = (frozenset({"liver"}), frozenset({"liver_tumour"}), frozenset({"spleen"}))
    (evidence, *_) = audit_orientation(labels=BlockMap(volume, blocks))[0].evidence
    assert evidence.description.startswith("spleen")


def test_a_trace_of_an_organ_is_no_evidence():
    labels = boxes(["liver", "spleen"])
    voxels = labels.volume.voxels
    voxels[voxels == 2] *= np.arange(np.count_nonzero(voxels == 2)) < 300  # 19 mL
    assert (
        words(audit_orientation(labels=BlockMap(Volume(voxels, GRID), labels.blocks)))
        == ["undecided"] * 3
    )


def test_declared_structures_have_sides_too():
    volume = boxes(["left_kidney", "right_kidney"]).volume
    labels = BlockMap(volume, (frozenset({"left_ureter"}), frozenset({"right_ureter"})))
    declared = {f"{s}_ureter": Structure(laterality=s) for s in ("left", "right")}
    assert words(audit_orientation(labels=labels, declared=declared))[0] == "plausible"
    assert words(audit_orientation(labels=labels))[0] == "undecided"


def test_without_anything_to_see_all_is_undecided():
    air = Volume(np.full(GRID.size_xyz[::-1], -1000, np.int16), GRID)
    nothing = Volume(np.zeros(GRID.size_xyz[::-1], np.uint8), GRID)
    empty = BlockMap(nothing, (frozenset({"liver"}),))
    for verdicts in (audit_orientation(), audit_orientation(air), audit_orientation(air, empty)):
        assert words(verdicts) == ["undecided"] * 3


@cache
def scanned(seed, first_mm=-160.0, slices=75, contrast=(0.0, 0.0, 1.0)):
    """A phantom's abdomen, the lungs cut by the last slice, with noise."""
    grid = Grid((110, 90, slices), (4.0, 4.0, 4.0), (-218.0, -208.0, first_mm))
    rng = np.random.default_rng(seed)
    patient = draw_patient(rng, tumour_chance=TumourChance(0.5, 0.3, 0.5))
    hu, structures = render(patient, grid, contrast=contrast)
    hu += rng.normal(0.0, 15.0, hu.shape)
    labels = BlockMap(Volume(structures, grid), tuple(frozenset({name}) for name in STRUCTURES))
    return Volume(hu.astype(np.int16), grid), labels


def with_table(image, *, behind):
    voxels = image.voxels.copy()
    voxels[:, -4:-2] = 0 if behind else -1000
    voxels[:, 2:4] = -1000 if behind else 0
    return Volume(voxels, image.grid)


@pytest.mark.parametrize("axes", TURNS)
def test_the_image_alone_shows_every_turned_axis(axes):
    # The gas in most phantoms' gut is denser than a patient's, up to -860 HU, as lung is. Not in 5.
    image, labels = scanned(5)
    assert words(audit_orientation(turned(image, axes))) == expected(axes)
    assert words(audit_orientation(turned(image, axes), turned_labels(labels, axes))) == expected(
        axes
    )


def test_image_and_labels_that_contradict_each_other_are_undecided():
    image, labels = scanned(3)
    verdicts = audit_orientation(image, turned_labels(labels, [0]))
    assert words(verdicts) == ["undecided", "plausible", "plausible"]


@pytest.mark.parametrize("behind", [True, False])
def test_the_spine_is_believed_over_the_table(behind):
    """A patient who lies prone has the table in front."""
    image = with_table(scanned(3)[0], behind=behind)
    for axes in ([], [1]):
        verdict = audit_orientation(turned(image, axes))[1]
        assert verdict.verdict == ("suspect" if axes else "plausible")
        assert any("table" in e.description for e in verdict.evidence)


@pytest.mark.parametrize(
    ("seed", "first_mm", "slices", "contrast"),
    [
        (0, 110.0, 20, (0.0, 1.0, 0.0)),  # a chest: its largest solid organ is the heart
        (15, 0.0, 30, (1.0, 0.0, 0.0)),  # gut full of contrast medium hides the spine
        (5, -150.0, 30, (0.0, 0.0, 1.0)),  # below the liver
        (2, 70.0, 5, (0.0, 0.0, 1.0)),
    ],
)
def test_a_part_of_a_body_is_not_accused(seed, first_mm, slices, contrast):
    image, labels = scanned(seed, first_mm, slices, contrast)
    for verdicts in (audit_orientation(image), audit_orientation(image, labels)):
        assert "suspect" not in words(verdicts)


def test_intensities_that_are_not_hounsfield_units_say_nothing():
    image, _ = scanned(3)
    assert (
        words(audit_orientation(Volume(image.voxels + np.int16(1024), image.grid)))
        == ["undecided"] * 3
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Phantoms of every recipe; one of BTCV's lies upside down in its file."""
    raw, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("out")
    cases = dict.fromkeys(PAPER, 1) | {"btcv": 2}
    write_phantom_archives(raw, seed=4, cases=cases, spacing_mm=(6.0, 6.0))
    recipe = load_recipe("btcv")
    unpack(locate(recipe, raw, raw / "btcv").path, raw / "btcv")
    case, _ = discover(recipe, locate(recipe, raw, raw / "btcv").path)
    turn_over(case.image)
    turn_over(case.label)
    recipes = tuple(map(load_recipe, cases))
    target = Target(load_label_space("abdomen5"), (6.0, 6.0, 6.0), out)
    return case.case_id, prepare(PrepareRequest(recipes, raw, target), workers=2)


def turn_over(path: Path):
    """Turn a file's voxels half round the body's long axis."""
    stored = nib.load(path)
    voxels = np.asarray(stored.dataobj)[::-1, ::-1].copy()
    nib.save(nib.Nifti1Image(voxels, stored.affine, stored.header), path)


def test_prepare_keeps_a_turned_case_and_flags_both_axes(report):
    turned_case, prepared = report
    assert prepared.rejected == ()
    suspects = {
        (case.case_id, finding.code)
        for case in prepared.manifest.cases()
        for finding in case.findings
        if finding.code in CODES.values()
    }
    assert suspects == {
        (turned_case, "laterality_suspect"),
        (turned_case, "anteroposterior_suspect"),
    }


def test_suspects_can_be_left_out_by_a_filter(report):
    turned_case, prepared = report
    where = "findings::text not like '%laterality_suspect%'"
    with select_cases(prepared.manifest, where) as clean:
        ids = clean.ids()
    assert len(ids) == len(prepared.manifest) - 1
    assert turned_case not in ids
