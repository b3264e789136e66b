"""The commands of curate: parse, call one function, print."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from curate.drafts import commands as recipe_commands
from curate.review import commands as review_commands
from manifests.ground.list_command import ListCommand
from manifests.ground.machine import usable_workers

if TYPE_CHECKING:
    from curate.download.plan import PlannedSource
    from curate.download.transfers import Options
    from curate.preparation.plan import PrepareRequest
    from curate.preparation.prepare import Report
    from curate.recipes.schema import Recipe
    from manifests.ground.workers import Executor

app = typer.Typer()
app.add_typer(recipe_commands.app, name="recipe")
app.add_typer(review_commands.app)

SET_ASIDE_EXIT_CODE = 3
# an ordinary CT's; one of a thousand slices needs three times as much
WORKER_BYTES = 10**9
WORKERS = usable_workers(WORKER_BYTES)

Interpolation = Literal["linear", "cubic"]  # as of `separable`, which is slow to import
Datasets = Annotated[
    list[str] | None,
    typer.Argument(help="Recipes: names or TOML files. Default: the paper's five datasets."),
]
LabelSpaceName = Annotated[str, typer.Option(help="Label space: a name or a TOML file.")]
SpacingMm = Annotated[
    tuple[float, float, float],
    typer.Option(metavar="X,Y,Z", help="Spacing along x, y, z in mm, as in 3,3,3 or 3 3 3."),
]
Processes = Annotated[
    int,
    typer.Option(min=1, help="Number of processes. Default: one per usable core and GB of memory."),
]
Offline = Annotated[bool, typer.Option(help="Download nothing; fail if something is missing.")]
AcceptLicence = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME,...", help="Datasets whose licences you accept, or `all`."),
]
SynapseToken = Annotated[
    str | None,
    typer.Option(help="Token for BTCV. Default: SYNAPSE_AUTH_TOKEN or ~/.synapseConfig."),
]


@app.command(cls=ListCommand)
def prepare(
    out: Annotated[Path, typer.Option(help="Folder for the cases and the manifest.")],
    datasets: Datasets = None,
    raw: Annotated[
        Path,
        typer.Option(
            help="Folder with archives or unpacked datasets. Missing datasets are downloaded to it."
        ),
    ] = Path(),
    label_space: Annotated[
        str | None,
        typer.Option(help="Label space: a name or a TOML file. Default: as in --out, or abdomen5."),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z|native",
            help="Spacing along x, y, z in mm, as in 3,3,3 or 3 3 3; `native` leaves each case on "
            "its own voxels, on which train cannot work. Default: as in --out, or 1.5,1.5,3.",
        ),
    ] = None,
    interpolation: Annotated[
        Interpolation | None,
        typer.Option(
            help="Interpolation of images. Cubic preserves fine detail. Default: as in --out, or "
            "linear."
        ),
    ] = None,
    resample_uneven: Annotated[
        bool | None,
        typer.Option(
            help="Resample DICOM series of two planned slice distances to the finer one, rather "
            "than set them aside. Default: as in --out, or no."
        ),
    ] = None,
    refuse_tilt: Annotated[
        bool | None,
        typer.Option(
            help="Set series of a tilted gantry aside, rather than resample them to right angles. "
            "Default: as in --out, or no."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Take another label space, spacing or interpolation."),
    ] = False,
    jobs: Processes = WORKERS,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Make the cases on the workers of this Dask cluster, which must see the same "
            "folders; `local` starts a cluster on this machine.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of cases of each dataset."),
    ] = None,
    overrides: Annotated[
        Path | None,
        typer.Option(help="TOML file with your decisions on cases: kidney sides, cases to skip."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all existing cases; make damaged ones again.")
    ] = False,
    offline: Offline = False,
    accept_licence: AcceptLicence = None,
    synapse_token: SynapseToken = None,
    fuse_duplicates: Annotated[
        bool,
        typer.Option(
            "--fuse-duplicates",
            help="Combine cases that have the same voxels but annotate different structures.",
        ),
    ] = False,
    precedence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CLASS=]DATASET,...",
            help="Whom --fuse-duplicates believes where annotators of one scan contradict each "
            "other, the most trusted first; for one class, or for all others.",
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="Take these datasets out of the manifest, and delete their cases in --out. "
            "--raw stays as it is.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Show the plan; write nothing.")] = False,
) -> None:
    """Download what is missing, and make harmonised cases and one manifest.

    If it is interrupted (full disk, lost network, ...), run it again: it does only what is left.
    """
    from manifests.ground.workers import share_threads

    share_threads(jobs)  # before numpy is imported
    from curate.cases.overrides import load_overrides
    from curate.cases.precedence import Precedence
    from curate.preparation.output_folder import exclusive
    from curate.preparation.plan import PrepareRequest, check_request, plan
    from curate.preparation.prepare import prepare as run
    from curate.preparation.remove import remove_datasets
    from curate.preparation.settled import settled_repairs, settled_target, spacing_of
    from curate.preparation.tables import plan_view
    from curate.progress import progress_bars
    from curate.recipes.distinctions import explain_joined_classes
    from manifests.ground.errors import MarginaliaError

    if dask:
        raw, out = raw.absolute(), out.absolute()  # workers stand in other folders
    target = settled_target(
        out,
        label_space=label_space,
        spacing_mm=None if spacing is None else spacing_of(spacing),
        interpolation=interpolation,
        force=force,
    )
    repairs = settled_repairs(out, resample_uneven=resample_uneven, refuse_tilt=refuse_tilt)
    target = replace(target, repairs=repairs)
    request = PrepareRequest(
        recipes=_recipes(datasets),
        raw=raw,
        target=target,
        limit=limit,
        verify=verify,
        overrides=load_overrides(overrides) if overrides else {},
        fuse_duplicates=fuse_duplicates,
        precedence=Precedence.from_words(precedence or (), target.label_space.names),
    )
    console = Console()
    if remove and not dry_run:
        _show_report(console, remove_datasets(request, remove))
        if not datasets:
            return
    for recipe in request.recipes:
        for sentence in explain_joined_classes(recipe, target.label_space):
            console.print(f"{recipe.name}: {sentence}", highlight=False, markup=False)
    if dry_run:
        console.print(plan_view(plan(request), raw))
        return
    check_request(request)  # before hours of downloads
    executor = _executor(dask, out)
    options = partial(_options, offline, accept_licence, synapse_token, console)
    with exclusive(out):
        absent = _fetch_missing(request, options, console)
        with progress_bars(console) as notify:
            report = run(request, workers=jobs, executor=executor, notify=notify, absent=absent)
    _show_report(console, report)
    if report.problems:
        raise MarginaliaError("\n".join(report.problems))
    if any(r.finding.code != "skipped" for r in report.rejected):
        raise typer.Exit(SET_ASIDE_EXIT_CODE)


def _show_report(console: Console, report: "Report") -> None:
    from curate.preparation.tables import report_table

    console.print(report_table(report))
    console.print(f"{report.made} cases made; manifest: {report.path}", markup=False)
    if report.remark:
        console.print(report.remark, highlight=False, markup=False)
    if report.rejected:
        rejected = report.path.with_name("rejected.csv")
        console.print(f"{len(report.rejected)} set aside: {rejected}", markup=False)


def _executor(dask: str | None, out: Path) -> "Executor":
    """Return what makes the cases: processes here, or a Dask cluster."""
    from curate.preparation.output_folder import STAGING
    from manifests.ground.dask_cluster import check_cluster
    from manifests.ground.dask_workers import run_on_dask
    from manifests.ground.workers import run_all

    if not dask:
        return run_all
    check_cluster(dask)
    return partial(run_on_dask, address=dask, shared=out / STAGING)


def _recipes(datasets: list[str] | None) -> "tuple[Recipe, ...]":
    from curate.recipes.schema import PAPER, load_recipe
    from manifests.ground.errors import RecipeError

    recipes: dict[str, tuple[str, Recipe]] = {}
    words = [w for given in datasets or PAPER for w in _listed(given)]
    for word in words:
        recipe = load_recipe(word)
        other, known = recipes.setdefault(recipe.name, (word, recipe))
        if known != recipe:
            msg = (
                f"{other} and {word} are two recipes of one name, {recipe.name!r}: their cases "
                f"would share one folder; change `name` in one of them"
            )
            raise RecipeError(msg)
    return tuple(recipe for _, recipe in recipes.values())


def _listed(word: str) -> list[str]:
    """Return the names in a word such as `btcv,kits19`, unless it is a file's name."""
    from manifests.ground.word_lists import split_list

    return [word] if Path(word).exists() else split_list(word)


