"""Organ surfaces: where they lie, how large they are, which way they face, and what they cost."""

import math
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from manifests.classes.label_space import IGNORED, load_label_space
from manifests.exports.commands import app
from manifests.exports.surfaces import GLTF_FROM_LPS, surface, write_surfaces
from manifests.ground.errors import ExportError
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume, read_volume, write_volume

trimesh = pytest.importorskip("trimesh")

CENTRE_MM, RADIUS_MM = np.array([12.0, -30.0, 55.0]), 30.0


@pytest.fixture
def space():
    return load_label_space("abdomen5")


def ball(spacing_mm, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    """A ball on a grid that holds it: its mask [z, y, x], and the grid."""
    size = [math.ceil(2 * RADIUS_MM / mm) + 9 for mm in spacing_mm]
    axes = np.reshape(direction, (3, 3)) @ np.diag(spacing_mm)
    origin = CENTRE_MM - axes @ (np.array(size) / 2 - 0.3)
    grid = Grid(tuple(size), spacing_mm, tuple(origin.tolist()), direction)
    index = np.indices(size).reshape(3, -1)
    points = axes @ index + origin[:, None]
    inside = np.linalg.norm(points - CENTRE_MM[:, None], axis=0) < RADIUS_MM
    return inside.reshape(size).transpose(2, 1, 0), grid


@pytest.mark.parametrize("step_mm", [2.0, 4.0])
@pytest.mark.parametrize(
    ("spacing_mm", "direction"),
    [
        ((1.5, 1.5, 3.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
        ((0.8, 0.8, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
        ((2.0, 2.0, 2.0), (1, 0, 0, 0, -1, 0, 0, 0, 1)),  # left-handed
        ((2.0, 2.0, 2.0), (0, 0, 1, 1, 0, 0, 0, 1, 0)),
    ],
)
def test_a_ball_has_its_place_its_volume_and_faces_outwards(spacing_mm, direction, step_mm):
    vertices, faces = surface(*ball(spacing_mm, direction), step_mm=step_mm)
    mesh = trimesh.Trimesh(vertices, faces)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * RADIUS_MM**3, rel=0.04)
    np.testing.assert_allclose(mesh.center_mass, CENTRE_MM, atol=0.5)
    np.testing.assert_allclose(
        np.linalg.norm(mesh.vertices - CENTRE_MM, axis=1), RADIUS_MM, atol=max(spacing_mm)
    )


def test_the_file_has_each_class_with_its_name_colour_and_place(space, tmp_path):
    mask, grid = ball((2.0, 2.0, 2.0))
    labels = np.where(mask, np.uint8(2), np.uint8(0))
    labels[0] = IGNORED
    labels[2, 2, 2] = 5  # one voxel
    names = write_surfaces(Volume(labels, grid), space, tmp_path / "a.glb")
    assert names == ["spleen", "right_kidney"]
    scene = trimesh.load(tmp_path / "a.glb")
    assert set(scene.geometry) == {"spleen", "right_kidney"}
    spleen = scene.geometry["spleen"]
    colour = bytes.fromhex(space.classes[1].colour.removeprefix("#"))
    assert bytes(spleen.visual.material.baseColorFactor[:3].tolist()) == colour
    # upright in metres: y is to the head, z to the front
    np.testing.assert_allclose(spleen.center_mass, np.array([12, 55, 30]) / 1000, atol=0.001)
    assert np.linalg.det(GLTF_FROM_LPS) == 1


def test_five_organs_take_half_a_megabyte_at_most(shared_data, space, tmp_path):
    folder = shared_data / "totalsegmentator" / "example_ct"
    volume = read_volume(folder / "label.nii.gz")
    large = np.where(volume.voxels <= 5, volume.voxels, 0).astype(np.uint8)
    fine = np.kron(large, np.ones((2, 2, 2), np.uint8))
    grid = replace(volume.grid, size_xyz=fine.shape[::-1], spacing_mm=(1.5, 1.5, 1.5))
    names = write_surfaces(Volume(fine, grid), space, tmp_path / "a.glb")
    assert len(names) == 5
    assert (tmp_path / "a.glb").stat().st_size < 500_000


def test_what_has_no_class_is_refused(space, tmp_path):
    mask, grid = ball((4.0, 4.0, 4.0))
    with pytest.raises(ExportError, match="expected class ids from 1 to 5"):
        write_surfaces(Volume(mask.astype(np.uint8) * 9, grid), space, tmp_path / "a.glb")
    assert not (tmp_path / "a.glb").exists()


def test_the_command_goes_on_after_a_file_that_has_nothing(tmp_path):
    mask, grid = ball((4.0, 4.0, 4.0))
    for name, value in (("a/1/label.nii", 1), ("b/1/label.nii", 9)):
        write_volume(Volume(mask.astype(np.uint8) * value, grid), tmp_path / name, is_label=True)
    words = ["mesh", *(str(tmp_path / f"{n}/1/label.nii") for n in "ba"), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3
    assert "a_1.glb: liver" in done.output
    assert (tmp_path / "a_1.glb").is_file()
