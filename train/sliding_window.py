"""Sliding window: a network's answer on a volume larger than the patches it was trained on."""

import math
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from manifests.grid import AIR_HU
from train.model import Model
from train.shapes import Images, Logits

HuVolume = Int16[np.ndarray, "z y x"] | Float[np.ndarray, "z y x"]
ClassVolume = UInt8[np.ndarray, "z y x"]
ClassProbabilities = Float[Tensor, "classes z y x"]

OVERLAP = 0.5
_VOXELS_AT_ONCE = 2**21  # of the windows that pass through the network together


def probabilities(
    model: Model, hu: HuVolume, *, device: torch.device | str, overlap: float = OVERLAP
) -> ClassProbabilities:
    """Return each class's probability in each voxel, float32 on the CPU.

    Windows overlap, and where they do their probabilities are averaged with Gaussian weights that
    favour a window's centre. A volume smaller than the window is padded with air for the network
    and comes back in its own size.

    Args:
        model: The network and how it wants its input.
        hu: Hounsfield units [z, y, x] on a grid of the model's spacing, axes along LPS.
        device: Where the network runs; the sums are held on the CPU.
        overlap: Share of a window, along each axis, that the next one covers again.
    """
    network = model.network.to(device)
    # a copy: a volume that is a read-only memory map cannot be shared with torch
    images = model.normalisation.apply(torch.from_numpy(np.array(hu, dtype=np.float32)))
    air = model.normalisation.apply(torch.tensor(AIR_HU))

    def predict(windows: Images) -> Logits:
        return network(windows).softmax(1).float()

    with _evaluating(network), torch.inference_mode():
        averaged = sliding_window_inference(
            images[None, None],
            roi_size=model.patch_size_zyx,
            sw_batch_size=max(1, _VOXELS_AT_ONCE // math.prod(model.patch_size_zyx)),
            predictor=predict,
            overlap=overlap,
            mode="gaussian",
            padding_mode="constant",
            cval=air.item(),
            sw_device=device,
            device="cpu",
        )
    assert isinstance(averaged, Tensor)  # it is a dict or a tuple only where the network's is
    return averaged[0]


def predict_classes(
    model: Model, hu: HuVolume, *, device: torch.device | str, overlap: float = OVERLAP
) -> ClassVolume:
    """Return the most probable class id of each voxel, uint8 [z, y, x].

    The arguments are those of `probabilities`. Of equally probable classes the first wins.
    """
    likely = probabilities(model, hu, device=device, overlap=overlap).argmax(0)
    return likely.to(torch.uint8).numpy()


@contextmanager
def _evaluating(network: nn.Module) -> Generator[None]:
    """Switch off dropout and batch statistics, and put the network back as it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
