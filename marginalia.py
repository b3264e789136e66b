"""The front door: mounts the commands of the three packages."""

import sys

import typer
from rich.console import Console

import manifests.commands
from manifests.errors import MarginaliaError

app = typer.Typer(
    help="One segmentation network from CT datasets that are labelled in part.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
for package in (manifests,):
    app.add_typer(package.commands.app)


def main() -> None:
    """Run a command; an error that a user can act on is a message, not a traceback."""
    try:
        app()
    except MarginaliaError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False, markup=True)
        sys.exit(1)
