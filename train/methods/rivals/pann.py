"""PaNN: pseudo-labels where a case has no labels, and a prior on the mean size of organs.

The prior is the cross-entropy between q, the class frequencies of the fully labelled cases, and
p-bar, the mean prediction for the others:

    - sum over classes of q log p-bar + (1 - q) log(1 - p-bar).

The logarithm of a batch's mean is a biased estimate of the logarithm of the mean. But -log a is the
maximum of a beta + 1 + log(-beta) over beta < 0, attained at beta = -1 / a, and linear in a. So the
network descends, and two dual variables for each class ascend.

Source: Zhou et al., "Prior-aware neural network for partially-supervised multi-organ segmentation",
ICCV 2019.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import final

import torch
from torch import Tensor, nn

from manifests.classes.label_space import IGNORED
from manifests.classes.merged import is_full
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from train.device import autocast, on_device
from train.losses import marginal_cross_entropy
from train.losses.label_set import in_label_set
from train.methods.method import Method, Network, SettingsObjective
from train.patches.sampler import Batch
from train.settings import TrainSettings
from train.shapes import Logits, Merged, Scalar, Target

PRIOR_WEIGHT = 0.1
DUAL_RATE = 0.05
_LEAST = 1e-6  # of a frequency: its inverse stays a number


@final
class PannObjective(SettingsObjective):
    """Cross-entropy of labels and pseudo-labels, and the prior in its primal-dual form.

    Attributes:
        frequencies: q and 1 - q, [2, N].
        duals: beta < 0 for p-bar and for 1 - p-bar, [2, N].
        teacher: The network before the epoch, which makes the pseudo-labels.
    """

    terms = ("cross_entropy", "prior")

    def __init__(self, settings: TrainSettings, cases: Sequence[Case], network: nn.Module) -> None:
        """Start with the duals that fit q, and with the network itself as its teacher."""
        super().__init__(settings, cases, network)
        q = class_frequencies(cases)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.stack([q, 1 - q]))
        self.duals = nn.Parameter(-1 / self.frequencies)
        self.teacher = deepcopy(network).eval().requires_grad_(requires_grad=False)

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, Mapping[str, Tensor]]:
        """Return cross-entropy of every patch, plus the prior of partially labelled ones."""
        logits = network(batch.images)
        unmerged = torch.arange(batch.merged.shape[1])
        partial = (batch.merged != unmerged).any(1)  # on the host, which need not wait for it
        target = self._pseudo_labels(batch, partial) if partial.any() else batch.target
        merged = on_device(unmerged.repeat(len(partial), 1), logits.device)
        entropy = marginal_cross_entropy(logits, target, merged)
        prior = self._prior(logits, on_device(partial, logits.device), batch.target != IGNORED)
        return entropy + PRIOR_WEIGHT * prior, {"cross_entropy": entropy, "prior": prior}

    def start_epoch(self, network: nn.Module) -> None:
        """Copy the network into the teacher."""
        with torch.no_grad():
            pairs = zip(self.teacher.parameters(), network.parameters(), strict=True)
            for old, new in pairs:
                old.copy_(new)

    def step(self) -> None:
        """Take one ascent step of the duals."""
        ascend(self.duals, PRIOR_WEIGHT * self.frequencies)

    @torch.no_grad()
    def _pseudo_labels(self, batch: Batch, partial: Tensor) -> Target:
        target, device = batch.target.clone(), batch.images.device
        rows = on_device(partial.nonzero()[:, 0], device)
        merged = on_device(batch.merged[partial], device)
        # in the precision in which Fabric runs the network
        with autocast(self.settings.precision, device):
            logits = self.teacher(batch.images[rows])
        target[rows] = pseudo_labels(logits, batch.target[rows], merged).to(target.dtype)
        return target

    def _prior(self, logits: Logits, partial: Tensor, looked_at: Tensor) -> Scalar:
        """Return the mean of the saddle function over all patches; fully labelled ones count 0."""
        seen = looked_at.flatten(1)[:, None]
        p = torch.where(seen, logits.float().softmax(1).flatten(2), 0.0)
        probs = p.sum(2) / seen.sum(2).clamp(min=1)
        both = torch.stack([probs, 1 - probs], 1)
        values = (self.frequencies * saddle(both, self.duals)).sum((1, 2))
        return (values * partial).mean()


def saddle(mean: Tensor, dual: Tensor) -> Tensor:
    """Return a lower bound of -log(mean) for any dual below 0, tight at -1 / mean."""
    return mean * dual + 1 + torch.log(-dual)


def pseudo_labels(logits: Logits, target: Target, merged: Merged) -> Target:
    """Return the most probable class of each voxel's label set.

    That is the label itself where it stands for one class, and elsewhere the background or a class
    that was not annotated. An ignored voxel stays one.
    """
    allowed = in_label_set(target, merged).view(logits.shape)
    found = logits.masked_fill(~allowed, -torch.inf).argmax(1)
    return torch.where(target == IGNORED, IGNORED, found)


def class_frequencies(cases: Sequence[Case]) -> Tensor:
    """Return the share of each class in the voxels of the fully labelled cases, [N]."""
    voxels = torch.tensor([c.voxels for c in cases if is_full(c.merged)], dtype=torch.float64)
    share = voxels.sum(0) / voxels.sum()
    return share.clamp(_LEAST, 1 - _LEAST).float()


@torch.no_grad()
def ascend(duals: nn.Parameter, weights: Tensor, *, rate: float = DUAL_RATE) -> None:
    """Take a step of mirror ascent of dual variables below 0.

    -1 / beta steps along the gradient of a beta + 1 + log(-beta), which is a + 1 / beta. So it is a
    moving mean of a: it stays above 0 for any batch, and forgets at the same rate for all classes.
    A plain step of beta may cross 0, and would be slower for a smaller organ, by the third power of
    its share.

    Args:
        duals: With their gradients, if they have any.
        weights: What each one's term is multiplied by in the loss.
        rate: Share of the latest batch in the mean.
    """
    if duals.grad is not None:
        mean = rate * duals.grad / weights - 1 / duals
        duals.copy_(-1 / mean.clamp(_LEAST, 1 - _LEAST))


def check(settings: TrainSettings, _cases: Sequence[Case]) -> None:
    """Refuse a training without a first stage.

    Raises:
        TrainingError: There is none, and the first pseudo-labels would be noise.
    """
    if not settings.stage_epochs[0]:
        msg = (
            f"method pann needs a first stage on fully labelled cases, from which come its pseudo-"
            f"labels and how large organs are; got stage_epochs={settings.stage_epochs}, expected "
            f"such as --set stage_epochs=60,140"
        )
        raise TrainingError(msg)


METHOD = Method(objective=PannObjective, check=check)
