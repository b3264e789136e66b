"""Evaluation of a network that reads its answer off the image, so that every score is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from manifests.table.manifest import Manifest, write_manifest
from manifests.volumes.grid import Grid
from train.model import Model, Normalisation
from train.scoring import evaluation
from train.scoring.case_scores import score_case
from train.scoring.evaluate import (
    EvaluationRequest,
    collect_scores,
    evaluate_cases,
    evaluation_settings,
)
from train.scoring.label_maps import find_label_maps
from train.scoring.metrics import METRICS, diagonal_mm
from train.scoring.runs import Run, draw_run
from train.scoring.scores import Score, Scores, read_scores, write_scores

SHAPE_ZYX = (12, 14, 16)
SPACING_MM = (1.5, 2.0, 3.0)
DIAGONAL_MM = diagonal_mm(SHAPE_ZYX, SPACING_MM)
FULL, LIVER_ONLY, NOT_SPLIT = (0, 1, 2, 3), (0, 1, 0, 0), (0, 1, 2, 2)
ORGANS = ("liver", "spleen", "pancreas")
SPACE = LabelSpace(
    name="three",
    classes=tuple(LabelClass(name=n, structures=(n,), colour="#123456") for n in ORGANS),
)


class ReadsTheImage(nn.Module):
    """Predicts class n where the image is 100 n HU."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, hu):
        return self.scale * torch.cat([-((hu / 100 - n) ** 2) for n in range(4)], 1)


def model(network=None, **changes):
    identity = Normalisation(-1024.0, 3000.0, 0.0, 1.0)
    return replace(
        Model(network or ReadsTheImage(), SPACE, identity, SPACING_MM, (8, 16, 16)), **changes
    )


def box(*corners):
    """Class ids: class n fills the n-th box of 4 voxels a side, from that corner."""
    classes = np.zeros(SHAPE_ZYX, np.uint8)
    for n, corner in enumerate(corners, start=1):
        if corner is not None:
            classes[tuple(slice(c, c + 4) for c in corner)] = n
    return classes


LIVER, SPLEEN, PANCREAS = (1, 1, 1), (1, 1, 9), (7, 8, 3)
LIVER_SHIFTED = (1, 1, 2)
TRUTH = box(LIVER, SPLEEN, PANCREAS)


def write_case(folder, case_id, *, predicted, truth=TRUTH, merged=FULL, split="test"):
    """A case whose image makes the network predict `predicted`."""
    label = np.array(merged, np.uint8)[truth]
    z, y, x = SHAPE_ZYX
    grid = Grid((x, y, z), SPACING_MM)
    paths = {name: f"cases/{case_id}/{name}.nii" for name in ("image", "label")}
    (folder / paths["image"]).parent.mkdir(parents=True)
    sitk.WriteImage(grid.image(predicted.astype(np.int16) * 100), folder / paths["image"])
    sitk.WriteImage(grid.image(label), folder / paths["label"])
    columns = Case.__dataclass_fields__
    unused = {**dict.fromkeys(columns, ""), **{n: 0.0 for n in columns if "hu_" in n}}
    unused |= {name: None for name, column in columns.items() if column.default is None}
    lists = ("source_size", "source_spacing_mm", "source_origin_mm")
    given = {
        "case_id": case_id,
        "dataset": case_id.split("/")[0],
        "subject_id": case_id,
        "split": split,
        **paths,
        "blocks": (),
        "merged": merged,
        "annotated": (),
        **dict.fromkeys(("voxels", "volume_ml"), (0,) * len(merged)),
        "ignored": 0,
        "size": grid.size_xyz,
        "spacing_mm": SPACING_MM,
        "origin_mm": grid.origin_mm,
        "findings": (),
    }
    return Case(**{**unused, **dict.fromkeys(lists, (1, 1, 1)), **given})


def manifest_of(folder, cases):
    return Manifest.of(cases, SPACE, folder=folder)


