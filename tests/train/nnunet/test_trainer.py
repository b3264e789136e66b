"""nnU-Net with our trainer: planned, trained, validated, resumed, and used without it."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from manifests.exports.nnunet.documents import KEY, digest
from manifests.ground.errors import TrainingError
from tests.train.nnunet.conftest import NAME, new_trainer, trainer_class
from train.commands import app
from train.nnunet.loss import PartialLabelLoss
from train.scoring.scores import read_scores

pytest.importorskip("nnunetv2")


def test_it_trains_and_its_loss_is_a_number(trained):
    losses = trained.logger.get_value("train_losses", step=None)
    assert len(losses) == 2
    assert np.isfinite(losses).all()


def test_the_split_is_the_exports(trained, nnunet_folders):
    written = nnunet_folders / "preprocessed" / NAME / "splits_final.json"
    assert json.loads(written.read_text()) == list(trained.annotations.folds)
    training, validation = trained.do_split()
    assert validation == ["both_2", "liver_only_6"]
    assert len(training) == 5


def test_a_fold_that_was_not_exported_is_refused(nnunet_folders):
    with pytest.raises(TrainingError, match="expected one of the 1"):
        new_trainer(nnunet_folders, fold=1).do_split()


def test_the_summary_counts_only_what_is_annotated(trained):
    summary = json.loads((Path(trained.output_folder) / "validation" / "summary.json").read_text())
    scored = {Path(c["prediction_file"]).stem: {*c["metrics"]} for c in summary["metric_per_case"]}
    assert scored == {"both_2": {"1", "2"}, "liver_only_6": {"1"}}
    spleen = next(c["metrics"]["2"] for c in summary["metric_per_case"] if "2" in c["metrics"])
    assert summary["mean"]["2"]["Dice"] == pytest.approx(spleen["Dice"])


def test_training_goes_on_where_it_stopped(trained, nnunet_folders):
    resumed = new_trainer(nnunet_folders, resume=True)
    resumed.load_checkpoint(str(Path(trained.output_folder) / "checkpoint_final.pth"))
    assert resumed.current_epoch == 2
    resumed.num_epochs = 3
    resumed.run_training()
    assert len(resumed.logger.get_value("train_losses", step=None)) == 3


def test_others_predict_without_our_trainer(trained, nnunet_folders, tmp_path):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trained.output_folder_base, (0,))
    assert predictor.trainer_name == "nnUNetTrainer"
    image = nnunet_folders / "raw" / NAME / "imagesTr" / "both_0_0000.nii"
    shutil.copy(image, tmp_path)
    found = predictor.predict_from_files_sequential(
        [[str(tmp_path / image.name)]], None, save_probabilities=False
    )
    assert found[0].shape == (20, 24, 28)


def test_a_folder_of_predictions_is_scored_as_it_is(
    trained, nnunet_folders, manifest_path, tmp_path
):
    """Both what nnUNetv2_predict writes and what a training leaves of its validation cases."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    scans, found = tmp_path / "scans", tmp_path / "found"
    scans.mkdir()
    found.mkdir()
    for name in ("both_2", "liver_only_6"):
        shutil.copy(nnunet_folders / "raw" / NAME / "imagesTr" / f"{name}_0000.nii", scans)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trained.output_folder_base, (0,))
    predictor.predict_from_files_sequential(str(scans), str(found))
    summary = json.loads((Path(trained.output_folder) / "validation/summary.json").read_text())
    expected = {
        (Path(case["prediction_file"]).stem, value): metric["Dice"]
        for case in summary["metric_per_case"]
        for value, metric in case["metrics"].items()
    }
    assert len(expected) == 3
    for folder in (found, Path(trained.output_folder) / "validation"):
        words = ["evaluate", manifest_path, "--predictions", folder, "--split", "validation"]
        words += ["--labels", found / "dataset.json", "--out", tmp_path / folder.name]
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        values = {"liver": "1", "spleen": "2"}
        scores = {
            (s.case_id.replace("/", "_"), values[s.class_name]): s.dice
            for s in read_scores(tmp_path / folder.name).scores
        }
        assert scores == pytest.approx(expected, nan_ok=True)


