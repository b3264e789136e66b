"""Volumes reoriented by ITK, which does it independently of the code under test."""

import SimpleITK as sitk

from manifests.volumes.volume import Volume


def oriented(volume: Volume, code: str) -> Volume:
    """The same voxels in the same place with axes that run as a code such as RAI says."""
    return Volume.of(sitk.DICOMOrient(volume.grid.image(volume.voxels), code))