def evaluate(network, cases, split="test"):
    request = EvaluationRequest(split=split)
    results = evaluate_cases(network, cases, request)
    return collect_scores(results, evaluation_settings(network, cases, request))


def evaluated(folder, **case):
    """The scores of one case by class."""
    cases = [write_case(folder, "set/case", **case)]
    scores = evaluate(model(), manifest_of(folder, cases))
    assert not scores.failures
    return {score.class_name: score for score in scores.scores}


# --- one case ---------------------------------------------------------------------------------


def test_scores_are_those_of_the_construction(tmp_path):
    scores = evaluated(tmp_path, predicted=box(LIVER_SHIFTED, SPLEEN, None))
    liver, spleen, pancreas = (scores[name] for name in ORGANS)
    assert liver.dice == pytest.approx(0.75)
    assert (liver.hausdorff_mm, liver.hd95_mm) == pytest.approx((1.5, 1.5))
    assert (spleen.dice, spleen.hausdorff_mm, spleen.hd95_mm) == (1.0, 0.0, 0.0)
    assert liver.iou == pytest.approx(0.6)
    assert (pancreas.outcome, pancreas.dice, pancreas.nsd) == ("missed", 0.0, 0.0)
    assert pancreas.hausdorff_mm == pancreas.hd95_mm == pytest.approx(DIAGONAL_MM)
    assert pancreas.assd_mm == pytest.approx(DIAGONAL_MM)
    assert liver.truth_ml == liver.prediction_ml == pytest.approx(64 * 9 / 1000)
    assert pancreas.prediction_ml == 0.0


def test_a_class_that_is_known_to_be_absent(tmp_path):
    without = box(LIVER, None, None)
    scores = evaluated(tmp_path, truth=without, predicted=box(LIVER, SPLEEN, None))
    assert (scores["spleen"].outcome, scores["spleen"].dice) == ("invented", 0.0)
    assert scores["spleen"].hausdorff_mm == pytest.approx(DIAGONAL_MM)
    assert scores["pancreas"].outcome == "absent"
    assert math.isnan(scores["pancreas"].dice)
    assert math.isnan(scores["pancreas"].hd95_mm)


def test_a_partly_labelled_case_scores_only_what_it_annotates(tmp_path):
    scores = evaluated(tmp_path, predicted=TRUTH, merged=LIVER_ONLY)
    assert list(scores) == ["liver"]
    assert (scores["liver"].dice, scores["liver"].hausdorff_mm) == (1.0, 0.0)


def test_an_unlabelled_organ_inside_a_labelled_one_is_an_error(tmp_path):
    predicted = TRUTH.copy()
    predicted[1:3, 1:5, 1:5] = 2  # half of the liver
    scores = evaluated(tmp_path, predicted=predicted, merged=LIVER_ONLY)
    assert scores["liver"].dice == pytest.approx(2 * 32 / (32 + 64))


def test_organs_that_are_not_told_apart_are_scored_as_one(tmp_path):
    swapped = TRUTH.copy()
    swapped[TRUTH == 2], swapped[TRUTH == 3] = 3, 2
    scores = evaluated(tmp_path, predicted=swapped, merged=NOT_SPLIT)
    assert list(scores) == ["liver", "spleen+pancreas"]
    both = scores["spleen+pancreas"]
    assert (both.class_id, both.outcome, both.dice, both.hausdorff_mm) == (2, "compared", 1.0, 0.0)
    assert both.truth_ml == both.prediction_ml == pytest.approx(128 * 9 / 1000)


def test_a_half_of_a_group_is_missed(tmp_path):
    scores = evaluated(tmp_path, predicted=box(LIVER, SPLEEN, None), merged=NOT_SPLIT)
    assert scores["spleen+pancreas"].dice == pytest.approx(2 * 64 / (64 + 128))


