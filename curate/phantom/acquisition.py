"""How the phantom's five hospitals scan: field of view, slices, contrast, sharpness and noise."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.ndimage import gaussian_filter

from curate.phantom.shapes import Field
from manifests.volumes.grid import Grid

LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0
TABLE_HU = -40.0
PHASE_CONCENTRATION = 14.0  # of the Dirichlet distribution around a dataset's phases
PIXELS = 108  # of the 512 columns and rows of a clinical scan
MIN_SLICES = 8

Range = tuple[float, float]


@dataclass(frozen=True)
class Appearance:
    """What the images of one dataset have in common.

    Attributes:
        phases: Mean shares of the contrast phases none, arterial and portal venous.
        noise_hu: Range of the noise's standard deviation in the middle of the body.
        noise_mm: Length over which the noise is correlated.
        blur_mm: Standard deviation of the reconstruction kernel within a slice.
        offset_hu: Calibration error, plus or minus.
        padding_hu: Value outside the circle of reconstruction; none for a full square.
        tumours: How often this dataset's patients have tumours of liver, pancreas, kidney.
    """

    phases: tuple[float, float, float]
    noise_hu: Range
    noise_mm: float
    blur_mm: float
    offset_hu: float
    padding_hu: float | None
    tumours: tuple[float, float, float]


@dataclass(frozen=True)
class Coverage:
    """What the scans of one dataset cover, as ranges.

    Attributes:
        field_mm: Width of the square field of view.
        slice_mm: Distance between slices.
        top_mm: Where the scan begins, above the second lumbar vertebra.
        bottom_mm: Where it ends, likewise.
    """

    field_mm: Range
    slice_mm: Range
    top_mm: Range
    bottom_mm: Range


# fmt: off
APPEARANCES = MappingProxyType({
    #                          phases           noise_hu  _mm  blur off  padding  tumours
    "btcv":         Appearance((.05, .05, .90), (11, 19), 1.6, 1.5, 3.0, None,  (.20, .00, .05)),
    "msd_liver":    Appearance((.10, .25, .65), ( 9, 24), 1.4, 1.3, 8.0, None,  (.90, .00, .05)),
    "msd_pancreas": Appearance((.02, .08, .90), ( 9, 14), 2.2, 2.0, 3.0, -1024, (.15, 1.00, .03)),
    "msd_spleen":   Appearance((.02, .08, .90), ( 8, 13), 2.2, 2.0, 3.0, -1024, (.60, .00, .03)),
    "kits19":       Appearance((.02, .78, .20), (10, 22), 1.4, 1.4, 5.0, None,  (.05, .00, 1.00)),
})

# The fields of view are 512 times the spacings of the paper's Table 2, without the extremes.
COVERAGES = MappingProxyType({
    #                        field_mm    slice_mm    top_mm      bottom_mm
    "btcv":         Coverage((330, 430), (3.0, 5.0), (110, 145), (-140, -85)),
    "msd_liver":    Coverage((330, 440), (2.5, 5.0), (118, 150), (-130, -50)),
    "msd_pancreas": Coverage((340, 440), (2.5, 3.5), ( 95, 135), (-110, -60)),
    "msd_spleen":   Coverage((350, 450), (3.0, 5.0), (110, 145), (-120, -60)),
    "kits19":       Coverage((320, 450), (2.5, 5.0), ( 80, 135), (-145, -85)),
})
# fmt: on


@dataclass(frozen=True)
class Scan:
    """One planned scan.

    Attributes:
        appearance: The dataset's.
        grid: Where the patient is sampled; the axes are those of LPS.
        contrast: Shares of the phases none, arterial and portal venous.
        noise_hu: Standard deviation of the noise in the middle of the body.
        offset_hu: Calibration error.
        table_mm: LPS y of the table's top.
    """

    appearance: Appearance
    grid: Grid
    contrast: tuple[float, float, float]
    noise_hu: float
    offset_hu: float
    table_mm: float


def plan_scan(
    dataset: str,
    rng: np.random.Generator,
    *,
    in_plane_mm: float | None = None,
    slice_mm: float | None = None,
) -> Scan:
    """Draw one scan of a patient who lies at the origin.

    Args:
        dataset: A key of `COVERAGES`.
        rng: Source of randomness; draws as much whatever the spacing.
        in_plane_mm: Replaces the pixel spacing; the field of view stays.
        slice_mm: Replaces the slice spacing; the coverage stays.
    """
    appearance, cover = APPEARANCES[dataset], COVERAGES[dataset]
    field = float(rng.uniform(*cover.field_mm))
    step = float(rng.uniform(*cover.slice_mm))
    top, bottom = float(rng.uniform(*cover.top_mm)), float(rng.uniform(*cover.bottom_mm))
    middle_x, middle_y = (float(v) for v in rng.normal((0.0, -30.0), 6.0))
    none, arterial, portal = rng.dirichlet(PHASE_CONCENTRATION * np.array(appearance.phases))
    pixel = in_plane_mm or round(field / PIXELS, 4)
    step = slice_mm or round(2.0 * step) / 2.0
    pixels = max(round(field / pixel), 8)
    slices = max(round((top - bottom) / step), MIN_SLICES)
    half = (pixels - 1) / 2.0 * pixel
    return Scan(
        appearance=appearance,
        grid=Grid(
            (pixels, pixels, slices),
            (pixel, pixel, step),
            (middle_x - half, middle_y - half, top - (slices - 1) * step),
        ),
        contrast=(float(none), float(arterial), float(portal)),
        noise_hu=float(rng.uniform(*appearance.noise_hu)),
        offset_hu=float(rng.uniform(-appearance.offset_hu, appearance.offset_hu)),
        table_mm=float(rng.uniform(4.0, 12.0)),
    )


def acquire(hu: Field, scan: Scan, rng: np.random.Generator) -> Field:
    """Turn a noise-free image into what the scanner shows.

    Args:
        hu: Noise-free Hounsfield units on `scan.grid`, [z, y, x].
        scan: The planned scan.
        rng: Source of the noise.

    Returns:
        Whole Hounsfield units from -1024 to 3071 (float32, [z, y, x]).
    """
    look, (x, y) = scan.appearance, _pixel_positions_mm(scan.grid)
    pixel = scan.grid.spacing_mm[0]
    lain = _with_table(hu, x, y, scan.table_mm)
    # A slice is about as thick as the distance to the next.
    image = gaussian_filter(
        lain, (0.35, look.blur_mm / pixel, look.blur_mm / pixel), mode="nearest"
    )
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = gaussian_filter(noise, (0.0, look.noise_mm / pixel, look.noise_mm / pixel), mode="wrap")
    middle = (x - x.mean()) ** 2 + (y - y.mean()) ** 2
    # Rays through the middle lose the most photons.
    strength = scan.noise_hu / float(noise.std()) * (0.35 + 0.65 * np.exp(-middle / 100.0**2))
    image += noise * strength.astype(np.float32) + np.float32(scan.offset_hu)
    image = np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU)
    if look.padding_hu is not None:
        image[:, middle > (x[0, -1] - x.mean() + pixel / 2.0) ** 2] = look.padding_hu
    return image


def _pixel_positions_mm(grid: Grid) -> tuple[Field, Field]:
    """Return LPS x as [1, X] and y as [Y, 1]."""
    x, y, _ = (
        np.asarray(start + step * np.arange(count), dtype=np.float32)
        for start, step, count in zip(grid.origin_mm, grid.spacing_mm, grid.size_xyz, strict=True)
    )
    return x[None, :], y[:, None]


def _with_table(hu: Field, x: Field, y: Field, gap_mm: float) -> Field:
    """Put a thin hollow plate under the patient's back."""
    rows = np.flatnonzero((hu > -300.0).any(axis=(0, 2)))
    if rows.size == 0:
        return hu
    top = y[rows[-1], 0] + gap_mm - 0.0009 * (x - x.mean()) ** 2
    depth = y - top
    plate = (np.abs(depth) < 2.0) & (np.abs(x - x.mean()) < 210.0)
    return np.where(plate & (hu < -900.0), np.float32(TABLE_HU), hu)
