"""Start of a training: from new weights, from another run's, or where an earlier call stopped."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from manifests.ground.atomic import write_text
from manifests.ground.errors import TrainingError
from train.checkpoints.checkpoint import Checkpoint, CheckpointHeader, saving
from train.checkpoints.nnunet_weights import SCHEME, load_nnunet
from train.checkpoints.restoration import load_run
from train.checkpoints.run_settings import SETTINGS
from train.checkpoints.transfer import Transfer, transfer_weights
from train.planning.plan import TrainingPlan
from train.training.learner import Learner

INIT = "init.json"


@dataclass(frozen=True)
class Start:
    """How a training starts.

    Attributes:
        force: Resume a run although the manifest is another.
        init: A run, or a checkpoint file, whose weights a new run begins with; or, as
            `nnunet:FOLDER` or `nnunet:FOLDER:FOLD`, what nnU-Net trained.
        first_stage_of: A run whose first stage a new run goes on from, in place of its own.
        manifest: The manifest's file, which the run keeps for its evaluation.
    """

    force: bool = False
    init: Path | None = None
    first_stage_of: Path | None = None
    manifest: Path | None = None


def load_init(start: Start) -> Checkpoint | None:
    """Return the checkpoint to begin with, if one is asked for.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    if start.init and str(start.init).startswith(SCHEME):
        return load_nnunet(str(start.init))
    return load_run(start.init) if start.init else None


def with_scale_of(plan: TrainingPlan, earlier: CheckpointHeader | None) -> TrainingPlan:
    """Return a plan whose images are scaled as those that earlier weights were learnt from.

    Raises:
        TrainingError: The cases have another spacing than those.
    """
    if earlier is None:
        return plan
    if not np.allclose(plan.spacing_mm, earlier.spacing_mm, rtol=1e-3, atol=0):
        ours, theirs = (
            ",".join(f"{mm:g}" for mm in spacing)
            for spacing in (plan.spacing_mm, earlier.spacing_mm)
        )
        msg = (
            f"the cases have a spacing of {ours} mm, and the weights to begin with were learnt "
            f"at {theirs} mm; prepare the cases into another folder with --spacing {theirs}"
        )
        raise TrainingError(msg)
    return replace(plan, normalisation=earlier.normalisation)


def begin_with(checkpoint: Checkpoint, plan: TrainingPlan, learner: Learner) -> Transfer:
    """Copy another run's weights into a new learner.

    Raises:
        TrainingError: Nothing fits, or nnU-Net's biases have no place.
    """
    if checkpoint.header.settings.upsampling_bias and not plan.network.upsampling_bias:
        msg = (
            f"{checkpoint.path}: its transposed convolutions have biases, without which it "
            f"predicts otherwise: expected --set upsampling_bias=true"
        )
        raise TrainingError(msg)
    arguments = (plan.network, plan.label_space)
    if learner.average:
        transfer_weights(checkpoint, learner.average.module, *arguments)
    return transfer_weights(checkpoint, learner.network, *arguments)


def write_settings(run: Path, header: CheckpointHeader, start: Start) -> None:
    """Write the settings of a run, and where its manifest lies, for people and `evaluate`."""
    kept = {"settings", "manifest_sha256", "versions", "spacing_mm", "normalisation", "init"}
    manifest = str(start.manifest.resolve()) if start.manifest else None
    facts = {"manifest": manifest, **header.model_dump(include=kept)}
    _write(run / SETTINGS, facts)


def write_transfer(run: Path, checkpoint: Checkpoint, transfer: Transfer) -> None:
    """Write what a run took from a checkpoint."""
    facts = {"from": str(checkpoint.path), "sha256": checkpoint.sha256, **asdict(transfer)}
    _write(run / INIT, facts)


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    with saving(path):
        write_text(path, json.dumps(facts, indent=2) + "\n")