def test_groups_and_their_classes_are_cells_of_their_own(tmp_path):
    cases = [
        write_case(tmp_path, "set/1", predicted=TRUTH),
        write_case(tmp_path, "set/2", predicted=TRUTH, merged=NOT_SPLIT),
    ]
    scores = evaluate(model(), manifest_of(tmp_path, cases))
    assert {(c.class_name, c.cases) for c in scores.cells} == {
        ("liver", 2),
        ("spleen", 1),
        ("pancreas", 1),
        ("spleen+pancreas", 1),
    }


def test_an_edited_manifest_coarsens_the_stored_labels(tmp_path):
    stored = write_case(tmp_path, "set/case", predicted=box(LIVER, None, PANCREAS))
    scores = evaluate(model(), manifest_of(tmp_path, [replace(stored, merged=LIVER_ONLY)]))
    assert [(s.class_name, s.dice) for s in scores.scores] == [("liver", 1.0)]


def test_a_case_that_annotates_nothing_has_no_score(tmp_path):
    assert evaluated(tmp_path, predicted=TRUTH, merged=(0, 0, 0, 0)) == {}


# --- a split ----------------------------------------------------------------------------------


@pytest.fixture
def manifest(tmp_path):
    """Three cases in the test split: two of one dataset, and a partly labelled one."""
    return manifest_of(
        tmp_path,
        [
            write_case(tmp_path, "full/1", predicted=TRUTH),
            write_case(tmp_path, "full/2", predicted=box(LIVER_SHIFTED, None, PANCREAS)),
            write_case(tmp_path, "part/1", predicted=TRUTH, merged=LIVER_ONLY),
            write_case(tmp_path, "part/2", predicted=TRUTH, merged=LIVER_ONLY, split="train"),
        ],
    )


def test_the_summary_is_by_class_and_dataset(manifest):
    scores = evaluate(model(), manifest)
    cells = {(c.class_name, c.dataset): c for c in scores.cells}
    assert list(cells) == [
        ("liver", "full"),
        ("liver", "part"),
        ("spleen", "full"),
        ("pancreas", "full"),
    ]
    liver, spleen = cells["liver", "full"], cells["spleen", "full"]
    assert (liver.cases, liver.missed) == (2, 0)
    assert (liver.mean["dice"], liver.std["dice"]) == pytest.approx((0.875, 0.25 / math.sqrt(2)))
    assert liver.mean["hausdorff_mm"] == liver.mean["hd95_mm"] == pytest.approx(0.75)
    assert (spleen.cases, spleen.missed) == (2, 1)
    assert spleen.mean["hausdorff_mm"] == pytest.approx(DIAGONAL_MM / 2)
    assert cells["liver", "part"].cases == 1
    assert math.isnan(cells["liver", "part"].std["dice"])


def test_the_mean_is_over_cells_and_not_over_cases(manifest):
    scores = evaluate(model(), manifest)
    assert scores.mean_dice == pytest.approx((0.875 + 1.0 + 0.5 + 1.0) / 4)
    assert scores.mean("hd95_mm") == pytest.approx((0.75 + 0.0 + DIAGONAL_MM / 2 + 0.0) / 4)


def test_cases_come_one_by_one_with_their_prediction(manifest):
    results = evaluate_cases(model(), manifest, EvaluationRequest())
    first = next(results)
    assert first.case.case_id == "full/1"
    np.testing.assert_array_equal(first.prediction, TRUTH)
    assert [r.case.case_id for r in results] == ["full/2", "part/1"]


def test_a_case_that_fails_does_not_stop_the_others(tmp_path, manifest):
    (tmp_path / "cases/full/1/image.nii").unlink()
    (tmp_path / "cases/part/1/label.nii").write_bytes(b"no image")
    scores = evaluate(model(), manifest)
    assert sorted(scores.failures) == ["full/1", "part/1"]
    assert "image.nii" in scores.failures["full/1"]
    assert {s.case_id for s in scores.scores} == {"full/2"}


