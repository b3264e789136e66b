"""A pool that outlives its workers."""

import os

from curate.workers import WorkerDiedError, run_all


def job(number):
    if number == 3:
        os._exit(1)
    if number == 5:
        msg = "five"
        raise ValueError(msg)
    return number * number


def test_a_dead_worker_costs_one_job_and_an_exception_none():
    outcomes = dict(run_all(job, range(8), workers=2))
    assert isinstance(outcomes.pop(3), WorkerDiedError)
    assert isinstance(outcomes.pop(5), ValueError)
    assert outcomes == {n: n * n for n in (0, 1, 2, 4, 6, 7)}
