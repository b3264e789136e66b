"""Evidence: one thing seen in a case that speaks for or against an axis of its header."""

from dataclasses import dataclass

from curate.orientation.anatomy import AXES, WAYS, Axis, Scale


@dataclass(frozen=True)
class Evidence:
    """One observation.

    Attributes:
        axis: The axis that it speaks of.
        score: Above 0 for the header, below 0 against it; 4 in sum decide.
        words: What was seen.
    """

    axis: Axis
    score: float
    words: str


def order_evidence(
    axis: Axis, names: tuple[str, str], places_mm: tuple[tuple[float, ...], ...], scale: Scale
) -> Evidence:
    """Judge the order of two things along an axis.

    Args:
        axis: The axis.
        names: What should lie farther to the left, the back or the head; and what it is held
            against.
        places_mm: Their positions (mm, LPS).
        scale: How strongly a distance (mm) speaks.
    """
    column = AXES.index(axis)
    distance_mm = places_mm[0][column] - places_mm[1][column]
    way = WAYS[axis][int(distance_mm < 0)]
    words = f"{names[0]} {abs(distance_mm):.0f} mm {way} {names[1]}"
    return Evidence(axis, scale.score(distance_mm), words)
