"""Overlays: what networks predict, drawn over the CT beside what the annotator outlined.

Slices are shown as radiologists read them, seen from the feet and from the front: the patient's
left on the viewer's right, the back or the feet below, in true proportions.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes
from manifests.ground.atomic import whole_file
from manifests.table.case import Case
from manifests.table.manifest import Manifest
from train.patches.mapped_case import open_case, read_target
from train.pictures.views import View, choose_views
from train.prediction.sliding_window import ClassVolume, HuVolume

WINDOW_HU = (-160.0, 240.0)  # level 40, width 400: the soft tissue of the abdomen
SCALE_BAR_MM = 50.0
FILL_OPACITY = 0.45

_PAPER, _INK, _DIM = "#101214", "#f4f4f4", "#a8adb3"
_COLUMN, _GAP, _EDGE = 4.2, 0.06, 0.12  # inches
_TITLE, _HEADING, _LEGEND_LINE = 0.26, 0.34, 0.24  # inches
_ENTRIES_PER_COLUMN = 2  # of the legend, below each column of pictures

Colours = Mapping[int, str]


def overlay_figure(
    hu: HuVolume,
    truth: ClassVolume,
    predictions: Mapping[str, ClassVolume],
    *,
    label_space: LabelSpace,
    spacing_mm: tuple[float, ...],
    annotated: Collection[int] | None = None,
    title: str = "",
    focus: ClassVolume | None = None,
) -> Figure:
    """Draw an axial and a coronal slice, one column for each network.

    Args:
        hu: Hounsfield units [z, y, x], axes along LPS.
        truth: Class ids, drawn as outlines.
        predictions: Class ids by the network's name, drawn as translucent fills. Without any, the
            truth stands alone.
        label_space: Names and colours of the classes.
        spacing_mm: Spacing along x, y, z.
        annotated: Class ids that the annotator told apart; the legend says which are not among
            them. All of them if left out.
        title: Above the picture.
        focus: What the slices are chosen to show, unless it is empty; see `choose_views`.

    Source: Shi et al. 2021, Fig. 4.
    """
    seen = list(predictions.values())
    views = choose_views(hu, truth, seen, spacing_mm=spacing_mm, focus=focus)
    volumes = [truth, *predictions.values()]
    shown = [n for n in range(1, len(label_space)) if _is_seen(n, volumes, views)]
    colours = {n: label_space.classes[n - 1].colour for n in shown}
    entries = _legend_entries(label_space, colours, annotated, with_fill=bool(predictions))
    headings = list(predictions) or ["ground truth"]
    legend_columns = min(len(headings) * _ENTRIES_PER_COLUMN, len(entries))
    figure, rows = _canvas(views, headings, title, -(-len(entries) // legend_columns))
    for axes_of_row, view in zip(rows, views, strict=True):
        for axes, prediction in zip(axes_of_row, [*predictions.values()] or [None], strict=True):
            _draw_ct(axes, view, hu)
            if prediction is not None:
                _draw_fill(axes, view, prediction, colours)
            _draw_outlines(axes, view, truth, colours)
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
        manifest: Says where the case lies.
        case: One of its cases.
        predictions: Class ids on the case's grid, by the network's name.
        title: Above the picture; the case id if left out.
        focus: A representative: the slices are where predictions and truth differ most about it.

    Raises:
        TrainingError: The case's files are not what the manifest says.
    """
    volume = open_case(manifest, case)
    truth = read_target(volume)
    return overlay_figure(
        volume.image,
        truth,
        predictions,
        label_space=manifest.label_space,
        spacing_mm=case.spacing_mm,
        annotated=annotated_classes(case.merged),
        title=title or case.case_id,
        focus=None if focus is None else _wrong(truth, predictions.values(), case.merged, focus),
    )


def overlay_path(folder: Path, case_id: str) -> Path:
    """Where the picture of a case goes: in `folder` itself, whatever its id."""
    return folder / f"{case_id.replace('/', '_')}.png"


