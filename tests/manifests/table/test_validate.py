"""Validation: a sound manifest has no problem, and each fault is told where it is."""

import gzip
import struct
from dataclasses import replace

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest

from manifests.classes.label_space import load_label_space
from manifests.ground.findings import Finding
from manifests.table.case import SCHEMA
from manifests.table.validate import Problem

LIVER = [["liver", "liver_tumour"]]


@pytest.fixture
def problems_with(make_case, make_manifest, problems_of):
    """The problems of one case with some columns changed, without its files."""

    def find(**columns):
        return problems_of(make_manifest([replace(make_case(), **columns)]), files=False)

    return find


@pytest.fixture
def on_disk(make_case, make_manifest, write_volumes, tmp_path):
    """A sound manifest with its volumes."""
    cases = [make_case("btcv/1"), make_case("msd_liver/1", blocks=LIVER, split="test")]
    return make_manifest([write_volumes(c, tmp_path) for c in cases], folder=tmp_path)


def columns_of(problems):
    return [p.column for p in problems]


# What is sound.


def test_sound_manifest_has_no_problem(on_disk, problems_of):
    assert problems_of(on_disk, hashes=True) == []


@pytest.mark.parametrize("name", ["abdomen13", "pancreas_tumour"])
def test_sound_in_other_label_spaces(make_case, make_manifest, name, problems_of):
    space = load_label_space(name)
    assert problems_of(make_manifest([make_case(space=space)], space=space), files=False) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"split": None},
        {"findings": (Finding("no_kidney", "none"),)},
        {"source_size": (512, 512, 90)},
        {"volume_ml": tuple(n * 0.00675 * (1 + 1e-9) for n in (1050, 10, 20, 30, 40, 50))},
    ],
)
def test_what_is_allowed(problems_with, columns):
    assert problems_with(**columns) == []


def test_empty_manifest_is_sound(make_manifest, problems_of):
    assert problems_of(make_manifest([])) == []


# Columns.


@pytest.mark.parametrize(
    ("columns", "column", "expected", "got"),
    [
        ({"split": "dev"}, "split", "one of train, validation, test, or none", "'dev'"),
        (
            {"merged": (0, 1, 0, 3, 4, 5)},
            *("merged", "[0, 1, 2, 3, 4, 5], the join of blocks and label space"),
            "[0, 1, 0, 3, 4, 5]",
        ),
        (
            {"merged": (0, 2, 2, 3, 4, 5)},
            *("merged", "each class sent to the smallest of its group", "[0, 2, 2, 3, 4, 5]"),
        ),
        (
            {"annotated": ("liver",)},
            *("annotated", "liver, spleen, pancreas, left_kidney, right_kidney", "liver"),
        ),
        ({"merged": (0, 1)}, "merged", "6 numbers", "2: [0, 1]"),
        ({"voxels": (1200,)}, "voxels", "6 numbers", "1: [1200]"),
        ({"volume_ml": ()}, "volume_ml", "6 numbers", "0: []"),
        ({"spacing_mm": (1.5, 1.5)}, "spacing_mm", "3 numbers", "2: [1.5, 1.5]"),
        ({"source_origin_mm": (0.0,) * 4}, "source_origin_mm", "3 numbers", None),
        ({"source_spacing_mm": ()}, "source_spacing_mm", "3 numbers", None),
        ({"source_size": (1,)}, "source_size", "3 numbers", None),
        ({"origin_mm": (1.0,)}, "origin_mm", "3 numbers", None),
        ({"size": (12, 10)}, "size", "3 numbers", None),
        (
            {"voxels": (1050, 10, 20, 30, 40, None)},
            *("voxels", "no empty cells", "[1050, 10, 20, 30, 40, None]"),
        ),
        ({"blocks": (("liver", None),)}, "blocks", "no empty cells", "[['liver', None]]"),
        (
            {"blocks": (("liver",), ("liver", "spleen"))},
            *("blocks", "sets of structures that do not overlap"),
            "structure 'liver' is in two blocks",
        ),
        (
            {"voxels": (1051, 10, 20, 30, 40, 49), "volume_ml": (7.09425, 0, 0, 0, 0, 0)},
            *("volume_ml", None, None),
        ),
        (
            {"source_spacing_mm": (0.7, 0.7, 0.0)},
            *("source_spacing_mm", "three finite numbers above 0", "[0.7, 0.7, 0.0]"),
        ),
        (
            {"source_spacing_mm": (0.7, float("nan"), 1.0)},
            *("source_spacing_mm", "three finite numbers above 0", None),
        ),
        ({"source_size": (512, 512, -1)}, "source_size", "three finite numbers above 0", None),
        (
            {"volume_ml": (7.0875, 0.0675, 0.135, 0.2025, 0.27, 0.3376)},
            *("volume_ml", None, "[7.0875, 0.0675, 0.135, 0.2025, 0.27, 0.3376]"),
        ),
        ({"spacing_mm": (1.5, 1.5, 5.0)}, "volume_ml", None, None),
    ],
)
def test_fault_in_a_column(problems_with, columns, column, expected, got):
    (problem,) = problems_with(**columns)
    assert (problem.case_id, problem.column) == ("btcv/1", column)
    assert expected is None or problem.expected == expected
    assert got is None or problem.got == got


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        ((1050, 10, 20, 30, 40, 51), "1200 in all, by size"),
        ((1110, 10, -20, 10, 40, 50), "counts from 0"),
    ],
)
def test_voxels_that_make_no_sense(problems_with, voxels, expected):
    volume_ml = tuple(n * 0.00675 for n in voxels)
    (problem,) = problems_with(voxels=voxels, volume_ml=volume_ml)
    assert problem == Problem("btcv/1", "voxels", expected, problem.got)
    assert str(list(voxels)) in problem.got


