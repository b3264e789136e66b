"""How the phantom is scanned: field of view, slices, contrast, sharpness and noise."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from curate.phantom.datasets import ScanProtocol, phantom_datasets
from curate.phantom.shapes import Field
from manifests.volumes.grid import Grid

LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0
TABLE_HU = -40.0
PHASE_CONCENTRATION = 14.0  # of the Dirichlet distribution around a dataset's phases
PIXELS = 108  # of the 512 columns and rows of a clinical scan
MIN_SLICES = 8

Spacing = tuple[float | None, float | None]  # in-plane and between slices, mm


@dataclass(frozen=True)
class Scan:
    """One planned scan.

    Attributes:
        grid: Where the patient is sampled; the axes are those of LPS.
        contrast: Shares of the phases none, arterial and portal venous.
        noise_hu: Standard deviation of the noise in the middle of the body.
        offset_hu: Calibration error.
        table_mm: LPS y of the table's top.
    """

    protocol: ScanProtocol
    grid: Grid
    contrast: tuple[float, float, float]
    noise_hu: float
    offset_hu: float
    table_mm: float


def plan_scan(
    dataset: str, rng: np.random.Generator, *, spacing_mm: Spacing = (None, None)
) -> Scan:
    """Draw one scan of a patient who lies at the origin.

    Args:
        dataset: A name of `phantom_datasets`.
        rng: Source of randomness; draws as much whatever the spacing.
        spacing_mm: Replaces the dataset's; the field of view and the coverage stay.
    """
    protocol = phantom_datasets()[dataset].protocol
    in_plane_mm, slice_mm = spacing_mm
    field = float(rng.uniform(*protocol.field_mm))
    step = float(rng.uniform(*protocol.slice_mm))
    top, bottom = float(rng.uniform(*protocol.top_mm)), float(rng.uniform(*protocol.bottom_mm))
    middle_x, middle_y = (float(v) for v in rng.normal((0.0, -30.0), 6.0))
    none, arterial, portal = rng.dirichlet(PHASE_CONCENTRATION * np.array(protocol.phases))
    pixel = in_plane_mm or round(field / PIXELS, 4)
    step = slice_mm or round(2.0 * step) / 2.0
    pixels = max(round(field / pixel), 8)
    slices = max(round((top - bottom) / step), MIN_SLICES)
    half = (pixels - 1) / 2.0 * pixel
    return Scan(
        protocol=protocol,
        grid=Grid(
            (pixels, pixels, slices),
            (pixel, pixel, step),
            (middle_x - half, middle_y - half, top - (slices - 1) * step),
        ),
        contrast=(float(none), float(arterial), float(portal)),
        noise_hu=float(rng.uniform(*protocol.noise_hu)),
        offset_hu=float(rng.uniform(-protocol.offset_hu, protocol.offset_hu)),
        table_mm=float(rng.uniform(4.0, 12.0)),
    )


def acquire(hu: Field, scan: Scan, rng: np.random.Generator) -> Field:
    """Turn noise-free Hounsfield units on the scan's grid into what the scanner shows.

    Returns:
        Whole Hounsfield units from -1024 to 3071 (float32, [z, y, x]).
    """
    protocol, (x, y) = scan.protocol, _pixel_positions_mm(scan.grid)
    pixel = scan.grid.spacing_mm[0]
    lain = _with_table(hu, x, y, scan.table_mm)
    # A slice is about as thick as the distance to the next, at half its height.
    image = gaussian_filter(
        lain, (0.42, protocol.blur_mm / pixel, protocol.blur_mm / pixel), mode="nearest"
    )
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = gaussian_filter(
        noise, (0.0, protocol.noise_mm / pixel, protocol.noise_mm / pixel), mode="wrap"
    )
    middle = (x - x.mean()) ** 2 + (y - y.mean()) ** 2
    # Rays through the middle lose the most photons.
    strength = scan.noise_hu / float(noise.std()) * (0.55 + 0.45 * np.exp(-middle / 100.0**2))
    image += noise * strength.astype(np.float32) + np.float32(scan.offset_hu)
    image = np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU)
    if protocol.padding_hu is not None:
        image[:, middle > (x[0, -1] - x.mean() + pixel / 2.0) ** 2] = protocol.padding_hu
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
