"""The commands on label spaces: parse, call one function, print."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from manifests.ground.list_command import ListCommand

app = typer.Typer(help="List, show, check and write label spaces.", no_args_is_help=True)

SpaceName = Annotated[str, typer.Argument(help="Label space: a name or a TOML file.")]


@app.command("list")
def list_spaces() -> None:
    """List the label spaces that come with marginalia."""
    from rich.console import Console

    from manifests.classes.label_space import load_label_space, shipped_label_spaces
    from manifests.spaces.view import spaces_table

    Console().print(spaces_table(map(load_label_space, shipped_label_spaces())))


@app.command()
def show(space: SpaceName) -> None:
    """Show the classes of a label space: ids, structures, codes, colours and mirror images."""
    from rich.console import Console

    from manifests.classes.label_space import load_label_space
    from manifests.spaces.view import space_table

    Console().print(space_table(load_label_space(space)))


@app.command()
def check(space: SpaceName) -> None:
    """Check a label space, and say what is allowed in it but seldom meant."""
    from manifests.classes.label_space import load_label_space
    from manifests.spaces.draft import remarks_on

    loaded = load_label_space(space)
    typer.echo(f"{loaded.name}: {len(loaded) - 1} classes: well formed")
    for remark in remarks_on(loaded):
        typer.echo(f"note: {remark}")


@app.command()
def colours(
    space: SpaceName,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the files.")],
) -> None:
    """Write the names and colours of a label space for 3D Slicer, ITK-SNAP, NiiVue and BIDS."""
    from manifests.classes.colour_tables import write_colour_tables
    from manifests.classes.label_space import load_label_space

    loaded = load_label_space(space)
    for path in write_colour_tables(loaded, out, loaded.name):
        typer.echo(path)


@app.command(cls=ListCommand)
def new(
    name: Annotated[str, typer.Argument(help="Its name: letters a-z, digits and _.")],
    classes: Annotated[
        list[str],
        typer.Option(
            "--class",
            metavar="NAME,...",
            help="Classes, in the order of their ids: `liver,spleen`, or with their structures, "
            "`kidneys=left_kidney+right_kidney`. A tumour is in its organ's class unless it has "
            "its own.",
        ),
    ],
    declare: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Structures that marginalia does not know."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: NAME.toml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a label space for your own classes."""
    from manifests.spaces.draft import parse_classes, write_space

    path, declared = out or Path(f"{name}.toml"), declare or []
    drafted = parse_classes(classes, declared)
    space = write_space(name, drafted, declared, path, force=force)
    for number, c in enumerate(space.classes, start=1):
        typer.echo(f"  {number} {c.name} = {' + '.join(c.structures)}")
    typer.echo(f"written: {path}")
    typed = shlex.quote(str(path))
    typer.echo(f"next: marginalia prepare RECIPE --raw FOLDER --label-space {typed} --out prepared")
