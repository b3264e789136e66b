"""Surfaces: the organs of a label map as smooth meshes in one glTF file."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter, zoom
from skimage.measure import block_reduce, marching_cubes

from manifests.classes.colour_tables import rgb
from manifests.classes.label_space import IGNORED, LabelSpace
from manifests.ground.atomic import whole_file
from manifests.ground.errors import ExportError
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

STEP_MM = 3.0  # between the points of a surface, at first
COARSER = 1.25  # times the step, while a file is too large
BYTES_FOR_CLASS = 100_000  # of the file, on average
SMOOTHING_STEPS = 0.7  # standard deviation of the Gaussian, in steps
OFF_A_POINT = 1e-4  # a level that is a point's own value would make corners meet there
MM_IN_METRE = 1000.0

Vertices = Float[np.ndarray, "vertices 3"]
Faces = Int[np.ndarray, "faces 3"]

# glTF's axes, right-handed: x to the patient's left, y to the head, z to the front
GLTF_FROM_LPS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def plan_surfaces(labels: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the file for each label map; those of prepared cases are called by their cases.

    Raises:
        ExportError: Two would have one name.
    """
    planned: dict[Path, Path] = {}
    for path in labels:
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        if name == "label":
            name = "_".join(path.resolve().parts[-3:-1])
        target = folder / f"{name}.glb"
        if target in planned.values():
            msg = f"{target}: two label maps would have this name; give them different folders"
            raise ExportError(msg)
        planned[path] = target
    return planned


def write_surfaces(labels: Volume, space: LabelSpace, path: Path) -> list[str]:
    """Write one mesh for each class that has voxels, with its name and colour.

    A mesh is a level surface of the smoothed share of the class, at the level that encloses the
    volume of its voxels.
    Distances are in metres, as glTF wants it; seen from its front, the patient stands upright with
    the left on the right. Surfaces are as fine as `BYTES_FOR_CLASS` allows.

    Args:
        labels: Class ids [z, y, x].
        space: The classes.
        path: The `.glb` file to write.

    Returns:
        The names of the classes that are there.

    Raises:
        ExportError: trimesh is not installed, or there is no voxel of any class.
    """
    if find_spec("trimesh") is None:
        msg = "surfaces are written by trimesh, which is not there: pip install 'marginalia[mesh]'"
        raise ExportError(msg)
    present = [int(n) for n in np.unique(labels.voxels) if 0 < n < min(len(space), IGNORED)]
    if not present:
        msg = f"no voxel of a class of {space.name}: expected class ids from 1 to {len(space) - 1}"
        raise ExportError(msg)
    step_mm = STEP_MM
    while len(content := _glb(labels, space, present, step_mm)) > BYTES_FOR_CLASS * len(present):
        step_mm *= COARSER
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return [space.names[n] for n in present]


def surface(
    mask: Bool[np.ndarray, "z y x"], grid: Grid, *, step_mm: float
) -> tuple[Vertices, Faces]:
    """Return the surface of a mask: vertices in LPS millimetres, and triangles that face outwards.

    Args:
        mask: Where the structure is.
        grid: Where the mask lies.
        step_mm: About the distance of neighbouring vertices.
    """
    spacing_mm = np.array(grid.spacing_mm[::-1])
    corner = np.array([ax.min() for ax in np.nonzero(mask)])
    stop = np.array([ax.max() for ax in np.nonzero(mask)]) + 1
    part = mask[tuple(map(slice, corner, stop))]
    blocks = np.maximum(1, np.round(step_mm / spacing_mm)).astype(int)
    size: Any = tuple(blocks.tolist())  # the stub knows one number only
    coarse = np.pad(block_reduce(part.astype(np.float32), size, np.mean), 3)
    # thick slices: as many points along z as across
    wanted = np.maximum(1.0, blocks * spacing_mm / step_mm)
    share = zoom(coarse, wanted, order=1, grid_mode=True, mode="grid-constant")
    finer = np.array(share.shape) / coarse.shape
    share = gaussian_filter(share, SMOOTHING_STEPS)
    inside = part.sum() / (np.prod(blocks) / np.prod(finer))  # points, for the same volume
    points, faces, _, _ = marching_cubes(share, _level(share, max(1, round(inside))))
    # from points of the finer grid, whose edges are those of the blocks, to voxels of the mask
    voxels_zyx = ((points + 0.5) / finer - 3) * blocks - 0.5 + corner
    affine = np.asarray(grid.affine_lps)
    vertices = voxels_zyx[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    if np.linalg.det(affine[:3, :3]) < 0:
        faces = faces[:, ::-1]
    return vertices, np.ascontiguousarray(faces)


def _level(share: Float[np.ndarray, "z y x"], count: int) -> float:
    """Return the level above which so many points lie: smoothing shrinks no structure then."""
    above, below = np.partition(share.ravel(), (-count, -count - 1))[[-count, -count - 1]]
    return float(above + below) / 2 - OFF_A_POINT


def _glb(labels: Volume, space: LabelSpace, present: list[int], step_mm: float) -> bytes:
    trimesh = importlib.import_module("trimesh")
    scene: Any = trimesh.Scene()
    for n in present:
        vertices, faces = surface(labels.voxels == n, labels.grid, step_mm=step_mm)
        in_metres = vertices @ GLTF_FROM_LPS.T / MM_IN_METRE
        material = trimesh.visual.material.PBRMaterial(
            name=space.names[n],
            baseColorFactor=[*rgb(space.classes[n - 1].colour), 255],
            metallicFactor=0.0,
        )
        visual = trimesh.visual.TextureVisuals(material=material)
        mesh = trimesh.Trimesh(in_metres, faces, visual=visual, process=False)
        scene.add_geometry(mesh, node_name=space.names[n], geom_name=space.names[n])
    return scene.export(file_type="glb")
