"""KiTS19's masks, from a pinned commit, each checked against the recipe's table."""

import hashlib
import random

import pytest

from curate.datasets.discover import discover
from curate.datasets.locate import locate
from curate.download.plan import PARTIAL, plan_download
from curate.download.transfers import Options, download
from curate.recipes.schema import load_recipe
from curate.recipes.sources import read_checksums
from manifests.ground.errors import RecipeError, SourceError
from tests.curate.fetching import download_missing
from tests.curate.loopback import answer, drop_after

MASKS = [random.Random(n).randbytes(30_000) for n in range(3)]
LICENSED = Options(accepted=["kits19"])
PATHS = [f"data/case_{n:05d}/segmentation.nii.gz" for n in range(3)]


@pytest.fixture
def served(server):
    return [server.serve(f"/{'a' * 40}/{p}", m) for p, m in zip(PATHS, MASKS, strict=True)]


@pytest.fixture
def recipe(server, tmp_path, served):  # noqa: ARG001
    table = tmp_path / "masks.csv"
    rows = [
        f"{path},{len(mask)},{hashlib.md5(mask).hexdigest()}"
        for path, mask in zip(PATHS, MASKS, strict=True)
    ]
    table.write_text("\n".join(["path,bytes,md5", *rows]))
    whole = load_recipe("kits19")
    source = next(s for s in whole.sources if s.kind == "git")
    url = f"{server.url}/{{revision}}/{{path}}"
    facts = {"revision": "a" * 40, "url": url, "checksums": table}
    return whole.model_copy(update={"sources": (source.model_copy(update=facts),)})


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


def put(raw, number, content, place="kits19/data/case_{:05d}/segmentation.nii.gz"):
    path = raw / place.format(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_masks_of_the_pinned_commit_arrive_where_the_layout_finds_them(recipe, served, raw):
    download_missing([recipe], raw, options=LICENSED)
    found = locate(recipe, raw, raw / "nowhere")
    assert (found.kind, found.path) == ("folder", raw / "kits19")
    cases = discover(recipe, found.path)
    assert [c.label.read_bytes() for c in cases] == MASKS
    assert [len(s.requests) for s in served] == [1, 1, 1]


def test_a_mask_that_is_not_the_tables_is_refused(recipe, served, raw):
    served[1].content = b"x" * 30_000
    with pytest.raises(SourceError, match=r"case_00001.*expected md5 .*got"):
        download_missing([recipe], raw, options=LICENSED)
    assert not (raw / "kits19" / PATHS[1]).exists()


def test_an_outdated_mask_is_named_and_fetched_again_and_the_old_one_kept(recipe, served, raw):
    put(raw, 0, MASKS[0])
    old = put(raw, 1, b"the mask of 2019-03-15")
    put(raw, 2, b"y" * 30_000)  # the same size, another mask
    plan = plan_download(recipe, raw)
    states = {f.file.name: f.state for s in plan for f in s.files}
    assert list(states.values()) == ["there", "outdated", "outdated"]
    assert f"kits19/{PATHS[1]}" in states
    download(plan, raw, options=LICENSED)
    assert old.read_bytes() == MASKS[1]
    assert old.with_name("segmentation.nii.gz.outdated").read_bytes() == b"the mask of 2019-03-15"
    assert [len(s.requests) for s in served] == [0, 1, 1]
    assert [f.state for s in plan_download(recipe, raw) for f in s.files] == ["there"] * 3
    assert len(discover(recipe, raw / "kits19")) == 3


def test_an_outdated_mask_stays_until_the_new_one_is_whole(recipe, served, raw):
    old = put(raw, 1, b"old")
    served[1].then(drop_after(1000), answer(404))
    with pytest.raises(SourceError):
        download(plan_download(recipe, raw), raw, options=LICENSED)
    assert old.read_bytes() == b"old"


def test_masks_of_a_users_own_clone_are_found_where_they_lie(recipe, served, raw):
    for n in range(3):
        put(raw, n, MASKS[n], "kits19-master/case_{:05d}/segmentation.nii.gz")
    assert [f.state for s in plan_download(recipe, raw) for f in s.files] == ["there"] * 3
    assert download_missing([recipe], raw) == []
    assert [len(s.requests) for s in served] == [0, 0, 0]


def test_what_is_there_in_part_without_a_download_under_way_is_left_alone(recipe, served, raw):
    put(raw, 0, MASKS[0])  # a user's own choice of cases
    assert download_missing([recipe], raw) == []
    assert [len(s.requests) for s in served] == [0, 0, 0]


def test_a_download_that_was_cut_short_is_ended(recipe, served, raw):
    served[2].then(answer(404))
    with pytest.raises(SourceError):
        download_missing([recipe], raw, options=LICENSED)
    assert locate(recipe, raw, raw / "nowhere").path == raw / "kits19"
    assert (raw / "kits19" / PARTIAL).is_dir()
    download_missing([recipe], raw, options=LICENSED)
    assert (raw / "kits19" / PATHS[2]).read_bytes() == MASKS[2]
    assert [len(s.requests) for s in served] == [1, 1, 2]
    assert not (raw / "kits19" / PARTIAL).exists()


def test_the_shipped_table_holds_all_210_masks_and_the_records():
    source = next(s for s in load_recipe("kits19").sources if s.kind == "git")
    rows = read_checksums(source)
    masks = [r.path for r in rows if r.path.endswith("segmentation.nii.gz")]
    assert masks == [f"data/case_{n:05d}/segmentation.nii.gz" for n in range(210)]
    assert {r.path for r in rows} - set(masks) == {"data/kits.json"}
    assert len({r.md5 for r in rows}) == 211
    assert sum(r.size_bytes for r in rows) == 65_409_835 + 494_148


def test_the_shipped_table_fits_the_real_masks(shared_data):
    source = next(s for s in load_recipe("kits19").sources if s.kind == "git")
    rows = {r.path: r for r in read_checksums(source)}
    folder = shared_data / "kits19"
    files = [*sorted(folder.glob("case_*/segmentation.nii.gz")), folder / "kits.json"]
    assert len(files) == 25
    assert all(rows[f"data/{f.relative_to(folder).as_posix()}"].fits(f) for f in files)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,bytes\na,1\n", "path, bytes, md5"),
        ("path,bytes,md5\na,many,0\n", "is not a table"),
        ("path,bytes,md5\n../a,1,0\n", "leaves the repository"),
        ("path,bytes,md5\n/etc/a,1,0\n", "leaves the repository"),
    ],
)
def test_a_damaged_table_is_named(recipe, tmp_path, text, words):
    (tmp_path / "masks.csv").write_text(text)
    with pytest.raises(RecipeError, match=words) as error:
        read_checksums(recipe.sources[0])
    assert "masks.csv" in str(error.value)


