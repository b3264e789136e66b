"""Residence: where the voxels of the training cases are while a training runs.

The patches are the same from each place. `device` is the memory where the network runs. `host` is
the page cache, which all processes of a machine share: files are mapped once and read in advance.
`disk` maps the file again for each patch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from manifests.ground.errors import TrainingError
from manifests.ground.machine import usable_bytes
from train.patches.mapped_case import MappedCase, check_label
from train.shapes import HuVoxels, LabelVoxels

Kind = Literal["device", "host", "disk"]

# Of the memory that is free when a training starts. The rest is for the network's activations on
# the device, which are not yet allocated, and for other programs on the host. Chosen, not measured.
_DEVICE_SHARE = 0.5
_HOST_SHARE = 0.5
_READ_BYTES = 2**24  # of one read in advance: 16 MiB
_MEMORY = Path("/proc/meminfo")


class CaseVoxels(NamedTuple):
    """Voxels of a case, or of a part of it.

    Attributes:
        hu: Hounsfield units.
        label: Class ids before `merged` is applied.
        completed: Representatives of the label that a model completed, if there is one.
    """

    hu: HuVoxels
    label: LabelVoxels
    completed: LabelVoxels | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "CaseVoxels":
        """Return what a change makes of each of them."""
        more = None if self.completed is None else change(self.completed)
        return CaseVoxels(change(self.hu), change(self.label), more)


@dataclass(frozen=True)
class Residence:
    """The voxels of cases.

    Attributes:
        cases: By their ids.
        held: The voxels by case id; empty on disk.
    """

    kind: Kind
    cases: Mapping[str, MappedCase]
    held: Mapping[str, CaseVoxels]

    def voxels(self, case_id: str) -> CaseVoxels:
        """Return a case's voxels, which on disk are read when they are accessed.

        Raises:
            TrainingError: The case's files are gone, or were cut off.
        """
        case = self.cases[case_id]
        if self.kind == "disk":
            return _map(case)
        if self.kind == "host":
            for file in case.files:
                file.require_whole()
        return self.held[case_id]


def open_residence(
    cases: Sequence[MappedCase], asked: Kind | Literal["auto"], device: torch.device
) -> Residence:
    """Bring cases to the place that they will be read from.

    Raises:
        TrainingError: They do not fit into the device's memory, a file is gone, or a label volume
            holds a value that is no class.
    """
    needed = sum(file.voxel_bytes for case in cases for file in case.files)
    device_free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    kind = choose_kind(asked, needed, device_free=device_free, host_free=_host_free())
    by_id = {case.case_id: case for case in cases}
    if kind == "disk":
        return Residence(kind, by_id, {})
    load = _map_and_read if kind == "host" else lambda case: _copy(case, device)
    return Residence(kind, by_id, {name: load(case) for name, case in by_id.items()})


def check_labels(case: MappedCase, voxels: CaseVoxels) -> None:
    """Refuse labels that hold a value that is no class.

    Raises:
        TrainingError: See `check_label`.
    """
    check_label(case, voxels.label)
    if case.completion and voxels.completed is not None:
        check_label(case, voxels.completed, case.completion.file)


def choose_kind(
    asked: Kind | Literal["auto"],
    needed_bytes: int,
    *,
    device_free: int | None,
    host_free: int | None,
) -> Kind:
    """Return where to hold cases: for `auto`, the first place whose share of free memory suffices.

    Args:
        asked: A kind, or `auto`.
        needed_bytes: Of all cases.
        device_free: Free bytes of the device's own memory; None where the device is the CPU.
        host_free: Free bytes for the page cache; None where it is not known.

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


def _copy(case: MappedCase, device: torch.device) -> CaseVoxels:
    voxels = _map(case)
    check_labels(case, voxels)
    return voxels.each(lambda v: v.to(device, copy=True))


def _map_and_read(case: MappedCase) -> CaseVoxels:
    for file in case.files:
        _read_through(file.path)
    return _map(case)


def _map(case: MappedCase) -> CaseVoxels:
    return CaseVoxels(*(file.map() for file in case.files))


def _read_through(path: Path) -> None:
    """Read a file once, so that the operating system keeps its pages."""
    buffer = bytearray(_READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _host_free() -> int | None:
    """Return the bytes that are free or can be freed, as Linux reports them, within our share."""
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    share = usable_bytes()
    if not found or share is None:
        return None
    return min(int(found[0]) * 1024, share)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
