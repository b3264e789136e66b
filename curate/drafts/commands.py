"""The commands on recipes: parse, ask, call one function, print."""

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer
from rich.console import Console

from manifests.ground.list_command import ListCommand

if TYPE_CHECKING:
    from curate.drafts.folder_survey import Survey
    from curate.drafts.label_values import LabelValues
    from curate.drafts.value_meanings import Meanings

app = typer.Typer(help="List, check and write recipes for source datasets.", no_args_is_help=True)

# As in curate.recipes.layouts, which imports pydantic: `--help` is to answer at once.
MissingMask = Literal["error", "not_annotated", "absent"]

READ = 5  # labels; enough to see the common values, and few enough to wait for


@app.command("list")
def list_recipes() -> None:
    """List the recipes that come with marginalia."""
    from rich.text import Text

    from curate.recipes.schema import load_recipe, shipped_recipes
    from manifests.views.table_style import BOXED, folded, new_table, right, unbroken

    columns = [*unbroken("recipe"), *right("labelled cases")]
    columns += folded("licence", "structures", "not verified")
    rows = []
    for recipe in map(load_recipe, shipped_recipes()):
        structures = Text("; ".join(" + ".join(names) for names in recipe.wholes))
        doubts = ", ".join(recipe.unverified)
        rows.append((recipe.name, recipe.labelled_cases or "?", recipe.licence, structures, doubts))
    Console().print(new_table("Recipes", columns, rows, look=BOXED))
    _say("not verified: marginalia recipe check NAME says what")


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="Recipe: a name or a TOML file.")],
    label_space: Annotated[str, typer.Option(help="Label space to check it with.")] = "abdomen5",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the dataset, to try the recipe on.")
    ] = None,
    read: Annotated[
        int, typer.Option(min=1, help="With --data: number of label maps to read.")
    ] = READ,
) -> None:
    """Check a recipe, show which classes its cases distinguish, and try it on a folder."""
    from curate.recipes.distinctions import explain_joined_classes
    from curate.recipes.schema import load_recipe
    from manifests.classes.label_space import load_label_space
    from manifests.classes.merged import describe, merged_classes

    loaded, space = load_recipe(recipe), load_label_space(label_space)
    _say(f"{loaded.name}: {loaded.title}, version {loaded.version}: well formed")
    _say(f"in {space.name}: {describe(merged_classes(loaded.blocks, space), space)}")
    for sentence in explain_joined_classes(loaded, space):
        _say(sentence)
    if loaded.split_kidneys:
        _say("the kidneys are split into left and right, case by case")
    for sentence in loaded.doubts:
        _say(sentence)
    if data is None:
        return
    from curate.drafts.trial import trial_table, try_recipe
    from manifests.ground.errors import RecipeError

    trial = try_recipe(loaded, data, most=read)
    for line in trial.summary:
        _say(line)
    Console().print(trial_table(trial))
    if trial.problems:
        raise RecipeError("\n".join([f"{loaded.name} does not fit {trial.root}:", *trial.problems]))


