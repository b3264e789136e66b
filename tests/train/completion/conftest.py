"""A network that knows the organs by their intensity, and what it makes of the prepared folder."""

import shutil

import pytest
import torch
from torch import nn

from manifests.table.manifest import read_manifest
from tests.train.conftest import ORGAN_HU, SPACING_MM
from train.completion.complete import complete_cases, plan_completion, write_completed
from train.learnt import Learnt
from train.model import Model, Normalisation
from train.prediction.sliding_window import Predictor

SPREAD_HU = 30.0


class ByIntensity(nn.Module):
    """The log-probability of each class, if its intensities are normally distributed."""

    def __init__(self):
        super().__init__()
        self.means = nn.Parameter(torch.tensor([0.0, *(float(ORGAN_HU[n]) for n in (1, 2))]))

    def forward(self, images):
        return -(((images - self.means.view(1, -1, 1, 1, 1)) / SPREAD_HU) ** 2) / 2


@pytest.fixture
def folder(manifest_path, tmp_path):
    """A prepared folder of one's own."""
    shutil.copytree(manifest_path.parent, tmp_path / "prepared")
    return tmp_path / "prepared"


@pytest.fixture
def predictor(manifest, label_space):
    training = [c for c in manifest.cases() if c.split == "train"]
    model = Model(
        ByIntensity(),
        label_space,
        Normalisation(low_hu=-1000.0, high_hu=1000.0, mean_hu=0.0, std_hu=1.0),
        SPACING_MM,
        (16, 16, 16),
        learnt=Learnt.of(manifest, {"train": training}),
    )
    return Predictor(model, "cpu")


@pytest.fixture
def completed(folder, predictor):
    """The manifest of the folder after its completion."""
    source, out = folder / "manifest.parquet", folder / "completed.parquet"
    manifest = read_manifest(source)
    plan = plan_completion(predictor, manifest, manifest.case_ids())
    write_completed(plan, list(complete_cases(plan, predictor)), source, out)
    return out