def test_voxels_of_a_class_that_is_no_representative(make_case, make_manifest, problems_of):
    case = make_case(blocks=LIVER)
    volume_ml = tuple(n * 0.00675 for n in (1164, 10, 0, 26, 0, 0))
    manifest = make_manifest([replace(case, voxels=(1164, 10, 0, 26, 0, 0), volume_ml=volume_ml)])
    (problem,) = problems_of(manifest, files=False)
    assert problem.column == "voxels"
    assert problem.got.startswith("pancreas: ")


def test_size_and_voxels_disagree(problems_with):
    assert columns_of(problems_with(size=(12, 10, 9))) == ["voxels"]


def test_finding_of_later(make_case, make_manifest, problems_of):
    manifest = make_manifest([make_case()])
    field = SCHEMA.field("findings")
    later = pa.array([[{"code": "later", "reason": ""}]], field.type)
    table = manifest.table.set_column(SCHEMA.get_field_index("findings"), field, later)
    (problem,) = problems_of(manifest.with_table(table), files=False)
    assert (problem.column, problem.got) == ("findings", "'later'")


# Rows against each other.


def test_case_that_is_there_twice(make_case, make_manifest, problems_of):
    manifest = make_manifest([make_case("a/1"), make_case("a/2"), make_case("a/1", image="x.nii")])
    problems = problems_of(manifest, files=False)
    assert problems[0] == Problem("a/1", "case_id", "one row", "2 rows")
    assert problems[1:] == [
        Problem("a/1", "label", "a file of its own", "cases/a/1/label.nii, the file of a/1")
    ]


def test_subject_in_two_splits(make_case, make_manifest, problems_of):
    splits = {"a/1": "train", "a/2": None, "a/3": "train", "b/1": "test"}
    cases = [make_case(c, subject_id="p", split=split) for c, split in splits.items()]
    assert problems_of(make_manifest(cases), files=False) == [
        Problem(
            *("b/1", "split", "one split for each subject"),
            "test, with a/1 of the same subject in train",
        )
    ]


def test_related_cases_in_two_splits(make_case, make_manifest, problems_of):
    cases = [
        make_case("a/1", related=("b/1", "gone/1")),
        make_case("b/1", subject_id="a/1", split="test"),
        make_case("c/1", split="validation"),
    ]
    problems = problems_of(make_manifest(cases), files=False)
    assert problems == [
        Problem(
            *("b/1", "split", "one split for each subject"),
            "test, with a/1 of the same subject in train",
        )
    ]


def test_related_cases_of_two_subjects(make_case, make_manifest, problems_of):
    cases = [make_case("a/1", related=("b/1",)), make_case("b/1", split="test")]
    assert problems_of(make_manifest(cases), files=False) == [
        Problem(
            *("b/1", "split", "one split for each subject"),
            "test, with a/1 of the same image or patient in train",
        ),
        Problem(
            "b/1", "subject_id", "a/1, as of related cases", "b/1, with the related cases none"
        ),
    ]


