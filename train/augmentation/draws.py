"""Draws: whether a patch is changed in some way, and how much."""

import numpy as np

from train.augmentation.settings import Draw


def draw(row: Draw, generator: np.random.Generator) -> float | None:
    """A number between least and most, each alike; none with the rest of the probability.

    Args:
        row: Probability, least, most.
        generator: Always asked for two numbers, so that one change does not decide the next.
    """
    probability, least, most = row
    wanted, where = generator.random(2).tolist()
    return least + where * (most - least) if wanted < probability else None


def draw_factor(row: Draw, generator: np.random.Generator) -> float | None:
    """A factor between a least below 1 and a most above, on either side of 1 as often.

    Source: nnU-Net's `BGContrast`.
    """
    probability, least, most = row
    # from -1 at the least over 0 at a factor of 1 to 1 at the most
    side = draw((probability, -1.0, 1.0), generator)
    if side is None:
        return None
    return 1 + side * (most - 1 if side > 0 else 1 - least)
