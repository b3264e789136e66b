"""Commands of the rooms, in the order of use."""

import typer

from train.comparison import commands as comparison
from train.completion import commands as completion
from train.experiments import commands as experiments
from train.prediction import commands as prediction
from train.provenance import commands as provenance
from train.scoring import commands as scoring
from train.training import commands as training

app = typer.Typer()
for room in (training, completion, prediction, scoring, comparison, provenance, experiments):
    app.add_typer(room.app)
