"""The sliding window's windows on real patients: no voxel of an organ is outside all of them."""

import numpy as np
import pytest

from manifests.volumes.grid import harmonised_grid
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.resampling.resampling import resample_image, resample_label
from manifests.volumes.volume import Volume, read_volume
from train.prediction.windows import body_blocks, layers, padded

SCANS = ("example_ct", "example_ct_sm", "example_ct_dicom")


@pytest.mark.parametrize("window", [(48, 128, 128), (16, 32, 32), (8, 16, 16)])
@pytest.mark.parametrize("scan", SCANS)
def test_all_structures_are_seen(scan, window, shared_data):
    folder = shared_data / "totalsegmentator" / scan
    image = to_hounsfield(read_volume(folder / "image.nii.gz"), folder)
    label = read_volume(folder / "label.nii.gz").voxels.astype(np.uint8)
    grid = harmonised_grid(image.grid, (1.5, 1.5, 3.0))
    ids = resample_label(Volume(label, image.grid), grid).voxels
    hu, inner = padded(resample_image(image, grid).voxels, window)
    seen = np.zeros(hu.shape, np.bool_)
    for _, places in layers(hu, window, 0.5):
        for place in places:
            seen[place] = True
    assert (seen[inner] | (ids == 0)).all()
    assert not body_blocks(hu).all()  # there is air around a patient to be passed over
