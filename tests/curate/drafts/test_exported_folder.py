"""A dataset that was exported to nnU-Net and read back is the same dataset."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate.cases.target import Target
from curate.drafts.exported_folder import read_exported, write_recipes
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.changes.edits import edit
from manifests.changes.given_split import official_split
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.classes.label_space import load_label_space
from manifests.exports.nnunet.plan import NnunetRequest, plan_nnunet
from manifests.exports.nnunet.write import write_cases, write_documents
from manifests.exports.selection import select_for_export
from manifests.ground.errors import RecipeError
from manifests.table.manifest import FILE_NAME, read_manifest, write_manifest
from marginalia import app

SPACING_MM = (6.0, 6.0, 6.0)
CASES = {"btcv": 2, "msd_liver": 3, "kits19": 2}
COMPARED = ("merged", "annotated", "voxels", "size", "spacing_mm", "split")

pytestmark = pytest.mark.usefixtures("_in_this_process")


def prepared(recipes, raw, out):
    target = Target(load_label_space("abdomen5"), SPACING_MM, out)
    return prepare(PrepareRequest(tuple(recipes), raw, target), workers=1).manifest


@pytest.fixture
def original(tmp_path):
    """Two of the cases are edited, so that one dataset has two annotations."""
    write_phantom_archives(tmp_path / "raw", seed=1, cases=CASES, spacing_mm=(6.0, 6.0))
    manifest = prepared(map(load_recipe, CASES), tmp_path / "raw", tmp_path / "first")
    held_out = SplitRequest(test_by_dataset={"btcv": 1}, validation_by_dataset={"msd_liver": 1})
    manifest = assign_splits(manifest, held_out)
    first = next(c.case_id for c in manifest.cases() if c.dataset == "btcv" and c.split == "train")
    manifest = edit(manifest, drop=["spleen"], where=f"case_id = '{first}'")
    write_manifest(manifest, tmp_path / "first" / FILE_NAME)
    return read_manifest(tmp_path / "first")


def export(manifest, folder, partial="trainer"):
    selection = select_for_export(manifest.folder)
    plan = plan_nnunet(selection, NnunetRequest(folder, partial))
    assert not [w for w in write_cases(plan) if w.problem]
    write_documents(plan)


def facts_of(case):
    return {name: getattr(case, name) for name in COMPARED}


def test_the_manifest_that_comes_back_is_equal(original, tmp_path):
    folder = tmp_path / "raw2" / "Dataset501_Union"
    export(original, folder)
    result = CliRunner().invoke(
        app, ["recipe", "new", str(folder), "--out", str(tmp_path / "recipes")]
    )
    assert result.exit_code == 0, result.output
    paths = sorted((tmp_path / "recipes").iterdir())
    assert [p.stem for p in paths] == ["btcv", "btcv_2", "kits19", "msd_liver"]
    back = prepared(map(load_recipe, paths), folder.parent, tmp_path / "second")
    given = official_split(tmp_path / "second" / FILE_NAME)
    back = assign_splits(back, SplitRequest(given=given))
    names = {case.case_id.replace("/", "_"): case for case in original.cases()}
    found = {Path(case.case_id).name: case for case in back.cases()}
    assert found.keys() == names.keys()
    for name, case in found.items():
        assert facts_of(case) == facts_of(names[name]), name
        assert case.volume_ml == pytest.approx(names[name].volume_ml)
        assert case.subject_id.endswith(names[name].subject_id.rpartition("/")[2])
        assert case.voxels_sha256 == names[name].voxels_sha256


def test_a_recipe_that_is_there_is_kept(original, tmp_path):
    folder = tmp_path / "Dataset501_Union"
    export(original, folder)
    exported = read_exported(folder)
    write_recipes(exported, folder, tmp_path / "recipes", force=False)
    with pytest.raises(RecipeError, match="exists"):
        write_recipes(exported, folder, tmp_path / "recipes", force=False)
    write_recipes(exported, folder, tmp_path / "recipes", force=True)


def test_what_is_told_of_an_export_is_taken_or_refused(original, tmp_path):
    folder, one = tmp_path / "Dataset501_Union", tmp_path / "Dataset502_One"
    export(original, folder)
    runner, out = CliRunner(), str(tmp_path / "recipes")
    told = runner.invoke(app, ["recipe", "new", str(folder), "--name", "mine"])
    assert "btcv, kits19, msd_liver, which keep their names" in str(told.exception)
    told = runner.invoke(app, ["recipe", "new", str(folder), "--value", "1=liver"])
    assert "leave out --value" in str(told.exception)
    plan = plan_nnunet(
        select_for_export(original.folder, "dataset = 'msd_liver'"), NnunetRequest(one, "trainer")
    )
    assert not [w for w in write_cases(plan) if w.problem]
    write_documents(plan)
    told = runner.invoke(app, ["recipe", "new", str(one), "--name", "mine", "--out", out])
    assert told.exit_code == 0, told.output
    assert load_recipe(tmp_path / "recipes" / "mine.toml").name == "mine"


def test_a_damaged_description_is_refused(original, tmp_path):
    folder = tmp_path / "Dataset501_Union"
    export(original, folder)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(folder / "marginalia.json", copy)
    (copy / "marginalia.json").write_text((copy / "marginalia.json").read_text()[:-100])
    with pytest.raises(RecipeError, match="cannot be read"):
        read_exported(copy)
