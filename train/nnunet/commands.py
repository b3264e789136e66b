"""The commands of `export` that have to do with networks."""

from pathlib import Path

import typer

app = typer.Typer()


@app.command("trainer-path")
def trainer_path() -> None:
    """Print the folder of nnUNetTrainerMarginal, for nnU-Net's variable nnUNet_extTrainer."""
    typer.echo(str(Path(__file__).with_name("external").resolve()))
