"""Fetching a file whose terms have to be accepted at Synapse; its own client does the work."""

import configparser
import hashlib
import importlib
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from curate.download.http import Session
from curate.download.remote_file import RemoteFile, Transfer
from curate.recipes.sources import SynapseSource
from manifests.ground.errors import SourceError

SECONDS_BETWEEN_REPORTS = 0.5
TOKENS = "https://www.synapse.org/PersonalAccessTokens:0"


@dataclass(frozen=True)
class SynapseFile:
    """One file in Synapse."""

    source: SynapseSource
    file: RemoteFile

    @property
    def page(self) -> str:
        """Where people accept the terms."""
        return f"https://www.synapse.org/Synapse:{self.source.project}"

    @property
    def by_hand(self) -> str:
        """What people can do without the client."""
        folder = self.file.target.parent
        return f"or get {self.source.file} in a browser at {self.page} and put it in {folder}"


def find_token(given: str | None) -> str | None:
    """Return the user's token: given, in `SYNAPSE_AUTH_TOKEN`, or in `~/.synapseConfig`."""
    return given or os.environ.get("SYNAPSE_AUTH_TOKEN") or _configured_token()


def fetch_synapse(wanted: SynapseFile, token: str | None, session: Session) -> None:
    """Fetch a file, check it, put it in its place; the client has its own way of trying again.

    Raises:
        SourceError: There is no client, no token or no accepted terms, or what came is damaged;
            each says what to do.
        StoppedError: The download is to end.
    """
    client = _client(wanted)
    if token is None:
        raise SourceError(_no_token(wanted, "there is no Synapse token"))
    folder = wanted.file.part.parent
    folder.mkdir(parents=True, exist_ok=True)
    came = _in_a_thread(
        partial(_get, client, wanted, token, folder),
        partial(_report, wanted.file, folder, session),
    )
    _check(wanted, came)
    wanted.file.target.parent.mkdir(parents=True, exist_ok=True)
    came.replace(wanted.file.target)
    size = wanted.file.target.stat().st_size
    session.on_progress(Transfer(wanted.file.name, size, size))


def _client(wanted: SynapseFile) -> ModuleType:
    try:
        importlib.import_module("synapseclient.models")
        return importlib.import_module("synapseclient")
    except ImportError as error:
        msg = (
            f"{wanted.file.name}: only Synapse's own client can fetch it, and it is not installed: "
            f"pip install 'marginalia[synapse]'; {wanted.by_hand}"
        )
        raise SourceError(msg) from error


def _get(client: ModuleType, wanted: SynapseFile, token: str, folder: Path) -> Path:
    try:
        session = client.Synapse(silent=True, skip_checks=True, cache_client=False)
        session.login(authToken=token, silent=True)
        entity = client.models.File(
            id=wanted.source.synapse_id, path=str(folder), if_collision="overwrite.local"
        ).get(synapse_client=session)
    except Exception as error:  # the client lets through what its three HTTP libraries raise
        raise SourceError(_failure(wanted, error)) from error
    came = Path(entity.path or "")
    if not came.is_file():  # no file, and no error either: the account may only see the entity
        raise SourceError(_no_terms(wanted))
    # The client's own cache, if it has the file, stays as it is.
    return came if folder in came.parents else Path(shutil.copyfile(came, wanted.file.part))


def _failure(wanted: SynapseFile, error: Exception) -> str:
    errors = importlib.import_module("synapseclient.core.exceptions")
    is_http = isinstance(error, errors.SynapseHTTPError)
    status = getattr(getattr(error, "response", None), "status_code", None) if is_http else None
    if isinstance(error, errors.SynapseMd5MismatchError):
        return _damaged(wanted, str(error))
    refusals = (errors.SynapseUnmetAccessRestrictions, errors.SynapseAuthorizationError)
    if isinstance(error, refusals) or status == 403:
        return _no_terms(wanted)
    if isinstance(error, errors.SynapseAuthenticationError) or status == 401:
        return _no_token(wanted, "Synapse does not know the token")
    what = f"Synapse's client failed: {type(error).__name__}: {error}"
    if is_http:
        what = f"Synapse answered {status or error}"
    return f"{wanted.file.name}: {what}; run the same command again, {wanted.by_hand}"


def _no_token(wanted: SynapseFile, what: str) -> str:
    return (
        f"{wanted.file.name}: {what}: make an account at https://www.synapse.org, join the project "
        f"at {wanted.page} and accept its terms, make a token with the permissions view and "
        f"download at {TOKENS}, and pass it as SYNAPSE_AUTH_TOKEN or --synapse-token; "
        f"{wanted.by_hand}"
    )


def _no_terms(wanted: SynapseFile) -> str:
    return (
        f"{wanted.file.name}: Synapse knows the token, but its account may not have "
        f"{wanted.source.synapse_id}: join the project at {wanted.page} and accept its terms, and "
        f"see that the token has the permission download ({TOKENS}); then run the same command "
        f"again, {wanted.by_hand}"
    )


def _damaged(wanted: SynapseFile, got: str) -> str:
    return (
        f"{wanted.file.name}: what came from Synapse ({wanted.source.synapse_id}) is not the file "
        f"that the recipe describes: expected md5 {wanted.source.md5}, got {got}; it was removed: "
        f"run the same command again, {wanted.by_hand}"
    )


def _check(wanted: SynapseFile, came: Path) -> None:
    with came.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    if md5 != wanted.source.md5:
        came.unlink()
        raise SourceError(_damaged(wanted, md5))


def _in_a_thread(job: Callable[[], Path], report: Callable[[], None]) -> Path:
    """Do a job in a thread, and report on it until it ends; the client itself tells nothing.

    The thread is a daemon, so that a client that waits for a network does not outlive us.
    """
    future: Future[Path] = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:  # handed on to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while not wait([future], timeout=SECONDS_BETWEEN_REPORTS).done:
        report()
    return future.result()


def _report(file: RemoteFile, folder: Path, session: Session) -> None:
    session.policy.raise_if_stopped()
    here = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # the client moves its files about
            here += path.stat().st_size
    session.on_progress(Transfer(file.name, here, None))


def _configured_token() -> str | None:
    config = configparser.RawConfigParser()
    try:
        config.read(Path.home() / ".synapseConfig", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return None
    profile = os.environ.get("SYNAPSE_PROFILE")
    sections = [f"profile {profile}"] if profile else ["default", "authentication"]
    tokens = (config.get(s, "authtoken", fallback="").strip() for s in sections)
    return next(filter(None, tokens), None)
