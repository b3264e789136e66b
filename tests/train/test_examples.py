"""The example programs of the documents run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.exports.monai import write_datalist
from manifests.exports.selection import select_for_export

ROOT = Path(__file__).parents[2]
PRINTED = {
    "monai_datalist": r"([12] patches, loss \d+\.\d{3}\n){6}",
    "monai_unet": r"liver_only/6 liver Dice [01]\.\d{3}\n",
    "torchio_transforms": r"(loss \d+\.\d{3}\n){3}",
}
# The tutorial's makes data in place of using some; the test of the commands in the pages runs it.
EXAMPLES = sorted(p for p in (ROOT / "docs" / "examples").glob("*.py") if p.stem in PRINTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, manifest_path, tmp_path):
    given = manifest_path
    if path.stem == "monai_datalist":
        given = tmp_path / "datalist.json"
        write_datalist(select_for_export(manifest_path), given)
    done = subprocess.run(
        [sys.executable, str(path), str(given)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(PRINTED[path.stem], done.stdout), done.stdout
