"""The training loop, in the order of time: plan, stage 1, stage 2; train, validate, log, save."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn, optim

from manifests.atomic import write_text
from manifests.errors import TrainingError
from manifests.manifest import Manifest
from train.batches import BatchSource, batch_source, read_batches
from train.checkpoint import (
    Header,
    checkpoint_path,
    load_checkpoint,
    restore_network,
    restore_optimiser,
    save_checkpoint,
)
from train.device import pick_device
from train.events import EpochDone, Event, Started, StepDone
from train.foreground_index import find_candidates
from train.log import EpochRecord, open_log
from train.model import Model
from train.network import build_network, for_device
from train.objective import batch_loss
from train.optimiser import build_optimiser, set_learning_rate
from train.plan import TrainingPlan, plan_training
from train.sampler import Batch, Candidate, plan_epoch
from train.schedule import learning_rate, stage_of
from train.settings import TrainSettings
from train.validation import Cell, mean_score, validate
from train.volumes import Volume, open_volume

SETTINGS = "settings.json"


@dataclass(frozen=True)
class TrainingResult:
    """What a call of `train` did.

    Attributes:
        run: The run's folder.
        epochs: Epochs of the run by now.
        epochs_before: Epochs that it had already; equal to `epochs` if there was nothing to do.
        best_score: Best mean validation Dice, if there was a validation.
    """

    run: Path
    epochs: int
    epochs_before: int
    best_score: float | None


@dataclass(frozen=True)
class _Session:
    """What stays the same from epoch to epoch, or changes in place."""

    plan: TrainingPlan
    candidates: tuple[Candidate, ...]
    source: BatchSource
    validation: tuple[Volume, ...]
    network: nn.Module
    optimiser: optim.Optimizer
    device: torch.device
    report: Callable[[Event], None]


def train(
    manifest: Manifest,
    run: Path,
    settings: TrainSettings,
    *,
    on_event: Callable[[Event], None] = lambda _: None,
) -> TrainingResult:
    """Train a network on a manifest; the same call again goes on where it was stopped.

    Args:
        manifest: Says who labelled what.
        run: Folder for checkpoints, logs and settings.
        settings: All else that decides the training.
        on_event: Called with what happens, as it happens.

    Raises:
        TrainingError: The manifest cannot be trained on as asked, `run` holds another training, or
            the loss is not finite.
        CheckpointError: The checkpoint to go on from is damaged.

    Source: section 4.4.
    """
    plan = plan_training(manifest, settings)
    training = tuple(open_volume(manifest, case) for case in plan.training)
    validation = tuple(open_volume(manifest, case) for case in plan.validation)
    device = pick_device(settings.device)
    network = for_device(
        build_network(plan.network, len(plan.label_space), seed=settings.seed), device
    )
    optimiser = build_optimiser(network, settings)
    header = _resume(plan, run, network, optimiser)
    before = header.epochs
    on_event(Started(plan, before, device))
    if before < settings.epochs:
        candidates = find_candidates(training, manifest.folder, workers=settings.workers)
        source = batch_source(training, plan, device)
        session = _Session(
            plan, candidates, source, validation, network, optimiser, device, on_event
        )
        _save_settings(run, header)
        with (
            open_log(run, before) as write,
            torch.backends.cudnn.flags(enabled=True, benchmark=True),
        ):
            while header.epochs < settings.epochs:
                started = perf_counter()
                rate = learning_rate(settings, header.losses, (plan.steps(1), plan.steps(2)))
                header = _train_epoch(session, header, rate)
                cells = _validate(session, header)
                header, improved = _judge(header, mean_score(cells))
                record = EpochRecord(
                    epoch=header.epochs,
                    stage=stage_of(header.epochs - 1, settings),
                    step=header.step,
                    learning_rate=rate,
                    loss=header.losses[-1],
                    validation_dice=mean_score(cells),
                    seconds=perf_counter() - started,
                )
                write(record, cells)
                # the last one last: stopped in between, the run does this epoch again, and alike
                if improved:
                    save_checkpoint(checkpoint_path(run, "best"), header, network, None)
                save_checkpoint(checkpoint_path(run, "last"), header, network, optimiser)
                on_event(EpochDone(record, improved))
    return TrainingResult(run, header.epochs, before, header.best_score)


def _resume(
    plan: TrainingPlan, run: Path, network: nn.Module, optimiser: optim.Optimizer
) -> Header:
    """The header to go on from: that of the last checkpoint, or that of a new run."""
    path = checkpoint_path(run, "last")
    header = Header(
        label_space=plan.label_space,
        settings=plan.settings,
        normalisation=plan.normalisation,
        spacing_mm=plan.spacing_mm,
        manifest_sha256=plan.manifest_sha256,
        losses=(),
        step=0,
        best_score=None,
    )
    if not path.exists():
        return header
    checkpoint = load_checkpoint(path)
    _require_same(checkpoint.header, header, run)
    restore_network(checkpoint, network)
    restore_optimiser(checkpoint, optimiser, network)
    return checkpoint.header


def _require_same(found: Header, asked: Header, run: Path) -> None:
    """Refuse to go on with another training than the one that was begun."""
    old, new = found.settings.model_dump(), asked.settings.model_dump()
    differences = [f"{k}: was {old[k]}, is {new[k]}" for k in new if old[k] != new[k]]
    if found.manifest_sha256 != asked.manifest_sha256:
        differences.append("the manifest's cases, splits, labels or merged classes")
    if differences:
        msg = (
            f"{run} holds another training, which cannot be gone on with; it differs in "
            f"{'; '.join(differences)}; repeat its command as it was, or choose another folder"
        )
        raise TrainingError(msg)


def _train_epoch(session: _Session, header: Header, rate: float) -> Header:
    """Learn from every batch of the next epoch."""
    settings = session.plan.settings
    set_learning_rate(session.optimiser, rate)
    session.network.train()
    # all chance of an epoch follows from the seed and its number: there is no state to be saved
    generator = np.random.default_rng([settings.seed, header.epochs])
    plan = plan_epoch(_candidates_of_epoch(session, header.epochs), settings, generator)
    losses: list[float] = []
    for batch in read_batches(session.source, plan):
        losses.append(_step(session, batch))
        epoch = header.epochs + 1
        if not math.isfinite(losses[-1]):
            msg = (
                f"epoch {epoch}, step {len(losses)}: the loss is {losses[-1]} on patches of "
                f"{', '.join(batch.case_ids)} at learning rate {rate:.3g}; start again in another "
                f"folder with a lower learning_rate or a gradient_norm"
            )
            raise TrainingError(msg)
        session.report(StepDone(epoch, len(losses), len(plan), losses[-1]))
    update = {"losses": (*header.losses, float(np.mean(losses))), "step": header.step + len(plan)}
    return header.model_copy(update=update)


def _step(session: _Session, batch: Batch) -> float:
    """Learn from one batch; weights are left alone if its loss is not finite."""
    settings, device = session.plan.settings, session.device
    with torch.autocast(device.type, torch.bfloat16, enabled=_is_bfloat16(settings, device)):
        logits = session.network(batch.images)
    loss = batch_loss(logits, batch, settings)
    value = loss.item()
    if math.isfinite(value):
        session.optimiser.zero_grad()
        loss.backward()
        if settings.gradient_norm is not None:
            nn.utils.clip_grad_norm_(session.network.parameters(), settings.gradient_norm)
        session.optimiser.step()
    return value


def _validate(session: _Session, header: Header) -> dict[Cell, float]:
    """Validate after every so many epochs and after the last one."""
    settings, plan = session.plan.settings, session.plan
    if header.epochs % settings.validation_every and header.epochs != settings.epochs:
        return {}
    model = Model(
        session.network,
        plan.label_space,
        plan.normalisation,
        plan.spacing_mm,
        settings.patch_size_zyx,
    )
    return validate(model, session.validation, device=session.device, overlap=settings.overlap)


def _judge(header: Header, score: float | None) -> tuple[Header, bool]:
    """Whether this epoch is the best so far; while there is no score, the latest is the best."""
    if score is None:
        return header, header.best_score is None
    if header.best_score is not None and score <= header.best_score:
        return header, False
    return header.model_copy(update={"best_score": score}), True


def _candidates_of_epoch(session: _Session, epoch: int) -> Sequence[Candidate]:
    stage = stage_of(epoch, session.plan.settings)
    chosen = {case.case_id for case in session.plan.cases(stage)}
    return [c for c in session.candidates if c.case_id in chosen]


def _is_bfloat16(settings: TrainSettings, device: torch.device) -> bool:
    return settings.precision == "bfloat16" and device.type == "cuda"


def _save_settings(run: Path, header: Header) -> None:
    kept = {"settings", "manifest_sha256", "versions", "spacing_mm", "normalisation"}
    write_text(run / SETTINGS, json.dumps(header.model_dump(include=kept), indent=2) + "\n")