# Files.


def first_image(manifest):
    return manifest.path(manifest.case("btcv/1").image)


def save(path, array, affine=None):
    nib.Nifti1Image(array, nib.load(path).affine if affine is None else affine).to_filename(path)


def remove(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def prolong(path):
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path):
    path.write_bytes(b"")


def compress(path):
    path.write_bytes(gzip.compress(path.read_bytes()))


def store_floats(path):
    save(path, np.zeros((12, 10, 10), np.float32))


def store_big_endian(path):
    image = nib.load(path)
    header = image.header.as_byteswapped(">")
    nib.Nifti1Image(np.asarray(image.dataobj), None, header).to_filename(path)


def shorten(path):
    save(path, np.zeros((12, 10, 9), np.int16))


def flip(path):
    save(path, np.zeros((12, 10, 10), np.int16), nib.load(path).affine @ np.diag([-1, 1, 1, 1]))


def stretch(path):
    save(path, np.zeros((12, 10, 10), np.int16), nib.load(path).affine @ np.diag([1, 1, 2, 1]))


def shift(path):
    affine = nib.load(path).affine
    affine[0, 3] += 1
    save(path, np.zeros((12, 10, 10), np.int16), affine)


def scale(path):
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", 2.0, 0.0)  # scl_slope, scl_inter
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "expected", "got"),
    [
        (remove, "a file", "nothing at "),
        (truncate, "2752 bytes, by the header", "2751 bytes"),
        (prolong, "2752 bytes, by the header", "2753 bytes"),
        (empty, "an uncompressed NIfTI-1 volume", None),
        (compress, "an uncompressed NIfTI-1 volume", None),
        (store_floats, "voxels of int16, little-endian", "float32"),
        (store_big_endian, "voxels of int16, little-endian", "int16 (>i2)"),
        (shorten, "a volume of [12, 10, 10] voxels", "[12, 10, 9]"),
        (flip, "axes in LPS order", "[[1.5, "),
        (stretch, "axes in LPS order", None),
        (shift, "axes in LPS order", None),
        (scale, "stored values that are the values", "slope and intercept (2.0, 0.0)"),
    ],
)
def test_fault_in_a_file(on_disk, damage, expected, got, problems_of):
    damage(first_image(on_disk))
    (problem,) = problems_of(on_disk)
    assert (problem.case_id, problem.column) == ("btcv/1", "image")
    assert problem.expected.startswith(expected)
    assert problem.got.startswith(got or "")
    assert problems_of(on_disk, files=False) == []


def test_label_is_of_bytes(on_disk, problems_of):
    path = on_disk.path(on_disk.case("btcv/1").label)
    save(path, np.zeros((12, 10, 10), np.int16))
    assert problems_of(on_disk)[0].expected == "voxels of uint8, little-endian"


@pytest.mark.parametrize("hashes", [False, True])
def test_changed_voxel_is_seen_by_its_hash(on_disk, hashes, problems_of):
    path = first_image(on_disk)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    problems = problems_of(on_disk, hashes=hashes)
    assert columns_of(problems) == (["image_sha256"] if hashes else [])
    if hashes:
        assert problems[0].expected == on_disk.case("btcv/1").image_sha256


@pytest.mark.parametrize("hashes", [False, True])
@pytest.mark.parametrize("path", ["../image.nii", "/etc/passwd", "out/image.nii"])
def test_path_that_leaves_the_folder(on_disk, make_manifest, path, hashes, problems_of):
    (on_disk.folder / "out").symlink_to(on_disk.folder.parent)
    case = replace(on_disk.case("btcv/1"), image=path)
    problems = problems_of(make_manifest([case], folder=on_disk.folder), hashes=hashes)
    assert [(p.column, p.expected) for p in problems] == [
        ("image", "a path inside the manifest's folder")
    ]


def test_rows_without_form_and_files_are_told_together(on_disk, make_manifest, problems_of):
    case = replace(on_disk.case("btcv/1"), spacing_mm=(1.5,), label="nowhere.nii")
    problems = problems_of(make_manifest([case], folder=on_disk.folder))
    assert columns_of(problems) == ["spacing_mm", "label"]
