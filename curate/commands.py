"""The commands of curate: parse, call one function, print."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from curate.recipe import Recipe

app = typer.Typer()

SET_ASIDE_EXIT_CODE = 3


@app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="Folder for the cases and the manifest.")],
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="Recipes, by name or as TOML files; all that are shipped if left out."),
    ] = None,
    raw: Annotated[
        Path, typer.Option(help="Folder that holds the archives or the unpacked datasets.")
    ] = Path(),
    label_space: Annotated[
        str, typer.Option(help="Label space, by name or as a TOML file.")
    ] = "abdomen5",
    spacing: Annotated[
        tuple[float, float, float], typer.Option(help="Spacing along x, y, z in mm.")
    ] = (1.5, 1.5, 3.0),
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of processes; one per core if left out.")
    ] = os.cpu_count() or 1,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many cases of each dataset."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Show what would be done; write nothing.")] = False,
) -> None:
    """Turn archives into harmonised cases and one manifest; run again to do what is missing."""
    from curate.harmonise import Target
    from curate.prepare import Request, plan
    from curate.prepare import prepare as run
    from curate.progress import shown
    from curate.recipe import load_recipe, shipped_recipes
    from curate.tables import plan_table, report_table
    from manifests.label_space import load_label_space

    recipes = tuple(load_recipe(d) for d in datasets or shipped_recipes())
    target = Target(load_label_space(label_space), spacing, out)
    request = Request(recipes, raw, target, limit)
    console = Console()
    if dry_run:
        console.print(plan_table(plan(request)))
        return
    with shown(console) as notify:
        report = run(request, workers=jobs, notify=notify)
    console.print(report_table(report))
    console.print(f"{report.made} cases made; manifest: {report.path}")
    if report.remark:
        console.print(report.remark, highlight=False, markup=False)
    if report.rejected:
        console.print(f"{len(report.rejected)} set aside: {report.path.with_name('rejected.csv')}")
        raise typer.Exit(SET_ASIDE_EXIT_CODE)


@app.command()
def download(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="Recipes, by name or as TOML files; all that are shipped if left out."),
    ] = None,
    raw: Annotated[
        Path, typer.Option(help="Folder to download to; each dataset into a folder of its name.")
    ] = Path(),
    offline: Annotated[
        bool, typer.Option(help="Fetch nothing; fail if something is missing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Show what would be fetched; fetch nothing.")
    ] = False,
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(help="A dataset whose licence you accept, or `all`; may be given again."),
    ] = None,
    synapse_token: Annotated[
        str | None,
        typer.Option(help="For BTCV, if neither SYNAPSE_AUTH_TOKEN nor ~/.synapseConfig has it."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="So many files at a time.")] = 4,
) -> None:
    """Download datasets; run again to go on where it stopped."""
    from curate.download import Options
    from curate.download import download as run
    from curate.download_plan import plan_download
    from curate.download_table import download_view, outdated_names
    from curate.licence import settle_licences
    from curate.progress import shown_bytes
    from curate.recipe import load_recipe, shipped_recipes

    console = Console()
    recipes = [load_recipe(d) for d in datasets or shipped_recipes()]
    sources = [s for recipe in recipes for s in plan_download(recipe, raw)]
    if outdated := outdated_names(sources):
        console.print(outdated)
    if dry_run:
        console.print(download_view(sources, raw))
        return
    accepted = tuple(accept_licence or ())
    if not offline:  # asked before the progress is drawn
        ask = _accepts if console.is_terminal and sys.stdin.isatty() else None
        settle_licences([s.recipe for s in sources if s.to_fetch], raw, accepted, ask)
    options = Options(offline=offline, synapse_token=synapse_token, jobs=jobs)
    with shown_bytes(console, sum(s.to_fetch_bytes or 0 for s in sources)) as watch:
        fetched = run(sources, raw, options=options, watch=watch)
    count = sum(len(s.to_fetch) for s in fetched)
    console.print(f"files fetched: {count}" if count else "everything is there")


def _accepts(recipe: "Recipe") -> bool:
    from curate.licence import terms

    return typer.confirm(f"{recipe.name}: {terms(recipe)}. Do you accept this licence?")


recipe_app = typer.Typer(
    help="Recipes: what is known of each source dataset.", no_args_is_help=True
)
app.add_typer(recipe_app, name="recipe")


@recipe_app.command("list")
def list_recipes() -> None:
    """List the recipes that come with marginalia."""
    from curate.recipe import load_recipe, shipped_recipes
    from curate.tables import recipe_table

    Console().print(recipe_table([load_recipe(name) for name in shipped_recipes()]))


@recipe_app.command("check")
def check_recipe(
    recipe: Annotated[str, typer.Argument(help="Recipe, by name or as a TOML file.")],
    label_space: Annotated[str, typer.Option(help="Label space to read it for.")] = "abdomen5",
) -> None:
    """Check a recipe, and say which classes its cases would tell apart."""
    from curate.recipe import load_recipe
    from manifests.label_space import load_label_space
    from manifests.merged import describe, merged_classes

    loaded, space = load_recipe(recipe), load_label_space(label_space)
    console = Console()
    console.print(f"{loaded.name}: {loaded.title}, version {loaded.version}: well formed")
    console.print(f"in {space.name}: {describe(merged_classes(loaded.blocks, space), space)}")
    if loaded.split_kidneys:
        console.print("the kidneys are split into left and right, case by case")
