"""From a folder of a user's own to a recipe, and from that to cases."""

import gzip
import json
import re
import shlex
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from rich.console import Console
from typer.testing import CliRunner

import curate.commands
from curate.drafts.label_values import LabelValues, spread_sample
from curate.drafts.trial import Trial, trial_table
from curate.recipes.schema import load_recipe
from manifests.ground.errors import MarginaliaError
from manifests.table.manifest import read_manifest
from tests.curate import published
from tests.curate.published import inside

pytestmark = pytest.mark.usefixtures("_in_this_process")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """What is written without a folder is written here."""
    monkeypatch.chdir(tmp_path)


def run(*words, told=None):
    return CliRunner().invoke(curate.commands.app, [str(w) for w in words], input=told)


def succeed(*words):
    result = run(*words)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def refuse(*words):
    result = run(*words)
    assert isinstance(result.exception, MarginaliaError), result.output
    return str(result.exception)


def unpacked(dataset, folder):
    path = getattr(published, dataset)(folder)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            archive.extractall(folder / "raw", filter="data")
    else:
        zipfile.ZipFile(path).extractall(folder / "raw")
    return folder / "raw"


def values_of(names):
    return [word for v, n in names.items() for word in ("--value", f"{v}={n}")]


LAYOUTS = {
    # data set: where its folder lies below what was unpacked, and what has to be said
    "amos22": ("amos22", values_of({**published.AMOS, 15: "prostate+uterus"})),
    "flare22": ("FLARE22Train", values_of(published.FLARE)),
    "totalsegmentator": ("", []),
    "kits23": ("kits23", values_of({1: "kidney", 2: "kidney tumour", 3: "kidney"})),
    "msd_colon": ("Task10_Colon", []),
    "msd_hepatic_vessel": (
        "Task08_HepaticVessel",
        ["--declare", "hepatic_vessel", *values_of({1: "hepatic_vessel", 2: "liver_tumour"})],
    ),
}


@pytest.mark.parametrize("dataset", LAYOUTS)
def test_a_written_recipe_says_what_the_shipped_one_says(tmp_path, dataset):
    below, words = LAYOUTS[dataset]
    root = unpacked(dataset, tmp_path) / below
    succeed("recipe", "new", root, "--name", "mine", *words)
    mine, shipped = load_recipe(tmp_path / "mine.toml"), load_recipe(dataset)
    assert set(mine.blocks) == set(shipped.blocks)
    if not shipped.masks:
        assert {v: set(s) for v, s in mine.values.items()} == {
            v: set(s) for v, s in shipped.values.items()
        }
    assert mine.layout.kind == shipped.layout.kind
    assert mine.split_kidneys == shipped.split_kidneys
    output = succeed("recipe", "check", tmp_path / "mine.toml", "--data", root)
    assert "with image and label" in output


