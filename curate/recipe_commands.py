"""The commands on recipes: parse, ask, call one function, print."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from curate.folder_survey import Survey
    from curate.label_values import LabelValues
    from curate.value_meanings import Meanings

app = typer.Typer(help="Recipes: what is known of each source dataset.", no_args_is_help=True)

READ = 5  # labels; enough to see the common values, and few enough to wait for


@app.command("list")
def list_recipes() -> None:
    """List the recipes that come with marginalia."""
    from curate.recipe import load_recipe, shipped_recipes
    from curate.tables import recipe_table

    Console().print(recipe_table([load_recipe(name) for name in shipped_recipes()]))


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="Recipe, by name or as a TOML file.")],
    label_space: Annotated[str, typer.Option(help="Label space to read it for.")] = "abdomen5",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set, to try the recipe on.")
    ] = None,
    read: Annotated[
        int, typer.Option(min=1, help="With --data: read so many labels, spread over all.")
    ] = READ,
) -> None:
    """Check a recipe, say which classes its cases would tell apart, and try it on a folder."""
    from curate.recipe import load_recipe
    from manifests.label_space import load_label_space
    from manifests.merged import describe, merged_classes

    loaded, space = load_recipe(recipe), load_label_space(label_space)
    console = Console()
    console.print(f"{loaded.name}: {loaded.title}, version {loaded.version}: well formed")
    console.print(f"in {space.name}: {describe(merged_classes(loaded.blocks, space), space)}")
    if loaded.split_kidneys:
        console.print("the kidneys are split into left and right, case by case")
    if data is not None:
        _try_on(recipe, data, read, console)


def _try_on(recipe: str, data: Path, read: int, console: Console) -> None:
    from curate.recipe import load_recipe
    from curate.recipe_trial import trial_table, trial_words, try_recipe
    from manifests.errors import RecipeError

    trial = try_recipe(load_recipe(recipe), data, most=read)
    for line in trial_words(trial):
        console.print(line, highlight=False, markup=False)
    console.print(trial_table(trial))
    if trial.problems:
        raise RecipeError("\n".join([f"{recipe} does not fit {trial.root}:", *trial.problems]))


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set of your own, unpacked.")],
    name: Annotated[str | None, typer.Option(help="Its name: small letters, digits and _.")] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            help="What a label value or a mask file covers, as in `1=liver` or "
            "`2=left_kidney+right_kidney`; may be given again."
        ),
    ] = None,
    declare: Annotated[
        list[str] | None,
        typer.Option(help="A structure that marginalia does not know; may be given again."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Its licence.")] = "",
    commercial_use: Annotated[
        bool, typer.Option("--commercial-use", help="The licence allows commercial use.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File to write; NAME.toml if left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
    read: Annotated[int, typer.Option(min=1, help="Read so many labels, spread over all.")] = READ,
) -> None:
    """Look at a folder, and write a recipe for it; what cannot be guessed is asked for."""
    from curate.discover import SourceCase
    from curate.folder_survey import survey
    from curate.label_values import read_label_values, some_of
    from curate.recipe_draft import Draft, check_new, write_draft

    console, asking = Console(), sys.stdin.isatty()
    found = survey(folder)
    console.print(f"{folder}: {len(found.cases)} cases, {found.kind}", highlight=False)
    chosen = name or _proposed(folder)
    chosen = typer.prompt("name", default=chosen) if asking and not name else chosen
    path = out or Path(f"{chosen}.toml")
    check_new(path, force=force)  # before the labels are read
    cases = [SourceCase(chosen, *paths, masks=found.masks) for paths in found.cases]
    values = read_label_values(some_of(cases, read))
    for problem in values.problems:
        console.print(problem, highlight=False, markup=False)
    meanings = _meanings(found, values, (value or [], declare or []), asking=asking)
    draft = Draft(chosen, found, values, meanings, licence, commercial_use)
    recipe = write_draft(draft, path, force=force)
    for key, structures in recipe.covered.items():
        console.print(f"  {key} = {' + '.join(structures)}", highlight=False, markup=False)
    console.print(f"written: {path}", highlight=False, markup=False)
    console.print(f"next: marginalia recipe check {path} --data {folder}", highlight=False)


def _proposed(folder: Path) -> str:
    """A name made from the folder's, and not that of a shipped recipe."""
    from curate.recipe import shipped_recipes

    plain = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    good = re.match(r"[a-z]", plain) and plain not in shipped_recipes()
    return plain if good else f"my_{plain}".rstrip("_")


def _meanings(
    found: "Survey", values: "LabelValues", told: tuple[list[str], list[str]], *, asking: bool
) -> "Meanings":
    """What each value covers: as it was told, as its name says, or as the user answers."""
    from curate.value_meanings import (
        all_said,
        called,
        guessed_meanings,
        parse_structures,
        parse_told,
    )

    given, declared = told
    said = parse_told(given, found, declared)
    guessed = guessed_meanings(found, values)
    if not asking or found.masks:
        return all_said(found, values, {**guessed, **said})
    for key in values.volumes_ml:
        if key not in said:
            answer = typer.prompt(
                f"value {key}{called(found, key)}, {values.told(key)}: covers",
                default=" + ".join(guessed.get(key, ())) or None,
                value_proc=lambda text: parse_structures(text, declared),
            )
            said[key] = answer if isinstance(answer, tuple) else parse_structures(answer, declared)
    return said