OWN = """
name = "mine"
title = "Mine"
version = "1"
licence = "CC0-1.0"
commercial_use = true
citation = "none"

[[sources]]
kind = "git"
repository = "https://example.org/mine"
revision = "0123456789abcdef0123456789abcdef01234567"
url = "https://example.org/mine/{revision}/{path}"
files = "{case}/label.nii.gz"
checksums = "labels.csv"

[layout]
kind = "pairs"
roots = ["mine"]
case = '\\d+'
images = ["{case}/image.nii.gz"]
labels = ["{case}/label.nii.gz"]

[values]
1 = ["spleen"]
"""


def test_a_users_own_table_lies_beside_the_users_own_recipe(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    with pytest.raises(RecipeError, match=r"there is no file .*labels\.csv"):
        load_recipe(path)
    (tmp_path / "labels.csv").write_text(f"path,bytes,md5\n7/label.nii.gz,3,{'0' * 32}\n")
    monkeypatch.chdir(tmp_path)
    planned = plan_download(load_recipe("mine.toml"), tmp_path / "raw")
    files = [f.file for s in planned for f in s.files]
    assert [f.url for f in files] == [
        "https://example.org/mine/0123456789abcdef0123456789abcdef01234567/7/label.nii.gz"
    ]
    assert [f.target for f in files] == [tmp_path / "raw" / "mine" / "7" / "label.nii.gz"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0123456789abcdef0123456789abcdef01234567", "456b293"),
        ("{revision}/", ""),
        ("https", "ftp"),
    ],
)
def test_a_source_that_is_not_pinned_is_refused(tmp_path, old, new):
    (tmp_path / "labels.csv").write_text("path,bytes,md5\n")
    (tmp_path / "mine.toml").write_text(OWN.replace(old, new))
    with pytest.raises(RecipeError, match=r"sources\.0\.git"):
        load_recipe(tmp_path / "mine.toml")


@pytest.mark.network
def test_the_pinned_commit_serves_its_records(tmp_path):
    from curate.download.http import Session, fetch
    from curate.download.http_client import new_client

    recipe = load_recipe("kits19")
    planned = [f for s in plan_download(recipe, tmp_path) for f in s.files]
    records = next(f.file for f in planned if f.path == "data/kits.json")
    with new_client() as client:
        fetch(records, Session(client))
    assert records.target.stat().st_size == 494_148
