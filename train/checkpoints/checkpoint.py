"""Checkpoints: one safetensors file each, which can hold numbers and text but no code.

Tensors are named `network/...`, `average/...` (the weights' moving average, if there is one),
`optimiser/<parameter>/<what>` and `objective/...` (the method's own parameters, if it has any);
`learnt` is a JSON text of the cases that it was trained and validated on, with their fingerprints.
At the end of the first stage `best/...` are the best weights until then, if they are others.
Everything else is one JSON text in the file's metadata. A digest over both detects damage.
"""

import hashlib
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn, optim

from manifests.classes.label_space import LabelSpace
from manifests.ground.atomic import whole_file
from manifests.ground.errors import CheckpointError, explain
from manifests.table.manifest import FILE_NAME
from manifests.volumes.resampling.separable import Interpolation
from train.learnt import Learnt
from train.model import Model, Normalisation
from train.networks.network import NetworkSettings
from train.settings import TrainSettings

FORMAT = "marginalia checkpoint 1"
FOLDER = "checkpoints"
SUFFIX = ".safetensors"
NETWORK, AVERAGE, OPTIMISER, OBJECTIVE = "network/", "average/", "optimiser/", "objective/"
BEST = "best/"
LEARNT = "learnt"
Which = Literal["best", "last", "first_stage"]

_Millimetres = Annotated[float, Field(gt=0)]


