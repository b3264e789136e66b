"""Sliding window: a network's answer on a volume larger than the patches it was trained on.

The sums are held on the device, for as many slices as a window is high and no more: what lies above
the next layer of windows is finished and handed on. With n classes that are anywhere near, windows
of p_z slices and a volume of Y x X voxels a slice (or the window's, if that is larger) they take

    4 (n + 1) p_z Y X bytes,

however long the scan is, and shifting them one class's part more. The network's own memory for
windows of about 2^21 voxels comes on top.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from manifests.ground.errors import TrainingError
from manifests.volumes.readers.repairs import AS_USUAL, Repairs
from train.device import autocast, full_float32
from train.model import Model
from train.networks.network import for_device
from train.prediction.class_field import (
    LEAST,
    ClassField,
    SlabProbabilities,
    class_field,
    first_greatest,
    planes_of,
)
from train.prediction.mirroring import mirrored_mean
from train.prediction.windows import HuVolume, Window, layers, padded

ClassVolume = UInt8[np.ndarray, "z y x"]
ClassProbabilities = Float[Tensor, "classes z y x"]

OVERLAP = 0.5
_SIGMA = 0.125  # of the Gaussian weights, as a share of the window; MONAI's and nnU-Net's
_LEAST_WEIGHT = 1e-3
_VOXELS_AT_ONCE = 2**21  # of the windows that pass through the network together
_VALUES_AT_ONCE = 2**25  # of their probabilities


@dataclass(frozen=True)
class Predictor:
    """A network, and how it is applied to volumes larger than the patches it was trained on.

    Attributes:
        device: Where the network runs and the sums are held.
        overlap: Share of a window, along each axis, that the next one covers again.
        mirror_axes: Average over mirror images along these of z, y, x (0, 1, 2).
        repairs: What may be done to scans whose slices do not make up a grid.
    """

    model: Model
    device: torch.device | str
    overlap: float = OVERLAP
    mirror_axes: tuple[int, ...] = ()
    repairs: Repairs = AS_USUAL


def probabilities(
    predictor: Predictor, hu: HuVolume, *, dtype: torch.dtype = torch.float32
) -> ClassProbabilities:
    """Return each class's probability in each voxel, on the CPU.

    Windows overlap, and where they do their probabilities are averaged with Gaussian weights that
    favour a window's centre. A class that is less probable than `LEAST` in all of a window counts
    as absent there. Windows that hold nothing but air are background, unseen by the network. A
    volume smaller than the window is padded with air for the network and comes back in its own
    size. The networks of an ensemble take turns, so that however many they are there is one
    result, and one sum at a time.

    Args:
        predictor: The network.
        hu: Hounsfield units [z, y, x] on a grid of the model's spacing, axes along LPS.
        dtype: Of the result; the sums are float32.
    """
    result = torch.zeros((len(predictor.model.label_space), *hu.shape), dtype=dtype)
    for planes, probs in _sweep(predictor, hu):
        for c, prob in probs.items():
            result[c, planes] = prob.to(dtype)
    # a running mean never leaves 0 to 1, where half precision rounds least
    for n, other in enumerate(predictor.model.others, start=2):
        for planes, probs in _sweep(replace(predictor, model=other), hu):
            for c, mean in enumerate(result[:, planes]):
                new = probs.get(c, torch.zeros(()))
                mean.copy_(mean.to(new).add_(new - mean.to(new), alpha=1 / n))
    return result


def predict_field(
    predictor: Predictor, hu: HuVolume, *, keep: bool = False
) -> tuple[ClassField, ClassProbabilities | None]:
    """Return the most probable classes, and the probabilities of `probabilities` where they meet.

    All probabilities are in memory only if the model is an ensemble, as half precision, or if they
    are to be kept: then they are the second that is returned.
    """
    if not keep:
        return class_field(_slabs(predictor, hu), hu.shape), None
    dtype = torch.float16 if predictor.model.others else torch.float32
    whole = probabilities(predictor, hu, dtype=dtype)
    return class_field(_slabs_of(whole), hu.shape), whole.half()


def predict_classes(predictor: Predictor, hu: HuVolume, *, least: float = 0.0) -> ClassVolume:
    """Return the most probable class id of each voxel; of equally probable ones the first.

    A voxel whose class is less probable than `least` is `IGNORED`.
    """
    result = np.empty(hu.shape, np.uint8)
    for plane, probs in zip(result, planes_of(_slabs(predictor, hu)), strict=True):
        plane[...] = first_greatest(probs, least=least)
    return result


def _slabs(predictor: Predictor, hu: HuVolume) -> Iterator[SlabProbabilities]:
    """Yield the probabilities of some slices at a time, from the feet up."""
    if not predictor.model.others:
        return (probs for _, probs in _sweep(predictor, hu))
    whole = probabilities(predictor, hu, dtype=torch.float16)
    return _slabs_of(whole)


def _slabs_of(whole: ClassProbabilities) -> Iterator[SlabProbabilities]:
    return (dict(enumerate(plane[:, None].float())) for plane in whole.unbind(1))


def _sweep(predictor: Predictor, hu: HuVolume) -> Iterator[tuple[slice, SlabProbabilities]]:
    """Yield some slices and their probabilities at a time, from the feet up.

    The probabilities hold until the next are asked for.
    """
    model, device = predictor.model, torch.device(predictor.device)
    window = model.patch_size_zyx
    volume, inner = padded(hu, window)
    values = len(model.label_space) * math.prod(window)
    at_once = max(1, min(_VOXELS_AT_ONCE // math.prod(window), _VALUES_AT_ONCE // values))
    sums = _WeightedSums(window, volume.shape[1:], device)
    predict = mirrored_mean(model, predictor.mirror_axes)
    network = for_device(model.network, device)
    with (
        _evaluating(network),
        torch.inference_mode(),
        autocast(model.precision, device),
        full_float32(model.precision),
    ):
        end = (len(volume), [])
        for (z, layer), (following, _) in pairwise(
            (*layers(volume, window, predictor.overlap), end)
        ):
            for n in range(0, len(layer), at_once):
                places = layer[n : n + at_once]
                images = np.stack([volume[place] for place in places]).astype(np.float32)
                images = model.normalisation.apply(torch.from_numpy(images)[:, None].to(device))
                sums.add(predict(images), places)
            first, last = max(z, inner[0].start), min(following, inner[0].stop)
            finished = sums.finish(following - z)
            if not all(prob.sum().isfinite() for prob in finished.values()):
                msg = (
                    f"the network gives no numbers for slices {z} to {following} of "
                    f"{len(volume)} on its grid, but NaN, in {model.precision}: use another "
                    f"checkpoint of the run, or predict with --device cpu"
                )
                raise TrainingError(msg)
            part = (slice(first - z, last - z), *inner[1:])
            planes = slice(first - inner[0].start, last - inner[0].start)
            if first < last:
                yield planes, {c: prob[part] for c, prob in finished.items()}
            sums.shift(following - z)


def gaussian_weights(window: Sequence[int], device: torch.device) -> Float[Tensor, "z y x"]:
    """Return what each voxel of a window counts: most in its centre, and at least a thousandth.

    Source: nnU-Net's `compute_gaussian`, in the arithmetic of MONAI's `compute_importance_map`.
    """
    weights = torch.ones((), device=device)
    for n in window:
        from_centre = torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2
        along = torch.exp(from_centre**2 / (-2 * (_SIGMA * n) ** 2))
        weights = weights[..., None] * along
    return weights.clamp(min=_LEAST_WEIGHT)


class _WeightedSums:
    """Weighted sums of the probabilities of as many slices as a window is high.

    Attributes:
        probs: Of the classes that the windows of these slices show; the background is always there.
    """

    def __init__(
        self, window: Sequence[int], shape_yx: tuple[int, ...], device: torch.device
    ) -> None:
        self.weight = torch.zeros((window[0], *shape_yx), device=device)
        self.gauss = gaussian_weights(window, device)
        self.probs: dict[int, Tensor] = {0: torch.zeros_like(self.weight)}
        self.shifts = dict[int, int]()  # how many slices have gone since a class was last seen

    def add(self, probs: Float[Tensor, "windows classes z y x"], places: Sequence[Window]) -> None:
        for answer, (_, y, x) in zip(probs, places, strict=True):
            for c, greatest in enumerate(answer.amax((1, 2, 3)).tolist()):
                if greatest < LEAST:
                    continue
                if c not in self.probs:
                    self.probs[c] = torch.zeros_like(self.weight)
                self.probs[c][:, y, x].addcmul_(answer[c], self.gauss)
                self.shifts[c] = 0
            self.weight[:, y, x] += self.gauss

    def finish(self, depth: int) -> SlabProbabilities:
        """Return the mean in the lowest slices, to which no window will be added.

        Where there was no window is background.
        """
        weight = self.weight[:depth]
        unseen = weight == 0
        self.probs[0][:depth].masked_fill_(unseen, 1)
        weight = weight.masked_fill_(unseen, 1)
        return {c: sums[:depth].div_(weight) for c, sums in sorted(self.probs.items())}

    def shift(self, depth: int) -> None:
        """Make room for the next slices in place of the lowest."""
        for c in list(self.shifts):
            self.shifts[c] += depth
            if c and self.shifts[c] >= len(self.weight):
                del self.shifts[c], self.probs[c]
        for sums in (*self.probs.values(), self.weight):
            sums[:-depth] = sums[depth:].clone()
            sums[-depth:] = 0


@contextmanager
def _evaluating(network: nn.Module) -> Generator[None]:
    """Switch off dropout and batch statistics, and put the network back as it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
