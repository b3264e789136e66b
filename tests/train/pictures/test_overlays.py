"""Overlays of boxes whose place in the patient is known."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from manifests.classes.label_space import LabelClass, LabelSpace
from train.pictures.overlays import LabelledScan, _wrong, overlay_figure, write_overlay
from train.pictures.views import choose_views

SHAPE = (30, 60, 80)
SPACING_MM = (1.5, 2.0, 5.0)
RED, GREEN = "#ff0000", "#00ff00"
SPACE = LabelSpace(
    name="two",
    classes=(
        LabelClass(name="left_kidney", structures=("left_kidney",), colour=RED),
        LabelClass(name="liver", structures=("liver",), colour=GREEN),
    ),
)


def body():
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 10:50, 10:70] = 40
    return hu


def classes(**boxes):
    """Class ids of boxes z0:z1, y0:y1, x0:x1 by colour."""
    volume = np.zeros(SHAPE, np.uint8)
    for name, (z, y, x) in boxes.items():
        volume[slice(*z), slice(*y), slice(*x)] = ("red", "green").index(name) + 1
    return volume


NOTHING = classes()
# at the patient's left, in front, near the head
LEFT_FRONT_HEAD = classes(red=((20, 27), (12, 24), (50, 66)))


def draw(truth, predictions, *, annotated=None, **options):
    scan = LabelledScan(body(), truth, SPACE, SPACING_MM, annotated)
    return overlay_figure(scan, predictions, **options)


def pixels(figure, axes):
    """The picture of one slice, rows downwards, colours 0 to 1."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    box = axes.get_window_extent()
    height = picture.shape[0]
    return picture[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]


def share_and_place(picture, colour):
    """Share of a picture that a class tints, and the middle of that (down, right; 0 to 1)."""
    strength = picture @ (2 * np.array(to_rgb(colour)) - 1)
    found = np.argwhere(strength > 0.05)
    return len(found) / picture[..., 0].size, (found.mean(0) + 0.5) / picture.shape[:2]


# --- views ------------------------------------------------------------------------------------


def test_views_cut_where_the_organ_is_largest():
    truth = classes(red=((3, 25), (20, 40), (30, 34)))
    truth[17, 15:45, 20:40] = 1
    truth[5:22, 33, 20:50] = 1
    axial, coronal = choose_views(body(), truth, spacing_mm=SPACING_MM)
    assert (axial.axis, axial.index) == (0, 17)
    assert (coronal.axis, coronal.index) == (1, 33)


def test_a_small_organ_counts_as_much_as_a_large_one():
    truth = classes(green=((0, 12), (12, 48), (12, 68)), red=((11, 30), (20, 24), (20, 24)))
    truth[11] = classes(green=((11, 12), (12, 40), (12, 60)), red=((11, 12), (45, 49), (20, 24)))[
        11
    ]
    axial, _ = choose_views(body(), truth, spacing_mm=SPACING_MM)
    assert axial.index == 11


def test_without_labels_the_predictions_decide_and_then_the_middle():
    axial, _ = choose_views(body(), NOTHING, [LEFT_FRONT_HEAD], spacing_mm=SPACING_MM)
    assert 20 <= axial.index < 27
    axial, coronal = choose_views(body(), NOTHING, [NOTHING], spacing_mm=SPACING_MM)
    assert (axial.index, coronal.index) == (15, 30)


def test_views_are_cropped_to_the_body_and_its_labels():
    axial, coronal = choose_views(body(), LEFT_FRONT_HEAD, spacing_mm=SPACING_MM)
    assert (axial.rows, axial.columns) == (slice(5, 55), slice(3, 76))
    assert coronal.rows == slice(10, 30)
    assert axial.size_mm == (100.0, 73 * 1.5)
    assert coronal.of(LEFT_FRONT_HEAD).shape == (20, 73)


def test_a_scan_of_air_is_shown_whole():
    air = np.full(SHAPE, -1000, np.int16)
    axial, coronal = choose_views(air, NOTHING, spacing_mm=SPACING_MM)
    assert axial.of(air).shape == SHAPE[1:]
    assert coronal.of(air).shape == (SHAPE[0], SHAPE[2])


# --- pictures ---------------------------------------------------------------------------------


def test_left_is_right_front_is_up_and_so_is_the_head():
    figure = draw(NOTHING, {"network": LEFT_FRONT_HEAD})
    axial, coronal = figure.axes
    expected = {
        # middle of the box in the cropped view: (rows from the top, columns)
        axial: ((18 - 5) / 50, (58 - 3) / 73),
        coronal: ((30 - 23.5) / 20, (58 - 3) / 73),
    }
    for axes, place in expected.items():
        share, found = share_and_place(pixels(figure, axes), RED)
        assert share > 0.02
        assert found == pytest.approx(place, abs=0.02)


def test_millimetres_are_in_proportion():
    figure = draw(LEFT_FRONT_HEAD, {"network": LEFT_FRONT_HEAD})
    views = choose_views(body(), LEFT_FRONT_HEAD, spacing_mm=SPACING_MM)
    for axes, view in zip(figure.axes, views, strict=True):
        height, width = pixels(figure, axes).shape[:2]
        assert height / width == pytest.approx(view.size_mm[0] / view.size_mm[1], rel=0.02)


