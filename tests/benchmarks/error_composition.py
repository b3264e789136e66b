"""What a network's errors are made of: organs taken for others, missed, invented.

    python -m tests.benchmarks.error_composition STUDY CASES ../shared/data [--ircad FOLDER]
        [--chaos FOLDER]

STUDY is the folder of `marginalia reproduce`, CASES the manifest of the phantom benchmark. Each run
that has been evaluated is told by its errors in the test cases of the phantom, and in real CTs, on
the network's own grid; runs of one training are added up. Exclusion losses can mend the first kind
of error alone. In the patients of `--ircad` and `--chaos` (see phantom_realism) only the liver is
labelled, and what is found of other organs outside it is left out.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.classes.label_space import LabelSpace
from manifests.table.flat_names import flat_names
from manifests.table.manifest import read_manifest
from manifests.volumes.grid import harmonised_grid
from manifests.volumes.resampling.resampling import resample_image, resample_label
from manifests.volumes.volume import Volume, read_volume
from tests.benchmarks.phantom_realism import SPACE, chaos_patient, ircad_patient
from tests.real.labelled_ct import harmonised_ct
from train.checkpoints.restoration import load_model
from train.model import Model
from train.patches.mapped_case import open_case, read_target
from train.prediction.sliding_window import Predictor, predict_classes
from train.scoring.evaluation import PREDICTIONS
from train.scoring.scores import scores_folder

Ids = NDArray[np.integer]


SpacingMm = tuple[float, float, float]


class Errors(NamedTuple):
    """Voxels by kind, and those of labelled organs that are right."""

    confused: int
    missed: int
    invented: int
    right: int


def add(several: Iterable[Errors]) -> Errors:
    """Return the sums over cases or runs."""
    return Errors(*(sum(kind) for kind in zip(*several, strict=True)))


def count_errors(truth: Ids, found: Ids) -> Errors:
    """Count wrong voxels: one organ for another, organ for background, background for organ."""
    wrong, is_organ, was_found = truth != found, truth > 0, found > 0
    return Errors(
        confused=int((wrong & is_organ & was_found).sum()),
        missed=int((is_organ & ~was_found).sum()),
        invented=int((~is_organ & was_found).sum()),
        right=int((is_organ & ~wrong).sum()),
    )


def of_phantoms(run: Path, cases: Path) -> Errors:
    """Return the errors of a run in the test cases, whose predictions its evaluation keeps."""
    manifest = read_manifest(cases)
    names = flat_names(manifest.case_ids())
    kept = scores_folder(run, "test") / PREDICTIONS
    return add(
        count_errors(
            read_target(open_case(manifest, case)),
            read_volume(kept / f"{names[case.case_id]}.nii.gz").voxels,
        )
        for case in manifest.cases()
        if case.split == "test"
    )


class Patient(NamedTuple):
    """A labelled CT on a network's grid; what is not among `labelled` was not looked for."""

    name: str
    hu: NDArray[np.floating]
    truth: Ids
    labelled: tuple[int, ...]


def patients(
    data: Path, folders: Mapping[str, Path | None], space: LabelSpace, spacing_mm: SpacingMm
) -> Iterator[Patient]:
    """Yield the real CTs, with the ids of a label space."""
    every = tuple(range(1, len(space)))
    for name in ("example_ct", "example_ct_dicom"):
        image, ids = harmonised_ct(data / "totalsegmentator" / name, space, spacing_mm)
        yield Patient(name, image.voxels, ids, every)
    liver = space.class_of["liver"]
    for name, read in (("ircad", ircad_patient), ("chaos", chaos_patient)):
        if (folder := folders.get(name)) is not None:
            image, ids = read(folder)
            grid = harmonised_grid(image.grid, spacing_mm)
            mask = np.where(ids == SPACE.class_of["liver"], liver, 0).astype(np.uint8)
            truth = resample_label(Volume(mask, image.grid), grid).voxels
            yield Patient(name, resample_image(image, grid).voxels, truth, (liver,))


def of_patient(model: Model, patient: Patient) -> Errors:
    """Return a network's errors in a patient: what is found and was not looked for is none."""
    found = predict_classes(Predictor(model, "cpu"), patient.hu)
    counts = np.isin(found, patient.labelled) | (patient.truth > 0)
    return count_errors(patient.truth, np.where(counts, found, 0))


def evaluated_runs(study: Path) -> Iterator[tuple[str, Path]]:
    """Yield the training and the folder of each run that has scores."""
    for about in sorted(study.glob("runs/*/*/run.json")):
        if (about.parent / "evaluation").exists():
            yield json.loads(about.read_text())["training"], about.parent


def as_row(title: str, where: str, errors: Errors) -> str:
    """Return a row of the Markdown table: shares of all wrong voxels, then their number."""
    wrong = max(errors.confused + errors.missed + errors.invented, 1)
    shares = (f"{n / wrong:.1%}" for n in (errors.confused, errors.missed, errors.invented))
    both = 2 * errors.right + errors.missed + errors.invented + 2 * errors.confused
    dice = 2 * errors.right / max(both, 1)
    return f"| {title} | {where} | {' | '.join(shares)} | {wrong:,} | {dice:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ircad", type=Path)
    parser.add_argument("--chaos", type=Path)
    wanted = parser.parse_args()
    folders = {"ircad": wanted.ircad, "chaos": wanted.chaos}
    found: dict[tuple[str, str], list[Errors]] = defaultdict(list)
    real: tuple[Patient, ...] = ()
    for training, run in evaluated_runs(wanted.study):
        model = load_model(run)
        real = real or tuple(patients(wanted.data, folders, model.label_space, model.spacing_mm))
        found[training, "phantom"].append(of_phantoms(run, wanted.cases))
        for patient in real:
            found[training, patient.name].append(of_patient(model, patient))
    head = "| training | where | organ for organ | missed | invented | wrong voxels | Dice |"
    rows = [as_row(*key, add(errors)) for key, errors in found.items()]
    sys.stdout.write("\n".join([head, "|---" * 7 + "|", *rows]) + "\n")


if __name__ == "__main__":
    main()
