"""Making many cases, and counting what became of them."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from curate.cases.making import NOT_WRITTEN, CaseJob, PreparedCase, make
from curate.cases.record import move_case
from curate.preparation.rejected import Rejected
from manifests.ground.findings import Finding
from manifests.ground.workers import Executor, WorkerDiedError
from manifests.table.case import Case

Notify = Callable[[str, int, int], None]  # what is being done, steps done, steps in all

# After this many cases that could not be written, with none written in between, there is no room.
MAX_UNWRITTEN_IN_A_ROW = 3


@dataclass
class Tally:
    """What became of the cases so far.

    Attributes:
        asked: Number of cases that were to be made.
        rows: Cases that were made or kept.
    """

    asked: int
    rows: list[Case] = field(default_factory=list)
    made: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    _unwritten_in_a_row: int = 0

    @property
    def disk_is_full(self) -> bool:
        """Whether there is no room for any more cases."""
        return self._unwritten_in_a_row >= MAX_UNWRITTEN_IN_A_ROW

    def add(self, job: CaseJob, outcome: PreparedCase | Finding) -> None:
        """Count one more case."""
        if isinstance(outcome, PreparedCase):
            self.rows.append(outcome.row)
            self.made += outcome.anew
            self._unwritten_in_a_row = 0
        else:
            self.rejected.append(Rejected(job.case, outcome))
            self._unwritten_in_a_row += outcome.code == NOT_WRITTEN

    def disk_problem(self, folder: Path) -> list[str]:
        """Say what to do about a disk that took no more; nothing if it took all."""
        unwritten = [r.finding.reason for r in self.rejected if r.finding.code == NOT_WRITTEN]
        if not unwritten:
            return []
        unbegun = self.asked - len(self.rows) - len(self.rejected)
        free = shutil.disk_usage(folder).free
        return [
            f"{len(unwritten)} cases could not be written ({unwritten[0]}), and {unbegun} were not "
            f"begun; {folder} has {free:,} bytes free: what was made is kept; make room, and run "
            f"the same command again"
        ]


def make_all(jobs: Sequence[CaseJob], executor: Executor, *, workers: int, notify: Notify) -> Tally:
    """Make all cases, or those that there is room for."""
    tally = Tally(len(jobs))
    with closing(executor(make, jobs, workers=workers)) as outcomes:
        for number, (job, outcome) in enumerate(outcomes, start=1):
            tally.add(job, _settled(job, outcome))
            shutil.rmtree(job.staging, ignore_errors=True)
            notify("prepare cases", number, len(jobs))
            if tally.disk_is_full:
                break
    tally.rejected.sort(key=lambda r: r.case.case_id)
    return tally


def _settled(job: CaseJob, outcome: PreparedCase | Finding | Exception) -> PreparedCase | Finding:
    """Move what was made to its place; what an earlier run made of a bad case stays."""
    if isinstance(outcome, PreparedCase):
        try:
            move_case(job.made, job.folder)
        except OSError as error:
            return Finding(NOT_WRITTEN, error.strerror or str(error))
        return outcome
    if isinstance(outcome, Exception):
        code = "worker_died" if isinstance(outcome, WorkerDiedError) else "failed"
        return Finding(code, f"{type(outcome).__name__}: {outcome}")
    return outcome
