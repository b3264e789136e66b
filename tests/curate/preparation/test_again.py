"""What a second run does anew, and what it leaves as it is."""

import csv
import errno
import json
import os
import shutil
from dataclasses import replace

import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from curate.cases import record
from curate.cases.overrides import Override
from curate.cases.target import Target
from curate.commands import app
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest, plan
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError, SourceError
from manifests.ground.unpack import unpack
from manifests.table.case import BY_CLASS
from manifests.table.dataset_facts import facts_of
from manifests.table.manifest import read_manifest
from manifests.table.validate import validate

pytestmark = pytest.mark.usefixtures("_in_this_process")
SPACING_MM = (10.0, 10.0, 10.0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    cases = {"btcv": 1, "msd_spleen": 2}
    write_phantom_archives(folder, seed=5, cases=cases, spacing_mm=(10.0, 10.0))
    for archive in ("RawData.zip", "Task09_Spleen.tar"):
        unpack(folder / archive, folder / archive.partition(".")[0])
        (folder / archive).unlink()
    (folder / "RawData").rename(folder / "btcv")
    (folder / "Task09_Spleen").rename(folder / "msd_spleen")
    return folder


@pytest.fixture
def request_(raw, tmp_path):
    recipes = tuple(map(load_recipe, ("btcv", "msd_spleen")))
    target = Target(load_label_space("abdomen5"), SPACING_MM, tmp_path / "out")
    return PrepareRequest(recipes, raw, target)


@pytest.fixture
def own_raw(raw, tmp_path, request_):
    """The same request of source files that a test may change."""
    shutil.copytree(raw, tmp_path / "raw")
    return replace(request_, raw=tmp_path / "raw")


def run(request):
    return prepare(request, workers=1)


def states(request):
    """What tells whether a file was written anew."""
    volumes = request.target.folder.glob("cases/*/*/*.nii")
    return {
        p.relative_to(request.target.folder / "cases").as_posix(): (
            p.stat().st_ino,
            p.stat().st_mtime_ns,
        )
        for p in volumes
    }


def anew(before, request):
    """The cases whose volumes were written since."""
    after = states(request)
    return sorted({p.rpartition("/")[0] for p in after if after[p] != before.get(p)})


def with_recipe(request, name, **facts):
    """The same request with other facts of one dataset."""
    recipes = [r.model_copy(update=facts) if r.name == name else r for r in request.recipes]
    return replace(request, recipes=tuple(recipes))


CASES = ["btcv/0001", "msd_spleen/spleen_10", "msd_spleen/spleen_2"]


def test_nothing_is_written_anew_when_nothing_changed(request_):
    assert run(request_).made == 3
    before = states(request_)
    assert run(request_).made == 0
    assert anew(before, request_) == []
    assert anew({}, request_) == CASES


def test_what_a_recipe_tells_people_shows_and_makes_no_case_anew(request_):
    run(request_)
    before = states(request_)
    remarks = load_recipe("btcv").remarks
    told = {
        "title": "Spleens", "licence": "CC0-1.0", "commercial_use": False,
        "citation": "Anon, 2030", "homepage": "https://example.org", "remarks": remarks,
        "labelled_cases": 7,
    }  # fmt: skip
    report = run(with_recipe(request_, "msd_spleen", **told))
    assert report.made == 0
    assert anew(before, request_) == []
    manifest = read_manifest(report.path)
    assert [c.licence for c in manifest.cases()][1:] == ["CC0-1.0"] * 2
    facts = facts_of(manifest.settings)["msd_spleen"]
    assert facts.remarks == tuple(r.text for r in remarks)
    for name in ("title", "licence", "commercial_use", "citation", "homepage"):
        assert getattr(facts, name) == told[name]


@pytest.mark.parametrize(
    "facts", [{"version": "2"}, {"values": {1: ("liver", "liver_tumour")}, "unlabelled": ()}]
)
def test_another_recipe_makes_its_own_cases_anew(request_, facts):
    run(request_)
    before = states(request_)
    report = run(with_recipe(request_, "msd_spleen", **facts))
    assert report.made == 2
    assert anew(before, request_) == CASES[1:]


def test_source_files_that_were_copied_are_read_and_not_made_again(own_raw):
    report = run(own_raw)
    before, manifest = states(own_raw), report.path.read_bytes()
    for path in own_raw.raw.rglob("*.nii.gz"):
        os.utime(path, (1, 1))
    assert [len(p.open) for p in plan(own_raw)] == [1, 2]
    again = run(own_raw)
    assert again.made == 0
    assert anew(before, own_raw) == []
    assert report.path.read_bytes() == manifest
    assert [len(p.open) for p in plan(own_raw)] == [0, 0]


def test_a_source_file_of_other_content_makes_its_case_anew(own_raw):
    run(own_raw)
    before = states(own_raw)
    for path in own_raw.raw.rglob("*Tr/spleen_2.nii.gz"):
        shutil.copy(path.with_name("spleen_10.nii.gz"), path)
    report = run(own_raw)
    assert report.made == 1
    assert anew(before, own_raw) == CASES[2:]


def test_a_flipped_bit_is_found_and_the_case_made_again(request_):
    report = run(request_)
    whole, before = report.path.read_bytes(), states(request_)
    label = request_.target.folder / "cases" / CASES[1] / "label.nii"
    content = label.read_bytes()
    label.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    problems = validate(report.path, hashes=True)
    assert [(p.case_id, p.column) for p in problems] == [(CASES[1], "label_sha256")]
    assert run(request_).made == 0  # sizes and times tell nothing
    verified = run(replace(request_, verify=True))
    assert verified.made == 1
    assert anew(before, request_) == [CASES[1]]
    assert label.read_bytes() == content
    assert report.path.read_bytes() == whole
    assert validate(report.path, hashes=True) == []


def test_a_manifest_that_was_damaged_is_told_since_it_held_the_split(request_):
    report = run(request_)
    whole = report.path.read_bytes()
    report.path.write_bytes(whole[:1000])
    again = run(request_)
    assert "a split that you had chosen is lost" in again.remark
    assert again.path.read_bytes() == whole
    assert run(request_).remark == ""


def test_a_record_that_was_changed_is_not_believed(request_):
    report = run(request_)
    whole = report.path.read_bytes()
    record = request_.target.folder / "cases" / CASES[0] / "case.json"
    record.write_text(record.read_text().replace('"hu_max": ', '"hu_max": 1'))
    assert run(request_).made == 1
    assert report.path.read_bytes() == whole


def without_source(request):
    """Take the second case off the list of its dataset."""
    index = request.raw / "msd_spleen" / "Task09_Spleen" / "dataset.json"
    listed = json.loads(index.read_text())
    listed["training"] = [e for e in listed["training"] if "spleen_2." in e["image"]]
    index.write_text(json.dumps(listed))


def codes_of(report, case_id):
    return [f.code for f in report.manifest.case(case_id).findings]


def test_a_case_whose_source_is_gone_is_kept_told_and_marked(own_raw):
    whole, before = run(own_raw), states(own_raw)
    without_source(own_raw)
    report = run(own_raw)
    assert states(own_raw) == before
    assert report.rejected == ()
    assert f"no longer in their dataset, and were kept as an earlier run made them (source_gone): {CASES[1]};" in report.remark  # fmt: skip # noqa: E501
    found = codes_of(report, CASES[1])
    assert found == [*codes_of(whole, CASES[1]), "source_gone"]
    assert validate(report.path, hashes=True) == []
    assert len(run(replace(own_raw, limit=1)).manifest) == 2  # one of each dataset


def test_decisions_on_a_case_whose_source_is_gone_still_count(own_raw):
    run(own_raw)
    without_source(own_raw)
    skip = {CASES[1]: Override(reason="upside down", skip=True)}
    report = run(replace(own_raw, overrides=skip))
    assert len(report.manifest) == 2
    assert CASES[1] not in report.remark


@pytest.mark.parametrize("changed", ["spacing", "recipe", "damage"])
def test_a_case_that_is_gone_and_was_made_otherwise_is_kept_but_in_no_manifest(own_raw, changed):
    run(own_raw)
    without_source(own_raw)
    kept = sorted((own_raw.target.folder / "cases" / CASES[1]).iterdir())
    other = own_raw
    if changed == "spacing":
        other = replace(own_raw, target=replace(own_raw.target, spacing_mm=(12.0, 12.0, 12.0)))
    elif changed == "recipe":
        other = with_recipe(own_raw, "msd_spleen", version="2")
    else:
        kept[0].write_text(kept[0].read_text().replace('"hu_max": ', '"hu_max": 1'))
    report = run(other)
    assert sorted((own_raw.target.folder / "cases" / CASES[1]).iterdir()) == kept
    assert len(report.manifest) == 2
    assert f"until they are prepared again with these: {CASES[1]}" in report.remark


def test_a_copy_of_a_case_is_no_case(request_):
    whole = run(request_)
    cases = request_.target.folder / "cases"
    shutil.copytree(cases / CASES[1], cases / "msd_spleen" / "copy")
    report = run(request_)
    assert report.manifest.table == whole.manifest.table
    assert (cases / "msd_spleen" / "copy" / "image.nii").exists()


@pytest.mark.parametrize("spacing_mm", [(0, 8, 10), (-1, 8, 10), (8, float("nan"), 10), (1e-9,) * 3, (8, 8, 1000)])  # fmt: skip # noqa: E501
def test_a_spacing_that_no_volume_may_have_is_refused_before_anything_is_read(spacing_mm, tmp_path):
    with pytest.raises(MarginaliaError, match=r"--spacing: expected .* 0.01 to 50.0 .*, got "):
        Target(load_label_space("abdomen5"), spacing_mm, tmp_path)
    words = ["prepare", "btcv", "--raw", tmp_path / "none", "--out", tmp_path / "out", "--offline"]
    result = CliRunner().invoke(app, [str(w) for w in [*words, "--spacing", *spacing_mm]])
    assert "--spacing" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_spacing_that_leaves_one_voxel_is_told(own_raw):
    for path in (own_raw.raw / "btcv").rglob("*.nii.gz"):
        sitk.WriteImage(sitk.ReadImage(path)[:, :, :4], path)
    target = replace(own_raw.target, spacing_mm=(10.0, 10.0, 50.0))
    report = run(replace(own_raw, recipes=own_raw.recipes[:1], target=target))
    said = f"the spacing left one voxel along an axis of: {CASES[0]}"
    assert said in report.remark.splitlines()


def test_a_limit_removes_no_case(request_):
    run(request_)
    limited = run(replace(request_, limit=1))
    assert len(limited.manifest) == 2
    assert run(request_).made == 0


@pytest.mark.parametrize("damage", ["damaged", "missing"])
def test_a_case_that_fails_now_keeps_what_an_earlier_run_made_of_it(own_raw, damage):
    whole, before = run(own_raw), states(own_raw)
    image = next(own_raw.raw.rglob("imagesTr/spleen_2.nii.gz"))
    content = image.read_bytes()
    image.write_bytes(b"no image") if damage == "damaged" else image.unlink()
    report = run(own_raw)
    code = "unreadable" if damage == "damaged" else "file_missing"
    assert [r.finding.code for r in report.rejected] == [code]
    assert listed(own_raw) == ["msd_spleen"]
    assert states(own_raw) == before
    assert codes_of(report, CASES[2]) == [*codes_of(whole, CASES[2]), "not_made_again"]
    assert f"could not be made again, and were kept as an earlier run made them (not_made_again): {CASES[2]}" in report.remark  # fmt: skip # noqa: E501
    image.write_bytes(content)
    again = run(own_raw)
    assert (again.remark, again.rejected) == ("", ())
    assert again.manifest.table == whole.manifest.table


def test_a_case_that_fails_with_another_spacing_keeps_its_files(own_raw):
    run(own_raw)
    image = own_raw.target.folder / "cases" / CASES[2] / "image.nii"
    content = image.read_bytes()
    next(own_raw.raw.rglob("imagesTr/spleen_2.nii.gz")).write_bytes(b"no image")
    target = replace(own_raw.target, spacing_mm=(12.0, 12.0, 12.0))
    report = run(replace(own_raw, target=target))
    assert image.read_bytes() == content
    assert len(report.manifest) == 2
    assert report.remark.endswith(f": {CASES[2]}")


def test_what_was_set_aside_of_other_datasets_stays_listed(own_raw):
    for name in ("img0001", "spleen_2"):
        next(own_raw.raw.rglob(f"{name}.nii.gz")).write_bytes(b"no image")
    spleen = replace(own_raw, recipes=own_raw.recipes[1:])
    run(spleen)
    with pytest.raises(Exception, match="none of 1 cases"):
        run(replace(own_raw, recipes=own_raw.recipes[:1], target=elsewhere(own_raw)))
    for _ in range(2):
        run(own_raw)
        assert listed(own_raw) == ["btcv", "msd_spleen"]
        run(spleen)
        assert listed(own_raw) == ["btcv", "msd_spleen"]


def elsewhere(request):
    return replace(request.target, folder=request.target.folder.with_name("elsewhere"))


def listed(request):
    with (request.target.folder / "rejected.csv").open(newline="") as file:
        return [row["dataset"] for row in csv.DictReader(file)]


def test_a_damaged_dataset_does_not_keep_the_others(own_raw):
    whole = run(own_raw)
    index = own_raw.raw / "msd_spleen" / "Task09_Spleen" / "dataset.json"
    content = index.read_text()
    index.write_text("{")
    report = run(own_raw)
    assert [p.partition(":")[0] for p in report.problems] == ["msd_spleen was not prepared"]
    assert report.path.read_bytes() == whole.path.read_bytes()  # what was made of it stays
    with pytest.raises(SourceError, match="not a list of cases"):
        run(replace(own_raw, recipes=own_raw.recipes[1:]))
    index.write_text(content)
    assert run(own_raw).problems == ()


def test_cases_of_other_datasets_made_otherwise_are_told(request_):
    run(request_)
    target = replace(request_.target, spacing_mm=(12.0, 12.0, 12.0))
    report = run(replace(request_, recipes=request_.recipes[:1], target=target))
    assert report.remark.endswith(f": {CASES[1]}, {CASES[2]}")


def test_a_full_disk_ends_the_run_early(request_, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    run(with_recipe(request_, "btcv"))
    whole = request_.target.folder / "manifest.parquet"
    content, before = whole.read_bytes(), states(request_)
    other = replace(request_, target=replace(request_.target, spacing_mm=(9.0, 9.0, 9.0)))
    monkeypatch.setattr("curate.cases.harmonise.harmonise", full)
    monkeypatch.setattr("curate.preparation.tally.MAX_UNWRITTEN_IN_A_ROW", 2)
    with pytest.raises(Exception, match=r"(?s)none of 2.*No space left.*1 were not begun"):
        run(other)
    assert anew(before, request_) == []
    assert run(request_).made == 0  # what was there is there
    assert whole.read_bytes() == content


def test_labels_that_an_older_version_never_judged_are_judged_from_the_finished_volumes(request_):
    first = run(request_)
    before = states(request_)
    for file in request_.target.folder.glob("cases/*/*/case.json"):
        row, provenance = record.read_record(file.parent)
        never = replace(row, **dict.fromkeys(BY_CLASS))
        record.write_record(file.parent, never, provenance)
    second = run(request_)
    assert second.made == 0
    assert anew(before, request_) == []
    for old, new in zip(first.manifest.cases(), second.manifest.cases(), strict=True):
        # the body is found in the harmonised image now, and before that in the source
        changed = {name for name, value in vars(old).items() if vars(new)[name] != value}
        assert changed <= {"place_in_body"}
