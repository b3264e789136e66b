"""The wheel, installed into a fresh environment: it works, with its data and without tests."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("curate", "manifests", "train")
# The demo, with fewer and coarser scans and next to no training.
SMALL_DEMO = """
import marginalia
from curate.phantom import archives

NAMES = ("btcv", "kits19", "msd_liver", "msd_pancreas", "msd_spleen")
QUICK = ["stage_epochs=0,1", "patches_per_dataset=2", "patch_size_zyx=16,16,16", "filters=4,8,8",
         "first_stage_dice=0", "overlap=0"]
write = archives.write_phantom_archives
archives.write_phantom_archives = lambda folder, **options: write(
    folder, cases=dict.fromkeys(NAMES, 5), spacing_mm=(8.0, 8.0), **options
)
marginalia.DEMO_SPACING_MM = (8.0, 8.0, 8.0)
marginalia.DEMO_NETWORKS = {"full_only": ["datasets=btcv", *QUICK], "union": QUICK}
if __name__ == "__main__":  # worker processes import this file
    marginalia.main()
"""


def run(*command, folder, **environment):
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", "COLUMNS": "200", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools takes what earlier builds left beside the sources."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("marginalia.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "--wheel-dir", folder, source, folder=source)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """A fresh environment with the wheel; what it depends on comes from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    inside = {"base": str(folder), "platbase": str(folder)}
    scripts, site = (Path(sysconfig.get_path(k, "venv", inside)) for k in ("scripts", "purelib"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-index"]
    run(*pip, "--no-deps", "--quiet", wheel, folder=folder)
    return scripts


def test_all_data_are_in_it_and_no_tests(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (file for name in PACKAGES for file in (ROOT / name).rglob("*") if file.is_file())
    expected = {f.relative_to(ROOT).as_posix() for f in files if "__pycache__" not in f.parts}
    assert packed == expected | {"marginalia.py"}
    assert sum(name.endswith(".toml") for name in packed) > 20


def test_what_is_installed_is_the_wheel_and_finds_its_data(bin_folder, tmp_path):
    facts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = run(bin_folder / "marginalia", "--version", folder=tmp_path)
    assert told == f"{facts['name']} {facts['version']}\n"
    program = (
        "import marginalia, curate, manifests, train; from curate.recipes.schema import *; "
        "print(*(m.__file__ for m in (marginalia, curate, manifests, train))); "
        "print(*map(load_recipe, shipped_recipes())); "
        "print(marginalia.load_label_space('abdomen5'))"
    )
    files, recipes, space = run(bin_folder / "python", "-c", program, folder=tmp_path).splitlines()
    assert all(str(bin_folder.parent) in file for file in files.split())
    assert "msd_spleen" in recipes
    assert "left_kidney" in space


@pytest.mark.slow
def test_the_demo_works_from_the_wheel(bin_folder, tmp_path):
    (tmp_path / "small_demo.py").write_text(SMALL_DEMO)
    command = [bin_folder / "python", "small_demo.py", "demo", "--out", "demo"]
    printed = run(*command, folder=tmp_path, OMP_NUM_THREADS="1")
    assert "overlays in demo/overlays" in printed
    assert (tmp_path / "demo" / "summary.json").is_file()
    assert list((tmp_path / "demo" / "overlays").rglob("*.png"))
