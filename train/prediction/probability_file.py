"""Probability files: what a network answered on its own grid, for those who average elsewhere."""

import zipfile
from pathlib import Path

import numpy as np

from manifests.classes.label_space import LabelSpace
from manifests.ground.atomic import whole_file
from manifests.volumes.grid import Grid
from train.prediction.sliding_window import ClassProbabilities

SUFFIX = ".probabilities.npz"
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_FAST = 1  # of zlib's levels: probabilities are 0 or 1 nearly everywhere


def write_probabilities(
    probs: ClassProbabilities, grid: Grid, space: LabelSpace, output: Path, *, note: str = ""
) -> None:
    """Write each class's probability as a file that `numpy.load` opens.

    Args:
        probs: Each class's probability [N, z, y, x], on the CPU.
        grid: Where these lie.
        space: The classes.
        output: The file to write: `probabilities` (float16 [N, x, y, z]), `affine` (4 x 4, from
            the indices x, y, z to mm in RAS, as in NIfTI), `classes` (N names), `note`.
        note: What tells the network and the scan.
    """
    arrays = {
        "probabilities": probs.numpy().astype(np.float16, copy=False).transpose(0, 3, 2, 1),
        "affine": RAS_FROM_LPS @ grid.affine_lps,
        "classes": np.array(space.names),
    }
    with (
        whole_file(output) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive,
    ):
        for name, array in {**arrays, "note": np.array(note)}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def note_in_file(path: Path) -> str:
    """Return the note of a probability file; empty if the file is none."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("note.npy") as file:
            return str(np.lib.format.read_array(file, allow_pickle=False))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return ""
