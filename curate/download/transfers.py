"""Downloading datasets: everything that a recipe's sources name, several files at a time."""

import shutil
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from curate.datasets.locate import where_to_get
from curate.download.error import DownloadError
from curate.download.http import Session, fetch
from curate.download.http_client import STALL_SECONDS, new_client
from curate.download.licence import Ask, require_licences
from curate.download.part_file import part_bytes
from curate.download.plan import PARTIAL, PlannedFile, PlannedSource, find, plan_download
from curate.download.remote_file import OnProgress, RemoteFile, ignore_progress
from curate.download.retry_policy import GaveUpError, RetryPolicy
from curate.download.synapse import SynapseFile, fetch_synapse, find_token
from curate.recipes.schema import Recipe
from curate.recipes.sources import HuggingFaceSource, SynapseSource
from manifests.ground.errors import SourceError

# After this many files given up with none fetched in between, the network is taken to be gone.
MAX_GIVEN_UP_IN_A_ROW = 5

Job = Callable[[], None]


@dataclass(frozen=True)
class Options:
    """How to download.

    Attributes:
        offline: Fetch nothing; what is missing is an error.
        accepted: Names of datasets whose licence is accepted, or `all`.
        ask: Asks a person whether a licence is accepted; None where nobody is there.
        synapse_token: The user's token, if given by an option.
        jobs: So many files at a time.
        policy: How failures of servers and networks are met.
        stall_seconds: A connection that brings nothing for so long is broken off.
    """

    offline: bool = False
    accepted: Collection[str] = ()
    ask: Ask | None = None
    synapse_token: str | None = None
    jobs: int = 4
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    stall_seconds: float = STALL_SECONDS


