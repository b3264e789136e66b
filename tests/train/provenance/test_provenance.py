"""What a network learnt from: in its checkpoint, found again in scans, told, and packed."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import typer
from typer.testing import CliRunner

from manifests.fingerprints.fingerprint import Fingerprint
from manifests.ground.errors import CheckpointError, TrainingError
from manifests.table.dataset_facts import DatasetFacts, as_settings
from manifests.table.manifest import Manifest, read_manifest, write_manifest
from manifests.volumes.volume import Volume
from tests.train.training.test_commands import QUICK
from train.checkpoints.checkpoint import LEARNT, load_checkpoint
from train.checkpoints.ensembles import load_ensemble
from train.checkpoints.package import MARK, unpacked
from train.checkpoints.restoration import load_model, load_run
from train.commands import app
from train.learnt import Learnt, LearntCase
from train.planning.plan import plan_training
from train.scoring.scores import read_scores

root = typer.Typer()
root.callback()(lambda: None)
root.add_typer(app)

FACTS = {
    "both": DatasetFacts(title="B", version="1", licence="CC-BY-4.0", commercial_use=True,
                         share_alike=False, citation="B et al. | 2020"),
    "liver_only": DatasetFacts(title="L", version="1", licence="CC-BY-NC-SA-4.0",
                               commercial_use=False, share_alike=True, citation="L"),
}  # fmt: skip


def marginalia(*arguments, code=0):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(root, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def scan_of(case_id):
    """A scan with enough structure to be recognised, which stands for the case's."""
    generator = np.random.default_rng(list(case_id.encode()))
    blocks = generator.normal(0, 200, (20, 20, 20)).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    image = sitk.GetImageFromArray(
        (blocks + generator.normal(0, 20, blocks.shape)).astype(np.int16)
    )
    image.SetSpacing((2.0, 2.0, 2.0))
    return image


def fingerprint(image):
    return Fingerprint.of(Volume.of(image)).to_text()


@pytest.fixture(scope="module")
def licensed(manifest_path):
    """The prepared folder with fingerprints, and with the facts of its datasets."""
    manifest = read_manifest(manifest_path)
    cases = [
        replace(c, fingerprint=fingerprint(scan_of(c.case_id)), licence=FACTS[c.dataset].licence)
        for c in manifest.cases()
    ]
    settings = as_settings(FACTS)
    made = Manifest.of(cases, manifest.label_space, folder=manifest.folder, settings=settings)
    path = manifest_path.with_name("licensed.parquet")
    write_manifest(made, path)
    return path


