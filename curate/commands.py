"""The commands of curate: parse, call one function, print."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
    if report.rejected:
        console.print(f"{len(report.rejected)} set aside: {report.path.with_name('rejected.csv')}")
        raise typer.Exit(SET_ASIDE_EXIT_CODE)


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