def ensure_downloaded(
    recipes: Sequence[Recipe],
    raw: Path,
    *,
    options: Options | None = None,
    unpacked: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> list[PlannedSource]:
    """Download the datasets that are not there; a download that was cut short is ended first.

    Args:
        recipes: The datasets.
        raw: Where each is looked for, and downloaded to, into a folder of its name.
        options: How to download.
        unpacked: Folder in whose subfolders of the datasets' names archives may be unpacked.
        on_progress: Told how far each file has come.

    Returns:
        What was fetched.

    Raises:
        DownloadError: Some files could not be fetched; all others were.
        SourceError: Nothing can be downloaded as asked; the message says what to do.
    """
    sources = plan_missing(recipes, raw, unpacked=unpacked)
    return download(sources, raw, options=options, on_progress=on_progress)


def plan_missing(
    recipes: Sequence[Recipe], raw: Path, *, unpacked: Path | None = None
) -> list[PlannedSource]:
    """The sources of the datasets that are not there, or whose download was cut short."""
    sources = []
    for recipe in recipes:
        place = unpacked and unpacked / recipe.name
        found = find(recipe, raw, unpacked=place)
        cut_short = found and found.kind == "folder" and (found.path / PARTIAL).is_dir()
        if cut_short or not found:
            sources += plan_download(recipe, raw, unpacked=place)
    return sources


def download(
    sources: Sequence[PlannedSource],
    raw: Path,
    *,
    options: Options | None = None,
    on_progress: OnProgress = ignore_progress,
) -> list[PlannedSource]:
    """Fetch what is missing or outdated of planned sources, and return those that had any of it.

    Raises:
        DownloadError: Some files could not be fetched; all others were.
        SourceError: Nothing can be downloaded as asked; the message says what to do.
    """
    options = options or Options()
    open_ = [s for s in sources if s.to_fetch]
    if not open_:
        return []
    if options.offline:
        raise SourceError(_offline(open_))
    require_licences([s.recipe for s in open_], raw, options.accepted, options.ask)
    roots = {s.recipe.name: s.root for s in open_}
    with _alone(sorted(set(roots.values()))):
        known, failures = _addressed_all(open_, options)
        check_space(known, raw)
        missing = {f.file.name for s in open_ for f in s.to_fetch}
        fetched, unfetched = _fetch_all(known, options, on_progress)
        failures |= unfetched
        lacking = {name.partition("/")[0] for name in missing - fetched}
        for name in roots.keys() - lacking:
            shutil.rmtree(roots[name] / PARTIAL, ignore_errors=True)
    if failures:
        raise DownloadError(failures, total=len(missing), lacking=lacking)
    return known


def check_space(sources: Sequence[PlannedSource], raw: Path) -> None:
    """Compare what is to come with what the disk has.

    Raises:
        SourceError: It does not fit.
    """
    needed = sum(s.to_fetch_bytes or 0 for s in sources)
    free = shutil.disk_usage(raw).free
    if needed > free:
        parts = [f"{s.recipe.name} {s.to_fetch_bytes:,}" for s in sources if s.to_fetch_bytes]
        msg = (
            f"the download needs {needed:,} bytes ({', '.join(parts)}), and {raw} has {free:,} "
            f"free: make room, choose another folder with --raw, or ask for fewer datasets; "
            f"unpacking will need as much again"
        )
        raise SourceError(msg)


def _offline(sources: Sequence[PlannedSource]) -> str:
    lines = [
        f"  {s.recipe.name}: {len(s.to_fetch)} of {len(s.files)} files, the first: "
        f"{s.to_fetch[0].file.target}. {where_to_get(s.recipe)}"
        for s in sources
    ]
    first = "these are missing, and nothing is fetched with --offline:"
    return "\n".join([first, *lines, "put them there, or run the same command without --offline"])


@contextmanager
def _alone(roots: Sequence[Path]) -> Generator[None]:
    """Keep other downloads out of these folders; a crash gives them free."""
    with ExitStack() as stack:
        for root in roots:
            (root / PARTIAL).mkdir(parents=True, exist_ok=True)
            lock = FileLock(root / ".download.lock", timeout=0)
            try:
                stack.enter_context(lock)
            except Timeout as error:
                msg = f"another download into {root} is under way: wait until it has ended"
                raise SourceError(msg) from error
        yield


def _addressed_all(
    sources: Sequence[PlannedSource], options: Options
) -> tuple[list[PlannedSource], dict[str, Exception]]:
    """The sources as their servers list them, and why some servers do not."""
    known: list[PlannedSource] = []
    failures: dict[str, Exception] = {}
    for source in sources:
        try:
            known.append(_addressed(source, options))
        except SourceError as error:
            failures |= {f.file.name: error for f in source.to_fetch}
    return known, failures


def _addressed(source: PlannedSource, options: Options) -> PlannedSource:
    """The source with all that its server lists of the files that are to be fetched."""
    if not isinstance(source.source, HuggingFaceSource):
        return source
    from curate.download.huggingface import addressed

    wanted = [(f.path, f.file) for f in source.to_fetch]
    files = addressed(source.source, wanted, options.policy)
    planned = zip(source.to_fetch, files, strict=True)
    known = [replace(p, file=f, part_bytes=part_bytes(f)) for p, f in planned]
    there = [f for f in source.files if f.state == "there"]
    return replace(source, files=(*there, *known))


def _fetch_all(
    sources: Sequence[PlannedSource], options: Options, on_progress: OnProgress
) -> tuple[set[str], dict[str, Exception]]:
    """Fetch all files; names of those that came, and why some did not."""
    policy = options.policy
    with new_client(stall_seconds=options.stall_seconds) as client:
        session = Session(client, policy)
        jobs = {
            planned.file.name: _job(source, planned, session, options, on_progress)
            for source in sources
            for planned in source.to_fetch
        }
        pool = ThreadPoolExecutor(options.jobs)
        try:
            return _run(jobs, pool)
        finally:
            policy.stop.set()
            pool.shutdown(cancel_futures=True)
            policy.stop.clear()


def _job(
    source: PlannedSource,
    planned: PlannedFile,
    session: Session,
    options: Options,
    on_progress: OnProgress,
) -> Job:
    if isinstance(source.source, SynapseSource):
        wanted = SynapseFile(source.source, planned.file)
        token = find_token(options.synapse_token)
        return partial(fetch_synapse, wanted, token, policy=session.policy, on_progress=on_progress)
    if planned.state == "outdated":
        return partial(_fetch_anew, planned.file, session, on_progress)
    return partial(fetch, planned.file, session, on_progress=on_progress)


def _fetch_anew(file: RemoteFile, session: Session, on_progress: OnProgress) -> None:
    """Fetch a file in place of an outdated one, of which a copy stays under another name."""
    shutil.copy2(file.target, file.target.with_name(f"{file.target.name}.outdated"))
    fetch(file, session, on_progress=on_progress)


def _run(jobs: dict[str, Job], pool: ThreadPoolExecutor) -> tuple[set[str], dict[str, Exception]]:
    """Do all jobs; nothing more is begun once it looks hopeless."""
    futures: dict[Future[None], str] = {pool.submit(job): name for name, job in jobs.items()}
    done: set[str] = set()
    failures: dict[str, Exception] = {}
    in_a_row = 0
    for future in as_completed(futures):
        error = future.exception()
        if error is None:
            done.add(futures[future])
            in_a_row = 0
            continue
        if not isinstance(error, SourceError):
            raise error
        failures[futures[future]] = error
        in_a_row += isinstance(error, GaveUpError)
        if in_a_row >= MAX_GIVEN_UP_IN_A_ROW:
            break
    return done, failures
