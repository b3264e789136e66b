"""Checkpoints: one safetensors file each, which can hold numbers and text but no code.

Tensors are named `network/...`, `average/...` (the weights' moving average, if there is one),
`optimiser/<parameter>/<what>` and `objective/...` (what the method remembers beside the weights, if
it does); all else is one JSON text in the file's metadata. A digest over both tells damage from
what was written.
"""

import hashlib
import math
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn, optim

from manifests.atomic import whole_file
from manifests.errors import CheckpointError, explain
from manifests.label_space import LabelSpace
from train.methods.table import new_network
from train.model import Model, Normalisation
from train.networks.network import NetworkSettings
from train.settings import TrainSettings

FORMAT = "marginalia checkpoint 1"
FOLDER = "checkpoints"
SUFFIX = ".safetensors"
Which = Literal["best", "last"]

_NETWORK, _AVERAGE, _OPTIMISER = "network/", "average/", "optimiser/"
_OBJECTIVE = "objective/"
_STEP = "step"  # Adam counts its steps in a scalar
_Millimetres = Annotated[float, Field(gt=0)]


class Header(BaseModel):
    """All of a checkpoint that is not a tensor.

    Attributes:
        label_space: The N classes.
        settings: The training's.
        normalisation: From Hounsfield units to the network's input.
        spacing_mm: Spacing along x, y, z.
        manifest_sha256: Digest of what the training used of its manifest.
        losses: Mean loss of each whole epoch so far.
        step: Batches of those epochs.
        batch_losses: Loss and terms of each batch of an epoch that a signal cut short.
        best_score: Best mean validation Dice so far, if there was a validation.
        versions: Version of each package that decides the numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label_space: LabelSpace
    settings: TrainSettings
    normalisation: Normalisation
    spacing_mm: tuple[_Millimetres, _Millimetres, _Millimetres]
    manifest_sha256: str
    losses: tuple[float, ...]
    step: int
    best_score: float | None
    batch_losses: tuple[tuple[float, ...], ...] = ()
    versions: dict[str, str] = Field(
        default_factory=lambda: {p: version(p) for p in ("marginalia", "torch", "monai")}
    )

    @model_validator(mode="after")
    def _check(self) -> "Header":
        scale = self.normalisation
        if not (scale.std_hu > 0 and all(map(math.isfinite, astuple(scale)))):
            msg = f"expected finite numbers and a std_hu above 0, got {scale}"
            raise ValueError(msg)
        return self

    @property
    def epochs(self) -> int:
        """Epochs so far."""
        return len(self.losses)

    @property
    def network(self) -> NetworkSettings:
        """The network's form."""
        return NetworkSettings.of(self.settings, self.spacing_mm)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: The file.
        header: All that is not a tensor.
        tensors: By name.
    """

    path: Path
    header: Header
    tensors: dict[str, Tensor]


def checkpoint_path(run: Path, which: Which) -> Path:
    """Where a run keeps its best or its last checkpoint."""
    return run / FOLDER / f"{which}{SUFFIX}"


def save_checkpoint(
    path: Path,
    header: Header,
    network: nn.Module,
    optimiser: optim.Optimizer | None,
    *,
    average: nn.Module | None = None,
    objective: nn.Module | None = None,
) -> None:
    """Write a checkpoint as a whole file; without the optimiser, it can predict but not go on."""
    tensors: dict[str, Tensor] = {_NETWORK + n: p for n, p in _parameters(network).items()}
    for prefix, module in ((_AVERAGE, average), (_OBJECTIVE, objective)):
        if module:
            tensors |= {prefix + n: p for n, p in _parameters(module).items()}
    for name, parameter in _parameters(network).items():
        state = optimiser.state.get(parameter, {}) if optimiser else {}
        for what, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMISER}{name}/{what}"] = value
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = header.model_dump_json()
    metadata = {"format": FORMAT, "header": text, "sha256": _digest(text, tensors)}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        CheckpointError: The file is missing, damaged, or no checkpoint of this format.
    """
    if not path.is_file():
        msg = f"no checkpoint at {path}: train first, or name a run's folder or a {SUFFIX} file"
        raise CheckpointError(msg)
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            # before any tensor is read: a file of another kind may be large
            _check_format(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        msg = (
            f"{path} is no checkpoint that can be read: expected a whole {SUFFIX} file, got "
            f"{error}; use another checkpoint of the run"
        )
        raise CheckpointError(msg) from error
    if metadata.get("sha256") != _digest(metadata["header"], tensors):
        msg = (
            f"{path} is damaged or was changed: its content does not give the SHA-256 that was "
            f"written with it ({metadata.get('sha256')}); use another checkpoint of the run"
        )
        raise CheckpointError(msg)
    try:
        header = Header.model_validate_json(metadata["header"])
    except ValidationError as error:
        raise CheckpointError(explain(error, f"the header of checkpoint {path}")) from error
    return Checkpoint(path, header, tensors)


def load_model(run_or_file: Path, *, which: Which = "best") -> Model:
    """The trained network of a run's folder or of a checkpoint file, ready to predict on the CPU.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be used.
    """
    path = checkpoint_path(run_or_file, which) if run_or_file.is_dir() else run_or_file
    checkpoint = load_checkpoint(path)
    header = checkpoint.header
    # without memory at first: the file may claim any size, and is believed when its tensors agree
    with torch.device("meta"):
        network = new_network(header.network, len(header.label_space))
    check_network(checkpoint, network)
    network.to_empty(device="cpu")
    restore_network(checkpoint, network)
    return Model(
        network.eval(),
        header.label_space,
        header.normalisation,
        header.spacing_mm,
        header.settings.patch_size_zyx,
        tuple(a for a, share in enumerate(header.settings.augmentation.mirror_zyx) if share),
        header.settings.precision,
    )


def check_network(checkpoint: Checkpoint, network: nn.Module, *, prefix: str = _NETWORK) -> None:
    """Compare names, shapes and types of a checkpoint's weights with a network's.

    Raises:
        CheckpointError: They differ.
    """
    expected = {prefix + n: _form(p) for n, p in _parameters(network).items()}
    got = {n: _form(t) for n, t in checkpoint.tensors.items() if n.startswith(prefix)}
    _check_forms(checkpoint.path, expected, got)


def restore_network(checkpoint: Checkpoint, network: nn.Module, *, prefix: str = _NETWORK) -> None:
    """Give a network the weights of a checkpoint.

    Raises:
        CheckpointError: They do not fit.
    """
    check_network(checkpoint, network, prefix=prefix)
    with torch.no_grad():
        for name, parameter in _parameters(network).items():
            parameter.copy_(checkpoint.tensors[prefix + name])


def restore_average(checkpoint: Checkpoint, average: nn.Module) -> None:
    """Give the weights' moving average that of a checkpoint.

    Raises:
        CheckpointError: They do not fit, or the checkpoint has none.
    """
    restore_network(checkpoint, average, prefix=_AVERAGE)


def restore_objective(checkpoint: Checkpoint, objective: nn.Module) -> None:
    """Give a method what it remembered when a checkpoint was written.

    Raises:
        CheckpointError: It does not fit.
    """
    restore_network(checkpoint, objective, prefix=_OBJECTIVE)


def restore_optimiser(
    checkpoint: Checkpoint, optimiser: optim.Optimizer, network: nn.Module
) -> None:
    """Give an optimiser of `network` the momenta of a checkpoint.

    Raises:
        CheckpointError: They do not fit.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith(_OPTIMISER):
            owner, _, what = name.removeprefix(_OPTIMISER).rpartition("/")
            states.setdefault(owner, {})[what] = tensor
    parameters = _parameters(network)
    _check_forms(checkpoint.path, *_optimiser_forms(parameters, states))
    # in the order of the parameters, which is how an optimiser names them
    saved: dict[str, Any] = optimiser.state_dict()
    saved["state"] = {
        index: {what: _laid_out(tensor, parameter) for what, tensor in states[name].items()}
        for index, (name, parameter) in enumerate(parameters.items())
        if name in states
    }
    optimiser.load_state_dict(saved)


def _parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    # each once: DynUNet holds its blocks under two names
    return dict(network.named_parameters())


def _form(tensor: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(tensor.shape), tensor.dtype


def _laid_out(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    # as the parameter lies in memory: on another path through it, sums may round differently
    return torch.empty_like(parameter).copy_(tensor) if tensor.ndim else tensor


def _optimiser_forms(
    parameters: dict[str, nn.Parameter], states: dict[str, dict[str, Tensor]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The forms that an optimiser's tensors should have, and those that they have."""
    got = {f"{name}/{w}": _form(t) for name, state in states.items() for w, t in state.items()}
    expected = {
        f"{name}/{what}": ((), torch.float32) if what == _STEP else _form(parameter)
        for name, parameter in parameters.items()
        for what in states.get(name, {})
    }
    return expected, got


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT or "header" not in metadata:
        msg = (
            f"{path}: expected format {FORMAT!r}, got {metadata.get('format', 'none')!r}; use the "
            f"marginalia that wrote it, or train again"
        )
        raise CheckpointError(msg)


def _check_forms(path: Path, expected: dict[str, Any], got: dict[str, Any]) -> None:
    wrong = sorted(n for n in expected.keys() | got.keys() if expected.get(n) != got.get(n))
    if wrong:
        first = wrong[0]
        msg = (
            f"{path}: {len(wrong)} tensors do not fit the network that its settings describe; "
            f"{first}: expected {expected.get(first, 'none')}, got {got.get(first, 'none')}; "
            f"use another checkpoint of the run"
        )
        raise CheckpointError(msg)


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
