"""Planes: one slice along each axis, through the middles of what is labelled, as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Int16, Shaped, UInt8
from PIL import Image, ImageColor

from manifests.classes.label_space import IGNORED

WINDOW_HU = (-160.0, 240.0)
PIXEL_MM = 1.5
GAP = 4  # pixels between two planes
FILL_OPACITY = 0.4
QUALITY = 60  # of WebP; the contours stay sharp, the noise goes

Hu = Int16[np.ndarray, "x y z"]
Labels = UInt8[np.ndarray, "x y z"]
Plane = Shaped[np.ndarray, "rows columns"]

# The two axes of each plane, columns before rows: axial, coronal, sagittal.
PLANES = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Scan:
    """What is drawn of one case, on one grid along LPS.

    Attributes:
        hu: Hounsfield units.
        labels: Representatives.
        prediction: Class ids that a network gave, if there are any.
        spacing_mm: Along x, y, z.
    """

    hu: Hu
    labels: Labels
    prediction: Labels | None
    spacing_mm: tuple[float, ...]


def middles(labels: Labels) -> tuple[int, int, int]:
    """Return the index along x, y and z of the slices that show most of all labelled classes.

    A class counts by the share of its own greatest area, so that the liver does not outweigh the
    pancreas. Where nothing is labelled it is the volume's middle.
    """
    places = np.nonzero((labels > 0) & (labels != IGNORED))
    if not places[0].size:
        x, y, z = (n // 2 for n in labels.shape)
        return x, y, z
    of_class = labels[places].astype(np.int64)
    x, y, z = (
        _best_slice(place, of_class, n) for place, n in zip(places, labels.shape, strict=True)
    )
    return x, y, z


def class_middles(labels: Labels) -> dict[int, tuple[int, int, int]]:
    """Return the middles of each class that has voxels, by class id."""
    present = [int(n) for n in np.unique(labels) if n not in (0, IGNORED)]
    return {n: middles(np.where(labels == n, labels, np.uint8(0))) for n in present}


def strip(scan: Scan, colours: Mapping[int, str]) -> bytes:
    """Return the three planes beside each other, seen from the feet, the front and the left.

    The labels are outlined and a prediction is filled; the patient's left is on the right, the head
    is above.

    Returns:
        A WebP file.
    """
    at = middles(scan.labels if scan.prediction is None else scan.labels | scan.prediction)
    drawn = [_draw(scan, axes, at, colours) for axes in PLANES]
    height = max(picture.height for picture in drawn)
    width = sum(picture.width for picture in drawn) + GAP * (len(drawn) - 1)
    paper = Image.new("RGB", (width, height))
    left = 0
    for picture in drawn:
        paper.paste(picture, (left, (height - picture.height) // 2))
        left += picture.width + GAP
    file = BytesIO()
    paper.save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()


def _best_slice(place: np.ndarray, of_class: np.ndarray, size: int) -> int:
    areas = np.bincount(of_class * size + place, minlength=(int(of_class.max()) + 1) * size)
    areas = areas.reshape(-1, size)
    areas = areas[areas.any(axis=1)]
    return int(np.argmax((areas / areas.max(axis=1, keepdims=True)).sum(axis=0)))


def _draw(
    scan: Scan, axes: tuple[int, int], at: Sequence[int], colours: Mapping[int, str]
) -> Image.Image:
    across = ({0, 1, 2} - set(axes)).pop()
    width, height = (max(1, round(scan.hu.shape[a] * scan.spacing_mm[a] / PIXEL_MM)) for a in axes)

    def plane(volume: np.ndarray) -> Plane:
        found = np.take(volume, at[across], axis=across).T
        return found[::-1] if 2 in axes else found  # the head is above

    low, high = WINDOW_HU
    grey = ((plane(scan.hu).clip(low, high) - low) * (255 / (high - low))).astype(np.uint8)
    size = (width, height)
    pixels = np.array(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB"))
    palette = np.array([ImageColor.getrgb(colours.get(n, "#ffffff")) for n in range(256)])
    if scan.prediction is not None:
        filled = _resized(plane(scan.prediction), size)
        mixed = pixels * (1 - FILL_OPACITY) + palette[filled] * FILL_OPACITY
        pixels = np.where((filled > 0)[..., None], mixed, pixels).astype(np.uint8)
    outlined = _resized(plane(scan.labels), size)
    rim = outline(outlined)
    pixels[rim] = palette[outlined[rim]]
    return Image.fromarray(pixels)


def _resized(labels: Plane, size: tuple[int, int]) -> Plane:
    picture = Image.fromarray(np.ascontiguousarray(labels))
    return np.array(picture.resize(size, Image.Resampling.NEAREST))


def outline(labels: Plane) -> Plane:
    """Return where a labelled pixel has a neighbour, of four, of another value; bool."""
    padded = np.pad(labels, 1)
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    differs = np.zeros(labels.shape, bool)
    for neighbour in neighbours:
        differs |= neighbour != labels
    return differs & (labels > 0)
