"""Data come and go: each row of the table in docs/how_to/prepare.md, tried."""

import json
import shutil
from dataclasses import replace

import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from curate.cases.target import Target
from curate.commands import app
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.preparation.remove import remove_datasets
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import MarginaliaError, SourceError
from manifests.ground.unpack import unpack
from manifests.table.manifest import read_manifest

pytestmark = pytest.mark.usefixtures("_in_this_process")
SPACING_MM = (12.0, 12.0, 12.0)
SPLEENS = [f"msd_spleen/spleen_{n}" for n in (10, 2)]
ALL = ["btcv/0001", *SPLEENS]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A raw folder of two datasets, and the folder that they were prepared into."""
    folder = tmp_path_factory.mktemp("made")
    cases = {"btcv": 1, "msd_spleen": 2}
    write_phantom_archives(folder / "raw", seed=5, cases=cases, spacing_mm=(12.0, 12.0))
    for archive, name in (("RawData.zip", "btcv"), ("Task09_Spleen.tar", "msd_spleen")):
        unpack(folder / "raw" / archive, folder / "raw" / name)
        (folder / "raw" / archive).unlink()
    run(request_of(folder))
    return folder


@pytest.fixture
def request_(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    return request_of(tmp_path / "made")


def request_of(folder, names=("btcv", "msd_spleen")):
    target = Target(load_label_space("abdomen5"), SPACING_MM, folder / "prepared")
    return PrepareRequest(tuple(map(load_recipe, names)), folder / "raw", target)


def run(request):
    return prepare(request, workers=1)


def ids(report):
    return report.manifest.case_ids()


def splits(request):
    table = read_manifest(request.target.folder).table
    return dict(zip(table["case_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def spleens(request):
    return request.raw / "msd_spleen" / "Task09_Spleen"


def test_add_a_dataset(request_):
    shutil.rmtree(request_.target.folder)
    first = run(replace(request_, recipes=request_.recipes[:1]))
    assert "splits of 1 new cases: 1 train (test 20 % of each dataset; " in first.remark
    before = splits(request_)
    report = run(replace(request_, recipes=request_.recipes[1:]))
    assert (report.made, ids(report)) == (2, ALL)
    assert "splits of 2 new cases" in report.remark
    assert "the others keep their splits" in report.remark
    assert before.items() <= splits(request_).items()


def test_remove_a_dataset(request_):
    before = splits(request_)
    report = remove_datasets(request_, ["msd_spleen"])
    assert (report.made, ids(report)) == (0, ["btcv/0001"])
    assert not (request_.target.folder / "cases" / "msd_spleen").exists()
    assert spleens(request_).exists()
    back = run(request_)
    assert (back.made, ids(back)) == (2, ALL)
    assert splits(request_) == before  # a dataset returns with the splits that it had


@pytest.mark.parametrize(
    ("names", "said"),
    [(["msd_spleeen"], "did you mean 'msd_spleen'"), (["btcv", "msd_spleen"], "no other dataset")],
)
def test_what_cannot_be_removed_is_refused(request_, names, said):
    with pytest.raises(MarginaliaError, match=said):
        remove_datasets(request_, names)
    assert len(read_manifest(request_.target.folder)) == 3


def test_the_command_removes_alone_or_before_it_prepares(request_):
    words = ["prepare", "--raw", request_.raw, "--out", request_.target.folder, "--offline"]
    done = CliRunner().invoke(app, [str(w) for w in [*words, "--remove", "msd_spleen"]])
    assert done.exit_code == 0, done.output
    assert read_manifest(request_.target.folder).datasets() == ("btcv",)


def test_delete_the_raw_folder_of_a_dataset(request_):
    shutil.rmtree(spleens(request_).parent)
    others = run(replace(request_, recipes=request_.recipes[:1]))
    assert (others.made, ids(others)) == (0, ALL)
    named = run(request_)
    assert ids(named) == ALL
    assert "msd_spleen was not prepared" in named.problems[0]
    with pytest.raises(SourceError):
        run(replace(request_, recipes=request_.recipes[1:]))
    assert len(read_manifest(request_.target.folder)) == 3


def test_correct_a_label(request_):
    before = splits(request_)
    path = spleens(request_) / "labelsTr" / "spleen_2.nii.gz"
    label = sitk.ReadImage(path)
    label[:, :, : label.GetSize()[2] // 2] = 0
    sitk.WriteImage(label, path)
    report = run(request_)
    assert (report.made, ids(report)) == (1, ALL)
    assert splits(request_) == before


def test_delete_or_rename_a_case(request_):
    before = splits(request_)
    folder = spleens(request_)
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind / "spleen_2.nii.gz").rename(folder / kind / "spleen_7.nii.gz")
    index = folder / "dataset.json"
    index.write_text(index.read_text().replace("spleen_2.", "spleen_7."))
    assert len(json.loads(index.read_text())["training"]) == 2
    report = run(request_)
    assert (report.made, ids(report)) == (1, [*ALL, "msd_spleen/spleen_7"])
    assert "source_gone" in [f.code for f in report.manifest.case(SPLEENS[1]).findings]
    now = splits(request_)
    assert before.items() <= now.items()
    assert now["msd_spleen/spleen_7"] == now[SPLEENS[1]]  # one image, and so one patient
    shutil.rmtree(request_.target.folder / "cases" / SPLEENS[1])  # the old name, to be rid of it
    again = run(request_)
    assert (again.made, ids(again)) == (0, ["btcv/0001", SPLEENS[0], "msd_spleen/spleen_7"])


def test_change_the_spacing(request_):
    words = ["prepare", "msd_spleen", "--raw", request_.raw, "--out", request_.target.folder]
    words = [str(w) for w in [*words, "--offline", "--jobs", 1, "--spacing", "14,14,14"]]
    refused = CliRunner().invoke(app, words)
    assert "--force" in str(refused.exception)
    assert len(read_manifest(request_.target.folder)) == 3
    forced = CliRunner().invoke(app, [*words, "--force"])
    assert forced.exit_code == 0, forced.output
    assert read_manifest(request_.target.folder).case_ids() == SPLEENS
    assert (request_.target.folder / "cases" / "btcv" / "0001" / "image.nii").exists()