def write_overlay(figure: Figure, path: Path, *, dots_per_inch: int = 130) -> None:
    """Write a figure as a whole PNG file."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dots_per_inch)


def _wrong(
    truth: ClassVolume, predictions: Collection[ClassVolume], merged: tuple[int, ...], n: int
) -> ClassVolume:
    """1 where a prediction and the truth differ about a group of merged classes."""
    in_group = np.array(merged) == n
    wrong = np.zeros(truth.shape, bool)
    for prediction in predictions:
        wrong |= in_group[prediction] != (truth == n)
    return wrong.astype(np.uint8)


def _is_seen(n: int, volumes: Sequence[ClassVolume], views: Sequence[View]) -> bool:
    return any((view.of(volume) == n).any() for volume in volumes for view in views)


def _canvas(
    views: Sequence[View], headings: Sequence[str], title: str, legend_lines: int
) -> tuple[Figure, list[list[Axes]]]:
    """Lay out a figure in inches; gives one row of axes for each view."""
    heights = [_COLUMN * view.size_mm[0] / view.size_mm[1] for view in views]
    legend = _LEGEND_LINE * legend_lines + 2 * _EDGE
    above = _HEADING + (_TITLE if title else _EDGE)
    width = 2 * _EDGE + len(headings) * (_COLUMN + _GAP) - _GAP
    height = above + sum(heights) + _GAP * (len(views) - 1) + legend
    figure = Figure(figsize=(width, height), facecolor=_PAPER)
    rows: list[list[Axes]] = []
    top = height - above
    for tall in heights:
        lefts = [_EDGE + i * (_COLUMN + _GAP) for i in range(len(headings))]
        boxes = [(x / width, (top - tall) / height, _COLUMN / width, tall / height) for x in lefts]
        rows.append([figure.add_axes(box) for box in boxes])
        top -= tall + _GAP
    for axes, heading in zip(rows[0], headings, strict=True):
        axes.set_title(heading, color=_INK, fontsize=11, pad=6)
    if title:
        figure.text(
            _EDGE / width, 1 - _EDGE / height, title, color=_DIM, fontsize=10, va="top", ha="left"
        )
    return figure, rows


def _draw_ct(axes: Axes, view: View, hu: HuVolume) -> None:
    low, high = WINDOW_HU
    axes.imshow(
        view.of(hu),
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=view.extent_mm,
        origin="lower" if view.upwards else "upper",
        interpolation="bilinear",
    )
    axes.set_axis_off()


def _draw_fill(axes: Axes, view: View, classes: ClassVolume, colours: Colours) -> None:
    palette = np.zeros((256, 4))
    for n, colour in colours.items():
        palette[n] = to_rgba(colour, FILL_OPACITY)
    axes.imshow(
        palette[view.of(classes)],
        extent=view.extent_mm,
        origin="lower" if view.upwards else "upper",
        interpolation="nearest",
    )


def _draw_outlines(axes: Axes, view: View, classes: ClassVolume, colours: Colours) -> None:
    # with a rim of background, so that an outline closes where the class meets the picture's edge
    pixels = np.pad(view.of(classes), 1)
    ys, xs = (
        (np.arange(n) - 0.5) * step for n, step in zip(pixels.shape, view.step_mm, strict=True)
    )
    for n, colour in colours.items():
        if (pixels == n).any():
            outline = axes.contour(xs, ys, pixels == n, levels=[0.5], colors=colour, linewidths=1.4)
            outline.set_path_effects([withStroke(linewidth=2.6, foreground=_PAPER)])
    left, right, bottom, top = view.extent_mm
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _draw_sides(axes: Axes) -> None:
    for x, side, align in ((0.02, "R", "left"), (0.98, "L", "right")):
        axes.text(
            x,
            0.97,
            side,
            color=_INK,
            fontsize=10,
            ha=align,
            va="top",
            transform=axes.transAxes,
            path_effects=[withStroke(linewidth=2, foreground=_PAPER)],
        )


def _draw_scale_bar(axes: Axes, view: View) -> None:
    left, right, bottom, top = view.extent_mm
    end, y = right - 0.03 * (right - left), bottom + 0.04 * (top - bottom)
    stroke = [withStroke(linewidth=4, foreground=_PAPER)]
    axes.plot([end - SCALE_BAR_MM, end], [y, y], color=_INK, linewidth=2, path_effects=stroke)
    axes.text(
        end - SCALE_BAR_MM / 2,
        bottom + 0.06 * (top - bottom),
        f"{SCALE_BAR_MM / 10:g} cm",
        color=_INK,
        fontsize=8,
        ha="center",
        va="bottom",
        path_effects=[withStroke(linewidth=2, foreground=_PAPER)],
    )


def _legend_entries(
    label_space: LabelSpace,
    colours: Colours,
    annotated: Collection[int] | None,
    *,
    with_fill: bool,
) -> list[Patch | Line2D]:
    entries: list[Patch | Line2D] = []
    for n, colour in colours.items():
        note = "" if annotated is None or n in annotated else " (not annotated)"
        label = label_space.names[n].replace("_", " ") + note
        entries.append(Patch(facecolor=colour, edgecolor=colour, label=label))
    entries.append(Line2D([], [], color=_INK, linewidth=1.4, label="outline: ground truth"))
    if with_fill:
        fill = to_rgba(_INK, FILL_OPACITY)
        entries.append(Patch(facecolor=fill, edgecolor="none", label="fill: prediction"))
    return entries
