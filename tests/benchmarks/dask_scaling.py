"""Measure how two workers of a Dask cluster compare with twice one.

Run `python tests/benchmarks/dask_scaling.py [--cases 12] [--rounds 5]`. Both clusters are started
before anything is measured and every worker has made a case. In each round the same phantom cases
are prepared by one worker and by two, in turn; then as many jobs that only wait, which need no
core: what these lose is the executor's share, what the cases lose beyond it is the machine's. An
efficiency is the time of one worker over twice the time of two.
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

from rich.console import Console
from rich.table import Table

from curate.dask_workers import run_on_dask
from curate.phantom_archives import write_phantom_archives
from curate.prepare import prepare
from curate.prepare_plan import Request
from curate.recipe import load_recipe
from curate.target import Target
from curate.unpack import unpack
from manifests.dask_cluster import connected
from manifests.label_space import load_label_space

WAIT_SECONDS = 0.5
SPACING_MM = (1.5, 1.5, 3.0)


def make_cases(raw: Path, folder: Path, address: str) -> None:
    out = Path(tempfile.mkdtemp(dir=folder))
    executor = partial(run_on_dask, address=address, shared=out)
    target = Target(load_label_space("abdomen5"), SPACING_MM, out)
    report = prepare(
        Request((load_recipe("msd_spleen"),), raw, target), workers=1, executor=executor
    )
    assert not report.rejected
    shutil.rmtree(out)


def wait_only(jobs: int, folder: Path, address: str) -> None:
    outcomes = run_on_dask(
        time.sleep, [WAIT_SECONDS] * jobs, workers=1, address=address, shared=folder
    )
    assert [outcome for _, outcome in outcomes] == [None] * jobs


def seconds(work: Callable[[str], None], address: str) -> float:
    started = time.perf_counter()
    work(address)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    table = Table(title=f"two workers against twice one, {asked.cases} cases or waits")
    for column in ("round", "load", "cases: 1, s", "2, s", "efficiency", "waits: 1, s", "2, s"):
        table.add_column(column, justify="right")
    table.add_column("efficiency", justify="right")
    of_cases, of_waits = [], []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, raw = Path(name), Path(name) / "raw"
        write_phantom_archives(raw, seed=0, cases={"msd_spleen": asked.cases}, in_plane_mm=1.5)
        unpack(raw / "Task09_Spleen.tar", raw / "msd_spleen")
        (raw / "Task09_Spleen.tar").unlink()
        clusters = [stack.enter_context(connected("local", workers=n)) for n in (1, 2)]
        one, two = (client.scheduler.address for client in clusters)
        works = (partial(make_cases, raw, folder), partial(wait_only, asked.cases, folder))
        for address in (one, two):
            works[0](address)  # imports
        for number in range(asked.rounds):
            times = [seconds(work, address) for work in works for address in (one, two)]
            of_cases.append(times[0] / times[1] / 2)
            of_waits.append(times[2] / times[3] / 2)
            cells = (*times[:2], of_cases[-1], *times[2:], of_waits[-1])
            load = f"{os.getloadavg()[0]:.1f}"
            table.add_row(str(number + 1), load, *(f"{cell:.2f}" for cell in cells))
    medians = (statistics.median(of_cases), statistics.median(of_waits))
    table.add_row("median", "", "", "", f"{medians[0]:.2f}", "", "", f"{medians[1]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
