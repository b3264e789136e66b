"""KiTS19's images, from a loopback stand-in of the Hugging Face endpoint."""

import hashlib
import json
import random
from random import Random
from urllib.parse import parse_qs

import pytest

from curate.download.plan import PARTIAL
from curate.download.retry_policy import RetryPolicy
from curate.download.transfers import Options
from curate.recipes.schema import load_recipe
from manifests.ground.errors import SourceError
from tests.curate.fetching import STALL_SECONDS, download_missing
from tests.curate.loopback import Reply, answer, drop_after, serving

STORED = 5  # cases in the store; the recipe wants the first three
IMAGES = [random.Random(n).randbytes(50_000) for n in range(STORED)]


class Store:
    """The parts of the endpoint that are needed, and a second host that holds the bytes."""

    def __init__(self, hub, cdn, source):
        self.hub, self.source = hub, source
        self.listed = {}
        self.faults = []
        self.asked = []
        self.images = []
        hub.routes[f"/api/datasets/{source.repository}/paths-info/{source.revision}"] = self._list
        for number, image in enumerate(IMAGES):
            path = f"images/case_{number:05d}.nii.gz"
            sha256 = hashlib.sha256(image).hexdigest()
            lfs = {"oid": sha256, "size": len(image), "pointerSize": 134}
            self.listed[path] = {
                "type": "file", "path": path, "size": len(image), "oid": "0" * 40, "lfs": lfs,
            }  # fmt: skip
            self.images.append(cdn.serve(f"/signed/{sha256}", image, etag=f'"{sha256}"'))
            there = answer(302, location=f"{cdn.url}/signed/{sha256}")
            hub.serve(self.resolve(path), b"").forever(there)

    def resolve(self, path):
        return f"/datasets/{self.source.repository}/resolve/{self.source.revision}/{path}"

    def _list(self, handler):
        body = handler.rfile.read(int(handler.headers["content-length"]))
        self.asked.append((parse_qs(body.decode())["paths"], dict(handler.headers)))
        if self.faults:
            handler.send(self.faults.pop(0))
            return
        found = [self.listed[p] for p in self.asked[-1][0] if p in self.listed]
        text = json.dumps(found).encode()
        handler.send(Reply(200, {"content-length": str(len(text))}, text))


@pytest.fixture
def recipe():
    whole = load_recipe("kits19")
    images = next(s for s in whole.sources if s.kind == "huggingface")
    return whole.model_copy(update={"sources": (images.model_copy(update={"last": 2}),)})


@pytest.fixture
def store(recipe, monkeypatch):
    with serving() as hub, serving() as cdn:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield Store(hub, cdn, recipe.sources[0])


@pytest.fixture
def options(slept):
    policy = RetryPolicy(failures=2, jitter=Random(0), sleep=slept.append)
    return Options(accepted=["all"], policy=policy, stall_seconds=STALL_SECONDS)


def test_the_recipes_cases_arrive_where_the_layout_finds_them(recipe, store, tmp_path, options):
    fetched = download_missing([recipe], tmp_path, options=options)
    folder = tmp_path / "kits19"
    for number in range(3):
        path = folder / "images" / f"case_{number:05d}.nii.gz"
        assert path.read_bytes() == IMAGES[number]
    assert len(list((folder / "images").iterdir())) == 3  # the store has more
    assert not (folder / PARTIAL).exists()
    assert [len(s.to_fetch) for s in fetched] == [3]
    assert store.asked[0][0] == [f"images/case_{n:05d}.nii.gz" for n in range(3)]
    assert download_missing([recipe], tmp_path, options=options) == []
    assert len(store.asked) == 1


def test_the_token_goes_to_the_endpoint_and_not_to_the_host_of_the_bytes(
    recipe, store, tmp_path, options
):
    download_missing([recipe], tmp_path, options=options)
    assert store.asked[0][1]["authorization"] == "Bearer hf_secret"
    gate = store.hub.resources[store.resolve("images/case_00000.nii.gz")]
    assert gate.requests[0]["authorization"] == "Bearer hf_secret"
    assert "authorization" not in store.images[0].requests[0]


