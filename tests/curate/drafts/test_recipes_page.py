"""The page on recipes: its commands are run, and its output is what they give."""

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from typer.testing import CliRunner

import curate.commands
import manifests.commands
from curate.recipes.case_table import CaseTable
from curate.recipes.layouts import PairsLayout
from curate.recipes.schema import PAPER, load_recipe, shipped_recipes
from manifests.table.manifest import read_manifest
from tests.curate import dicom_files, published
from tests.curate.slicer_labels import test_slicer_label as slicer

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
    listing, checked, _ = blocks("text")
    files = [line for line in listing.splitlines() if line != "..."]
    assert all((tmp_path / name).is_file() for name in files)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    printed = "".join(marginalia(line) for line in lines)
    mine, *parts, declared = blocks("toml")
    for part in (p for p in map(tomllib.loads, parts) if "name" not in p):
        assert not part.keys() - {"layout", "table"}
        assert CaseTable.model_validate(part.get("table", {"files": ["x"], "case": "x"}))
        assert part.get("layout", {}).keys() <= PairsLayout.model_fields.keys()
    assert (tmp_path / "mine.toml").read_text() == mine
    assert declared in (tmp_path / "vessels.toml").read_text()
    assert checked in printed
    cases = list(read_manifest(tmp_path / "prepared").cases())
    assert len(cases) == 3
    assert all("left_kidney" in case.annotated for case in cases)


def by_hand(folder, kind):
    """Write the page's recipe of a kind into a folder, and load it."""
    found = {tomllib.loads(text).get("layout", {}).get("kind"): text for text in blocks("toml")}
    path = folder / f"{kind}.toml"
    path.write_text(found[kind])
    return load_recipe(path)


def prepared(folder, kind, spacing="5,5,5"):
    line = f"marginalia prepare {kind}.toml --raw . --out out --spacing {spacing}"
    marginalia(line)
    cases = read_manifest(folder / "out").cases()
    return {case.case_id.rpartition("/")[2]: case for case in cases}


def test_the_recipe_of_masks_that_is_written_by_hand_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_hand(tmp_path, "masks")
    listing = next(text for text in blocks("text") if "drawn_masks" in text)
    kidneys = published.inside("left_kidney") | published.inside("right_kidney")
    drawn = {"liver.nii.gz": published.inside("liver"), "kidneys.nii.gz": kidneys}
    for name in (line for line in listing.splitlines() if line != "..."):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = drawn.get(path.name)
        written = published.ct(len(name)) if mask is None else published.gzipped(mask.astype("u1"))
        path.write_bytes(written)
    (tmp_path / "drawn_masks/p02/masks").mkdir()
    liver = published.gzipped(drawn["liver.nii.gz"].astype("u1"))
    (tmp_path / "drawn_masks/p02/masks/liver.nii.gz").write_bytes(liver)
    cases = prepared(tmp_path, "masks")
    assert cases["p01"].annotated == ("liver", "left_kidney", "right_kidney")
    assert cases["p02"].annotated == ("liver",)


def test_the_recipe_of_dicom_labels_that_is_written_by_hand_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = by_hand(tmp_path, "dicom")
    boxes = {
        name: published.inside(name).T.astype("u1")
        for name in ("liver_tumour", "liver", "spleen", "left_kidney", "right_kidney")
    }
    described = [
        dicom_files.segment(1, "GTV liver", "neoplasm", region="liver"),
        dicom_files.segment(2, "Hepar"),
        *(dicom_files.segment(n, "other") for n in range(3, 7)),
        dicom_files.segment(7, "Milz", "spleen"),
        dicom_files.segment(8, "Kidney", "kidney", side="left"),
        dicom_files.segment(9, "Kidney", "kidney", side="right"),
    ]
    none = np.zeros_like(boxes["liver"])
    masks = np.stack(
        [boxes["liver_tumour"], boxes["liver"], *[none] * 4, *[*boxes.values()][2:]], axis=-1
    )
    for n in (1, 2):
        folder = tmp_path / "sent" / f"p{n}"
        hu = np.random.default_rng(n).normal(40, 10, none.shape).astype("i2")
        written = dicom_files.ct_series(folder / "ct", hu, spacing=(5, 5, 5))
        kept = slice(None) if n == 1 else slice(7)
        dicom_files.write_seg(folder / "seg.dcm", written, masks[..., kept], described[kept])
    cases = prepared(tmp_path, "dicom")
    assert cases["p1"].annotated == ("liver", "spleen", "left_kidney")
    assert cases["p2"].annotated == ("liver", "spleen")
    assert cases["p1"].volume_ml[1:5] == pytest.approx(
        [boxes[n].sum() / 8 for n in ("liver", "spleen")] + [0, boxes["left_kidney"].sum() / 8]
    )
    assert len(recipe.names) == 4


def test_the_recipe_of_slicers_files_that_is_written_by_hand_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = by_hand(tmp_path, "slicer")
    segments = slicer.three()
    segments["Tumor 2"] = segments.pop("Lesion 7")
    for name, drawn in {"patient_1": segments, "patient_2": {"LEBER": segments["Liver"]}}.items():
        slicer.write_nifti_ct(tmp_path / "slicer" / name)
        scan = tmp_path / "slicer" / name / "ct.nii.gz"
        sitk.WriteImage(sitk.ReadImage(scan), scan.with_name("ct.nrrd"))
        slicer.write_segmentation(scan.with_name("Segmentation.seg.nrrd"), drawn)
    cases = prepared(tmp_path, "slicer", "0.8,0.8,2.5")
    assert cases["patient_1"].annotated == ("liver", "spleen")
    assert cases["patient_2"].annotated == ()  # nobody looked for tumours in this liver
    assert len(recipe.names) == 3


def test_the_table_of_the_papers_datasets_says_what_the_recipes_say():
    table = PAGE.with_name("public_datasets.md").read_text()
    rows = [r for r in table.splitlines() if r.startswith("| `")]
    told = {name: row for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert told.keys() == {*PAPER}
    for name, row in told.items():
        recipe, licence = load_recipe(name), row.split("|")[4]
        assert ("not for commercial use" in licence) != recipe.commercial_use
        assert recipe.licence in licence or name == "btcv"
        assert all(a.partition("*")[0].lower() in row.lower() for a in recipe.layout.archives[:1])


def test_the_table_lists_the_shipped_recipes_with_their_cases():
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+)", PAGE.read_text(), re.MULTILINE)
    told = {name: int(count.replace(",", "")) for name, count in rows}
    others = [name for name in shipped_recipes() if name not in PAPER]
    assert told == {name: load_recipe(name).labelled_cases for name in others}
