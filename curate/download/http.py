"""Fetching one file over HTTP, through whatever the network does, without fetching a byte twice."""

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2

from curate.download.http_client import certificate_problem
from curate.download.http_response import OutdatedPartError, describe, judge
from curate.download.part_file import PartFile, open_part
from curate.download.remote_file import OnProgress, RemoteFile, Transfer, ignore_progress
from curate.download.retry_policy import RetryPolicy, TransientError
from manifests.ground.errors import SourceError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Session:
    """What all files of a download share."""

    client: httpx2.Client
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    on_progress: OnProgress = ignore_progress

    def report(self, part: PartFile) -> None:
        """Tell how far a file has come."""
        self.on_progress(Transfer(part.file.name, part.offset, part.total_bytes))


def fetch(file: RemoteFile, session: Session) -> None:
    """Fetch a file: go on where an earlier run stopped, check all of it, put it in its place.

    Raises:
        SourceError: The server refuses, what came is not the file, or the disk is full.
        GaveUpError: The network stayed out of order.
        StoppedError: The download is to end.
    """

    def report_checked(done: int) -> None:
        session.policy.raise_if_stopped()
        total = file.part.stat().st_size
        session.on_progress(Transfer(file.name, done, total, checking=True))

    try:
        with open_part(file, report_checked) as part:
            _receive_checked(part, session)
            part.finish()
    except OSError as error:
        raise SourceError(_disk_trouble(file, error)) from error


def _receive_checked(part: PartFile, session: Session) -> None:
    file = part.file
    _receive(part, session)
    problem = part.problem()
    # Pieces of two states of the file, or a damaged disk: once more from the start.
    if problem and part.doubtful:
        part.restart()
        _receive(part, session)
        problem = part.problem()
    if problem:
        part.restart()
        msg = (
            f"{file.name}: what came from {file.url} is not the file that the recipe describes: "
            f"{problem}; run the same command again, and if it says the same, {file.by_hand}"
        )
        raise SourceError(msg)


def _receive(part: PartFile, session: Session) -> None:
    """Ask until the part is complete; failures count as a row while no new byte comes."""
    failures, furthest = 0, part.offset
    session.report(part)
    while not part.is_complete:
        session.policy.raise_if_stopped()
        try:
            _ask(part, session)
        except TransientError as error:
            failures = 1 if part.offset > furthest else failures + 1
            furthest = max(furthest, part.offset)
            part.doubtful = part.offset > 0
            session.policy.wait(failures, error, f"{part.file.name} from {part.file.url}")


def _ask(part: PartFile, session: Session) -> None:
    """Ask once for what is missing, and take what comes."""
    if not _may_resume(part):
        part.restart()
    file = part.file
    try:
        with session.client.stream("GET", file.url, headers=_headers(part)) as response:
            action = judge(response, part)
            if action == "complete":
                part.end_here()
                return
            if action == "restart":
                part.restart(describe(response, part))
            _take(response.iter_raw(), part, session)
    except OutdatedPartError:
        part.restart()
        raise
    except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        msg = f"{file.name}: {file.url} leads nowhere: {error}; {file.by_hand}"
        raise SourceError(msg) from error
    except httpx2.TransportError as error:
        if problem := certificate_problem(error):
            msg = f"{file.name}: {file.url}: {problem}"
            raise SourceError(msg) from error
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise TransientError(reason) from error


def _may_resume(part: PartFile) -> bool:
    """Return whether a splice of two states of the file would be noticed."""
    checked = part.file.md5 or part.file.sha256
    return part.offset == 0 or bool(part.info.validator or checked)


def _headers(part: PartFile) -> dict[str, str]:
    headers = dict(part.file.headers)
    if part.offset:
        headers["Range"] = f"bytes={part.offset}-"
        if part.info.validator:
            headers["If-Range"] = part.info.validator
    return headers


def _take(chunks: Iterator[bytes], part: PartFile, session: Session) -> None:
    total = part.total_bytes
    for chunk in chunks:
        session.policy.raise_if_stopped()
        if total is not None and part.offset + len(chunk) > total:
            part.restart()
            reason = f"the server sent more than the {total:,} bytes that it is to have"
            raise TransientError(reason)
        part.append(chunk)
        session.report(part)
    if total is None:
        part.end_here()
    elif part.offset < total:
        reason = f"the server ended after {part.offset:,} of {total:,} bytes"
        raise TransientError(reason)


def _disk_trouble(file: RemoteFile, error: OSError) -> str:
    folder = file.part.parent
    free = f"{shutil.disk_usage(folder).free:,}" if folder.is_dir() else "?"
    size = "?" if file.size_bytes is None else f"{file.size_bytes:,}"
    cause = "the disk is full" if error.errno in DISK_FULL else f"cannot write: {error}"
    return (
        f"{file.name}: {cause}: the file has {size} bytes, and {folder} has {free} bytes free; "
        f"make room, or choose another folder with --raw, and run the same command again: what "
        f"has come is kept"
    )
