"""Label map files: class ids as NIfTI that lies on its scan in every viewer."""

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from isal import isal_zlib
from nibabel.nifti1 import Nifti1Header, Nifti1Image

from manifests.ground.atomic import whole_file
from manifests.ground.findings import SetAsideError
from manifests.volumes.grid import Grid
from manifests.volumes.readers.nifti import SUFFIXES as NIFTI_SUFFIXES
from manifests.volumes.readers.nifti import read_header

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NOTE = re.compile(rb"marginalia-[0-9a-f]{16} [0-9a-f]{16}")
# all that a viewer may place an array by: which of the two forms it takes is the viewer's choice
PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


def write_label_map(
    labels: sitk.Image, output: Path, *, scan: Path | None = None, note: str = ""
) -> None:
    """Write class ids as NIfTI, with a note in the header's description.

    If they lie on the grid of a NIfTI `scan`, the label map has both of its forms, with their
    codes, as they stand (a qfac of 0 is written as the 1 that it means).
    """
    voxels = sitk.GetArrayViewFromImage(labels).T
    if scan is None or scan.is_dir() or not scan.name.lower().endswith(NIFTI_SUFFIXES):
        affine_ras = RAS_FROM_LPS @ Grid.of(labels).affine_lps
        made = Nifti1Image(voxels, affine_ras, dtype=voxels.dtype)
        made.set_qform(affine_ras, code="scanner")
        made.set_sform(affine_ras, code="scanner")
        made.header.set_xyzt_units("mm")
    else:
        header, of_scan = Nifti1Header(), read_header(scan)
        for name in PLACE:
            header[name] = of_scan[name]
        made = Nifti1Image(voxels, None, header, dtype=voxels.dtype)
    made.header["descrip"] = note.encode()
    made.header.set_intent("label")  # a viewer shows colours then, and no greys
    with whole_file(output) as temporary:
        made.to_filename(temporary)


def note_of(path: Path) -> str:
    """Return the note of a label map of ours; empty if the file is none."""
    try:
        found = _NOTE.match(read_header(path)["descrip"].tobytes())
    # the library's stub takes its exception for an instance
    except (OSError, EOFError, SetAsideError, isal_zlib.error):  # pyright: ignore[reportGeneralTypeIssues]
        return ""
    return found[0].decode() if found else ""
