"""The training loop, in the order of time: plan, stage 1, stage 2; train, validate, log, save."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.checkpoints.checkpoint import (
    CheckpointHeader,
    checkpoint_path,
    save_checkpoint,
)
from train.device import full_float32, timed_convolutions
from train.patches.foreground_index import find_candidates
from train.patches.mapped_case import MappedCase, open_case
from train.patches.sampler import Candidate, PatchPlan, plan_epoch
from train.planning.plan import TrainingPlan, plan_training
from train.planning.schedule import (
    Stages,
    exclusion_share,
    extend_first_stage,
    learning_rate,
)
from train.settings import TrainSettings
from train.training.batches import BatchSource, batch_source, read_batches
from train.training.events import EpochDone, Event, Remark, Started, StepDone, Stopped
from train.training.first_stage import ends_first_stage, keep_first_stage
from train.training.learner import Learner, build_learner, learn
from train.training.log import EpochRecord, Tell, Write, open_log, read_log
from train.training.origin import find_origin, planned_from, set_out, write_origin
from train.training.outcome import outcome_remarks
from train.training.preemption import preemption
from train.training.processes import Processes, any_process, shard_batch, start_processes
from train.training.run_folder import mend_log, only_training, tell_people
from train.training.start import Start, write_settings
from train.training.validation import Validation, mean_score, validate


@dataclass(frozen=True)
class TrainingResult:
    """What a call of `train` did.

    Attributes:
        epochs: Whole epochs of the run; `epochs_before` are those before this call.
        best_score: Best mean validation Dice, if there was a validation.
        preempted: Whether a signal ended it early; the same call resumes at the next batch.
        remarks: What a user should know of a whole run: what was not learnt, and what to try.
    """

    run: Path
    epochs: int
    epochs_before: int
    best_score: float | None
    preempted: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Session:
    """What is the same in every epoch, or changes in place."""

    plan: TrainingPlan
    run: Path
    candidates: tuple[Candidate, ...]
    source: BatchSource
    validation: tuple[MappedCase, ...]
    learner: Learner
    preempted: Callable[[], bool]
    report: Callable[[Event], None]


def train(
    manifest: Manifest,
    run: Path,
    settings: TrainSettings,
    *,
    processes: Processes = Processes(),  # noqa: B008
    start: Start = Start(),  # noqa: B008
    on_event: Callable[[Event], None] = lambda _: None,
) -> TrainingResult:
    """Train a network on a manifest; the same call again resumes where it was stopped.

    Args:
        manifest: The cases.
        run: Folder for checkpoints, logs and settings.
        settings: Everything else that decides the training.
        processes: How many train together; each of them makes this call.
        start: What a new run begins with; an earlier call's run is resumed.
        on_event: Called with each event, in the first process.

    Raises:
        TrainingError: The settings do not fit the manifest, `run` holds another training, or the
            loss is not finite.
        CheckpointError: The checkpoint to resume from is damaged, or one cannot be written.
        InUseError: Another training is at work in `run`.
        KeyboardInterrupt: Ctrl-C was pressed; the run was saved first, unless it was pressed twice.

    Source: section 4.4.
    """
    plan = plan_training(manifest, settings)
    settings = plan.settings
    # before its checkpoint is read, which the other training might write
    with only_training(run):
        origin = find_origin(run, start)
        plan = planned_from(origin, plan)
        completed = settings.completed_weight > 0
        training = tuple(open_case(manifest, c, completed=completed) for c in plan.training)
        validation = tuple(open_case(manifest, case) for case in plan.validation)
        learner = build_learner(plan, start_processes(settings, processes))
        header, taken = set_out(origin, plan, learner, force=start.force)
        before, first = header.epochs, learner.fabric.is_global_zero
        report = on_event if first else lambda _: None
        with preemption(quiet=not first) as preempted:
            report(Started(plan, before, learner.fabric.device, taken))
            if first:
                write_origin(run, origin, plan, header, taken=taken, tell=_teller(report))
                mend_log(run, plan, header, _teller(report))
            if before < _stages(header).epochs:
                session = _Session(
                    plan=plan,
                    run=run,
                    candidates=find_candidates(training, manifest.folder, workers=settings.workers),
                    source=batch_source(training, plan, learner.fabric.device),
                    validation=validation,
                    learner=learner,
                    preempted=preempted,
                    report=report,
                )
                if first:
                    write_settings(run, header, start)
                header = _epochs(session, header)
                if first and header.epochs == _stages(header).epochs:
                    tell_people(run, _teller(report))
    whole = header.epochs == _stages(header).epochs
    remarks = outcome_remarks(plan, header, read_log(run)) if whole and first else ()
    return TrainingResult(run, header.epochs, before, header.best_score, not whole, remarks)


def _epochs(session: _Session, header: CheckpointHeader) -> CheckpointHeader:
    """Train until the last epoch is done or a signal comes."""
    with (
        _log(session, header) as write,
        timed_convolutions(),
        full_float32(session.plan.settings.precision),
    ):
        while header.epochs < _stages(header).epochs:
            header, whole = _epoch(session, header, write)
            if not whole:
                break
    return header


def _epoch(
    session: _Session, header: CheckpointHeader, write: Write
) -> tuple[CheckpointHeader, bool]:
    """Train, validate, log and save one epoch; return whether it was completed, too."""
    started = perf_counter()
    settings, learner, run = session.plan.settings, session.learner, session.run
    stages, steps = _stages(header), (session.plan.steps(1), session.plan.steps(2))
    rate = learning_rate(settings, stages, header.losses, steps)
    plan = _plan_epoch(session, header)
    before = len(header.batch_losses)
    if not before:
        learner.objective.start_epoch(learner.predicting)
    losses = _train_batches(session, header, plan, rate)
    trained = perf_counter() - started
    if len(losses) < len(plan):
        header = header.model_copy(update={"batch_losses": tuple(losses)})
        if learner.fabric.is_global_zero:
            _save_last(session, header)
        learner.fabric.barrier()
        session.report(Stopped(header.epochs, len(losses)))
        return header, False
    loss, *terms = np.mean(losses, axis=0).tolist()
    done = {"losses": (*header.losses, loss), "batch_losses": (), "step": header.step + len(plan)}
    header = header.model_copy(update=done)
    validation = _validate(session, header)
    cells, score, best = validation.cells, mean_score(validation.cells), header.best_score
    # while there is no score, the latest epoch is the best
    improved = best is None or (score is not None and score > best)
    added = extend_first_stage(stages, settings, header.epochs, cells).added
    changes = {"added_epochs": added, "best_score": score if improved else best}
    header = header.model_copy(update=changes)
    record = EpochRecord(
        epoch=header.epochs,
        stage=stages.of_epoch(header.epochs - 1),
        step=header.step,
        learning_rate=rate,
        loss=loss,
        terms=dict(zip(learner.objective.terms, terms, strict=True)),
        validation_dice=score,
        seconds=perf_counter() - started,
        patches_per_second=sum(map(len, plan[before:])) / trained,
    )
    if learner.fabric.is_global_zero:
        write(record, validation)
        # the last checkpoint last: a run that is stopped before it repeats this epoch
        if improved:
            best, learnt = checkpoint_path(run, "best"), session.plan.learnt
            save_checkpoint(best, header, learner.predicting, None, learnt=learnt)
        if ends_first_stage(header):
            keep_first_stage(run, header, learner, session.plan)
        _save_last(session, header)
    learner.fabric.barrier()
    session.report(EpochDone(record, cells, improved))
    return header, True


def _plan_epoch(session: _Session, header: CheckpointHeader) -> list[tuple[PatchPlan, ...]]:
    """Return all batches of the next epoch, the same in every process and in every attempt."""
    settings = session.plan.settings
    chosen = {c.case_id for c in session.plan.cases(_stages(header).of_epoch(header.epochs))}
    candidates = [c for c in session.candidates if c.case_id in chosen]
    # the seed and the epoch's number decide all draws, so that no generator has to be saved
    return plan_epoch(candidates, settings, np.random.default_rng([settings.seed, header.epochs]))


def _train_batches(
    session: _Session, header: CheckpointHeader, plan: Sequence[Sequence[PatchPlan]], rate: float
) -> list[tuple[float, ...]]:
    """Learn from the remaining batches of an epoch, or until a signal comes.

    Returns:
        Loss and terms of each batch of the epoch so far.
    """
    settings, learner = session.plan.settings, session.learner
    for group in learner.optimiser.param_groups:
        group["lr"] = rate
    share = exclusion_share(settings, _stages(header), header.epochs)
    learner.objective.exclusion_share = share
    learner.wrapped.train()
    losses = list(header.batch_losses)
    rest = [shard_batch(batch, learner.fabric) for batch in plan[len(losses) :]]
    batches = read_batches(session.source, [patches for patches, _ in rest])
    for batch, (_, part) in zip(batches, rest, strict=True):
        losses.append(learn(learner, batch, settings, share_of_batch=part))
        loss, *terms = losses[-1]
        where = header.epochs + 1, len(losses)
        if not math.isfinite(loss):
            msg = (
                f"epoch {where[0]}, step {where[1]}: the loss is {loss} on patches of "
                f"{', '.join(batch.case_ids)} at learning rate {rate:.3g}; start again in another "
                f"folder with a lower learning_rate or a gradient_norm"
            )
            raise TrainingError(msg)
        by_name = dict(zip(learner.objective.terms, terms, strict=True))
        session.report(StepDone(*where, len(plan), _stages(header).epochs, loss, by_name))
        if any_process(learner.fabric, session.preempted()):
            break
    return losses


def _validate(session: _Session, header: CheckpointHeader) -> Validation:
    """Validate every few epochs, after the last one, and where the first stage may end."""
    settings, learner, stages = header.settings, session.learner, _stages(header)
    asked = settings.first_stage_dice > 0 and header.epochs == stages.first
    last = header.epochs == stages.epochs
    if header.epochs % settings.validation_every and not (asked or last):
        return Validation({}, {})
    model = header.model(learner.predicting)
    return validate(model, session.validation, learner.fabric, overlap=settings.overlap)


def _stages(header: CheckpointHeader) -> Stages:
    return Stages.of(header.settings, header.added_epochs)


def _log(session: _Session, header: CheckpointHeader) -> AbstractContextManager[Write]:
    """Open the run's log, which only the first process writes."""
    if session.learner.fabric.is_global_zero:
        return open_log(session.run, header.epochs, tell=_teller(session.report))
    return nullcontext(lambda _record, _validation: None)


def _teller(report: Callable[[Event], None]) -> Tell:
    return lambda words: report(Remark(words))


def _save_last(session: _Session, header: CheckpointHeader) -> None:
    learner, path = session.learner, checkpoint_path(session.run, "last")
    average = learner.average.module if learner.average else None
    more = {"average": average, "objective": learner.objective, "learnt": session.plan.learnt}
    save_checkpoint(path, header, learner.network, learner.optimiser, **more)
