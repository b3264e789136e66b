"""Residence: where the voxels of the training cases are while a training runs.

The same patches come from each: `device` holds them in the memory where the network runs; `host`
in the page cache, which all processes of a machine share, mapped once and read ahead of time;
`disk` maps a file for each patch anew.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from manifests.ground.errors import TrainingError
from train.patches.mapped_case import MappedCase, MappedFile, check_label
from train.shapes import HuVoxels, LabelVoxels

Kind = Literal["device", "host", "disk"]

_DEVICE_SHARE = 0.5  # of the memory that is free; the network needs the rest
_HOST_SHARE = 0.5
_READ_BYTES = 2**24
_MEMORY = Path("/proc/meminfo")


class Voxels(NamedTuple):
    """A whole case.

    Attributes:
        hu: Hounsfield units.
        label: Class ids as they were written, before `merged`.
    """

    hu: HuVoxels
    label: LabelVoxels


@dataclass(frozen=True)
class Residence:
    """The voxels of cases.

    Attributes:
        kind: Where they are.
        volumes: The cases, by their ids.
        held: Those whose voxels are at hand; on disk, none.
    """

    kind: Kind
    volumes: Mapping[str, MappedCase]
    held: Mapping[str, Voxels]

    def voxels(self, case_id: str) -> Voxels:
        """A case's voxels, which are read when they are looked at.

        Raises:
            TrainingError: Its files are gone.
        """
        return self.held[case_id] if case_id in self.held else _map(self.volumes[case_id])


def open_residence(
    volumes: Sequence[MappedCase], asked: Kind | Literal["auto"], device: torch.device
) -> Residence:
    """Bring cases to where they will be read from.

    Raises:
        TrainingError: They do not fit into the device's memory, a file is gone, or a label volume
            holds a value that is no class.
    """
    needed = sum(_bytes_of(volume) for volume in volumes)
    kind = choose_kind(asked, needed, device_free=_device_free(device), host_free=_host_free())
    by_id = {volume.case_id: volume for volume in volumes}
    if kind == "disk":
        return Residence(kind, by_id, {})
    load = _map_and_read if kind == "host" else lambda volume: _copy(volume, device)
    return Residence(kind, by_id, {name: load(volume) for name, volume in by_id.items()})


def choose_kind(
    asked: Kind | Literal["auto"],
    needed_bytes: int,
    *,
    device_free: int | None,
    host_free: int | None,
) -> Kind:
    """Where volumes shall be: on the device if half of its free memory holds them, and so on.

    Args:
        asked: A kind, which is taken as it is if it can be; or `auto`.
        needed_bytes: Of all volumes.
        device_free: Free memory of a device of its own; none where the device is the CPU.
        host_free: Memory that this machine can give to files; none where it is not known.

    Raises:
        TrainingError: The device was asked for and is too small.
    """
    if asked == "device" and device_free is not None and needed_bytes > device_free:
        msg = (
            f"the training volumes are {_gib(needed_bytes)}, and the device has "
            f"{_gib(device_free)} free; set residence=host, or residence=auto"
        )
        raise TrainingError(msg)
    if asked != "auto":
        return asked
    if device_free is not None and needed_bytes <= _DEVICE_SHARE * device_free:
        return "device"
    if host_free is not None and needed_bytes <= _HOST_SHARE * host_free:
        return "host"
    return "disk"


def _copy(volume: MappedCase, device: torch.device) -> Voxels:
    hu, label = _map(volume)
    check_label(volume, int(label.max()))
    return Voxels(hu.to(device, copy=True), label.to(device, copy=True))


def _map_and_read(volume: MappedCase) -> Voxels:
    for file in (volume.image_file, volume.label_file):
        _read_through(file.path)
    return _map(volume)


def _map(volume: MappedCase) -> Voxels:
    return Voxels(_map_file(volume.image_file), _map_file(volume.label_file))


def _map_file(file: MappedFile) -> Tensor:
    # PyTorch closes a file once it is mapped, so that thousands of cases can be held
    dtype = torch.from_numpy(np.empty(0, file.dtype)).dtype
    count = math.prod(file.shape_zyx) * file.dtype.itemsize
    try:
        everything = torch.from_file(
            str(file.path), shared=False, size=file.offset + count, dtype=torch.uint8
        )
    except RuntimeError as error:
        msg = (
            f"{file.path} cannot be read any more: {str(error).splitlines()[0]}; bring the "
            f"manifest's folder back, and repeat the command to resume"
        )
        raise TrainingError(msg) from error
    voxels = everything[file.offset :]
    if file.offset % file.dtype.itemsize:  # allowed by NIfTI, and written by nobody
        voxels = voxels.clone()
    return voxels.view(dtype).view(file.shape_zyx)


def _read_through(path: Path) -> None:
    """Have the operating system keep a file's pages."""
    buffer = bytearray(_READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _bytes_of(volume: MappedCase) -> int:
    files: Iterable[MappedFile] = (volume.image_file, volume.label_file)
    return sum(math.prod(file.shape_zyx) * file.dtype.itemsize for file in files)


def _device_free(device: torch.device) -> int | None:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _host_free() -> int | None:
    """Memory that is free or can be freed, as Linux tells it."""
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