def own_folder(root):
    """nnU-Net's raw layout: a liver with its tumour, and a spleen, in two cases."""
    for number in (1, 2):
        label = published.drawn({1: "liver", 2: "liver_tumour", 4: "spleen"})
        for path, content in (
            (f"imagesTr/own_{number:03d}_0000.nii.gz", published.ct(number)),
            (f"labelsTr/own_{number:03d}.nii.gz", published.gzipped(label)),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
    labels = {"background": 0, "Liver": 1, "cancer": 2, "Spleen": 4}
    (root / "dataset.json").write_text(json.dumps({"name": "Own", "labels": labels}))
    return root


def test_from_a_folder_to_cases(tmp_path):
    root = own_folder(tmp_path / "Dataset001_Own")
    output = succeed("recipe", "new", root, "--licence", "CC0-1.0", "--commercial-use")
    assert "2 cases, nnunet" in output
    path = tmp_path / "dataset001_own.toml"
    recipe = load_recipe(path)
    assert recipe.values == {1: ("liver",), 2: ("liver_tumour",), 4: ("spleen",)}
    assert (recipe.title, recipe.licence, recipe.commercial_use) == ("Own", "CC0-1.0", True)
    assert recipe.labelled_cases == 2
    spacing = [str(published.SPACING_MM)] * 3
    words = ["--raw", tmp_path, "--out", tmp_path / "out", "--jobs", 1, "--spacing", *spacing]
    succeed("prepare", path, *words)
    cases = list(read_manifest(tmp_path / "out").cases())
    assert [c.case_id for c in cases] == ["dataset001_own/own_001", "dataset001_own/own_002"]
    for case in cases:
        assert case.annotated == ("liver", "spleen")
        volume = sitk.ReadImage(str(tmp_path / "out" / case.label))
        ids = sitk.GetArrayFromImage(volume).transpose(2, 1, 0)
        expected = np.where(inside("liver"), 1, 0) + np.where(inside("spleen"), 2, 0)
        assert np.array_equal(ids, expected)


def test_the_next_command_can_be_pasted_if_a_folder_has_blanks(tmp_path):
    root = own_folder(tmp_path / "my own data")
    (said,) = [line for line in succeed("recipe", "new", root).splitlines() if "next: " in line]
    command, *words = shlex.split(said.removeprefix("next: "))
    assert command == "marginalia"
    assert words[-1] == str(root)
    assert "2 cases" in succeed(*words)


def test_what_is_told_goes_before_what_is_guessed(tmp_path):
    root = own_folder(tmp_path / "own")
    succeed("recipe", "new", root, "--value", "2=pancreas_tumour", "--value", "1=Pancreas")
    recipe = load_recipe(tmp_path / "own.toml")
    assert recipe.values == {1: ("pancreas",), 2: ("pancreas_tumour",), 4: ("spleen",)}


def test_a_part_that_no_value_has_stands_with_its_organ(tmp_path):
    root = unpacked("flare22", tmp_path) / "FLARE22Train"
    succeed("recipe", "new", root, "--name", "mine", *values_of(published.FLARE))
    assert load_recipe(tmp_path / "mine.toml").values[1] == ("liver", "liver_tumour")


def test_a_file_is_not_written_over(tmp_path):
    root = own_folder(tmp_path / "own")
    out = tmp_path / "own.toml"
    out.write_text("mine")
    assert "exists" in refuse("recipe", "new", root)
    assert out.read_text() == "mine"
    succeed("recipe", "new", root, "--force")
    assert load_recipe(out).name == "own"


def test_a_failed_draft_leaves_no_file(tmp_path):
    root = own_folder(tmp_path / "own")
    message = refuse("recipe", "new", root, "--name", "Not A Name")
    assert "name" in message
    assert "Not A Name.toml" in message
    assert [p.name for p in tmp_path.iterdir()] == ["own"]


def test_names_from_a_file_stay_in_their_comments(tmp_path):
    root = own_folder(tmp_path / "own")
    labels = {"background": 0, 'x"]\n[structures.evil]\n#': 1, "spleen": 4, "b": 2}
    told = {"name": 'a"\nversion = "2', "licence": "l\x7f\u2028", "labels": labels}
    (root / "dataset.json").write_text(json.dumps(told))
    succeed("recipe", "new", root, "--value", "1=liver", "--value", "2=liver_tumour")
    recipe = load_recipe(tmp_path / "own.toml")
    assert recipe.title == 'a" version = "2'
    assert recipe.version == "1"
    assert recipe.licence == "l\x7f"
    assert not recipe.structures


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "value 1, in 2 of 2 labels"),
        (["--value", "1=splen"], "did you mean 'spleen'"),
        (["--value", "1=heart"], "--declare"),
        (["--value", "1"], "as in 1=liver"),
        (["--value", "liver=1"], "expected a label value"),
        (["--declare", "My Heart"], "small letters"),
        (["--value", "1=liver", "--value", "2=liver", "--value", "4=liver+spleen"], "two values"),
    ],
)
def test_what_cannot_be_guessed_or_read_is_named(tmp_path, words, complaint):
    root = own_folder(tmp_path / "own")
    (root / "dataset.json").unlink()
    assert complaint in refuse("recipe", "new", root, *words)
    assert not (tmp_path / "own.toml").exists()


def test_a_person_is_asked(tmp_path, monkeypatch):
    root = own_folder(tmp_path / "own")
    monkeypatch.setattr("curate.drafts.commands.is_terminal", lambda: True)
    # the name, value 1 as guessed, value 2 after a slip, value 4
    result = run("recipe", "new", root, told="asked\n\nlivr_tumour\npancreas\nSpleen\n")
    assert result.exit_code == 0, result.output
    assert "value 2 ('cancer' in dataset.json), in 2 of 2 labels" in result.output
    assert "did you mean 'liver_tumour'" in result.output
    recipe = load_recipe(tmp_path / "asked.toml")
    assert recipe.values == {
        1: ("liver", "liver_tumour"),
        2: ("pancreas", "pancreas_tumour"),
        4: ("spleen",),
    }


