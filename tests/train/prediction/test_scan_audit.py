"""Headers that the anatomy contradicts are told by prediction, in what it returns and keeps."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

from manifests.classes.label_space import load_label_space
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume, read_volume
from train.model import Model, Normalisation
from train.prediction.predict import predict_files
from train.prediction.sidecar import read_sidecar, sidecar_of
from train.prediction.sliding_window import Predictor

SPACE = load_label_space("abdomen5")
MEANS = (0.0, 100.0, 200.0, 300.0, 400.0, 500.0)  # HU of each class
GRID = Grid((80, 60, 80), (4.0, 4.0, 4.0), (-158.0, -118.0, -158.0))
# Middle and half width in LPS mm, about where adults have them.
ORGANS = {
    1: ((-70, -20, 40), (60, 60, 60)),
    2: ((100, 30, 50), (20, 30, 40)),
    3: ((10, -20, 10), (30, 8, 10)),
    4: ((60, 50, -20), (20, 20, 40)),
    5: ((-60, 60, -60), (20, 20, 40)),
}
SUSPECTS = ("laterality_suspect", "anteroposterior_suspect", "craniocaudal_suspect")


class ByIntensity(nn.Module):
    """Tells organs by their intensity, wherever they lie."""

    def forward(self, hu):
        return -((hu - torch.tensor(MEANS)[:, None, None, None]) ** 2)


class Background(nn.Module):
    def forward(self, hu):
        logits = torch.tensor([1.0, *[0.0] * 5]).view(1, 6, 1, 1, 1)
        return logits.expand(len(hu), -1, *hu.shape[2:])


def boxes(organs=ORGANS):
    """Organs as boxes in soft tissue without end: an image that says nothing of its axes."""
    voxels = np.zeros(GRID.size_xyz[::-1], np.int16)
    for n, (middle, half) in organs.items():
        low, high = (np.rint(GRID.index_xyz(np.add(middle, s * np.array(half)))) for s in (-1, 1))
        part = zip(low[::-1].astype(int), high[::-1].astype(int), strict=True)
        voxels[tuple(slice(a, b) for a, b in part)] = MEANS[n]
    voxels[0] = -1000  # a CT has air or fat
    return voxels


def predicted(tmp_path, image, network, **options):
    scan = tmp_path / "scan.nii.gz"
    sitk.WriteImage(image, scan)
    scale = Normalisation(-1024.0, 3000.0, 0.0, 1.0)
    model = Model(network, SPACE, scale, (4.0, 4.0, 4.0), (80, 60, 80))
    (result,) = predict_files(Predictor(model, "cpu"), [scan], tmp_path / "out", **options)
    assert result.reason == ""
    return result


def codes(result):
    return [f.code for f in result.findings if f.code in SUSPECTS]


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1)])
def test_the_new_label_map_tells_which_axes_are_turned(tmp_path, axes):
    voxels = np.flip(boxes(), tuple(2 - axis for axis in axes))
    result = predicted(tmp_path, GRID.image(voxels), ByIntensity())
    assert codes(result) == [SUSPECTS[axis] for axis in axes]


def test_sides_that_the_network_gave_are_no_evidence(tmp_path):
    swapped = {4: ORGANS[5], 5: ORGANS[4]}
    result = predicted(tmp_path, GRID.image(boxes(swapped)), ByIntensity())
    assert codes(result) == []


def test_the_suspicion_stays_beside_the_label_map(tmp_path):
    image = GRID.image(boxes()[:, :, ::-1])
    first = predicted(tmp_path, image, ByIntensity())
    content = json.loads(sidecar_of(first.output).read_text())
    assert content["label_map"] == first.output.name
    assert [f["code"] for f in content["findings"]] == [f.code for f in first.findings]
    again = predicted(tmp_path, image, ByIntensity())
    assert (again.outcome, again.findings) == ("skipped", first.findings)
    sidecar_of(first.output).write_text("{")
    assert read_sidecar(first.output) == ()


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_the_image_alone_tells_a_real_scan(shared_data, tmp_path, axis):
    scan = read_volume(shared_data / "totalsegmentator" / "example_ct" / "image.nii.gz")
    columns = np.abs(np.reshape(scan.grid.direction_lps, (3, 3))).argmax(axis=1)
    turned = scan.voxels if axis is None else np.flip(scan.voxels, 2 - columns[axis])
    image = Volume(turned, scan.grid)
    result = predicted(tmp_path, image.grid.image(image.voxels), Background())
    assert codes(result) == ([] if axis is None else [SUSPECTS[axis]])
