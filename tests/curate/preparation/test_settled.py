"""What a folder was prepared with holds for all that is added to it."""

import pytest
from typer.testing import CliRunner

import curate.commands
from curate.cases.target import Target
from curate.preparation.output_folder import exclusive
from curate.preparation.settled import settled_target
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError, RecipeError
from manifests.table.manifest import Manifest, write_manifest

TUMOUR = load_label_space("pancreas_tumour")
SPACING_MM = (2.0, 2.0, 4.0)


@pytest.fixture
def folder(tmp_path):
    settings = {"prepare": {"spacing_mm": list(SPACING_MM), "interpolation": "cubic"}}
    manifest = Manifest.of([], TUMOUR, folder=tmp_path, settings=settings)
    write_manifest(manifest, tmp_path / "manifest.parquet")
    return tmp_path


def test_options_that_are_not_given_are_the_manifests(folder):
    assert settled_target(folder) == Target(TUMOUR, SPACING_MM, folder, "cubic")
    assert settled_target(folder, spacing_mm=SPACING_MM) == settled_target(folder)


def test_a_new_folder_has_the_defaults(tmp_path):
    standing = Target(load_label_space("abdomen5"), (1.5, 1.5, 3.0), tmp_path, "linear")
    assert settled_target(tmp_path) == standing
    assert settled_target(tmp_path, interpolation="cubic").interpolation == "cubic"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"label_space": "abdomen5"}, "--label-space: .* pancreas_tumour .*abdomen5 .*liver"),
        ({"spacing_mm": (1.0, 1.0, 1.0)}, "--spacing: .* 2.0 2.0 4.0, and 1.0 1.0 1.0"),
        ({"interpolation": "linear"}, "--interpolation: .* cubic, and linear"),
    ],
)
def test_another_value_is_refused_with_both_unless_forced(folder, other, said):
    with pytest.raises(MarginaliaError, match=f"{said}.*(?s:.*)--force"):
        settled_target(folder, **other)
    forced = settled_target(folder, **other, force=True)
    assert forced != settled_target(folder)
    kept = {"label_space": TUMOUR, "spacing_mm": SPACING_MM, "interpolation": "cubic"}
    assert all(getattr(forced, name) == kept[name] for name in kept.keys() - other.keys())


def test_a_damaged_manifest_leaves_nothing_to_guess(folder):
    (folder / "manifest.parquet").write_bytes(b"half")
    with pytest.raises(MarginaliaError, match="give --label-space, --spacing, --interpolation"):
        settled_target(folder, spacing_mm=SPACING_MM)
    given = {"label_space": "abdomen5", "spacing_mm": SPACING_MM, "interpolation": "linear"}
    assert settled_target(folder, **given).spacing_mm == SPACING_MM


def test_the_command_refuses_another_spacing(folder):
    words = ["prepare", "btcv", "--raw", folder / "none", "--out", folder, "--offline"]
    result = CliRunner().invoke(
        curate.commands.app, [str(w) for w in [*words, "--spacing", 1, 1, 1]]
    )
    assert "2.0 2.0 4.0, and 1.0 1.0 1.0" in str(result.exception)


@pytest.mark.parametrize("link", ["cases", "cases/btcv", "fused"])
def test_a_folder_of_cases_that_leads_outside_is_refused(tmp_path, link):
    out, disk = tmp_path / "out", tmp_path / "disk"
    disk.mkdir()
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(disk)
    with pytest.raises(MarginaliaError, match=f"{out / link} leads outside .*, to {disk}, .*--out"):
        exclusive(out).__enter__()
    whole = tmp_path / "whole"
    whole.symlink_to(disk)
    with exclusive(whole):
        (whole / "cases").mkdir()


def test_two_recipes_of_one_name_are_refused(tmp_path):
    text = """
name = "liv"
title = "x"
version = "VERSION"
licence = "x"
citation = "x"
homepage = ""
commercial_use = false
values = {1 = ["liver", "liver_tumour"]}
layout = {kind = "pairs", roots = ["x"], case = "[a-z]+", images = ["{case}.nii"], labels = ["{case}_l.nii"]}
"""  # noqa: E501
    for name, version in (("a", "1"), ("b", "2"), ("copy", "1")):
        (tmp_path / f"{name}.toml").write_text(text.replace("VERSION", version))
    a, b, copy = (str(tmp_path / f"{name}.toml") for name in ("a", "b", "copy"))
    for command in (["prepare", "--out", str(tmp_path / "out")], ["download"]):
        result = CliRunner().invoke(curate.commands.app, [*command, a, b])
        assert isinstance(result.exception, RecipeError)
        assert f"{a} and {b} are two recipes of one name, 'liv'" in str(result.exception)
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(curate.commands.app, ["download", a, copy, "--raw", str(tmp_path)])
    assert not isinstance(result.exception, RecipeError)


def test_a_spacing_that_cannot_be_is_blamed_before_the_folder(folder):
    with pytest.raises(MarginaliaError, match=r"--spacing: expected three numbers .* got 0 4 4"):
        settled_target(folder, spacing_mm=(0, 4, 4))
