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

SAMPLES = 1 << 21  # voxels, at least, that judge a distribution
MIN_VOXELS = 4096  # fewer have no distribution worth judging
OFFSET, WRAP = 1024, 1 << 16
GREATEST, LEAST = np.iinfo(np.int16).max, int(AIR_HU)
TWELVE_BITS = 1 << 12  # a scanner's range of values

# Hounsfield units, in which air is -1000, fat about -100 and water 0, by definition or nearly
AIR_HU_RANGE = (-1174, -899)  # with the noise of a low dose
CUT_OFF_HU = -900  # a least intensity above this is not that of air
SOFT_HU_RANGE = (-150, 251)  # from fat to organs and vessels full of contrast agent
NO_FAT_HU = -10  # and above
PADDING_HU = -1500  # what is less is no noise of air but marks voxels without a measurement
BONE_HU = 1500  # of the densest bone; metal has more
MIN_RANGE_HU = 20  # the noise of water alone has more

# Shares of the voxels
NOISE_SHARE = 1e-4  # counts as none
MAX_NONFINITE_SHARE = 1e-4  # within the body
SPIKE_SHARE = 5e-3  # at one intensity: more than noise explains
MIN_TISSUE_SHARE = 0.05  # air and soft tissue each take more of a scan of the trunk
MAX_SPOILT_SHARE = 0.99  # of what was clamped or wrapped: the rest is no scan
MAX_DENSER_SHARE = 0.5  # than bone: a body is mostly soft tissue
MIN_SOFT_OF_DENSE = 0.5  # of what is denser than air: most of a body is soft tissue
LOST_LAYER_SHARE = 0.9  # of a layer: it is lost
MIN_OF_TOP = 0.98  # of the greatest grey level, which resampling may have lowered


@dataclass(frozen=True)
class Distribution:
    """The extreme intensities of a volume, and those of every n-th voxel, sorted."""

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

    def share(self, low: float, high: float, *, offset: int = 0) -> float:
        """Return the share of the voxels from `low` to below `high`, plus an offset."""
        start, stop = np.searchsorted(self.sample, (low + offset, high + offset))
        return float(stop - start) / self.sample.size


def to_hounsfield(volume: Volume, path: Path) -> Volume:
    """Bring a CT's intensities into Hounsfield units, as far as the evidence allows.

    The voxels may be changed in place.

    Raises:
        SetAsideError: The intensities cannot be used.
    """
    voxels, findings = _finite(volume.voxels, path)
    voxels, more = _unwrapped(voxels, path)
    findings += more
    seen = Distribution.of(voxels)
    if voxels.size >= MIN_VOXELS:
        found = _judge(seen, path)
        findings += found
        if any(f.code == "intensity_offset" for f in found):
            voxels = _wide(voxels) - OFFSET
            seen = Distribution.of(voxels)
    voxels, more = _clamped(voxels, seen, path)
    return replace(volume, voxels=voxels, findings=(*volume.findings, *findings, *more))


def _judge(seen: Distribution, path: Path) -> list[Finding]:
    """Decide whether intensities are Hounsfield units, or were before 1024 was added.

    With 1024 added, air is about 24 and soft tissue at 874 to 1274, and next to nothing is below
    air's noise. In true Hounsfield units only dense bone has 874 and more.
    """
    words = f"intensities from {seen.least:.6g} to {seen.greatest:.6g}"
    _check_not_grey(seen, path)
    air, soft = (seen.share(*hu, offset=OFFSET) for hu in (AIR_HU_RANGE, SOFT_HU_RANGE))
    dense = seen.share(AIR_HU_RANGE[1], np.inf, offset=OFFSET)
    below = seen.share(PADDING_HU, AIR_HU_RANGE[0] + OFFSET)
    if below <= NOISE_SHARE and soft > max(MIN_TISSUE_SHARE, MIN_SOFT_OF_DENSE * dense):
        code = "intensity_offset" if air > MIN_TISSUE_SHARE else "intensity_offset_suspected"
        shares = f"{air:.0%} of the voxels are below 125, {soft:.0%} from 874 to 1274"
        return [Finding(code, f"{words}; {shares}")]
    if seen.share(PADDING_HU, NO_FAT_HU) <= NOISE_SHARE:
        return [Finding("intensity_suspect", f"{words}: neither air nor fat")]
    spike = seen.share(seen.least, np.nextafter(seen.least, np.inf))
    if seen.least > CUT_OFF_HU and spike > SPIKE_SHARE:
        return [Finding("intensity_suspect", f"{words}: air and more was cut off")]
    return []


