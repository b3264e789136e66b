"""Label map files: class ids as NIfTI that lies on its scan in every viewer."""

import re
from pathlib import Path

import SimpleITK as sitk
from isal import isal_zlib
from nibabel.nifti1 import Nifti1Header, Nifti1Image

from manifests.ground.atomic import whole_file
from manifests.ground.findings import SetAsideError
from manifests.volumes.readers.nifti import SUFFIXES as NIFTI_SUFFIXES
from manifests.volumes.readers.nifti import read_header

_ITK_DESCRIPTION = "ITK_FileNotes"
_NOTE = re.compile(rb"marginalia-[0-9a-f]{16} [0-9a-f]{16}")
# all that a viewer may place an array by: which of the two forms it takes is the viewer's choice
PLACE = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


def write_label_map(labels: sitk.Image, scan: Path, note: str, output: Path) -> None:
    """Write class ids on a scan's grid, with a note in the header's description.

    If the scan is NIfTI, the label map has both of its forms, with their codes, as they stand
    (a qfac of 0 is written as the 1 that it means).
    """
    with whole_file(output) as temporary:
        if scan.is_dir() or not scan.name.lower().endswith(NIFTI_SUFFIXES):
            labels.SetMetaData(_ITK_DESCRIPTION, note)
            sitk.WriteImage(labels, str(temporary), True)
            return
        header, of_scan = Nifti1Header(), read_header(scan)
        for name in PLACE:
            header[name] = of_scan[name]
        header["descrip"] = note.encode()
        voxels = sitk.GetArrayViewFromImage(labels).T
        Nifti1Image(voxels, None, header, dtype=voxels.dtype).to_filename(temporary)


def note_of(path: Path) -> str:
    """Return the note of a label map of ours; empty if the file is none."""
    try:
        found = _NOTE.match(read_header(path)["descrip"].tobytes())
    # the library's stub takes its exception for an instance
    except (OSError, EOFError, SetAsideError, isal_zlib.error):  # pyright: ignore[reportGeneralTypeIssues]
        return ""
    return found[0].decode() if found else ""