@pytest.fixture(scope="module")
def run(licensed, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    marginalia("train", licensed, "--out", run, *QUICK)
    return run


def test_a_checkpoint_says_which_cases_it_learnt_from(licensed, run):
    manifest = read_manifest(licensed)
    for which in ("best", "last"):
        learnt = load_run(run, which).learnt
        parts = {c.case_id: c.part for c in learnt.cases}
        assert parts == {c.case_id: c.split for c in manifest.cases()}
        assert all(c.fingerprint == manifest.case(c.case_id).fingerprint for c in learnt.cases)
        assert learnt.datasets["liver_only"].commercial_use is False
        assert learnt.datasets["both"].citation == "B et al. | 2020"


def test_a_case_takes_four_kilobytes_at_most():
    text = fingerprint(scan_of("x"))
    assert len(text) > 3000
    case = LearntCase(case_id="totalsegmentator/s0001", dataset="totalsegmentator", part="train",
                      licence="CC-BY-4.0", annotated=("liver",), fingerprint=text)  # fmt: skip
    assert Learnt(cases=(case,)).to_tensor().numel() <= 4096


def test_a_list_of_cases_that_is_none_is_refused():
    for tensor in (torch.zeros(3), torch.zeros(3, 3, dtype=torch.uint8)):
        with pytest.raises(CheckpointError, match="list of cases: expected at most"):
            Learnt.from_tensor(tensor)
    with pytest.raises(CheckpointError, match="the checkpoint's list of cases"):
        Learnt.from_tensor(torch.tensor(list(b"[1]"), dtype=torch.uint8))


def test_what_weights_learnt_before_stays_learnt():
    old = LearntCase(case_id="a/1", dataset="a", part="train", licence="x", fingerprint="f")
    new = old.model_copy(update={"part": "validation"})
    other = old.model_copy(update={"case_id": "b/1"})
    after = Learnt(cases=(new, other)).after(Learnt(cases=(old,)))
    assert {(c.case_id, c.part) for c in after.cases} == {("a/1", "train"), ("b/1", "train")}


def test_scans_are_found_under_other_names_turned_and_cut(licensed, run, tmp_path):
    manifest = read_manifest(licensed)
    for case in manifest.cases():
        name = case.case_id.replace("/", "_")
        image = scan_of(case.case_id)
        sitk.WriteImage(sitk.Flip(image[:, :, 4:], (True, False, False)), tmp_path / f"x{name}.nii")
    printed = marginalia("seen", run, tmp_path)
    trained = [c.case_id for c in manifest.cases() if c.split == "train"]
    assert "5 of 7 scans were trained on" in printed
    assert all(f"a part of this scan, as {case_id} (" in printed for case_id in trained)
    assert "5 of 7 scans were trained on" in marginalia("seen", run, licensed)


def test_a_scan_that_cannot_be_read_is_told_and_the_others_are_looked_at(licensed, run, tmp_path):
    first = next(read_manifest(licensed).cases())
    (tmp_path / "a.nii").write_bytes(b"no image")
    sitk.WriteImage(scan_of(first.case_id), tmp_path / "b.nii")
    printed = marginalia("seen", run, tmp_path, code=3)
    assert "failed" in printed
    assert "1 of 2 scans" in printed


def test_seen_cases_do_not_count_in_the_means(licensed, run, tmp_path):
    manifest = read_manifest(licensed)
    seen = "liver_only/3"
    cases = [replace(c, split="test" if c.case_id in (seen, "both/2") else None)
             for c in manifest.cases()]  # fmt: skip
    other = licensed.with_name("other.parquet")
    write_manifest(Manifest.of(cases, manifest.label_space, folder=manifest.folder), other)
    printed = marginalia("evaluate", run, other, "--out", tmp_path / "without")
    assert f"seen  {seen}: the network was trained on this scan" in printed
    scores = read_scores(tmp_path / "without")
    assert {s.case_id for s in scores.scores} == {seen, "both/2"}
    assert {cell.dataset for cell in scores.cells} == {"both"}
    assert list(scores.seen) == [seen]
    marginalia("evaluate", run, other, "--out", tmp_path / "with", "--include-seen")
    assert {c.dataset for c in read_scores(tmp_path / "with").cells} == {"both", "liver_only"}
    marginalia("evaluate", run, licensed, "--split", "train", "--out", tmp_path / "train")
    assert len(read_scores(tmp_path / "train").cells) == 3


def test_predict_notes_seen_scans_and_the_licences(run, tmp_path):
    scan = tmp_path / "image.nii"
    sitk.WriteImage(scan_of("liver_only/3"), scan)
    assert "seen_in_training" in marginalia("predict", run, scan, "--out", tmp_path / "o")
    sidecar = json.loads((tmp_path / "o" / "image.findings.json").read_text())
    assert any(f["code"] == "seen_in_training" for f in sidecar["findings"])
    licences = {"CC-BY-4.0": ["both"], "CC-BY-NC-SA-4.0": ["liver_only"]}
    assert sidecar["licences_of_training_data"] == licences


# Licences.


@pytest.mark.parametrize(
    ("wanted", "datasets"),
    [("commercial", {"both"}), ("cc-by-4*", {"both"}), ("CC-BY*", {"both", "liver_only"}),
     ("*-nc-*", {"liver_only"})],
)  # fmt: skip
def test_only_cases_of_the_licence_are_trained_on(licensed, settings, wanted, datasets):
    chosen = settings.model_copy(update={"licence": wanted, "stage_epochs": (0, 2)})
    plan = plan_training(read_manifest(licensed), chosen)
    assert {c.dataset for c in plan.training} == datasets


def test_what_a_licence_leaves_out_is_said_by_class(licensed, tmp_path):
    words = ("train", licensed, "--out", tmp_path, *QUICK, "--dry-run", "--licence")
    printed = marginalia(*words, "commercial")
    assert "leaves out liver_only (4 cases, CC-BY-NC-SA-4.0)" in printed
    assert "there are left: liver 3 of 7" in printed
    with pytest.raises(TrainingError, match="no case is left to train on: licence mit leaves out"):
        marginalia(*words, "mit")


# Cards and packages.


def test_the_model_card_says_what_binds_the_network(run):
    text = (run / "model_card.md").read_text()
    assert text.startswith("---\nlicense: other\n")
    assert "| both | 2 | 1 | 3 | 3 |" in text
    assert "| liver_only | 3 | 1 | 4 | 0 |" in text
    assert "| both | CC-BY-4.0 | yes | no | B et al. \\| 2020 |" in text
    assert "| liver_only | CC-BY-NC-SA-4.0 | no | yes | L |" in text


def test_the_model_card_has_the_scores_as_soon_as_there_are_some(licensed, run):
    card = run / "model_card.md"
    assert "## Scores on the split train" not in card.read_text()
    words = ("evaluate", run, licensed, "--split", "train", "--include-seen")
    marginalia(*words)
    marginalia(*words, "--where", "dataset = 'both'")
    text = card.read_text()
    told = [line for line in text.splitlines() if line.startswith("## Scores")]
    which = "## Scores on the split train"
    assert told == [which, f"{which}, of cases for which dataset = 'both'"]
    summary = json.loads((run / "evaluation" / "train" / "summary.json").read_text())
    for cell in summary["cells"]:
        mean = cell["dice_mean"]
        told = "" if mean is None else f"{mean:.3f}"
        assert f"| {cell['class']} | {cell['dataset']} | {cell['cases']} | {told} |" in text
    shutil.rmtree(run / "evaluation")


def test_a_package_predicts_as_its_run_does(licensed, run, tmp_path):
    package = tmp_path / "model.zip"
    marginalia("pack", run, "-o", package)
    first = package.read_bytes()
    marginalia("pack", run, "-o", package)
    assert package.read_bytes() == first
    scan = licensed.parent / next(read_manifest(licensed).cases()).image
    for name, which in (("a", run), ("b", package)):
        marginalia("predict", which, scan, "--out", tmp_path / name)
    assert (tmp_path / "a" / "image.nii.gz").read_bytes() == (
        tmp_path / "b" / "image.nii.gz"
    ).read_bytes()
    with zipfile.ZipFile(package) as read:
        assert read.namelist() == [MARK, "network_0.safetensors", "model_card.md"]


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as package:
        for name, content in members:
            package.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "compression", "words"),
    [
        ([("x", b"")], zipfile.ZIP_STORED, "is no package of networks"),
        ([(MARK, b""), ("../network_0.safetensors", b"x")], zipfile.ZIP_STORED, "is no package"),
        ([(MARK, b""), (MARK, b""), ("network_0.safetensors", b"x")], zipfile.ZIP_STORED, "once"),
        (
            [(MARK, b""), ("network_0.safetensors", bytes(10_000))],
            zipfile.ZIP_DEFLATED,
            "expected it uncompressed",
        ),
        ([(MARK, b""), ("network_0.safetensors", b"x")], zipfile.ZIP_STORED, "not a readable"),
    ],
)
def test_a_package_that_is_none_is_refused(tmp_path, members, compression, words):
    path = write_zip(tmp_path / "a.zip", members, compression)
    with pytest.raises(CheckpointError, match=words):
        load_ensemble([path])


def test_a_package_cut_off_or_with_more_in_it_leaves_nothing_behind(run, tmp_path):
    package = tmp_path / "in" / "model.zip"
    marginalia("pack", run, "-o", package)
    with zipfile.ZipFile(package, "a") as more:
        more.writestr("../../outside.txt", "x")
        more.writestr("code.pkl", "x")
    with unpacked(package) as files:
        assert [f.name for f in files] == ["network_0.safetensors"]
        assert list(files[0].parent.iterdir()) == files
        assert load_checkpoint(files[0]).learnt.cases
    assert not files[0].exists()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [package]
    package.write_bytes(package.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=r"model\.zip is not a readable package"):
        load_ensemble([package])


def test_an_older_checkpoint_has_no_list_and_predicts(run, tmp_path):
    checkpoint = load_run(run)
    assert LEARNT in checkpoint.tensors
    bare = replace(checkpoint, tensors={k: v for k, v in checkpoint.tensors.items() if k != LEARNT})
    assert bare.learnt == Learnt()
    assert Path(tmp_path).is_dir()
    assert load_model(run).learnt.cases