def test_check_says_what_does_not_fit(tmp_path):
    root = own_folder(tmp_path / "own")
    succeed("recipe", "new", root)
    path = tmp_path / "own.toml"
    (root / "imagesTr" / "own_003_0000.nii.gz").write_bytes(published.ct(3))
    output = succeed("recipe", "check", path, "--data", tmp_path)
    assert "2 cases with image and label" in output
    assert "1 images have no label: imagesTr/own_003_0000.nii.gz" in output
    (root / "imagesTr" / "own_001_0000.nii.gz").unlink()
    label = published.drawn({1: "liver", 4: "spleen", 9: "stomach"})
    (root / "labelsTr" / "own_002.nii.gz").write_bytes(published.gzipped(label))
    message = refuse("recipe", "check", path, "--data", root)
    assert "1 labels have no image (own_001): expected it at imagesTr/" in message
    assert "9 (in 1 of 1 labels" in message
    (root / "labelsTr" / "own_002.nii.gz").write_bytes(gzip.compress(b"no label"))
    (root / "imagesTr" / "own_001_0000.nii.gz").write_bytes(published.ct(1))
    assert "1 labels cannot be used" in refuse("recipe", "check", path, "--data", root)


def test_check_says_which_patients_and_columns_a_recipe_finds(tmp_path):
    root = own_folder(tmp_path / "own")
    succeed("recipe", "new", root)
    path = tmp_path / "own.toml"
    (root / "t.csv").write_text("scan,Age\nown_001,70\n")
    table = '[table]\nfiles = ["t.csv"]\ncase = "scan"\n'
    text = path.read_text().replace("\n[layout]\n", f"\n{table}\n[layout]\nsubject = 'own_(.+)'\n")
    path.write_text(text)
    output = succeed("recipe", "check", path, "--data", tmp_path)
    assert "2 patients: 001, 002" in output
    assert "columns of the table: table_age" in output
    assert "(table_row_missing): 1 cases: own_002" in output
    (root / "t.csv").unlink()
    assert "expected t.csv in" in refuse("recipe", "check", path, "--data", tmp_path)


def test_check_wants_an_unpacked_folder(tmp_path):
    published.amos22(tmp_path)
    assert "is an archive" in refuse("recipe", "check", "amos22", "--data", tmp_path)


def test_labels_are_read_from_the_whole_dataset():
    assert spread_sample(list(range(100)), 3) == [0, 49, 99]
    assert spread_sample([1, 2], 5) == [1, 2]


def test_an_even_number_of_volumes_has_its_middle_as_median():
    values = LabelValues(3, {1: (10.0, 30.0)}, ())
    trial = Trial(load_recipe("btcv"), Path(), 3, (), (), (), values)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(trial_table(trial))
    assert re.search(r"1 .*spleen.* 2 .* 20 ", shown.get())
    assert values.describe(1) == "in 2 of 3 labels, 20 mL"


def test_the_proposed_name_is_no_shipped_one(tmp_path):
    root = own_folder(tmp_path / "kits19")
    succeed("recipe", "new", root)
    assert Path("my_kits19.toml").is_file()


@pytest.mark.parametrize(
    ("volume_ml", "told"),
    [(1786.4, "1,790"), (999.7, "1,000"), (123.4, "123"), (12.34, "12.3"), (0.01234, "0.0123")],
)
def test_volumes_are_told_to_three_digits_without_exponents(volume_ml, told):
    values = LabelValues(1, {1: (volume_ml,)}, ())
    assert values.describe(1) == f"in 1 of 1 labels, {told} mL"
    assert values.describe(2) == "in 0 of 1 labels"


@pytest.mark.parametrize("key", ["thing", "thing.nii.gz"])
def test_masks_that_are_not_read_are_named_and_a_suffix_may_be_left_out(tmp_path, key):
    folder = tmp_path / "masked"
    for case in ("s1", "s2"):
        for name in ("ct", "masks/liver", "masks/thing", "masks/other"):
            path = folder / case / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.zeros((4, 5, 6), np.uint8)
            values[1:3, 1:3, 1:3] = 1
            sitk.WriteImage(sitk.GetImageFromArray(values), path)
    out = tmp_path / "masked.toml"
    result = succeed("recipe", "new", folder, "--value", f"{key}=spleen", "--out", out)
    assert "thing.nii.gz = spleen" in result
    assert "not read, as their names are no known structures: other.nii.gz; to" in result
    wrong = run("recipe", "new", folder, "--value", "thng=spleen", "--force")
    assert "did you mean 'thing'" in str(wrong.exception)
