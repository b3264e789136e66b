"""Marginal and exclusion losses: one network learns every class from cases that label only some.

`merged` says for each sample which classes its annotator did not tell apart. The marginal losses
compare the labels with the summed probability of each such group; the exclusion losses push a class
away from voxels that are known to be something else. With `merged = 0, 1, ..., N-1` the marginal
losses are the regular ones, so that a batch may mix cases of any datasets. Sums over voxels run
over those that somebody looked at, and means divide by their number: where the target is `IGNORED`,
a voxel has no part in any loss, and a gradient of 0.

There are two implementations of the same values: `fused_terms`, with gradients written out by hand,
is fast and lean; `eager_terms` is the paper's equations, differentiated by PyTorch.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Unpack

import torch
from torch import Tensor, nn

from manifests.classes.label_space import IGNORED
from manifests.ground.errors import TrainingError
from train.device import on_device
from train.losses.eager_terms import eager_terms, mean_over_looked_at
from train.losses.fused_terms import fused_terms
from train.losses.options import TERMS, LossKeywords, LossOptions, Term
from train.shapes import (
    LevelLogits,
    LevelTarget,
    Logits,
    Merged,
    PerSample,
    PerSampleOfLevels,
    Scalar,
    Target,
    check_fit,
)

_OPTIONS_OF: Mapping[Term, frozenset[str]] = MappingProxyType(
    {
        "marginal_cross_entropy": frozenset({"label_smoothing", "implementation"}),
        "marginal_dice": frozenset(
            {"class_reduction", "smooth", "dice_groups", "batch_dice", "implementation"}
        ),
        "exclusion_cross_entropy": frozenset({"epsilon", "implementation"}),
        "exclusion_dice": frozenset({"class_reduction", "implementation"}),
    }
)


def marginal_cross_entropy(
    logits: Logits, target: Target, merged: Merged, **options: Unpack[LossKeywords]
) -> Scalar:
    """Return the mean over voxels of `-log q` of the labelled group (Eq. 5; its gradient is Eq. 8).

    Finite for logits up to 1e30 in size; infinite where the target is no representative. With
    `label_smoothing` a, the label is 1 - a of itself and a of all classes alike, merged into
    groups: the share of a group is a times its number of classes over N.

    It is also the target adaptive loss of Fang and Yan, IEEE TMI 39 (2020).
    """
    return _mean_of("marginal_cross_entropy", (logits, target, merged), options)


def marginal_dice(
    logits: Logits, target: Target, merged: Merged, **options: Unpack[LossKeywords]
) -> Scalar:
    """Return one minus soft Dice, reduced over each sample's groups, averaged over samples (Eq. 6).

    The background's group counts as any other. `smooth` is in voxels: with it, a group that is
    neither labelled nor predicted costs nothing. `class_reduction` is `sum`, as in the paper, or
    `mean`. `dice_groups` and `batch_dice` say which groups count, and over how many samples a
    group's sums run (`LossOptions`).
    """
    return _mean_of("marginal_dice", (logits, target, merged), options)


def exclusion_cross_entropy(
    logits: Logits, target: Target, merged: Merged, **options: Unpack[LossKeywords]
) -> Scalar:
    """Return the voxel mean of `log(p + epsilon)`, summed over excluded classes (Eq. 11)."""
    return _mean_of("exclusion_cross_entropy", (logits, target, merged), options)


def exclusion_dice(
    logits: Logits, target: Target, merged: Merged, **options: Unpack[LossKeywords]
) -> Scalar:
    """Return the soft Dice between each class and the region that it is excluded from (Eq. 10).

    It is reduced over the classes of a sample that are excluded somewhere, as `class_reduction`
    says, then averaged over samples.
    """
    return _mean_of("exclusion_dice", (logits, target, merged), options)


class MarginalExclusionLoss(nn.Module):
    """Weighted sum of the four losses; the default weights are the best of Table 5."""

    def __init__(
        self,
        *,
        marginal_weight: float = 1.0,
        exclusion_weight: float = 2.0,
        terms: Collection[Term] = TERMS,
        **options: Unpack[LossKeywords],
    ) -> None:
        """Keep the options; terms that are not named, or whose weight is 0, are not computed.

        Raises:
            TrainingError: An option is out of range, or no term is left.
        """
        super().__init__()
        self.options = LossOptions(**options)
        weights = {"marginal": marginal_weight, "exclusion": exclusion_weight}
        if min(weights.values()) < 0 or not 0 < sum(weights.values()) < math.inf:
            msg = f"expected finite weights >= 0, not both 0, got {weights}"
            raise TrainingError(msg)
        self.wanted: tuple[Term, ...] = tuple(
            name for name in TERMS if name in terms and weights[_family(name)]
        )
        if not self.wanted:
            msg = f"no loss is left of the terms {sorted(terms)} with the weights {weights}"
            raise TrainingError(msg)
        self.weights = weights

    def forward(
        self,
        logits: Logits,
        target: Target,
        merged: Merged,
        *,
        exclusion_of_sample: PerSample | None = None,
    ) -> Scalar:
        """Return the total loss; `exclusion_of_sample` is that of `terms`."""
        terms = self.terms(logits, target, merged, exclusion_of_sample=exclusion_of_sample)
        return self.total(terms)

    def terms(
        self,
        logits: Logits,
        target: Target,
        merged: Merged,
        *,
        marginal_of_sample: PerSample | None = None,
        exclusion_of_sample: PerSample | None = None,
    ) -> dict[Term, Tensor]:
        """Return each term by its function's name, not weighted; terms of weight 0 are left out.

        All is computed in float32 or better, under autocast too.

        Args:
            logits: Of any floating type.
            target: Representatives.
            merged: Each class's representative.
            marginal_of_sample: Factor on each sample's marginal terms; 1 by default.
            exclusion_of_sample: Factor on each sample's exclusion terms; 1 by default.

        Raises:
            TrainingError: The shapes, types or devices do not fit together.
        """
        factors = {"marginal": marginal_of_sample, "exclusion": exclusion_of_sample}
        terms = self._scaled([logits], [target], merged, factors)
        return {name: values.mean() for name, values in terms.items()}

    def over_levels(
        self,
        levels: Sequence[LevelLogits],
        targets: Sequence[LevelTarget],
        merged: Merged,
        weights: Sequence[float],
        *,
        exclusion_of_sample: PerSample | None = None,
    ) -> Scalar:
        """Return the sum of the levels' total losses, each times its weight.

        It is what `forward` gives for one level after the other, in fewer steps of computation,
        whose number is what counts for small patches.

        Args:
            levels: Logits of the same samples at several resolutions.
            targets: Representatives at each.
            merged: Each class's representative.
            weights: Of the levels.
            exclusion_of_sample: That of `terms`.

        Raises:
            TrainingError: The shapes, types or devices do not fit together.
        """
        terms = self._scaled(levels, targets, merged, {"exclusion": exclusion_of_sample})
        exact = torch.promote_types(levels[0].dtype, torch.float32)
        of_each = on_device(torch.tensor(weights, dtype=exact), merged.device)
        # no matrix product: autocast would take it to float16
        return self.total({name: values.mean(1) * of_each for name, values in terms.items()})

    def _scaled(
        self,
        levels: Sequence[LevelLogits],
        targets: Sequence[LevelTarget],
        merged: Merged,
        factors: Mapping[str, PerSample | None],
    ) -> dict[Term, Tensor]:
        """Return each term [levels, batch], times the factor on the samples of its family."""
        scaled: dict[Term, Tensor] = {}
        terms = _terms(self.wanted, levels, targets, merged, options=self.options)
        for name, values in terms.items():
            factor = factors.get(_family(name))
            by_level = values.view(len(levels), len(merged))
            scaled[name] = by_level if factor is None else by_level * factor
        return scaled

    def total(self, terms: Mapping[Term, Tensor]) -> Scalar:
        """Return the weighted sum of what `terms` returned, for a loop that logs the terms too."""
        weighted = [self.weights[_family(name)] * term for name, term in terms.items()]
        return torch.stack(weighted).sum()


def _family(name: str) -> str:
    """Return `marginal` or `exclusion`."""
    return name.split("_")[0]


def _mean_of(term: Term, tensors: tuple[Tensor, Tensor, Tensor], keywords: LossKeywords) -> Scalar:
    """Return one term's mean over the samples.

    Raises:
        TrainingError: The tensors do not fit together, or an option is out of range.
        TypeError: The term has no such option.
    """
    if unknown := sorted(keywords.keys() - _OPTIONS_OF[term]):
        msg = f"{term} has no option {', '.join(unknown)}: expected {sorted(_OPTIONS_OF[term])}"
        raise TypeError(msg)
    logits, target, merged = tensors
    options = LossOptions(**keywords)
    return _terms([term], [logits], [target], merged, options=options)[term].mean()


def _terms(
    wanted: Collection[Term],
    levels: Sequence[Tensor],
    targets: Sequence[Tensor],
    merged: Tensor,
    *,
    options: LossOptions,
) -> dict[Term, PerSampleOfLevels]:
    """Return the wanted terms of each sample of the first level, then of the next."""
    for logits, target in zip(levels, targets, strict=True):
        check_fit(logits, target, merged)
    # MONAI 1.6's MetaTensor is a tensor whose `new_empty` takes other arguments than PyTorch's
    levels, targets = ([t.as_subclass(Tensor) for t in each] for each in (levels, targets))
    merged = merged.as_subclass(Tensor)
    compute = fused_terms if options.implementation == "fused" else eager_terms
    terms = compute(levels, targets, merged, wanted=wanted, options=options)
    name, share = "marginal_cross_entropy", options.label_smoothing
    if share and name in terms:
        pairs = zip(levels, targets, strict=True)
        uniform = torch.cat([uniform_cross_entropy(*pair, merged) for pair in pairs])
        terms[name] = (1 - share) * terms[name] + share * uniform
    return terms


def uniform_cross_entropy(logits: Logits, target: Target, merged: Merged) -> PerSample:
    """Return the marginal cross-entropy of a label that gives each class the probability 1 / N.

    Such a label merges as probabilities do: group m gets the share |m| / N of its classes. So the
    mean over voxels of `-sum over m of |m| / N log q_m` is the mean over classes of `-log q` of the
    class's own group, and a group of all classes costs nothing. With `merged = 0, 1, ..., N-1`
    it is what PyTorch's `label_smoothing` mixes in. Of the target only counts which voxels were
    looked at.

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
        looked_at = target.flatten(1) != IGNORED
        return mean_over_looked_at(exact.logsumexp(1) - log_sum.mean(1), looked_at)
