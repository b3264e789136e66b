"""Settings of the augmentation, the named ones in one aligned table, and draws from a setting."""

from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

Probability = Annotated[float, Field(ge=0, le=1)]
Draw = tuple[Probability, float, float]  # probability, least, most

CONTROL_SPACING_MM = 48.0  # of the elastic deformation
# control points that move further can fold the space (Choi and Lee 2000, in three dimensions)
_MOST_ELASTIC_MM = 0.4 * CONTROL_SPACING_MM

_NEVER: Draw = (0.0, 1.0, 1.0)


def _within(low: float, high: float) -> AfterValidator:
    """Return a validator that refuses numbers beyond these limits, unless the probability is 0."""

    def check(row: Draw) -> Draw:
        probability, least, most = row
        if probability and not low <= least <= most <= high:
            kind = "limits"
            raise PydanticCustomError(
                kind,
                "expected {low} <= least <= most <= {high}, got {least}, {most}",
                {"low": f"{low:g}", "high": f"{high:g}", "least": least, "most": most},
            )
        return row

    return AfterValidator(check)


_Factor = Annotated[Draw, _within(0.1, 10.0)]


class AugmentationSettings(BaseModel):
    """How patches are changed at random; each is a probability, then the least and the most.

    Attributes:
        mirror_zyx: Probabilities of a mirror image along z, y and x. A mirror along x swaps left
            and right classes.
        rotation: Degrees about each axis.
        scaling: Factor on the size of the region that the patch shows: above 1, things become
            smaller.
        elastic: Millimetres that the control points of a smooth deformation move.
        noise: Standard deviation, where that of labelled voxels is about 1.
        blur: Standard deviation along each axis, in voxels.
        brightness: Factor on the intensity.
        contrast: Factor on the distance from the patch's mean.
        low_resolution: Share of the voxels along each axis that the patch is reduced to.
        inverted_gamma: Exponent on the negative of the patch.
        gamma: Exponent on the patch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mirror_zyx: tuple[Probability, Probability, Probability] = (0.0, 0.0, 0.0)
    rotation: Annotated[Draw, _within(-180.0, 180.0)] = _NEVER
    scaling: Annotated[Draw, _within(0.25, 4.0)] = _NEVER
    elastic: Annotated[Draw, _within(0.0, _MOST_ELASTIC_MM)] = _NEVER
    noise: Annotated[Draw, _within(0.0, 10.0)] = _NEVER
    blur: _Factor = _NEVER
    brightness: _Factor = _NEVER
    contrast: _Factor = _NEVER
    low_resolution: Annotated[Draw, _within(0.1, 1.0)] = _NEVER
    inverted_gamma: _Factor = _NEVER
    gamma: _Factor = _NEVER


# fmt: off
_NAMES = ("light", "nnunet")
_TABLE: tuple[tuple[str, Any, Any], ...] = (
    # change            light                nnunet
    ("mirror_zyx",      (0.0, 0.0, 0.0),     (0.5, 0.5, 0.5)),
    ("rotation",        _NEVER,              (0.2, -30.0, 30.0)),
    ("scaling",         _NEVER,              (0.2, 0.7, 1.4)),
    ("elastic",         _NEVER,              (0.0, 0.0, 12.0)),
    ("noise",           (1.0, 0.0, 0.05),    (0.1, 0.0, 0.1)),
    ("blur",            _NEVER,              (0.1, 0.5, 1.0)),
    ("brightness",      (1.0, 0.95, 1.05),   (0.15, 0.75, 1.25)),
    ("contrast",        (1.0, 0.87, 1.13),   (0.15, 0.75, 1.25)),
    ("low_resolution",  _NEVER,              (0.125, 0.5, 1.0)),
    ("inverted_gamma",  _NEVER,              (0.1, 0.7, 1.5)),
    ("gamma",           _NEVER,              (0.3, 0.7, 1.5)),
)
# fmt: on

# light: intensity only. nnunet: as nnU-Net 2's default trainer, which also rotates patches of few
# slices by up to 180 degrees; that would turn left into right and is not done here.
AUGMENTATIONS = MappingProxyType(
    {"none": AugmentationSettings()}
    | {
        name: AugmentationSettings.model_validate({row[0]: row[column] for row in _TABLE})
        for column, name in enumerate(_NAMES, start=1)
    }
)


def _named(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str) and value not in AUGMENTATIONS:
        msg = f"expected one of {', '.join(AUGMENTATIONS)}"
        raise ValueError(msg)
    return AUGMENTATIONS[value] if isinstance(value, str) else value


Augmentation = Annotated[AugmentationSettings, BeforeValidator(_named)]


def draw(row: Draw, generator: np.random.Generator) -> float | None:
    """Draw a number evenly between least and most, or None with the rest of the probability.

    The generator always gives two numbers, so that one change does not decide the next.
    """
    probability, least, most = row
    chance, position = generator.random(2).tolist()
    return least + position * (most - least) if chance < probability else None


def draw_factor(row: Draw, generator: np.random.Generator) -> float | None:
    """Draw a factor between a least below 1 and a most above 1, on either side of 1 as often.

    Source: nnU-Net's `BGContrast`.
    """
    probability, least, most = row
    # from -1 at the least over 0 at a factor of 1 to 1 at the most
    side = draw((probability, -1.0, 1.0), generator)
    if side is None:
        return None
    return 1 + side * (most - 1 if side > 0 else 1 - least)
