"""Disks, users, proxies and certificates, as one download meets them."""

import ssl
import subprocess
from dataclasses import replace

import pytest

from curate.download.http import Session, fetch
from curate.download.http_client import new_client
from curate.download.remote_file import RemoteFile
from curate.download.retry_policy import (
    RetryPolicy,
    StoppedError,
    TransientError,
    with_retries,
)
from manifests.ground.errors import SourceError
from tests.curate.fetching import is_fetched


def test_a_full_disk_is_told_with_numbers_and_the_part_is_kept(wanted, session, monkeypatch):
    from curate.download.part_file import PartFile

    resource, file = wanted()
    append = PartFile.append

    def full(self, data):
        if self.offset + len(data) > 100_000:
            raise OSError(28, "No space left on device")
        append(self, data)

    monkeypatch.setattr(PartFile, "append", full)
    with pytest.raises(SourceError, match=r"disk is full.*300,000 bytes.*bytes free; make room"):
        fetch(file, session)
    monkeypatch.undo()
    kept = file.part.stat().st_size
    assert kept > 0
    fetch(file, session)
    assert is_fetched(file)
    assert resource.ranges == [None, f"bytes={kept}-"]


def test_a_folder_that_cannot_be_written_is_told(wanted, session, tmp_path):
    _, file = wanted()
    (tmp_path / "mine").write_text("a file where the folder should be")
    with pytest.raises(SourceError, match="cannot write"):
        fetch(file, session)


def test_stop_ends_it_and_keeps_the_part(wanted, session):
    _, file = wanted()

    def stop_soon(transfer):
        if transfer.done_bytes > 50_000:
            session.policy.stop.set()

    with pytest.raises(StoppedError):
        fetch(file, replace(session, on_progress=stop_soon))
    assert 50_000 < file.part.stat().st_size < 300_000


def test_stop_ends_a_wait():
    policy = RetryPolicy(sleep=lambda _: policy.stop.set())
    tries = []

    def fail():
        tries.append(1)
        raise TransientError("a fault")

    with pytest.raises(StoppedError):
        with_retries(fail, policy, what="it")
    assert len(tries) == 1


def test_a_proxy_is_taken_from_the_environment(wanted, session, server, monkeypatch):
    _, file = wanted()
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    away = RemoteFile(**{**vars(file), "url": "http://data.example.org/data.tar"})
    with new_client() as client:
        fetch(away, Session(client, session.policy))
    assert is_fetched(file)
    assert server.proxied == ["http://data.example.org/data.tar"]


@pytest.fixture
def own_authority(tmp_path_factory):
    """A certificate that no public authority has signed."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    return key, certificate


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", None])
def test_a_bundle_of_certificates_is_taken_from_the_environment(
    wanted, session, server, own_authority, monkeypatch, name
):
    resource, file = wanted()
    key, certificate = own_authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    file = RemoteFile(**{**vars(file), "url": f"{server.url}/data.tar"})
    assert file.url.startswith("https://")
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    if name:
        monkeypatch.setenv(name, str(certificate))
    with new_client() as client:
        if name:
            fetch(file, Session(client, session.policy))
            assert is_fetched(file)
        else:
            with pytest.raises(SourceError, match=r"cannot be verified.*SSL_CERT_FILE"):
                fetch(file, Session(client, session.policy))
            assert resource.requests == []


@pytest.mark.network
def test_the_servers_resume_and_have_the_recipes_sizes():
    from curate.recipes.schema import load_recipe, shipped_recipes

    sources = [s for name in shipped_recipes() for s in load_recipe(name).sources]
    with new_client() as client:
        for source in (s for s in sources if s.kind == "http"):
            head = {"Range": "bytes=5-9"}
            with client.stream("GET", source.url, headers=head) as response:
                assert response.status_code == 206
                total = int(response.headers["content-range"].rpartition("/")[2])
            if source.bytes or source.about_bytes:
                assert total == (source.bytes or pytest.approx(source.about_bytes, rel=0.02))
