"""The GPU run: the command itself works, and no section's end is that of another's figures."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.gpu.__main__ import markdown, run_section, sections
from tests.gpu.figure import Bench, Figure, Section, at_least, at_most

ROOT = Path(__file__).parents[2]


def test_it_measures_on_a_cpu_what_it_will_on_a_gpu(tmp_path):
    names = ("loss", "step", "memory", "waits", "training", "prediction", "table3")
    words = [sys.executable, "-m", "tests.gpu", "--device", "cpu", "--quick", "--out", tmp_path]
    told = subprocess.run(
        [*words, "--only", ",".join(names)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    document = json.loads((tmp_path / "gpu.json").read_text())
    assert tuple(document["sections"]) == names
    assert all(section["figures"] for section in document["sections"].values())
    figures = {f["what"]: f for s in document["sections"].values() for f in s["figures"]}
    for what in (
        "gradient, fused against eager, largest difference",
        "losses, host against device, largest difference",
        "losses, stopped against device, largest difference",
        "prediction, classes",
    ):
        assert figures[what]["met"], what
    table = (tmp_path / "gpu.md").read_text()
    assert table in told.stdout
    assert "| losses, host against device, largest difference | 0 | at most 0 | yes |" in table


def raises(_bench):
    yield Figure("one", 1.0)
    msg = "a | fault\nof two lines"
    raise ValueError(msg)


def hangs(_bench):
    yield Figure("one", 1.0)
    time.sleep(600)


def dies(_bench):
    yield Figure("one", 1.0)
    os._exit(9)


def dies_at_once(_bench):
    os._exit(9)
    yield Figure("one", 1.0)


@pytest.mark.parametrize(
    ("run", "figures", "error"),
    [
        (raises, 1, "ValueError: a | fault"),
        (hangs, 1, "it was ended"),
        (dies, 1, "it was ended"),
        (dies_at_once, 0, "before its first figure"),
    ],
)
def test_a_section_that_ends_badly_keeps_its_figures(tmp_path, run, figures, error):
    section = Section("bad", run, 1)
    done = run_section(section, Bench("cpu", True, tmp_path, 10), seconds=2)
    assert len(done["figures"]) == figures
    assert error in done["error"]
    assert done["seconds"] < 60
    text = markdown({"device": "cpu", "versions": "", "sections": {"bad": done}})
    assert text.splitlines()[-1].startswith("| bad |")
    assert text.splitlines()[-1].count("|") == 5


def test_the_sections_fit_into_eight_minutes():
    assert (
        sum(s.seconds for s in sections() if s.name != "table3") < 480
    )  # which takes what is left


def test_goals_are_met_or_not():
    assert at_most("a", 2, 2).met
    assert not at_most("a", 2.1, 2).met
    assert at_least("a", 2, 2).met
    assert not at_least("a", 1.9, 2).met
    assert at_most("share", 3.14159, 5, "%").shown == "3.142 %"