def _options(
    offline: bool, accept_licence: list[str] | None, synapse_token: str | None, console: Console
) -> "Options":
    from curate.download.transfers import Options

    ask = _accepts if console.is_terminal and sys.stdin.isatty() else None
    accepted = tuple(accept_licence or ())
    return Options(offline=offline, accepted=accepted, ask=ask, synapse_token=synapse_token)


def _fetch_missing(
    request: "PrepareRequest", options: "Callable[[], Options]", console: Console
) -> "dict[str, str]":
    """Download what is not there, and return why some datasets could not be, by name."""
    from curate.download.plan import plan_missing

    sources = plan_missing(request.recipes, request.raw, unpacked=request.unpacked)
    if not any(s.to_fetch for s in sources):
        return {}
    from curate.download.transfers import DownloadError  # slow to import

    try:
        _fetch(sources, request.raw, options(), console)
    except DownloadError as error:
        for name, reason in error.reasons.items():
            console.print(f"{name}: {reason}", highlight=False, markup=False)
        return dict(error.reasons)
    return {}


def _fetch(
    sources: "list[PlannedSource]", raw: Path, options: "Options", console: Console
) -> "list[PlannedSource]":
    """Have the licences accepted, which may ask, before the progress is drawn; then download."""
    from curate.download.licence import require_licences
    from curate.download.transfers import download as run
    from curate.progress import download_bars

    missing = [s for s in sources if s.to_fetch]
    if not missing:
        return []
    if not options.offline:
        require_licences([s.recipe for s in missing], raw, options.accepted, options.ask)
    with download_bars(console, sum(s.to_fetch_bytes or 0 for s in missing)) as on_progress:
        return run(missing, raw, options=options, on_progress=on_progress)


