"""Stamp: which network a label map was made by, and how it was used."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn, uint8

from manifests.ground.atomic import write_text
from train.model import Model


@dataclass(frozen=True)
class Stamp:
    """All that a label map depends on beside the scan, as plain values."""

    settings: Mapping[str, Any]

    @classmethod
    def of(cls, model: Model, *, overlap: float, **options: object) -> "Stamp":
        """Return the stamp of a model with these options; those that are off do not count."""
        settings = {
            "label_space": model.label_space.name,
            "classes": {str(n): name for n, name in enumerate(model.label_space.names)},
            "spacing_mm": list(model.spacing_mm),
            "patch_size_zyx": list(model.patch_size_zyx),
            "normalisation": asdict(model.normalisation),
            "overlap": overlap,
            "windows": "body",  # once they were where there was air, too
            # linear was all there was, and what was made then is still valid
            **({"interpolation": how} if (how := model.interpolation) != "linear" else {}),
            **{name: value for name, value in options.items() if value},
            **({"ensemble": _members(model)} if model.others else {}),
            "weights_sha256": _weights_sha256(model.network),
        }
        return cls(settings)

    @cached_property
    def text(self) -> str:
        """Return the stamp in the few letters that a NIfTI header's description has room for."""
        identity = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        return f"marginalia-{identity[:16]}"

    def write(self, folder: Path) -> None:
        """Write the settings to `folder` under the stamp's own name."""
        settings = {**self.settings, "software_version": version("marginalia")}
        write_text(folder / f"{self.text}.json", json.dumps(settings, indent=2) + "\n")


def _members(model: Model) -> list[dict[str, Any]]:
    """Return what tells the further networks of an ensemble from others."""
    return [
        {
            "patch_size_zyx": list(other.patch_size_zyx),
            "normalisation": asdict(other.normalisation),
            "weights_sha256": _weights_sha256(other.network),
        }
        for other in model.others
    ]


def _weights_sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(uint8).numpy())
    return digest.hexdigest()
