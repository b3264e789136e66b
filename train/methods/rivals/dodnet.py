"""DoDNet: a head whose weights depend on the image and on the class that is asked for.

Source: Zhang et al., "DoDNet: learning to segment multi-organ and tumors from multiple partially
labeled datasets", CVPR 2021.
"""

from typing import final

import torch
from torch import Tensor, nn

from train.methods.method import Method
from train.methods.rivals.foreground import ForegroundNetwork, ForegroundObjective, check_classes
from train.networks.network import NetworkSettings, UNetModule, build_network, drawn_weights
from train.shapes import ForegroundLogits, Images

_HEAD = ((8, 8), (8, 8), (8, 2))  # channels in and out of three 1 x 1 x 1 convolutions
HEAD_PARAMETERS = sum(i * o + o for i, o in _HEAD)


@final
class DynamicHeadNet(nn.Module):
    """A U-Net whose head's weights come from a controller, given the image and a one-hot task.

    A task is a foreground class. The encoder and the decoder run once, the head once for each task.
    """

    def __init__(self, unet: UNetModule, channels: tuple[int, int], tasks: int) -> None:
        """Draw new weights; `channels` are those at full resolution and in the bottleneck."""
        super().__init__()
        self.unet = unet
        self.tasks = tasks
        self.narrow = nn.Conv3d(channels[0], _HEAD[0][0], 1)
        self.controller = nn.Linear(channels[1] + tasks, HEAD_PARAMETERS)

    def forward(self, images: Images) -> ForegroundLogits:
        """Return the logits of every task, [B, tasks, z, y, x]."""
        features = self.unet.encode(images)
        heads = self.heads(features[-1])
        narrow = self.narrow(self.unet.decode(features)[-1])
        return _run(heads, narrow.flatten(2)).unflatten(2, images.shape[2:])

    def heads(self, bottleneck: Tensor) -> Tensor:
        """Return the parameters of the head for each image and task, [B, tasks, 162]."""
        seen = bottleneck.flatten(2).mean(2)[:, None].expand(-1, self.tasks, -1)
        task = torch.eye(self.tasks, device=seen.device, dtype=seen.dtype)
        return self.controller(torch.cat([seen, task.expand(len(seen), -1, -1)], 2))


def build(settings: NetworkSettings, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Return our network with a dynamic head in place of its output block."""
    padded = build_network(settings, num_classes, seed=seed)
    unet: UNetModule = padded.unet
    del unet.output_block  # a weight that is not used would have no gradient
    with drawn_weights(seed):
        channels = unet.filters[0], unet.filters[-1]
        padded.unet = DynamicHeadNet(unet, channels, num_classes - 1)
    return ForegroundNetwork(padded)


def _run(heads: Tensor, features: Tensor) -> Tensor:
    """Return the logit of each task, [B, tasks, voxels], for features [B, 8, voxels]."""
    found, start = features[:, None], 0
    for index, (i, o) in enumerate(_HEAD):
        weight = heads[..., start : start + i * o].unflatten(2, (o, i))
        bias = heads[..., start + i * o : start + i * o + o, None]
        start += i * o + o
        found = weight @ (found.relu() if index else found) + bias
    # the two outputs are whether a voxel is not of the task's class, and whether it is
    return found[:, :, 1] - found[:, :, 0]


METHOD = Method(
    objective=ForegroundObjective, network=build, check=check_classes, class_as_number=True
)
