"""Running one function over many jobs on all cores, whatever happens to a worker."""
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from manifests.ground.machine import usable_cores

Job = TypeVar("Job")
Result = TypeVar("Result")

# Of what numpy may be built with: OpenBLAS, MKL, Accelerate.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
THREADS_HERE = Path("/proc/self/task")  # Linux has a folder for each
# that of the allocator in PyArrow 26 starts with it, and jemalloc holds its locks during a fork
MAY_BE_FORKED = {"jemalloc_bg_thd"}
LOOKS_AGAIN_AFTER_S = (0.001, 0.01, 0.1, 0.0)


class WorkerDiedError(Exception):
    """The process that ran a job is gone, most often for want of memory."""


@runtime_checkable
class Executor(Protocol):
    """Decides where jobs run: as `run_all` here, or elsewhere."""

    def __call__(
        self, function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
    ) -> Generator[tuple[Job, Result | Exception]]:
        """Yield each job with its result, or with the exception that ended it."""
        ...


def run_all(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
) -> Generator[tuple[Job, Result | Exception]]:
    """Yield each job with its result, or with the exception that ended it, as they finish.

    A worker that dies takes the whole pool with it, and the pool cannot say whose job it was. So
    the jobs that were under way then run again, each in a process of its own: the guilty one is
    found and the others get their result. Closing the generator gives up what is not begun.

    The function can be imported by its name, and its jobs can be pickled; as many of them are
    under way at a time as there are `workers`.
    """
    waiting = deque(jobs)
    threads = threads_each(workers)
    while waiting:
        suspects: list[Job] = []
        for job, outcome in _run(function, waiting, workers, threads):
            if isinstance(outcome, BrokenProcessPool):
                suspects.append(job)
            else:
                yield job, outcome
        for job in suspects:
            for _, outcome in _run(function, deque([job]), 1, threads):
                died = isinstance(outcome, BrokenProcessPool)
                yield job, WorkerDiedError("the process died") if died else outcome


def _run(
    function: Callable[[Job], Result], waiting: deque[Job], workers: int, threads: int
) -> Generator[tuple[Job, Result | Exception]]:
    """Take jobs until there is none, or until the pool is broken."""
    pool = ProcessPoolExecutor(
        min(workers, len(waiting)),
        mp_context=multiprocessing.get_context(_start_method(threads)),
        initializer=_begin,
        initargs=(threads,),
    )
    running: dict[Future[Result], Job] = {}
    broken = False
    try:
        while running or (waiting and not broken):
            while waiting and len(running) < workers and not broken:
                try:
                    running[pool.submit(function, waiting[0])] = waiting[0]
                    waiting.popleft()
                except BrokenProcessPool:
                    broken = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = _outcome(future)
                broken = broken or isinstance(outcome, BrokenProcessPool)
                yield running.pop(future), outcome
    finally:
        pool.shutdown(cancel_futures=True)


def share_threads(workers: int) -> None:
    """Load the libraries of numbers with as many threads as each of several workers may have.

    It is called before they are imported, and lets the workers be forks of this process.
    """
    os.environ |= dict.fromkeys(THREADS, str(threads_each(workers)))


def threads_each(workers: int) -> int:
    """Return how many threads each of several workers may have."""
    return max(1, usable_cores() // workers)


def _start_method(threads: int) -> str:
    """Return how workers begin: as forks, if that is safe, or as new interpreters.

    A fork has what is imported here, which saves half a second each. But it copies the locks of
    other threads, held or not, so that there may be no other, of any library; and a library has
    the number of threads with which it was loaded.
    """
    shared = all(os.environ.get(name) == str(threads) for name in THREADS)
    return "fork" if shared and _is_alone() else "spawn"


def _is_alone() -> bool:
    """Return whether this process has one thread, once those that are ending are gone.

    The system still lists the thread of a pool for a moment after it was joined.
    """
    for pause_s in LOOKS_AGAIN_AFTER_S:
        if threading.active_count() > 1:
            return False
        try:
            names = [path.read_text().strip() for path in THREADS_HERE.glob("*/comm")]
        except OSError:  # a thread that has just ended
            names = []
        if len([name for name in names if name not in MAY_BE_FORKED]) == 1:
            return True
        time.sleep(pause_s)
    return False


def _outcome(future: Future[Result]) -> Result | Exception:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return error
    raise error


def _begin(threads: int) -> None:
    """Prepare a worker for its jobs."""
    # read when the libraries are loaded, so before the import that loads them
    os.environ |= dict.fromkeys(THREADS, str(threads))
    import SimpleITK as sitk

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent says that it was interrupted
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _end_with_parent() -> None:
    """Leave no worker behind when the parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
