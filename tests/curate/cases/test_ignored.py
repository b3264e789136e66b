"""Voxels that nobody looked at, from the recipe to the manifest."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.cases.decisions import ignored_parts
from curate.cases.overrides import Override
from curate.cases.target import Target
from curate.drafts.folder_survey import survey
from curate.drafts.value_meanings import guess_meanings, parse_structures
from curate.kidneys.gaps import fill_gaps
from curate.kidneys.split import split_kidneys
from curate.labels.joined import Annotation, join
from curate.labels.relabel import BlockMap
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.distinctions import explain_joined_classes
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import IGNORED, load_label_space
from manifests.classes.merged import groups_of, merged_classes
from manifests.ground.errors import OverrideError, RecipeError
from manifests.table.manifest import read_manifest, write_manifest
from manifests.table.validate import validate
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume
from tests.curate.defects import SHAPE, ct, write_nifti

ABDOMEN5 = load_label_space("abdomen5")
SPACING_MM = (0.8, 0.8, 2.5)  # of the made cases: no voxel moves
RECIPE = """
name = "sparse"
title = "Some slices were drawn"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "{kind}"
roots = ["sparse"]
case = 's\\d+'
images = ["{{case}}/ct.nii.gz"]
labels = ["{{case}}/{label}"]

[{table}]
{values}
"""
LIVER = '["liver", "liver_tumour"]'
DRAWN = np.arange(SHAPE[0]) % 3 == 1

pytestmark = pytest.mark.usefixtures("_in_this_process")


def recipe_of(folder, values, *, kind="pairs"):
    path = folder / "sparse.toml"
    table, label = ("masks", "masks") if kind == "masks" else ("values", "label.nii.gz")
    path.write_text(RECIPE.format(kind=kind, label=label, table=table, values=values))
    return load_recipe(path)


def drawn_label():
    """A liver of 3 x 4 x 5 voxels in each slice, the first slices of each three ignored (6)."""
    label = np.zeros(SHAPE, np.uint8)
    label[:, 8:11, 9:13] = 1
    label[~DRAWN] = 6
    return label


def write_case(raw, label=None, name="s1"):
    folder = raw / "sparse" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder / "ct.nii.gz", ct())
    write_nifti(folder / "label.nii.gz", drawn_label() if label is None else label)


def prepared(raw, recipe, **options):
    target = Target(ABDOMEN5, SPACING_MM, raw / "out")
    return prepare(PrepareRequest((recipe,), raw, target, **options), workers=1)


def voxels_of(report, column):
    (case,) = report.manifest.cases()
    return sitk.GetArrayFromImage(sitk.ReadImage(report.manifest.path(getattr(case, column))))


# --- recipes ----------------------------------------------------------------------------------


def test_a_value_or_a_mask_is_ignored_if_the_recipe_says_so(tmp_path):
    by_value = recipe_of(tmp_path, f'1 = {LIVER}\n6 = "ignored"')
    assert by_value.values == {1: ("liver", "liver_tumour")}
    assert by_value.ignored_values == (6,)
    assert by_value.listed[6] == ("ignored",)
    assert [*by_value.covered] == [1]
    masks = f'"undrawn.nii" = "ignored"\n"liver.nii" = {LIVER}'
    by_mask = recipe_of(tmp_path, masks, kind="masks")
    assert by_mask.ignored_values == (1,)
    assert by_mask.values == {2: ("liver", "liver_tumour")}
    assert [*by_mask.covered] == ["liver.nii"]
    for recipe in (by_value, by_mask):
        explain_joined_classes(recipe, ABDOMEN5)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ('1 = "ignored"', "values"),  # and nothing else
        ('1 = ["spleen"]\n2 = "nobody"', "values.2"),
        ('1 = ["spleen"]\n2 = ["ignored"]', "unknown structure 'ignored'"),
    ],
)
def test_recipes_say_what_they_may_say(tmp_path, values, complaint):
    with pytest.raises(RecipeError) as error:
        recipe_of(tmp_path, values)
    assert complaint in str(error.value)


def test_the_ignore_label_of_nnunet_is_known(tmp_path):
    for name in ("imagesTr/c_001_0000", "labelsTr/c_001"):
        (tmp_path / name).parent.mkdir()
        write_nifti(tmp_path / f"{name}.nii.gz", ct() if "_0000" in name else drawn_label())
    labels = {"background": 0, "liver": 1, "ignore": 6}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert guess_meanings(survey(tmp_path)) == {1: ("liver",), 6: ("ignored",)}
    assert parse_structures("Ignore", ()) == ("ignored",)


# --- from the files to the manifest -----------------------------------------------------------


def test_ignored_voxels_count_in_no_volume(tmp_path):
    write_case(tmp_path)
    report = prepared(tmp_path, recipe_of(tmp_path, f'1 = {LIVER}\n6 = "ignored"'))
    (case,) = report.manifest.cases()
    seen, slice_voxels = int(DRAWN.sum()), SHAPE[1] * SHAPE[2]
    assert case.ignored == (SHAPE[0] - seen) * slice_voxels
    assert case.voxels[1] == seen * 3 * 4
    assert case.voxels[0] == seen * (slice_voxels - 3 * 4)
    assert case.volume_ml[1] == pytest.approx(seen * 12 * np.prod(SPACING_MM) / 1000)
    (finding,) = [f for f in case.findings if f.code == "voxels_ignored"]
    assert finding.reason.startswith("66.7% of the label, 66.7%")
    label = voxels_of(report, "label")
    np.testing.assert_array_equal((label == IGNORED).all(axis=(1, 2)), ~DRAWN)
    # the intensities of the liver are those of its voxels alone
    hu = voxels_of(report, "image")[label == 1]
    assert case.foreground_hu_mean == pytest.approx(hu.mean())
    assert validate(tmp_path / "out", hashes=True) == []


def test_a_mask_of_what_nobody_looked_at_comes_first(tmp_path):
    write_case(tmp_path)
    folder = tmp_path / "sparse" / "s1" / "masks"
    folder.mkdir()
    for name, value in (("undrawn.nii", 6), ("liver.nii", 1)):
        write_nifti(folder / name, (drawn_label() == value).astype(np.uint8))
    masks = f'"undrawn.nii" = "ignored"\n"liver.nii" = {LIVER}'
    by_mask = voxels_of(prepared(tmp_path, recipe_of(tmp_path, masks, kind="masks")), "label")
    np.testing.assert_array_equal(by_mask == IGNORED, drawn_label()[..., ::1] == 6)


def test_slices_are_ignored_by_range_and_only_that_case_is_made_again(tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[:, 8:11, 9:13] = 1
    for name in ("s1", "s2"):
        write_case(tmp_path, label, name)
    recipe = recipe_of(tmp_path, f"1 = {LIVER}")
    prepared(tmp_path, recipe)
    override = Override(reason="the resident stopped here", ignored_slices=[[0, 3], [9, 11]])
    report = prepared(tmp_path, recipe, overrides={"sparse/s2": override})
    assert report.made == 1
    first, second = report.manifest.cases()
    assert (first.ignored, second.ignored) == (0, 7 * SHAPE[1] * SHAPE[2])
    assert second.voxels[1] == 5 * 12
    reasons = [f.reason for f in second.findings if f.code == "overridden"]
    assert reasons == [
        "nobody looked at slices 0 to 3; nobody looked at slices 9 to 11: the resident stopped here"
    ]


def test_slices_are_those_across_the_body_in_the_order_of_the_image():
    sagittal = Grid((20, 30, 40), (1.0, 1.0, 1.0), (0.0,) * 3, (0, 0, 1, 1, 0, 0, 0, 1, 0))
    override = Override(reason="r", ignored_slices=[[2, 4]])
    axis = int(np.abs(sagittal.steps_mm[2]).argmax())
    (part,) = ignored_parts(override, sagittal)
    assert part[2 - axis] == slice(2, 5)
    assert sum(p == slice(None) for p in part) == 2
    last = sagittal.size_xyz[axis]
    with pytest.raises(OverrideError, match=f"slices 0 to {last - 1}"):
        ignored_parts(Override(reason="r", ignored_slices=[[0, last]]), sagittal)
    with pytest.raises(ValueError, match="first and the last"):
        Override(reason="r", ignored_slices=[[4, 2]])


def test_a_case_that_nobody_looked_at_is_set_aside(tmp_path):
    write_case(tmp_path, np.full(SHAPE, 6, np.uint8))
    write_case(tmp_path, name="s2")
    report = prepared(tmp_path, recipe_of(tmp_path, f'1 = {LIVER}\n6 = "ignored"'))
    assert [(r.case.name, r.finding.code) for r in report.rejected] == [("s1", "nothing_looked_at")]


def test_a_class_may_be_where_nobody_looked(tmp_path):
    label = drawn_label()
    label[label == 1] = 0
    write_case(tmp_path, label)
    report = prepared(tmp_path, recipe_of(tmp_path, f'1 = {LIVER}\n6 = "ignored"'))
    (case,) = report.manifest.cases()
    (absent,) = [f for f in case.findings if f.code == "class_absent"]
    assert absent.reason == "liver is annotated and has no voxel where somebody looked"


def test_a_manifest_without_the_column_is_read_as_before(tmp_path):
    write_case(tmp_path, (drawn_label() == 1).astype(np.uint8))
    report = prepared(tmp_path, recipe_of(tmp_path, f"1 = {LIVER}"))
    path = tmp_path / "out" / "manifest.parquet"
    older = pq.read_table(path).drop_columns(["ignored"])
    pq.write_table(older, path)
    assert [*read_manifest(path).cases()] == [*report.manifest.cases()]
    assert validate(path, hashes=True) == []
    write_manifest(read_manifest(path), path)
    assert pq.read_table(path)["ignored"].to_pylist() == [0]
    # nor is anything made again
    assert prepared(tmp_path, recipe_of(tmp_path, f"1 = {LIVER}")).made == 0


# --- blocks, joined labels, kidneys -----------------------------------------------------------


def test_ignored_voxels_stay_so_through_all_that_is_done_to_blocks():
    values = {1: ("liver",), 2: ("left_kidney", "right_kidney"), 3: ("spleen",)}
    voxels = np.array([[[0, 1, 2, 3, 6, 2]]], np.uint8)
    grid = Grid((6, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    block_map = BlockMap.of(Volume(voxels, grid), values, [6])
    sides = Volume(np.array([[[0, 0, 1, 0, 0, 2]]], np.uint8), grid)
    done = block_map.without({"spleen"}).by_side(sides).with_sides_exchanged()
    merged = merged_classes(done.blocks, ABDOMEN5)
    assert done.to_classes(ABDOMEN5, merged).voxels.ravel().tolist()[4] == IGNORED
    assert block_map.two_sided().voxels.ravel().tolist() == [0, 0, 1, 0, 0, 1]
    assert block_map.ignored().voxels.ravel().tolist() == [0, 0, 0, 0, 1, 0]
    hiding = block_map.ignoring([np.s_[:, :, 1:3]])
    assert hiding.ignored().voxels.ravel().tolist() == [0, 1, 1, 0, 1, 0]
    assert not hiding.two_sided().voxels.ravel()[2]


def annotation(blocks, ids):
    blocks = tuple(map(frozenset, blocks))
    return Annotation(blocks, merged_classes(blocks, ABDOMEN5), np.array(ids, np.uint8))


def test_where_one_did_not_look_the_other_is_believed_if_the_two_could_say_no_more():
    i = IGNORED
    liver = annotation([{"liver", "liver_tumour"}], [0, 1, i, i, 0, i])
    spleen = annotation([{"spleen"}], [0, i, 2, 0, i, i])
    joined = join(liver, spleen, ABDOMEN5)
    # no liver to one, unseen by the other: it may be spleen or background
    assert joined.annotation.ids.tolist() == [0, 1, 2, i, i, i]
    assert (joined.conflicts, joined.worst) == (0, 0.0)


@given(st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_what_is_joined_was_seen_by_someone_and_contradicts_nobody(seed):
    generator = np.random.default_rng(seed)
    every = [set(c.structures) for c in ABDOMEN5.classes]
    pair = []
    for _ in range(2):
        merged_ids = [b for b in every if generator.random() < 0.6]
        one = annotation(merged_ids, [0])
        ids = generator.choice([*groups_of(one.merged), IGNORED], 40)
        pair.append(replace(one, ids=ids.astype(np.uint8)))
    joined = join(*pair, ABDOMEN5)
    groups = groups_of(joined.annotation.merged)
    for result, a, b in zip(joined.annotation.ids, pair[0].ids, pair[1].ids, strict=True):
        seen = [(p, n) for p, n in zip(pair, (a, b), strict=True) if n != IGNORED]
        if not seen:
            assert result == IGNORED
        elif len(seen) == 1 and result != IGNORED:
            ((one, n),) = seen
            assert set(groups[result]) == set(groups_of(one.merged)[n])
        elif len(seen) == 2:
            assert result != IGNORED


def kidneys(every=1):
    """Two ellipsoids, 70 mm to each side of the middle, drawn in some of the 3 mm slices."""
    grid = Grid((100, 40, 40), (2.0, 2.0, 3.0), (-99.0, -39.0, 0.0))
    z, y, x = np.indices((40, 40, 100))
    left = ((x - 84.5) / 9) ** 2 + ((y - 20) / 9) ** 2 + ((z - 22) / 16) ** 2 < 1
    right = ((x - 14.5) / 9) ** 2 + ((y - 20) / 9) ** 2 + ((z - 17) / 16) ** 2 < 1
    hidden = np.zeros(left.shape, np.uint8)
    hidden[np.arange(40) % every > 0] = 1
    mask = ((left | right) & (hidden == 0)).astype(np.uint8)
    return Volume(mask, grid), Volume(hidden, grid), left, right


def test_kidneys_drawn_in_single_slices_have_sides_and_no_voxel_more():
    mask, hidden, left, right = kidneys(every=5)
    whole = fill_gaps(mask, hidden)
    split = split_kidneys(whole)
    assert split.method == "pair"
    assert split.findings == ()
    np.testing.assert_array_equal(split.labels.voxels[mask.voxels > 0] == 1, left[mask.voxels > 0])
    np.testing.assert_array_equal(split.labels.voxels[mask.voxels > 0] == 2, right[mask.voxels > 0])
    # without it, every slice is a component of its own
    assert "kidney_fragments" in {f.code for f in split_kidneys(mask).findings}


def test_no_gap_is_no_work():
    mask, hidden, *_ = kidneys()
    assert fill_gaps(mask, hidden) is mask
    empty = Volume(np.zeros_like(mask.voxels), mask.grid)
    assert fill_gaps(empty, hidden) is empty


def test_kidneys_of_drawn_slices_have_sides_in_the_manifest(tmp_path):
    mask, hidden, left, _ = kidneys(every=5)
    folder = tmp_path / "sparse" / "s1"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(40, 10, mask.voxels.shape)
    label = np.where(hidden.voxels, 6, mask.voxels * 2).astype(np.uint8)
    for name, voxels in (("ct", noise.astype(np.int16)), ("label", label)):
        sitk.WriteImage(mask.grid.image(voxels), folder / f"{name}.nii.gz")
    values = '2 = ["left_kidney", "right_kidney", "left_kidney_tumour", "right_kidney_tumour"]'
    text = RECIPE.replace("[layout]", "split_kidneys = true\n[layout]")
    path = tmp_path / "sparse.toml"
    path.write_text(
        text.format(
            kind="pairs",
            label="label.nii.gz",
            table="values",
            values=f'{values}\n6 = "ignored"',
        )
    )
    target = Target(ABDOMEN5, (2.0, 2.0, 3.0), tmp_path / "out")
    report = prepare(PrepareRequest((load_recipe(path),), tmp_path, target), workers=1)
    (case,) = report.manifest.cases()
    assert case.annotated == ("left_kidney", "right_kidney")
    assert case.voxels[4] == np.count_nonzero(left & (mask.voxels > 0))
    assert case.ignored == np.count_nonzero(hidden.voxels)