def test_the_truth_is_an_outline_and_the_prediction_a_fill():
    box = ((10, 20), (15, 45), (20, 60))
    outline, fill = (
        share_and_place(pixels(figure, figure.axes[0]), GREEN)[0]
        for figure in (draw(classes(green=box), {}), draw(NOTHING, {"a": classes(green=box)}))
    )
    assert fill == pytest.approx(30 * 40 / (50 * 73), rel=0.05)
    assert 0 < outline < fill / 4


def test_each_network_has_a_column_and_the_same_outline():
    right = classes(green=((10, 20), (15, 45), (20, 60)))
    figure = draw(right, {"first": NOTHING, "second": right})
    assert [axes.get_title() for axes in figure.axes] == ["first", "second", "", ""]
    first, second = (share_and_place(pixels(figure, axes), GREEN)[0] for axes in figure.axes[:2])
    assert 0 < first < second


def test_without_networks_the_truth_stands_alone():
    figure = draw(LEFT_FRONT_HEAD, {})
    assert figure.axes[0].get_title() == "ground truth"
    assert legend(figure) == ["left kidney", "outline: ground truth"]


def test_the_legend_names_what_is_seen_and_what_was_not_annotated():
    prediction = classes(red=((20, 27), (12, 24), (50, 66)), green=((20, 27), (30, 40), (20, 40)))
    figure = draw(LEFT_FRONT_HEAD, {"network": prediction}, annotated=[1])
    assert legend(figure) == [
        "left kidney",
        "liver (not annotated)",
        "outline: ground truth",
        "fill: prediction",
    ]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_an_organ_at_the_edge_of_the_scan_is_outlined_within_the_picture():
    figure = draw(classes(red=((0, 30), (0, 60), (0, 80))), {})
    left, right, bottom, top = *figure.axes[1].get_xlim(), *figure.axes[1].get_ylim()
    (outline,) = figure.axes[1].collections[0].get_paths()
    assert outline.vertices.min(0) == pytest.approx((left, bottom), abs=1e-6)
    assert outline.vertices.max(0) == pytest.approx((right, top), abs=1e-6)


def test_a_picture_is_written_as_png(tmp_path):
    path = tmp_path / "new" / "case.png"
    write_overlay(draw(LEFT_FRONT_HEAD, {"network": LEFT_FRONT_HEAD}, title="set/case"), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["case.png"]


def test_a_focus_decides_the_slices_unless_it_is_empty():
    stray = classes(green=((3, 5), (30, 33), (20, 24)))
    axial, coronal = choose_views(
        body(), LEFT_FRONT_HEAD, [NOTHING], spacing_mm=SPACING_MM, focus=stray
    )
    assert (axial.index, coronal.index) == (3, 30)
    without = choose_views(body(), LEFT_FRONT_HEAD, [NOTHING], spacing_mm=SPACING_MM)
    empty = choose_views(body(), LEFT_FRONT_HEAD, [NOTHING], spacing_mm=SPACING_MM, focus=NOTHING)
    assert empty == without


def test_what_is_wrong_about_a_group_is_what_any_run_has_too_much_or_too_little():
    truth = np.array([[[0, 1, 1, 0, 2]]], np.uint8)
    rows = [0, 1, 0, 0, 2], [1, 1, 1, 0, 0]
    runs = [np.array([[row]], np.uint8) for row in rows]
    np.testing.assert_array_equal(_wrong(truth, runs, (0, 1, 2), 1), [[[1, 0, 1, 0, 0]]])
    # classes 1 and 2 are one group: which of them is said does not matter
    merged = np.array([[[0, 1, 1, 0, 1]]], np.uint8)
    runs = [np.array([[[0, 2, 1, 0, 0]]], np.uint8)]
    np.testing.assert_array_equal(_wrong(merged, runs, (0, 1, 1), 1), [[[0, 0, 0, 0, 1]]])


def test_what_nobody_looked_at_is_hatched_and_chooses_no_slice():
    truth = LEFT_FRONT_HEAD.copy()
    truth[:20] = 255
    plain, hatched = draw(LEFT_FRONT_HEAD, {}), draw(truth, {})
    legend = [text.get_text() for text in hatched.legends[0].get_texts()]
    assert "hatched: nobody looked" in legend
    assert "hatched: nobody looked" not in [t.get_text() for t in plain.legends[0].get_texts()]
    views = choose_views(body(), LEFT_FRONT_HEAD, spacing_mm=SPACING_MM)
    assert views[0].index >= 20  # as without the ignored slices, of which none is shown here
    shown = [pixels(figure, figure.axes[0]) for figure in (plain, hatched)]
    assert np.abs(shown[0][20:-20, 20:-20] - shown[1][20:-20, 20:-20]).mean() < 0.01
    assert not _wrong(truth, [LEFT_FRONT_HEAD], (0, 1, 2), 1)[:20].any()
