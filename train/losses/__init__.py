"""Losses: marginal and exclusion losses, their options, and those of other papers."""

from train.losses.marginal_exclusion import (
    MarginalExclusionLoss,
    exclusion_cross_entropy,
    exclusion_dice,
    marginal_cross_entropy,
    marginal_dice,
)

__all__ = [
    "MarginalExclusionLoss",
    "exclusion_cross_entropy",
    "exclusion_dice",
    "marginal_cross_entropy",
    "marginal_dice",
]