@pytest.mark.parametrize("error", [MemoryError("no room"), ZeroDivisionError("by zero")])
def test_no_kind_of_error_of_one_case_ends_the_evaluation(manifest, monkeypatch, error):
    def fail_on_the_first(prediction, truth, case, names, **how):
        if case.case_id == "full/1":
            raise error
        return score_case(prediction, truth, case, names, **how)

    monkeypatch.setattr("train.scoring.evaluate.score_case", fail_on_the_first)
    scores = evaluate(model(), manifest)
    assert list(scores.failures) == ["full/1"]
    assert str(error) in scores.failures["full/1"]
    assert {s.case_id for s in scores.scores} == {"full/2", "part/1"}


def test_a_network_that_gives_no_numbers_has_no_scores(manifest):
    scores = evaluate(model(ReadsTheImage(scale=math.nan)), manifest)
    assert not scores.scores
    assert all("gives no numbers" in reason for reason in scores.failures.values())


def test_a_label_that_is_no_class_is_that_cases_failure(tmp_path):
    case = write_case(tmp_path, "set/odd", predicted=TRUTH)
    z, y, x = SHAPE_ZYX
    odd = Grid((x, y, z), SPACING_MM).image(np.full(SHAPE_ZYX, 9, np.uint8))
    sitk.WriteImage(odd, tmp_path / case.label)
    scores = evaluate(model(), manifest_of(tmp_path, [case]))
    assert list(scores.failures) == ["set/odd"]
    assert scores.failures["set/odd"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacing_mm": (1.5, 1.5, 3.0)}, "spacing"),
        (
            {"label_space": SPACE.model_copy(update={"classes": SPACE.classes[::-1]})},
            "has the classes",
        ),
    ],
)
def test_a_network_that_does_not_fit_the_cases_is_refused(manifest, changes, message):
    with pytest.raises(TrainingError, match=message):
        evaluate(model(**changes), manifest)


def test_an_empty_split_is_refused_with_the_counts(manifest):
    with pytest.raises(TrainingError, match=r"validation.*train: 1.*test: 3"):
        evaluate(model(), manifest, split="validation")


def test_the_settings_tell_networks_apart(manifest):
    one, same, other = (
        evaluate(model(ReadsTheImage(scale)), manifest).settings for scale in (1.0, 1.0, 2.0)
    )
    assert one == same
    assert one["prediction"]["weights_sha256"] != other["prediction"]["weights_sha256"]
    assert list(one["cases"]) == ["full/1", "full/2", "part/1"]


# --- files ------------------------------------------------------------------------------------


def score(case_id="007", **values):
    usual = {
        "dataset": "NA",
        "class_id": 1,
        "class_name": "liver",
        "outcome": "compared",
        "dice": 1 / 3,
        "iou": 0.2,
        "hausdorff_mm": 0.1,
        "hd95_mm": 0.1,
        "assd_mm": 0.01,
        "nsd": 0.9,
        "truth_ml": 1.0,
        "prediction_ml": 2.0,
    }
    return Score(case_id=case_id, **{**usual, **values})


def test_scores_come_back_as_they_were_written(tmp_path):
    kept, notes = {"007": "predictions/007.nii.gz"}, {"008": "resampled"}
    scores = Scores((score(), score("008")), {"009": "damaged"}, {"split": "test"}, kept, notes)
    write_scores(scores, tmp_path / "test")
    assert read_scores(tmp_path / "test") == scores


def test_files_of_two_evaluations_are_not_taken_for_one(tmp_path):
    for overlap in (0.5, 0.0):
        scores = Scores((score(),), settings={"overlap": overlap})
        write_scores(scores, tmp_path / str(overlap))
    (tmp_path / "0.5/scores.csv").replace(tmp_path / "0.0/scores.csv")
    with pytest.raises(TrainingError, match="two evaluations"):
        read_scores(tmp_path / "0.0")


