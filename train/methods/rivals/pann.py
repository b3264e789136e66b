"""PaNN: pseudo-labels where a case has none, and organs as large on the mean as they should be.

The prior is the cross-entropy between q, the class frequencies of the fully labelled cases, and
p-bar, the mean prediction for the others:

    - sum over classes of q log p-bar + (1 - q) log(1 - p-bar).

The logarithm of a batch's mean is no unbiased estimate of the logarithm of the mean. But -log a is
the maximum of a beta + 1 + log(-beta) over beta < 0, attained at beta = -1 / a and linear in a:
so the network descends, and two dual variables a class ascend.

Source: Zhou et al., "Prior-aware neural network for partially-supervised multi-organ segmentation",
ICCV 2019.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import final

import torch
from torch import Tensor, nn

from manifests.classes.merged import is_full
from manifests.ground.errors import TrainingError
from manifests.table.case import Case
from train.device import Precision, autocast
from train.losses import marginal_cross_entropy
from train.losses.label_set import in_label_set
from train.methods.method import Method, Network, Objective
from train.patches.sampler import Batch
from train.settings import TrainSettings
from train.shapes import Logits, Merged, Scalar, Target

PRIOR_WEIGHT = 0.1
DUAL_RATE = 0.05
_LEAST = 1e-6  # of a frequency: its inverse stays a number


@final
class PannObjective(Objective):
    """Cross-entropy of labels and pseudo-labels, and the prior in its primal-dual form.

    Attributes:
        frequencies: q and 1 - q, [2, N].
        duals: beta < 0 for p-bar and for 1 - p-bar, [2, N].
        teacher: The network as it was before the epoch, which makes the pseudo-labels.
    """

    terms = ("cross_entropy", "prior")

    def __init__(self, settings: TrainSettings, cases: Sequence[Case], network: nn.Module) -> None:
        """Begin with duals that suit q, and with the network itself as its teacher."""
        super().__init__()
        self.precision: Precision = settings.precision
        q = class_frequencies(cases)
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.stack([q, 1 - q]))
        self.duals = nn.Parameter(-1 / self.frequencies)
        self.teacher = deepcopy(network).eval().requires_grad_(requires_grad=False)

    def loss(self, network: Network, batch: Batch) -> tuple[Scalar, Mapping[str, Tensor]]:
        """Cross-entropy of every patch, and the prior of those of partially labelled cases."""
        logits = network(batch.images)
        merged = batch.merged.to(logits.device)
        itself = torch.arange(merged.shape[1], device=merged.device)
        partial = (merged != itself).any(1)
        target = self._pseudo_labels(batch, merged, partial) if partial.any() else batch.target
        entropy = marginal_cross_entropy(logits, target, itself.expand_as(merged).contiguous())
        prior = self._prior(logits, partial)
        return entropy + PRIOR_WEIGHT * prior, {"cross_entropy": entropy, "prior": prior}

    def start_epoch(self, network: nn.Module) -> None:
        """Refresh the pseudo-labels: the teacher becomes the network as it is now."""
        with torch.no_grad():
            pairs = zip(self.teacher.parameters(), network.parameters(), strict=True)
            for mine, theirs in pairs:
                mine.copy_(theirs)

    def step(self) -> None:
        """Let the duals ascend."""
        ascend(self.duals, PRIOR_WEIGHT * self.frequencies)

    @torch.no_grad()
    def _pseudo_labels(self, batch: Batch, merged: Merged, partial: Tensor) -> Target:
        target = batch.target.clone()
        rows = partial.nonzero()[:, 0]
        with autocast(self.precision, batch.images.device):  # as Fabric has the network compute
            logits = self.teacher(batch.images[rows])
        target[rows] = pseudo_labels(logits, batch.target[rows], merged[rows]).to(target.dtype)
        return target

    def _prior(self, logits: Logits, partial: Tensor) -> Scalar:
        """The saddle function, a mean over all patches, of which full ones count 0."""
        probs = logits.float().softmax(1).flatten(2).mean(2)
        both = torch.stack([probs, 1 - probs], 1)
        values = (self.frequencies * saddle(both, self.duals)).sum((1, 2))
        return (values * partial).mean()


def saddle(mean: Tensor, dual: Tensor) -> Tensor:
    """A lower bound of -log(mean) for any dual below 0, tight where the dual is -1 / mean."""
    return mean * dual + 1 + torch.log(-dual)


def pseudo_labels(logits: Logits, target: Target, merged: Merged) -> Target:
    """The likeliest class of each voxel's label set: the label itself where it says all.

    Elsewhere that is one of the background and of the classes that were not annotated.
    """
    allowed = in_label_set(target, merged).view(logits.shape)
    return logits.masked_fill(~allowed, -torch.inf).argmax(1)


def class_frequencies(cases: Sequence[Case]) -> Tensor:
    """Share of each class in the voxels of the fully labelled cases, [N]."""
    voxels = torch.tensor([c.voxels for c in cases if is_full(c.merged)], dtype=torch.float64)
    share = voxels.sum(0) / voxels.sum()
    return share.clamp(_LEAST, 1 - _LEAST).float()


@torch.no_grad()
def ascend(duals: nn.Parameter, weights: Tensor, *, rate: float = DUAL_RATE) -> None:
    """A step of mirror ascent of dual variables below 0.

    It is a step of -1 / beta along the gradient of a beta + 1 + log(-beta), which is a + 1 / beta:
    a mean of the latest a, which stays above 0 whatever a batch holds, and forgets at the same rate
    for all classes. A plain step of beta would do neither: it may cross 0, and an organ's dual
    moves the slower the smaller the organ is, by the third power of its share.

    Args:
        duals: With their gradients, if they have any.
        weights: What each one's term is multiplied by in the loss.
        rate: Share that the latest batch has in the mean.
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
