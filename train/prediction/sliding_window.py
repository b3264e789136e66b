"""Sliding window: a network's answer on a volume larger than the patches it was trained on.

The sums are held on the device, for as many slices as a window is high and no more: what lies above
the next layer of windows is finished and handed on. With N classes, windows of p_z slices and a
volume of Y x X voxels a slice (or the window's, if that is larger) they take

    4 (N + 1) p_z Y X bytes,

however long the scan is, and shifting them one class's part more. The network's own memory for
windows of about 2^21 voxels comes on top.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from monai.data.utils import compute_importance_map
from torch import Tensor, nn

from manifests.ground.errors import TrainingError
from manifests.volumes.grid import AIR_HU
from train.device import autocast, full_float32
from train.model import Model
from train.networks.network import for_device
from train.prediction.mirroring import mirrored_mean

HuVolume = Int16[np.ndarray, "z y x"] | Float[np.ndarray, "z y x"]
ClassVolume = UInt8[np.ndarray, "z y x"]
ClassProbabilities = Float[Tensor, "classes z y x"]
PaddedVolume = Int16[np.ndarray, "pad_z pad_y pad_x"] | Float[np.ndarray, "pad_z pad_y pad_x"]

OVERLAP = 0.5
_SIGMA = 0.125  # of the Gaussian weights, as a share of the window; MONAI's and nnU-Net's
_VOXELS_AT_ONCE = 2**21  # of the windows that pass through the network together


@dataclass(frozen=True)
class Predictor:
    """A network, and how it is applied to volumes larger than the patches it was trained on.

    Attributes:
        device: Where the network runs and the sums are held.
        overlap: Share of a window, along each axis, that the next one covers again.
        mirror_axes: Average over mirror images along these of z, y, x (0, 1, 2).
    """

    model: Model
    device: torch.device | str
    overlap: float = OVERLAP
    mirror_axes: tuple[int, ...] = ()


def probabilities(
    predictor: Predictor, hu: HuVolume, *, dtype: torch.dtype = torch.float32
) -> ClassProbabilities:
    """Return each class's probability in each voxel, on the CPU.

    Windows overlap, and where they do their probabilities are averaged with Gaussian weights that
    favour a window's centre. A volume smaller than the window is padded with air for the network
    and comes back in its own size. The networks of an ensemble take turns, so that however many
    they are there is one result, and one sum at a time.

    Args:
        predictor: The network.
        hu: Hounsfield units [z, y, x] on a grid of the model's spacing, axes along LPS.
        dtype: Of the result; the sums are float32.
    """
    result = torch.empty((len(predictor.model.label_space), *hu.shape), dtype=dtype)
    for planes, probs in _sweep(predictor, hu):
        result[:, planes] = probs.to(dtype)
    # a running mean never leaves 0 to 1, where half precision rounds least
    for n, other in enumerate(predictor.model.others, start=2):
        for planes, probs in _sweep(replace(predictor, model=other), hu):
            mean = result[:, planes].to(probs)
            result[:, planes] = mean.add_(probs - mean, alpha=1 / n).to(dtype)
    return result


def predict_classes(predictor: Predictor, hu: HuVolume) -> ClassVolume:
    """Return the most probable class id of each voxel; of equally probable ones the first.

    The probabilities are those of `probabilities`, but never all in memory unless it is an
    ensemble, when they are of half precision.
    """
    if predictor.model.others:
        return probabilities(predictor, hu, dtype=torch.float16).argmax(0).to(torch.uint8).numpy()
    result = np.empty(hu.shape, np.uint8)
    for planes, probs in _sweep(predictor, hu):
        result[planes] = probs.argmax(0).to(torch.uint8).cpu().numpy()
    return result


def _sweep(predictor: Predictor, hu: HuVolume) -> Iterator[tuple[slice, ClassProbabilities]]:
    """Yield some slices and their probabilities at a time, from the feet up.

    The probabilities hold until the next are asked for.
    """
    model, device = predictor.model, torch.device(predictor.device)
    window = model.patch_size_zyx
    padded, inner = _padded(hu, window)
    starts = [_starts(n, w, predictor.overlap) for n, w in zip(padded.shape, window, strict=True)]
    at_once = max(1, _VOXELS_AT_ONCE // math.prod(window))
    sums = _WeightedSums(model, (window[0], *padded.shape[1:]), device)
    predict = mirrored_mean(model, predictor.mirror_axes)
    network = for_device(model.network, device)
    with (
        _evaluating(network),
        torch.inference_mode(),
        autocast(model.precision, device),
        full_float32(model.precision),
    ):
        for z, following in pairwise((*starts[0], len(padded))):
            layer = [_place((z, y, x), window) for y, x in product(*starts[1:])]
            for n in range(0, len(layer), at_once):
                places = layer[n : n + at_once]
                hu = np.stack([padded[place] for place in places]).astype(np.float32)
                images = model.normalisation.apply(torch.from_numpy(hu)[:, None].to(device))
                sums.add(predict(images), places)
            first, last = max(z, inner[0].start), min(following, inner[0].stop)
            finished = sums.finish(following - z)[:, first - z : last - z, *inner[1:]]
            if not finished.sum().isfinite():  # each voxel's probabilities sum to 1
                msg = (
                    f"the network gives no numbers for slices {z} to {following} of "
                    f"{len(padded)} on its grid, but NaN, in {model.precision}: use another "
                    f"checkpoint of the run, or predict with --device cpu"
                )
                raise TrainingError(msg)
            yield slice(first - inner[0].start, last - inner[0].start), finished
            sums.shift(following - z)


class _WeightedSums:
    """Weighted sums of the probabilities of as many slices as a window is high."""

    def __init__(self, model: Model, shape: tuple[int, ...], device: torch.device | str) -> None:
        self.probs = torch.zeros((len(model.label_space), *shape), device=device)
        self.weight = torch.zeros(shape, device=device)
        window = model.patch_size_zyx
        self.gauss = compute_importance_map(
            window, mode="gaussian", sigma_scale=_SIGMA, device=device
        )

    def add(self, probs: Float[Tensor, "windows classes z y x"], places: Sequence[tuple]) -> None:
        for answer, (_, y, x) in zip(probs, places, strict=True):
            self.probs[:, :, y, x].addcmul_(answer, self.gauss)
            self.weight[:, y, x] += self.gauss

    def finish(self, depth: int) -> ClassProbabilities:
        """Return the mean in the lowest slices, to which no window will be added."""
        return self.probs[:, :depth].div_(self.weight[:depth])

    def shift(self, depth: int) -> None:
        """Make room for the next slices in place of the lowest."""
        for sums in (*self.probs, self.weight):
            sums[:-depth] = sums[depth:].clone()
            sums[-depth:] = 0


def _padded(hu: HuVolume, window: Sequence[int]) -> tuple[PaddedVolume, tuple[slice, slice, slice]]:
    """Put air around a volume smaller than a window, and return where the volume lies in it."""
    missing = [max(w - n, 0) for n, w in zip(hu.shape, window, strict=True)]
    z, y, x = (slice(m // 2, m // 2 + n) for m, n in zip(missing, hu.shape, strict=True))
    if any(missing):
        hu = np.pad(hu, [(m // 2, m - m // 2) for m in missing], constant_values=int(AIR_HU))
    return hu, (z, y, x)


def _starts(size: int, window: int, overlap: float) -> tuple[int, ...]:
    """Return where windows start along an axis: evenly, but the last ends with the volume."""
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((size - window) / step) + 1
    return tuple(min(n * step, size - window) for n in range(count))


def _place(start: Sequence[int], window: Sequence[int]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(s, s + w) for s, w in zip(start, window, strict=True))
    return z, y, x


@contextmanager
def _evaluating(network: nn.Module) -> Generator[None]:
    """Switch off dropout and batch statistics, and put the network back as it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
