"""The page in a real browser, opened from the file system as by a double click."""

import json

import pytest

from manifests.ground.findings import Finding
from manifests.report.report import ReportRequest, plan_report, write_report
from tests.browser import click, keys, opened, text, wait

pytestmark = pytest.mark.slow

SUSPECT = Finding("label_fragments", "liver: 1 mL, at x -5, y 26, z 45 mm (LPS)")


@pytest.fixture(scope="module")
def out(tmp_path_factory, make_case, make_manifest, write_volumes, save_manifest):
    """A report on 103 cases, so that the list has two pages."""
    folder = tmp_path_factory.mktemp("data")
    cases = [write_volumes(make_case(f"btcv/{n:03d}"), folder) for n in range(101)]
    cases.append(
        write_volumes(make_case("msd/<b>odd</b>", image="m/i.nii", label="m/l.nii"), folder)
    )
    cases.append(write_volumes(make_case("btcv/zz", findings=(SUSPECT,)), folder))
    label = folder / cases[-1].label
    label.write_bytes(label.read_bytes()[:-120] + bytes([255]) * 120)  # nobody looked at the top
    manifest = save_manifest(make_manifest(cases, folder=folder))
    out = tmp_path_factory.mktemp("report")
    assert not any(write_report(plan_report(ReportRequest(manifest, out, viewers=2, niivue=True))))
    (out / "stored.nii").write_bytes(label.read_bytes())
    return out


@pytest.fixture
def stored(out):
    """The label of the first case, of which nobody looked at some voxels."""
    return (out / "stored.nii").read_bytes()


@pytest.fixture
def browser(out, tmp_path):
    with opened(out / "index.html", tmp_path) as driver:
        yield driver


def name_reviewer(browser, name="Ada"):
    browser.find_element("id", "reviewer").send_keys(name)


def test_the_overview_counts_and_the_list_pages(browser):
    assert text(browser, "#name").endswith("103 cases")
    assert "btcv\t102\tCC-BY-4.0\t102 train" in text(browser, "#overview table")
    keys(browser, "j")  # to the cases
    assert text(browser, "#list li.here h3") == "btcv/000"
    keys(browser, "i", "i")
    assert text(browser, "#list li.here h3") == "btcv/zz"  # the suspicious one is first
    assert "page 1 of 2" in text(browser, "#pager")
    keys(browser, "\ue00f")  # page down
    assert "page 2 of 2" in text(browser, "#pager")
    assert len(browser.find_elements("css selector", "#list li")) == 3
    assert "msd/<b>odd</b>" in text(browser, "#list")
    drawn = "return document.querySelector('#list img').naturalWidth"
    assert wait(lambda: browser.execute_script(drawn)) > 10


def test_a_verdict_by_key_is_kept_and_saved(browser, tmp_path):
    keys(browser, "j", "i", "3")
    assert "0 of 103" in text(browser, "#count")  # nobody said who
    name_reviewer(browser)
    click(browser, "#name")
    keys(browser, "3", "2")
    assert "2 of 103" in text(browser, "#count")
    browser.refresh()
    assert "2 of 103" in text(browser, "#count")
    click(browser, "#save")
    path = tmp_path / "verdicts-Ada.json"
    wait(path.is_file)
    first, second = json.loads(path.read_text())["verdicts"]
    assert (first["case_id"], first["verdict"], first["reviewer"]) == (
        "btcv/zz",
        "leave_out",
        "Ada",
    )
    assert (second["case_id"], second["verdict"]) == ("btcv/000", "doubt")
    assert len(first["label_sha256"]) == len(first["source_label_sha256"]) == 64
    assert first["time"].endswith("Z")
    click(browser, "[data-tab=cases]")
    browser.find_element("css selector", "[name=verdict]").send_keys("leave out")
    assert "1 of 103 cases" in text(browser, "#pager")


def test_a_class_that_nobody_drew_is_chosen(browser):
    name_reviewer(browser)
    click(browser, "#name")
    keys(browser, "5")
    click(browser, "#comment-classes [value=spleen]")
    browser.find_element("css selector", "#comment textarea").send_keys("only the liver")
    click(browser, "#comment [value=ok]")
    said = "not annotated after all; spleen; only the liver; Ada"
    wait(lambda: said in text(browser, "#list li.here"))  # the dialog closes in its own time


def test_the_volume_opens_and_each_voxel_is_there(browser, stored):
    name_reviewer(browser)
    click(browser, "#name")
    keys(browser, "j", "i", "\ue007")
    wait(lambda: browser.execute_script("return document.getElementById('viewer').dataset.ready"))
    found = browser.execute_script("return Array.from(viewer.labels)")
    assert bytes(found) == stored[-len(found) :]  # x is the fastest in both
    assert len(browser.find_elements("css selector", "#viewer-planes canvas")) == 3
    click(browser, "#viewer-notes .finding")
    assert text(browser, "#position") == "L -5.5, P 26, S 45 mm"
    keys(browser, "4")
    verdict = browser.execute_script("return verdicts['btcv/zz']")
    assert (verdict["verdict"], verdict["position_lps_mm"]) == ("sides_swapped", [-5.5, 26, 45])


def test_a_label_that_changed_since_is_asked_for_again(browser):
    name_reviewer(browser)
    click(browser, "#name")
    keys(browser, "1")
    browser.execute_script("verdicts['btcv/zz'].label_sha256 = 'other'; keep('verdicts', verdicts)")
    browser.refresh()
    assert "0 of 103" in text(browser, "#count")
    keys(browser, "j")
    assert "label changed since: keep" in text(browser, "#list")


def test_a_case_opens_in_niivue_with_its_left_on_the_right(browser):
    pytest.importorskip("nilearn")
    keys(browser, "j", "i", "\ue007")
    wait(lambda: browser.execute_script("return document.getElementById('viewer').dataset.ready"))
    browser.get(browser.find_element("id", "niivue").get_attribute("href"))
    assert wait(lambda: browser.execute_script("return document.body.dataset.volumes")) == "2"
    names = [line.text for line in browser.find_elements("css selector", "#names span")]
    assert names == ["liver", "spleen", "pancreas", "left kidney", "right kidney"]
