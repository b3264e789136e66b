"""One case in a worker: kept if it is up to date, and made in a staging folder if not."""

import errno
from dataclasses import dataclass, replace
from pathlib import Path

from curate.cases.decisions import is_outdated
from curate.cases.overrides import Override
from curate.cases.record import Provenance, same_content, write_record
from curate.cases.target import Target
from curate.datasets.discover import SourceCase
from curate.recipes.schema import Recipe
from manifests.ground.errors import GeometryError, OverrideError
from manifests.ground.findings import Finding, SetAsideError
from manifests.table.case import Case

NOT_WRITTEN = "not_written"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class CaseJob:
    """One case to be made.

    Attributes:
        staging: Folder where it is made; the owner of the output folder moves it from there.
        verify: Whether a case that is there is read whole before it is kept.
    """

    case: SourceCase
    recipe: Recipe
    target: Target
    staging: Path
    verify: bool = False
    override: Override | None = None

    @property
    def folder(self) -> Path:
        """The case's place."""
        return self.target.case_folder(self.case)

    @property
    def made(self) -> Path:
        """Where the case's files are until they are moved to their place."""
        return replace(self.target, folder=self.staging).case_folder(self.case)


@dataclass(frozen=True)
class PreparedCase:
    """A case, and whether it was made anew rather than kept."""

    row: Case
    anew: bool


def make(job: CaseJob) -> PreparedCase | Finding:
    """Keep or make one case; nothing outside its staging folder is written."""
    from curate.cases.columns import with_label_numbers
    from curate.cases.harmonise import harmonise

    if job.override and job.override.skip and not is_outdated(job.override, job.case):
        return Finding("skipped", job.override.reason)
    if job.case.finding:
        return job.case.finding
    provenance = Provenance.of(job.case, job.recipe, job.target, job.override)
    try:
        row = same_content(job.folder, job.case, provenance, verify=job.verify)
        if row and job.target.repairs.allow(row.findings):
            row = with_label_numbers(row, job.folder, job.target)
            write_record(job.made, row, provenance, volumes=job.folder)
            return PreparedCase(row, anew=False)
        target = replace(job.target, folder=job.staging)
        row = harmonise(job.case, job.recipe, target, job.override)
        write_record(job.made, row, provenance)
    except SetAsideError as error:
        return error.finding
    except GeometryError as error:
        return Finding("geometry_invalid", str(error))
    except OverrideError as error:
        return Finding("override_impossible", str(error))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return Finding(NOT_WRITTEN, error.strerror or str(error))
    return PreparedCase(row, anew=True)
