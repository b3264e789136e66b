"""BTCV's archive, at the boundary of Synapse's client."""

import hashlib
import importlib
import inspect
import sys
from types import ModuleType

import pytest

from curate.download.synapse import find_token
from curate.download.transfers import Options
from curate.recipes.schema import load_recipe
from manifests.ground.errors import SourceError
from tests.curate.fetching import download_missing

ZIP = b"the archive"
PAGE = "https://www.synapse.org/Synapse:syn3193805"
ERRORS = (
    "SynapseError", "SynapseMd5MismatchError", "SynapseUnmetAccessRestrictions",
    "SynapseAuthenticationError", "SynapseAuthorizationError", "SynapseHTTPError",
)  # fmt: skip


class FakeClient:
    """Installs itself as `synapseclient`; raises what it is told to, or writes the file."""

    def __init__(self, monkeypatch):
        self.content = ZIP
        self.error = self.login_error = None
        self.file_name = "RawData.zip"
        self.calls = []
        top, models, core = (ModuleType(f"synapseclient{n}") for n in ("", ".models", ".core"))
        self.errors = ModuleType("synapseclient.core.exceptions")
        for name in ERRORS:
            base = Exception if name == "SynapseError" else self.errors.SynapseError
            setattr(self.errors, name, type(name, (base,), {}))
        top.Synapse, models.File = self.session, self.entity
        top.models, top.core, core.exceptions = models, core, self.errors
        for module in (top, models, core, self.errors):
            monkeypatch.setitem(sys.modules, module.__name__, module)

    def fail(self, name, status=None):
        error = getattr(self.errors, name)("said the client")
        error.response = type("Response", (), {"status_code": status})
        return error

    def session(self, **options):
        self.calls.append(("Synapse", options))
        return self

    def login(self, **options):
        self.calls.append(("login", options))
        if self.login_error:
            raise self.login_error

    def entity(self, **options):
        self.calls.append(("File", options))
        self.folder = options["path"]
        return self

    def get(self, **options):
        self.calls.append(("get", options))
        if self.error:
            raise self.error
        if self.file_name is None:
            self.path = self.folder
        else:
            from pathlib import Path

            Path(self.folder, self.file_name).write_bytes(self.content)
            self.path = str(Path(self.folder, self.file_name))
        return self


@pytest.fixture
def client(monkeypatch):
    return FakeClient(monkeypatch)


@pytest.fixture(autouse=True)
def _nobodys_token(monkeypatch, tmp_path):
    for name in ("SYNAPSE_AUTH_TOKEN", "SYNAPSE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


@pytest.fixture
def recipe():
    whole = load_recipe("btcv")
    facts = {"md5": hashlib.md5(ZIP).hexdigest(), "about_bytes": len(ZIP)}
    return whole.model_copy(update={"sources": (whole.sources[0].model_copy(update=facts),)})


@pytest.fixture
def fetched(recipe, tmp_path):
    def run(token="secret", on_progress=None):
        options = Options(accepted=["btcv"], synapse_token=token)
        on_progress = on_progress or (lambda _: None)
        return download_missing(
            [recipe], tmp_path / "raw", options=options, on_progress=on_progress
        )

    return run


def test_the_archive_arrives_with_the_token_passed_explicitly(client, fetched, tmp_path):
    seen = []
    fetched(on_progress=seen.append)
    folder = tmp_path / "raw" / "btcv"
    assert (folder / "RawData.zip").read_bytes() == ZIP
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [
        "RawData.zip",
        "licence.json",
    ]
    calls = dict(client.calls)
    assert calls["login"]["authToken"] == "secret"
    assert calls["File"]["id"] == "syn3379050"
    assert seen[-1].done_bytes == seen[-1].total_bytes == len(ZIP)


def test_no_client_says_what_to_install(fetched, monkeypatch):
    monkeypatch.setitem(sys.modules, "synapseclient", None)
    monkeypatch.setitem(sys.modules, "synapseclient.models", None)
    with pytest.raises(SourceError, match=r"pip install 'marginalia\[synapse\]'") as error:
        fetched()
    assert PAGE in str(error.value)


def test_no_account_says_how_to_get_one(client, fetched):
    with pytest.raises(SourceError, match=r"no Synapse token: make an account") as error:
        fetched(token=None)
    for step in (PAGE, "PersonalAccessTokens", "SYNAPSE_AUTH_TOKEN", "--synapse-token", "put it"):
        assert step in str(error.value)
    assert client.calls == []


@pytest.mark.parametrize(
    ("name", "status"), [("SynapseAuthenticationError", None), ("SynapseHTTPError", 401)]
)
def test_a_token_that_synapse_does_not_know(client, fetched, name, status):
    client.login_error = client.fail(name, status)
    with pytest.raises(
        SourceError, match=r"does not know the token.*PersonalAccessTokens"
    ) as error:
        fetched()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "status"),
    [("SynapseUnmetAccessRestrictions", None), ("SynapseAuthorizationError", None),
     ("SynapseHTTPError", 403)],
)  # fmt: skip
def test_terms_that_are_not_accepted(client, fetched, name, status):
    client.error = client.fail(name, status)
    with pytest.raises(SourceError, match=rf"join the project at {PAGE} and accept its terms"):
        fetched()


