"""Completed labels of a training: who made them, and what that network had learnt from."""

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from pathlib import PurePosixPath

from manifests.ground.errors import CheckpointError, ManifestError, TrainingError
from manifests.table.case import Case
from manifests.table.case_rows import CaseRows
from manifests.table.manifest import Manifest
from train.learnt import Learnt, Part
from train.planning.licences import allows
from train.settings import TrainSettings

FOLDER = "completed"  # beside the manifest
SUFFIX = ".learnt.json"


def learnt_of(
    manifest: Manifest,
    settings: TrainSettings,
    training: CaseRows,
    validation: CaseRows,
) -> tuple[Learnt, tuple[str, ...]]:
    """Return what a network will have learnt from, and remarks on labels that a model completed.

    What a model that completed labels learnt from, the network learns from by way of them.

    Raises:
        TrainingError: A model's list of cases is not there, or is damaged.
    """
    completed = settings.completed_weight > 0
    filled = tuple(training.where(training.coded("completed").where(bool)))
    by_name = {c.completed_by: c for c in filled} if completed else {}
    known = [_read(manifest, case) for _, case in sorted(by_name.items())]
    parts: dict[Part, Sequence[Case]] = {"train": training, "validation": validation}
    learnt = reduce(Learnt.after, known, Learnt.of(manifest, parts, completed=completed))
    trained = {c.case_id for each in known for c in each.cases if c.part == "train"}
    leaked = [c.case_id for c in validation if c.case_id in trained] if trained else []
    remarks = _remarks(settings, learnt, filled)
    if leaked:
        remarks.append(
            f"{len(leaked)} of {len(validation)} validation cases were training cases of the model "
            f"that completed labels, so that their Dice is too good: {', '.join(leaked[:3])}"
        )
    known_terms, wanted = learnt.datasets, settings.licence
    barred = [name for name in learnt.licences() if not allows(name, known_terms, wanted)]
    if known and barred:
        remarks.append(
            f"the model that completed labels learnt from cases that the licence {wanted} leaves "
            f"out ({', '.join(barred)}); to train without its labels: --set pseudo_weight=0"
        )
    return learnt, tuple(remarks)


def _read(manifest: Manifest, case: Case) -> Learnt:
    """Read what the network learnt from that completed a case."""
    name, parts = case.completed_by, PurePosixPath(case.completed or "").parts
    try:
        # beside the folder of the network's labels, wherever the manifest is
        place = PurePosixPath(*parts[: parts.index(name or "")], f"{name}{SUFFIX}")
        path = manifest.path(str(place))
        return Learnt.from_json(path.read_bytes(), f"{path}, its list of cases,")
    except (ValueError, OSError, ManifestError, CheckpointError) as error:
        msg = (
            f"case {case.case_id}: it is not known what the network {name} learnt from, which "
            f"completed its label: {error}; complete the case again, or train without what "
            f"networks labelled: --set pseudo_weight=0"
        )
        raise TrainingError(msg) from error


def _remarks(settings: TrainSettings, learnt: Learnt, cases: Sequence[Case]) -> list[str]:
    if not cases:
        return []
    what = f"{len(cases)} training cases have labels that a model completed"
    if not settings.completed_weight:
        why = f"method {settings.method}, pseudo_weight {settings.pseudo_weight:g}"
        return [f"{what}, which are not used: {why}"]
    ids = {c.case_id for c in cases}
    counts = Counter(name for c in learnt.cases if c.case_id in ids for name in c.by_model)
    classes = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
    return [f"{what}, with the weight {settings.pseudo_weight:g}: {classes}"]
