"""What a person decided on single cases, from the file to the manifest."""

import csv
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

import curate.commands
from curate.cases.overrides import load_overrides
from curate.cases.target import Target
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest, plan
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import OverrideError
from manifests.table.manifest import read_manifest
from manifests.table.sql import select_cases

SPACING_MM = (6.0, 6.0, 6.0)
FIRST, SECOND = "kits19/case_00000", "kits19/case_00001"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    cases = {"btcv": 1, "kits19": 2}
    write_phantom_archives(folder, seed=1, cases=cases, spacing_mm=(6.0, 6.0))
    return folder


@pytest.fixture(scope="module")
def undecided(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undecided")
    run(raw, folder)
    return folder / "out"


@pytest.fixture
def prepared(undecided, tmp_path):
    """A folder where both cases of KiTS19 stand, made as found."""
    shutil.copytree(undecided, tmp_path / "out")
    return read_manifest(tmp_path / "out")


def write(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def decided(case, decision, reason="seen"):
    return f'["{case}"]\n{decision}\nreason = "{reason}"\n'


def request(raw, tmp_path, text="", *, names=("kits19",)):
    overrides = load_overrides(write(tmp_path, text))
    target = Target(load_label_space("abdomen5"), SPACING_MM, tmp_path / "out")
    recipes = tuple(load_recipe(name) for name in names)
    return PrepareRequest(recipes, raw, target, overrides=overrides)


def run(*arguments, **options):
    return prepare(request(*arguments, **options), workers=1)


def case_of(report, case_id):
    return next(c for c in report.manifest.cases() if c.case_id == case_id)


def labels(manifest, case_id):
    case = next(c for c in manifest.cases() if c.case_id == case_id)
    path = manifest.path(case.label)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_only_the_case_whose_decision_changed_is_made_again(raw, tmp_path, prepared):
    found = labels(prepared, FIRST)
    swapped = run(raw, tmp_path, decided(FIRST, 'kidneys = "swap"'))
    assert swapped.made == 1
    assert np.array_equal(labels(swapped.manifest, FIRST), np.array([0, 1, 2, 3, 5, 4])[found])
    assert run(raw, tmp_path, decided(FIRST, 'kidneys = "swap"')).made == 0
    (planned,) = plan(request(raw, tmp_path, decided(FIRST, 'kidneys = "swap"', "seen again")))
    assert [case.case_id for case in planned.open] == [FIRST]
    again = run(raw, tmp_path)
    assert again.made == 1
    assert np.array_equal(labels(again.manifest, FIRST), found)


@pytest.mark.usefixtures("prepared")
def test_the_decision_and_its_reason_are_findings(raw, tmp_path):
    report = run(raw, tmp_path, decided(FIRST, 'kidneys = "merged"', "fused, says the report"))
    findings = {f.code: f.reason for f in case_of(report, FIRST).findings}
    assert findings["kidneys_overridden"] == "merged: fused, says the report"
    assert case_of(report, FIRST).merged == (0, 0, 0, 0, 4, 4)
    assert "kidneys_overridden" not in {f.code for f in case_of(report, SECOND).findings}
    where = "list_has_any([f.code for f in findings], ['kidneys_overridden', 'kidneys_fused'])"
    with select_cases(report.path, where) as cases:
        assert cases.ids() == [FIRST]


def test_a_plane_parts_the_kidneys_where_it_stands(raw, tmp_path, prepared):
    grid_x = next(prepared.cases()).origin_mm[0]
    found = labels(prepared, FIRST)
    lowest = np.flatnonzero((found == 4).any(axis=(0, 1)))[0] * SPACING_MM[0] + grid_x
    cut = lowest + 20.0  # through the left kidney
    report = run(raw, tmp_path, decided(FIRST, f"cut_x_mm = {cut}"))
    x_mm = grid_x + SPACING_MM[0] * np.arange(found.shape[2])
    parted = labels(report.manifest, FIRST)
    far = abs(x_mm - cut) > SPACING_MM[0]  # resampling moves the border by less
    kidney = (found >= 4) & far
    assert (parted[kidney & (x_mm > cut)] == 4).all()
    assert (parted[kidney & (x_mm < cut)] == 5).all()


@pytest.mark.usefixtures("prepared")
def test_a_decision_that_does_not_fit_sets_the_case_aside(raw, tmp_path):
    report = run(raw, tmp_path, decided(FIRST, "cut_x_mm = 9999"))
    assert [(r.case.case_id, r.finding.code) for r in report.rejected] == [
        (FIRST, "override_impossible")
    ]
    assert "9999" in report.rejected[0].finding.reason
    assert len(report.manifest) == 1


@pytest.mark.usefixtures("prepared")
def test_a_skipped_case_is_listed_and_is_no_failure(raw, tmp_path):
    overrides = write(tmp_path, decided(SECOND, "skip = true", "another patient"))
    arguments = ["prepare", "kits19", "--raw", raw, "--out", tmp_path / "out", "--jobs", 1]
    arguments += ["--spacing", *SPACING_MM, "--overrides", overrides]
    result = CliRunner().invoke(curate.commands.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "rejected.csv").open(newline="") as file:
        assert [(r["case"], r["code"], r["reason"]) for r in csv.DictReader(file)] == [
            ("case_00001", "skipped", "another patient")
        ]
    assert [c.case_id for c in read_manifest(tmp_path / "out").cases()] == [FIRST]
    # another dataset alone brings it back neither with the overrides nor without
    others = ["prepare", "btcv", *arguments[2:-2]]
    for words in (others, [*others, "--overrides", overrides]):
        result = CliRunner().invoke(curate.commands.app, [str(a) for a in words])
        assert result.exit_code == 0, result.output
        ids = [c.case_id for c in read_manifest(tmp_path / "out").cases()]
        assert [i for i in ids if i.startswith("kits19")] == [FIRST]
        assert len(ids) == 2
    shutil.rmtree(tmp_path / "out" / "cases" / "btcv")
    again = run(raw, tmp_path)  # its files were kept
    assert (again.made, len(again.manifest)) == (0, 2)


def test_a_file_that_is_not_there_is_told_with_one_that_may_be_meant(tmp_path):
    write(tmp_path, decided(FIRST, "skip = true"))
    with pytest.raises(OverrideError, match=r"no file .*mime.toml; did you mean 'mine.toml'"):
        load_overrides(tmp_path / "mime.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (decided(FIRST, 'kidney = "left"'), "kidney"),
        (decided(FIRST, 'kidneys = "both"'), "'both'"),
        (decided(FIRST, 'kidneys = "left"\nskip = true'), "skip = true alone"),
        (decided(FIRST, "skip = false"), "skip = true alone"),
        (decided(FIRST, "cut_x_mm = nan"), "finite"),
        (decided(FIRST, 'skip = "yes"'), "skip"),
        (decided(FIRST, "skip = true", ""), "reason"),
        (f'["{FIRST}"]\nskip = true', "reason"),
        (decided("case_00000", "skip = true"), "case_00000"),
        ("[", "cannot be read"),
    ],
)
def test_a_file_that_is_not_well_formed(tmp_path, text, said):
    with pytest.raises(OverrideError, match=said):
        load_overrides(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (decided("kits19/case_00009", "skip = true"), "kits19 has no case 'kits19/case_00009'"),
        (decided("kist19/case_00000", "skip = true"), "kist19"),
        (decided("btcv/0001", 'kidneys = "swap"'), "does not split kidneys"),
    ],
)
def test_a_decision_on_a_case_that_is_not_there(raw, tmp_path, text, said):
    with pytest.raises(OverrideError, match=said):
        run(raw, tmp_path, text, names=("btcv", "kits19"))
    assert not (tmp_path / "out" / "cases").exists()


@pytest.mark.usefixtures("prepared")
def test_decisions_on_datasets_of_another_run_may_stand(raw, tmp_path):
    (planned,) = plan(request(raw, tmp_path, decided("msd_liver/liver_9", "skip = true")))
    assert planned.open == ()