@app.command(cls=ListCommand)
def new(
    folder: Annotated[Path, typer.Argument(help="Folder of your own dataset, unpacked.")],
    name: Annotated[
        str | None, typer.Option(help="Dataset name: letters a-z, digits and _.")
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            help="Structures of a label value or mask file: `1=liver` or "
            "`2=left_kidney+right_kidney`. Repeatable."
        ),
    ] = None,
    declare: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Structures that marginalia does not know."),
    ] = None,
    missing_mask: Annotated[
        MissingMask | None,
        typer.Option(help="What it means that a case lacks a mask file. Default: error."),
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the dataset.")] = "",
    commercial_use: Annotated[
        bool, typer.Option("--commercial-use", help="The licence allows commercial use.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: NAME.toml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    read: Annotated[int, typer.Option(min=1, help="Number of label maps to read.")] = READ,
) -> None:
    """Write a recipe for a folder, and ask for what cannot be found out from its files."""
    from curate.drafts.draft import Draft, check_new, write_draft
    from curate.drafts.exported_folder import is_exported
    from curate.drafts.folder_survey import survey
    from curate.drafts.label_values import read_label_values, spread_sample
    from curate.drafts.value_meanings import unread_masks

    if is_exported(folder):
        given = {"--value": value, "--declare": declare, "--missing-mask": missing_mask}
        given |= {"--licence": licence, "--commercial-use": commercial_use}
        _read_back(folder, out or Path(), name, given, force=force)
        return
    asking, found = is_terminal(), survey(folder)
    _say(f"{folder}: {len(found.cases)} cases, {found.kind}")
    if found.read:
        _say(found.read)
    if found.several:
        _say(found.several)
    _say(found.unused)
    if found.counts:
        counts = ", ".join(f"{key} in {n}" for key, n in found.counts.items())
        _say(f"segments of {len(found.cases)} cases: {counts}")
    chosen = name or _proposed(folder)
    chosen = typer.prompt("name", default=chosen) if asking and not name else chosen
    path = out or Path(f"{chosen}.toml")
    check_new(path, force=force)  # before the labels are read
    values = read_label_values(spread_sample(found.with_masks(), read))
    for problem in values.problems:
        _say(problem)
    meanings = _meanings(found, values, (value or [], declare or []), asking=asking)
    means = _missing_mask(found, meanings, missing_mask, asking=asking)
    draft = Draft(chosen, found, values, meanings, licence, commercial_use, means)
    recipe = write_draft(draft, path, force=force)
    for key, structures in recipe.listed.items():
        _say(f"  {key} = {' + '.join(structures)}")
    if unread := unread_masks(found, meanings):
        _say(unread)
    _say(f"written: {path}")
    _say(f"next: {shlex.join(['marginalia', 'recipe', 'check', str(path), '--data', str(folder)])}")


def _read_back(
    folder: Path, out: Path, name: str | None, given: dict[str, object], *, force: bool
) -> None:
    """Write the recipes of a folder that `export nnunet` wrote, which knows all about itself."""
    from curate.drafts.exported_folder import read_exported, write_recipes
    from manifests.ground.errors import RecipeError

    if known := [option for option, value in given.items() if value]:
        msg = f"{folder} was exported by marginalia, and says this itself: leave out {known[0]}"
        raise RecipeError(msg)
    exported = read_exported(folder)
    paths = write_recipes(exported, folder, out, force=force, name=name)
    _say(f"{folder}: {len(exported.cases)} cases that marginalia exported")
    for path in paths:
        _say(f"written: {path}")
    space, raw = exported.label_space.name, shlex.quote(str(folder))
    listed = shlex.join(map(str, paths))
    _say(f"next: marginalia prepare {listed} --raw {raw} --out OUT --label-space {space}")
    _say("      marginalia split OUT --official")


def _say(text: str) -> None:
    """Print a line that can be copied, whatever a file is called that it names."""
    from manifests.views.table_style import plain

    Console().print(plain(text), soft_wrap=True)


def is_terminal() -> bool:
    """Return whether a person is there to answer."""
    return sys.stdin.isatty()


def _proposed(folder: Path) -> str:
    """Return a name made from the folder's, and not that of a shipped recipe."""
    from curate.recipes.schema import shipped_recipes

    plain = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    good = re.match(r"[a-z]", plain) and plain not in shipped_recipes()
    return plain if good else f"my_{plain}".rstrip("_")


def _meanings(
    found: "Survey", values: "LabelValues", told: tuple[list[str], list[str]], *, asking: bool
) -> "Meanings":
    """Return what each value covers: as given, as its name says, or as the user answers."""
    from curate.drafts import value_meanings as meanings

    given, declared = told
    said, guessed = meanings.parse_values(given, found, declared), meanings.guess_meanings(found)
    if not asking or found.masks:
        return meanings.require_meanings(found, values, {**guessed, **said})
    for key in (v for v in meanings.values_found(found, values) if v not in said):
        said[key] = typer.prompt(
            f"value {key}{meanings.name_in_index(found, key)}, {values.describe(key)}: covers",
            default=" + ".join(guessed.get(key, ())) or None,
            value_proc=lambda text: _answer(text, declared),
        )
    return meanings.require_meanings(found, values, said)


def _missing_mask(
    found: "Survey", meanings: "Meanings", given: MissingMask | None, *, asking: bool
) -> MissingMask | None:
    """Return what a missing mask means, if a case lacks one: as given, or as the user answers."""
    from curate.datasets.discover import missing_masks

    counts = missing_masks(found.cases, [m for m in found.masks if m in meanings])
    if not counts:
        return given
    lacking = ", ".join(f"{name} in {n}" for name, n in sorted(counts.items()))
    _say(f"masks that some of {len(found.cases)} cases lack: {lacking}")
    if given is None and not asking:
        _say("say with --missing-mask what that means: prepare sets these cases aside otherwise")
    if given is None and asking:
        words = " | ".join(get_args(MissingMask))
        return typer.prompt(
            f"a missing mask means ({words})", default="not_annotated", value_proc=_one_of
        )
    return given or "error"


def _one_of(text: str) -> str:
    if text not in get_args(MissingMask):
        msg = f"expected one of {', '.join(get_args(MissingMask))}, got {text!r}"
        raise typer.BadParameter(msg)  # asks again
    return text


def _answer(text: str, declared: list[str]) -> tuple[str, ...]:
    from curate.drafts.value_meanings import parse_structures
    from manifests.ground.errors import RecipeError

    try:
        return parse_structures(text, declared)
    except RecipeError as error:
        raise typer.BadParameter(str(error)) from error  # asks again