def _check_not_grey(seen: Distribution, path: Path) -> None:
    """Refuse what no CT can be: values of a normalised, 8-bit or inverted image."""
    words = f"intensities from {seen.least:.6g} to {seen.greatest:.6g}"
    if seen.least == seen.greatest:
        raise _no_hounsfield(path, f"{words}: one value only")
    within = seen.sample[np.searchsorted(seen.sample, seen.least, "right") :]  # without padding
    small = within.size and max(-float(within[0]), float(within[-1])) < MIN_RANGE_HU
    if seen.greatest - seen.least < MIN_RANGE_HU or (small and np.any(within % 1)):
        raise _no_hounsfield(path, f"{words}: a label map, or normalised values")
    signed = (seen.least, seen.greatest) == (-128, 127)
    if signed or (seen.least >= 0 and MIN_OF_TOP * 255 <= seen.greatest <= 255):
        raise _no_hounsfield(path, f"{words}: 8-bit grey levels")
    denser = seen.share(BONE_HU, np.inf)
    if denser > MAX_DENSER_SHARE:
        reason = f"{words}: {denser:.0%} of the voxels are denser than bone, as if turned round"
        raise _no_hounsfield(path, reason)


def _no_hounsfield(path: Path, seen: str) -> SetAsideError:
    reason = f"{path}: expected Hounsfield units; got {seen}; get the original"
    return SetAsideError(Finding("not_hounsfield", reason))


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
    if inside > MAX_NONFINITE_SHARE * bad.size or count == bad.size:
        raise SetAsideError(Finding("intensity_invalid", f"{path}: {words}"))
    if bad.size - count >= MIN_VOXELS:  # before they are air, which no normalised image has
        _check_not_grey(Distribution.of(voxels[~bad]), path)
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
        full = layers.mean(axis=(1, 2)) > LOST_LAYER_SHARE
        border = np.logical_and.accumulate(full) | np.logical_and.accumulate(full[::-1])[::-1]
        np.moveaxis(outside, axis, 0)[full & ~border] = False
    return outside


def _unwrapped(voxels: NDArray[Any], path: Path) -> tuple[NDArray[Any], list[Finding]]:
    """Undo the reading of negative 16-bit numbers as unsigned ones.

    The evidence is a gap: values just below 65536, and none between them and those of a CT.
    """
    least_wrapped = WRAP - TWELVE_BITS
    if voxels.size == 0 or not least_wrapped <= voxels.max() < WRAP or voxels.min() < 0:
        return voxels, []
    high = voxels >= least_wrapped
    if ((voxels > GREATEST) & ~high).any():
        return voxels, []
    if high.mean() > MAX_SPOILT_SHARE:
        raise _no_hounsfield(
            path, f"{high.mean():.0%} of the voxels from {least_wrapped} to {WRAP}"
        )
    wide = _wide(voxels)
    wide[high] -= WRAP
    reason = f"{high.mean():.2%} of the voxels, the least at {wide.min():.6g} HU then"
    return wide, [Finding("intensity_wrapped", reason)]


def _clamped(
    voxels: NDArray[Any], seen: Distribution, path: Path
) -> tuple[NDArray[Any], list[Finding]]:
    """Clamp to what a harmonised volume may hold: from air to the greatest 16-bit number."""
    findings: list[Finding] = []
    spoilt = 0.0
    for code, extreme, beyond, limit in (
        ("padding_clamped", seen.least, np.less, LEAST),
        ("intensity_clamped", seen.greatest, np.greater, GREATEST),
    ):
        if beyond(extreme, limit):  # an unsigned type does not know -1024
            count = sum(int(beyond(voxels[at], limit).sum()) for at in slabs(voxels.shape))
            share = f"{count:,} voxels ({count / voxels.size:.2%})"
            findings.append(Finding(code, f"{share}, as far as {extreme:.6g}"))
            spoilt += count / voxels.size
    if spoilt > MAX_SPOILT_SHARE:
        words = f"{spoilt:.0%} of the voxels below {LEAST} or above {GREATEST}"
        raise _no_hounsfield(path, words)
    if findings:
        low = LEAST if seen.least < LEAST else None
        high = GREATEST if seen.greatest > GREATEST else None
        voxels = np.clip(voxels, low, high, out=voxels if voxels.flags.writeable else None)
    return voxels, findings


def _wide(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that can hold negative numbers."""
    return voxels.astype(voxels.dtype if voxels.dtype.kind == "f" else np.int32)
