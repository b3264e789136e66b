"""The page on recipes: its commands are run, and its output is what they give."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import curate.commands
import manifests.commands
from curate.recipes.case_table import CaseTable
from curate.recipes.layouts import PairsLayout
from curate.recipes.schema import PAPER, load_recipe, shipped_recipes
from manifests.table.manifest import read_manifest
from tests.curate import published

PAGE = Path(__file__).parents[3] / "docs" / "how_to" / "recipes.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.usefixtures("_in_this_process")


def blocks(kind):
    return [text for language, text in BLOCK.findall(PAGE.read_text()) if language == kind]


def marginalia(line):
    app = typer.Typer()
    app.add_typer(curate.commands.app)
    app.add_typer(manifests.commands.app)
    program, *words = shlex.split(line)
    assert program == "marginalia"
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def write(folder, label, *cases):
    for number, name in enumerate(cases):
        (folder / name).mkdir(parents=True)
        (folder / name / "ct.nii.gz").write_bytes(published.ct(number))
        (folder / name / "labels.nii.gz").write_bytes(published.gzipped(label))


def test_the_example_does_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    label = published.drawn({1: "liver", 2: "spleen", 3: "right_kidney"})
    label[published.inside("left_kidney")] = 3
    write(tmp_path / "mine", label, "patient_01", "patient_02", "patient_03")
    vessels = published.drawn({1: "hepatic_vessel", 2: "liver_tumour"})
    write(tmp_path / "vessels", vessels, "p1")
    listing, checked = blocks("text")
    files = [line for line in listing.splitlines() if line != "..."]
    assert all((tmp_path / name).is_file() for name in files)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    printed = "".join(marginalia(line) for line in lines)
    mine, *parts, declared = blocks("toml")
    for part in map(tomllib.loads, parts):
        assert not part.keys() - {"layout", "table"}
        assert CaseTable.model_validate(part.get("table", {"files": ["x"], "case": "x"}))
        assert part.get("layout", {}).keys() <= PairsLayout.model_fields.keys()
    assert (tmp_path / "mine.toml").read_text() == mine
    assert declared in (tmp_path / "vessels.toml").read_text()
    assert checked in printed
    cases = list(read_manifest(tmp_path / "prepared").cases())
    assert len(cases) == 3
    assert all("left_kidney" in case.annotated for case in cases)


def test_the_table_lists_the_shipped_recipes_with_their_cases():
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+)", PAGE.read_text(), re.MULTILINE)
    told = {name: int(count.replace(",", "")) for name, count in rows}
    others = [name for name in shipped_recipes() if name not in PAPER]
    assert told == {name: load_recipe(name).labelled_cases for name in others}
