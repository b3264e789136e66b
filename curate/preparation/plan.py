"""What is to be done to prepare datasets; this only looks, and writes nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curate.cases.overrides import Override, check_cases, check_classes, check_datasets
from curate.cases.precedence import Precedence
from curate.cases.record import Provenance, is_ours, unchanged_case
from curate.cases.target import Target
from curate.datasets.case_facts import CaseFacts, case_facts, count_unannotated, with_annotated
from curate.datasets.discover import SourceCase, discover
from curate.datasets.locate import Location, locate
from curate.download.plan import PlannedSource, plan_missing
from curate.recipes.schema import Recipe, shipped_recipes
from manifests.ground.errors import SourceError
from manifests.table.case import Case


@dataclass(frozen=True)
class PrepareRequest:
    """What a user asks for; datasets that are `removed` leave the manifest."""

    recipes: tuple[Recipe, ...]
    raw: Path
    target: Target
    limit: int | None = None
    verify: bool = False
    overrides: Mapping[str, Override] = field(default_factory=dict)
    fuse_duplicates: bool = False
    precedence: Precedence = field(default_factory=Precedence)
    removed: frozenset[str] = frozenset()

    @property
    def unpacked(self) -> Path:
        """Where archives are unpacked, each into a folder of its dataset's name."""
        return self.target.folder / "unpacked"


@dataclass(frozen=True)
class PlannedDataset:
    """What is to be done for one dataset.

    Attributes:
        sources: What of it is to be downloaded.
        problem: Why it cannot be prepared; empty if it can.
        names: Names of all its cases; empty while it is not unpacked, as are `done` and `open`.
        done: Cases that stand from an earlier run.
        open: Cases to be made, or to be looked at more closely.
        gone: Names of cases that the folder holds and the dataset does not have any more.
        missing_masks: Number of cases that lack a mask, by its file name.
        unannotated: Number of cases in which nobody annotated some structures.
        facts: What its names and its table tell of all its cases, by name.
    """

    recipe: Recipe
    location: Location | None = None
    sources: tuple[PlannedSource, ...] = ()
    problem: str = ""
    names: frozenset[str] = frozenset()
    done: tuple[Case, ...] = ()
    open: tuple[SourceCase, ...] = ()
    gone: tuple[str, ...] = ()
    missing_masks: Mapping[str, int] = field(default_factory=dict[str, int])
    unannotated: Mapping[str, int] = field(default_factory=dict[str, int])
    facts: Mapping[str, CaseFacts] = field(default_factory=dict[str, CaseFacts])


def plan(request: PrepareRequest) -> list[PlannedDataset]:
    """Return what is there of every dataset, and what is still to be done.

    Raises:
        OverrideError: An override is for a dataset or a case that is not there.
        MarginaliaError: The precedence names a dataset that is not there, or nothing is fused.
    """
    check_request(request)
    planned = []
    for recipe in request.recipes:
        missing = plan_missing([recipe], request.raw, unpacked=request.unpacked)
        sources = tuple(s for s in missing if s.to_fetch)
        planned.append(
            PlannedDataset(recipe, sources=sources) if sources else plan_cases(recipe, request)
        )
    return planned


def check_request(request: PrepareRequest) -> None:
    """Refuse what is said of datasets that are neither asked for, nor shipped, nor in the folder.

    Raises:
        OverrideError: There is an override for one.
        MarginaliaError: The precedence names one, or nothing is fused.
    """
    made = {p.name for p in (request.target.folder / "cases").glob("*")}
    asked = {recipe.name for recipe in request.recipes}
    check_classes(request.overrides, request.target.label_space)
    known = {*shipped_recipes(), *asked, *made}
    check_datasets(request.overrides, known)
    request.precedence.check(known, fuse=request.fuse_duplicates)


def plan_cases(recipe: Recipe, request: PrepareRequest) -> PlannedDataset:
    """Return the cases of a dataset that is there.

    Raises:
        OverrideError: An override is for a case that is not there.
    """
    try:
        location = locate(recipe, request.raw, request.unpacked / recipe.name)
        if location.kind == "archive":
            return PlannedDataset(recipe, location)
        cases = discover(recipe, location.path)
        facts = case_facts(recipe, location.path, cases)
        cases = [with_annotated(case, recipe, facts[case.name]) for case in cases]
    except SourceError as error:
        return PlannedDataset(recipe, problem=str(error))
    names = frozenset(case.name for case in cases)
    made = sorted((request.target.folder / "cases" / recipe.name).glob("*"))
    gone = tuple(folder.name for folder in made if folder.name not in names and is_ours(folder))
    check_cases(request.overrides, recipe, cases, gone)
    wanted = {case: _standing(case, recipe, request) for case in cases[: request.limit]}
    return PlannedDataset(
        recipe,
        location,
        names=names,
        done=tuple(row for row in wanted.values() if row),
        open=tuple(case for case, row in wanted.items() if not row),
        gone=gone,
        missing_masks=_missing_masks(recipe, cases),
        unannotated=count_unannotated(recipe, cases),
        facts=facts,
    )


def _missing_masks(recipe: Recipe, cases: Sequence[SourceCase]) -> Counter[str]:
    lacks = (zip(recipe.parts, case.masks, strict=True) for case in cases if not case.finding)
    return Counter(name for case in lacks for name, there in case if not there)


def _standing(case: SourceCase, recipe: Recipe, request: PrepareRequest) -> Case | None:
    if request.verify or case.finding:
        return None
    folder = request.target.case_folder(case)
    override = request.overrides.get(case.case_id)
    row = unchanged_case(folder, Provenance.of(case, recipe, request.target, override))
    return row if row and request.target.repairs.allow(row.findings) else None
