"""What the commands import: nobody waits for a library that a step does not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.manifest_scale import build

ROOT = Path(__file__).parents[1]
SEEN = """
import json, sys
import marginalia
for words in json.loads(sys.argv[1]):
    try:
        marginalia.app(words)
    except SystemExit as done:
        assert done.code in (None, 0, 3), (words, done.code)  # 3: files are not there
print("LOADED", *{name for name in sys.modules if sys.modules[name] is not None})
"""
NETWORKS = {"torch", "monai", "lightning_fabric", "tensorboard"}
PICTURES = {"matplotlib", "PIL", "SimpleITK", "nibabel", "pydicom", "skimage", "scipy"}
OTHERS = {"pandas", "requests", "httpx2", "sympy", "sklearn", "distributed"}


def loaded_by(folder, *commands):
    done = subprocess.run(
        [sys.executable, "-c", SEEN, json.dumps([words.split() for words in commands])],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("imports")
    build(200, path / "manifest.parquet")
    return path


def test_help_imports_no_library_of_numbers(folder):
    loaded = loaded_by(folder, "--help", "train --help", "prepare --help")
    assert "typer" in loaded
    assert not loaded & {*NETWORKS, *PICTURES, *OTHERS, "numpy", "pyarrow", "duckdb"}


def test_commands_on_a_manifest_import_what_reads_a_table(folder):
    loaded = loaded_by(
        folder,
        "inspect .",
        "inspect . --where ignored=0",
        "inspect . --case btcv/case_000000",
        "split . --test 0.2 --out s.parquet",
        "edit . --drop spleen --out e.parquet",
        "diff . e.parquet",
        "label-space list",
        "recipe list",
        "export monai . --out list.json",
    )
    assert {"pyarrow", "duckdb"} <= loaded
    assert not loaded & {*NETWORKS, *PICTURES, *OTHERS}


def test_matches_are_found_without_networks(folder):
    fingerprints = folder / "match.parquet"
    build(20, fingerprints)
    loaded = loaded_by(folder, f"match {fingerprints} {fingerprints}")
    assert "numpy" in loaded
    assert not loaded & {*NETWORKS, "pandas", "matplotlib"}


def test_a_network_is_loaded_without_the_compiler_or_libraries_of_other_networks():
    code = """
import sys
import train.losses.marginal_exclusion, train.prediction.predict
from train.methods.table import new_network
from train.networks.network import NetworkSettings, without_weights
from train.settings import resolve
with without_weights():
    network = new_network(NetworkSettings.of(resolve("tiny"), (3, 3, 3)), 6)
assert {p.device.type for p in network.parameters()} == {"meta"}
unused = {"torch._dynamo", "sympy", "monai", "pandas", "matplotlib", "sklearn", "tensorboard"}
print({"torch", *unused} & {*sys.modules})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["{'torch'}"]
