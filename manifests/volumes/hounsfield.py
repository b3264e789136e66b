"""Whether intensities are Hounsfield units, and what is done if not quite."""
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from manifests.ground.findings import Finding, SetAsideError
from manifests.volumes.grid import AIR_HU
from manifests.volumes.slabs import slabs
from manifests.volumes.volume import Volume

SAMPLES = 1 << 21  # as many voxels at least as judge a distribution
ENOUGH = 4096  # voxels; fewer have no distribution worth judging
FEW_NONFINITE = 1e-4  # share of all voxels
OFFSET, WRAP = 1024, 1 << 16
GREATEST, LEAST = np.iinfo(np.int16).max, int(AIR_HU)
WHOLE_LAYER = 0.9  # share of a layer's voxels that makes it lost
NOTHING = 1e-4  # share that counts as none: noise
HEAP = 5e-3  # share at one intensity that noise does not explain


@dataclass(frozen=True)
class Distribution:
    """How the intensities of a volume are distributed.

    Attributes:
        least: Least intensity of all voxels.
        greatest: Greatest one.
        sample: Some of the intensities, sorted; every n-th voxel.
    """

    least: float
    greatest: float
    sample: NDArray[Any]

    @classmethod
    def of(cls, voxels: NDArray[Any]) -> "Distribution":
        """Measure finite intensities."""
        step = max(1, voxels.size // SAMPLES)
        # an odd step does not keep to the same columns
        sample = voxels.reshape(-1)[:: step | 1]
        kind = "stable" if sample.itemsize <= 2 else None  # a radix sort, five times as fast
        return cls(float(voxels.min()), float(voxels.max()), np.sort(sample, kind=kind))

    def share(self, low: float, high: float) -> float:
        """Share of the voxels from `low` to below `high`."""
        start, stop = np.searchsorted(self.sample, (low, high))
        return float(stop - start) / self.sample.size

    @property
    def cut_off(self) -> bool:
        """Whether the least intensity stands out, above that of air."""
        heap = self.share(self.least, np.nextafter(self.least, np.inf))
        return self.least > -900 and heap > HEAP


def to_hounsfield(volume: Volume, path: Path) -> Volume:
    """Bring a CT's intensities into Hounsfield units, as far as the evidence allows.

    Args:
        volume: A CT; its voxels may be changed in place.
        path: Where it comes from, for the messages.

    Raises:
        SetAsideError: The intensities cannot be used.
    """
    voxels, findings = _finite(volume.voxels, path)
    voxels, more = _unwrapped(voxels)
    findings += more
    seen = Distribution.of(voxels)
    if voxels.size >= ENOUGH:
        found = judge(seen, path)
        findings += found
        if any(f.code == "intensity_offset" for f in found):
            voxels = _wide(voxels) - OFFSET
            seen = Distribution.of(voxels)
    voxels, more = _clamped(voxels, seen)
    return replace(volume, voxels=voxels, findings=(*volume.findings, *findings, *more))


def judge(seen: Distribution, path: Path) -> list[Finding]:
    """Decide whether intensities are Hounsfield units, or were before 1024 was added.

    With 1024 added, air is about 24 and soft tissue at 874 to 1274, and next to nothing is below
    air's noise. True Hounsfield units have air at -1000, and nothing but dense bone from 874 on.

    Raises:
        SetAsideError: They are grey levels, or one value only.
    """
    words = f"intensities from {seen.least:.6g} to {seen.greatest:.6g}"
    _check_not_grey(seen, f"{path}: expected Hounsfield units; got {words}")
    air, soft, between = seen.share(-150, 125), seen.share(874, 1275), seen.share(125, np.inf)
    if seen.share(-1500, -150) <= NOTHING and soft > max(0.05, 0.5 * between):
        code = "intensity_offset" if air > 0.05 else "intensity_offset_suspected"
        shares = f"{air:.0%} of the voxels are below 125, {soft:.0%} from 874 to 1274"
        return [Finding(code, f"{words}; {shares}")]
    if seen.share(-1500, -10) <= NOTHING:
        return [Finding("intensity_suspect", f"{words}: neither air nor fat")]
    if seen.cut_off:
        return [Finding("intensity_suspect", f"{words}: air and more was cut off")]
    return []


def _check_not_grey(seen: Distribution, expected: str) -> None:
    if seen.least == seen.greatest:
        raise SetAsideError(Finding("not_hounsfield", f"{expected}: one value only"))
    for name, top in (("normalised values", 1.0), ("8-bit grey levels", 255.0)):
        if seen.least >= 0 and 0.98 * top <= seen.greatest <= top:
            raise SetAsideError(Finding("not_hounsfield", f"{expected}: {name}; get the original"))


def _finite(voxels: NDArray[Any], path: Path) -> tuple[NDArray[Any], list[Finding]]:
    """Set NaN and infinities to air, where they are few, or lie outside the body."""
    if voxels.dtype.kind != "f" or all(np.isfinite(voxels[at]).all() for at in slabs(voxels.shape)):
        return voxels, []
    bad = ~np.isfinite(voxels)
    count, nan = int(bad.sum()), int(np.isnan(voxels).sum())
    inside = int((bad & ~_outside(bad)).sum())
    words = (
        f"{count:,} voxels ({count / bad.size:.2%}): {nan:,} NaN, {count - nan:,} infinite; "
        f"{inside:,} of them not around the body"
    )
    if inside > FEW_NONFINITE * bad.size or count == bad.size:
        raise SetAsideError(Finding("intensity_invalid", f"{path}: {words}"))
    voxels = voxels if voxels.flags.writeable else voxels.copy()
    voxels[bad] = AIR_HU
    return voxels, [Finding("nonfinite_replaced", words)]


def _outside(bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the parts of a mask that reach an edge of the volume, as what surrounds a body does.

    A body reaches the volume's faces, not its twelve edges. A layer that is lost as a whole reaches
    them, yet cuts through the body; at an end of the volume it is a border.
    """
    labels = np.empty(bad.shape, np.int32)
    ndimage.label(bad, output=labels)
    z, y, x = (sorted({0, n - 1}) for n in bad.shape)
    edges = (labels[z][:, y], labels[z][:, :, x], labels[:, y][:, :, x])
    touching = np.unique(np.concatenate([edge.ravel() for edge in edges]))
    outside = np.isin(labels, touching[touching > 0])
    for axis in range(3):
        layers = np.moveaxis(bad, axis, 0)
        full = layers.mean(axis=(1, 2)) > WHOLE_LAYER
        border = np.logical_and.accumulate(full) | np.logical_and.accumulate(full[::-1])[::-1]
        np.moveaxis(outside, axis, 0)[full & ~border] = False
    return outside


def _unwrapped(voxels: NDArray[Any]) -> tuple[NDArray[Any], list[Finding]]:
    """Undo the reading of negative 16-bit numbers as unsigned ones.

    The evidence is a gap: values just below 65536, and none between them and those of a CT.
    """
    if voxels.size == 0 or not WRAP - 4096 <= voxels.max() < WRAP or voxels.min() < 0:
        return voxels, []
    high = voxels >= WRAP - 4096
    if ((voxels > GREATEST) & ~high).any():
        return voxels, []
    wide = _wide(voxels)
    wide[high] -= WRAP
    reason = f"{high.mean():.2%} of the voxels, the least at {wide.min():.6g} HU then"
    return wide, [Finding("intensity_wrapped", reason)]


def _clamped(voxels: NDArray[Any], seen: Distribution) -> tuple[NDArray[Any], list[Finding]]:
    """Clamp to what a harmonised volume may hold: from air to the greatest 16-bit number."""
    least, greatest = seen.least, seen.greatest
    findings: list[Finding] = []
    if least < LEAST:
        count = sum(int((voxels[at] < LEAST).sum()) for at in slabs(voxels.shape))
        findings.append(_beyond("padding_clamped", count, voxels.size, float(least)))
    if greatest > GREATEST:
        count = sum(int((voxels[at] > GREATEST).sum()) for at in slabs(voxels.shape))
        findings.append(_beyond("intensity_clamped", count, voxels.size, float(greatest)))
    if findings:
        low = LEAST if least < LEAST else None  # an unsigned type does not know -1024
        high = GREATEST if greatest > GREATEST else None
        voxels = np.clip(voxels, low, high, out=voxels if voxels.flags.writeable else None)
    return voxels, findings


def _beyond(code: str, count: int, size: int, extreme: float) -> Finding:
    return Finding(code, f"{count:,} voxels ({count / size:.2%}), as far as {extreme:.6g}")


def _wide(voxels: NDArray[Any]) -> NDArray[Any]:
    """A copy that holds negative numbers."""
    return voxels.astype(voxels.dtype if voxels.dtype.kind == "f" else np.int32)
