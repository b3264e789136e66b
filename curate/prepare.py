"""Preparation: from the archives of several datasets to harmonised cases and one manifest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from curate import record
from curate.assemble import assemble, cases_of_other_datasets
from curate.discover import SourceCase, discover
from curate.harmonise import Target, harmonise
from curate.locate import Location, locate, root_of
from curate.reading import SetAsideError
from curate.recipe import Recipe
from curate.rejected import NAME as REJECTED_NAME
from curate.rejected import Rejected, write_rejected
from curate.unpack import unpack
from curate.workers import WorkerDiedError, run_all
from manifests.case import Case
from manifests.errors import GeometryError, MarginaliaError
from manifests.findings import Finding
from manifests.manifest import FILE_NAME, Manifest, write_manifest

Notify = Callable[[str, int, int], None]  # what is being done, steps done, steps in all


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        recipes: The datasets.
        raw: The folder with their archives or unpacked folders.
        target: What every case is made into, and where.
        limit: At most so many cases of each dataset; None for all.
    """

    recipes: tuple[Recipe, ...]
    raw: Path
    target: Target
    limit: int | None = None


@dataclass(frozen=True)
class Planned:
    """What is to be done for one dataset.

    Attributes:
        recipe: The dataset.
        location: Where it was found.
        done: Cases that stand from an earlier run; empty while the archive is not unpacked.
        open: Cases to be made, likewise.
    """

    recipe: Recipe
    location: Location
    done: tuple[Case, ...] = ()
    open: tuple[SourceCase, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a run of `prepare` came to.

    Attributes:
        manifest: As it was written.
        made: Number of cases that this run made.
        rejected: Cases that were set aside.
        path: Where the manifest lies.
        remark: What else a user should know; empty if nothing.
    """

    manifest: Manifest
    made: int
    rejected: tuple[Rejected, ...]
    path: Path
    remark: str = ""


def plan(request: Request) -> list[Planned]:
    """Find every dataset, and what is still to be done of it; nothing is written.

    Raises:
        SourceError: A dataset is not there.
    """
    return [_plan_one(recipe, request) for recipe in request.recipes]


def prepare(request: Request, *, workers: int, notify: Notify = lambda *_: None) -> Report:
    """Make every case that is not there yet, and write the manifest and `rejected.csv`.

    Raises:
        MarginaliaError: A dataset is missing or unsafe, or no case at all could be made.
    """
    planned = [_unpacked(p, request, notify) for p in plan(request)]
    made, rejected = _make(planned, request.target, workers, notify)
    cases = [*chain.from_iterable(p.done for p in planned), *made]
    cases += cases_of_other_datasets({p.recipe.name for p in planned}, request.target)
    folder = request.target.folder
    write_rejected(rejected, folder)
    if not cases:
        msg = f"none of {len(rejected)} cases could be made: see {folder / REJECTED_NAME}"
        raise MarginaliaError(msg)
    manifest, remark = assemble(cases, request.target)
    path = folder / FILE_NAME
    write_manifest(manifest, path)
    return Report(manifest, len(made), tuple(rejected), path, remark)


def _plan_one(recipe: Recipe, request: Request) -> Planned:
    location = locate(recipe, request.raw, _unpack_folder(recipe, request))
    if location.kind == "archive":
        return Planned(recipe, location)
    settings = record.settings_key(request.target)
    done: list[Case] = []
    todo: list[SourceCase] = []
    for case in discover(recipe, location.path)[: request.limit]:
        folder = request.target.case_folder(case)
        row = record.read_record(folder, settings, record.source_key(case, recipe))
        if row is None:
            todo.append(case)
        else:
            done.append(row)
    return Planned(recipe, location, tuple(done), tuple(todo))


def _unpack_folder(recipe: Recipe, request: Request) -> Path:
    return request.target.folder / "unpacked" / recipe.name


def _unpacked(planned: Planned, request: Request, notify: Notify) -> Planned:
    if planned.location.kind == "folder":
        return planned
    recipe, folder = planned.recipe, _unpack_folder(planned.recipe, request)
    unpack(planned.location.path, folder, notify=partial(notify, f"unpack {recipe.name}"))
    root_of(recipe, folder)
    return _plan_one(recipe, request)


def _make(
    planned: Sequence[Planned], target: Target, workers: int, notify: Notify
) -> tuple[list[Case], list[Rejected]]:
    recipes = {p.recipe.name: p.recipe for p in planned}
    jobs = [(case, recipes[case.dataset], target) for p in planned for case in p.open]
    made: list[Case] = []
    rejected: list[Rejected] = []
    for number, ((case, *_), outcome) in enumerate(
        run_all(_make_one, jobs, workers=workers), start=1
    ):
        if isinstance(outcome, Case):
            made.append(outcome)
        else:
            rejected.append(Rejected(case, _as_finding(outcome)))
        notify("prepare cases", number, len(jobs))
    return made, sorted(rejected, key=lambda r: r.case.case_id)


def _make_one(job: tuple[SourceCase, Recipe, Target]) -> Case | Finding:
    case, recipe, target = job
    folder = target.case_folder(case)
    record.forget(folder)
    try:
        row = harmonise(case, recipe, target)
    except SetAsideError as error:
        return error.finding
    except GeometryError as error:
        return Finding("geometry_invalid", str(error))
    record.write_record(folder, row, record.settings_key(target), record.source_key(case, recipe))
    return row


def _as_finding(outcome: Finding | Exception) -> Finding:
    if isinstance(outcome, Finding):
        return outcome
    code = "worker_died" if isinstance(outcome, WorkerDiedError) else "failed"
    return Finding(code, f"{type(outcome).__name__}: {outcome}")
