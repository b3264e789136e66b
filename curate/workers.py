"""Running one function over many jobs on all cores, whatever happens to a worker."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import SimpleITK as sitk

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerDiedError(Exception):
    """The process that ran a job is gone, most often for want of memory."""


def run_all(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
) -> Iterator[tuple[Job, Result | Exception]]:
    """Yield each job with its result, or with the exception that ended it, as they finish.

    A worker that dies takes the whole pool with it, and the pool cannot say whose job it was. So
    the jobs that were lost run again, each in a process of its own: the guilty one is found and
    the others get their result.

    Args:
        function: Importable by its name.
        jobs: Its arguments, which can be pickled.
        workers: Number of processes.
    """
    lost: list[Job] = []
    for job, outcome in _run(function, jobs, workers):
        if isinstance(outcome, BrokenProcessPool):
            lost.append(job)
        else:
            yield job, outcome
    for job in lost:
        for _, outcome in _run(function, [job], 1):
            died = isinstance(outcome, BrokenProcessPool)
            yield job, WorkerDiedError("the process died") if died else outcome


def _run(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[tuple[Job, Result | Exception]]:
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=sitk.ProcessObject.SetGlobalDefaultNumberOfThreads,
        initargs=(threads,),
    ) as pool:
        futures = {pool.submit(function, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], _outcome(future)


def _outcome(future: Future[Result]) -> Result | Exception:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return error
    raise error
