"""From the page to the data: verdicts are set in a browser, joined, prepared, and gone."""

import numpy as np
import pytest
from typer.testing import CliRunner

import curate.commands
from curate.cases.overrides import load_overrides
from curate.cases.target import Target
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.report.report import ReportRequest, plan_report, write_report
from manifests.volumes.volume import read_volume
from tests.browser import click, keys, opened, text, wait

SPACING_MM = (6.0, 6.0, 6.0)

pytestmark = pytest.mark.slow


def run(raw, out, overrides=None):
    recipes = (load_recipe("btcv"),)
    target = Target(load_label_space("abdomen5"), SPACING_MM, out)
    decided = load_overrides(overrides) if overrides else {}
    return prepare(PrepareRequest(recipes, raw, target, overrides=decided), workers=1).manifest


def report(out, folder):
    list(write_report(plan_report(ReportRequest(out, folder))))


def voxels(manifest, case):
    return read_volume(manifest.path(case.label)).voxels


def test_what_is_judged_on_the_page_is_done_by_prepare_and_then_gone(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_phantom_archives(raw, seed=1, cases={"btcv": 4}, spacing_mm=(6.0, 6.0))
    before = run(raw, out)
    swapped, undrawn, kept, gone = before.cases()
    as_found = voxels(before, swapped)
    report(out, tmp_path / "page")
    with opened(tmp_path / "page" / "index.html", tmp_path) as browser:
        browser.find_element("id", "reviewer").send_keys("Ada")
        click(browser, "#name")
        judged = {swapped: "4", undrawn: "5", kept: "1", gone: "3"}
        for case, key in judged.items():
            click(browser, "[data-tab=cases]")
            click(browser, f"li[data-case='{case.case_id}'] h3")
            keys(browser, key)
            if key == "5":
                click(browser, "#comment-classes [value=spleen]")
                click(browser, "#comment [value=ok]")
                wait(
                    lambda: (
                        not browser.execute_script("return document.querySelector('dialog[open]')")
                    )
                )
        wait(lambda: "4 of 4" in text(browser, "#count"))
        click(browser, "#save")
        wait((tmp_path / "verdicts-Ada.json").is_file)

    decisions = tmp_path / "decisions.toml"
    words = ["review", str(out), str(tmp_path / "verdicts-Ada.json"), "--out", str(decisions)]
    assert CliRunner().invoke(curate.commands.app, words).exit_code == 0
    after = {c.case_id: c for c in run(raw, out, decisions).cases()}

    assert gone.case_id not in after
    left, right = (before.label_space.names.index(f"{side}_kidney") for side in ("left", "right"))
    exchanged = np.arange(6, dtype=np.uint8)
    exchanged[[left, right]] = right, left
    np.testing.assert_array_equal(voxels(before, after[swapped.case_id]), exchanged[as_found])
    assert swapped.voxels[left] > 0
    assert "spleen" not in after[undrawn.case_id].annotated
    spleen = before.label_space.names.index("spleen")
    assert after[undrawn.case_id].merged[spleen] == 0
    assert after[undrawn.case_id].voxels[spleen] == 0
    assert after[undrawn.case_id].voxels[1] == undrawn.voxels[1]
    assert after[kept.case_id].label_sha256 == kept.label_sha256
    codes = {c.case_id: {f.code for f in c.findings} for c in after.values()}
    assert "reviewed" in codes[kept.case_id]
    assert "overridden" in codes[swapped.case_id]

    # the same verdicts again change nothing: sides are not exchanged back
    again = [*words, "--overrides", str(decisions)]
    assert CliRunner().invoke(curate.commands.app, again).exit_code == 0
    third = {c.case_id: c for c in run(raw, out, decisions).cases()}
    assert {i: c.label_sha256 for i, c in third.items()} == {
        i: c.label_sha256 for i, c in after.items()
    }
    report(out, tmp_path / "page")
    with opened(tmp_path / "page" / "index.html", tmp_path) as browser:
        assert text(browser, "#name").endswith("3 cases")
