"""A dataset that nnU-Net planned and preprocessed: two organs, of which some cases label one."""

import json
import multiprocessing
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
import torch

from manifests.exports.nnunet.plan import NnunetRequest, plan_nnunet
from manifests.exports.nnunet.write import write_cases, write_documents
from manifests.exports.selection import select_for_export

NAME = "Dataset501_Two"
PATCH = [16, 16, 16]
EXTERNAL = Path(__file__).parents[3] / "train" / "nnunet" / "external"


def trainer_class(name):
    """The class as nnU-Net finds it, without its look at its own trainers."""
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    return recursive_find_python_class(
        str(EXTERNAL),
        name,
        None,
        base_folder=str(EXTERNAL),
        cleanup_imports_from_base_folder=True,
    )


def new_trainer(
    folders,
    name="nnUNetTrainerMarginal_2epochs",
    *,
    configuration="3d_fullres",
    fold=0,
    changed=None,
    resume=False,
):
    base = folders / "preprocessed" / NAME
    plans = json.loads((base / "nnUNetPlans.json").read_text())
    plans["continue_training"] = resume
    dataset = changed or json.loads((base / "dataset.json").read_text())
    torch.manual_seed(0)
    trainer = trainer_class(name)(plans, configuration, fold, dataset, torch.device("cpu"))
    trainer.num_iterations_per_epoch = 2
    trainer.num_val_iterations_per_epoch = 2
    trainer.logger.plot_progress_png = lambda _: None  # seconds each
    return trainer


class Threads:
    """A context of multiprocessing whose pools are threads; all else is as it was, for others."""

    Pool = ThreadPool

    def __init__(self, get_context, *method):
        self._context = get_context(*method)

    def __getattr__(self, name):
        return getattr(self._context, name)


@pytest.fixture(scope="session")
def nnunet_folders(tmp_path_factory, manifest_path) -> Path:
    """The folder of nnU-Net's three folders, `raw`, `preprocessed` and `results`."""
    pytest.importorskip("nnunetv2")
    folder = tmp_path_factory.mktemp("nnunet")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(folder / name))
        patch.setenv("nnUNet_def_n_proc", "1")
        # a process of its own imports nnU-Net for seconds, for each of its many pools
        patch.setattr("multiprocessing.get_context", partial(Threads, multiprocessing.get_context))
        request = NnunetRequest(folder / "raw" / NAME)
        plan = plan_nnunet(select_for_export(manifest_path), request)
        assert not [w for w in write_cases(plan) if w.problem]
        write_documents(plan)
        patch.setenv("nnUNet_n_proc_DA", "1")  # with 0, planning fails in PyTorch
        _preprocess(folder / "preprocessed" / NAME)
        patch.setenv("nnUNet_n_proc_DA", "0")
        yield folder


def _preprocess(folder: Path) -> None:
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    api.extract_fingerprints([501], num_processes=1)
    plans_name = api.plan_experiments([501])
    path = folder / f"{plans_name}.json"
    plans = json.loads(path.read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration["patch_size"] = PATCH
    architecture = configuration["architecture"]["arch_kwargs"]
    stages = 3
    architecture["n_stages"] = stages
    architecture["features_per_stage"] = [4, 8, 8]
    for name in ("kernel_sizes", "strides", "n_conv_per_stage"):
        architecture[name] = architecture[name][:stages]
    architecture["n_conv_per_stage_decoder"] = architecture["n_conv_per_stage_decoder"][
        : stages - 1
    ]
    path.write_text(json.dumps(plans))
    api.preprocess([501], plans_name, configurations=["3d_fullres"], num_processes=[1])


@pytest.fixture(scope="session")
def trained(nnunet_folders):
    trainer = new_trainer(nnunet_folders)
    trainer.run_training()
    trainer.perform_actual_validation()
    return trainer
