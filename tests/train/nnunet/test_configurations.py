"""Configurations of nnU-Net beside 3d_fullres: slices, and a cascade of two stages."""

import json
import multiprocessing
from functools import partial

import numpy as np
import pytest

from manifests.ground.errors import TrainingError
from tests.train.nnunet.conftest import NAME, Threads, new_trainer

SHORT = "nnUNetTrainerMarginal_1epoch"


@pytest.fixture(scope="module")
def all_configurations(nnunet_folders):
    """The dataset planned and preprocessed for slices, low resolution and the cascade, too."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    path = nnunet_folders / "preprocessed" / NAME / "nnUNetPlans.json"
    before = path.read_text()
    plans = json.loads(before)
    configurations = plans["configurations"]
    full, slices = configurations["3d_fullres"], configurations["2d"]
    low = {"data_identifier": "nnUNetPlans_3d_lowres", "spacing": [2 * s for s in full["spacing"]]}
    configurations["3d_lowres"] = {**full, **low, "next_stage": "3d_cascade_fullres"}
    configurations["3d_cascade_fullres"] = {
        "inherits_from": "3d_fullres",
        "previous_stage": "3d_lowres",
    }
    slices["batch_size"] = 4
    slices["architecture"]["arch_kwargs"]["features_per_stage"] = [
        4 for _ in slices["architecture"]["arch_kwargs"]["features_per_stage"]
    ]
    path.write_text(json.dumps(plans))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multiprocessing.get_context", partial(Threads, multiprocessing.get_context))
        patch.setenv("nnUNet_n_proc_DA", "1")
        api.preprocess([501], "nnUNetPlans", configurations=["2d", "3d_lowres"], num_processes=[1])
    yield nnunet_folders
    path.write_text(before)


def test_slices(all_configurations):
    trainer = new_trainer(all_configurations, configuration="2d", name=SHORT)
    trainer.run_training()
    trainer.perform_actual_validation()
    assert np.isfinite(trainer.logger.get_value("train_losses", step=None)).all()


def test_a_cascade(all_configurations):
    second = new_trainer(all_configurations, configuration="3d_cascade_fullres", name=SHORT)
    with pytest.raises(TrainingError, match="7 of 7 are not in"):
        second.run_training()
    first = new_trainer(all_configurations, configuration="3d_lowres", name=SHORT, fold="all")
    first.run_training()
    first.perform_actual_validation()

    second = new_trainer(all_configurations, configuration="3d_cascade_fullres", name=SHORT)
    second.run_training()
    second.perform_actual_validation()
    losses = [second.logger.get_value(f"{part}_losses", step=None) for part in ("train", "val")]
    assert np.isfinite(losses).all()
    batch = next(second.get_dataloaders()[0])
    previous = batch["data"][:, 1:]
    assert previous.shape[1] == 2  # liver and spleen, as the first stage saw them
    assert set(previous.unique().tolist()) <= {0.0, 1.0}
