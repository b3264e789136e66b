"""Label smoothing that knows merged classes."""

import torch

from train.shapes import Logits, Merged, PerSample


def uniform_cross_entropy(logits: Logits, merged: Merged) -> PerSample:
    """Return the marginal cross-entropy of a label that gives each class the probability 1 / N.

    Such a label merges as probabilities do: group m gets the share |m| / N of its classes. So the
    mean over voxels of `-sum over m of |m| / N log q_m` is the mean over classes of `-log q` of the
    class's own group, and a group of all classes costs nothing. With `merged = 0, 1, ..., N-1`
    it is what PyTorch's `label_smoothing` mixes in.

    Source: Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, section 7; the
    merging is ours.
    """
    with torch.autocast(logits.device.type, enabled=False):
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(2)
        same = merged[:, :, None] == merged[:, None]  # whether two classes share a group
        with torch.no_grad():  # each group has its own largest logit, so that none underflows
            top = torch.stack(
                [exact.masked_fill(~row[:, :, None], -torch.inf).amax(1) for row in same.unbind(1)],
                1,
            )
        log_sum = (same.to(exact.dtype) @ (exact - top).exp()).log() + top
        return (exact.logsumexp(1) - log_sum.mean(1)).mean(1)
