"""Preparation: from the archives of several datasets to harmonised cases and one manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from curate.cases.decisions import with_reviews
from curate.cases.making import CaseJob
from curate.datasets.locate import root_of
from curate.preparation.assemble import assemble
from curate.preparation.case_facts_record import update_case_facts, with_facts, with_table_columns
from curate.preparation.dataset_record import update_facts
from curate.preparation.earlier import earlier_cases, named
from curate.preparation.output_folder import exclusive, staging_folder
from curate.preparation.plan import PlannedDataset, PrepareRequest, check_request, plan_cases
from curate.preparation.rejected import NAME as REJECTED_NAME
from curate.preparation.rejected import Rejected, write_rejected
from curate.preparation.tally import Notify, Tally, make_all
from manifests.changes.split_words import new_splits
from manifests.classes.colour_tables import write_colour_tables
from manifests.ground.errors import ManifestError, MarginaliaError, SourceError
from manifests.ground.unpack import unpack
from manifests.ground.workers import Executor, run_all
from manifests.table.case import Case
from manifests.table.dataset_facts import as_settings
from manifests.table.manifest import FILE_NAME, Manifest, read_manifest, write_manifest
from manifests.table.row_groups import with_users_columns

DISAGREEMENTS = "disagreements/disagreements.csv"  # that a fusion writes


class NothingMadeError(MarginaliaError):
    """No case at all could be made."""


@dataclass(frozen=True)
class Report:
    """What a run of `prepare` came to.

    Attributes:
        remark: What else a user should know; empty if nothing.
        problems: Datasets that could not be prepared, or a full disk: run again once it is mended.
    """

    manifest: Manifest
    made: int
    rejected: tuple[Rejected, ...]
    path: Path
    remark: str = ""
    problems: tuple[str, ...] = ()


def prepare(
    request: PrepareRequest,
    *,
    workers: int,
    executor: Executor = run_all,
    notify: Notify = lambda *_: None,
    absent: Mapping[str, str] | None = None,
) -> Report:
    """Make every case that is not there yet, and write the manifest and `rejected.csv`.

    A dataset that is missing or damaged does not keep the others from being prepared; what an
    earlier run made of it stays in the manifest. `absent` says by name which datasets are not
    to be looked for, and why.

    Raises:
        InUseError: Another run is writing to the folder.
        OverrideError: An override is for a dataset or a case that is not there.
        MarginaliaError: No dataset is there, no case at all could be made, or the disk is full.
    """
    check_request(request)
    folder = request.target.folder
    problems = dict(absent or {})
    with exclusive(folder), staging_folder(folder) as staging:
        planned = [plan_cases(r, request) for r in request.recipes if r.name not in problems]
        planned = [_unpacked(p, request, notify) for p in planned]
        problems |= {p.recipe.name: p.problem for p in planned if p.problem}
        ready = [p for p in planned if not p.problem]
        if not ready:
            raise SourceError("\n".join(problems.values()))
        jobs = _jobs(ready, request, staging)
        tally = make_all(jobs, executor, workers=workers, notify=notify)
        messages = [f"{name} was not prepared: {problem}" for name, problem in problems.items()]
        messages += tally.disk_problem(folder)
        try:
            report = written(ready, tally, request)
        except NothingMadeError as error:
            raise MarginaliaError("\n".join([str(error), *messages])) from error
        except OSError as error:
            msg = (
                f"the manifest cannot be written to {folder}: {error}; the cases that were made "
                f"are kept: make room there, and run the same command again"
            )
            raise MarginaliaError(msg) from error
    return replace(report, problems=tuple(messages))


def _unpacked(planned: PlannedDataset, request: PrepareRequest, notify: Notify) -> PlannedDataset:
    if not planned.location or planned.location.kind == "folder":
        return planned
    recipe, folder = planned.recipe, request.unpacked / planned.recipe.name
    try:
        unpack(planned.location.path, folder, notify=partial(notify, f"unpack {recipe.name}"))
        root_of(recipe, folder)
    except SourceError as error:
        return replace(planned, problem=str(error))
    return plan_cases(recipe, request)


def _jobs(ready: Sequence[PlannedDataset], request: PrepareRequest, staging: Path) -> list[CaseJob]:
    wanted = [(case, p.recipe) for p in ready for case in p.open]
    return [
        CaseJob(
            case,
            recipe,
            request.target,
            staging / str(number),
            verify=request.verify,
            override=request.overrides.get(case.case_id),
        )
        for number, (case, recipe) in enumerate(wanted)
    ]


def written(ready: Sequence[PlannedDataset], tally: Tally, request: PrepareRequest) -> Report:
    """Write what the run came to."""
    target, recipes = request.target, {p.recipe.name: p.recipe for p in ready}
    write_rejected(tally.rejected, target.folder, datasets=recipes.keys() | request.removed)
    earlier = earlier_cases(ready, tally.rejected, request)
    cases = [*chain.from_iterable(p.done for p in ready), *tally.rows, *earlier.rows]
    if not cases:
        path = target.folder / REJECTED_NAME
        msg = f"none of {len(tally.rejected)} cases could be made: see {path}"
        raise NothingMadeError(msg)
    path = target.folder / FILE_NAME
    remarks: list[str] = []
    before: Manifest | None = None
    try:
        before = read_manifest(path)
    except ManifestError as error:
        if path.exists():
            lost = "it was written again, and a split that you had chosen is lost"
            remarks.append(f"{error}: {lost}")
    facts = update_facts({c.dataset for c in cases}, recipes, target.folder, request.raw)
    # No voxel depends on the licence: it is the one that the recipe names today.
    licensed = [
        replace(c, licence=facts[c.dataset].licence) if c.dataset in facts else c for c in cases
    ]
    licensed = with_reviews(licensed, request.overrides)
    told = {p.recipe.name: p.facts for p in ready}
    of_cases = update_case_facts({c.dataset for c in cases}, told, target.folder)
    fuse, verify = request.fuse_duplicates, request.verify
    manifest = assemble(
        with_facts(licensed, of_cases),
        target,
        fuse=fuse,
        verify=verify,
        precedence=request.precedence,
    )
    manifest = with_table_columns(manifest, of_cases)
    manifest = replace(manifest, settings={**manifest.settings, **as_settings(facts)})
    write_manifest(with_users_columns(manifest, path), path)
    write_colour_tables(target.label_space, target.folder, "labels")
    if fuse and (table := target.folder / DISAGREEMENTS).is_file():
        remarks.append(f"what annotators of one scan label differently: {table}")
    remarks += [*earlier.remarks(), *_flat(cases), *filter(None, [new_splits(manifest, before)])]
    return Report(manifest, tally.made, tuple(tally.rejected), path, "\n".join(remarks))


def _flat(cases: Sequence[Case]) -> list[str]:
    """Say which cases the spacing has made flat."""
    flat = [c.case_id for c in cases if min(c.size) == 1 < min(c.source_size)]
    return [f"the spacing left one voxel along an axis of: {named(flat)}"] if flat else []
