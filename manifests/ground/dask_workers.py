"""Running one function over many jobs on a Dask cluster, whatever happens to a worker."""
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false

import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from manifests.ground.dask_cluster import ClusterError, connected
from manifests.ground.workers import WorkerDiedError

if TYPE_CHECKING:
    from distributed import Client, Future  # pyright: ignore[reportMissingImports]

Job = TypeVar("Job")
Result = TypeVar("Result")

# So many jobs at a time: what waits keeps workers busy, and makes adaptive clusters grow.
JOBS_HANDED_OVER = 1000
SAME_VERSIONS = ("marginalia", "numpy", "scipy", "SimpleITK")  # or the bytes may differ


class UnfitWorkerError(Exception):
    """A worker does not see the shared folder, or computes with other versions."""


def run_on_dask(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    address: str,
    shared: Path,
) -> Generator[tuple[Job, Result | Exception]]:
    """Yield each job with its result, or with the exception that ended it, as they finish.

    Dask runs the jobs of a worker that dies again elsewhere, but gives up on those that have seen
    several workers die, and cannot say whose fault it was. So these run again, each alone: the
    guilty one is found and the others get their result. Closing the generator gives up what is not
    begun, and ends a cluster that was started here.

    The `address` is the scheduler's, or `local`, which starts a cluster of as many `workers`
    here. Every worker must see the folder `shared`; it is made if it is not there.

    Raises:
        ClusterError: There is no cluster, it is gone, or a worker cannot do the work.
    """
    with connected(address, workers=workers) as client, _token(shared) as token:
        on_worker = partial(run_on_worker, function, token, _versions())
        suspects: list[Job] = []
        for job, outcome in _run(client, on_worker, deque(jobs)):
            if isinstance(outcome, WorkerDiedError):
                suspects.append(job)
            else:
                yield job, outcome
        for job in suspects:
            yield from _run(client, on_worker, deque([job]))


def run_on_worker(
    function: Callable[[Job], Result], token: Path, versions: dict[str, str], job: Job
) -> Result:
    """Do a job on a worker, if the worker is fit for it, on one thread.

    Raises:
        UnfitWorkerError: The worker is not fit.
    """
    import SimpleITK as sitk

    host = socket.gethostname()
    if not token.exists():
        msg = f"a worker on {host} does not see {token.parent}: it must lie on shared storage"
        raise UnfitWorkerError(msg)
    if (here := _versions()) != versions:
        msg = f"a worker on {host} has other versions: expected {versions}, got {here}"
        raise UnfitWorkerError(msg)
    # a cluster has as many of Dask's threads as the work is to have
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return function(job)


def _run(
    client: "Client", function: Callable[[Job], Result], waiting: deque[Job]
) -> Generator[tuple[Job, Result | Exception]]:
    from distributed import as_completed  # pyright: ignore[reportMissingImports]

    done = as_completed()
    running: dict[Future[Any], Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < JOBS_HANDED_OVER:
                future = client.submit(function, waiting[0], pure=False)
                running[future] = waiting.popleft()
                done.add(future)
            future = next(done)
            yield running.pop(future), _outcome(future)
    finally:
        client.cancel(list(running))


def _outcome(future: "Future[Any]") -> Any | Exception:  # noqa: ANN401
    """Return the result, or the exception that is the job's own.

    Raises:
        ClusterError: The exception is the cluster's.
    """
    from distributed import KilledWorker  # pyright: ignore[reportMissingImports]

    try:
        return future.result()
    except KilledWorker:
        return WorkerDiedError("every process that tried it died")
    except CancelledError as error:
        msg = "the Dask scheduler is gone: what was made is kept; run the same command again"
        raise ClusterError(msg) from error
    except (UnfitWorkerError, ImportError) as error:
        msg = f"the Dask cluster cannot do the work: {error}"
        raise ClusterError(msg) from error
    except Exception as error:  # the job's own
        return error


@contextmanager
def _token(shared: Path) -> Generator[Path]:
    """Make a file that only workers see who see this very folder."""
    shared.mkdir(parents=True, exist_ok=True)
    token = shared / f"{uuid4().hex}.token"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in SAME_VERSIONS}
