"""An organ added to a trained network, from data that label only that organ: what the others lose.

A network of four organs is trained on phantom datasets of which none labels the spleen. It then
goes on with `--init` in a label space with the spleen: on the same data and a dataset that labels
the spleen alone, or (`--alone`) on that dataset only. Both are scored on the test cases.

Usage: python -m tests.benchmarks.added_organ FOLDER [--epochs 4] [--rate 0.003] [--seed 0]
       [--alone] [--optimiser adam]
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from curate.cases.target import Target
from curate.phantom.archives import write_phantom_archives
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.recipes.schema import load_recipe
from manifests.changes.edits import edit
from manifests.classes.label_space import LabelSpace, load_label_space
from manifests.table.manifest import Manifest
from train.checkpoints.restoration import load_model
from train.scoring.evaluate import EvaluationRequest, collect_scores, evaluate_cases
from train.settings import resolve
from train.training.loop import train
from train.training.start import Start

ADDED, ITS_DATASET = "spleen", "msd_spleen"
OTHERS = ("btcv", "kits19", "msd_liver", "msd_pancreas")
SPACING_MM = (6.0, 6.0, 6.0)  # as in `marginalia demo`
FIRST = ["stage_epochs=15,3", "patches_per_dataset=24", "validation_every=9"]


@dataclass(frozen=True)
class Scored:
    """Mean Dice of each class over the test cases that label it."""

    dice: dict[str, float]


def prepared(folder: Path, raw: Path, space: LabelSpace, names: tuple[str, ...]) -> Manifest:
    recipes = tuple(map(load_recipe, names))
    request = PrepareRequest(recipes, raw, Target(space, SPACING_MM, folder))
    return prepare(request, workers=1).manifest


def scored(run: Path, manifest: Manifest) -> Scored:
    results = evaluate_cases(load_model(run), manifest, EvaluationRequest())
    scores = collect_scores(results, {"nsd_tolerance_mm": 3.0}).scores
    found: dict[str, list[float]] = {}
    for score in scores:
        if not math.isnan(score.dice):  # absent from both
            found.setdefault(score.class_name, []).append(score.dice)
    return Scored({name: fmean(values) for name, values in found.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--optimiser", default="adam")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    five = load_label_space("abdomen5")
    kept = tuple(c for c in five.classes if c.name != ADDED)
    four = five.model_copy(update={"name": "four", "classes": kept})
    raw, seed = asked.folder / "raw", f"seed={asked.seed}"
    if not raw.exists():
        write_phantom_archives(raw, seed=asked.seed)
    before = prepared(asked.folder / "four", raw, LabelSpace(**four.model_dump()), OTHERS)
    after = prepared(asked.folder / "five", raw, five, (*OTHERS, ITS_DATASET))
    base = asked.folder / "base"
    train(before, base, resolve("tiny", [*FIRST, seed]))
    kind = "alone" if asked.alone else "union"
    run = asked.folder / f"{kind}-{asked.optimiser}-{asked.epochs}-{asked.rate:g}"
    known = edit(after, drop=[ADDED], where="dataset = 'btcv'")  # as it was labelled before
    changes = [
        f"datasets={ITS_DATASET if asked.alone else ','.join((*OTHERS, ITS_DATASET))}",
        f"optimiser={asked.optimiser}",
        f"stage_epochs=0,{asked.epochs}",
        "patches_per_dataset=24",
        f"learning_rate={asked.rate}",
        seed,
    ]
    train(known, run, resolve("tiny", changes), start=Start(init=base))
    old, new = scored(base, before).dice, scored(run, after).dice
    for name in new:
        change = f"{new[name] - old[name]:+.3f}" if name in old else "added"
        sys.stdout.write(f"{name:14} {old.get(name, float('nan')):.3f} {new[name]:.3f} {change}\n")


if __name__ == "__main__":
    main()
