"""The commands of `export` that have to do with networks."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command("trainer-path")
def trainer_path() -> None:
    """Print the folder of nnUNetTrainerMarginal, for nnU-Net's variable nnUNet_extTrainer."""
    typer.echo(str(Path(__file__).with_name("external").resolve()))


@app.command("nnunet-model")
def nnunet_model(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or a checkpoint.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="New folder: $nnUNet_results/DatasetNNN_Name.")
    ],
) -> None:
    """Write a network in the form of nnU-Net, so that nnUNetv2_predict runs it."""
    from train.console import say
    from train.nnunet.model_folder import export_model

    folder = export_model(run, out)
    say(f"written: {folder}")
    say(f"next: nnUNetv2_predict_from_modelfolder -i SCANS -o OUT -m {folder} -f 0 --disable_tta")
    say("      for scans that are stored in LPS order, as the prepared cases are: nnU-Net does not")
    say("      turn others, and would take left for right or front for back in them")