def test_no_token_is_no_obstacle(recipe, store, tmp_path, options, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    download_missing([recipe], tmp_path, options=options)
    assert (tmp_path / "kits19" / "images" / "case_00002.nii.gz").exists()
    gate = store.hub.resources[store.resolve("images/case_00000.nii.gz")]
    assert "authorization" not in gate.requests[0]


def test_a_second_run_goes_on_in_the_middle_of_a_file(recipe, store, tmp_path, options):
    for image in store.images[:2]:
        image.then(drop_after(20_000), answer(404))
    with pytest.raises(SourceError, match=r"2 of 3 files could not be fetched"):
        download_missing([recipe], tmp_path, options=options)
    download_missing([recipe], tmp_path, options=options)
    for number, image in enumerate(store.images[:2]):
        path = tmp_path / "kits19" / "images" / f"case_{number:05d}.nii.gz"
        assert path.read_bytes() == IMAGES[number]
        assert image.ranges == [None, "bytes=20000-", "bytes=20000-"]
        assert image.sent_bytes == len(IMAGES[number])
    assert store.images[2].ranges == [None]
    assert len(store.asked[1][0]) == 2


def test_bytes_that_the_revision_does_not_hold_are_refused(recipe, store, tmp_path, options):
    store.images[1].content = bytes(50_000)
    with pytest.raises(SourceError, match=r"case_00001.*expected sha256"):
        download_missing([recipe], tmp_path, options=options)
    assert not (tmp_path / "kits19" / "images" / "case_00001.nii.gz").exists()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_waited_for(recipe, store, tmp_path, options, slept, status):
    store.faults.append(Reply(status, {"retry-after": "9", "content-length": "0"}, b""))
    download_missing([recipe], tmp_path, options=options)
    assert slept == [9.0]
    assert len(store.asked) == 2


def test_an_endpoint_that_is_gone_is_given_up(recipe, tmp_path, options, monkeypatch):
    with serving() as gone:
        url = gone.url
    monkeypatch.setenv("HF_ENDPOINT", url)
    with pytest.raises(SourceError, match=r"(?s)the files of neheller/.*gave up.*ConnectError"):
        download_missing([recipe], tmp_path, options=options)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", r"wants its terms to be accepted.*hf auth login"),
        (404, "RevisionNotFound", r"no neheller/.*revision 65f1f295873a.*correct the revision"),
        (404, "RepoNotFound", r"no data set neheller/.*HF_TOKEN"),
        (401, "", r"no data set neheller/.*hf auth login"),
        (400, "", r"answered 400"),
    ],
)
def test_a_refusal_says_the_next_step(recipe, store, tmp_path, options, status, code, words):
    store.faults.append(Reply(status, {"x-error-code": code, "content-length": "0"}, b""))
    with pytest.raises(SourceError, match=words):
        download_missing([recipe], tmp_path, options=options)
    assert len(store.asked) == 1


def test_a_case_that_the_revision_lacks_is_named(recipe, store, tmp_path, options):
    del store.listed["images/case_00001.nii.gz"]
    with pytest.raises(SourceError, match=r"lacks 1 of 3 files.*images/case_00001\.nii\.gz"):
        download_missing([recipe], tmp_path, options=options)
    assert all(not image.requests for image in store.images)


def test_a_log_in_page_instead_of_the_list_is_named(recipe, store, tmp_path, options):
    page = b"<html>Welcome</html>"
    store.faults += [Reply(200, {"content-length": str(len(page))}, page)] * 3
    with pytest.raises(SourceError, match=r"(?s)gave up.*want a log-in"):
        download_missing([recipe], tmp_path, options=options)


def test_the_hubs_own_offline_switch_is_heeded(recipe, store, tmp_path, options, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        download_missing([recipe], tmp_path, options=options)
    assert store.asked == []


@pytest.mark.network
def test_the_pinned_revision_holds_all_210_images():
    from pathlib import Path

    from curate.download.huggingface import resolve_files
    from curate.download.remote_file import RemoteFile

    source = next(s for s in load_recipe("kits19").sources if s.kind == "huggingface")
    wanted = [(p, RemoteFile(p, "", Path(p), Path(p + ".part"))) for p in source.paths]
    files = resolve_files(source, wanted, RetryPolicy(failures=1))
    assert len(files) == 210
    assert all(f.sha256 for f in files)
    assert sum(f.size_bytes for f in files) == pytest.approx(source.about_bytes, rel=0.05)
