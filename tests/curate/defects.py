"""Volumes to spoil: a small analytic abdomen, and NIfTI files whose every header field is set."""

import gzip

import nibabel as nib
import numpy as np

from curate.datasets.discover import SourceCase

SHAPE = (12, 20, 24)  # z, y, x
SPACING_MM = (0.8, 0.8, 2.5)
# From indices to RAS: x to the left and y to the back, as CT is stored most often.
AFFINE = np.array(
    [[-0.8, 0, 0, 100.0], [0, -0.8, 0, 90.0], [0, 0, 2.5, 30.0], [0, 0, 0, 1]], np.float64
)


def body():
    _, y, x = np.indices(SHAPE)
    return ((y - 9.5) / 8) ** 2 + ((x - 11.5) / 10) ** 2 < 1


def ct(dtype=np.int16):
    """An ellipse of soft tissue with a rim of fat, in air; noise of 8 HU."""
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    hu = np.where(body(), 50.0, -1000.0)
    hu[body() & ~np.roll(body(), 1, axis=2)] = -100.0
    return np.maximum(np.rint(hu + noise), -1024).astype(dtype)


def label(dtype=np.uint8):
    voxels = np.zeros(SHAPE, dtype)
    voxels[3:6, 8:12, 9:14], voxels[7, 9, 10] = 1, 2
    return voxels


def write_nifti(path, voxels, *, sform=AFFINE, qform=AFFINE, scaling=None, ending=b"", **fields):
    """Write the bytes of a NIfTI file as told, whether or not they make sense.

    Args:
        path: Compressed if it ends in .gz.
        voxels: Reversed order of the file's dimensions.
        sform: RAS; None leaves it out.
        qform: Likewise.
        scaling: Slope and intercept.
        ending: Bytes behind the voxels.
        fields: Header fields to replace at the end.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.T.shape)
    spacing = np.linalg.norm((AFFINE if sform is None else sform)[:3, :3], axis=0)
    header["pixdim"][1:4] = spacing
    if qform is not None:
        header.set_qform(qform, code=1)
    if sform is not None:
        header.set_sform(sform, code=2)
    header["magic"], header["vox_offset"] = b"n+1", 352
    if scaling:
        header["scl_slope"], header["scl_inter"] = scaling
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + bytes(4) + np.ascontiguousarray(voxels).tobytes() + ending
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)
    return path


def write_case(folder, image=None, label_voxels=None, *, in_image=None, in_label=None):
    """A case of two files; None is a good volume, and the rest is for their headers."""
    folder.mkdir(parents=True, exist_ok=True)
    case = SourceCase("d", folder.name, folder / "image.nii.gz", folder / "label.nii.gz")
    write_nifti(case.image, ct() if image is None else image, **(in_image or {}))
    voxels = label() if label_voxels is None else label_voxels
    write_nifti(case.label, voxels, **(in_label or {}))
    return case
