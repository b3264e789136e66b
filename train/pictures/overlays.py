"""Overlays: what networks predict, drawn over the CT beside what the annotator outlined.

Slices are shown as radiologists read them, seen from the feet and from the front: the patient's
left on the viewer's right, the back or the feet below, in true proportions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke
from skimage.measure import find_contours

from manifests.classes.label_space import IGNORED, LabelSpace
from manifests.classes.merged import annotated_classes
from manifests.ground.atomic import whole_file
from manifests.table.case import Case
from manifests.table.flat_names import flat_names
from manifests.table.manifest import Manifest
from train.patches.mapped_case import open_case, read_target
from train.pictures.views import View, choose_views
from train.prediction.sliding_window import ClassVolume, HuVolume

WINDOW_HU = (-160.0, 240.0)  # level 40, width 400: the soft tissue of the abdomen
SCALE_BAR_MM = 50.0
FILL_OPACITY = 0.45

_HATCH, _HATCH_OPACITY = 6, 0.35  # pixels from stripe to stripe
_IGNORED = "hatched: nobody looked"
_PAPER, _INK, _DIM = "#101214", "#f4f4f4", "#a8adb3"
_COLUMN, _GAP, _EDGE = 4.2, 0.06, 0.12  # inches
_TITLE, _HEADING, _LEGEND_LINE = 0.26, 0.34, 0.24  # inches
_ENTRIES_PER_COLUMN = 2  # of the legend, below each column of pictures

Colours = Mapping[int, str]


@dataclass(frozen=True)
class LabelledScan:
    """A CT with axes along LPS, and what its annotator labelled.

    Attributes:
        hu: Hounsfield units [z, y, x].
        truth: Class ids, or `IGNORED` where nobody looked, which is hatched.
        annotated: Class ids that the annotator told apart; the legend says which are not among
            them. None if all of them are.
    """

    hu: HuVolume
    truth: ClassVolume
    label_space: LabelSpace
    spacing_mm: tuple[float, ...]
    annotated: Collection[int] | None = None


def overlay_figure(
    scan: LabelledScan,
    predictions: Mapping[str, ClassVolume],
    *,
    title: str = "",
    focus: ClassVolume | None = None,
) -> Figure:
    """Draw an axial and a coronal slice, one column for each network.

    Args:
        scan: The CT; its truth is drawn as outlines.
        predictions: Class ids by the network's name, drawn as translucent fills. Without any, the
            truth stands alone.
        title: Above the picture.
        focus: What the slices are chosen to show, unless it is empty; see `choose_views`.

    Source: Shi et al. 2021, Fig. 4.
    """
    fills, ignored = list(predictions.values()), scan.truth == IGNORED
    truth = np.where(ignored, np.uint8(0), scan.truth) if ignored.any() else scan.truth
    volumes = [truth, *fills]
    views = choose_views(scan.hu, truth, fills, spacing_mm=scan.spacing_mm, focus=focus)
    shown = {int(n) for view in views for volume in volumes for n in np.unique(view.of(volume))}
    known = enumerate(scan.label_space.classes, start=1)
    colours = {n: entry.colour for n, entry in known if n in shown}
    entries = _legend_entries(scan, colours, with_fill=bool(predictions))
    if any(view.of(ignored).any() for view in views):
        entries.append(Patch(facecolor="none", edgecolor=_DIM, hatch="////", label=_IGNORED))
    headings = list(predictions) or ["ground truth"]
    legend_columns = min(len(headings) * _ENTRIES_PER_COLUMN, len(entries))
    figure, rows = _canvas(views, headings, title, -(-len(entries) // legend_columns))
    for axes_of_row, view in zip(rows, views, strict=True):
        for axes, prediction in zip(axes_of_row, fills or [None], strict=True):
            _draw_ct(axes, view, scan.hu)
            if prediction is not None:
                _draw_fill(axes, view, prediction, colours)
            _draw_outlines(axes, view, truth, colours)
            _draw_hatching(axes, view, ignored)
        _draw_sides(axes_of_row[0])
        _draw_scale_bar(axes_of_row[-1], view)
    figure.legend(
        handles=entries,
        loc="lower center",
        ncols=legend_columns,
        frameon=False,
        labelcolor=_INK,
        fontsize=9,
        handlelength=1.6,
    )
    return figure


def case_overlay(
    manifest: Manifest,
    case: Case,
    predictions: Mapping[str, ClassVolume],
    *,
    title: str = "",
    focus: int | None = None,
) -> Figure:
    """Draw a case of a manifest; see `overlay_figure`.

    Args:
        manifest: The manifest that has the case.
        case: The case.
        predictions: Class ids on the case's grid, by the network's name.
        title: Above the picture; by default the case id.
        focus: A representative: the slices are where predictions and truth differ most about it.

    Raises:
        TrainingError: The case's files are not what the manifest says.
    """
    volume = open_case(manifest, case)
    truth, annotated = read_target(volume), annotated_classes(case.merged)
    return overlay_figure(
        LabelledScan(volume.image, truth, manifest.label_space, case.spacing_mm, annotated),
        predictions,
        title=title or case.case_id,
        focus=None if focus is None else _wrong(truth, predictions.values(), case.merged, focus),
    )


def overlay_paths(folder: Path, case_ids: Iterable[str]) -> dict[str, Path]:
    """Return where the pictures of cases go: in `folder` itself, whatever their ids."""
    return {case_id: folder / f"{name}.png" for case_id, name in flat_names(case_ids).items()}


def write_overlay(figure: Figure, path: Path, *, dots_per_inch: int = 130) -> None:
    """Write a figure as a whole PNG file."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dots_per_inch)


