"""Marginal and exclusion losses: one network learns every class from cases that label only some.

`merged` says for each sample which classes its annotator did not tell apart. The marginal losses
compare what was labelled with the summed probability of each such group; the exclusion losses
push a class away from voxels that are known to be something else. With `merged = 0, 1, ..., N-1`
the marginal losses are the regular ones, so that a batch may mix cases of any datasets.

Each loss has two implementations of the same values: `fused`, with gradients written out by hand,
is fast and lean; `eager` is the paper's equations, differentiated by PyTorch.

Source: Shi et al., Medical Image Analysis 70 (2021), section 3; the equation numbers are theirs.
"""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from manifests.ground.errors import TrainingError
from train.losses.class_reduction import ClassReduction
from train.losses.eager_terms import eager_terms
from train.losses.fused_terms import fused_terms
from train.losses.label_smoothing import uniform_cross_entropy
from train.losses.options import TERMS, Implementation, LossOptions, Term, check_implementation
from train.shapes import Logits, Merged, PerSample, Scalar, Target, check_fit


def marginal_cross_entropy(
    logits: Logits,
    target: Target,
    merged: Merged,
    *,
    label_smoothing: float = 0.0,
    implementation: Implementation = "fused",
) -> Scalar:
    """Return the mean over voxels of `-log q` of the labelled group.

    Finite for logits up to 1e30 in size; infinite where the target is no representative. With
    `label_smoothing` a, the label is 1 - a of itself and a of all classes alike, merged into
    groups: the share of a group is a times its number of classes over N.

    Raises:
        TrainingError: If the tensors do not fit together, or an option is out of range.

    Source: Eq. 5; its gradient is Eq. 8. The target adaptive loss of Fang and Yan, IEEE TMI 39
    (2020), is the same.
    """
    options = LossOptions(label_smoothing=label_smoothing)
    return _mean_of("marginal_cross_entropy", (logits, target, merged), options, implementation)


def marginal_dice(
    logits: Logits,
    target: Target,
    merged: Merged,
    *,
    class_reduction: ClassReduction = "sum",
    smooth: float = 1e-5,
    implementation: Implementation = "fused",
) -> Scalar:
    """Return one minus soft Dice, reduced over each sample's groups, then averaged over samples.

    Background's group counts as any other. `smooth` is in voxels: with it, a group that is neither
    labelled nor predicted costs nothing.

    Raises:
        TrainingError: If the tensors do not fit together, or an option is out of range.

    Source: Eq. 6.
    """
    options = LossOptions(class_reduction=class_reduction, smooth=smooth)
    return _mean_of("marginal_dice", (logits, target, merged), options, implementation)


def exclusion_cross_entropy(
    logits: Logits,
    target: Target,
    merged: Merged,
    *,
    epsilon: float = 1.0,
    implementation: Implementation = "fused",
) -> Scalar:
    """Return the mean over voxels of `log(p + epsilon)`, summed over the classes excluded there.

    Raises:
        TrainingError: If the tensors do not fit together, or `epsilon` is out of range.

    Source: Eq. 11.
    """
    options = LossOptions(epsilon=epsilon)
    return _mean_of("exclusion_cross_entropy", (logits, target, merged), options, implementation)


def exclusion_dice(
    logits: Logits,
    target: Target,
    merged: Merged,
    *,
    class_reduction: ClassReduction = "sum",
    implementation: Implementation = "fused",
) -> Scalar:
    """Return the soft Dice between each class and the region that it is excluded from.

    Reduced over the classes of a sample that are excluded somewhere, then averaged over samples.

    Raises:
        TrainingError: If the tensors do not fit together, or an option is out of range.

    Source: Eq. 10.
    """
    options = LossOptions(class_reduction=class_reduction)
    return _mean_of("exclusion_dice", (logits, target, merged), options, implementation)


class MarginalExclusionLoss(nn.Module):
    """Weighted sum of the four losses; the default weights are the best of Table 5."""

    def __init__(
        self,
        *,
        marginal_weight: float = 1.0,
        exclusion_weight: float = 2.0,
        terms: Collection[Term] = TERMS,
        class_reduction: ClassReduction = "sum",
        smooth: float = 1e-5,
        epsilon: float = 1.0,
        label_smoothing: float = 0.0,
        implementation: Implementation = "fused",
    ) -> None:
        """Keep the options; what is not among `terms`, or of weight 0, is left out, work and all.

        Raises:
            TrainingError: If an option is out of range, or nothing is left.
        """
        super().__init__()
        self.options = LossOptions(
            class_reduction=class_reduction,
            smooth=smooth,
            epsilon=epsilon,
            label_smoothing=label_smoothing,
        )
        weights = {"marginal": marginal_weight, "exclusion": exclusion_weight}
        if min(weights.values()) < 0 or not 0 < sum(weights.values()) < math.inf:
            msg = f"expected finite weights >= 0, not both 0, got {weights}"
            raise TrainingError(msg)
        check_implementation(implementation)
        self.wanted: tuple[Term, ...] = tuple(
            name for name in TERMS if name in terms and weights[_family(name)]
        )
        if not self.wanted:
            msg = f"no loss is left of the terms {sorted(terms)} with the weights {weights}"
            raise TrainingError(msg)
        self.weights = weights
        self.implementation: Implementation = implementation

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

        Args:
            logits: Of any floating type; worked out in float32 or better, under autocast too.
            target: Representatives.
            merged: Each class's representative.
            marginal_of_sample: What each sample's marginal terms are multiplied by; 1 by default.
            exclusion_of_sample: Likewise of the exclusion terms.

        Raises:
            TrainingError: If the shapes, types or devices do not fit together.
        """
        tensors = logits, target, merged
        terms = _terms(self.wanted, tensors, self.options, self.implementation)
        factors = {"marginal": marginal_of_sample, "exclusion": exclusion_of_sample}
        for name in terms:
            factor = factors[_family(name)]
            if factor is not None:
                terms[name] = terms[name] * factor
        return {name: values.mean() for name, values in terms.items()}

    def total(self, terms: Mapping[Term, Tensor]) -> Scalar:
        """Return the weighted sum of what `terms` returned, for a loop that logs the terms too."""
        weighted = [self.weights[_family(name)] * term for name, term in terms.items()]
        return torch.stack(weighted).sum()


def _family(name: str) -> str:
    """Return `marginal` or `exclusion`."""
    return name.split("_")[0]


def _mean_of(
    name: Term,
    tensors: tuple[Tensor, Tensor, Tensor],
    options: LossOptions,
    implementation: Implementation,
) -> Scalar:
    """Return one term's mean over the samples."""
    check_implementation(implementation)
    return _terms([name], tensors, options, implementation)[name].mean()


def _terms(
    wanted: Collection[Term],
    tensors: tuple[Tensor, Tensor, Tensor],
    options: LossOptions,
    implementation: Implementation,
) -> dict[Term, PerSample]:
    """Return the wanted terms of each sample."""
    check_fit(*tensors)
    work_out = fused_terms if implementation == "fused" else eager_terms
    terms = work_out(*tensors, wanted, options)
    name, share = "marginal_cross_entropy", options.label_smoothing
    if share and name in terms:
        logits, _, merged = tensors
        terms[name] = (1 - share) * terms[name] + share * uniform_cross_entropy(logits, merged)
    return terms
