"""Measure how two workers of a Dask cluster compare with twice one.

Run `python tests/benchmarks/dask_scaling.py [--cases 12] [--rounds 5]`. Both clusters are started
before anything is measured and every worker has made a case. In each round the same phantom cases
are prepared by one worker and by two, in turn; then as many jobs that only wait, which need no
core: what these lose is the executor's share, what the cases lose beyond it is the machine's. An
efficiency is the time of one worker over twice the time of two. CPU seconds of the workers tell
what two lose to each other's caches and memory on a machine whose cores are not free.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from distributed import Client
from rich.console import Console
from rich.table import Table

from curate.cases.target import Target
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.classes.label_space import load_label_space
from manifests.ground.dask_cluster import connected
from manifests.ground.dask_workers import run_on_dask
from manifests.ground.unpack import unpack

WAIT_SECONDS = 0.5
SPACING_MM = (1.5, 1.5, 3.0)


def make_cases(raw: Path, folder: Path, address: str) -> None:
    out = Path(tempfile.mkdtemp(dir=folder))
    executor = partial(run_on_dask, address=address, shared=out)
    target = Target(load_label_space("abdomen5"), SPACING_MM, out)
    report = prepare(
        PrepareRequest((load_recipe("msd_spleen"),), raw, target), workers=1, executor=executor
    )
    assert not report.rejected
    shutil.rmtree(out)


def wait_only(jobs: int, folder: Path, address: str) -> None:
    outcomes = run_on_dask(
        time.sleep, [WAIT_SECONDS] * jobs, workers=1, address=address, shared=folder
    )
    assert [outcome for _, outcome in outcomes] == [None] * jobs


def seconds(work: Callable[[str], None], client: Client) -> tuple[float, float]:
    """Seconds on the clock, and CPU seconds of the workers."""
    started, before = time.perf_counter(), sum(client.run(time.process_time).values())
    work(client.scheduler.address)
    cpu = sum(client.run(time.process_time).values()) - before
    return time.perf_counter() - started, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    table = Table(title=f"one worker and two, {asked.cases} cases or waits")
    columns = ("load", "cases, s", "", "efficiency", "CPU, s", "", "waits, s", "", "efficiency")
    for column in columns:
        table.add_column(column, justify="right")
    of_cases, of_waits, of_cpu = [], [], []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, raw = Path(name), Path(name) / "raw"
        write_phantom_archives(
            raw, seed=0, cases={"msd_spleen": asked.cases}, spacing_mm=(1.5, None)
        )
        unpack(raw / "Task09_Spleen.tar", raw / "msd_spleen")
        (raw / "Task09_Spleen.tar").unlink()
        clusters = [stack.enter_context(connected("local", workers=n)) for n in (1, 2)]
        works = (partial(make_cases, raw, folder), partial(wait_only, asked.cases, folder))
        for client in clusters:
            seconds(works[0], client)  # imports
        for _ in range(asked.rounds):
            cases, waits = ([seconds(work, client) for client in clusters] for work in works)
            (one, one_cpu), (two, two_cpu) = cases
            of_cases.append(one / two / 2)
            of_waits.append(waits[0][0] / waits[1][0] / 2)
            of_cpu.append(one_cpu / two_cpu)
            cells = (one, two, of_cases[-1], one_cpu, two_cpu, waits[0][0], waits[1][0])
            load = f"{os.getloadavg()[0]:.1f}"
            table.add_row(load, *(f"{cell:.2f}" for cell in (*cells, of_waits[-1])))
    Console().print(table)
    for what, ratios in (("cases", of_cases), ("waits", of_waits), ("CPU, one to two", of_cpu)):
        Console().print(f"median of {what}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
