"""First stage: where a training stood when it ended, which other trainings can go on from.

In the first stage a network sees fully labelled cases only, for which all choices of marginal and
exclusion losses are the same. So trainings that differ in these alone share it, step for step.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from manifests.ground.errors import CheckpointError, TrainingError
from manifests.table.case import Case
from train.checkpoints.checkpoint import (
    AVERAGE,
    BEST,
    NETWORK,
    Checkpoint,
    CheckpointHeader,
    FirstStage,
    checkpoint_path,
    load_checkpoint,
    read_header,
    save_tensors,
    tensors_of,
)
from train.learnt import Learnt
from train.methods.objective import REGULAR_WEIGHT
from train.planning.plan import TrainingPlan
from train.planning.schedule import Stages
from train.settings import EXECUTION_SETTINGS
from train.training.learner import Learner
from train.training.log import Tell, copy_log
from train.training.resume import restore_learner

# What these choose is told by the cases themselves, or is of partially labelled cases alone.
_OF_CASES = frozenset({"datasets", "licence", "fold", "memory_gib", "fit_patch"})
_OF_PARTIAL = frozenset({"method", "exclusion_weight", "exclusion_ramp", "epsilon"})
# Other methods may learn otherwise from full labels, too.
_SHARING = frozenset({"marginal", "regular"})
# These choose the best weights and the end of the stage, and change no step.
_OF_JUDGEMENT = frozenset({"validation_every", "overlap", "first_stage_dice"})
_NOT_COMPARED = EXECUTION_SETTINGS | _OF_CASES | _OF_PARTIAL | _OF_JUDGEMENT


def describe_first_stage(plan: TrainingPlan) -> FirstStage:
    """Return what decides a first stage beside the settings."""
    first, second = plan.settings.stage_epochs
    return FirstStage(
        cases_sha256=_digest(plan.cases(1)),
        validation_sha256=_digest(plan.validation),
        batches=first * plan.steps(1) + second * plan.steps(2),
    )


def ends_first_stage(header: CheckpointHeader) -> bool:
    """Return whether a training stands between its two stages."""
    stages = Stages.of(header.settings, header.added_epochs)
    return bool(stages.first and stages.second) and header.epochs == stages.first + stages.added


def keep_first_stage(
    run: Path, header: CheckpointHeader, learner: Learner, plan: TrainingPlan
) -> None:
    """Save where a training stands between its two stages, and the best weights until then.

    Raises:
        CheckpointError: It cannot be written.
    """
    tensors = tensors_of(
        learner.network,
        learner.optimiser,
        average=learner.average.module if learner.average else None,
        objective=learner.objective,
    )
    best = load_checkpoint(checkpoint_path(run, "best"))
    if best.header.epochs < header.epochs:
        tensors |= {BEST + name: tensor for name, tensor in _weights(best, NETWORK).items()}
    path = checkpoint_path(run, "first_stage")
    save_tensors(path, _described(header, plan), tensors, learnt=_learnt_so_far(plan))


def load_first_stage(run: Path) -> Checkpoint:
    """Return where a run stood at the end of its first stage.

    Raises:
        CheckpointError: It has not come so far, keeps none, or the file is damaged.
    """
    path = checkpoint_path(run, "first_stage")
    if not path.is_file():
        msg = (
            f"{run} has no {path.relative_to(run)}: it is written at the end of a first stage, "
            f"unless the run took that from another run; name a run that has one"
        )
        raise CheckpointError(msg)
    return load_checkpoint(path)


def take_first_stage(
    source: Checkpoint, asked: CheckpointHeader, learner: Learner, plan: TrainingPlan
) -> CheckpointHeader:
    """Copy what a first stage came to into a new learner; return the header to go on with.

    Raises:
        TrainingError: The training's own first stage would be another.
        CheckpointError: The checkpoint does not fit.
    """
    found, asked = source.header, _described(asked, plan)
    if differences := list(_differences(found, asked)):
        msg = (
            f"{source.path.parents[1]} had another first stage, which this training cannot go on "
            f"from; it differs in {'; '.join(differences)}; leave out --first-stage-of, or repeat "
            f"what is not about partially labelled cases as it was"
        )
        raise TrainingError(msg)
    restore_learner(source, learner)
    done = {key: getattr(found, key) for key in ("losses", "step", "added_epochs")}
    if _is_judged_alike(found, asked):
        done["best_score"] = found.best_score
    return asked.model_copy(update={**done, "first_stage": None})


def write_first_stage(
    source: Checkpoint, header: CheckpointHeader, plan: TrainingPlan, run: Path, *, tell: Tell
) -> None:
    """Give a run the log of the first stage that it took, and its best weights if it has a score.

    It has one where its own validation would have been the same. Else its best weights are those
    of the second stage.

    Raises:
        CheckpointError: They cannot be written.
    """
    copy_log(source.path.parents[1], run, header.epochs, tell=tell)
    if header.best_score is None:
        return
    best = _weights(source, BEST) or _weights(source, AVERAGE) or _weights(source, NETWORK)
    tensors = {NETWORK + name: tensor for name, tensor in best.items()}
    save_tensors(checkpoint_path(run, "best"), header, tensors, learnt=plan.learnt)


def find_first_stage(
    runs: Iterable[Path], asked: CheckpointHeader, plan: TrainingPlan
) -> Path | None:
    """Return a run with the very first stage that a training would have, best weights included.

    A training that goes on from it comes to the same as one that does all by itself. Runs without
    one, and files that cannot be read, are passed over.
    """
    asked = _described(asked, plan)
    for run in runs:
        path = checkpoint_path(run, "first_stage")
        if not path.is_file():
            continue
        try:
            found = read_header(path)
        except CheckpointError:
            continue
        if not any(_differences(found, asked)) and _is_judged_alike(found, asked):
            return run
    return None


def _described(header: CheckpointHeader, plan: TrainingPlan) -> CheckpointHeader:
    return header.model_copy(update={"first_stage": describe_first_stage(plan)})


def _differences(found: CheckpointHeader, asked: CheckpointHeader) -> Iterable[str]:
    """Say in what the steps of two first stages differ."""
    others = {header.settings.method for header in (found, asked)} - _SHARING
    if others:
        yield f"the method: {', '.join(others)} shares no first stage"
        return
    was, now = (_compared(header) for header in (found, asked))
    yield from (f"{key}: was {was[key]}, is {now[key]}" for key in now if was[key] != now[key])
    if found.label_space != asked.label_space:
        yield "the label space"
    elif _of(found).cases_sha256 != _of(asked).cases_sha256:
        yield "the fully labelled cases, or their labels"
    if found.init != asked.init:
        yield "the weights that it began with (--init)"


def _is_judged_alike(found: CheckpointHeader, asked: CheckpointHeader) -> bool:
    """Whether the same cases and voxel intensities chose the best weights, in the same epochs."""
    same = all(getattr(found.settings, k) == getattr(asked.settings, k) for k in _OF_JUDGEMENT)
    same &= _of(found).validation_sha256 == _of(asked).validation_sha256
    same &= found.versions == asked.versions
    return same and found.normalisation == asked.normalisation


def _compared(header: CheckpointHeader) -> dict[str, Any]:
    """Return the settings that decide the steps of a first stage."""
    settings = header.settings
    compared = {k: v for k, v in settings.model_dump().items() if k not in _NOT_COMPARED}
    compared["stage_epochs"] = settings.stage_epochs[0]
    if settings.schedule == "poly":  # whose rates fall over the batches of both stages
        compared["batches of both stages"] = _of(header).batches
    # a full label merges and excludes nothing
    compared["marginal_weight"] = settings.marginal_weight or REGULAR_WEIGHT
    compared["terms"] = sorted(term for term in settings.terms if term.startswith("marginal"))
    return compared


def _of(header: CheckpointHeader) -> FirstStage:
    return header.first_stage or FirstStage(cases_sha256="", validation_sha256="", batches=0)


def _weights(checkpoint: Checkpoint, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }


def _learnt_so_far(plan: TrainingPlan) -> Learnt:
    """Return what the weights learnt from, without the cases of the second stage."""
    later = {c.case_id for c in plan.training} - {c.case_id for c in plan.cases(1)}
    cases = tuple(c for c in plan.learnt.cases if c.case_id not in later)
    return plan.learnt.model_copy(update={"cases": cases})


def _digest(cases: Sequence[Case]) -> str:
    rows = [(c.case_id, c.dataset, c.merged, c.image_sha256, c.label_sha256) for c in cases]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