def _wrong(
    truth: ClassVolume, predictions: Collection[ClassVolume], merged: tuple[int, ...], n: int
) -> ClassVolume:
    """Return 1 where a prediction and the truth differ about a group of merged classes."""
    in_group = np.array(merged) == n
    wrong = np.zeros(truth.shape, bool)
    for prediction in predictions:
        wrong |= in_group[prediction] != (truth == n)
    wrong &= truth != IGNORED
    return wrong.astype(np.uint8)


def _canvas(
    views: Sequence[View], headings: Sequence[str], title: str, legend_lines: int
) -> tuple[Figure, np.ndarray]:
    """Lay out a figure in inches, with one row of axes for each view."""
    heights = [_COLUMN * view.size_mm[0] / view.size_mm[1] for view in views]
    legend = _LEGEND_LINE * legend_lines + 2 * _EDGE
    above = _HEADING + (_TITLE if title else _EDGE)
    width = 2 * _EDGE + len(headings) * (_COLUMN + _GAP) - _GAP
    height = above + sum(heights) + _GAP * (len(views) - 1) + legend
    figure = Figure(figsize=(width, height), facecolor=_PAPER)
    places = {
        "left": _EDGE / width,
        "right": 1 - _EDGE / width,
        "top": 1 - above / height,
        "bottom": legend / height,
        "wspace": _GAP / _COLUMN,
        "hspace": _GAP / fmean(heights),
    }
    rows = figure.subplots(
        len(views), len(headings), squeeze=False, height_ratios=heights, gridspec_kw=places
    )
    for axes, heading in zip(rows[0], headings, strict=True):
        axes.set_title(heading, color=_INK, fontsize=11, pad=6)
    figure.text(places["left"], 1 - _EDGE / height, title, color=_DIM, fontsize=10, va="top")
    return figure, rows


def _draw_ct(axes: Axes, view: View, hu: HuVolume) -> None:
    grey = Normalize(*WINDOW_HU)
    _draw_pixels(axes, view, view.of(hu), cmap="gray", norm=grey, interpolation="bilinear")
    axes.set_axis_off()


def _draw_fill(axes: Axes, view: View, classes: ClassVolume, colours: Colours) -> None:
    palette = np.zeros((256, 4))
    for n, colour in colours.items():
        palette[n] = to_rgba(colour, FILL_OPACITY)
    _draw_pixels(axes, view, palette[view.of(classes)], interpolation="nearest")


def _draw_pixels(axes: Axes, view: View, pixels: np.ndarray, **how: Any) -> None:  # noqa: ANN401
    origin = "lower" if view.upwards else "upper"
    axes.imshow(pixels, extent=view.extent_mm, origin=origin, **how)


def _draw_outlines(axes: Axes, view: View, classes: ClassVolume, colours: Colours) -> None:
    # with a rim of background, so that an outline closes where the class meets the picture's edge
    pixels = np.pad(view.of(classes), 1)
    for n, colour in colours.items():
        # a pixel's centre is half a step from its edge, and the rim moved all by one step
        outlines = [(p - 0.5) * view.step_mm for p in find_contours(pixels == n, 0.5)]
        lines = [np.flip(p, axis=1) for p in outlines]  # x before y
        axes.add_collection(
            LineCollection(lines, colors=colour, linewidths=1.4, path_effects=_halo(2.6))
        )
    left, right, bottom, top = view.extent_mm
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _draw_hatching(axes: Axes, view: View, ignored: np.ndarray) -> None:
    pixels = view.of(ignored)
    stripes = np.add.outer(*map(np.arange, pixels.shape)) % _HATCH < _HATCH / 2
    grey = np.zeros((*pixels.shape, 4))
    grey[pixels & stripes] = to_rgba(_DIM, _HATCH_OPACITY)
    _draw_pixels(axes, view, grey, interpolation="nearest")


def _draw_sides(axes: Axes) -> None:
    for x, side, align in ((0.02, "R", "left"), (0.98, "L", "right")):
        _write(axes, x, 0.97, side, fontsize=10, ha=align, va="top", transform=axes.transAxes)


def _draw_scale_bar(axes: Axes, view: View) -> None:
    left, right, bottom, top = view.extent_mm
    end, y = right - 0.03 * (right - left), bottom + 0.04 * (top - bottom)
    middle, above = end - SCALE_BAR_MM / 2, bottom + 0.06 * (top - bottom)
    axes.plot([end - SCALE_BAR_MM, end], [y, y], color=_INK, linewidth=2, path_effects=_halo(4.0))
    _write(axes, middle, above, f"{SCALE_BAR_MM / 10:g} cm", fontsize=8, ha="center", va="bottom")


def _write(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:  # noqa: ANN401
    axes.text(x, y, text, color=_INK, path_effects=_halo(2.0), **how)


def _halo(width: float) -> list[AbstractPathEffect]:
    return [withStroke(linewidth=width, foreground=_PAPER)]


def _legend_entries(
    scan: LabelledScan, colours: Colours, *, with_fill: bool
) -> list[Patch | Line2D]:
    entries: list[Patch | Line2D] = []
    for n, colour in colours.items():
        known = scan.annotated is None or n in scan.annotated
        label = scan.label_space.names[n].replace("_", " ") + ("" if known else " (not annotated)")
        entries.append(Patch(facecolor=colour, edgecolor=colour, label=label))
    entries.append(Line2D([], [], color=_INK, linewidth=1.4, label="outline: ground truth"))
    if with_fill:
        fill = to_rgba(_INK, FILL_OPACITY)
        entries.append(Patch(facecolor=fill, edgecolor="none", label="fill: prediction"))
    return entries
