"""The sliding window with networks whose answer is known."""

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers.utils import sliding_window_inference
from torch import nn

from manifests.classes.label_space import load_label_space
from train.model import Model, Normalisation
from train.prediction import sliding_window
from train.prediction.sliding_window import (
    Predictor,
    gaussian_weights,
    predict_classes,
    probabilities,
)

WINDOW = (8, 10, 12)
SPACE = load_label_space("pancreas_tumour")  # three classes
NORMALISATION = Normalisation(low_hu=-200.0, high_hu=300.0, mean_hu=50.0, std_hu=100.0)
BIASES = (0.3, -0.2, 1.0)


class Voxelwise(nn.Module):
    """Logits that depend on the voxel alone."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return torch.cat(
            [slope * images + b for slope, b in zip((1, -1, 2), BIASES, strict=True)], 1
        )


class Smoothing(nn.Module):
    """Logits that depend on the neighbours too, and training mode matters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.Dropout(0.5))

    def forward(self, images):
        return self.layers(images)


def predictor(network, **options):
    model = Model(network, SPACE, NORMALISATION, (1.5, 1.5, 3.0), WINDOW)
    return Predictor(model, "cpu", **options)


def volume(shape, seed=0):
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)


def whole(network, hu):
    """What the network says of the whole volume at once."""
    scaled = (np.clip(hu.astype(np.float32), -200, 300) - 50) / 100
    with torch.inference_mode():
        return network(torch.from_numpy(scaled)[None, None]).softmax(1)[0]


@pytest.mark.parametrize("shape", [(20, 23, 31), (8, 10, 12), (3, 30, 5), (1, 1, 1)])
def test_a_voxelwise_network_gives_the_same_as_on_the_whole(shape):
    hu = volume(shape)
    found = probabilities(predictor(Voxelwise()), hu)
    torch.testing.assert_close(found, whole(Voxelwise(), hu), rtol=0, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.75])
def test_probabilities_sum_to_one(overlap):
    found = probabilities(predictor(Smoothing(), overlap=overlap), volume((17, 19, 23)))
    torch.testing.assert_close(found.sum(0), torch.ones(17, 19, 23))


def test_a_constant_network_has_no_seams():
    class Constant(nn.Module):
        def forward(self, images):
            return torch.tensor(BIASES).view(1, 3, 1, 1, 1).expand(len(images), 3, *WINDOW)

    found = probabilities(predictor(Constant()), volume((20, 23, 31)))
    expected = torch.tensor(BIASES).softmax(0).view(3, 1, 1, 1).expand_as(found)
    torch.testing.assert_close(found, expected)


def test_a_window_as_large_as_the_volume_is_the_network_itself():
    hu = volume(WINDOW)
    network = Smoothing().eval()
    torch.testing.assert_close(
        probabilities(predictor(network), hu), whole(network, hu), rtol=0, atol=1e-5
    )


def test_overlapping_windows_favour_their_centres():
    class Border(nn.Module):
        """Wrong in the outermost voxels of each window, as networks are."""

        def forward(self, images):
            logits = torch.zeros(len(images), 3, *WINDOW)
            logits[:, 2] = 9.0
            logits[:, :, 1:-1, 1:-1, 1:-1] = torch.tensor([0.0, 9.0, 0.0]).view(1, 3, 1, 1, 1)
            return logits

    classes = predict_classes(predictor(Border()), volume((24, 30, 36)))
    assert (classes[1:-1, 1:-1, 1:-1] == 1).all()


def test_a_small_volume_is_padded_with_air():
    network = Voxelwise()
    probabilities(predictor(network), np.full((2, 2, 2), 100, np.int16))
    seen = network.seen[0]
    air = (NORMALISATION.low_hu - 50) / 100
    assert seen.shape == (1, 1, *WINDOW)
    assert (seen == air).sum() == np.prod(WINDOW) - 8


def test_the_network_comes_back_as_it_was():
    network = Smoothing().train()
    first, second = (probabilities(predictor(network), volume((9, 9, 9))) for _ in range(2))
    torch.testing.assert_close(first, second)  # no dropout
    assert network.training
    assert network.layers[1].training


def test_classes_are_the_most_probable():
    hu = volume((9, 11, 13))
    classes = predict_classes(predictor(Voxelwise()), hu)
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, whole(Voxelwise(), hu).argmax(0).numpy())
    assert set(np.unique(classes)) == {1, 2}


def test_a_read_only_memory_map_is_read(tmp_path):
    volume((9, 9, 9)).tofile(tmp_path / "image")
    mapped = np.memmap(tmp_path / "image", np.int16, "r", shape=(9, 9, 9))
    found = predict_classes(predictor(Voxelwise()), mapped)
    np.testing.assert_array_equal(found, predict_classes(predictor(Voxelwise()), volume((9, 9, 9))))


@pytest.mark.parametrize("shape", [(29, 23, 31), (8, 10, 12), (40, 12, 12), (3, 30, 5)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_the_sums_of_a_few_slices_are_monais_of_the_whole_volume(shape, overlap):
    hu = volume(shape)
    network = Smoothing().eval()
    found = probabilities(predictor(network, overlap=overlap), hu)
    scaled = NORMALISATION.apply(torch.from_numpy(hu))[None, None]
    expected = sliding_window_inference(
        scaled,
        roi_size=WINDOW,
        sw_batch_size=3,
        predictor=lambda windows: network(windows).softmax(1),
        overlap=overlap,
        mode="gaussian",
        cval=(NORMALISATION.low_hu - NORMALISATION.mean_hu) / NORMALISATION.std_hu,
    )
    torch.testing.assert_close(found, expected[0].detach(), rtol=0, atol=1e-5)
    classes = predict_classes(predictor(network, overlap=overlap), hu)
    np.testing.assert_array_equal(classes, found.argmax(0).numpy())


@pytest.mark.parametrize("window", [WINDOW, (1, 5, 160), (64, 160, 160)])
def test_a_windows_weights_are_monais(window):
    expected = compute_importance_map(window, mode="gaussian", sigma_scale=0.125)
    assert torch.equal(gaussian_weights(window, torch.device("cpu")), expected)


def test_sums_are_held_for_the_height_of_a_window_however_long_the_scan(monkeypatch):
    heights = []
    shift = sliding_window._WeightedSums.shift

    def watched(sums, depth):
        heights.append({probs.shape for probs in (*sums.probs.values(), sums.weight)})
        shift(sums, depth)

    monkeypatch.setattr(sliding_window._WeightedSums, "shift", watched)
    predict_classes(predictor(Voxelwise()), volume((90, 20, 24)))
    assert all(shapes == {(8, 20, 24)} for shapes in heights)


def test_sums_are_held_of_the_classes_that_are_near_and_of_no_others(monkeypatch):
    class Rare(nn.Module):
        """Class 1 wherever it is dense; class 2 nowhere."""

        def forward(self, images):
            dense = (images > 1).float()
            return torch.cat([9 - 18 * dense, 18 * dense - 9, torch.full_like(images, -30.0)], 1)

    held = []
    shift = sliding_window._WeightedSums.shift

    def watched(sums, depth):
        held.append(set(sums.probs))
        shift(sums, depth)

    monkeypatch.setattr(sliding_window._WeightedSums, "shift", watched)
    hu = np.zeros((60, 20, 24), np.int16)
    hu[30:34] = 290
    classes = predict_classes(predictor(Rare()), hu)
    np.testing.assert_array_equal(classes, hu > 0)
    assert held[0] == held[-1] == {0}
    assert {0, 1} in held
    assert not any(2 in classes for classes in held)