def test_files_of_an_evaluation(manifest, tmp_path):
    scores = evaluate(model(), manifest)
    write_scores(scores, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "scores.csv",
        "summary.csv",
        "summary.json",
    }
    lines = (tmp_path / "out/scores.csv").read_text().splitlines()
    assert lines[0] == (
        "dataset,case_id,class_id,class,outcome,dice,iou,hausdorff_mm,hd95_mm,assd_mm,nsd,"
        "truth_ml,prediction_ml,stamp"
    )
    assert {line.rpartition(",")[2] for line in lines[1:]} == {scores.stamp}
    assert len(lines) == 1 + 7
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["mean"]["dice"] == pytest.approx(scores.mean_dice)
    assert summary["cells"][1]["class"] == "liver"
    assert summary["cells"][1]["dice_std"] is None
    assert summary["settings"]["split"] == "test"


def test_nothing_scored_is_no_error(tmp_path):
    absent = {"outcome": "absent", **dict.fromkeys(METRICS, math.nan)}
    scores = Scores((score(**absent),))
    assert scores.cells[0].cases == 0
    assert scores.cells[0].absent == 1
    assert math.isnan(scores.mean_dice)
    write_scores(scores, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["mean"]["dice"] is None
    assert read_scores(tmp_path).scores[0].outcome == "absent"


def test_scores_that_are_not_there_say_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match="marginalia evaluate"):
        read_scores(tmp_path)


@pytest.mark.parametrize("damage", [{"spacing_mm": (1.5, 2.0)}, {"merged": (0, None, 2, 3)}])
def test_one_bad_row_fails_alone(tmp_path, damage):
    good, bad = (write_case(tmp_path, f"set/{name}", predicted=TRUTH) for name in ("good", "bad"))
    scores = evaluate(model(), manifest_of(tmp_path, [good, replace(bad, **damage)]))
    assert {s.case_id for s in scores.scores} == {"set/good"}
    assert "its row in the manifest is damaged" in scores.failures["set/bad"]


def test_a_label_map_that_cannot_be_kept_is_told_and_loses_no_scores(tmp_path, monkeypatch):
    cases = [write_case(tmp_path, f"set/{name}", predicted=TRUTH) for name in "ab"]

    def write(path, *_):
        if "set_a" in path.name:
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(evaluation, "write_label_map", write)
    monkeypatch.setattr(evaluation, "load_ensemble", lambda *_, **__: model())
    write_manifest(manifest_of(tmp_path, cases), tmp_path / "manifest.parquet")
    found = evaluation.evaluate_run(tmp_path, tmp_path, EvaluationRequest())
    scores = collect_scores(found.results, found.settings)
    assert list(scores.failures) == ["set/a"]
    assert "No space left" in scores.failures["set/a"]
    assert {s.case_id for s in scores.scores} == {"set/a", "set/b"}
    assert list(scores.predictions) == ["set/b"]


def test_cases_of_one_flat_name_keep_a_label_map_and_a_picture_each(tmp_path, monkeypatch):
    cases = [write_case(tmp_path, name, predicted=TRUTH) for name in ("a_b/c", "a/b_c", "a/d")]
    monkeypatch.setattr(evaluation, "load_ensemble", lambda *_, **__: model())
    manifest = manifest_of(tmp_path, cases)
    write_manifest(manifest, tmp_path / "manifest.parquet")
    found = evaluation.evaluate_run(tmp_path, tmp_path, EvaluationRequest())
    scores = collect_scores(found.results, found.settings)
    assert scores.predictions["a/d"] == "predictions/a_d.nii.gz"
    assert len(set(scores.predictions.values())) == 3
    assert list(draw_run(Run("run", found.folder, scores), manifest)) == []
    assert len(list((found.folder / "overlays").glob("*.png"))) == 3
    # and the label maps are found again as whose they are
    again = find_label_maps(found.folder / "predictions", cases, cases)
    assert {c: f"predictions/{p.name}" for c, p in again.files.items()} == scores.predictions
