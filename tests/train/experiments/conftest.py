"""A prepared folder with a test split: a full dataset, one of livers and one of spleens."""

from pathlib import Path

import pytest

from manifests.table.manifest import Manifest, read_manifest, write_manifest
from tests.train.conftest import FULL, LIVER_ONLY, write_case
from train.experiments.plans.catalogue import Catalogue
from train.experiments.plans.planned_run import RunRequest

SPLEEN_ONLY = (0, 0, 2)
CASES = [
    *((f"full/{n}", FULL, split) for n, split in enumerate(["train"] * 4 + ["validation", "test"])),
    *((f"livers/{n}", LIVER_ONLY, s) for n, s in enumerate(["train", "train", "validation"])),
    ("livers/9", FULL, "test"),  # the whole truth
    *((f"spleens/{n}", SPLEEN_ONLY, s) for n, s in enumerate(["train", "train", "test"])),
]
QUICK = (
    *("patch_size_zyx=16,16,16", "filters=4,8,8", "augmentation=none"),
    *("patches_per_dataset=2", "stage_epochs=1,1", "validation_every=1"),
)
CATALOGUE = {
    "datasets": {"F": "full", "P1": "livers", "P2": "spleens"},
    "trainings": {
        "F": {"datasets": ["F"]},
        "union": {},
        "same": {"set": {"exclusion_weight": 0.5}},
        "liver": {"datasets": ["F", "P1"], "keep": ["liver"], "set": {"method": "regular"}},
        "spleen": {"datasets": ["P2"], "keep": ["spleen"], "set": {"method": "regular"}},
        "single": {"datasets": ["F"], "single_organ": [1, 2]},
        "other": {"another_split": {"dataset": "F", "seed": 1}},
        "absent": {"datasets": ["P9"]},
        "broken": {"set": {"method": "none_such"}},
    },
    "tables": {
        "small": {
            "title": "Small",
            "rows": [
                {"title": "F", "trainings": ["F"], "paper": "table3/F, rCE + rDC"},
                {"title": "one by one", "trainings": ["liver", "spleen"]},
                {"title": "broken", "trainings": ["broken"]},
            ],
        },
    },
}


@pytest.fixture(scope="session")
def path(tmp_path_factory, label_space) -> Path:
    folder = tmp_path_factory.mktemp("experiments")
    cases = [
        write_case(folder, case_id, merged=merged, split=split, seed=number)
        for number, (case_id, merged, split) in enumerate(CASES)
    ]
    write_manifest(Manifest.of(cases, label_space, folder=folder), folder / "manifest.parquet")
    return folder / "manifest.parquet"


@pytest.fixture
def manifest(path) -> Manifest:
    return read_manifest(path)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue.model_validate(CATALOGUE)


@pytest.fixture
def request_(catalogue, manifest, path, tmp_path) -> RunRequest:
    return RunRequest(catalogue, manifest, path, tmp_path, preset="tiny", overrides=QUICK)
