"""3D Slicer's segmentations: names, values, layers and codes, cropped or whole, in a recipe."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

import curate.commands
from curate.cases.reading import read_case
from curate.cases.target import Target
from curate.datasets.discover import discover
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from curate.slicer_labels.slicer_label import SlicerLabel
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import RecipeError
from manifests.ground.findings import SetAsideError
from manifests.volumes.grid import Grid
from manifests.volumes.readers.slicer import read_segments
from manifests.volumes.volume import read_volume
from tests.curate.defects import AFFINE, SHAPE, ct, write_nifti

LPS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
X, Y, Z = LPS[:3, 3].tolist()
GRID = Grid((24, 20, 12), (0.8, 0.8, 2.5), (X, Y, Z))
LIVER = np.s_[4:8, 8:12, 8:12]
SPLEEN = np.s_[2:5, 6:10, 6:9]  # shares 4 voxels with the liver
LESION = np.s_[5:7, 9:11, 9:11]  # lies in the liver
TERMS = "Segmentation.Status:done|TerminologyEntry:a~SCT^123037004^Anatomical Structure~"
RECIPE = """
name = "drawn"
title = "Drawn in 3D Slicer"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[layout]
kind = "slicer"
roots = ["Drawn"]
case = 'p\\d+'
images = ["{case}/ct.nii.gz"]
labels = ["{case}/Segmentation.seg.nrrd"]