@pytest.fixture(scope="module")
def sided(nnunet_folders):
    dataset = json.loads((nnunet_folders / "preprocessed" / NAME / "dataset.json").read_text())
    dataset[KEY]["sided"] = True
    return seal(dataset)


def seal(dataset):
    dataset[KEY]["sha256"] = digest(dataset[KEY])
    return dataset


def predict(folder, image):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    out = image.with_name(f"of_{image.stem}")
    predictor.predict_from_files_sequential([[str(image)]], [str(out)])
    return nib.load(f"{out}.nii")


@pytest.mark.parametrize("axes", ["RAS", "PIR", "LPI"])
def test_scans_in_other_orientations_get_the_same_labels(trained, nnunet_folders, tmp_path, axes):
    image = nib.load(nnunet_folders / "raw" / NAME / "imagesTr" / "both_0_0000.nii")
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    for name, scan in (("a", image), ("b", image.as_reoriented(turn))):
        scan.to_filename(tmp_path / f"{name}.nii")
    stored, turned = (predict(trained.output_folder_base, tmp_path / f"{n}.nii") for n in "ab")
    assert nib.aff2axcodes(turned.affine) == tuple(axes)
    expected = nib.as_closest_canonical(stored).get_fdata()
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(nib.as_closest_canonical(turned).get_fdata(), expected)


def test_a_zip_is_used_without_our_trainer(trained, nnunet_folders, tmp_path, monkeypatch):
    from nnunetv2.model_sharing.model_export import export_pretrained_model
    from nnunetv2.model_sharing.model_import import install_model_from_zip_file

    zipped, name = tmp_path / "model.zip", type(trained).__name__
    (Path(trained.output_folder) / "progress.png").touch()  # which the tests do not draw
    export_pretrained_model(NAME, str(zipped), ("3d_fullres",), name, folds=(0,))
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setenv("nnUNet_results", str(results))
    install_model_from_zip_file(str(zipped))
    image = tmp_path / "a.nii"
    shutil.copy(nnunet_folders / "raw" / NAME / "imagesTr" / "both_0_0000.nii", image)
    assert predict(next(results.glob("*/*")), image).shape == (28, 24, 20)


def axes_of(trainer):
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert trainer.inference_allowed_mirroring_axes == axes
    return axes


def test_left_stays_left(nnunet_folders, sided):
    trainer = new_trainer(nnunet_folders, changed=sided)
    assert axes_of(trainer) == (0, 1)
    trainer.plans_manager.plans["transpose_forward"] = [2, 0, 1]
    assert axes_of(trainer) == (1, 2)


@pytest.mark.parametrize(
    ("axes", "mirrored"), [([0, 1, 2], (0,)), ([1, 2, 0], (1,)), ([2, 0, 1], (0, 1))]
)
def test_left_stays_left_in_slices(nnunet_folders, sided, axes, mirrored):
    trainer = new_trainer(nnunet_folders, changed=sided, configuration="2d")
    trainer.plans_manager.plans["transpose_forward"] = axes
    assert axes_of(trainer) == mirrored


def test_classes_without_a_side_are_mirrored_as_ever(nnunet_folders):
    assert axes_of(new_trainer(nnunet_folders)) == (0, 1, 2)


def test_the_pipeline_keeps_padding_apart(nnunet_folders):
    trainer = new_trainer(nnunet_folders)
    trainer.initialize()
    loader, _ = trainer.get_dataloaders()
    seen = {v for _ in range(20) for v in next(loader)["target"][0].unique().tolist()}
    assert -1 in seen
    assert seen <= {-1, 0, 1, 2}


def test_an_epoch_without_annotated_classes_keeps_the_moving_average(nnunet_folders):
    trainer = new_trainer(nnunet_folders)
    trainer.logger.log("mean_fg_dice", 0.5, 0)
    trainer.logger.log("mean_fg_dice", float("nan"), 1)
    trainer.logger.log("mean_fg_dice", 0.7, 2)
    averages = trainer.logger.get_value("ema_fg_dice", step=None)
    assert averages == pytest.approx([0.5, 0.5, 0.52])