class FirstStage(BaseModel):
    """What decides a first stage beside the settings.

    Attributes:
        cases_sha256: Digest of the fully labelled training cases.
        validation_sha256: Digest of the validation cases.
        batches: Planned for both stages.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cases_sha256: str
    validation_sha256: str
    batches: int


class CheckpointHeader(BaseModel):
    """Everything in a checkpoint that is not a tensor.

    Attributes:
        spacing_mm: Spacing along x, y, z.
        interpolation: How images were resampled; early checkpoints do not say it.
        manifest_sha256: Digest of what the training used of its manifest.
        losses: Mean loss of each whole epoch so far.
        step: Batches of those epochs.
        best_score: Best mean validation Dice so far, if there was a validation.
        added_epochs: Epochs by which the first stage was extended.
        batch_losses: Loss and terms of each batch of an epoch that a signal ended early.
        init: SHA-256 of the checkpoint whose weights the training began with; empty for new ones.
        first_stage: Of a checkpoint from the end of the first stage: what decided that.
        versions: Version of each package that decides the numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label_space: LabelSpace
    settings: TrainSettings
    normalisation: Normalisation
    spacing_mm: tuple[_Millimetres, _Millimetres, _Millimetres]
    interpolation: Interpolation = "linear"
    manifest_sha256: str
    losses: tuple[float, ...]
    step: int
    best_score: float | None
    added_epochs: Annotated[int, Field(ge=0)] = 0
    batch_losses: tuple[tuple[float, ...], ...] = ()
    init: str = ""
    first_stage: FirstStage | None = None
    versions: dict[str, str] = Field(
        default_factory=lambda: {p: version(p) for p in ("marginalia", "torch")}
    )

    @model_validator(mode="after")
    def _check(self) -> "CheckpointHeader":
        scale = self.normalisation
        if not (scale.std_hu > 0 and all(map(math.isfinite, astuple(scale)))):
            msg = f"expected finite numbers and a std_hu above 0, got {scale}"
            raise ValueError(msg)
        return self

    @property
    def epochs(self) -> int:
        """Return the number of whole epochs so far."""
        return len(self.losses)

    @property
    def network(self) -> NetworkSettings:
        """Return the settings of the network."""
        return NetworkSettings.of(self.settings, self.spacing_mm)

    def model(self, network: nn.Module) -> Model:
        """Return a network with the rest of what prediction needs."""
        mirrors = self.settings.augmentation.mirror_zyx
        return Model(
            network,
            self.label_space,
            self.normalisation,
            self.spacing_mm,
            self.settings.patch_size_zyx,
            mirrored_axes=tuple(axis for axis, share in enumerate(mirrors) if share),
            precision=self.settings.precision,
            interpolation=self.interpolation,
            fold=self.settings.fold,
        )


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds, and the digest of both."""

    path: Path
    header: CheckpointHeader
    tensors: dict[str, Tensor]
    sha256: str = ""

    @property
    def learnt(self) -> Learnt:
        """Return the cases of the training; none if the checkpoint is older than their list.

        Raises:
            CheckpointError: The list is damaged.
        """
        return Learnt.from_tensor(self.tensors[LEARNT]) if LEARNT in self.tensors else Learnt()


def checkpoint_path(run: Path, which: Which) -> Path:
    """Return where a run keeps its best or its last checkpoint."""
    return run / FOLDER / f"{which}{SUFFIX}"


def save_checkpoint(
    path: Path,
    header: CheckpointHeader,
    network: nn.Module,
    optimiser: optim.Optimizer | None,
    *,
    average: nn.Module | None = None,
    objective: nn.Module | None = None,
    learnt: Learnt | None = None,
) -> None:
    """Write a checkpoint as a whole file; without the optimiser, training cannot resume from it.

    Raises:
        CheckpointError: It cannot be written.
    """
    tensors = tensors_of(network, optimiser, average=average, objective=objective)
    save_tensors(path, header, tensors, learnt=learnt)


def tensors_of(
    network: nn.Module,
    optimiser: optim.Optimizer | None,
    *,
    average: nn.Module | None = None,
    objective: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Return what a checkpoint holds of a training, by the names that it has there."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in ((NETWORK, network), (AVERAGE, average), (OBJECTIVE, objective)):
        if module:
            tensors |= {prefix + n: p for n, p in module.named_parameters()}
    for name, parameter in network.named_parameters():
        state = optimiser.state.get(parameter, {}) if optimiser else {}
        for what, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{OPTIMISER}{name}/{what}"] = value
    return tensors


def save_tensors(
    path: Path,
    header: CheckpointHeader,
    tensors: Mapping[str, Tensor],
    *,
    learnt: Learnt | None = None,
) -> None:
    """Write a checkpoint of tensors that bear their names there, as a whole file.

    Raises:
        CheckpointError: It cannot be written.
    """
    held = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    if learnt:
        held[LEARNT] = learnt.to_tensor()
    text = header.model_dump_json()
    metadata = {"format": FORMAT, "header": text, "sha256": _digest(text, held)}
    with saving(path), whole_file(path) as temporary:
        save_file(held, temporary, metadata)


@contextmanager
def saving(path: Path) -> Generator[None]:
    """Say how to go on if a file of a run cannot be written.

    Raises:
        CheckpointError: The disk is full, or the place cannot be written to.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        msg = (
            f"{path} cannot be written: {error}; what the run saved before is kept: make room, or "
            f"make its folder writable, and repeat the command to resume from the last checkpoint"
        )
        raise CheckpointError(msg) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        CheckpointError: The file is missing, damaged, or no checkpoint of this format.
    """
    if not path.is_file():
        msg = f"no checkpoint at {path}: train first, or name a run's folder or a {SUFFIX} file"
        folder = path.parents[1] if path.parent.name == FOLDER else path
        if (folder / FILE_NAME).is_file():
            msg = f"{folder} holds a manifest, not a run: give the run first, and then the manifest"
        raise CheckpointError(msg)
    with _readable(path), safe_open(path, framework="pt") as file:
        # checked before any tensor is read: another file may be large
        metadata = _metadata(path, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("sha256") != _digest(metadata["header"], tensors):
        msg = (
            f"{path} is damaged or was changed: its content does not give the SHA-256 that was "
            f"written with it ({metadata.get('sha256')}); use another checkpoint of the run"
        )
        raise CheckpointError(msg)
    return Checkpoint(path, _header(path, metadata), tensors, metadata["sha256"])


def read_header(path: Path) -> CheckpointHeader:
    """Read the header of a checkpoint, without its tensors and their digest.

    Raises:
        CheckpointError: The file is no checkpoint of this format, or cut off.
    """
    with _readable(path), safe_open(path, framework="pt") as file:
        metadata = _metadata(path, file.metadata())
    return _header(path, metadata)


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        msg = (
            f"{path} is not a readable checkpoint: expected a whole {SUFFIX} file of "
            f"`marginalia train`, got one that is cut off, damaged or of another kind; name a "
            f"run's folder, or use another checkpoint of the run"
        )
        raise CheckpointError(msg) from error


def _header(path: Path, metadata: Mapping[str, str]) -> CheckpointHeader:
    try:
        return CheckpointHeader.model_validate_json(metadata["header"])
    except ValidationError as error:
        raise CheckpointError(explain(error, f"the header of checkpoint {path}")) from error


def _metadata(path: Path, found: dict[str, str] | None) -> dict[str, str]:
    metadata = found or {}
    if metadata.get("format") != FORMAT or "header" not in metadata:
        msg = (
            f"{path}: expected format {FORMAT!r}, got {metadata.get('format', 'none')!r}; use the "
            f"marginalia that wrote it, or train again"
        )
        raise CheckpointError(msg)
    return metadata


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
