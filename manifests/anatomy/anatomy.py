"""What is known of where organs lie, and how strongly an observation speaks for a header."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from manifests.ground.toml_file import StrictModel

FILE = Path(__file__).with_name("anatomy.toml")

Axis = Literal["left_right", "back_front", "head_foot"]
# In the order of LPS, whose coordinates grow to the left, the back and the head.
AXES: tuple[Axis, ...] = ("left_right", "back_front", "head_foot")
WAYS = MappingProxyType(
    {
        "left_right": ("left of", "right of"),
        "back_front": ("behind", "in front of"),
        "head_foot": ("above", "below"),
    }
)

Positions = Mapping[str, tuple[float, ...]]  # LPS mm
Positive = Annotated[float, Field(gt=0)]


class Scale(StrictModel):
    """How strongly a measurement speaks for the header: with `trust` from `decisive` on."""

    decisive: Positive
    trust: Positive

    def score(self, value: float) -> float:
        """Return the score of a measurement, below 0 if it contradicts the header."""
        share = max(-1.0, min(value / self.decisive, 1.0))
        return self.trust * share * abs(share)


class Signs(StrictModel):
    """The scales of what the image alone shows."""

    spine_behind_middle: Scale
    table_behind_body: Scale
    bulk_on_the_right: Scale
    lungs_at_the_head: Scale


class Sides(StrictModel):
    """How far (mm) a structure with a side lies on that side: of its counterpart, of the spine."""

    of_the_other: Scale
    of_the_spine: Scale


class Statement(NamedTuple):
    """The first organ lies left of, behind or above the second."""

    first: str
    second: str
    decisive_mm: Positive
    trust: Positive


class Anatomy(StrictModel):
    """Where organs lie.

    Attributes:
        enough_ml: Less of an organ than this says nothing of where it lies.
        groups: Organs that count as one along the axes that do not part them.
    """

    enough_ml: dict[str, Positive]
    groups: dict[str, tuple[str, ...]]
    statements: dict[Axis, tuple[Statement, ...]]
    signs: Signs
    sides: Sides


@cache
def anatomy() -> Anatomy:
    """Read the anatomy that comes with marginalia."""
    return Anatomy.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Evidence:
    """One observation of an axis.

    Attributes:
        score: Above 0 for the header, below 0 against it; a sum of 4 decides an axis.
        description: What was seen.
    """

    axis: Axis
    score: float
    description: str


def order_evidence(
    axis: Axis, names: tuple[str, str], positions: Positions, scale: Scale
) -> Evidence:
    """Judge the order of two things; the first should lie farther left, back or to the head."""
    first, second = (positions[name][AXES.index(axis)] for name in names)
    way = WAYS[axis][int(first < second)]
    description = f"{names[0]} {abs(first - second):.0f} mm {way} {names[1]}"
    return Evidence(axis, scale.score(first - second), description)