def test_an_entity_without_a_file_means_that_the_terms_are_not_accepted(client, fetched):
    client.file_name = None
    with pytest.raises(SourceError, match="accept its terms"):
        fetched()


def test_a_wrong_md5_that_the_client_finds(client, fetched):
    client.error = client.fail("SynapseMd5MismatchError")
    with pytest.raises(SourceError, match=r"expected md5 .*said the client.*run the same command"):
        fetched()


def test_a_wrong_md5_that_only_the_recipe_shows(client, fetched, recipe, tmp_path):
    client.content = b"another archive"
    got = hashlib.md5(client.content).hexdigest()
    with pytest.raises(SourceError, match=rf"expected md5 {recipe.sources[0].md5}, got {got}"):
        fetched()
    assert not list((tmp_path / "raw").rglob("*.zip"))
    client.content = ZIP
    fetched()
    assert (tmp_path / "raw" / "btcv" / "RawData.zip").read_bytes() == ZIP


@pytest.mark.parametrize("status", [500, 404])
def test_another_status_is_told(client, fetched, status):
    client.error = client.fail("SynapseHTTPError", status)
    with pytest.raises(SourceError, match=f"Synapse answered {status}.*{PAGE}"):
        fetched()


def test_anything_else_that_the_client_raises_is_told(client, fetched):
    client.error = RuntimeError("a transport of its own")
    with pytest.raises(SourceError, match=r"RuntimeError: a transport of its own.*same command"):
        fetched()


def test_a_file_of_the_clients_own_cache_is_copied_and_not_taken(client, fetched, tmp_path):
    cached = tmp_path / "cache" / "RawData.zip"
    cached.parent.mkdir()
    cached.write_bytes(ZIP)
    client.file_name = str(cached)  # an absolute path replaces the folder
    fetched()
    assert cached.read_bytes() == ZIP
    assert (tmp_path / "raw" / "btcv" / "RawData.zip").read_bytes() == ZIP


def test_a_client_that_waits_for_the_network_does_not_hold_us(
    client, recipe, tmp_path, http_client
):
    from threading import Event

    from curate.download.http import Session
    from curate.download.plan import plan_missing
    from curate.download.retry_policy import RetryPolicy, StoppedError
    from curate.download.synapse import SynapseFile, fetch_synapse

    gone, policy = Event(), RetryPolicy()
    client.login = lambda **_: gone.wait(60)

    def stop(_transfer):
        policy.stop.set()

    file = plan_missing([recipe], tmp_path)[0].files[0].file
    session = Session(http_client, policy, stop)
    with pytest.raises(StoppedError):
        fetch_synapse(SynapseFile(recipe.sources[0], file), "t", session)
    gone.set()


def test_a_zip_that_the_user_has_needs_neither_client_nor_account(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "synapseclient", None)
    (tmp_path / "RawData.zip").write_bytes(b"theirs")
    assert download_missing([recipe], tmp_path) == []
    assert (tmp_path / "RawData.zip").read_bytes() == b"theirs"


def test_the_token_is_looked_for_in_this_order(tmp_path, monkeypatch):
    assert find_token(None) is None
    config = tmp_path / "home" / ".synapseConfig"
    config.write_text("[authentication]\nusername = me\nauthtoken = of-old%config\n")
    assert find_token(None) == "of-old%config"
    config.write_text("[default]\nauthtoken = of-default\n[profile lab]\nauthtoken = of-lab\n")
    assert find_token(None) == "of-default"
    monkeypatch.setenv("SYNAPSE_PROFILE", "lab")
    assert find_token(None) == "of-lab"
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", "of-environment")
    assert find_token(None) == "of-environment"
    assert find_token("of-option") == "of-option"


@pytest.mark.parametrize("text", ["authtoken = lost", "[authentication]\nauthtoken =\n", "\0\xff"])
def test_a_damaged_config_is_no_token(tmp_path, text):
    (tmp_path / "home" / ".synapseConfig").write_text(text, encoding="latin-1")
    assert find_token(None) is None


def test_the_real_client_has_what_is_asked_of_it():
    """Where the extra is installed."""
    synapseclient = pytest.importorskip("synapseclient")
    from synapseclient.core import exceptions
    from synapseclient.models import File

    assert all(hasattr(exceptions, name) for name in ERRORS)
    session = inspect.signature(synapseclient.Synapse.__init__).parameters
    assert {"silent", "skip_checks", "cache_client"} <= set(session)
    assert {"authToken", "silent"} <= set(inspect.signature(synapseclient.Synapse.login).parameters)
    assert {"id", "path", "if_collision"} <= set(inspect.signature(File).parameters)
    protocol = importlib.import_module("synapseclient.models.protocols.file_protocol")
    get = protocol.FileSynchronousProtocol.get
    assert "synapse_client" in inspect.signature(get).parameters
