"""Curves of a training, as a PNG file."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manifests.ground.atomic import whole_file
from train.training.log import DICE, read_log

CURVES = "curves.png"


def write_curves(run: Path) -> Path:
    """Draw the loss and the validation Dice of a run's log; return the path of the picture."""
    log = read_log(run)
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_loss(left, log)
    _draw_dice(right, log)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        _mark_second_stage(axes, log)
    path = run / CURVES
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def _draw_loss(axes: Axes, log: pd.DataFrame) -> None:
    axes.plot(log["epoch"], log["loss"], color="black", label="loss")
    axes.set_ylabel("loss")
    rate = axes.twinx()
    rate.plot(log["epoch"], log["learning_rate"], color="grey", linestyle=":")
    rate.set_ylabel("learning rate", color="grey")


def _draw_dice(axes: Axes, log: pd.DataFrame) -> None:
    scored = log[log["validation_dice"].notna()]
    for column in sorted(c for c in log.columns if c.startswith(DICE)):
        axes.plot(scored["epoch"], scored[column], linewidth=1, label=column.removeprefix(DICE))
    axes.plot(scored["epoch"], scored["validation_dice"], color="black", linewidth=2, label="mean")
    axes.set_ylim(0, 1)
    axes.set_ylabel("validation Dice")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _mark_second_stage(axes: Axes, log: pd.DataFrame) -> None:
    """Draw a line where the second stage starts."""
    second = log.loc[log["stage"] == 2, "epoch"]
    if 0 < len(second) < len(log):
        axes.axvline(second.iloc[0] - 0.5, color="grey", linestyle="--", linewidth=1)
