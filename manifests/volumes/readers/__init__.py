"""Readers of volumes: NIfTI, DICOM, and the other formats of ITK.

Each returns the voxels [z, y, x], where they lie, and what was noticed. It raises a `SetAsideError`
if a file is damaged or is not one volume, and a `GeometryError` if its spacing or size makes no
sense.
"""
