"""Header: everything in a checkpoint that is not a tensor."""

import math
from dataclasses import astuple
from importlib.metadata import version
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from manifests.classes.label_space import LabelSpace
from train.model import Model, Normalisation
from train.networks.network import NetworkSettings
from train.settings import TrainSettings

_Millimetres = Annotated[float, Field(gt=0)]


class CheckpointHeader(BaseModel):
    """Everything in a checkpoint that is not a tensor.

    Attributes:
        spacing_mm: Spacing along x, y, z.
        manifest_sha256: Digest of what the training used of its manifest.
        losses: Mean loss of each whole epoch so far.
        step: Batches of those epochs.
        best_score: Best mean validation Dice so far, if there was a validation.
        added_epochs: Epochs by which the first stage was extended.
        batch_losses: Loss and terms of each batch of an epoch that a signal ended early.
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
    added_epochs: Annotated[int, Field(ge=0)] = 0
    batch_losses: tuple[tuple[float, ...], ...] = ()
    versions: dict[str, str] = Field(
        default_factory=lambda: {p: version(p) for p in ("marginalia", "torch", "monai")}
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
        """Return a network with what prediction needs beside it."""
        mirrors = self.settings.augmentation.mirror_zyx
        return Model(
            network,
            self.label_space,
            self.normalisation,
            self.spacing_mm,
            self.settings.patch_size_zyx,
            mirrored_axes=tuple(axis for axis, share in enumerate(mirrors) if share),
            precision=self.settings.precision,
        )