[names]
'lesion \\d+' = ["liver_tumour"]
'liver' = ["liver"]
'SCT:78961009' = ["spleen"]
"""


def mask(box):
    drawn = np.zeros(SHAPE, bool)
    drawn[box] = True
    return drawn


def write_segmentation(path, segments, *, box=np.s_[:, :, :], without=()):
    """Write masks by name, each with its layer, value and tags; cropped to a box."""
    layers = np.zeros((1 + max(layer for _, layer, *_ in segments.values()), *SHAPE), np.uint8)
    for drawn, layer, value, *_ in segments.values():
        layers[layer][drawn] = value
    parts = [layer[box] for layer in layers]
    start = [0 if s.start is None else s.start for s in box[::-1]]
    stop = [start_ + n for start_, n in zip(start, parts[0].shape[::-1], strict=True)]
    grid = GRID.part(start, stop, (1, 1, 1))
    images = [grid.image(part) for part in parts]
    image = sitk.Compose(images) if len(images) > 1 else images[0]
    for n, (name, (_, layer, value, *tags)) in enumerate(segments.items()):
        said = {"ID": f"Segment_{n}", "Name": name, "Layer": layer, "LabelValue": value}
        said["Tags"] = "".join(tags)
        for key, what in said.items():
            if key not in without:
                image.SetMetaData(f"Segment{n}_{key}", str(what))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def three():
    return {
        "Liver": (mask(LIVER), 0, 1),
        "Milz": (mask(SPLEEN), 1, 1, f"{TERMS}SCT^78961009^Spleen~^^~b~^^~^^|"),
        "Lesion 7": (mask(LESION), 1, 2),
    }


def load(folder, text=RECIPE):
    path = folder / "drawn.toml"
    path.write_text(text)
    return load_recipe(path)


def read(folder, segments, recipe, **options):
    write_nifti_ct(folder / "p1")
    write_segmentation(folder / "p1" / "Segmentation.seg.nrrd", segments, **options)
    (case,) = discover(recipe, folder)
    _, label, findings = read_case(case, recipe.values)
    return label.voxels, findings


def write_nifti_ct(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder / "ct.nii.gz", ct())


# --- the file ---------------------------------------------------------------------------------


def test_segments_are_found_by_name_number_and_code_wherever_they_overlap(tmp_path):
    label = SlicerLabel(write_segmentation(tmp_path / "a.seg.nrrd", three()))
    assert label.names == ["Liver", "Milz", "Lesion 7"]
    wanted = {"liver": LIVER, "l.ver": LIVER, "#2": SPLEEN, "SCT:78961009": SPLEEN}
    for name, box in (wanted | {r"lesion \d": LESION}).items():
        assert np.array_equal(label.mask(name, GRID)[0], mask(box)), name
    both = label.mask("l.*", GRID)[0]
    assert np.array_equal(both, mask(LIVER) | mask(LESION))
    assert not label.has("lesion")
    with pytest.raises(SetAsideError, match="expected one of 'Liver', 'Milz', 'Lesion 7'"):
        label.mask("kidney", GRID)


def test_a_file_cropped_to_what_was_drawn_lies_where_it_did(tmp_path):
    box = np.s_[2:8, 6:12, 6:12]
    label = SlicerLabel(write_segmentation(tmp_path / "a.seg.nrrd", three(), box=box))
    for name, drawn in {"liver": LIVER, "milz": SPLEEN, "lesion 7": LESION}.items():
        voxels, findings = label.mask(name, GRID)
        assert np.array_equal(voxels, mask(drawn))
        assert [f.code for f in findings] == ["label_cropped"]
    elsewhere = Grid(GRID.size_xyz, GRID.spacing_mm, (X + 0.4, Y, Z))
    with pytest.raises(SetAsideError, match="no part of it in whole voxels"):
        label.mask("liver", elsewhere)


def test_old_files_have_a_layer_for_each_segment_and_the_value_1(tmp_path):
    segments = {"a": (mask(LIVER), 0, 1), "b": (mask(SPLEEN), 1, 1)}
    path = write_segmentation(tmp_path / "a.seg.nrrd", segments, without=("Layer", "LabelValue"))
    assert [(s.layer, s.value) for s in read_segments(path)] == [(0, 1), (1, 1)]
    assert np.array_equal(SlicerLabel(path).mask("b", GRID)[0], mask(SPLEEN))


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ({"a": (mask(LIVER), 0, 1), "b": (mask(SPLEEN), 0, 1)}, "a value for each segment"),
        ({"a": (mask(LIVER), 0, "one")}, "whole numbers"),
    ],
)
def test_damaged_headers_are_told_of(tmp_path, segments, words):
    told = {name: (m, layer, value) for name, (m, layer, value) in segments.items()}
    plain = {name: (m, layer, 1) for name, (m, layer, _) in segments.items()}
    path = write_segmentation(tmp_path / "a.seg.nrrd", plain)
    image = sitk.ReadImage(str(path))
    for n, (_, _, value) in enumerate(told.values()):
        image.SetMetaData(f"Segment{n}_LabelValue", str(value))
    sitk.WriteImage(image, str(path))
    with pytest.raises(SetAsideError, match=words):
        read_segments(path)


def test_a_layer_that_is_not_there_is_told_of(tmp_path):
    path = write_segmentation(tmp_path / "a.seg.nrrd", {"a": (mask(LIVER), 0, 1)})
    image = sitk.ReadImage(str(path))
    image.SetMetaData("Segment0_Layer", "3")
    sitk.WriteImage(image, str(path))
    with pytest.raises(SetAsideError, match="expected 1 layers, from 0 on; got 3"):
        SlicerLabel(path).mask("a", GRID)
    with pytest.raises(SetAsideError, match="does not exist"):
        SlicerLabel(tmp_path / "none.seg.nrrd").mask("a", GRID)


def test_a_header_that_claims_more_than_its_file_can_hold_is_refused(tmp_path):
    path = write_segmentation(tmp_path / "a.seg.nrrd", three())
    path.write_bytes(path.read_bytes().replace(b" 24 20 12", b" 2400 2000 1200"))
    with pytest.raises(SetAsideError) as error:
        SlicerLabel(path).mask("liver", GRID)
    assert error.value.finding.code == "header_implausible"


# --- a recipe ---------------------------------------------------------------------------------


def test_the_first_name_of_a_recipe_gets_the_voxels_that_two_share(tmp_path):
    recipe = load(tmp_path)
    label, findings = read(tmp_path / "Drawn", three(), recipe)
    boxes = [mask(LESION), mask(LIVER), mask(SPLEEN)]
    assert np.array_equal(label, np.select(boxes, [1, 2, 3], 0))
    assert "masks_overlap" in {f.code for f in findings}


def test_a_name_that_no_segment_has_is_what_the_recipe_says(tmp_path):
    two = {name: segment for name, segment in three().items() if name != "Milz"}
    with pytest.raises(SetAsideError, match="no segment is meant by 'SCT:78961009'"):
        read(tmp_path / "Drawn", two, load(tmp_path))
    told = RECIPE.replace('kind = "slicer"', 'kind = "slicer"\nmissing_mask = "not_annotated"')
    recipe = load(tmp_path, told)
    write_segmentation(tmp_path / "Drawn" / "p2" / "Segmentation.seg.nrrd", three())
    write_nifti_ct(tmp_path / "Drawn" / "p2")
    first, second = discover(recipe, tmp_path / "Drawn")
    assert (first.masks, first.unannotated) == ((r"lesion \d+", "liver", ""), {3})
    assert second.unannotated == frozenset()


def test_a_slicer_layout_needs_names(tmp_path):
    with pytest.raises(RecipeError, match=r"\[names\] table with the layout kind"):
        load(tmp_path, RECIPE.replace("[names]", "[masks]"))


@pytest.mark.usefixtures("_in_this_process")
def test_prepare_takes_it_as_any_label(tmp_path):
    recipe = load(tmp_path)
    read(tmp_path / "Drawn", three(), recipe, box=np.s_[2:8, 6:12, 6:12])
    target = Target(load_label_space("abdomen5"), (0.8, 0.8, 2.5), tmp_path / "out")
    report = prepare(PrepareRequest((recipe,), tmp_path, target), workers=1)
    (case,) = report.manifest.cases()
    assert case.annotated == ("liver", "spleen")
    assert case.voxels[1:3] == (mask(LIVER).sum(), (mask(SPLEEN) & ~mask(LIVER)).sum())
    assert {"label_cropped", "masks_overlap"} <= {f.code for f in case.findings}
    again = prepare(PrepareRequest((recipe,), tmp_path, target), workers=1)
    assert again.made == 0


def test_recipe_new_lists_the_names_with_their_counts(tmp_path):
    for n in (1, 2, 3):
        segments = dict(list(three().items())[: max(n, 2)])
        write_segmentation(tmp_path / "sent" / f"p{n}" / "Segmentation.seg.nrrd", segments)
        write_nifti_ct(tmp_path / "sent" / f"p{n}")
    out = tmp_path / "sent.toml"
    told = ["--value", "Milz=spleen", "--missing-mask", "absent", "--out", out]
    words = ["recipe", "new", tmp_path / "sent", *told]
    result = CliRunner(env={"COLUMNS": "300"}).invoke(curate.commands.app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    assert "3 cases, slicer" in result.output
    assert "no file was passed over" in result.output
    assert "segments of 3 cases: Liver in 3, Milz in 3, Lesion 7 in 1" in result.output
    recipe = load_recipe(out)
    assert recipe.names == {"Liver": ("liver", "liver_tumour"), "Milz": ("spleen",)}
    assert "# in 3 of 3 cases" in out.read_text()


# --- files of Slicer's own --------------------------------------------------------------------


def test_slicerio_finds_the_same_segments_in_files_of_slicers_own():
    """slicerio is of Slicer's makers, and brings two files that Slicer saved with their CT."""
    slicerio = pytest.importorskip("slicerio")
    folder = Path(slicerio.__file__).parent / "data"
    grid = read_volume(folder / "CTChest4.nrrd").grid
    for name in ("Segmentation.seg.nrrd", "SegmentationOverlapping.seg.nrrd"):
        theirs = slicerio.read_segmentation(str(folder / name))
        ours = SlicerLabel(folder / name)
        assert ours.names == [segment["name"] for segment in theirs["segments"]]
        voxels = theirs["voxels"] if theirs["voxels"].ndim == 4 else theirs["voxels"][None]
        for segment in theirs["segments"]:
            expected = segment["labelValue"] == voxels[segment["layer"]].T
            assert np.array_equal(ours.mask(segment["name"], grid)[0], expected)
        lungs = ours.mask("SCT:39607008 + SCT:24028007", grid)[0]  # lung, right
        assert np.array_equal(lungs, ours.mask("right lung", grid)[0])
