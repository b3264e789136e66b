"""Complete: every case of a manifest gets a second label, of a network and its annotator."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from manifests.classes.completion import finer_classes, origins_of
from manifests.classes.label_space import IGNORED
from manifests.classes.merged import annotated_classes
from manifests.ground.atomic import write_text
from manifests.ground.content_hash import sha256_of
from manifests.ground.errors import TrainingError
from manifests.table.case import COMPLETION, Case
from manifests.table.manifest import Manifest, set_columns
from manifests.table.row_groups import rewrite
from manifests.table.validate import unsound_rows
from manifests.volumes.grid import Grid
from train.boxes import triple
from train.completion.label import completed_label
from train.learnt import Learnt
from train.model import Model
from train.patches.mapped_case import open_case, read_target
from train.planning.completed import FOLDER, SUFFIX
from train.prediction.label_map_file import note_of, write_label_map
from train.prediction.scan import reason_of
from train.prediction.sliding_window import Predictor, predict_classes
from train.prediction.stamp import Stamp
from train.scoring.evaluate import require_same_classes, require_same_spacing
from train.seen import seen_in_training

LEAST = 0.9  # probability of a class that a network is believed
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class CompletionPlan:
    """What is to be completed, and with what.

    Attributes:
        cases: Those that may gain a class.
        known: Class ids that the network learnt to find.
        least: Probability of a class from which the network is believed.
        stamp: Of the network and how it is used.
        remarks: What the user should know.
    """

    manifest: Manifest
    cases: tuple[Case, ...]
    known: frozenset[int]
    least: float
    stamp: Stamp
    remarks: tuple[str, ...] = ()

    def gains(self) -> dict[str, int]:
        """Return how many cases may gain each foreground class."""
        counts = Counter(n for case in self.cases for n in _open_classes(case, self.known))
        return {name: counts[n] for n, name in enumerate(self.manifest.label_space.names) if n}


@dataclass(frozen=True)
class CompletedCase:
    """What became of one case.

    Attributes:
        outcome: Written now; there already, of the same network; without any class that the
            network is sure of; or failed.
        voxels: Those of each class that the network told apart, by name.
        columns: The new values of its row.
        reason: Why it failed.
    """

    case: Case
    outcome: Literal["completed", "skipped", "unchanged", "failed"]
    voxels: Mapping[str, int]
    columns: Mapping[str, Any]
    reason: str = ""
    seconds: float = 0.0


def plan_completion(
    predictor: Predictor, manifest: Manifest, chosen: Collection[str], *, least: float = LEAST
) -> CompletionPlan:
    """Decide which of the chosen cases a network is to complete.

    Cases of the splits `test` and `validation` are left out: nothing is trained on them.

    Raises:
        TrainingError: The network has other classes than the manifest, or no case can gain one.
    """
    model = predictor.model
    require_same_classes(model, manifest)
    known = known_classes(model)
    cases = [case for case in manifest.cases() if case.case_id in chosen]
    trainable = [case for case in cases if not _is_held_out(case)]
    gaining = tuple(case for case in trainable if _open_classes(case, known))
    if not gaining:
        msg = (
            f"nothing to complete: of {len(cases)} chosen cases, {len(cases) - len(trainable)} are "
            f"held out for validation or test, and the others label every class that the network "
            f"learnt ({', '.join(manifest.label_space.names[n] for n in sorted(known)) or 'none'})"
        )
        raise TrainingError(msg)
    stamp = Stamp.of(model, overlap=predictor.overlap, least=least)
    remarks = tuple(_remarks(model, manifest, len(cases), len(trainable), len(gaining)))
    return CompletionPlan(
        manifest=manifest, cases=gaining, known=known, least=least, stamp=stamp, remarks=remarks
    )


def known_classes(model: Model) -> frozenset[int]:
    """Return the class ids that some training case of a network told apart; all if it is silent."""
    names = model.label_space.names
    cases = [case for network in model.networks for case in network.learnt.cases]
    found = {
        name for case in cases if case.part == "train" for name in (*case.annotated, *case.by_model)
    }
    return frozenset(n for n, name in enumerate(names) if n and (name in found or not cases))


def complete_cases(plan: CompletionPlan, predictor: Predictor) -> Iterator[CompletedCase]:
    """Write the completed label of each case; one that fails does not stop the others.

    The files are below `completed/NAME/`, at the path of the annotator's label, in a folder for
    what was completed there. NAME is that of the network and its use; `completed/NAME.json` says
    what it is. A label that is there already is not made again, and none is replaced by another.
    """
    folder, name = plan.manifest.folder / FOLDER, plan.stamp.text
    plan.stamp.write(folder)
    first, *others = (network.learnt for network in predictor.model.networks)
    write_text(folder / f"{name}{SUFFIX}", reduce(Learnt.after, others, first).model_dump_json())
    unsound = unsound_rows(plan.manifest)

    def step(case: Case) -> CompletedCase:
        if case.case_id in unsound:
            return CompletedCase(case, "failed", {}, {}, unsound[case.case_id])
        start = time.perf_counter()
        try:
            return replace(_complete(case, plan, predictor), seconds=time.perf_counter() - start)
        # one bad case must not end the run for the others; its reason is in the report
        except Exception as error:
            return CompletedCase(case, "failed", {}, {}, reason_of(error))

    return map(step, plan.cases)


def write_completed(
    plan: CompletionPlan, results: Collection[CompletedCase], source: Path, out: Path
) -> None:
    """Write a manifest with the completed labels beside the annotator's.

    A case that gained nothing keeps what it had.

    Raises:
        ManifestError: See `rewrite`.
    """
    table = plan.manifest.table.select(["case_id", *COMPLETION])
    changed = {result.case.case_id: result.columns for result in results}
    rows = [row | changed.get(row["case_id"], {}) for row in table.to_pylist()]
    table = set_columns(table, {name: [row[name] for row in rows] for name in COMPLETION})
    settings = plan.stamp.settings
    record = {
        "least": plan.least,
        "overlap": settings["overlap"],
        "weights_sha256": settings["weights_sha256"],
        "others": [other["weights_sha256"] for other in settings.get("ensemble", ())],
    }
    earlier = plan.manifest.settings.get("completions", {})
    completions = {**earlier, plan.stamp.text: record}
    rewrite(source, plan.manifest.with_table(table, completions=completions), out)


def _complete(case: Case, plan: CompletionPlan, predictor: Predictor) -> CompletedCase:
    manifest, names = plan.manifest, plan.manifest.label_space.names
    require_same_spacing(predictor.model, case)
    made_from = f"{case.image_sha256}{case.label_sha256}{case.merged}"
    key, label = sha256(made_from.encode()).hexdigest()[:16], PurePosixPath(case.label)
    # a folder for each: an edited manifest's case has the same files, and another completed label
    relative = f"{FOLDER}/{plan.stamp.text}/{label.parent / key / label.name}"
    path, note = manifest.path(relative), f"{plan.stamp.text} {key}"
    there = path.is_file() and note_of(path) == note
    if not there:
        volume = open_case(manifest, case)
        predicted = predict_classes(predictor, volume.image, least=plan.least)
        label, _ = completed_label(read_target(volume), case.merged, predicted, plan.known)
        grid = Grid(triple(case.size), triple(case.spacing_mm), triple(case.origin_mm))
        write_label_map(grid.image(label), path, note=note)
    # the file says all of it, whether it was made now or by a run that was interrupted
    read = open_case(
        manifest, replace(case, completed=relative, completed_merged=case.merged), completed=True
    )
    ids = np.zeros(0, np.uint8) if read.completion is None else read.completion.file.map().numpy()
    voxels = np.bincount(ids.ravel(), minlength=IGNORED + 1)
    finer = finer_classes(case.merged, np.flatnonzero(voxels).tolist(), plan.known)
    if finer == case.merged:
        return CompletedCase(case, "unchanged", {}, {})
    origin = origins_of(case.merged, finer)
    columns = (relative, sha256_of(path), finer, plan.stamp.text, origin)
    found = {names[n]: int(voxels[n]) for n, o in enumerate(origin) if n and o == "model"}
    outcome = "skipped" if there else "completed"
    return CompletedCase(case, outcome, found, dict(zip(COMPLETION, columns, strict=True)))


def _is_held_out(case: Case) -> bool:
    return case.split == "test" or (case.split == "validation" and case.fold is None)


def _open_classes(case: Case, known: Collection[int]) -> list[int]:
    """Return the classes that a network knows and the annotator did not tell apart."""
    return sorted(set(known) - set(annotated_classes(case.merged)))


def _remarks(
    model: Model, manifest: Manifest, cases: int, trainable: int, gaining: int
) -> Iterator[str]:
    if held_out := cases - trainable:
        yield f"{held_out} chosen cases are held out for validation or test, and stay as they are"
    if whole := trainable - gaining:
        yield f"{whole} chosen cases label every class that the network learnt"
    learnt = [network.learnt for network in model.networks]
    if not any(each.cases for each in learnt):
        yield "the network does not say which cases it was trained on: nothing can be checked"
    test = {case.case_id: case.fingerprint for case in manifest.cases() if case.split == "test"}
    ids = {c.case_id for each in learnt for c in each.cases if c.part == "train"}
    if leaked := sorted((test.keys() & ids) | seen_in_training(learnt, test).keys()):
        yield (
            f"the network was trained on {len(leaked)} of {len(test)} test cases "
            f"({', '.join(leaked[:_NAMED])}): what it knows of them is in the labels that it "
            f"writes, so that `evaluate` will leave them out of the means of a network that is "
            f"trained with these"
        )