def test_what_an_edit_dropped_needs_no_new_preprocessing(nnunet_folders):
    """The stored labels hold the spleen still; the annotations do not."""
    dataset = json.loads((nnunet_folders / "preprocessed" / NAME / "dataset.json").read_text())
    dataset[KEY]["merged"] = {name: [0, 1, 0] for name in dataset[KEY]["merged"]}
    trainer = new_trainer(nnunet_folders, changed=seal(dataset))
    trainer.initialize()
    training, _ = trainer.get_tr_and_val_datasets()
    assert 2 in training.load_case("both_0")[1][:]
    assert {*training.load_case("both_0")[3]["class_locations"]} == {1}
    loader, _ = trainer.get_dataloaders()
    for _ in range(3):
        assert np.isfinite(trainer.train_step(next(loader))["loss"])


def test_an_export_that_was_not_planned_again_is_refused(nnunet_folders):
    path = nnunet_folders / "raw" / NAME / "dataset.json"
    before = path.read_text()
    dataset = json.loads(before)
    dataset[KEY]["merged"]["both_0"] = [0, 1, 0]
    path.write_text(json.dumps(seal(dataset)))
    try:
        with pytest.raises(TrainingError, match="exported again"):
            new_trainer(nnunet_folders).on_train_start()
    finally:
        path.write_text(before)


@pytest.mark.parametrize("change", ["key", "hash", "length"])
def test_annotations_that_do_not_fit_are_refused(nnunet_folders, change):
    dataset = json.loads((nnunet_folders / "preprocessed" / NAME / "dataset.json").read_text())
    if change == "key":
        del dataset[KEY]
    elif change == "hash":
        dataset[KEY]["merged"]["both_0"] = [0, 1, 0]
    else:
        dataset[KEY]["merged"]["both_0"] = [0, 1]
        seal(dataset)
    with pytest.raises(TrainingError, match=r"dataset\.json"):
        new_trainer(nnunet_folders, changed=dataset)


def test_variants_are_named_as_nnunets_are():
    chosen = trainer_class("nnUNetTrainerMarginalNoExclusionBalancedFirstStage_250epochs")
    options = chosen.exclusion, chosen.balanced, chosen.first_stage, chosen.epochs
    assert options == (False, True, True, 250)
    assert trainer_class("nnUNetTrainerMarginal").epochs is None
    assert trainer_class("nnUNetTrainerMarginal_1epoch").epochs == 1
    assert trainer_class("nnUNetTrainerMarginalOther") is None


def test_balance_repeats_the_cases_of_small_datasets(nnunet_folders):
    training, _ = new_trainer(
        nnunet_folders, "nnUNetTrainerMarginalBalanced"
    ).get_tr_and_val_datasets()
    drawn = [name.rsplit("_", 1)[0] for name in training.identifiers]
    assert drawn.count("both") == drawn.count("liver_only") == 3


def test_the_first_stage_takes_fully_labelled_cases(nnunet_folders):
    trainer = new_trainer(nnunet_folders, "nnUNetTrainerMarginalFirstStage_3epochs")
    trainer.initialize()
    drawn = []
    step = trainer.train_step
    trainer.train_step = lambda batch: drawn.append(batch["keys"]) or step(batch)
    trainer.num_iterations_per_epoch = 6
    trainer.run_training()
    # of three epochs, the first stage has one, or two if a class is not learnt by then
    names = [{n.rsplit("_", 1)[0] for keys in drawn[e : e + 6] for n in keys} for e in (0, 12)]
    assert names[0] == {"both"}
    assert "liver_only" in names[1]


def test_the_loss_has_the_scale_of_nnunets_own():
    """Gradients are clipped at a norm of 12 that was chosen for it."""
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    theirs = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    ours = PartialLabelLoss(6, exclusion=True, batch_dice=False)
    ours.merged = ((0, 1, 2, 3, 4, 5),)
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 6, (1, 1, 16, 16, 16), generator=generator)
    norms = []
    for loss in (theirs, ours):
        logits = torch.randn(1, 6, 16, 16, 16, generator=torch.Generator().manual_seed(4))
        logits.requires_grad_()
        loss(logits, target).backward()
        norms.append(logits.grad.norm())
    assert norms[1] / norms[0] == pytest.approx(1, abs=0.1)
