"""Fusion: one CT under two names, walked from the files to the manifest."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy import ndimage

from curate.cases.fuse import Fusion
from curate.cases.precedence import Precedence
from curate.cases.target import Target
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError
from manifests.table.validate import validate

ABDOMEN5 = load_label_space("abdomen5")
SPACING_MM = (2.0, 2.0, 3.0)
RECIPE = """
name = "{name}"
title = "A test"
version = "1"
licence = "{licence}"
commercial_use = true
citation = "none"
[layout]
kind = "pairs"
roots = ["{name}"]
case = '\\w+'
images = ["{{case}}/image.nii"]
labels = ["{{case}}/label.nii"]
[values]
{values}
"""
LIVERS = '1 = ["liver", "liver_tumour"]'
SPLEENS = '7 = ["spleen"]'
LIVER_BOX, SPLEEN_BOX = np.s_[4:12, 5:20, 5:18], np.s_[6:11, 8:18, 30:38]


def draw(seed):
    noise = np.random.default_rng(seed).normal(size=(24, 44, 48))
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return np.rint(smooth / smooth.std() * 200).clip(-1024).astype(np.int16)


def label(box, value):
    ids = np.zeros((24, 44, 48), np.uint8)
    ids[box] = value
    return ids


def write(folder, hu, ids, origin=(0.0, 0.0, 0.0)):
    folder.mkdir(parents=True, exist_ok=True)
    for name, voxels in (("image", hu), ("label", ids)):
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(SPACING_MM)
        image.SetOrigin(origin)
        sitk.WriteImage(image, str(folder / f"{name}.nii"))


@pytest.fixture
def raw(prepared, tmp_path):
    """A copy for each test, in which only what the test changes has to be made again."""
    shutil.copytree(prepared.parent, tmp_path / "copy")
    return tmp_path / "copy" / "raw"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """One CT with its liver and, elsewhere, with its spleen; and another patient in each."""
    raw = tmp_path_factory.mktemp("prepared") / "raw"
    write(raw / "livers" / "a", draw(0), label(LIVER_BOX, 1))
    write(raw / "livers" / "b", draw(1), label(LIVER_BOX, 1))
    write(raw / "spleens" / "x", draw(0), label(SPLEEN_BOX, 7), origin=(9.0, 9.0, 90.0))
    write(raw / "spleens" / "y", draw(2), label(SPLEEN_BOX, 7))
    for name, values in (("livers", LIVERS), ("spleens", SPLEENS)):
        text = RECIPE.format(name=name, values=values, licence=f"{name}-1.0")
        (raw / f"{name}.toml").write_text(text)
    run(raw, fuse=False)
    return raw


def run(raw, *, fuse=True, precedence=()):
    recipes = tuple(load_recipe(raw / f"{name}.toml") for name in ("livers", "spleens"))
    target = Target(ABDOMEN5, SPACING_MM, raw.parent / "out")
    rule = Precedence.from_words(precedence, ABDOMEN5.names)
    request = PrepareRequest(recipes, raw, target, fuse_duplicates=fuse, precedence=rule)
    report = prepare(request, workers=1)
    assert validate(report.path, hashes=True) == []
    return report


def voxels_of(report, path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(report.manifest.path(path))))


FUSED = "livers/a+spleens.x"


def test_without_the_option_both_stay_as_one_subject(raw):
    cases = {c.case_id: c for c in run(raw, fuse=False).manifest.cases()}
    assert list(cases) == ["livers/a", "livers/b", "spleens/x", "spleens/y"]
    assert cases["livers/a"].subject_id == cases["spleens/x"].subject_id == "livers/a"
    assert cases["livers/a"].related == ("spleens/x",)
    assert cases["livers/a"].split == cases["spleens/x"].split
    (finding,) = cases["spleens/x"].findings
    assert (finding.code, finding.reason) == ("duplicate_image", "livers/a: the same voxels")


def test_the_fused_case_says_what_both_said(raw):
    report = run(raw)
    assert report.made == 0
    cases = {c.case_id: c for c in report.manifest.cases()}
    assert list(cases) == [FUSED, "livers/b", "spleens/y"]
    fused = cases[FUSED]
    assert fused.merged == (0, 1, 2, 0, 0, 0)
    assert fused.annotated == ("liver", "spleen")
    assert (fused.dataset, fused.subject_id, fused.related) == ("livers", "livers/a", ())
    assert fused.licence == "livers-1.0 AND spleens-1.0"
    expected = np.maximum(label(LIVER_BOX, 1), label(SPLEEN_BOX, 2))
    np.testing.assert_array_equal(voxels_of(report, fused.label), expected)
    np.testing.assert_array_equal(voxels_of(report, fused.image), draw(0))
    assert [(f.code, f.reason) for f in fused.findings] == [
        ("fused", "made of livers/a and spleens/x")
    ]


def test_running_again_makes_nothing_and_the_option_can_be_taken_back(raw):
    first = run(raw)
    before = first.path.read_bytes()
    stamp = first.manifest.path(first.manifest.case(FUSED).label).stat().st_mtime_ns
    again = run(raw)
    assert (again.made, again.path.read_bytes()) == (0, before)
    assert again.manifest.path(again.manifest.case(FUSED).label).stat().st_mtime_ns == stamp
    apart = run(raw, fuse=False)
    assert (apart.made, len(apart.manifest)) == (0, 4)
    assert run(raw).path.read_bytes() == before


def test_a_fused_case_tells_that_the_source_of_a_part_is_gone_until_it_is_back(raw):
    before = run(raw).path.read_bytes()
    (raw / "spleens" / "x").rename(raw / "elsewhere")
    gone = run(raw)
    assert "source_gone" in [f.code for f in gone.manifest.case(FUSED).findings]
    assert gone.made == 0
    (raw / "elsewhere").rename(raw / "spleens" / "x")
    assert run(raw).path.read_bytes() == before


def test_what_is_fused_is_made_again_when_a_part_of_it_changes_or_it_is_damaged(raw):
    run(raw)
    larger = np.s_[6:11, 8:18, 30:40]
    write(raw / "spleens" / "x", draw(0), label(larger, 7), origin=(9.0, 9.0, 90.0))
    again = run(raw)
    assert again.made == 1
    path = again.manifest.path(again.manifest.case(FUSED).label)
    assert (voxels_of(again, again.manifest.case(FUSED).label)[larger] == 2).all()
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert run(raw).made == 0
    assert path.read_bytes() == whole


def test_rounding_is_no_matter_and_what_is_kept_is_the_first_ones(raw):
    other = draw(0)
    other[5, 5, 5] += 1
    write(raw / "spleens" / "x", other, label(SPLEEN_BOX, 7))
    assert FUSED in [c.case_id for c in run(raw).manifest.cases()]


@pytest.mark.parametrize(
    "other",
    [draw(0)[:, :, ::-1], draw(0) + 3, draw(0)[:20]],
    ids=["flipped", "shifted", "cropped"],
)
def test_copies_that_are_not_voxel_for_voxel_stay_apart_but_related(raw, other):
    write(raw / "spleens" / "x", other, label(SPLEEN_BOX, 7)[: len(other)])
    cases = {c.case_id: c for c in run(raw).manifest.cases()}
    assert len(cases) == 4
    assert cases["livers/a"].related == ("spleens/x",)
    assert cases["livers/a"].split == cases["spleens/x"].split
    code = "related_image" if len(other) < 24 else "duplicate_image"
    assert [f.code for f in cases["spleens/x"].findings] == [code]


def test_a_few_conflicts_are_counted_and_many_keep_the_cases_apart(raw):
    touching = np.s_[6:11, 8:18, 17:38]  # one column of 50 in common with the liver
    write(raw / "spleens" / "x", draw(0), label(touching, 7))
    report = run(raw)
    fused = report.manifest.case(FUSED)
    assert (voxels_of(report, fused.label)[6:11, 8:18, 17] == 1).all()
    (conflict,) = [f for f in fused.findings if f.code == "labels_conflict"]
    share = max(50 / (8 * 15 * 13), 50 / (5 * 10 * 21))
    assert conflict.reason.startswith(
        f"50 voxels, {share:.1%} of a class, are labelled differently"
    )
    write(raw / "spleens" / "x", draw(0), label(LIVER_BOX, 7))
    apart = {c.case_id: c for c in run(raw).manifest.cases()}
    assert len(apart) == 4
    reasons = [f.reason for f in apart["spleens/x"].findings if f.code == "labels_conflict"]
    assert reasons[0].startswith("not fused with livers/a: 1560 voxels, 100.0%")


def test_three_copies_become_one(raw):
    write(raw / "spleens" / "z", draw(0), label(SPLEEN_BOX, 7))
    fused = run(raw).manifest.case("livers/a+spleens.x+spleens.z")
    assert fused.annotated == ("liver", "spleen")


def test_others_of_the_same_patient_stay_with_the_fused_case(raw):
    write(raw / "spleens" / "z", draw(0)[:14], label(SPLEEN_BOX, 7)[:14])
    cases = {c.case_id: c for c in run(raw).manifest.cases()}
    assert cases[FUSED].related == ("spleens/z",)
    assert cases["spleens/z"].related == (FUSED,)
    assert cases["spleens/z"].subject_id == cases[FUSED].subject_id
    assert cases["spleens/z"].split == cases[FUSED].split


def test_a_fused_case_is_no_case_of_another_dataset(raw):
    run(raw)
    recipes = (load_recipe(raw / "spleens.toml"),)
    target = Target(ABDOMEN5, SPACING_MM, raw.parent / "out")
    request = PrepareRequest(recipes, raw, target)
    assert len(prepare(request, workers=1).manifest) == 4
    fused = prepare(replace(request, fuse_duplicates=True), workers=1)
    assert len(fused.manifest) == 3


WIDER = np.s_[4:12, 5:20, 5:20]  # two columns more of the liver


@pytest.fixture
def two_livers(raw):
    """The second annotator has the spleen, and the liver too, a little wider."""
    (raw / "spleens.toml").write_text(
        RECIPE.format(name="spleens", values=f"{LIVERS}\n{SPLEENS}", licence="spleens-1.0")
    )
    both = np.maximum(label(WIDER, 1), label(SPLEEN_BOX, 7))
    for case, hu in (("x", draw(0)), ("y", draw(2))):
        write(raw / "spleens" / case, hu, both)
    return raw


def disagreements_of(raw):
    with (raw.parent / "out" / "disagreements" / "disagreements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_two_annotators_label_differently_is_told_and_shown(two_livers):
    report = run(two_livers)
    case_id = "spleens/x+livers.a"
    (row,) = disagreements_of(two_livers)
    voxels, extra = 8 * 15 * 13, 8 * 15 * 2
    assert (row["first"], row["second"], row["class_name"]) == ("spleens/x", "livers/a", "liver")
    assert float(row["dice"]) == pytest.approx(2 * voxels / (2 * voxels + extra), abs=1e-4)
    ml = np.prod(SPACING_MM) / 1000
    told = [float(row[f"{name}_ml"]) for name in ("first", "second", "differ")]
    assert told == pytest.approx([(voxels + extra) * ml, voxels * ml, extra * ml], abs=1e-3)
    assert (row["differ_voxels"], row["box"]) == (str(extra), "18-19 5-19 4-11")
    assert (row["believed"], row["fused"]) == ("spleens", "True")
    folder = two_livers.parent / "out" / "disagreements"
    mask = sitk.ReadImage(str(folder / row["mask"]))
    expected = label(WIDER, 1) - label(LIVER_BOX, 1)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), expected)
    assert mask.GetOrigin() == report.manifest.case(case_id).origin_mm
    picture = np.asarray(Image.open(folder / "spleens.x+livers.a.png"))
    assert (picture[5:20, 18:20] == (230, 60, 60)).all()
    assert not (picture[5:20, 5:18] == (230, 60, 60)).all(axis=-1).any()
    assert "disagreements.csv" in report.remark


@pytest.mark.parametrize(
    ("precedence", "liver", "said"),
    [
        ((), WIDER, "spleens/x was believed"),
        (("livers,spleens",), LIVER_BOX, "livers/a on liver"),
        (("liver=livers", "spleens"), LIVER_BOX, "livers/a on liver"),
        (("spleen=livers",), WIDER, "spleens/x was believed"),
    ],
)
def test_the_rule_says_whom_to_believe(two_livers, precedence, liver, said):
    run(two_livers)
    report = run(two_livers, precedence=precedence)
    fused = report.manifest.case("spleens/x+livers.a")
    expected = np.maximum(label(liver, 1), label(SPLEEN_BOX, 2))
    np.testing.assert_array_equal(voxels_of(report, fused.label), expected)
    (reason,) = [f.reason for f in fused.findings if f.code == "labels_conflict"]
    assert reason.endswith(said)
    believed = "livers" if liver is LIVER_BOX else "spleens"
    assert disagreements_of(two_livers)[0]["believed"] == believed
    assert report.manifest.settings["prepare"]["precedence"] == list(precedence)


def test_a_fused_case_tells_the_versions_of_its_recipes_today(raw):
    run(raw)
    path = raw / "spleens.toml"
    path.write_text(path.read_text().replace('version = "1"', 'version = "2"'))
    fused = run(raw).manifest.case(FUSED)
    assert (fused.recipe, fused.recipe_version) == ("livers+spleens", "1+2")


def test_the_rule_passes_over_who_says_nothing_of_a_class(raw):
    case = run(raw, fuse=False).manifest.case("livers/a")
    both, spleen, liver = (0, 1, 2, 0, 0, 0), (0, 0, 2, 0, 0, 0), (0, 1, 0, 0, 0, 0)
    told = [("one", both), ("two", spleen), ("three", liver)]
    group = [replace(case, dataset=dataset, merged=merged) for dataset, merged in told]
    rule = Precedence.from_words(["two,three,one"], ABDOMEN5.names)
    two, three = Fusion(Target(ABDOMEN5, SPACING_MM, raw), rule).believed(group)
    assert ABDOMEN5.names.index("spleen") in two
    assert ABDOMEN5.names.index("liver") in three


@pytest.mark.parametrize(
    ("word", "fuse", "message"),
    [
        ("liver=liver", True, "no dataset 'liver'; did you mean 'livers'"),
        ("livers", False, "add it"),
    ],
)
def test_a_rule_that_would_change_nothing_is_refused(raw, word, fuse, message):
    with pytest.raises(MarginaliaError, match=message):
        run(raw, fuse=fuse, precedence=[word])


def test_pairs_that_are_not_fused_are_in_the_table_and_what_is_settled_leaves_it(two_livers):
    both = np.maximum(label(np.s_[4:12, 22:40, 5:18], 1), label(SPLEEN_BOX, 7))
    write(two_livers / "spleens" / "x", draw(0), both)
    assert len(run(two_livers).manifest) == 4
    (row,) = disagreements_of(two_livers)
    assert (row["fused"], float(row["dice"])) == ("False", 0.0)
    write(two_livers / "spleens" / "x", draw(0), np.maximum(label(LIVER_BOX, 1), both * (both > 1)))
    run(two_livers)
    (row,) = disagreements_of(two_livers)
    assert (row["fused"], float(row["dice"]), row["mask"], row["box"]) == ("True", 1.0, "", "")
    folder = two_livers.parent / "out" / "disagreements"
    assert [p.name for p in folder.iterdir()] == ["disagreements.csv"]


@pytest.mark.parametrize("words", ["lung=a", "liver=", "a,,b"])
def test_a_rule_that_says_nothing_is_refused(words):
    with pytest.raises(MarginaliaError, match=r"expected DATASET,... or CLASS=DATASET"):
        Precedence.from_words([words], ABDOMEN5.names)