@app.command(cls=ListCommand)
def download(
    datasets: Datasets = None,
    raw: Annotated[
        Path, typer.Option(help="Folder to download to. Each dataset gets its own subfolder.")
    ] = Path(),
    offline: Offline = False,
    dry_run: Annotated[
        bool, typer.Option(help="Show what would be downloaded, and download nothing.")
    ] = False,
    accept_licence: AcceptLicence = None,
    synapse_token: SynapseToken = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of files to download in parallel.")] = 4,
) -> None:
    """Download datasets; if interrupted, run it again to continue."""
    from curate.download.plan import left_to_people, plan_download
    from curate.download.table import download_view, outdated_names

    console, recipes = Console(), _recipes(datasets)
    sources = [s for recipe in recipes for s in plan_download(recipe, raw)]
    by_hand = left_to_people(recipes, raw)
    for line in by_hand:
        console.print(f"not downloaded, {line}", highlight=False, markup=False, soft_wrap=True)
    if outdated := outdated_names(sources):
        console.print(outdated)
    if dry_run:
        console.print(download_view(sources, raw))
        return
    options = _options(offline, accept_licence, synapse_token, console)
    fetched = _fetch(sources, raw, replace(options, jobs=jobs), console)
    count = sum(len(s.to_fetch) for s in fetched)
    everything = "nothing else is missing" if by_hand else "everything is there"
    console.print(f"files fetched: {count}" if count else everything)


@app.command(cls=ListCommand)
def phantom(
    out: Annotated[Path, typer.Option(help="Folder for the archives, the cases and the manifest.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the patients, scans and splits.")] = 0,
    share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Training cases, as a fraction of the paper's.")
    ] = 1 / 6,
    label_space: LabelSpaceName = "abdomen5",
    spacing: SpacingMm = (6.0, 6.0, 6.0),
    jobs: Processes = WORKERS,
) -> None:
    """Make the phantom benchmark: partially labelled training cases, fully labelled test cases."""
    from curate.cases.target import Target
    from curate.phantom.benchmark import make_benchmark
    from curate.progress import progress_bars
    from manifests.classes.label_space import load_label_space
    from manifests.table.sql import select_cases
    from manifests.table.summary import summarise
    from manifests.views.tables import summary_view

    target = Target(load_label_space(label_space), spacing, out)
    console = Console()
    with progress_bars(console) as notify:
        how = {"seed": seed, "share": share, "workers": jobs}
        manifest = make_benchmark(target, notify=notify, **how)
    with select_cases(manifest) as cases:
        console.print(summary_view(summarise(cases), manifest.label_space))


def _accepts(recipe: "Recipe") -> bool:
    from curate.download.licence import terms

    return typer.confirm(f"{recipe.name}: {terms(recipe)}. Do you accept this licence?")
