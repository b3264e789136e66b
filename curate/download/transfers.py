"""Downloading datasets: everything that a recipe's sources name, several files at a time."""

import shutil
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from curate.datasets.locate import where_to_get
from curate.download.http import Session, fetch
from curate.download.http_client import STALL_SECONDS, new_client
from curate.download.licence import Ask, require_licences
from curate.download.part_file import part_bytes
from curate.download.plan import PARTIAL, PlannedFile, PlannedSource
from curate.download.remote_file import OnProgress, RemoteFile, ignore_progress
from curate.download.retry_policy import GaveUpError, RetryPolicy
from curate.download.synapse import SynapseFile, fetch_synapse, find_token
from curate.recipes.sources import HuggingFaceSource, SynapseSource
from manifests.ground.errors import SourceError

# After this many files given up with none fetched in between, the network is taken to be gone.
MAX_GIVEN_UP_IN_A_ROW = 5
NAMED = 5  # so many failed files are named
GIVEN_UP = "not fetched, since the network is gone; what has come is kept"

Job = Callable[[], None]


@dataclass(frozen=True)
class Options:
    """How to download.

    Attributes:
        accepted: Names of datasets whose licence is accepted, or `all`.
        ask: Asks a person whether a licence is accepted; None where nobody is there.
        stall_seconds: A connection that brings nothing for so long is broken off.
    """

    offline: bool = False
    accepted: Collection[str] = ()
    ask: Ask | None = None
    synapse_token: str | None = None
    jobs: int = 4
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    stall_seconds: float = STALL_SECONDS


class DownloadError(SourceError):
    """Files of some datasets could not be fetched; all others were.

    Attributes:
        reasons: What went wrong, by dataset.
    """

    def __init__(
        self, failures: Mapping[str, Exception], *, total: int, lacking: Collection[str]
    ) -> None:
        """Say which of `total` files failed, by their names, which begin with the dataset's.

        Datasets may be `lacking` files of which none failed: these were not begun any more.
        """
        named = _named(failures.values())
        first = f"{len(failures)} of {total} files could not be fetched; what has come is kept:"
        super().__init__("\n".join([first, *named]) if total > 1 else named[0].strip())
        self.reasons = {dataset: _reason(failures, dataset) for dataset in sorted(lacking)}


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
        lines = [
            f"  {s.recipe.name}: {len(s.to_fetch)} of {len(s.files)} files, the first: "
            f"{s.to_fetch[0].file.target}. {where_to_get(s.recipe)}"
            for s in open_
        ]
        first = "these are missing, and nothing is fetched with --offline:"
        last = "put them there, or run the same command without --offline"
        raise SourceError("\n".join([first, *lines, last]))
    require_licences([s.recipe for s in open_], raw, options.accepted, options.ask)
    roots = {s.recipe.name: s.root for s in open_}
    with _exclusive(sorted(set(roots.values()))):
        known, failures = _resolve_all(open_, options.policy)
        _check_space(known, raw)
        missing = {f.file.name for s in open_ for f in s.to_fetch}
        fetched, unfetched = _fetch_all(known, options, on_progress)
        failures |= unfetched
        lacking = {name.partition("/")[0] for name in missing - fetched}
        for name in roots.keys() - lacking:
            shutil.rmtree(roots[name] / PARTIAL, ignore_errors=True)
    if failures:
        raise DownloadError(failures, total=len(missing), lacking=lacking)
    return known


def _check_space(sources: Sequence[PlannedSource], raw: Path) -> None:
    """Raise an error if what is to come does not fit on the disk."""
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


@contextmanager
def _exclusive(roots: Sequence[Path]) -> Generator[None]:
    """Keep other downloads out of these folders; a crash releases them."""
    with ExitStack() as stack:
        for root in roots:
            (root / PARTIAL).mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(root / ".download.lock", timeout=0))
            except Timeout as error:
                msg = f"another download into {root} is under way: wait until it has ended"
                raise SourceError(msg) from error
        yield


def _resolve_all(
    sources: Sequence[PlannedSource], policy: RetryPolicy
) -> tuple[list[PlannedSource], dict[str, Exception]]:
    """Return the sources as their servers list them, and why some servers do not."""
    known: list[PlannedSource] = []
    failures: dict[str, Exception] = {}
    for source in sources:
        try:
            known.append(_resolve(source, policy))
        except SourceError as error:
            failures |= {f.file.name: error for f in source.to_fetch}
    return known, failures


def _resolve(source: PlannedSource, policy: RetryPolicy) -> PlannedSource:
    if not isinstance(source.source, HuggingFaceSource):
        return source
    from curate.download.huggingface import resolve_files

    files = resolve_files(source.source, [(f.path, f.file) for f in source.to_fetch], policy)
    known = [
        replace(planned, file=file, part_bytes=part_bytes(file))
        for planned, file in zip(source.to_fetch, files, strict=True)
    ]
    there = [f for f in source.files if f.state == "there"]
    return replace(source, files=(*there, *known))


def _fetch_all(
    sources: Sequence[PlannedSource], options: Options, on_progress: OnProgress
) -> tuple[set[str], dict[str, Exception]]:
    """Fetch all files, and return the names of those that came, and why some did not."""
    stop = options.policy.stop
    with new_client(stall_seconds=options.stall_seconds) as client:
        session = Session(client, options.policy, on_progress)
        jobs = {
            planned.file.name: _job(source, planned, session, options)
            for source in sources
            for planned in source.to_fetch
        }
        pool = ThreadPoolExecutor(options.jobs)
        try:
            return _run(jobs, pool)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            stop.clear()


def _job(source: PlannedSource, planned: PlannedFile, session: Session, options: Options) -> Job:
    if isinstance(source.source, SynapseSource):
        wanted = SynapseFile(source.source, planned.file)
        return partial(fetch_synapse, wanted, find_token(options.synapse_token), session)
    return partial(_fetch_anew if planned.state == "outdated" else fetch, planned.file, session)


def _fetch_anew(file: RemoteFile, session: Session) -> None:
    """Fetch a file in place of an outdated one, of which a copy stays under another name."""
    shutil.copy2(file.target, file.target.with_name(f"{file.target.name}.outdated"))
    fetch(file, session)


def _run(jobs: dict[str, Job], pool: ThreadPoolExecutor) -> tuple[set[str], dict[str, Exception]]:
    """Do all jobs; nothing more is begun once the network is taken to be gone."""
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


def _reason(failures: Mapping[str, Exception], dataset: str) -> str:
    errors = [error for name, error in failures.items() if name.startswith(f"{dataset}/")]
    return "\n".join(_named(errors)).strip() or GIVEN_UP


def _named(failures: Iterable[Exception]) -> list[str]:
    errors = list(dict.fromkeys(map(str, failures)))
    more = [f"  and {len(errors) - NAMED} more"] if len(errors) > NAMED else []
    return [*(f"  {error}" for error in errors[:NAMED]), *more]
